"""Read an overlay whose skin is known: a video and a skin in, a row of controls per frame out.

    video ─► moments ─► place of the skin ─► each frame: box ─► controls, still tiles ─► Reading
                  ▲                                                    │
                  └── rows that could not be read for long: look again ┘

All frames are decoded once; stretches in which the pad was not where it was found are looked at
again, once per place. Memory does not grow with the video, but for the rows themselves.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from data_tools.shards.source_video import SourceVideo, read_video_table
from data_tools.watching.match_controls import FamilyReader, build_readers
from data_tools.watching.pad_pictures import PadPictures, Placement, vector_size
from data_tools.watching.reading import Box, PadStretch, Reading, ReadingError, RowsRead, list_runs
from data_tools.watching.register_skin import find_placement
from data_tools.watching.still_tiles import StillTiles, judge_rows
from data_tools.watching.video_colours import VideoMoment, find_background
from data_tools.watching.video_moments import (
    cut_planes,
    iter_rows,
    read_moments,
    shrink_plane,
)
from nitrogen_train.actions import GAMEPAD
from nitrogen_train.skins.skin import Skin

_LARGE = 280
"""Pixels. A pad that is at least so wide is read from the means of two by two pixels, or more."""
_CHUNK = 64
"""Frames that are read together."""
_LOOK_AGAIN_S = 1.5
"""Rows that could not be read for so long are looked at again, for the pad at another place."""
_MOST_PLACES = 8
_FEWEST_READABLE = 0.2
"""Share of the rows of a stretch that must be readable for its place to be kept."""

Progress = Callable[[int], None]
"""Is told how many further frames have been read."""


def _put(rows_read: RowsRead, start: int, reader: FamilyReader, chunk: np.ndarray) -> None:
    """Read a family's controls from a chunk into the rows from `start` on."""
    values, sure = reader.read(chunk[:, reader.places].astype(np.float32))
    rows = slice(start, start + len(chunk))
    for column, name in enumerate(reader.controls):
        place = GAMEPAD.index(name)
        if place < len(GAMEPAD.buttons):
            rows_read.buttons[rows, place] = values[:, column]
            rows_read.button_confidence[rows, place] = sure[:, column]
        else:
            place -= len(GAMEPAD.buttons)
            rows_read.sticks[rows, place] = values[:, column]
            rows_read.stick_confidence[rows, place] = sure[:, column]


class PadReader:
    """Reads the box of a pad at one place.

    Args:
        skin: The skin.
        placement: Where it is.
        moments: Frames of the video.
    """

    def __init__(self, skin: Skin, placement: Placement, moments: Sequence[VideoMoment]) -> None:
        height, width = moments[0].luma.shape
        self.placement = placement
        self.box: Box = placement.box(skin, width=width, height=height)
        self.factor = 1
        while placement.width / self.factor >= _LARGE:
            self.factor *= 2
        small = [moment.shrunk(self.factor) for moment in moments]
        height, width = small[0].luma.shape
        pictures = PadPictures(skin, placement.scaled(1 / self.factor))
        inner = pictures.placement.box(skin, width=width, height=height)
        left, top, right, bottom = (edge * self.factor for edge in inner)
        self._outer: Box = left, top, right, bottom
        background = find_background(small, pictures, inner)
        self.readers, changes = build_readers(pictures, inner, background)
        self.tiles = StillTiles(pictures, inner, background, changes)
        self._size = vector_size(inner)

    @property
    def drawn(self) -> frozenset[str]:
        """Name the controls that can be told."""
        return frozenset(name for reader in self.readers for name in reader.controls)

    def iter_chunks(self, video: SourceVideo) -> Iterator[tuple[int, UInt8[np.ndarray, "f n"]]]:
        """Cut the box from a video's frames, some together, each chunk with its first row.

        Rows that cannot be decoded are in no chunk.
        """
        chunk = np.empty((_CHUNK, self._size), np.uint8)
        start = filled = 0
        for row, frame in iter_rows(video):
            if filled and (filled == _CHUNK or row != start + filled):
                yield start, chunk[:filled]
                filled = 0
            if not filled:
                start = row
            parts = [
                shrink_plane(plane, self.factor).ravel() for plane in cut_planes(frame, self._outer)
            ]
            np.concatenate(parts, out=chunk[filled])
            filled += 1
        if filled:
            yield start, chunk[:filled]

    def read(
        self, video: SourceVideo, rows: RowsRead, start: int, progress: Progress | None
    ) -> PadStretch:
        """Read all frames of a video into the rows from `start` on."""
        seen = np.zeros(len(video), bool)
        gains, errors = [], []
        for first, chunk in self.iter_chunks(video):
            seen[first : first + len(chunk)] = True
            for reader in self.readers:
                _put(rows, start + first, reader, chunk)
            measured = self.tiles.measure(chunk)
            gains.append(measured[0].astype(np.float16))
            errors.append(measured[1].astype(np.float16))
            if progress is not None:
                progress(len(chunk))
        if gains:
            readable, residual = judge_rows(
                np.concatenate(gains).astype(np.float32),
                np.concatenate(errors).astype(np.float32),
                self.tiles.sizes,
            )
            places = start + np.flatnonzero(seen)
            rows.readable[places], rows.residual[places] = readable, residual
        return PadStretch(
            start=start,
            stop=start + len(video),
            box=self.box,
            opacity=self.placement.opacity,
            blur_px=self.placement.blur_px,
            match=self.placement.match,
        )


def read_overlay(
    path: Path, skin: Skin, *, box: Box | None = None, progress: Progress | None = None
) -> Reading:
    """Read a known skin from a video.

    Args:
        path: The video.
        skin: The skin of the pad in it.
        box: Where the pad is, to a fifth of its size; None searches the whole picture.
        progress: Is told of frames as they are read.

    Raises:
        ReadingError: If the skin is nowhere in the video, or shows no control that can be told.
        ShardError: If it is no video, or cannot be decoded.
    """
    video = read_video_table(path)
    rows = RowsRead.empty(len(video))
    reader = _look(video, skin, box)
    if reader is None:
        raise ReadingError(f"{path}: no controller of the skin {skin.name!r} was found in it")
    if not reader.readers:
        raise ReadingError(
            f"{path}: the controller is {reader.box[2] - reader.box[0]} pixels wide, too small to "
            "tell any of its controls"
        )
    stretches = [reader.read(video, rows, 0, progress)]
    stretches += _look_elsewhere(video, skin, rows, stretches[0].box)
    if not rows.readable.any():
        raise ReadingError(f"{path}: no controller of the skin {skin.name!r} was found in it")
    rows.clear(~rows.readable)
    edges_s = video.edges_ns(0) / 1e9
    return Reading(
        layout=skin.layout,
        drawn=reader.drawn,
        width=video.width,
        height=video.height,
        fps=video.fps,
        times_s=edges_s[:-1],
        buttons=rows.buttons,
        button_confidence=rows.button_confidence,
        sticks=rows.sticks,
        stick_confidence=rows.stick_confidence,
        readable=rows.readable,
        residual=rows.residual,
        stretches=tuple(_part(stretches)),
    )


def _look(video: SourceVideo, skin: Skin, box: Box | None) -> PadReader | None:
    """Find the pad in all of a video, or else in a third of it."""
    moments = read_moments(video)
    if not moments:
        return None
    third = len(moments) // 3
    parts = [moments]
    if third >= 2:
        parts += [moments[:third], moments[third : 2 * third], moments[2 * third :]]
    for part in parts:
        placement = find_placement(part, skin, box=box)
        if placement is not None:
            return PadReader(skin, placement, part)
    return None


def _look_elsewhere(video: SourceVideo, skin: Skin, rows: RowsRead, box: Box) -> list[PadStretch]:
    """Look for the pad at other places in the stretches in which it could not be read."""
    found: list[PadStretch] = []
    least = round(_LOOK_AGAIN_S * video.fps)
    todo = [run for run in list_runs(~rows.readable) if run[1] - run[0] >= least]
    while todo and len(found) < _MOST_PLACES:
        start, stop = todo.pop(0)
        part = video.cut(start, stop)
        reader = _look(part, skin, None)
        if reader is None or not reader.readers or reader.box == box:
            continue
        before = rows.readable[start:stop].sum()
        stretch = reader.read(part, rows, start, None)
        share = (rows.readable[start:stop].sum() - before) / (stop - start)
        if share < _FEWEST_READABLE * min(1.0, least / (stop - start)):
            rows.readable[start:stop] = False
            continue
        found.append(stretch)
        rest = list_runs(~rows.readable[start:stop])
        todo += [(start + a, start + b) for a, b in rest if least <= b - a < stop - start]
    return found


def _part(stretches: list[PadStretch]) -> list[PadStretch]:
    """Let stretches follow each other: a later find takes its rows from an earlier one."""
    owner = np.zeros(max(stretch.stop for stretch in stretches), int)
    for number, stretch in enumerate(stretches):
        owner[stretch.start : stretch.stop] = number
    edges = [0, *(np.flatnonzero(np.diff(owner)) + 1).tolist(), len(owner)]
    return [
        replace(stretches[owner[start]], start=start, stop=stop) for start, stop in pairwise(edges)
    ]
