"""A policy, its optimizer and its average, as Lightning trains them."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

import lightning as L  # noqa: N812 - Lightning's own convention
import numpy as np
import torch
import torch.distributed
from jaxtyping import Bool
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from nitrogen_train.actions import ActionRows
from nitrogen_train.batch import PolicyBatch
from nitrogen_train.evaluation.metrics import OfflineMetrics
from nitrogen_train.flow.noise import sample_normal
from nitrogen_train.models.nitrogen import NitroGen
from nitrogen_train.training.ema import ema_weights, track_ema


class LitPolicy(L.LightningModule):
    """Trains a policy; validates its averaged weights."""

    def __init__(
        self,
        *,
        policy: NitroGen,
        games: tuple[str, ...],
        seed: int,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        schedule: Callable[[Optimizer], LRScheduler],
        ema_decay: float,
        num_sampling_steps: int,
    ) -> None:
        """Hold what training needs; the optimizer is built when Lightning asks for it.

        Args:
            policy: What is trained.
            games: Names by game id, from 1; metrics are kept apart by game.
            seed: Of what is random in the network, such as dropout.
            optimizer: Builds the optimizer from the parameters.
            schedule: Builds the learning-rate schedule from the optimizer.
            ema_decay: See `track_ema`.
            num_sampling_steps: Solver steps of validation.
        """
        super().__init__()
        self.policy = policy
        self._games = ("other", *games)
        self._seed = seed
        self._build_optimizer = optimizer
        self._build_schedule = schedule
        self._ema_decay = ema_decay
        self._num_sampling_steps = num_sampling_steps
        self._averaged: AbstractContextManager[None] | None = None
        self._metrics = OfflineMetrics(space=policy.action_space)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Build the optimizer over what is not frozen, its average and its schedule."""
        optimizer = self._build_optimizer(p for p in self.parameters() if p.requires_grad)
        track_ema(optimizer, decay=self._ema_decay)
        schedule = self._build_schedule(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_batch_start(self, batch: PolicyBatch, batch_idx: int) -> None:
        """Seed the network's own randomness by place in the run, so that a resume repeats it."""
        micro_batch = batch_idx % self.trainer.accumulate_grad_batches
        place = (self._seed, self.global_step, micro_batch, self.global_rank)
        torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0] >> 1))

    def training_step(self, batch: PolicyBatch, batch_idx: int) -> Tensor:
        """Compute this micro-batch's part of the masked mean over the whole global batch.

        Raises:
            FloatingPointError: If the loss is not finite.
        """
        output = self.policy.compute_loss(batch)
        num_valid = self._sum_over_ranks(batch.num_valid_in_step)
        # Lightning divides by the accumulation, and the strategy averages over ranks; undo both.
        scale = self.trainer.accumulate_grad_batches * self.trainer.world_size
        loss = output.error_sum * scale / num_valid.clamp(min=1)
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss.item()} at step {self.global_step}, rank {self.global_rank}; "
                f"the batch's windows begin with {batch.window_ids[:3]}"
            )
        self.log("train/loss", output.loss, prog_bar=True)
        self.log("train/loss_buttons", output.loss_buttons)
        self.log("train/loss_sticks", output.loss_sticks)
        return loss

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Log the gradient's norm before clipping, and the learning rate."""
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        self.log("train/gradient_norm", nn.utils.get_total_norm(gradients))
        self.log("train/lr", optimizer.param_groups[0]["lr"])

    def on_validation_epoch_start(self) -> None:
        """Put the averaged weights in place."""
        self._metrics = OfflineMetrics(space=self.policy.action_space)
        self._loss_sums = torch.zeros(2, device=self.device, dtype=torch.float64)
        self._averaged = ema_weights(self, self._optimizer())
        self._averaged.__enter__()

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
                predicted=_take(predicted, is_game),
                labels=_take(labels, is_game),
                previous=_take(labels, is_game),
                valid=valid[is_game],
            )

    def on_validation_epoch_end(self) -> None:
        """Log the sums over all ranks, and put the trained weights back."""
        error_sum, num_valid = self._sum_over_ranks(self._loss_sums)
        self.log("val/loss", (error_sum / num_valid.clamp(min=1)).float(), prog_bar=True)
        macro = self._merge_over_ranks().compute()["macro"]
        for ours, theirs in (("button_f1", "frame_f1"), ("stick_r2", "stick_r2")):
            if macro[theirs] is not None:
                self.log(f"val/{ours}", macro[theirs])
        if self._averaged is not None:
            self._averaged.__exit__(None, None, None)
            self._averaged = None

    def averaged_weights(self) -> AbstractContextManager[None]:
        """Run a block with the averaged weights in place, for example to export them."""
        return ema_weights(self, self._optimizer())

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


def _take(rows: ActionRows, where: Bool[np.ndarray, " rows"]) -> ActionRows:
    return ActionRows(buttons=rows.buttons[where], sticks=rows.sticks[where])
