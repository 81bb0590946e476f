"""Read a controller of any skin: a video in, a row of controls per frame out.

    video ─► locate_pads ─► each stretch: frames from all over it ─► picture at rest ─► layout
      ─► each frame: patches of the controls, differences from rest ─► networks ─► values
      ─► sticks by their own rest and reach ─► Reading

The networks tell what has changed; what rest is, and how far a stick goes, is the video's own.
Memory does not grow with the video, but for the rows themselves.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime
from av.video.frame import VideoFrame
from jaxtyping import Bool, Float32

from data_tools.shards.source_video import SourceVideo, read_video_table
from data_tools.watching.locate_pads import LocatedPad, locate_pads
from data_tools.watching.overlay_layout import STICKS, OverlayLayout
from data_tools.watching.read_known import Progress
from data_tools.watching.reading import Box, PadStretch, Reading, ReadingError
from data_tools.watching.video_moments import cut_planes
from nitrogen_train.actions import GAMEPAD
from nitrogen_train.data.schema import ShardError
from nitrogen_train.overlay_reader.pad_crops import (
    BUTTON_SIDE,
    HEAT_STRIDE,
    LAYOUT_STRIDE,
    STICK_SIDE,
    PadAtRest,
    PadCrop,
    cut_patches,
    find_rest,
    stack_channels,
)
from nitrogen_train.overlay_reader.placed_controls import BUTTONS, PLACED, THUMBS

WEIGHTS_DIR = Path(__file__).parent / "weights"
_MOMENTS = 160
"""Frames of a stretch that rest is told from."""
_CHUNK = 32
_LEAST_PRESENCE = 0.0
"""Logit from which on a control is there."""
_PRESENT = 0.5
"""Share of the usual agreement with rest, below which a part of the controller is covered."""
_TILES = (4, 5)
_TEXTURED = 6.0
"""Mean gradient in levels per pixel from which on a part of the controller can be recognized."""
_FEWEST_READABLE = 0.05
_REACH = 99
"""Percentile of a stick's distance from rest that is taken for its reach."""
_LEAST_REACH = 0.6
"""Of the expected travel: a stick that is hardly moved is not stretched to its ends."""


class PadNetworks:
    """The networks, as they were shipped.

    Args:
        folder: Where `layout.onnx`, `button.onnx`, `stick.onnx` and `reader.json` are.

    Raises:
        ValueError: If a file is missing, or is not what training writes.
    """

    def __init__(self, folder: Path = WEIGHTS_DIR) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self.facts = json.loads((folder / "reader.json").read_bytes())
            self._layout, self._button, self._stick = (
                onnxruntime.InferenceSession(
                    (folder / f"{name}.onnx").read_bytes(),
                    options,
                    providers=["CPUExecutionProvider"],
                )
                for name in ("layout", "button", "stick")
            )
            shape = list(self._layout.get_outputs()[0].shape)
        except Exception as error:  # onnxruntime's own have no common parent
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"{folder}: no weights of the reader: {reason}") from error
        if shape[1:2] != [len(PLACED)]:
            raise ValueError(f"{folder}: no weights of the reader: its layout gives {shape}")

    def find_layout(self, rest: PadAtRest) -> "CropLayout":
        """Tell where the controls of a controller are in its crop."""
        heat, presence, sizes, travels = (
            np.asarray(each) for each in self._layout.run(None, {"views": rest.views()[None]})
        )
        logits = dict(zip((*PLACED, *THUMBS), presence[0].tolist(), strict=True))
        places, found = {}, {}
        for index, name in enumerate(PLACED):
            if logits[name] > _LEAST_PRESENCE:
                (x, y), cell = _find_peak(heat[0, index])
                width, height = np.exp(
                    sizes[0].reshape(2, len(PLACED), *heat.shape[2:])[:, index, cell[0], cell[1]]
                ).tolist()
                places[name] = (x, y)
                found[name] = (width, height)
        clicks = {
            thumb: stick
            for thumb, stick in zip(THUMBS, STICKS, strict=True)
            if logits[thumb] > _LEAST_PRESENCE and stick in places
        }
        reach = dict(zip(STICKS, np.exp(travels[0]).tolist(), strict=True))
        return CropLayout(
            places=places,
            sizes=found,
            travels={name: reach[name] for name in STICKS if name in places},
            clicks=clicks,
        )

    def read_buttons(
        self, patches: Float32[np.ndarray, "f p 8 32 32"], kinds: list[int]
    ) -> Float32[np.ndarray, "f p"]:
        """Return how far each button is pressed, in [0, 1]."""
        frames, number = patches.shape[:2]
        (logits,) = self._button.run(
            None,
            {
                "patches": patches.reshape(-1, *patches.shape[2:]),
                "kinds": np.tile(np.array(kinds, np.int64), frames),
            },
        )
        logits = np.clip(np.asarray(logits, np.float32), -30, 30)
        return (1 / (1 + np.exp(-logits))).reshape(frames, number)

    def read_sticks(
        self, patches: Float32[np.ndarray, "f p 8 64 64"]
    ) -> tuple[
        Float32[np.ndarray, "f p 2"], Float32[np.ndarray, "f p"], Float32[np.ndarray, "f p"]
    ]:
        """Read patches around sticks.

        Returns:
            How far caps are from the middle of their patch, in pixels of the crop, how sure that
            is, and how far each is clicked.
        """
        frames, number = patches.shape[:2]
        heat, clicks = self._stick.run(None, {"patches": patches.reshape(-1, *patches.shape[2:])})
        offsets, sure = find_caps(np.asarray(heat, np.float32))
        clicks = 1 / (1 + np.exp(-np.clip(np.asarray(clicks, np.float32), -30, 30)))
        shape = (frames, number)
        return offsets.reshape(*shape, 2), sure.reshape(shape), clicks.reshape(shape)


def find_caps(
    heat: Float32[np.ndarray, "n 32 32"],
) -> tuple[Float32[np.ndarray, "n 2"], Float32[np.ndarray, " n"]]:
    """Find the mean place around the peak of each heat map, and the share of the heat there."""
    weights = np.exp(heat - heat.max(axis=(1, 2), keepdims=True))
    weights /= weights.sum(axis=(1, 2), keepdims=True)
    peak = weights.reshape(len(heat), -1).argmax(axis=1)
    rows, columns = np.divmod(peak, heat.shape[2])
    steps = np.arange(heat.shape[1])
    near = (np.abs(steps[None, :] - rows[:, None]) <= 2)[:, :, None] & (
        np.abs(steps[None, :] - columns[:, None]) <= 2
    )[:, None, :]
    weights = weights * near
    share = weights.sum(axis=(1, 2))
    middles = HEAT_STRIDE * (steps + 0.5) - STICK_SIDE / 2
    x = (weights.sum(axis=1) * middles).sum(axis=1) / share
    y = (weights.sum(axis=2) * middles).sum(axis=1) / share
    return np.stack([x, y], axis=1).astype(np.float32), share.astype(np.float32)


def _find_peak(heat: Float32[np.ndarray, "h w"]) -> tuple[tuple[float, float], tuple[int, int]]:
    """Find the mean place around the hottest cell, in pixels of the crop, and the cell."""
    row, column = (int(each) for each in np.unravel_index(int(heat.argmax()), heat.shape))
    rows = np.arange(max(0, row - 2), min(heat.shape[0], row + 3))
    columns = np.arange(max(0, column - 2), min(heat.shape[1], column + 3))
    part = np.exp(heat[np.ix_(rows, columns)] - heat[row, column])
    part = part / part.sum()
    x = float((part.sum(axis=0) * (columns + 0.5)).sum() * LAYOUT_STRIDE)
    y = float((part.sum(axis=1) * (rows + 0.5)).sum() * LAYOUT_STRIDE)
    return (x, y), (row, column)


@dataclass(frozen=True, kw_only=True)
class CropLayout:
    """Where controls are in the crop of a controller, in its pixels."""

    places: Mapping[str, tuple[float, float]]
    """The middle of each, of sticks at rest."""
    sizes: Mapping[str, tuple[float, float]]
    travels: Mapping[str, float]
    clicks: Mapping[str, str]
    """The stick of each click that is drawn."""

    @property
    def buttons(self) -> list[str]:
        """Name the buttons that have a place, in the order of `BUTTONS`."""
        return [name for name in BUTTONS if name in self.places]

    @property
    def sticks(self) -> list[str]:
        """Name the sticks that have a place."""
        return [name for name in STICKS if name in self.places]

    @property
    def controls(self) -> frozenset[str]:
        """Name all controls that can be read, sticks by their axes."""
        axes = (axis for name in self.sticks for axis in STICKS[name])
        return frozenset([*self.buttons, *self.clicks, *axes])

    @property
    def kind(self) -> str:
        """Tell the kind of controller by where the left stick and the direction pad are."""
        arms = [self.places[n] for n in self.places if n.startswith("DPAD")]
        if not arms or "LEFT_STICK" not in self.places:
            return "generic"
        dpad = np.mean(arms, axis=0)
        stick = self.places["LEFT_STICK"]
        return "xbox" if stick[1] < dpad[1] else "playstation"

    def to_video(self, crop: PadCrop, box: Box) -> OverlayLayout:
        """Say the same in pixels of the video."""
        places = {}
        for name, (x, y) in self.places.items():
            width, height = (side * crop.scale for side in self.sizes[name])
            middle = crop.to_video(x, y)
            place = middle[0] - width / 2, middle[1] - height / 2, width, height
            places[name] = tuple(round(each, 2) for each in place)
        places |= {click: places[stick] for click, stick in self.clicks.items()}
        return OverlayLayout(
            layout=self.kind,
            picture=(crop.width, crop.height),
            box=box,
            places=places,
            travels={name: round(each * crop.scale, 2) for name, each in self.travels.items()},
        )

    @classmethod
    def from_video(cls, layout: OverlayLayout, crop: PadCrop) -> "CropLayout":
        """Take a layout that a person corrected."""
        places, sizes = {}, {}
        for name, (left, top, width, height) in layout.places.items():
            if name in PLACED:
                places[name] = crop.to_crop(left + width / 2, top + height / 2)
                sizes[name] = width / crop.scale, height / crop.scale
        return cls(
            places=places,
            sizes=sizes,
            travels={name: each / crop.scale for name, each in layout.travels.items()},
            clicks={
                thumb: stick
                for thumb, stick in zip(THUMBS, STICKS, strict=True)
                if thumb in layout.places and stick in places
            },
        )


@dataclass(eq=False)
class _Rows:
    """What has been read of a video, row by row."""

    buttons: Float32[np.ndarray, "rows b"]
    button_confidence: Float32[np.ndarray, "rows b"]
    sticks: Float32[np.ndarray, "rows s"]
    stick_confidence: Float32[np.ndarray, "rows s"]
    readable: Bool[np.ndarray, " rows"]
    residual: Float32[np.ndarray, " rows"]

    @classmethod
    def empty(cls, count: int) -> "_Rows":
        buttons, sticks = (
            np.zeros((count, len(names)), np.float32) for names in (GAMEPAD.buttons, GAMEPAD.sticks)
        )
        return cls(
            buttons, buttons.copy(), sticks, sticks.copy(),
            np.zeros(count, bool), np.full(count, 100, np.float32),
        )  # fmt: skip


@lru_cache(maxsize=1)
def _load_networks() -> PadNetworks:
    return PadNetworks()


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
        ReadingError: If no controller is found, or more than one at a time.
        ShardError: If it is no video, or cannot be decoded.
        ValueError: If the weights cannot be used.
    """
    networks = networks or _load_networks()
    video = read_video_table(path)
    pads = _choose_pads(video, layout.box if layout is not None else box)
    rows = _Rows.empty(len(video))
    stretches, layouts = [], []
    for pad in pads:
        reader = _StretchReader.make(video, pad, networks, layout)
        reader.read(rows, progress)
        stretches.append(reader.describe())
        layouts.append(reader.layout)
    if rows.readable.mean() < _FEWEST_READABLE:
        raise ReadingError(f"{path}: the controller that was found can be read in too few frames")
    longest = int(np.argmax([stretch.stop - stretch.start for stretch in stretches]))
    drawn = frozenset.intersection(*(each.controls for each in layouts))
    crop = PadCrop(_as_floats(pads[longest].box), video.width, video.height)
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
    return reading, layout or layouts[longest].to_video(crop, pads[longest].box)


def _as_floats(box: Box) -> tuple[float, float, float, float]:
    left, top, right, bottom = map(float, box)
    return left, top, right, bottom


def _choose_pads(video: SourceVideo, box: Box | None) -> list[LocatedPad]:
    """Choose the stretches that are read; they follow each other.

    Raises:
        ReadingError: If there is none, or two controllers are there at the same time.
    """
    if box is not None:
        return [LocatedPad(start=0, stop=len(video), box=box, confidence=1.0)]
    found = sorted(locate_pads(video), key=lambda pad: pad.start)
    if not found:
        raise ReadingError(f"{video.path}: no controller was found in it")
    for first, second in pairwise(found):
        shared = min(first.stop, second.stop) - second.start
        if shared > video.fps:
            where = second.start / video.fps
            raise ReadingError(
                f"{video.path}: two controllers are on the picture from {where:.0f} s on, and "
                "nothing says whose play it is; name one by --box"
            )
    stops = [
        *(min(a.stop, b.start) for a, b in pairwise(found)),
        found[-1].stop,
    ]
    return [
        replace(pad, stop=stop) for pad, stop in zip(found, stops, strict=True) if stop > pad.start
    ]


@dataclass(frozen=True, eq=False)
class _StretchReader:
    """Reads a stretch of a video in which a controller stays at its place."""

    video: SourceVideo
    """The stretch alone."""
    pad: LocatedPad
    crop: PadCrop
    rest: PadAtRest
    layout: CropLayout
    networks: PadNetworks

    @classmethod
    def make(
        cls,
        video: SourceVideo,
        pad: LocatedPad,
        networks: PadNetworks,
        layout: OverlayLayout | None,
    ) -> "_StretchReader":
        part = video.cut(pad.start, pad.stop)
        crop = PadCrop(_as_floats(pad.box), video.width, video.height)
        chosen = np.unique(np.linspace(0, len(part) - 1, _MOMENTS).astype(int))
        few = replace(part, ticks=part.ticks[chosen])
        chunks = list(_iter_crops(few, crop))
        if not chunks:
            raise ReadingError(f"{video.path}: nothing of the stretch with a controller is decoded")
        luma, chroma = (np.concatenate(each) for each in zip(*chunks, strict=True))
        rest = find_rest(luma, chroma)
        found = (
            networks.find_layout(rest) if layout is None else CropLayout.from_video(layout, crop)
        )
        if not found.controls:
            raise ReadingError(f"{video.path}: no control of the controller can be told")
        return cls(part, pad, crop, rest, found, networks)

    def read(self, rows: _Rows, progress: Progress | None) -> None:
        """Read all frames of the stretch into the rows of the video."""
        row = self.pad.start
        agreements, offsets, sure = [], [], []
        for luma, chroma in _iter_crops(self.video, self.crop):
            off, still = stack_channels(luma, chroma, self.rest)
            where = slice(row, row + len(luma))
            self._read_buttons(rows, where, off, still)
            each = self._read_sticks(rows, where, off, still)
            offsets.append(each[0])
            sure.append(each[1])
            agreements.append(_agree(luma, self.rest.luma))
            row += len(luma)
            if progress is not None:
                progress(len(luma))
        if row == self.pad.start:
            return
        where = slice(self.pad.start, row)
        readable, residual = _judge(np.concatenate(agreements))
        rows.readable[where], rows.residual[where] = readable, residual
        self._calibrate(rows, where, np.concatenate(offsets), np.concatenate(sure))
        for values in (rows.buttons, rows.button_confidence, rows.sticks, rows.stick_confidence):
            values[where][~readable] = 0

    def _read_buttons(self, rows: _Rows, where: slice, off: np.ndarray, still: np.ndarray) -> None:
        names = self.layout.buttons
        if not names:
            return
        patches = cut_patches(off, still, [self.layout.places[n] for n in names], BUTTON_SIDE)
        values = self.networks.read_buttons(patches, [BUTTONS.index(name) for name in names])
        for column, name in enumerate(names):
            _put(rows, where, name, values[:, column])

    def _read_sticks(
        self, rows: _Rows, where: slice, off: np.ndarray, still: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        names = self.layout.sticks
        if not names:
            return np.zeros((len(off), 0, 2), np.float32), np.zeros((len(off), 0), np.float32)
        patches = cut_patches(off, still, [self.layout.places[n] for n in names], STICK_SIDE)
        offsets, sure, clicks = self.networks.read_sticks(patches)
        for click, stick in self.layout.clicks.items():
            _put(rows, where, click, clicks[:, names.index(stick)])
        return offsets, sure

    def _calibrate(
        self,
        rows: _Rows,
        where: slice,
        offsets: Float32[np.ndarray, "rows k 2"],
        sure: Float32[np.ndarray, "rows k"],
    ) -> None:
        """Turn places of caps into axes, by the rest and the reach of this video."""
        good = rows.readable[where]
        for column, name in enumerate(self.layout.sticks):
            rest = find_densest(offsets[good, column])
            off = offsets[:, column] - rest
            size = np.abs(off[good]).max(axis=1) if good.any() else np.zeros(1)
            expected = self.layout.travels[name]
            reach = max(float(np.percentile(size, _REACH)), _LEAST_REACH * expected)
            for axis, control in enumerate(STICKS[name]):
                place = GAMEPAD.sticks.index(control)
                rows.sticks[where, place] = np.clip(off[:, axis] / reach, -1, 1)
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


def _put(rows: _Rows, where: slice, name: str, values: Float32[np.ndarray, " f"]) -> None:
    place = GAMEPAD.buttons.index(name)
    rows.buttons[where, place] = values
    rows.button_confidence[where, place] = np.abs(2 * values - 1)


def find_densest(places: Float32[np.ndarray, "n 2"]) -> Float32[np.ndarray, " 2"]:
    """Find where most places are: a stick rests there, wherever it goes otherwise."""
    if not len(places):
        return np.zeros(2, np.float32)
    cells, counts = np.unique(np.rint(places).astype(int), axis=0, return_counts=True)
    near = np.abs(places - cells[counts.argmax()]).max(axis=1) <= 1.5
    return np.median(places[near], axis=0).astype(np.float32)


def _iter_crops(video: SourceVideo, crop: PadCrop) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Decode a video and resample the controller, some frames together."""
    chunk: list[list[np.ndarray]] = []
    try:
        for frame in video.read():
            if (frame.width, frame.height) != (video.width, video.height):
                break
            chunk.append(_cut(frame, crop))
            if len(chunk) == _CHUNK:
                yield crop.resample(*(np.stack(plane) for plane in zip(*chunk, strict=True)))
                chunk = []
    except ShardError:
        # What follows a damaged frame is left unreadable.
        pass
    if chunk:
        yield crop.resample(*(np.stack(plane) for plane in zip(*chunk, strict=True)))


def _cut(frame: VideoFrame, crop: PadCrop) -> list[np.ndarray]:
    return [plane.copy() for plane in cut_planes(frame, crop.outer)]


def _agree(
    luma: Float32[np.ndarray, "f 160 256"], rest: Float32[np.ndarray, "160 256"]
) -> Float32[np.ndarray, "f t"]:
    """Correlate the gradients of each tile with those at rest; NaN where a tile has none."""
    down, across = _gradients(luma), _gradients(rest[None])
    shared = sum(_by_tile(a * b) for a, b in zip(down, across, strict=True))
    sizes = [_by_tile(x**2 + y**2) for x, y in (down, across)]
    textured = sizes[1] > _TEXTURED**2
    agreement = shared / np.sqrt(sizes[0] * sizes[1] + 1e-6)
    return np.where(textured, agreement, np.nan).astype(np.float32)


def _gradients(luma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    small = (luma[:, ::2, ::2] + luma[:, 1::2, ::2] + luma[:, ::2, 1::2] + luma[:, 1::2, 1::2]) / 4
    return np.diff(small, axis=1)[:, :, :-1], np.diff(small, axis=2)[:, :-1]


def _by_tile(values: np.ndarray) -> np.ndarray:
    tall, wide = (side // count for side, count in zip(values.shape[1:], _TILES, strict=True))
    cut = values[:, : tall * _TILES[0], : wide * _TILES[1]]
    tiles = cut.reshape(len(values), _TILES[0], tall, _TILES[1], wide)
    return tiles.mean(axis=(2, 4)).reshape(len(values), -1)


def _judge(
    agreements: Float32[np.ndarray, "rows t"],
) -> tuple[Bool[np.ndarray, " rows"], Float32[np.ndarray, " rows"]]:
    """Tell in which rows all parts that agree with rest usually do so, and how far they are off."""
    usual = np.nanmedian(np.where(np.isnan(agreements), 0, agreements), axis=0)
    tiles = usual > 0.5
    if not tiles.any():
        return np.zeros(len(agreements), bool), np.full(len(agreements), 50, np.float32)
    share = agreements[:, tiles] / usual[tiles]
    worst = np.nan_to_num(share).min(axis=1)
    return worst > _PRESENT, np.clip((1 - worst) / (1 - _PRESENT), 0, 50).astype(np.float32)
