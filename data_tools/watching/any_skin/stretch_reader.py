"""Read one stretch of a video, in which a controller stays at its place.

    moments of the stretch ─► picture at rest ─► layout ─► caps, looks of buttons, edges that stay
      ─► each frame: patches of the controls, differences from rest ─► values
      ─► which rows can be read; sticks by their own rest and reach

The networks tell what has changed; what rest is, and how far a stick goes, is the video's own.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from jaxtyping import Bool, Float32, Int64

from data_tools.shards.source_video import SourceVideo
from data_tools.watching.any_skin.button_looks import ButtonLooks
from data_tools.watching.any_skin.control_changes import ControlChanges, measure_change
from data_tools.watching.any_skin.held_controls import release_held
from data_tools.watching.any_skin.locate_pads import LocatedPad
from data_tools.watching.any_skin.pad_frames import (
    Chunk,
    decode_moments,
    iter_chunks,
    keep_frames,
    pick_moments,
)
from data_tools.watching.any_skin.pad_networks import CropLayout, PadNetworks
from data_tools.watching.any_skin.pad_presence import SteadyEdges
from data_tools.watching.any_skin.stick_caps import (
    ClickLook,
    StickSprite,
    find_sprite,
    halve_planes,
)
from data_tools.watching.any_skin.stick_range import find_stick_ranges
from data_tools.watching.overlay_layout import STICKS, OverlayLayout
from data_tools.watching.read_known import Progress
from data_tools.watching.reading import Box, PadStretch, ReadingError, RowsRead
from nitrogen_train.actions import GAMEPAD
from nitrogen_train.overlay_reader.pad_crops import (
    BUTTON_SIDE,
    STICK_SIDE,
    PadAtRest,
    PadCrop,
    cut_patches,
    find_rest,
    stack_channels,
)

_FEWEST_PLACES, _FEWEST_USED = 5, 1
"""Controls that are drawn, and that are used, of what is taken for a controller."""
_LEAST_CERTAINTY, _LIKELY_CERTAINTY = 0.8, 0.75
"""Of the layout: sure, and likely if the looks of some buttons are parted by their own video."""
_FEWEST_SPLITS = 6
_HALF = 0.5
_REACHED = 98
"""Per cent of the moments in which a cap is within its travel: the others may be mistakes."""
_MOVED_PX, _MOVED_SHARE = 2.0, 1.2
"""Between the ends of a stick that is used: pixels of the crop, and of its travel."""
_FEWEST_MOMENTS = 3
"""In which a button is pressed that is used."""
_AROUND, _BELOW = 0.04, 0.08
"""Of a controller's width, by which it may be larger than it was told."""
_IN_USE = 0.25
"""Share of a press or a travel above which a control no longer looks as at rest."""


@dataclass(frozen=True, eq=False)
class StretchReader:
    """Reads a stretch of a video in which a controller stays at its place."""

    video: SourceVideo
    """The stretch alone."""
    pad: LocatedPad
    crop: PadCrop
    decoded: tuple[Chunk, ...]
    """Of a short video, the frames: they are decoded once."""
    rest: PadAtRest
    layout: CropLayout
    looks: ButtonLooks
    edges: SteadyEdges
    sprites: Mapping[str, StickSprite]
    """Of the sticks whose caps are followed as pictures."""
    clicks: Mapping[str, ClickLook]
    """Of the sticks whose clicks have a look of their own."""
    networks: PadNetworks
    num_used: int
    """Controls that are in use at some moment."""

    @property
    def num_splits(self) -> int:
        """Count the buttons of which this video surely tells both looks."""
        return sum(split is not None for split in self.looks.splits)

    @property
    def is_certain(self) -> bool:
        """Tell a controller that both its layout and its buttons are sure of."""
        return self.num_splits >= _FEWEST_SPLITS and self.layout.certainty >= _LEAST_CERTAINTY

    @property
    def is_pad(self) -> bool:
        """Tell a controller that is used from a picture of one, and from what looks like one."""
        least = _LIKELY_CERTAINTY if self.num_splits >= _FEWEST_SPLITS else _LEAST_CERTAINTY
        return (
            self.layout.certainty >= least
            and len(self.layout.places) >= _FEWEST_PLACES
            and self.num_used >= _FEWEST_USED
        )

    @classmethod
    def make(
        cls,
        video: SourceVideo,
        pad: LocatedPad,
        networks: PadNetworks,
        layout: OverlayLayout | None,
    ) -> "StretchReader":
        """Find rest and layout of a stretch.

        Raises:
            ReadingError: If nothing of it is decoded, or no control is at its place.
        """
        part = video.cut(pad.start, pad.stop)
        left, top, right, bottom = map(float, pad.box)
        crop = PadCrop((left, top, right, bottom), video.width, video.height)
        decoded = keep_frames(video, part, crop)
        moments = pick_moments(decoded) if decoded else decode_moments(part, crop)
        if moments is None:
            raise ReadingError(f"{video.path}: nothing of the stretch with a controller is decoded")
        luma, chroma = moments
        rest = find_rest(luma, chroma)
        found = (
            networks.find_layout(rest) if layout is None else CropLayout.from_video(layout, crop)
        )
        if not found.controls:
            raise ReadingError(f"{video.path}: no control of the controller can be told")
        found, sprites, clicks, num_moved = _follow_sticks(luma, chroma, rest, found, networks)
        if sprites:
            _erase(sprites, luma, chroma)
            rest = find_rest(luma, chroma)
        rest, looks = release_held(luma, chroma, rest, found, networks)
        num_pressed = int((looks.pressed.sum(axis=0) >= _FEWEST_MOMENTS).sum())
        regions = [found.find_cells(name) for name in (*found.buttons, *found.sticks)]
        edges = SteadyEdges.find(luma, rest.luma, regions)
        return cls(
            part,
            pad,
            crop,
            decoded,
            rest,
            found,
            looks,
            edges,
            sprites,
            clicks,
            networks,
            num_moved + num_pressed,
        )

    def read(self, rows: RowsRead, progress: Progress | None) -> None:
        """Read all frames of the stretch into the rows of the video."""
        names = self.layout.sticks
        buttons, sticks = (
            ControlChanges([self.layout.find_cells(name) for name in each], num_values)
            for each, num_values in ((self.layout.buttons, 1), (names, 4))
        )
        before = None
        places, shares = [np.zeros(0, np.int64)], [self.edges.measure(self.rest.luma[None])[:0]]
        caps = [np.zeros((0, len(names), 4), np.float32)]
        for found, luma, chroma in self._iter_frames():
            change = measure_change(luma, chroma, before)
            before = luma[-1], chroma[-1]
            bare = luma.copy(), chroma.copy()
            followed = _erase(self.sprites, *bare)
            off, still = stack_channels(*bare, self.rest)
            values = buttons.fill(change, partial(self._read_buttons, off, still))
            for column, name in enumerate(self.layout.buttons):
                _put(rows, self.pad.start + found, name, values[:, column, 0])
            read_sticks = partial(self._read_sticks, luma, chroma, off, still, followed)
            caps.append(sticks.fill(change, read_sticks))
            shares.append(self.edges.measure(bare[0]))
            places.append(self.pad.start + found)
            if progress is not None:
                progress(len(luma))
        where, read = np.concatenate(places), np.concatenate(caps)
        if not len(where):
            return
        for click, stick in self.layout.clicks.items():
            _put(rows, where, click, read[:, names.index(stick), 3])
        in_use = self._tell_use(rows, where, read)
        readable, residual = self.edges.judge(np.concatenate(shares), in_use)
        rows.readable[where], rows.residual[where] = readable, residual
        self._drop_unlikely(rows, where[readable])
        self._calibrate(rows, where, read[..., :2], read[..., 2])
        rows.clear(where[~readable])

    def _iter_frames(self) -> Iterator[Chunk]:
        if not self.decoded:
            yield from iter_chunks(self.video, self.crop)
        for found, luma, chroma in self.decoded:
            own = found < len(self.video)
            if own.any():
                yield found[own], luma[own].astype(np.float32), chroma[own].astype(np.float32)

    def _tell_use(
        self, rows: RowsRead, where: Int64[np.ndarray, " n"], caps: Float32[np.ndarray, "n k 4"]
    ) -> Bool[np.ndarray, "n c"]:
        """Tell which controls are pressed, or away from rest, and look otherwise for that."""
        columns = [GAMEPAD.buttons.index(name) for name in self.layout.buttons]
        pressed = rows.buttons[where][:, columns] > _IN_USE
        travels = np.array([self.layout.travels[name] for name in self.layout.sticks])
        moved = np.abs(caps[..., :2]).max(axis=2) > _IN_USE * travels
        return np.concatenate([pressed, moved | (caps[..., 3] > _IN_USE)], axis=1)

    def _read_buttons(
        self, off: np.ndarray, still: np.ndarray, frames: np.ndarray, columns: np.ndarray
    ) -> Float32[np.ndarray, "n 1"]:
        places = [self.layout.places[self.layout.buttons[column]] for column in columns]
        patches = cut_patches(off, still, frames, places, BUTTON_SIDE)
        return self.looks.read(patches, columns, self.networks)[:, None]

    def _read_sticks(
        self,
        luma: np.ndarray,
        chroma: np.ndarray,
        off: np.ndarray,
        still: np.ndarray,
        followed: Mapping[str, np.ndarray],
        frames: np.ndarray,
        columns: np.ndarray,
    ) -> Float32[np.ndarray, "n 4"]:
        places = [self.layout.places[self.layout.sticks[column]] for column in columns]
        patches = cut_patches(off, still, frames, places, STICK_SIDE)
        values = self.networks.read_sticks(patches)
        for column, name in enumerate(self.layout.sticks):
            own = columns == column
            if name in followed:
                values[own, :3] = followed[name][frames[own]]
            if name in self.clicks:
                shown = luma[frames[own]], chroma[frames[own]]
                values[own, 3] = self.clicks[name].read(*shown, values[own])
        return values

    def _drop_unlikely(self, rows: RowsRead, where: Int64[np.ndarray, " n"]) -> None:
        """Release what is nowhere likely to be pressed: refining makes presses of weak ones."""
        for name in (*self.layout.buttons, *self.layout.clicks):
            column = GAMEPAD.buttons.index(name)
            if "TRIGGER" not in name and not (rows.buttons[where, column] > _HALF).any():
                rows.buttons[where, column] = 0

    def _calibrate(
        self,
        rows: RowsRead,
        where: Int64[np.ndarray, " rows"],
        offsets: Float32[np.ndarray, "rows k 2"],
        sure: Float32[np.ndarray, "rows k"],
    ) -> None:
        """Turn places of caps into axes, by the rest and the reach of this video."""
        good = rows.readable[where]
        names = self.layout.sticks
        ranges = find_stick_ranges(
            [offsets[good, column] for column in range(len(names))],
            [self.layout.travels[name] for name in names],
        )
        for column, (name, (rest, reach)) in enumerate(zip(names, ranges, strict=True)):
            values = np.clip((offsets[:, column] - rest) / reach, -1, 1)
            for axis, control in enumerate(STICKS[name]):
                place = GAMEPAD.sticks.index(control)
                rows.sticks[where, place] = values[:, axis]
                rows.stick_confidence[where, place] = sure[:, column]

    def describe(self) -> PadStretch:
        """Say where the controller was, all that it may touch."""
        return PadStretch(
            start=self.pad.start,
            stop=self.pad.stop,
            box=self._find_touched(),
            opacity=1.0,
            blur_px=0.0,
            match=self.pad.confidence,
        )

    def _find_touched(self) -> Box:
        """Grow the box to its controls, which show the answer, and to the edges of the body.

        Where the body ends is told less surely than where its controls are; its grips reach down.
        """
        left, top, right, bottom = self.pad.box
        wide = right - left
        edges = [
            (left - _AROUND * wide, top - _AROUND * wide),
            (right + _AROUND * wide, bottom + _BELOW * wide),
        ]
        scale = self.crop.scale
        for name, place in self.layout.places.items():
            x, y = self.crop.to_video(*place)
            travel = self.layout.travels.get(name, 0.0) * scale
            across, down = (side * scale / 2 + travel for side in self.layout.sizes[name])
            edges += [(x - across, y - down), (x + across, y + down)]
        (low_x, low_y), (high_x, high_y) = np.min(edges, axis=0), np.max(edges, axis=0)
        return (
            max(0, math.floor(low_x)),
            max(0, math.floor(low_y)),
            min(self.crop.width, math.ceil(high_x)),
            min(self.crop.height, math.ceil(high_y)),
        )


def _put(
    rows: RowsRead,
    where: Int64[np.ndarray, " f"],
    name: str,
    values: Float32[np.ndarray, " f"],
) -> None:
    place = GAMEPAD.buttons.index(name)
    rows.buttons[where, place] = values
    rows.button_confidence[where, place] = np.abs(2 * values - 1)


def _follow_sticks(
    luma: Float32[np.ndarray, "m 160 256"],
    chroma: Float32[np.ndarray, "m 2 80 128"],
    rest: PadAtRest,
    layout: CropLayout,
    networks: PadNetworks,
) -> tuple[CropLayout, dict[str, StickSprite], dict[str, ClickLook], int]:
    """Find what this video shows of its sticks.

    Returns:
        The layout with the travels of the caps that are followed as pictures, these pictures, the
        looks of clicks, and the number of sticks that move.
    """
    off, still = stack_channels(luma, chroma, rest)
    planes = halve_planes(luma, chroma)
    sprites, clicks, travels, moved = {}, {}, dict(layout.travels), 0
    for name in layout.sticks:
        place, size = layout.places[name], layout.sizes[name]
        patches = cut_patches(off, still, np.arange(len(luma)), [place] * len(luma), STICK_SIDE)
        caps = networks.read_sticks(patches)
        sprite = find_sprite(planes, place, size, caps[:, :2])
        # A cap that is hardly moved is nothing that the network would not see.
        if sprite is not None and np.ptp(sprite.read(planes)[:, :2], axis=0).max() > travels[name]:
            sprites[name] = sprite
            caps[:, :3] = sprite.read(planes)
            travels[name] = float(np.percentile(np.abs(caps[:, :2]).max(axis=1), _REACHED))
        if name in layout.clicks.values():
            look = ClickLook.find(luma, chroma, place, size, caps)
            if look is not None:
                clicks[name] = look
        least_px = max(_MOVED_PX, _MOVED_SHARE * layout.travels[name])
        moved += int(np.ptp(caps[:, :2], axis=0).max() > least_px)
    # The network has not learned to tell clicks of caps that it does not see.
    told = {
        thumb: stick
        for thumb, stick in layout.clicks.items()
        if stick not in sprites or stick in clicks
    }
    return replace(layout, travels=travels, clicks=told), sprites, clicks, moved


def _erase(
    sprites: Mapping[str, StickSprite], luma: np.ndarray, chroma: np.ndarray
) -> dict[str, Float32[np.ndarray, "f 3"]]:
    """Take the caps that are followed off frames, in place, and say where they were."""
    if not sprites:
        return {}
    planes = halve_planes(luma, chroma)
    caps = {name: sprite.read(planes) for name, sprite in sprites.items()}
    for name, sprite in sprites.items():
        sprite.erase(luma, chroma, planes, caps[name])
    return caps
