"""Train a policy under Lightning, with its optimizer and its average.

    micro-batches of all ranks ─► errors / count of the whole step ─► one loss ─► step ─► average

The loss is logged by group of controls and by source, over micro-batches and ranks.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import lightning as L  # noqa: N812 - Lightning's own convention
import numpy as np
import torch
import torch.distributed
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer

from nitrogen_train.batch import PolicyBatch, WindowId
from nitrogen_train.evaluation.metrics import OfflineMetrics
from nitrogen_train.flow.path import sample_normal
from nitrogen_train.models.policy import LossOutput
from nitrogen_train.models.visual_policy import VisualPolicy
from nitrogen_train.training.optimization import (
    Optimization,
    describe_rates,
    ema_weights,
    group_parameters,
    hold_frozen_parts,
)
from nitrogen_train.training.strategies import ZeroStrategy

_GROUPS = ("buttons", "sticks")


class StepLosses:
    """Sums on the device: nothing waits for them until `take`."""

    def __init__(self, sources: Sequence[str]) -> None:
        """Tell sources apart.

        Args:
            sources: Their names, the same on all ranks; windows of others count only in the total.
        """
        self._names = (*_GROUPS, *(f"source_{source}" for source in sources))
        self._source_ids = {source: index for index, source in enumerate(sources)}
        self._sums: Tensor | None = None

    def add(self, output: LossOutput, window_ids: Sequence[WindowId]) -> None:
        """Add a micro-batch.

        Args:
            output: Its errors.
            window_ids: Where its samples come from.
        """
        groups = torch.stack(
            [
                torch.stack([output.error_sum_buttons, output.error_sum_sticks]).double(),
                torch.stack([output.num_valid_buttons, output.num_valid_sticks]).double(),
            ]
        )
        other = len(self._source_ids)
        ids = [self._source_ids.get(window.source, other) for window in window_ids]
        per_sample = torch.stack(
            [output.error_sum_by_sample.double(), output.num_valid_by_sample.double()]
        )
        by_source = per_sample.new_zeros(2, other + 1).index_add(
            1, torch.tensor(ids, device=per_sample.device), per_sample
        )
        sums = torch.cat([groups, by_source[:, :other]], dim=1)
        self._sums = sums if self._sums is None else self._sums + sums

    def take(self, sum_over_ranks: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Hand out the means by name, and begin again; all ranks together.

        Args:
            sum_over_ranks: Sums a tensor.

        Returns:
            `train/loss` of the step, and `train/loss_…` of what occurred in it.
        """
        if self._sums is None:
            return {}
        errors, counts = sum_over_ranks(self._sums).tolist()
        self._sums = None
        num_groups = len(_GROUPS)
        total = sum(errors[:num_groups]) / max(1.0, sum(counts[:num_groups]))
        return {"train/loss": total} | {
            f"train/loss_{name}": error / count
            for name, error, count in zip(self._names, errors, counts, strict=True)
            if count
        }


class LitPolicy(L.LightningModule):
    """Trains a policy; validates its averaged weights."""

    def __init__(
        self,
        *,
        policy: VisualPolicy,
        games: tuple[str, ...],
        seed: int,
        optimization: Optimization,
        num_sampling_steps: int,
        augmentation: Callable[[PolicyBatch], PolicyBatch] | None = None,
        sources: Sequence[str] = (),
    ) -> None:
        """Hold what training needs; the optimizer is built when Lightning asks for it.

        Args:
            policy: What is trained, as far as its parameters require gradients.
            games: Names by game id, from 1; metrics are kept apart by game.
            seed: Of what is random in the network, such as dropout.
            optimization: How its weights move.
            num_sampling_steps: Solver steps of validation.
            augmentation: Changes what training sees, on its device; validation sees it as it is.
            sources: Names of the data sets, whose losses are logged apart.

        Raises:
            ValueError: If the optimization does not fit the policy.
        """
        super().__init__()
        self.policy = policy
        self._games = ("other", *games)
        self._seed = seed
        # What does not fit is refused here, before any process starts.
        group_parameters(policy, lr_scales=optimization.lr_scales)
        self._optimization = optimization
        self._augmentation = augmentation
        self._losses = StepLosses(sources)
        self._is_step_end = False
        self._num_valid: Tensor | None = None
        self._num_sampling_steps = num_sampling_steps
        self._averaged: AbstractContextManager[None] | None = None
        self._metrics = OfflineMetrics(space=policy.action_space)
        self.gradient_norm: Tensor | None = None
        """Of the step that the optimizer is about to take, on the device; whoever judges it has
        measured it, and it is clipped by the same."""

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Build the optimizer over what is not frozen, its average and its schedule."""
        # Not the parameters' device: DeepSpeed moves them later.
        trainer = self._trainer
        is_on_gpu = trainer is not None and trainer.strategy.root_device.type == "cuda"
        optimizer, schedule = self._optimization.configure(self.policy, is_on_gpu=is_on_gpu)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Count a resumed run's micro-batches as it will: their number per step may be another."""
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        done = checkpoint["global_step"] * self.trainer.accumulate_grad_batches
        for counts in (progress["total"], progress["current"]):
            counts.update(dict.fromkeys(counts, done))
        # The log's steps, however far they were counted when it was saved; where a validation is
        # due, Lightning skips it, and counts once more.
        is_validated = done % self.trainer.val_check_interval == 0
        state = checkpoint["loops"]["fit_loop"]["epoch_loop.state_dict"]
        state["_batches_that_stepped"] = checkpoint["global_step"] - int(is_validated)

    def on_train_start(self) -> None:
        """Keep frozen parts fixed; Lightning restores their modes after each validation."""
        hold_frozen_parts(self.policy)

    def on_train_batch_start(self, batch: PolicyBatch, batch_idx: int) -> None:
        """Seed the network's own randomness by place in the run, so that a resume repeats it."""
        micro_batch = batch_idx % self.trainer.accumulate_grad_batches
        if micro_batch == 0:
            self._num_valid = None
        self._is_step_end = micro_batch + 1 == self.trainer.accumulate_grad_batches
        place = (self._seed, self.global_step, micro_batch, self.global_rank)
        torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0] >> 1))

    def training_step(self, batch: PolicyBatch, batch_idx: int) -> Tensor:
        """Compute this micro-batch's part of the masked mean over the whole global batch."""
        if self._augmentation is not None:
            batch = self._augmentation(batch)
        output = self.policy.compute_loss(batch)
        if self._num_valid is None:
            # Every micro-batch of a step carries the same count: the ranks meet once.
            self._num_valid = self._sum_over_ranks(batch.num_valid_in_step).clamp(min=1)
        # Lightning divides by the accumulation, and the strategy averages over ranks; undo both.
        scale = self.trainer.accumulate_grad_batches * self.trainer.world_size
        loss = output.error_sum * scale / self._num_valid
        if self._is_logged_step:
            self._losses.add(output, batch.window_ids)
        return loss

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Log the step's loss over micro-batches and ranks, and the learning rates."""
        # DeepSpeed asks at every micro-batch.
        if not (self._is_logged_step and self._is_step_end):
            return
        losses = self._losses.take(self._sum_over_ranks)
        self.log("train/loss", losses.pop("train/loss"))
        self.log_dict(losses)
        self.log_dict(describe_rates(optimizer))

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by the norm that was measured already.

        Lightning would measure it again, and refuses fused optimizers under bf16, for the sake of a
        scaling of gradients that bf16 does without.
        """
        norm, self.gradient_norm = self.gradient_norm, None
        is_norm = gradient_clip_algorithm in (None, "norm")
        if not gradient_clip_val or isinstance(self.trainer.strategy, ZeroStrategy):
            return
        if norm is None or not is_norm:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        parameters = [p for p in self.parameters() if p.grad is not None]
        nn.utils.clip_grads_with_norm_(parameters, gradient_clip_val, norm)

    def on_validation_epoch_start(self) -> None:
        """Put the averaged weights in place."""
        self._metrics = OfflineMetrics(space=self.policy.action_space)
        self._loss_sums = torch.zeros(2, device=self.device, dtype=torch.float64)
        start = time.perf_counter()
        self._averaged = self.averaged_weights()
        self._averaged.__enter__()
        self._gather_s = time.perf_counter() - start

    def validation_step(self, batch: PolicyBatch, batch_idx: int) -> None:
        """Sum the loss, and judge the first row of each predicted chunk."""
        output = self.policy.compute_loss(batch)
        self._loss_sums += torch.stack([output.error_sum, output.num_valid]).double()
        noise = sample_normal(batch.sample_seed, batch.actions.shape[1:], stream="sampling")
        tokens = self.policy.encode_frames(
            batch.frames, frame_mask=batch.frame_mask, game_id=batch.game_id
        )
        chunk = self.policy.generate_actions(
            tokens, noise=noise, num_sampling_steps=self._num_sampling_steps
        )
        space = self.policy.action_space
        predicted = space.decode(chunk.values[:, 0].float().cpu().numpy())
        labels = space.decode(batch.actions[:, 0].cpu().numpy())
        valid = batch.action_mask[:, 0].any(dim=-1).cpu().numpy()
        for game_id in batch.game_id.unique().tolist():
            is_game = (batch.game_id == game_id).cpu().numpy()
            self._metrics.update(
                self._games[game_id],
                predicted=predicted.take(is_game),
                labels=labels.take(is_game),
                # Rows before the first of a chunk are not in a batch: only frames are judged here.
                previous=None,
                valid=valid[is_game],
            )

    def on_validation_epoch_end(self) -> None:
        """Log the sums over all ranks, and put the trained weights back."""
        self.log("time/ema_gather_s", self._gather_s)
        error_sum, num_valid = self._sum_over_ranks(self._loss_sums)
        self.log("val/loss", (error_sum / num_valid.clamp(min=1)).float())
        macro = self._merge_over_ranks().compute()["macro"]
        for ours, theirs in (("button_f1", "frame_f1"), ("stick_r2", "stick_r2")):
            if macro[theirs] is not None:
                self.log(f"val/{ours}", macro[theirs])
        if self._averaged is not None:
            self._averaged.__exit__(None, None, None)
            self._averaged = None

    def averaged_weights(self) -> AbstractContextManager[None]:
        """Run a block with the averaged weights in place; on all ranks together."""
        strategy = self.trainer.strategy
        if isinstance(strategy, ZeroStrategy):
            return strategy.averaged_weights()
        return ema_weights(self.parameters(), self._optimizer())

    @property
    def _is_logged_step(self) -> bool:
        # Lightning takes what is logged at every step and writes it at these; the bookkeeping of
        # the others costs a small policy several ms a step.
        # Lightning sets this number without declaring it.
        every = self.trainer.log_every_n_steps  # pyright: ignore[reportAttributeAccessIssue]
        return (self.global_step + 1) % every == 0

    def _optimizer(self) -> Optimizer:
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, Optimizer)  # noqa: S101 - one optimizer is configured above
        return optimizer

    def _sum_over_ranks(self, value: Tensor) -> Tensor:
        if self.trainer.world_size == 1:
            return value
        total = value.clone()
        torch.distributed.all_reduce(total)
        return total

    def _merge_over_ranks(self) -> OfflineMetrics:
        if self.trainer.world_size == 1:
            return self._metrics
        merged = OfflineMetrics(space=self.policy.action_space)
        parts: list[OfflineMetrics | None] = [None] * self.trainer.world_size
        torch.distributed.all_gather_object(parts, self._metrics)
        for part in parts:
            if part is not None:
                merged.merge(part)
        return merged
