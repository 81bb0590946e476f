"""Learning-rate schedules, in optimizer steps."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from nitrogen_train.training.phases import count_phases


def warmup_stable_decay(
    optimizer: Optimizer,
    *,
    max_steps: int,
    warmup_share: float = 0.0,
    decay_share: float = 0.0,
    warmup_steps: int | None = None,
    decay_steps: int | None = None,
) -> LambdaLR:
    """Rise linearly, stay, fall linearly to zero at the last step.

    The first step already has the first part of the rise: 1 / steps of warm-up.

    Args:
        optimizer: Whose learning rates are the stable ones.
        max_steps: Length of the run.
        warmup_share: Of the run, to reach the stable rate; in [0, 1].
        decay_share: Of the run, for the fall at the end; in [0, 1].
        warmup_steps: Instead of `warmup_share`.
        decay_steps: Instead of `decay_share`.

    Source:
        MiniCPM, arXiv:2404.06395; NitroGen trains with it (lengths not published).
    """
    warmup, decay = count_phases(
        max_steps=max_steps,
        warmup_share=warmup_share,
        decay_share=decay_share,
        warmup_steps=warmup_steps,
        decay_steps=decay_steps,
    )

    def factor(step: int) -> float:
        warm = (step + 1) / warmup if warmup else 1.0
        cool = (max_steps - step) / decay if decay else 1.0
        return max(0.0, min(1.0, warm, cool))

    return LambdaLR(optimizer, factor)
