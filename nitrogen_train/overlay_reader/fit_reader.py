"""Train networks that read pads, one after the other, in the same way.

LitReader, batches ─► fit, which goes on from its checkpoint ─► load_averaged
"""

import time
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import lightning as L  # noqa: N812 - Lightning's own convention
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from nitrogen_train.training.checkpoints import AtomicCheckpointIO, read_checkpoint
from nitrogen_train.training.optimization import Optimization, averages_in, warmup_stable_decay

_TOLD_EVERY = 20
_Network = TypeVar("_Network", bound=nn.Module)


class LitReader(L.LightningModule):
    """Learns from batches that are dataclasses of tensors.

    Args:
        max_steps: In all.
        lr: The highest learning rate.
    """

    def __init__(self, *, max_steps: int, lr: float) -> None:
        super().__init__()
        self._max_steps, self._lr = max_steps, lr
        self._start = time.monotonic()

    def tell(self, **values: float) -> None:
        """Print values now and then."""
        if self.global_step % _TOLD_EVERY == 0:
            parts = "  ".join(f"{name} {value:.3f}" for name, value in values.items())
            passed = time.monotonic() - self._start
            self.print(f"step {self.global_step}  {parts}  {passed:.0f} s", flush=True)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:  # noqa: ANN401 - of any kind
        """Use what was measured of all scenes over the last half, as reading does."""
        if self.global_step >= self._max_steps // 2:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()

    def transfer_batch_to_device(
        self,
        batch: Any,  # noqa: ANN401 - of any kind
        device: torch.device,
        dataloader_idx: int,
    ) -> Any:  # noqa: ANN401 - of the same kind
        """Move a batch."""
        return type(batch)(**{name: value.to(device) for name, value in vars(batch).items()})

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Build AdamW, a schedule that falls over the last half, and an average of the weights."""
        optimization = Optimization(
            optimizer=partial(torch.optim.AdamW, lr=self._lr, weight_decay=0.02),
            schedule=partial(
                warmup_stable_decay, max_steps=self._max_steps, warmup_share=0.02, decay_share=0.5
            ),
            ema_decay=0.998,
        )
        optimizer, schedule = optimization.configure(self)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def count_steps(checkpoint: Path) -> int:
    """Count the steps that a checkpoint was trained for; 0 where there is none."""
    return int(read_checkpoint(checkpoint)["global_step"]) if checkpoint.exists() else 0


def fit(
    module: LitReader,
    batches: IterableDataset[Any],
    checkpoint: Path,
    *,
    max_steps: int,
    workers: int,
    save_every_n_steps: int,
) -> None:
    """Train from a checkpoint on, which is written now and then and in the end.

    Args:
        module: What is trained.
        batches: From the checkpoint's step on.
        checkpoint: Is begun where there is none.
        max_steps: In all.
        workers: Processes that make batches; 0 is this one.
        save_every_n_steps: How often the checkpoint is written.
    """
    trainer = L.Trainer(
        accelerator="auto",
        devices=1,
        max_steps=max_steps,
        precision="bf16-mixed",
        gradient_clip_val=1.0,
        default_root_dir=str(checkpoint.parent),
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[
            ModelCheckpoint(
                checkpoint.parent,
                filename=checkpoint.stem,
                every_n_train_steps=save_every_n_steps,
                enable_version_counter=False,
                save_top_k=1,
            )
        ],
        plugins=[AtomicCheckpointIO()],
    )
    trainer.fit(
        module,
        DataLoader(batches, batch_size=None, num_workers=workers),
        ckpt_path=str(checkpoint) if checkpoint.exists() else None,
        weights_only=True,
    )
    trainer.save_checkpoint(checkpoint)


def load_averaged(network: _Network, checkpoint: Path, *, prefix: str) -> _Network:
    """Load the averaged weights of a checkpoint into a network.

    Args:
        network: Of the same kind.
        checkpoint: Of `fit`.
        prefix: What the module calls the network, with a dot.
    """
    found = read_checkpoint(checkpoint)
    weights = found["state_dict"] | averages_in(found["optimizer_states"][0])
    network.load_state_dict({name.removeprefix(prefix): each for name, each in weights.items()})
    return network.eval()
