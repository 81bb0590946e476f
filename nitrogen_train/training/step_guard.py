"""Judges every step before the optimizer takes it, and logs what it was judged by."""

import logging
import math
from typing import Any

import lightning as L  # noqa: N812 - Lightning's own convention
import torch
import torch.distributed
from torch import Tensor, nn
from torch.optim import Optimizer

from nitrogen_train.batch import PolicyBatch, WindowId
from nitrogen_train.training.guards import SpikeDetector, describe_windows, explain_non_finite
from nitrogen_train.training.zero import ZeroStrategy

_log = logging.getLogger(__name__)


class StepGuardCallback(L.Callback):
    """Stops at what is not finite, and skips spikes if it is told to.

    The loss is summed over ranks, and the gradient's norm is that of the reduced gradient, so all
    ranks come to the same decision. Under ZeRO the norm is known only after the step; nothing has
    been saved by then.
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
        loss = torch.stack(self._losses).sum().double()
        if trainer.world_size > 1:
            torch.distributed.all_reduce(loss)
        # One wait for the device in a step.
        values = torch.stack([loss / trainer.world_size, norm.to(loss)]).tolist()
        if not all(map(math.isfinite, values)):
            raise self._explain(trainer, gradient_norm=values[1])
        if not is_sharded:
            pl_module.log("train/gradient_norm", values[1])
        self._is_skipping = self._spikes is not None and self._spikes.is_spike(values[0])
        if self._is_skipping:
            _log.warning(
                "step %d is skipped, its loss of %g is a spike; rank %d has %s",
                trainer.global_step, values[0], trainer.global_rank,
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
                raise self._explain(trainer, gradient_norm=math.nan)
            pl_module.log("train/gradient_norm", norm)
        if self._spikes is not None:
            pl_module.log("train/skipped_steps", float(self._spikes.num_skipped))

    def state_dict(self) -> dict[str, Any]:
        """Remember the losses that a spike is compared with."""
        return {} if self._spikes is None else self._spikes.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue with them; a guard that was off before begins anew."""
        if self._spikes is not None and state_dict:
            self._spikes.load_state_dict(state_dict)

    def _explain(self, trainer: L.Trainer, *, gradient_norm: float) -> FloatingPointError:
        # Lightning has divided them by the accumulation; what is finite stays so.
        return explain_non_finite(
            step=trainer.global_step,
            rank=trainer.global_rank,
            losses=[loss.item() for loss in self._losses],
            windows=self._windows,
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
