"""Read a controller of any skin: a video in, a row of controls per frame out.

    video ─► locate_pads ─► each stretch: frames from all over it ─► picture at rest ─► layout
      ─► each frame: patches of the controls, differences from rest ─► networks ─► values
      ─► sticks by their own rest and reach ─► Reading

The networks tell what has changed; what rest is, and how far a stick goes, is the video's own.
Memory does not grow with the video, but for the rows themselves.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from pathlib import Path

import numpy as np
from av.video.frame import VideoFrame
from jaxtyping import Bool, Float32, Int64
from threadpoolctl import threadpool_limits

from data_tools.shards.source_video import SourceVideo, read_video_table
from data_tools.watching.any_skin.button_looks import ButtonLooks
from data_tools.watching.any_skin.control_changes import ControlChanges, measure_change
from data_tools.watching.any_skin.held_controls import release_held
from data_tools.watching.any_skin.locate_pads import (
    LocatedPad,
    load_detector,
    locate_pads,
)
from data_tools.watching.any_skin.pad_networks import CropLayout, PadNetworks, load_networks
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
from data_tools.watching.reading import Box, PadStretch, Reading, ReadingError, RowsRead
from data_tools.watching.video_moments import cut_planes, iter_moments, iter_rows
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

_MOMENTS = 96
"""Frames of a stretch that rest is told from."""
_CHUNK = 32
_MOST_KEPT = 1500
"""Frames of a video that are kept as they are decoded: 90 MB."""
_FEWEST_PLACES, _FEWEST_USED = 5, 1
"""Controls that are drawn, and that are used, of what is taken for a controller."""
_LEAST_CERTAINTY, _LIKELY_CERTAINTY = 0.8, 0.75
"""Of the layout: sure, and likely if the looks of some buttons are parted by their own video."""
_FEWEST_SPLITS = 6
_FAINT = 0.06
"""Confidence of places that are tried where the surer ones hold no controller."""
_HALF = 0.5
_REACHED = 98
"""Per cent of the moments in which a cap is within its travel: the others may be mistakes."""
_MOVED_PX, _MOVED_SHARE = 2.0, 1.2
"""Between the ends of a stick that is used: pixels of the crop, and of its travel."""
_FEWEST_MOMENTS = 3
"""In which a button is pressed that is used."""
_IN_USE = 0.25
"""Share of a press or a travel above which a control no longer looks as at rest."""
_LONG = 0.2
"""Of the longest stretch: a shorter one does not decide which controls are drawn."""
_FEWEST_READABLE = 0.05


@threadpool_limits.wrap(limits=1, user_api="blas")
def read_any_overlay(
    path: Path,
    *,
    layout: OverlayLayout | None = None,
    box: Box | None = None,
    networks: PadNetworks | None = None,
    progress: Progress | None = None,
) -> tuple[Reading, OverlayLayout]:
    """Read a controller of any skin from a video.

    Args:
        path: The video.
        layout: Where the controls are, if a person knows; None tells it by the network.
        box: Where the controller is; None looks for it.
        networks: None takes those that are shipped.
        progress: Is told of frames as they are read.

    Returns:
        What was read, and where the controls are in the longest stretch.

    Raises:
        ReadingError: If no controller is found that is in use, or more than one at a time.
        ShardError: If it is no video, or cannot be decoded.
        ValueError: If the weights cannot be used.
    """
    networks = networks or load_networks()
    video = read_video_table(path)
    box = layout.box if layout is not None else box
    if box is not None:
        pad = LocatedPad(start=0, stop=len(video), box=box, confidence=1.0)
        readers = [_StretchReader.make(video, pad, networks, layout)]
    else:
        readers = part_stretches(list(_iter_used(video, networks)))
    if not readers:
        raise ReadingError(f"{path}: no controller was found in it")
    rows = RowsRead.empty(len(video))
    stretches, layouts = [], []
    for reader in readers:
        reader.read(rows, progress)
        stretches.append(reader.describe())
        layouts.append(reader.layout)
    if rows.readable.mean() < _FEWEST_READABLE:
        raise ReadingError(f"{path}: the controller that was found can be read in too few frames")
    lengths = np.array([stretch.stop - stretch.start for stretch in stretches])
    longest = int(lengths.argmax())
    # Of a short stretch less can be told; what it lacks has no confidence there.
    told = lengths >= _LONG * lengths.max()
    drawn = frozenset.intersection(*(layouts[each].controls for each in np.flatnonzero(told)))
    crop, place = readers[longest].crop, readers[longest].pad.box
    reading = Reading(
        layout=layouts[longest].kind,
        drawn=drawn,
        width=video.width,
        height=video.height,
        fps=video.fps,
        times_s=video.edges_ns(0)[:-1] / 1e9,
        **vars(rows),
        stretches=tuple(stretches),
    )
    return reading, layout or layouts[longest].to_video(crop, place)


@threadpool_limits.wrap(limits=1, user_api="blas")
def find_used_pads(video: SourceVideo) -> list[LocatedPad]:
    """Find the controllers that are read from a video: those that are used, by stretches.

    Raises:
        ShardError: If the video cannot be decoded.
        ValueError: If the weights cannot be used.
    """
    return [reader.pad for reader in _iter_used(video, load_networks())]


def _iter_used(video: SourceVideo, networks: PadNetworks) -> Iterator["_StretchReader"]:
    """Find what is a controller and is used; what only looks like one is passed over.

    Where nothing is, faint places are tried: the buttons of some controllers are told surely by
    their own video, though the controller looks like none that a network knows.
    """
    is_found = False
    for detector in (load_detector(), load_detector(_FAINT)):
        for pad in () if is_found else locate_pads(video, detector):
            with contextlib.suppress(ReadingError):
                reader = _StretchReader.make(video, pad, networks, None)
                is_faint = pad.confidence < load_detector().threshold
                if reader.is_pad and (reader.is_certain or not is_faint):
                    is_found = True
                    yield reader


def _as_floats(box: Box) -> tuple[float, float, float, float]:
    left, top, right, bottom = map(float, box)
    return left, top, right, bottom


def part_stretches(readers: list["_StretchReader"]) -> list["_StretchReader"]:
    """Order stretches in time, and let each end where the next one begins.

    Raises:
        ReadingError: If two controllers are there at the same time.
    """
    readers = sorted(readers, key=lambda reader: reader.pad.start)
    parted = []
    for reader, later in zip_longest(readers, readers[1:]):
        pad, video = reader.pad, reader.video
        stop = pad.stop if later is None else min(pad.stop, later.pad.start)
        if later is not None and min(pad.stop, later.pad.stop) - later.pad.start > video.fps:
            raise ReadingError(
                f"{video.path}: two controllers are on the picture from "
                f"{later.pad.start / video.fps:.0f} s on, and nothing says whose play it is; name "
                "one by --box"
            )
        if stop > pad.start:
            part = video.cut(0, stop - pad.start)
            parted.append(replace(reader, pad=replace(pad, stop=stop), video=part))
    return parted


@dataclass(frozen=True, eq=False)
class _StretchReader:
    """Reads a stretch of a video in which a controller stays at its place."""

    video: SourceVideo
    """The stretch alone."""
    pad: LocatedPad
    crop: PadCrop
    decoded: tuple["_Chunk", ...]
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
    ) -> "_StretchReader":
        """Find rest and layout of a stretch.

        Raises:
            ReadingError: If nothing of it is decoded, or no control is at its place.
        """
        part = video.cut(pad.start, pad.stop)
        crop = PadCrop(_as_floats(pad.box), video.width, video.height)
        decoded: tuple[_Chunk, ...] = ()
        if len(video) <= _MOST_KEPT:
            decoded = tuple(
                (found, np.rint(luma).astype(np.uint8), np.rint(chroma).astype(np.uint8))
                for found, luma, chroma in _iter_chunks(part, crop)
            )
        moments = _pick_moments(decoded) if decoded else _decode_moments(part, crop)
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

    def _iter_frames(self) -> Iterator["_Chunk"]:
        if not self.decoded:
            yield from _iter_chunks(self.video, self.crop)
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
        """Say where the controller was."""
        return PadStretch(
            start=self.pad.start,
            stop=self.pad.stop,
            box=self.pad.box,
            opacity=1.0,
            blur_px=0.0,
            match=self.pad.confidence,
        )


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


def _pick_moments(decoded: Sequence["_Chunk"]) -> tuple[np.ndarray, np.ndarray]:
    """Pick moments from all over a stretch that is decoded."""
    luma, chroma = (np.concatenate([chunk[part] for chunk in decoded]) for part in (1, 2))
    rows = np.linspace(0, len(luma) - 1, min(_MOMENTS, len(luma))).astype(int)
    return luma[rows].astype(np.float32), chroma[rows].astype(np.float32)


def _decode_moments(part: SourceVideo, crop: PadCrop) -> tuple[np.ndarray, np.ndarray] | None:
    """Decode moments from all over a long stretch; None where nothing can be decoded."""
    moments = [
        _cut(frame, crop)
        for _, frame in iter_moments(part, _MOMENTS)
        if (frame.width, frame.height) == (part.width, part.height)
    ]
    return _resample(moments, crop) if moments else None


def _put(
    rows: RowsRead,
    where: Int64[np.ndarray, " f"],
    name: str,
    values: Float32[np.ndarray, " f"],
) -> None:
    place = GAMEPAD.buttons.index(name)
    rows.buttons[where, place] = values
    rows.button_confidence[where, place] = np.abs(2 * values - 1)


_Chunk = tuple[Int64[np.ndarray, " f"], np.ndarray, np.ndarray]
"""Rows, and the luma and the chroma of their crops."""


def _iter_chunks(video: SourceVideo, crop: PadCrop) -> Iterator[_Chunk]:
    """Decode a video and resample the controller, some frames together, with their rows.

    Rows that cannot be decoded do not come.
    """
    rows: list[int] = []
    planes: list[list[np.ndarray]] = []
    for row, frame in iter_rows(video):
        rows.append(row)
        planes.append(_cut(frame, crop))
        if len(rows) == _CHUNK:
            yield np.array(rows), *_resample(planes, crop)
            rows, planes = [], []
    if rows:
        yield np.array(rows), *_resample(planes, crop)


def _cut(frame: VideoFrame, crop: PadCrop) -> list[np.ndarray]:
    return [plane.copy() for plane in cut_planes(frame, crop.outer)]


def _resample(planes: list[list[np.ndarray]], crop: PadCrop) -> tuple[np.ndarray, np.ndarray]:
    return crop.resample(*(np.stack(plane) for plane in zip(*planes, strict=True)))
