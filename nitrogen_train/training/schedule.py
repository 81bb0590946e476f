"""Learning-rate schedules, in optimizer steps."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def warmup_stable_decay(
    optimizer: Optimizer, *, max_steps: int, warmup_steps: int, decay_steps: int
) -> LambdaLR:
    """Rise linearly, stay, fall linearly to zero at the last step.

    Args:
        optimizer: Whose learning rates are the stable ones.
        max_steps: Length of the run.
        warmup_steps: Steps to reach the stable rate; the first step already has 1/warmup_steps.
        decay_steps: Steps of the fall, at the end.

    Raises:
        ValueError: If warm-up and decay do not fit into the run.

    Source:
        MiniCPM, arXiv:2404.06395; NitroGen trains with it (lengths not published).
    """
    if min(warmup_steps, decay_steps) < 0 or warmup_steps + decay_steps > max_steps:
        raise ValueError(
            f"warmup_steps={warmup_steps} and decay_steps={decay_steps} must fit into "
            f"max_steps={max_steps}"
        )

    def factor(step: int) -> float:
        warm = (step + 1) / warmup_steps if warmup_steps else 1.0
        cool = (max_steps - step) / decay_steps if decay_steps else 1.0
        return max(0.0, min(1.0, warm, cool))

    return LambdaLR(optimizer, factor)
