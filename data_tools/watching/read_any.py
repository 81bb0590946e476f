"""Read a controller of any skin: a video in, a row of controls per frame out.

    video ─► locate_pads ─► each stretch: frames from all over it ─► picture at rest ─► layout
      ─► each frame: patches of the controls, differences from rest ─► networks ─► values
      ─► sticks by their own rest and reach ─► Reading

The networks tell what has changed; what rest is, and how far a stick goes, is the video's own.
Memory does not grow with the video, but for the rows themselves.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime
from av.video.frame import VideoFrame
from jaxtyping import Bool, Float32, Int64

from data_tools.shards.source_video import SourceVideo, read_video_table
from data_tools.watching.locate_pads import LocatedPad, locate_pads
from data_tools.watching.overlay_layout import STICKS, OverlayLayout
from data_tools.watching.read_known import Progress
from data_tools.watching.reading import Box, PadStretch, Reading, ReadingError
from data_tools.watching.video_moments import cut_planes, iter_moments
from nitrogen_train.actions import GAMEPAD
from nitrogen_train.data.schema import ShardError
from nitrogen_train.overlay_reader.pad_crops import (
    BUTTON_SIDE,
    CROP_HEIGHT,
    CROP_WIDTH,
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
_VERSION = "any-skin-1"
_MOMENTS = 48
"""Frames of a stretch that rest is told from."""
_CHUNK = 32
_LEAST_PRESENCE = 0.0
"""Logit from which on a control is there."""
_PRESENT = 0.5
"""Share of the usual agreement with rest, below which a part of the controller is covered."""
_UNCHANGED = 2.5
"""Levels by which the picture of a control may differ from the one that was read."""
_CELLS = (CROP_HEIGHT // LAYOUT_STRIDE, CROP_WIDTH // LAYOUT_STRIDE)
_TILES = (4, 5)
_TEXTURED = 6.0
"""Mean gradient in levels per pixel from which on a part of the controller can be recognized."""
_FEWEST_READABLE = 0.05
_REACH = 99
"""Percentile of a stick's distance from rest that is taken for its reach."""
_REST_REACH = 0.5
"""Of the expected travel: a stick rests no further than this from where the layout has it."""
_LEAST_REACH = 0.6
"""Of the expected travel: a stick that is hardly moved is not stretched to its ends."""

_GRAPHS = {
    "layout": (["views"], ["heat", "presence", "sizes", "travels"]),
    "button": (["patches", "kinds"], ["pressed"]),
    "stick": (["patches"], ["heat", "click"]),
}
"""What each network takes and gives."""


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
            sessions = [
                onnxruntime.InferenceSession(
                    (folder / f"{name}.onnx").read_bytes(),
                    options,
                    providers=["CPUExecutionProvider"],
                )
                for name in _GRAPHS
            ]
            found = [
                tuple(
                    [node.name for node in nodes]
                    for nodes in (each.get_inputs(), each.get_outputs())
                )
                for each in sessions
            ]
            shape = list(sessions[0].get_outputs()[0].shape)
        except Exception as error:  # onnxruntime's own have no common parent
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"{folder}: no weights of the reader: {reason}") from error
        for (name, wanted), (takes, gives) in zip(_GRAPHS.items(), found, strict=True):
            if (takes, gives) != wanted:
                raise ValueError(
                    f"{folder}: no weights of the reader: {name}.onnx takes {takes}, gives {gives}"
                )
        if shape[1:2] != [len(PLACED)]:
            raise ValueError(f"{folder}: no weights of the reader: its layout gives {shape}")
        self._layout, self._button, self._stick = sessions

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
        self, patches: Float32[np.ndarray, "n 8 32 32"], kinds: Int64[np.ndarray, " n"]
    ) -> Float32[np.ndarray, " n"]:
        """Return how far each button is pressed, in [0, 1]; kinds are places in `BUTTONS`."""
        (logits,) = self._button.run(None, {"patches": patches, "kinds": kinds})
        return _squash(np.asarray(logits, np.float32))

    def read_sticks(self, patches: Float32[np.ndarray, "n 8 64 64"]) -> Float32[np.ndarray, "n 4"]:
        """Read patches around sticks.

        Returns:
            How far caps are from the middle of their patch, x and y in pixels of the crop, how sure
            that is, and how far each is clicked.
        """
        heat, clicks = self._stick.run(None, {"patches": patches})
        offsets, sure = find_caps(np.asarray(heat, np.float32))
        return np.column_stack([offsets, sure, _squash(np.asarray(clicks, np.float32))])


def _squash(logits: Float32[np.ndarray, " n"]) -> Float32[np.ndarray, " n"]:
    return 1 / (1 + np.exp(-np.clip(logits, -30, 30)))


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

    def find_cells(self, name: str) -> tuple[slice, slice]:
        """Find the rows and columns of cells in which a control can be seen to change."""
        x, y = self.places[name]
        reach = self.travels.get(name, 0.0)
        slices = []
        for middle, size, most in zip((y, x), self.sizes[name][::-1], _CELLS, strict=True):
            half = size / 2 + reach + 1
            low = min(max(int((middle - half) // LAYOUT_STRIDE), 0), most - 1)
            slices.append(slice(low, max(low + 1, int((middle + half) // LAYOUT_STRIDE) + 1)))
        return slices[0], slices[1]

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


def name_reader() -> str:
    """Name the version of this reader: of its code and of all the weights that are shipped.

    Raises:
        ValueError: If the weights cannot be used.
    """
    _load_networks()
    digest = hashlib.sha256()
    for path in sorted(WEIGHTS_DIR.glob("*.onnx")):
        digest.update(path.read_bytes())
    return f"{_VERSION} ({digest.hexdigest()[:12]})"


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
        moments = [
            _cut(frame, crop)
            for _, frame in iter_moments(part, _MOMENTS)
            if (frame.width, frame.height) == (video.width, video.height)
        ]
        if not moments:
            raise ReadingError(f"{video.path}: nothing of the stretch with a controller is decoded")
        rest = find_rest(*crop.resample(*(np.stack(each) for each in zip(*moments, strict=True))))
        found = (
            networks.find_layout(rest) if layout is None else CropLayout.from_video(layout, crop)
        )
        if not found.controls:
            raise ReadingError(f"{video.path}: no control of the controller can be told")
        return cls(part, pad, crop, rest, found, networks)

    def read(self, rows: _Rows, progress: Progress | None) -> None:
        """Read all frames of the stretch into the rows of the video."""
        row = self.pad.start
        names = self.layout.sticks
        buttons, sticks = (
            _Changes([self.layout.find_cells(name) for name in each], num_values)
            for each, num_values in ((self.layout.buttons, 1), (names, 4))
        )
        before = None
        agreements, caps = [], [np.zeros((0, len(names), 4), np.float32)]
        for luma, chroma in _iter_crops(self.video, self.crop):
            off, still = stack_channels(luma, chroma, self.rest)
            where = slice(row, row + len(luma))
            change = measure_change(luma, chroma, before)
            values = buttons.fill(change, partial(self._read_buttons, off, still))
            for column, name in enumerate(self.layout.buttons):
                _put(rows, where, name, values[:, column, 0])
            caps.append(sticks.fill(change, partial(self._read_sticks, off, still)))
            before = luma[-1], chroma[-1]
            agreements.append(_agree(luma, self.rest.luma))
            row += len(luma)
            if progress is not None:
                progress(len(luma))
        if row == self.pad.start:
            return
        where = slice(self.pad.start, row)
        readable, residual = _judge(np.concatenate(agreements))
        rows.readable[where], rows.residual[where] = readable, residual
        read = np.concatenate(caps)
        for click, stick in self.layout.clicks.items():
            _put(rows, where, click, read[:, names.index(stick), 3])
        self._calibrate(rows, where, read[..., :2], read[..., 2])
        for values in (rows.buttons, rows.button_confidence, rows.sticks, rows.stick_confidence):
            values[where][~readable] = 0

    def _read_buttons(
        self, off: np.ndarray, still: np.ndarray, frames: np.ndarray, columns: np.ndarray
    ) -> Float32[np.ndarray, "n 1"]:
        names = self.layout.buttons
        places = [self.layout.places[names[column]] for column in columns]
        kinds = np.array([BUTTONS.index(name) for name in names], np.int64)[columns]
        patches = cut_patches(off, still, frames, places, BUTTON_SIDE)
        return self.networks.read_buttons(patches, kinds)[:, None]

    def _read_sticks(
        self, off: np.ndarray, still: np.ndarray, frames: np.ndarray, columns: np.ndarray
    ) -> Float32[np.ndarray, "n 4"]:
        places = [self.layout.places[self.layout.sticks[column]] for column in columns]
        return self.networks.read_sticks(cut_patches(off, still, frames, places, STICK_SIDE))

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
            expected = self.layout.travels[name]
            read = offsets[good, column]
            # A stick may be held away from rest for longer than it rests.
            near = read[np.abs(read).max(axis=1) <= _REST_REACH * expected]
            rest = find_densest(near if len(near) else read)
            off = offsets[:, column] - rest
            size = np.abs(off[good]).max(axis=1) if good.any() else np.zeros(1)
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


class _Changes:
    """Reads controls only where their picture has changed since they were read.

    Args:
        regions: The cells of each control.
        num_values: What is read of one.
    """

    def __init__(self, regions: Sequence[tuple[slice, slice]], num_values: int) -> None:
        self._regions = regions
        self._values = np.zeros((len(regions), num_values), np.float32)
        # What its picture may have changed by since then; nothing has been read yet.
        self._passed = np.full(len(regions), np.inf)

    def fill(
        self,
        change: Float32[np.ndarray, "f 40 64"],
        read: Callable[[np.ndarray, np.ndarray], Float32[np.ndarray, "n v"]],
    ) -> Float32[np.ndarray, "f c v"]:
        """Return what controls show in some frames.

        Args:
            change: Of `measure_change`.
            read: Reads controls, by the numbers of frames and of controls.
        """
        filled = np.zeros((len(change), *self._values.shape), np.float32)
        if not self._regions:
            return filled
        steps = np.stack([change[:, *cells].max(axis=(1, 2)) for cells in self._regions], axis=1)
        is_read = np.zeros(steps.shape, bool)
        for step, marks in zip(steps, is_read, strict=True):
            self._passed += step
            marks[:] = self._passed > _UNCHANGED
            self._passed[marks] = 0
        frames, columns = np.nonzero(is_read)
        if len(frames):
            filled[frames, columns] = read(frames, columns)
        for values, marks in zip(filled, is_read, strict=True):
            values[~marks] = self._values[~marks]
            self._values = values
        return filled


def measure_change(
    luma: Float32[np.ndarray, "f 160 256"],
    chroma: Float32[np.ndarray, "f 2 80 128"],
    before: tuple[np.ndarray, np.ndarray] | None,
) -> Float32[np.ndarray, "f 40 64"]:
    """Measure how far each cell is from the frame before: mean distance, the most of all planes."""
    most = np.zeros((len(luma), CROP_HEIGHT // 4, CROP_WIDTH // 4), np.float32)
    first = before or (luma[0], chroma[0])
    for plane, former, cell in (
        (luma, first[0], 4),
        (chroma[:, 0], first[1][0], 2),
        (chroma[:, 1], first[1][1], 2),
    ):
        steps = np.abs(np.diff(plane, axis=0, prepend=former[None]))
        cells = steps.reshape(len(plane), most.shape[1], cell, most.shape[2], cell)
        np.maximum(most, cells.mean(axis=(2, 4)), out=most)
    return most


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
