"""Store scenes on disk, and put them together to batches, each by its number.

    seed, chunk ─► make_scenes ─► scenes/NNNNN.npy (made once, by several processes, continued)
    step ─► which scenes, mirrored, moved and resized ─► SceneBatch

A scene takes a second to make and is learned from several times. Which scenes are in the batch of
a step, and how they are changed, follows from the seed and the step: a run that is continued
learns from the same batches.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own convention
from torch.utils.data import IterableDataset

from nitrogen_train.overlay_reader.locator_scenes import (
    CHUNK,
    StoredScenes,
    make_scenes,
    store_scenes,
)
from nitrogen_train.overlay_reader.scene_backgrounds import GameClips
from nitrogen_train.overlay_reader.video_statistics import HEIGHT, WIDTH
from nitrogen_train.runtime.processes import map_in_order
from nitrogen_train.runtime.progress import Progress

_SHRINK, _ENLARGE = 0.75, 1.35


@dataclass(frozen=True)
class SceneBatch:
    """Scenes that are learned from together."""

    statistics: Float[Tensor, "b 6 360 640"]
    """In [0, 1]."""
    pads: Float[Tensor, "b p 4"]
    """Boxes in pixels; NaN where there are fewer pads."""
    others: Float[Tensor, "b o 4"]
    """Boxes of things that are no pads; NaN where there are fewer."""

    def to(self, device: torch.device | str) -> "SceneBatch":
        """Move to a device."""
        return SceneBatch(*(each.to(device) for each in (self.statistics, self.pads, self.others)))


def make_store(
    folder: Path, *, seed: int, num_scenes: int, videos: Sequence[Path], workers: int
) -> list[Path]:
    """Make the files of scenes that are not there yet.

    Args:
        folder: Where they go.
        seed: Decides about all scenes; another seed has other pads.
        num_scenes: How many, rounded up to whole files.
        videos: Recorded play.
        workers: Processes.

    Returns:
        The files in their order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    number = -(-num_scenes // CHUNK)
    paths = [folder / f"{chunk:05d}.npy" for chunk in range(number)]
    todo = [chunk for chunk, path in enumerate(paths) if not path.exists()]
    make = partial(_make_file, seed=seed, folder=folder, videos=tuple(sorted(videos)))
    with Progress(
        total=number, label="draw scenes", unit="file", initial=number - len(todo)
    ) as progress:
        for _ in progress.count(map_in_order(make, todo, workers=workers)):
            pass
    return paths


def _make_file(chunk: int, *, seed: int, folder: Path, videos: tuple[Path, ...]) -> None:
    store_scenes(folder / f"{chunk:05d}.npy", make_scenes(seed, chunk, _read_clips(videos)))


@lru_cache(maxsize=1)
def _read_clips(videos: tuple[Path, ...]) -> GameClips:
    """Read recorded play once per process."""
    return GameClips.read(videos)


class SceneBatches(IterableDataset[SceneBatch]):
    """Gives the batch of each step, from some step on without end."""

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        seed: int,
        batch_size: int,
        first_step: int = 0,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        """Open the files.

        Args:
            paths: Files of scenes.
            seed: Decides about order and changes.
            batch_size: Scenes in a batch, of all processes together.
            first_step: The step of the first batch.
            part: Number of this process, and of how many.
        """
        self._files = [StoredScenes.open(path) for path in paths]
        self._seed, self._batch_size, self._first, self._part = seed, batch_size, first_step, part

    def __iter__(self) -> Iterator[SceneBatch]:
        step = self._first
        while True:
            yield self.make_batch(step)
            step += 1

    def make_batch(self, step: int) -> SceneBatch:
        """Put the batch of a step together: every scene once before any comes again."""
        count = len(self._files) * CHUNK
        scenes = []
        first, size = step * self._batch_size, self._batch_size
        for place in range(first + self._part[0], first + size, self._part[1]):
            visit, index = divmod(place, count)
            order = np.random.default_rng((self._seed, visit)).permutation(count)
            file, row = divmod(int(order[index]), CHUNK)
            rng = np.random.default_rng((self._seed, 1, place))
            scenes.append(_change(self._files[file], row, rng))
        return SceneBatch(*(torch.stack(each) for each in zip(*scenes, strict=True)))


def _change(
    scenes: StoredScenes, row: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Mirror, move and resize a scene so that its pads stay on the picture."""
    statistics = torch.from_numpy(scenes.statistics[row].astype(np.float32) / 255)
    pads, others = (torch.from_numpy(each[row].copy()) for each in (scenes.boxes, scenes.others))
    if rng.random() < 0.5:
        statistics = statistics.flip(-1)
        pads, others = (_mirror(each) for each in (pads, others))
    if rng.random() < 0.5:
        view = _choose_view(pads.numpy(), rng)
        if view is not None:
            statistics = _look_at(statistics, view)
            pads, others = (_move(each, view) for each in (pads, others))
    return statistics, pads, others


def _mirror(boxes: Tensor) -> Tensor:
    left, top, right, bottom = boxes.unbind(-1)
    return torch.stack([WIDTH - right, top, WIDTH - left, bottom], dim=-1)


View = tuple[float, float, float]
"""Left and top edge of what is seen, and its width by that of the picture."""


def _choose_view(pads: np.ndarray, rng: np.random.Generator) -> View | None:
    """Choose a part of the picture with all pads; None if there is none of the size."""
    size = 1 / float(np.exp(rng.uniform(np.log(_SHRINK), np.log(_ENLARGE))))
    there = pads[~np.isnan(pads).any(axis=1)]
    place = []
    for axis, whole in enumerate((WIDTH, HEIGHT)):
        low, high = min(0.0, whole * (1 - size)), max(0.0, whole * (1 - size))
        if len(there):
            low = max(low, float(there[:, axis + 2].max()) - whole * size)
            high = min(high, float(there[:, axis].min()))
        if low > high:
            return None
        place.append(float(rng.uniform(low, high)))
    return place[0], place[1], size


def _look_at(statistics: Tensor, view: View) -> Tensor:
    left, top, size = view
    scale = [[size, 0.0, (2 * left + size * WIDTH) / WIDTH - 1],
             [0.0, size, (2 * top + size * HEIGHT) / HEIGHT - 1]]  # fmt: skip
    grid = F.affine_grid(torch.tensor([scale]), [1, *statistics.shape], align_corners=False)
    return F.grid_sample(statistics[None], grid, align_corners=False)[0]


def _move(boxes: Tensor, view: View) -> Tensor:
    left, top, size = view
    return (boxes - torch.tensor([left, top, left, top])) / size
