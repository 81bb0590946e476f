"""List the callbacks of every run."""

from dataclasses import dataclass
from pathlib import Path

import lightning as L  # noqa: N812 - Lightning's own convention

from nitrogen_train.training.checkpoints import CheckpointCallback, CheckpointPolicy
from nitrogen_train.training.guards import RankCheckCallback, StepGuardCallback
from nitrogen_train.training.preemption import PreemptionCallback, StopRequest
from nitrogen_train.training.throughput import ThroughputCallback
from nitrogen_train.training.training_progress import ProgressCallback


@dataclass(frozen=True, kw_only=True)
class Guards:
    """The settings of the guards of a run; see `RunConfig`."""

    skip_loss_above: float | None
    check_ranks_every_n_steps: int


def build_callbacks(
    request: StopRequest,
    *,
    output_dir: Path,
    checkpoints: CheckpointPolicy,
    log_every_n_steps: int,
    max_wait_share: float,
    precision: str,
    guards: Guards,
) -> list[L.Callback]:
    """Guard steps and ranks, save checkpoints, measure the speed, show the progress.

    Args:
        request: To stop, of this process.
        output_dir: The run folder.
        checkpoints: When they are saved, and which are kept.
        log_every_n_steps: Optimizer steps between values of the speed.
        max_wait_share: Of the time; waiting for data longer than this is warned of.
        precision: Of the computation.
        guards: What stops a run or skips a step.
    """
    folder = output_dir / "checkpoints"
    return [
        # First: what is not finite must not be saved.
        StepGuardCallback(skip_loss_above=guards.skip_loss_above),
        RankCheckCallback(every_n_steps=guards.check_ranks_every_n_steps),
        CheckpointCallback(folder=folder, policy=checkpoints),
        PreemptionCallback(request, folder=folder),
        ThroughputCallback(
            every_n_steps=log_every_n_steps, max_wait_share=max_wait_share, precision=precision
        ),
        ProgressCallback(every_n_steps=log_every_n_steps),
    ]
