"""List the callbacks of every run in `build_callbacks`, and define the guards among them.

The guards judge each step before the optimizer takes it, and compare the ranks now and then.

    loss, gradient norm ─► finite? ─► a spike? ─► step taken | skipped | run stopped
    weights, plan ─► sums of every rank ─► equal, or the run stops

Every judgement is made on a number that all ranks share, so that all of them stop or skip together
and none waits for the others. All ranks must hold the same weights and plan the same data.
"""

import hashlib
import json
import logging
import math
import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L  # noqa: N812 - Lightning's own convention
import torch
import torch.distributed
from torch import Tensor, nn
from torch.optim import Optimizer

from nitrogen_train.batch import PolicyBatch, WindowId
from nitrogen_train.pretrained.places import iter_settings
from nitrogen_train.training.checkpoints import CheckpointCallback, CheckpointPolicy
from nitrogen_train.training.datamodule import WindowDataModule
from nitrogen_train.training.module import LitPolicy
from nitrogen_train.training.preemption import PreemptionCallback, StopRequest
from nitrogen_train.training.strategies import ZeroStrategy
from nitrogen_train.training.throughput import ThroughputCallback
from nitrogen_train.training.training_progress import ProgressCallback

_log = logging.getLogger(__name__)
_WINDOW = 100
"""Steps that the running median looks back."""
_MIN_HISTORY = 20
"""Steps before the first judgement: a run's first losses fall steeply."""

_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


class RankMismatchError(ValueError):
    """Ranks that should be equal are not."""


@dataclass(frozen=True, kw_only=True)
class Guards:
    """The settings of the guards of a run; see `RunConfig`."""

    skip_loss_above: float | None
    check_ranks_every_n_steps: int


class SpikeDetector:
    """Compares each step's loss with the median of those before it.

    Skipped losses enter the median too: a level that stays is accepted after half a window.
    """

    def __init__(self, *, factor: float) -> None:
        """Judge losses above `factor` times the median, which must be above 1.

        Raises:
            ValueError: If it is not.
        """
        if factor <= 1:
            raise ValueError(f"skip_loss_above={factor} must be above 1: it multiplies a median")
        self._factor = factor
        self._losses: deque[float] = deque(maxlen=_WINDOW)
        self.num_skipped = 0

    def is_spike(self, loss: float) -> bool:
        """Judge a step's loss, and remember it."""
        median = statistics.median(self._losses) if len(self._losses) >= _MIN_HISTORY else math.inf
        self._losses.append(loss)
        is_spike = loss > self._factor * median
        self.num_skipped += is_spike
        return is_spike

    def state_dict(self) -> dict[str, Any]:
        """Remember across a resume."""
        return {"losses": list(self._losses), "num_skipped": self.num_skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue."""
        self._losses.extend(state_dict["losses"])
        self.num_skipped = state_dict["num_skipped"]


def describe_windows(windows: Sequence[WindowId]) -> str:
    """Name a batch's windows in one line, as `nitrogen-data order` does."""
    return ", ".join(f"{window.source}/{window.clip_id}@{window.frame}" for window in windows)


def explain_non_finite(
    *,
    step: int,
    rank: int,
    losses: Sequence[float],
    windows: Sequence[Sequence[WindowId]],
    gradient_norm: float,
) -> FloatingPointError:
    """Find out, on all ranks together, where a number that is not finite comes from.

    Args:
        step: Optimizer steps taken before it.
        rank: Of this process.
        losses: Of this rank's micro-batches.
        windows: Of the same.
        gradient_norm: Over all ranks; NaN if it is not known.
    """
    causes = [
        f"the loss is {loss} at step {step}, rank {rank}; its windows are {describe_windows(ids)}"
        for loss, ids in zip(losses, windows, strict=True)
        if not math.isfinite(loss)
    ]
    mine = causes[0] if causes else None
    first = windows[0] if windows else ()
    batch = f"rank {rank}: {describe_windows(first)}"
    everyone: list[tuple[str | None, str]] = [(mine, batch)]
    if torch.distributed.is_initialized():
        everyone = [(None, "")] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(everyone, (mine, batch))
    found = [cause for cause, _ in everyone if cause is not None]
    if found:
        return FloatingPointError("; ".join(found))
    return FloatingPointError(
        f"the gradient's norm is {gradient_norm} at step {step}, where the losses are finite; the "
        f"step's first windows are, on {'; '.join(text for _, text in everyone)}"
    )


@dataclass(frozen=True, kw_only=True)
class _JudgedStep:
    """What is known of a step, or will be once the device has come so far."""

    step: int
    values: Tensor
    """Loss and gradient norm, in this process's memory."""
    arrival: torch.cuda.Event | None
    """When they are there; None if they are."""
    losses: Sequence[Tensor]
    """Of this rank's micro-batches."""
    windows: Sequence[tuple[WindowId, ...]]

    @classmethod
    def take(
        cls, values: Tensor, losses: Sequence[Tensor], windows: Sequence[Any], *, step: int
    ) -> "_JudgedStep":
        """Send the values of a step here; nothing waits for them."""
        arrival = None
        if values.is_cuda:
            here = torch.empty_like(values, device="cpu", pin_memory=True)
            values = here.copy_(values, non_blocking=True)
            arrival = torch.cuda.Event()
            arrival.record()
        return cls(
            step=step,
            values=values,
            arrival=arrival,
            losses=tuple(losses),
            windows=tuple(windows),
        )

    def read(self) -> list[float]:
        """Wait for the values."""
        if self.arrival is not None:
            self.arrival.synchronize()
        return self.values.tolist()


class StepGuardCallback(L.Callback):
    """Stops at what is not finite, and skips spikes if it is told to.

    The loss is summed over ranks, and the gradient's norm is that of the reduced gradient, so all
    ranks come to the same decision. On a GPU a step is judged when the next one has been computed,
    so that the host does not wait for the device, unless spikes are skipped; under ZeRO the norm is
    known only after the step. Nothing that is not judged is saved.
    """

    def __init__(self, *, skip_loss_above: float | None) -> None:
        """Choose what to skip.

        Args:
            skip_loss_above: Times the running median of the loss; None skips nothing.
        """
        self._spikes = None if skip_loss_above is None else SpikeDetector(factor=skip_loss_above)
        self._losses: list[Tensor] = []
        self._windows: list[tuple[WindowId, ...]] = []
        self._is_step_end = False
        self._is_skipping = False
        self._open: _JudgedStep | None = None
        """The step that is not judged yet."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Reach the optimizer that ZeRO hides."""
        if self._spikes is not None and isinstance(trainer.strategy, ZeroStrategy):
            trainer.strategy.state.optimizer.register_step_pre_hook(self._drop_gradients)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: PolicyBatch, batch_idx: int
    ) -> None:
        """Remember which windows this is about."""
        micro_batch = batch_idx % trainer.accumulate_grad_batches
        if micro_batch == 0:
            self._losses.clear()
            self._windows.clear()
        self._windows.append(batch.window_ids)
        self._is_step_end = micro_batch + 1 == trainer.accumulate_grad_batches

    def on_before_backward(
        self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor
    ) -> None:
        """Remember the loss, on its device."""
        self._losses.append(loss.detach())

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer
    ) -> None:
        """Judge the step.

        Raises:
            FloatingPointError: If its loss or its gradient is not finite.
        """
        if not self._is_step_end:
            return
        is_sharded = isinstance(trainer.strategy, ZeroStrategy)
        norm = torch.zeros(()) if is_sharded else _measure_norm(pl_module)
        if isinstance(pl_module, LitPolicy) and not is_sharded:
            pl_module.gradient_norm = norm
        loss = torch.stack(self._losses).sum().double()
        if trainer.world_size > 1:
            torch.distributed.all_reduce(loss)
        values = torch.stack([loss / trainer.world_size, norm.to(loss)])
        if not is_sharded:
            pl_module.log("train/gradient_norm", values[1])
        self._judge(trainer)
        self._open = _JudgedStep.take(values, self._losses, self._windows, step=trainer.global_step)
        if self._spikes is None and self._open.arrival is not None:
            return
        mean = self._judge(trainer)
        self._is_skipping = self._spikes is not None and self._spikes.is_spike(mean)
        if self._is_skipping:
            _log.warning(
                "step %d is skipped, its loss of %g is a spike; rank %d has %s",
                trainer.global_step, mean, trainer.global_rank,
                describe_windows(self._windows[0]),
            )  # fmt: skip
            if not is_sharded:
                optimizer.zero_grad(set_to_none=True)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,  # noqa: ANN401 - as the base class
        batch: PolicyBatch,
        batch_idx: int,
    ) -> None:
        """Judge a gradient that only DeepSpeed has seen whole.

        Raises:
            FloatingPointError: If it is not finite.
        """
        if not self._is_step_end:
            return
        if isinstance(trainer.strategy, ZeroStrategy):
            norm = float(trainer.strategy.deepspeed_engine.get_global_grad_norm() or 0)
            # DeepSpeed's word for what is not finite is -1.
            if norm < 0 or not math.isfinite(norm):
                judged = _JudgedStep.take(
                    torch.zeros(2), self._losses, self._windows, step=trainer.global_step
                )
                raise self._explain(trainer, judged, gradient_norm=math.nan)
            pl_module.log("train/gradient_norm", norm)
        if self._spikes is not None:
            pl_module.log("train/skipped_steps", float(self._spikes.num_skipped))

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Let no step be saved that is not judged.

        Raises:
            FloatingPointError: If its loss or its gradient is not finite.
        """
        self._judge(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Judge the last step.

        Raises:
            FloatingPointError: As above.
        """
        self._judge(trainer)

    def _judge(self, trainer: L.Trainer) -> float:
        """Judge the step that is open, if one is, and return its loss.

        Raises:
            FloatingPointError: If its loss or its gradient is not finite.
        """
        judged, self._open = self._open, None
        if judged is None:
            return 0.0
        loss, norm = judged.read()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise self._explain(trainer, judged, gradient_norm=norm)
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Remember the losses that a spike is compared with."""
        return {} if self._spikes is None else self._spikes.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue with them; a guard that was off before begins anew."""
        if self._spikes is not None and state_dict:
            self._spikes.load_state_dict(state_dict)

    def _explain(
        self, trainer: L.Trainer, judged: _JudgedStep, *, gradient_norm: float
    ) -> FloatingPointError:
        # Lightning has divided them by the accumulation; what is finite stays so.
        return explain_non_finite(
            step=judged.step,
            rank=trainer.global_rank,
            losses=[loss.item() for loss in judged.losses],
            windows=judged.windows,
            gradient_norm=gradient_norm,
        )

    def _drop_gradients(self, optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:  # noqa: ANN401
        """Leave torch's optimizer nothing to do: no moment, no weight and no count changes."""
        if self._is_skipping:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = None


def _measure_norm(module: nn.Module) -> Tensor:
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    return nn.utils.get_total_norm(gradients)


class RankCheckCallback(L.Callback):
    """Compares the ranks at the start and every so many steps; a pass over the weights each time.

    Under ZeRO-3 a rank holds what no other does: there only what stays whole is compared.
    """

    def __init__(self, *, every_n_steps: int) -> None:
        """Choose how often.

        Args:
            every_n_steps: Optimizer steps between two checks.
        """
        self._every_n_steps = every_n_steps

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check before the first step."""
        self._check(trainer, pl_module)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,  # noqa: ANN401 - as the base class
        batch: PolicyBatch,
        batch_idx: int,
    ) -> None:
        """Check at the end of a step."""
        is_step_end = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if is_step_end and trainer.global_step % self._every_n_steps == 0:
            self._check(trainer, pl_module)

    def _check(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.world_size == 1:
            return
        datamodule: Any = getattr(trainer, "datamodule", None)
        if isinstance(datamodule, WindowDataModule):
            refuse_other_plan(datamodule.state_dict(), step=trainer.global_step)
        refuse_other_weights(dict(pl_module.named_parameters()), step=trainer.global_step)


def refuse_other_weights(parameters: dict[str, nn.Parameter], *, step: int) -> None:
    """Compare this rank's weights with those of the others; all ranks together.

    Raises:
        RankMismatchError: If they differ in any bit; on all ranks.
    """
    mine = torch.stack([_add_bits(parameter) for parameter in parameters.values()])
    table = _gather(mine)
    for rank, theirs in enumerate(table):
        differs = (theirs != table[0]).tolist()
        names = [name for name, is_other in zip(parameters, differs, strict=True) if is_other]
        if names:
            raise RankMismatchError(
                f"rank {rank} has other weights than rank 0 at step {step}: {len(names)} of "
                f"{len(parameters)} parameters differ, first {names[0]}; continue from an earlier "
                "checkpoint, and if it happens again, without that rank's machine"
            )


def refuse_other_plan(plan: dict[str, Any], *, step: int) -> None:
    """Compare this rank's place in the data with that of the others; all ranks together.

    Raises:
        RankMismatchError: If their order or their position differs; on all ranks.
    """
    digest = hashlib.sha256(json.dumps(plan, sort_keys=True, default=str).encode()).digest()
    table = _gather(torch.tensor([int.from_bytes(digest[:8], "big", signed=True)]))
    if all(torch.equal(theirs, table[0]) for theirs in table):
        return
    plans: list[Any] = [None] * len(table)
    torch.distributed.all_gather_object(
        plans, {key: str(value) for key, value in iter_settings(plan)}
    )
    for rank, other in enumerate(plans):
        details = "; ".join(
            f"{key}: {plans[0].get(key)} there, {other.get(key)} here"
            for key in sorted(plans[0].keys() | other.keys())
            if plans[0].get(key) != other.get(key)
        )
        if details:
            raise RankMismatchError(
                f"rank {rank} plans other data than rank 0 at step {step} ({details}); give all "
                "nodes the same data and the same command"
            )


def _add_bits(parameter: Tensor) -> Tensor:
    """Add up the bits of a tensor as whole numbers: any single change changes the sum."""
    values = parameter.detach().contiguous().flatten()
    return values.view(_INTEGERS[values.itemsize]).sum(dtype=torch.int64)


def _gather(value: Tensor) -> Sequence[Tensor]:
    # NCCL takes only what lies on a GPU.
    if torch.distributed.get_backend() == "nccl":
        value = value.cuda()
    table = [torch.empty_like(value) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(table, value)
    return [row.cpu() for row in table]


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
    saving = CheckpointCallback(folder=output_dir / "checkpoints", policy=checkpoints)
    return [
        # First: what is not finite must not be saved.
        StepGuardCallback(skip_loss_above=guards.skip_loss_above),
        RankCheckCallback(every_n_steps=guards.check_ranks_every_n_steps),
        saving,
        PreemptionCallback(request, checkpoints=saving),
        ThroughputCallback(
            every_n_steps=log_every_n_steps, max_wait_share=max_wait_share, precision=precision
        ),
        ProgressCallback(every_n_steps=log_every_n_steps),
    ]
