"""Train the network that tells presses by what each video shows of them.

    scene, button ─► patches of all frames ─► ButtonNetwork, which is trained ─► find_press
      ─► PressBatch ─► PressNetwork

A run that was stopped is continued by the same call.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from nitrogen_train.actions import GAMEPAD
from nitrogen_train.overlay_reader.fit_reader import LitReader, count_steps, fit, load_averaged
from nitrogen_train.overlay_reader.pad_batches import PLACE_ERROR, FileBatches, Light
from nitrogen_train.overlay_reader.pad_crops import (
    BUTTON_SIDE,
    cut_patches,
    find_press,
    stack_channels,
)
from nitrogen_train.overlay_reader.pad_scenes import PadScene
from nitrogen_train.overlay_reader.placed_controls import BUTTONS, PLACED
from nitrogen_train.overlay_reader.reader_networks import ButtonNetwork, PressNetwork

_BUTTONS, _FRAMES = 6, 14
"""Of a scene, in a batch."""
_HELD = 0.45
"""Share of frames with a press above which rest may show it; reading finds these by themselves."""


@dataclass(frozen=True, eq=False)
class PressBatch:
    """What is learned from at once."""

    patches: Float[Tensor, "n 9 32 32"]
    presses: Float[Tensor, "n 3 32 32"]
    usual: Float[Tensor, "n 4"]
    kinds: Int[Tensor, " n"]
    values: Float[Tensor, " n"]
    """How far each button is shown as pressed."""


class PressBatches(FileBatches[PressBatch]):
    """Gives what the network is learned from.

    Args:
        paths: Files of scenes.
        button: Tells how likely each patch alone shows a press.
        seed: Decides about order and changes.
        first_step: The step of the first batch.
    """

    _STREAM = 2

    def __init__(
        self, paths: Sequence[Path], button: ButtonNetwork, *, seed: int, first_step: int = 0
    ) -> None:
        super().__init__(paths, seed=seed, first_step=first_step)
        self._button = button.eval()

    def _join(self, rng: np.random.Generator, scenes: Sequence[PadScene]) -> PressBatch:
        columns = zip(*(s for scene in scenes for s in self._sample(rng, scene)), strict=True)
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
            place = scene.places[PLACED.index(name)] + rng.normal(0, PLACE_ERROR, 2)
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


class LitPressReader(LitReader):
    """Learns from scenes of pads."""

    def __init__(self, *, max_steps: int, lr: float) -> None:
        super().__init__(max_steps=max_steps, lr=lr)
        self.press = PressNetwork()

    def training_step(self, batch: PressBatch, batch_idx: int) -> Tensor:
        """Measure the loss of a batch."""
        logits = self.press(batch.patches, batch.presses, batch.usual, batch.kinds).float()
        loss = F.binary_cross_entropy_with_logits(logits, batch.values)
        self.tell(press=loss.item(), f1=measure_f1(logits, batch.values))
        return loss


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
    step = count_steps(checkpoint)
    if step < max_steps:
        fit(
            LitPressReader(max_steps=max_steps, lr=lr),
            PressBatches(paths, button, seed=seed, first_step=step),
            checkpoint,
            max_steps=max_steps,
            workers=workers,
            save_every_n_steps=save_every_n_steps,
        )
    return load_press_network(checkpoint)


def load_press_network(path: Path) -> PressNetwork:
    """Load the averaged network of a checkpoint."""
    return load_averaged(PressNetwork(), path, prefix="press.")
