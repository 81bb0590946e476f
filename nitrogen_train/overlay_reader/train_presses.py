"""Train the network that tells presses by what each video shows of them.

    scene, button ─► patches of all frames ─► ButtonNetwork, which is trained ─► find_press
      ─► PressBatch ─► PressNetwork

A run that was stopped is continued by the same call.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import lightning as L  # noqa: N812 - Lightning's own convention
import numpy as np
import torch
from jaxtyping import Float, Int
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own convention
from torch.utils.data import DataLoader, IterableDataset

from nitrogen_train.actions import GAMEPAD
from nitrogen_train.overlay_reader.pad_batches import Light, read_scenes
from nitrogen_train.overlay_reader.pad_crops import (
    BUTTON_SIDE,
    cut_patches,
    find_press,
    stack_channels,
)
from nitrogen_train.overlay_reader.pad_scenes import PadScene
from nitrogen_train.overlay_reader.placed_controls import BUTTONS, PLACED
from nitrogen_train.overlay_reader.reader_networks import ButtonNetwork, PressNetwork
from nitrogen_train.training.checkpoints import AtomicCheckpointIO, read_checkpoint
from nitrogen_train.training.optimization import Optimization, averages_in, warmup_stable_decay

_BUTTONS, _FRAMES = 6, 14
"""Of a scene, in a batch."""
_HELD = 0.45
"""Share of frames with a press above which rest may show it; reading finds these by themselves."""
_PLACE_ERROR = 1.6
_TOLD_EVERY = 20


@dataclass(frozen=True, eq=False)
class PressBatch:
    """What is learned from at once."""

    patches: Float[Tensor, "n 9 32 32"]
    presses: Float[Tensor, "n 3 32 32"]
    usual: Float[Tensor, "n 4"]
    kinds: Int[Tensor, " n"]
    values: Float[Tensor, " n"]
    """How far each button is shown as pressed."""


class PressBatches(IterableDataset[PressBatch]):
    """Gives the batch of each step, from some step on without end.

    Args:
        paths: Files of scenes.
        button: Tells how likely each patch alone shows a press.
        seed: Decides about order and changes.
        first_step: The step of the first batch.
    """

    def __init__(
        self, paths: Sequence[Path], button: ButtonNetwork, *, seed: int, first_step: int = 0
    ) -> None:
        self._paths, self._seed, self._first = list(paths), seed, first_step
        self._button = button.eval()

    def __iter__(self) -> Iterator[PressBatch]:
        info = torch.utils.data.get_worker_info()
        number, count = (0, 1) if info is None else (info.id, info.num_workers)
        step = self._first + number
        while True:
            yield self.make_batch(step)
            step += count

    def make_batch(self, step: int) -> PressBatch:
        """Make the batch of a step: a file, in an order of its own in each round."""
        cycle, place = divmod(step, len(self._paths))
        order = np.random.default_rng((self._seed, cycle)).permutation(len(self._paths))
        rng = np.random.default_rng((self._seed, step, 2))
        samples = [
            sample
            for scene in read_scenes(self._paths[order[place]])
            for sample in self._sample(rng, scene)
        ]
        columns = zip(*samples, strict=True)
        return PressBatch(*(torch.from_numpy(np.concatenate(each)) for each in columns))

    def _sample(
        self, rng: np.random.Generator, scene: PadScene
    ) -> Iterator[tuple[np.ndarray, ...]]:
        """Take some buttons of a scene, in a light of its own."""
        light = Light.draw(rng)
        off, still = stack_channels(
            light.change_luma(scene.luma),
            light.change_chroma(scene.chroma),
            light.change_rest(scene.rest),
        )
        names = [
            name
            for name in BUTTONS
            if not np.isnan(scene.places[PLACED.index(name)]).any()
            and scene.buttons[:, GAMEPAD.buttons.index(name)].mean() < _HELD
        ]
        for name in rng.permutation(names)[:_BUTTONS].tolist():
            place = scene.places[PLACED.index(name)] + rng.normal(0, _PLACE_ERROR, 2)
            count = len(scene.luma)
            patches = cut_patches(off, still, range(count), [tuple(place)] * count, BUTTON_SIDE)
            kinds = np.full(count, BUTTONS.index(name), np.int64)
            with torch.inference_mode():
                logits = self._button(torch.from_numpy(patches), torch.from_numpy(kinds))
            press, usual = find_press(patches, logits.numpy())
            rows = rng.permutation(count)[:_FRAMES]
            yield (
                patches[rows],
                press[None].repeat(len(rows), axis=0),
                usual[None].repeat(len(rows), axis=0),
                kinds[rows],
                scene.buttons[rows, GAMEPAD.buttons.index(name)],
            )


class LitPressReader(L.LightningModule):
    """Learns from scenes of pads."""

    def __init__(self, *, max_steps: int, lr: float) -> None:
        super().__init__()
        self.press = PressNetwork()
        self._max_steps, self._lr = max_steps, lr
        self._start = time.monotonic()

    def training_step(self, batch: PressBatch, batch_idx: int) -> Tensor:
        """Measure the loss of a batch, and tell of it now and then."""
        logits = self.press(batch.patches, batch.presses, batch.usual, batch.kinds).float()
        loss = F.binary_cross_entropy_with_logits(logits, batch.values)
        if self.global_step % _TOLD_EVERY == 0:
            passed = time.monotonic() - self._start
            told = f"press {loss.item():.4f}  F1 {measure_f1(logits, batch.values):.3f}"
            self.print(f"step {self.global_step}  {told}  {passed:.0f} s", flush=True)
        return loss

    def on_train_batch_start(self, batch: PressBatch, batch_idx: int) -> None:
        """Use what was measured of all scenes over the last half, as reading does."""
        if self.global_step >= self._max_steps // 2:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()

    def transfer_batch_to_device(
        self, batch: PressBatch, device: torch.device, dataloader_idx: int
    ) -> PressBatch:
        """Move a batch."""
        return PressBatch(**{name: value.to(device) for name, value in vars(batch).items()})

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


def measure_f1(logits: Tensor, values: Tensor) -> float:
    """Measure F1 of presses."""
    read, true = logits > 0, values > 0.5
    return float(2 * (read & true).sum() / (read.sum() + true.sum()).clamp_min(1))


def train_presses(
    paths: Sequence[Path],
    button: ButtonNetwork,
    checkpoint: Path,
    *,
    seed: int,
    max_steps: int,
    lr: float,
    workers: int,
    save_every_n_steps: int,
) -> PressNetwork:
    """Train, or go on with training, and return the averaged network.

    Args:
        paths: Files of scenes.
        button: The network that tells presses from single patches, trained.
        checkpoint: Is written now and then, and gone on from.
        seed: Decides about order and changes.
        max_steps: In all.
        lr: The highest learning rate.
        workers: Processes that make batches.
        save_every_n_steps: How often the checkpoint is written.
    """
    step = int(read_checkpoint(checkpoint)["global_step"]) if checkpoint.exists() else 0
    if step < max_steps:
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
        batches = PressBatches(paths, button, seed=seed, first_step=step)
        trainer.fit(
            LitPressReader(max_steps=max_steps, lr=lr),
            DataLoader(batches, batch_size=None, num_workers=workers),
            ckpt_path=str(checkpoint) if checkpoint.exists() else None,
            weights_only=True,
        )
        trainer.save_checkpoint(checkpoint)
    return load_press_network(checkpoint)


def load_press_network(path: Path) -> PressNetwork:
    """Load the averaged network of a checkpoint."""
    checkpoint = read_checkpoint(path)
    weights = checkpoint["state_dict"] | averages_in(checkpoint["optimizer_states"][0])
    network = PressNetwork()
    network.load_state_dict({name.removeprefix("press."): each for name, each in weights.items()})
    return network.eval()
