"""Store scenes of pads on disk, and put them together to batches, each by its number.

    seed, number ─► make_scene ─► pads/NNNNN.npz (made once, by several processes, continued)
    step ─► which scenes, in which light, which frames and controls of them ─► PadBatch

Which scenes are in the batch of a step, and how they are changed, follows from the seed and the
step: a run that is continued learns from the same batches.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float32
from torch.nn import functional as F  # noqa: N812 - torch's own convention
from torch.utils.data import IterableDataset

from nitrogen_train.actions import GAMEPAD
from nitrogen_train.overlay_reader.pad_crops import (
    BUTTON_SIDE,
    CROP_HEIGHT,
    CROP_WIDTH,
    NUM_CHANNELS,
    STICK_SIDE,
    PadAtRest,
    cut_patches,
    stack_channels,
)
from nitrogen_train.overlay_reader.pad_scenes import GamePictures, PadScene, make_scene
from nitrogen_train.overlay_reader.placed_controls import BUTTONS, PLACED, STICKS, THUMBS
from nitrogen_train.overlay_reader.reader_loss import PadBatch
from nitrogen_train.runtime.atomic_files import write_atomically
from nitrogen_train.runtime.processes import map_in_order
from nitrogen_train.runtime.progress import Progress
from nitrogen_train.skins.open_skin import open_skin

Batch = TypeVar("Batch")

FILE = 16
"""Scenes in a file, and in a batch."""
_REST = tuple(field.name for field in fields(PadAtRest))
_COLUMNS = tuple(field.name for field in fields(PadScene) if field.name != "rest")
_FRAMES = 12
"""Frames of a scene whose patches are learned from in a batch."""
_NUM_BUTTONS, _PRESSED, _RELEASED = 8, 3, 5
"""Buttons of a scene, and frames with each of them pressed and released at most."""
_STICK_FRAMES = 5
PLACE_ERROR = 1.6
"""Standard deviation of places in pixels of the crop, as the layout network is wrong by."""


_STRETCH, _SHIFT = 0.09, 0.05
"""Most that a pad is stretched by, as a logarithm, and moved by, in halves of the crop."""


def make_pad_store(
    folder: Path,
    *,
    seed: int,
    num_scenes: int,
    videos: Sequence[Path],
    presets: Sequence[str],
    workers: int,
) -> list[Path]:
    """Make the files of scenes that are not there yet.

    Args:
        folder: Where they go.
        seed: Decides about all scenes.
        num_scenes: How many, rounded up to whole files.
        videos: Recorded play.
        presets: Artwork besides the pads that are drawn by code, by what `open_skin` takes.
        workers: Processes.

    Returns:
        The files in their order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    number = -(-num_scenes // FILE)
    paths = [folder / f"{index:05d}.npz" for index in range(number)]
    todo = [index for index, path in enumerate(paths) if not path.exists()]
    make = partial(
        _make_file, seed=seed, folder=folder, videos=tuple(sorted(videos)), presets=tuple(presets)
    )
    with Progress(
        total=number, label="draw pads", unit="file", initial=number - len(todo)
    ) as progress:
        for _ in progress.count(map_in_order(make, todo, workers=workers)):
            pass
    return paths


def _make_file(
    index: int, *, seed: int, folder: Path, videos: tuple[Path, ...], presets: tuple[str, ...]
) -> None:
    games, skins = _read_games(videos), [open_skin(preset) for preset in presets]
    scenes = [make_scene(seed, FILE * index + each, games, skins) for each in range(FILE)]
    store_scenes(folder / f"{index:05d}.npz", scenes)


@lru_cache(maxsize=1)
def _read_games(videos: tuple[Path, ...]) -> GamePictures:
    """Read recorded play once per process."""
    return GamePictures.read(videos)


def store_scenes(path: Path, scenes: Sequence[PadScene]) -> None:
    """Write scenes to a file, whole or not at all."""
    columns = {name: np.stack([getattr(each, name) for each in scenes]) for name in _COLUMNS}
    for name in _REST:
        columns[f"rest_{name}"] = np.stack([getattr(each.rest, name) for each in scenes])
    with write_atomically(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **columns)


def read_scenes(path: Path) -> list[PadScene]:
    """Read the scenes of a file."""
    with np.load(path, allow_pickle=False) as stored:
        columns = {name: stored[name] for name in _COLUMNS}
        rests = {name: stored[f"rest_{name}"] for name in _REST}
    return [
        PadScene(
            rest=PadAtRest(**{name: column[index] for name, column in rests.items()}),
            **{name: column[index] for name, column in columns.items()},
        )
        for index in range(len(columns["luma"]))
    ]


class FileBatches(IterableDataset[Batch]):
    """Gives the batch of each step, from some step on without end, of a file of scenes each.

    Args:
        paths: Files of scenes.
        seed: Decides about order and changes.
        first_step: The step of the first batch.
    """

    _STREAM: int
    """Tells the random numbers of one kind of batches from those of another."""

    def __init__(self, paths: Sequence[Path], *, seed: int, first_step: int = 0) -> None:
        self._paths, self._seed, self._first = list(paths), seed, first_step

    def __iter__(self) -> Iterator[Batch]:
        info = torch.utils.data.get_worker_info()
        number, count = (0, 1) if info is None else (info.id, info.num_workers)
        step = self._first + number
        while True:
            yield self.make_batch(step)
            step += count

    def make_batch(self, step: int) -> Batch:
        """Make the batch of a step: a file, in an order of its own in each round."""
        cycle, place = divmod(step, len(self._paths))
        order = np.random.default_rng((self._seed, cycle)).permutation(len(self._paths))
        rng = np.random.default_rng((self._seed, step, self._STREAM))
        return self._join(rng, read_scenes(self._paths[order[place]]))

    def _join(self, rng: np.random.Generator, scenes: Sequence[PadScene]) -> Batch:
        raise NotImplementedError


class PadBatches(FileBatches[PadBatch]):
    """Gives what layout, buttons and sticks are learned from."""

    _STREAM = 1

    def _join(self, rng: np.random.Generator, scenes: Sequence[PadScene]) -> PadBatch:
        return join_samples([sample_scene(rng, scene) for scene in scenes])


Sample = dict[str, np.ndarray]


def join_samples(samples: Sequence[Sample]) -> PadBatch:
    """Join what is learned from some scenes."""
    whole = {"views", "places", "sizes", "travels", "presence"}
    return PadBatch(
        **{
            name: torch.from_numpy(
                (np.stack if name in whole else np.concatenate)([each[name] for each in samples])
            )
            for name in samples[0]
        }
    )


def sample_scene(rng: np.random.Generator, scene: PadScene) -> Sample:
    """Choose what is learned from a scene, in a light of its own."""
    light = Light.draw(rng)
    rest = light.change_rest(scene.rest)
    drawn = dict(zip((*GAMEPAD.buttons, *GAMEPAD.sticks), scene.drawn, strict=True))
    placed = ~np.isnan(scene.places.sum(axis=1))
    presence = [*placed, *(drawn[name] for name in THUMBS)]
    frames = np.sort(rng.choice(len(scene.luma), min(_FRAMES, len(scene.luma)), replace=False))
    few = replace(
        scene,
        luma=scene.luma[frames],
        chroma=scene.chroma[frames],
        buttons=scene.buttons[frames],
        sticks=scene.sticks[frames],
    )
    off, still = stack_channels(light.change_luma(few.luma), light.change_chroma(few.chroma), rest)
    return {
        **stretch_views(rng, rest.views(), scene),
        "travels": scene.travels,
        "presence": np.array(presence, np.float32),
        **_sample_buttons(rng, few, off, still, placed),
        **_sample_sticks(rng, few, off, still, placed, drawn),
    }


def stretch_views(
    rng: np.random.Generator, views: Float32[np.ndarray, "7 160 256"], scene: PadScene
) -> Sample:
    """Stretch and move a pad a little, as another box would show it, and other pads are built."""
    size = np.exp(rng.uniform(-_STRETCH, _STRETCH, 2))
    shift = rng.uniform(-_SHIFT, _SHIFT, 2)
    middle = np.array([CROP_WIDTH, CROP_HEIGHT]) / 2
    back = [[1 / size[0], 0, -shift[0] / size[0]], [0, 1 / size[1], -shift[1] / size[1]]]
    shape = [1, *views.shape]
    grid = F.affine_grid(torch.tensor([back], dtype=torch.float32), shape, align_corners=False)
    seen = F.grid_sample(
        torch.from_numpy(views[None]), grid, padding_mode="border", align_corners=False
    )
    places = middle * (1 + shift) + (scene.places - middle) * size
    return {
        "views": seen[0].numpy(),
        "places": places.astype(np.float32),
        "sizes": (scene.sizes * size).astype(np.float32),
    }


@dataclass(frozen=True)
class Light:
    """Changes brightness, contrast and colours of all frames of a scene alike."""

    gain: float
    """Negative inverts."""
    lift: float
    turn: float
    """Angle by which colours are turned."""
    colourful: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Light":
        """Choose at random."""
        gain, lift = rng.uniform(0.7, 1.15), rng.uniform(-15, 15)
        return cls(
            gain=float(gain if rng.random() < 0.85 else -gain),
            lift=float(lift),
            turn=float(rng.uniform(0, 2 * np.pi) if rng.random() < 0.5 else 0.0),
            colourful=float(rng.uniform(0.5, 1.3) * (rng.random() > 0.05)),
        )

    def change_luma(self, luma: np.ndarray) -> Float32[np.ndarray, "*f 160 256"]:
        """Change luma of any kind."""
        gain, lift = np.float32(self.gain), np.float32(128 + self.lift - 128 * self.gain)
        return np.clip(luma.astype(np.float32) * gain + lift, 0, 255)

    def change_chroma(self, chroma: np.ndarray) -> Float32[np.ndarray, "*f 2 80 128"]:
        """Change chroma of any kind."""
        cos, sin = (np.float32(self.colourful * f(self.turn)) for f in (np.cos, np.sin))
        u, v = (chroma[..., index, :, :].astype(np.float32) - 128 for index in (0, 1))
        return 128 + np.stack([u * cos - v * sin, u * sin + v * cos], axis=-3)

    def change_rest(self, rest: PadAtRest) -> PadAtRest:
        """Change what was measured before: the same but where brightness is clipped."""
        gain = np.float32(abs(self.gain))
        return PadAtRest(
            luma=self.change_luma(rest.luma),
            chroma=self.change_chroma(rest.chroma),
            spread=rest.spread * gain,
            reach=rest.reach * gain,
            colour_spread=rest.colour_spread * np.float32(self.colourful),
        )


def _sample_buttons(
    rng: np.random.Generator,
    scene: PadScene,
    off: np.ndarray,
    still: np.ndarray,
    placed: np.ndarray,
) -> Sample:
    """Take some buttons in some frames, pressed and released."""
    patches, kinds, values = [], [], []
    there = [kind for kind, name in enumerate(BUTTONS) if placed[PLACED.index(name)]]
    for kind in rng.permutation(there)[:_NUM_BUTTONS].astype(int).tolist():
        name = BUTTONS[kind]
        column = scene.buttons[:, GAMEPAD.buttons.index(name)]
        rows = _choose_rows(rng, column)
        place = scene.places[PLACED.index(name)] + rng.normal(0, PLACE_ERROR, 2)
        patches.append(cut_patches(off, still, rows, [tuple(place)] * len(rows), BUTTON_SIDE))
        kinds.append(np.full(len(rows), kind))
        values.append(column[rows])
    empty = np.zeros((0, NUM_CHANNELS, BUTTON_SIDE, BUTTON_SIDE), np.float32)
    return {
        "button_patches": np.concatenate([empty, *patches]),
        "button_kinds": np.concatenate([np.zeros(0, np.int64), *kinds]).astype(np.int64),
        "button_values": np.concatenate([np.zeros(0, np.float32), *values]).astype(np.float32),
    }


def _choose_rows(rng: np.random.Generator, column: np.ndarray) -> np.ndarray:
    pressed, released = np.flatnonzero(column > 0), np.flatnonzero(column <= 0)
    return np.concatenate(
        [rng.permutation(pressed)[:_PRESSED], rng.permutation(released)[:_RELEASED]]
    ).astype(int)


def _sample_sticks(
    rng: np.random.Generator,
    scene: PadScene,
    off: np.ndarray,
    still: np.ndarray,
    placed: np.ndarray,
    drawn: dict[str, np.uint8],
) -> Sample:
    """Take each stick in some frames."""
    patches, offsets, clicks = [], [], []
    for side, name in enumerate(STICKS):
        row = PLACED.index(name)
        if not placed[row]:
            continue
        frames = rng.choice(len(off), min(_STICK_FRAMES, len(off)), replace=False)
        place = scene.places[row] + rng.normal(0, PLACE_ERROR, 2)
        columns = [GAMEPAD.sticks.index(f"{name}_{axis}") for axis in "XY"]
        cap = scene.places[row] + scene.travels[side] * scene.sticks[frames][:, columns]
        patches.append(cut_patches(off, still, frames, [tuple(place)] * len(frames), STICK_SIDE))
        offsets.append(cap - np.rint(place))
        clicked = scene.buttons[frames, GAMEPAD.buttons.index(THUMBS[side])]
        clicks.append(np.where(drawn[THUMBS[side]], clicked, np.nan))
    empty = np.zeros((0, NUM_CHANNELS, STICK_SIDE, STICK_SIDE), np.float32)
    return {
        "stick_patches": np.concatenate([empty, *patches]),
        "stick_offsets": np.concatenate([np.zeros((0, 2)), *offsets]).astype(np.float32),
        "stick_clicks": np.concatenate([np.zeros(0), *clicks]).astype(np.float32),
    }
