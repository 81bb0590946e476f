"""Train the networks that find pads, and ship them.

    videos ─► scenes (files) ─► fit, with checkpoints ─► measure on scenes of other pads
      ─► threshold ─► locator.onnx, locator.json

A run that was stopped is continued by the same call.
"""

import json
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L  # noqa: N812 - Lightning's own convention
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.utils.data import DataLoader

from nitrogen_train.overlay_reader.locator_batches import SceneBatch, SceneBatches, make_store
from nitrogen_train.overlay_reader.locator_loss import measure_losses
from nitrogen_train.overlay_reader.locator_network import PadLocator, measure_overlap
from nitrogen_train.overlay_reader.locator_scenes import StoredScenes
from nitrogen_train.overlay_reader.video_statistics import HEIGHT, PLANES, WIDTH
from nitrogen_train.runtime.atomic_files import write_atomically
from nitrogen_train.training.checkpoints import AtomicCheckpointIO, read_checkpoint
from nitrogen_train.training.optimization import (
    Optimization,
    averages_in,
    warmup_stable_decay,
)

WEIGHTS_NAME = "locator.onnx"
FACTS_NAME = "locator.json"
_LAST = "last.ckpt"
_OPSET = 17
_PREFIX = "locator."
_TOLD_EVERY = 20
_VALIDATION = 1
"""Added to the seed for scenes that are measured on."""
_MISSED = 0.08
"""Share of the pads that may be missed for want of confidence. What else is found is told from pads
when it is read."""


@dataclass(frozen=True, kw_only=True)
class LocatorSettings:
    """What a training run is made with."""

    videos: tuple[Path, ...]
    """Recorded play to draw pads on."""
    out_dir: Path
    """Scenes, checkpoints and weights go here."""
    seed: int = 14
    num_scenes: int = 1984
    num_validation_scenes: int = 256
    max_steps: int = 4000
    batch_size: int = 8
    lr: float = 2e-3
    processes: int = 1
    """Processes that train, each on its part of a batch with one thread."""
    workers: int = 2
    """Processes that make scenes."""
    save_every_n_steps: int = 100


class LitPadLocator(L.LightningModule):
    """Learns from scenes."""

    def __init__(self, settings: LocatorSettings) -> None:
        super().__init__()
        self.locator = PadLocator()
        self._settings = settings
        self._start = time.monotonic()

    def training_step(self, batch: SceneBatch, batch_idx: int) -> Tensor:
        """Measure the loss of a batch, and tell of it now and then."""
        seed = (self._settings.seed, self.global_step, self.global_rank)
        state = int(np.random.SeedSequence(seed).generate_state(1)[0])
        generator = torch.Generator().manual_seed(state)
        losses = measure_losses(self.locator, batch.statistics, batch.pads, batch.others, generator)
        if self.global_step % _TOLD_EVERY == 0:
            parts = "  ".join(f"{name} {value.item():.3f}" for name, value in vars(losses).items())
            passed = time.monotonic() - self._start
            self.print(f"step {self.global_step}  {parts}  {passed:.0f} s", flush=True)
        return losses.total

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Build AdamW, a schedule that falls at the end, and an average of the weights."""
        settings = self._settings
        optimization = Optimization(
            optimizer=partial(torch.optim.AdamW, lr=settings.lr, weight_decay=0.02),
            schedule=partial(
                warmup_stable_decay,
                max_steps=settings.max_steps,
                warmup_share=0.02,
                decay_share=0.4,
            ),
            ema_decay=0.998,
        )
        optimizer, schedule = optimization.configure(self)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def train_locator(settings: LocatorSettings) -> PadLocator:
    """Train, or go on with training, and return the averaged networks."""
    L.seed_everything(settings.seed, verbose=False)
    if settings.processes > 1:
        torch.set_num_threads(1)
    paths = make_store(
        settings.out_dir / "scenes",
        seed=settings.seed,
        num_scenes=settings.num_scenes,
        videos=settings.videos,
        workers=settings.workers,
    )
    last = settings.out_dir / _LAST
    step = int(read_checkpoint(last)["global_step"]) if last.exists() else 0
    if step < settings.max_steps:
        _fit(settings, paths, step)
    return load_locator(last)


def _fit(settings: LocatorSettings, paths: Sequence[Path], step: int) -> None:
    last = settings.out_dir / _LAST
    trainer = L.Trainer(
        accelerator="cpu",
        devices=settings.processes,
        strategy="ddp" if settings.processes > 1 else "auto",
        max_steps=settings.max_steps,
        gradient_clip_val=1.0,
        default_root_dir=str(settings.out_dir),
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=[
            ModelCheckpoint(
                settings.out_dir,
                filename="last",
                every_n_train_steps=settings.save_every_n_steps,
                enable_version_counter=False,
                save_top_k=1,
            )
        ],
        plugins=[AtomicCheckpointIO()],
    )
    model = LitPadLocator(settings)
    batches = SceneBatches(
        paths,
        seed=settings.seed,
        batch_size=settings.batch_size,
        first_step=step,
        part=(trainer.global_rank, trainer.world_size),
    )
    loader = DataLoader(batches, batch_size=None)
    trainer.fit(model, loader, ckpt_path=str(last) if last.exists() else None, weights_only=True)
    trainer.save_checkpoint(last)


def load_locator(path: Path) -> PadLocator:
    """Load the averaged networks of a checkpoint."""
    checkpoint = read_checkpoint(path)
    weights = checkpoint["state_dict"] | averages_in(checkpoint["optimizer_states"][0])
    locator = PadLocator()
    locator.load_state_dict({name.removeprefix(_PREFIX): each for name, each in weights.items()})
    return locator.eval()


@dataclass(frozen=True, kw_only=True)
class LocatorScores:
    """How well pads are found on scenes of pads that were not learned from."""

    threshold: float
    """Confidence from which on a place is a pad."""
    scenes: int
    pads: int
    found: float
    """Share of the pads that are found with an overlap above one half."""
    overlap: float
    """Mean overlap of the pads that are found."""
    false_finds: float
    """Share of the scenes without a pad in which one is found."""


@torch.no_grad()
def measure_locator(locator: PadLocator, paths: Sequence[Path]) -> LocatorScores:
    """Measure on stored scenes, and choose the threshold there."""
    best_false, pads = [], []
    for path in paths:
        stored = StoredScenes.open(path)
        for statistics, truth in zip(stored.statistics, stored.boxes, strict=True):
            boxes, scores = locator(torch.from_numpy(statistics[None].copy()))
            there = torch.from_numpy(truth)
            there = there[~there.isnan().any(1)]
            if not len(there):
                best_false.append(float(scores.max()))
            for pad in there:
                overlaps = measure_overlap(boxes, pad.expand_as(boxes))
                near = torch.where(overlaps > 0.5, scores, torch.zeros_like(scores))
                pads.append((float(near.max()), float(overlaps[near.argmax()])))
    none = np.array(best_false or [0.0])
    confidence, overlap = (np.array(each) for each in zip(*pads, strict=True))
    threshold = round(float(np.quantile(confidence, _MISSED)), 3)
    is_found = confidence > threshold
    return LocatorScores(
        threshold=threshold,
        scenes=len(none) + len(pads),
        pads=len(pads),
        found=round(float(is_found.mean()), 4),
        overlap=round(float(overlap[is_found].mean()) if is_found.any() else 0.0, 4),
        false_finds=round(float((none > threshold).mean()), 4),
    )


def ship_locator(settings: LocatorSettings, weights_dir: Path, *, command: str) -> LocatorScores:
    """Measure what was trained, and write the weights and what is known of them.

    Args:
        settings: Of the run.
        weights_dir: Where `locator.onnx` and `locator.json` go.
        command: What was called, for whoever wants the same weights.
    """
    locator = load_locator(settings.out_dir / _LAST)
    paths = make_store(
        settings.out_dir / "validation",
        seed=settings.seed + _VALIDATION,
        num_scenes=settings.num_validation_scenes,
        videos=settings.videos,
        workers=settings.workers,
    )
    scores = measure_locator(locator, paths)
    weights_dir.mkdir(parents=True, exist_ok=True)
    export_locator(locator, weights_dir / WEIGHTS_NAME)
    facts: dict[str, Any] = {
        "command": command,
        "planes": list(PLANES),
        "steps": int(read_checkpoint(settings.out_dir / _LAST)["global_step"]),
        "parameters": sum(each.numel() for each in locator.parameters()),
        "settings": {
            name: value
            for name, value in asdict(settings).items()
            if isinstance(value, int | float)
        },
        "threshold": scores.threshold,
        "validation": asdict(scores),
    }
    with write_atomically(weights_dir / FACTS_NAME) as temporary:
        temporary.write_text(json.dumps(facts, indent=2) + "\n")
    return scores


def export_locator(locator: PadLocator, path: Path) -> None:
    """Write the networks as one ONNX graph: statistics in, boxes and confidences out."""
    example = torch.zeros(1, len(PLANES), HEIGHT, WIDTH, dtype=torch.uint8)
    with write_atomically(path) as temporary, warnings.catch_warnings():
        # The older exporter needs onnx alone, and unrolls what is fixed here anyway.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            locator.eval(),
            (example,),
            str(temporary),
            input_names=["statistics"],
            output_names=["boxes", "confidence"],
            opset_version=_OPSET,
            dynamo=False,
        )
