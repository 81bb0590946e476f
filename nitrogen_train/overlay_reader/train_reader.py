"""Train the networks that read pads, and ship them.

    videos ─► scenes (files) ─► fit, with checkpoints ─► train_presses
      ─► measure on scenes of other pads ─► five files: an ONNX graph for each network, reader.json

A run that was stopped is continued by the same call.
"""

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L  # noqa: N812 - Lightning's own convention
import torch
from torch import Tensor, nn

from nitrogen_train.overlay_reader.fit_reader import LitReader, count_steps, fit, load_averaged
from nitrogen_train.overlay_reader.pad_batches import PadBatches, make_pad_store
from nitrogen_train.overlay_reader.pad_crops import (
    BUTTON_SIDE,
    CROP_HEIGHT,
    CROP_WIDTH,
    LAYOUT_STRIDE,
    NUM_CHANNELS,
    NUM_LOOKS,
    NUM_SHARES,
    NUM_VIEWS,
    STICK_SIDE,
)
from nitrogen_train.overlay_reader.reader_loss import PadBatch, measure_losses
from nitrogen_train.overlay_reader.reader_networks import (
    PadReaderNetworks,
    PressNetwork,
    find_offset,
)
from nitrogen_train.overlay_reader.train_presses import (
    PressBatch,
    PressBatches,
    load_press_network,
    train_presses,
)
from nitrogen_train.runtime.atomic_files import write_atomically

FACTS_NAME = "reader.json"
_LAST, _LAST_PRESS = "last.ckpt", "press.ckpt"
_OPSET = 17
_VALIDATION = 1
"""Added to the seed for scenes that are measured on."""


@dataclass(frozen=True, kw_only=True)
class ReaderSettings:
    """What a training run is made with."""

    videos: tuple[Path, ...]
    """Recorded play to draw pads on."""
    out_dir: Path
    """Scenes and checkpoints go here."""
    presets: tuple[str, ...] = ()
    """Artwork besides the pads that are drawn by code."""
    seed: int = 14
    num_scenes: int = 3200
    num_validation_scenes: int = 160
    max_steps: int = 2200
    num_press_steps: int = 2400
    """Steps of the network that compares patches with presses; it is trained after the others."""
    lr: float = 2e-3
    workers: int = 2
    """Processes that make scenes and batches."""
    save_every_n_steps: int = 100


class LitPadReader(LitReader):
    """Learns from scenes of pads."""

    def __init__(self, *, max_steps: int, lr: float) -> None:
        super().__init__(max_steps=max_steps, lr=lr)
        self.networks = PadReaderNetworks()

    def training_step(self, batch: PadBatch, batch_idx: int) -> Tensor:
        """Measure the loss of a batch."""
        losses = measure_losses(self.networks, batch)
        self.tell(**{name: value.item() for name, value in vars(losses).items()})
        return losses.total


def train_reader(settings: ReaderSettings) -> tuple[PadReaderNetworks, PressNetwork]:
    """Train, or go on with training, and return the networks."""
    L.seed_everything(settings.seed, verbose=False)
    paths = _make_store(settings, "pads", settings.seed, settings.num_scenes)
    last = settings.out_dir / _LAST
    step = count_steps(last)
    if step < settings.max_steps:
        fit(
            LitPadReader(max_steps=settings.max_steps, lr=settings.lr),
            PadBatches(paths, seed=settings.seed, first_step=step),
            last,
            max_steps=settings.max_steps,
            workers=max(0, settings.workers - 1),
            save_every_n_steps=settings.save_every_n_steps,
        )
    networks = load_networks(last)
    L.seed_everything(settings.seed, verbose=False)
    press = train_presses(
        paths,
        networks.button,
        settings.out_dir / _LAST_PRESS,
        seed=settings.seed,
        max_steps=settings.num_press_steps,
        lr=settings.lr,
        workers=settings.workers,
        save_every_n_steps=settings.save_every_n_steps,
    )
    return networks, press


def _make_store(settings: ReaderSettings, name: str, seed: int, num_scenes: int) -> list[Path]:
    return make_pad_store(
        settings.out_dir / name,
        seed=seed,
        num_scenes=num_scenes,
        videos=settings.videos,
        presets=settings.presets,
        workers=settings.workers,
    )


def load_networks(path: Path) -> PadReaderNetworks:
    """Load the averaged networks of a checkpoint."""
    return load_averaged(PadReaderNetworks(), path, prefix="networks.")


@dataclass(frozen=True, kw_only=True)
class ReaderScores:
    """How well pads are read on scenes of pads that were not learned from, places given."""

    place_error: float
    """Median distance of places, in hundredths of the crop's width."""
    misplaced: float
    """Share of the controls that are more than 5 hundredths off."""
    presence: float
    """Share of the controls that are said to be there or not as they are."""
    button_accuracy: float
    button_f1: float
    """Of presses, in frames as they come, beside what the same video shows of a press."""
    stick_error: float
    """Mean distance of caps, in pixels of the crop."""
    click_accuracy: float


@torch.no_grad()
def measure_reader(
    networks: PadReaderNetworks,
    press: PressNetwork,
    batches: Sequence[PadBatch],
    presses: Sequence[PressBatch],
) -> ReaderScores:
    """Measure on batches."""
    parts: dict[str, list[Tensor]] = {}

    def note(**values: Tensor) -> None:
        for name, value in values.items():
            parts.setdefault(name, []).append(value)

    for batch in batches:
        heat, presence, _, _ = networks.layout(batch.views)
        cells = heat.flatten(2).argmax(dim=2)
        found = torch.stack([cells % heat.shape[-1], cells // heat.shape[-1]], dim=2)
        off = (LAYOUT_STRIDE * (found + 0.5) - batch.places).norm(dim=2)
        note(off=off[~off.isnan()], presence=((presence > 0) == (batch.presence > 0.5)).flatten())
        stick_heat, clicks = networks.stick(batch.stick_patches)
        note(cap=(find_offset(stick_heat) - batch.stick_offsets).norm(dim=1))
        has_click = ~batch.stick_clicks.isnan()
        note(click=(clicks[has_click] > 0) == (batch.stick_clicks[has_click] > 0.5))
    for batch in presses:
        pressed = press(batch.patches, batch.presses, batch.usual, batch.kinds) > 0
        note(read=pressed, true=batch.values > 0.5)
    all_ = {name: torch.cat(each).float() for name, each in parts.items()}
    both = (all_["read"] * all_["true"]).sum()
    return ReaderScores(
        place_error=round(float(all_["off"].median()) * 100 / CROP_WIDTH, 3),
        misplaced=round(float((all_["off"] > 0.05 * CROP_WIDTH).float().mean()), 4),
        presence=round(float(all_["presence"].mean()), 4),
        button_accuracy=round(float((all_["read"] == all_["true"]).float().mean()), 4),
        button_f1=round(float(2 * both / (all_["read"].sum() + all_["true"].sum())), 4),
        stick_error=round(float(all_["cap"].mean()), 3),
        click_accuracy=round(float(all_["click"].mean()), 4),
    )


def ship_reader(settings: ReaderSettings, weights_dir: Path, *, command: str) -> ReaderScores:
    """Measure what was trained, and write the weights and what is known of them.

    Args:
        settings: Of the run.
        weights_dir: Where the files go.
        command: What was called, for whoever wants the same weights.
    """
    networks = load_networks(settings.out_dir / _LAST)
    press = load_press_network(settings.out_dir / _LAST_PRESS)
    paths = _make_store(
        settings, "validation", settings.seed + _VALIDATION, settings.num_validation_scenes
    )
    seed, steps = settings.seed + _VALIDATION, range(len(paths))
    batches = PadBatches(paths, seed=seed)
    presses = PressBatches(paths, networks.button, seed=seed)
    scores = measure_reader(
        networks,
        press,
        [batches.make_batch(step) for step in steps],
        [presses.make_batch(step) for step in steps],
    )
    export_reader(networks, press, weights_dir)
    facts: dict[str, Any] = {
        "command": command,
        "steps": count_steps(settings.out_dir / _LAST),
        "parameters": sum(e.numel() for e in (*networks.parameters(), *press.parameters())),
        "settings": {
            name: value
            for name, value in asdict(settings).items()
            if isinstance(value, int | float)
        },
        "validation": asdict(scores),
    }
    with write_atomically(weights_dir / FACTS_NAME) as temporary:
        temporary.write_text(json.dumps(facts, indent=2) + "\n")
    return scores


def export_reader(networks: PadReaderNetworks, press: PressNetwork, folder: Path) -> None:
    """Write each network as an ONNX graph; patches of any number at once."""
    folder.mkdir(parents=True, exist_ok=True)
    buttons = torch.zeros(2, NUM_CHANNELS, BUTTON_SIDE, BUTTON_SIDE)
    sticks = torch.zeros(2, NUM_CHANNELS, STICK_SIDE, STICK_SIDE)
    write = partial(_export, folder)
    views = torch.zeros(1, NUM_VIEWS, CROP_HEIGHT, CROP_WIDTH)
    write("layout", networks.layout, (views,), ["heat", "presence", "sizes", "travels"], None)
    kinds = torch.zeros(2, dtype=torch.int64)
    write("button", networks.button, (buttons, kinds), ["pressed"], ["patches", "kinds"])
    presses = torch.zeros(2, NUM_LOOKS, BUTTON_SIDE, BUTTON_SIDE)
    given = buttons, presses, torch.zeros(2, NUM_SHARES), kinds
    write("press", press, given, ["pressed"], ["patches", "presses", "usual", "kinds"])
    write("stick", networks.stick, (sticks,), ["heat", "click"], ["patches"])


def _export(
    folder: Path,
    name: str,
    network: nn.Module,
    example: tuple[Tensor, ...],
    outputs: list[str],
    inputs: list[str] | None,
) -> None:
    dynamic = {each: {0: "n"} for each in [*(inputs or ()), *outputs]} if inputs else None
    with write_atomically(folder / f"{name}.onnx") as temporary, warnings.catch_warnings():
        # The older exporter needs onnx alone, and the graphs are plain.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(),
            example,
            str(temporary),
            input_names=inputs or ["views"],
            output_names=outputs,
            dynamic_axes=dynamic,
            opset_version=_OPSET,
            dynamo=False,
        )
