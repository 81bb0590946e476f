"""Find controllers on a video without being told what they look like.

    key frames, shrunk ─► statistics of all ─► network ─► places ─► at which moments is each there?
                            ▲                                              │
                            └────── moments at which nothing is there ◄────┘
    runs of moments ─► exact first and last row ─► statistics of the run ─► network ─► LocatedPad

A controller stands at one place for a stretch of time: it may move, change its size, or be away
while another scene is shown. Two controllers are two stretches at the same time.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from av.video.frame import VideoFrame
from jaxtyping import Bool, Float32, Int64, UInt8

from data_tools.shards.source_video import SourceVideo
from data_tools.watching.any_skin.pad_networks import open_graph
from data_tools.watching.reading import Box, list_runs
from data_tools.watching.video_moments import cut_planes, iter_moments
from nitrogen_train.overlay_reader.video_statistics import (
    FEWEST_MOMENTS,
    HEIGHT,
    PLANES,
    WIDTH,
    PictureFit,
    measure_statistics,
)

WEIGHTS_PATH = Path(__file__).parent / "weights" / "locator.onnx"
_MOMENT_S = 4.0
"""Seconds of the video per moment, within the limits below."""
_FEWEST, _MOST = 24, 192
_TOGETHER = 16
"""Moments whose statistics are measured together."""
_APART = 0.45
"""Overlap above which two places are one."""
_PRESENT = 0.4
"""Correlation of a moment's edges with the mean ones above which a pad is there."""
_STRONG = 0.2
"""Share of a place's pixels whose edges are compared: the strongest."""
_FEWEST_PRESENT = 3
"""Moments that a pad must be there in."""
_GAP = 1
"""Moments without the pad that do not end a stretch: something else covers it."""
_SHORTEST_S = 1.0
"""What is there for a shorter time is none, or not worth reading."""
_EXACT_S = 3.0
"""A stretch's end is halved down to this length, and then decoded."""
_STEP_ROWS = 3
_GRADIENT_LEVELS = 3.0

Edges = tuple[float, float, float, float]
Luma = UInt8[np.ndarray, "360 640"]


@dataclass(frozen=True, kw_only=True)
class LocatedPad:
    """The place of a controller over some rows."""

    start: int
    """The first row."""
    stop: int
    """One after the last row."""
    box: Box
    """All that can be seen of it, in pixels of the video."""
    confidence: float
    """How probable it is that this is a controller that is used, in [0, 1]."""


@dataclass(frozen=True, eq=False)
class _Moments:
    """Frames from all over a video, small."""

    rows: Int64[np.ndarray, " m"]
    lumas: UInt8[np.ndarray, "m 360 640"]

    def take(self, which: np.ndarray) -> "_Moments":
        return _Moments(self.rows[which], self.lumas[which])

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Find:
    """A place that the network found."""

    edges: Edges
    """In pixels of the statistics."""
    confidence: float


@runtime_checkable
class Detector(Protocol):
    """Finds pads in moments of a video."""

    def detect(self, moments: UInt8[np.ndarray, "m 360 640"]) -> list[Find]:
        """Find pads in some moments, the surest first."""
        ...


class PadDetector:
    """The network, as it was shipped.

    Args:
        path: An ONNX file; what is known of it is in the JSON of its name.
        threshold: Confidence from which on a place is found; None takes the one of that JSON.

    Raises:
        ValueError: If a file is missing, or is not what training writes.
    """

    def __init__(self, path: Path = WEIGHTS_PATH, threshold: float | None = None) -> None:
        try:
            facts = json.loads(path.with_suffix(".json").read_bytes())
            self.threshold = float(facts["threshold"]) if threshold is None else threshold
            self._session = open_graph(path)
            (found,) = self._session.get_inputs()
            shape, names = list(found.shape), [each.name for each in self._session.get_outputs()]
        except Exception as error:  # onnxruntime's own have no common parent
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"{path}: no weights of the locator: {reason}") from error
        if (shape, names) != ([1, len(PLANES), HEIGHT, WIDTH], ["boxes", "confidence"]):
            raise ValueError(f"{path}: no weights of the locator: it takes {shape}, gives {names}")

    def detect(self, moments: UInt8[np.ndarray, "m 360 640"]) -> list[Find]:
        """Find pads in some moments, the surest first."""
        statistics = measure_statistics(moments)
        outputs = self._session.run(None, {"statistics": statistics[None]})
        boxes, confidence = (np.asarray(each) for each in outputs)
        finds: list[Find] = []
        for place in np.argsort(-confidence, kind="stable"):
            score = float(confidence[place])
            left, top, right, bottom = (float(edge) for edge in boxes[place])
            find = Find((left, top, right, bottom), score)
            is_new = all(_overlap(find.edges, other.edges) < 0.3 for other in finds)
            if score > self.threshold and is_new:
                finds.append(find)
        return finds


@lru_cache
def load_detector(threshold: float | None = None) -> PadDetector:
    """Load the network that is shipped, once.

    Raises:
        ValueError: If the weights cannot be used.
    """
    return PadDetector(threshold=threshold)


def locate_pads(video: SourceVideo, detector: Detector | None = None) -> tuple[LocatedPad, ...]:
    """Locate the controllers of a video, in the order of time.

    Args:
        video: The video, or a part of it.
        detector: The network; None takes the one that is shipped.

    Raises:
        ShardError: If the video cannot be decoded.
        ValueError: If the weights cannot be used.
    """
    detector = detector or load_detector()
    fit = PictureFit(video.width, video.height)
    moments = _read_moments(video, fit)
    if len(moments) < FEWEST_MOMENTS:
        return ()
    found: list[LocatedPad] = []
    for find, reference in _list_places(moments, detector):
        for start, stop in _list_stretches(find, reference, moments):
            inner = moments.take(np.arange(start, stop))
            better = _look_again(find, inner, detector)
            rows = _find_rows(video, fit, moments, better, reference, (start, stop))
            if rows[1] - rows[0] < min(_SHORTEST_S * video.fps, len(video)):
                continue
            box = _to_box(better.edges, fit, video)
            found.append(
                LocatedPad(start=rows[0], stop=rows[1], box=box, confidence=better.confidence)
            )
    return tuple(sorted(found, key=lambda pad: (pad.start, pad.stop, pad.box)))


def _read_moments(video: SourceVideo, fit: PictureFit) -> _Moments:
    """Decode frames from all over a video, and shrink them."""
    seconds = len(video) / video.fps
    number = int(np.clip(seconds / _MOMENT_S, _FEWEST, _MOST))
    lumas = {row: _shrink(frame, fit) for row, frame in iter_moments(video, number)}
    rows = np.array(sorted(lumas), np.int64)
    stack = [lumas[int(row)] for row in rows]
    return _Moments(rows, np.stack(stack) if stack else np.zeros((0, HEIGHT, WIDTH), np.uint8))


def _read_rows(video: SourceVideo, rows: np.ndarray) -> Iterator[VideoFrame]:
    yield from replace(video, ticks=video.ticks[rows]).read()


def _shrink(frame: VideoFrame, fit: PictureFit) -> Luma:
    height, width = frame.height // 2 * 2, frame.width // 2 * 2
    return fit.shrink(cut_planes(frame, (0, 0, width, height))[0])


@dataclass(frozen=True, eq=False)
class _Reference:
    """The edges of a pad, to tell whether a moment has them."""

    box: Box
    """In pixels of the statistics."""
    across: Float32[np.ndarray, " n"]
    along: Float32[np.ndarray, " n"]
    places: Int64[np.ndarray, " n"]

    @classmethod
    def make(cls, find: Find, lumas: UInt8[np.ndarray, "m 360 640"]) -> "_Reference":
        """Take the strongest of the mean edges in a place."""
        left, top, right, bottom = (round(edge) for edge in find.edges)
        box = max(left, 0), max(top, 0), min(right, WIDTH), min(bottom, HEIGHT)
        across, along = np.mean([_gradients(luma, box) for luma in lumas], axis=0)
        size = np.hypot(across, along)
        places = np.flatnonzero(size >= np.quantile(size, 1 - _STRONG))
        return cls(box, across[places], along[places], places)

    def match(self, luma: Luma) -> float:
        """Correlate the edges of a moment with these, by direction."""
        across, along = (each[self.places] for each in _gradients(luma, self.box))
        shared = float(across @ self.across + along @ self.along)
        sizes = [float(x @ x + y @ y) for x, y in ((across, along), (self.across, self.along))]
        return shared / float(np.sqrt(sizes[0] * sizes[1]) + 1e-6)


def _gradients(luma: Luma, box: Box) -> Float32[np.ndarray, "2 n"]:
    """Return soft gradients inside a box: strong edges count alike."""
    left, top, right, bottom = box
    part = luma[top:bottom, left:right].astype(np.float32)
    along, across = np.gradient(part)
    size = np.hypot(across, along) + _GRADIENT_LEVELS
    return np.stack([(across / size).ravel(), (along / size).ravel()])


def _list_places(moments: _Moments, detector: Detector) -> Iterator[tuple[Find, _Reference]]:
    """Find places: in all moments together, then in runs of those where none has been found."""
    known: list[Find] = []
    is_covered = np.zeros(len(moments), bool)

    def search(which: np.ndarray) -> Iterator[tuple[Find, _Reference]]:
        nonlocal is_covered
        lumas = moments.lumas[which]
        for find in detector.detect(lumas):
            if any(_overlap(find.edges, other.edges) > _APART for other in known):
                continue
            reference = _Reference.make(find, lumas)
            present = _tell_presence(reference, moments.lumas)
            if present.sum() < _FEWEST_PRESENT:
                continue
            known.append(find)
            is_covered |= present
            yield find, reference

    yield from search(_spread(np.arange(len(moments))))
    for start, stop in list_runs(~is_covered):
        for first in range(start, max(start + 1, stop - FEWEST_MOMENTS), _TOGETHER // 2):
            which = np.arange(first, min(first + _TOGETHER, stop))
            if len(which) >= FEWEST_MOMENTS and not is_covered[which].all():
                yield from search(which)


def _spread(which: np.ndarray) -> np.ndarray:
    """Take as many as are measured together, from all over."""
    if len(which) <= _TOGETHER:
        return which
    return which[np.linspace(0, len(which) - 1, _TOGETHER).astype(int)]


def _tell_presence(
    reference: _Reference, lumas: UInt8[np.ndarray, "m 360 640"]
) -> Bool[np.ndarray, " m"]:
    return np.array([reference.match(luma) > _PRESENT for luma in lumas], bool)


def _list_stretches(find: Find, reference: _Reference, moments: _Moments) -> list[tuple[int, int]]:
    """List runs of moments in which a pad is there."""
    present = _tell_presence(reference, moments.lumas)
    for start, stop in list_runs(~present):
        if stop - start <= _GAP and start > 0 and stop < len(present):
            present[start:stop] = True
    return [run for run in list_runs(present) if run[1] - run[0] >= _FEWEST_PRESENT]


def _look_again(find: Find, inner: _Moments, detector: Detector) -> Find:
    """Find a place once more, by the moments at which the pad is there."""
    if len(inner) < FEWEST_MOMENTS:
        return find
    near = [
        other
        for other in detector.detect(inner.lumas[_spread(np.arange(len(inner)))])
        if _overlap(other.edges, find.edges) > _APART
    ]
    best = max(near, key=lambda other: _overlap(other.edges, find.edges), default=find)
    return replace(best, confidence=max(best.confidence, find.confidence))


def _find_rows(
    video: SourceVideo,
    fit: PictureFit,
    moments: _Moments,
    find: Find,
    reference: _Reference,
    run: tuple[int, int],
) -> tuple[int, int]:
    """Find the first row with a pad, and the one after the last."""
    start, stop = run

    def is_there(rows: np.ndarray) -> list[bool]:
        return [
            reference.match(_shrink(frame, fit)) > _PRESENT for frame in _read_rows(video, rows)
        ]

    first, last = 0, len(video)
    longest = max(_STEP_ROWS + 1, int(_EXACT_S * video.fps))
    if start > 0:
        inside, outside = moments.rows[[start, start - 1]].tolist()
        first = _find_change(inside, outside, is_there, longest)
    if stop < len(moments):
        inside, outside = moments.rows[[stop - 1, stop]].tolist()
        last = 1 + _find_change(inside, outside, is_there, longest)
    return first, last


def _find_change(
    inside: int, outside: int, is_there: Callable[[np.ndarray], list[bool]], longest: int
) -> int:
    """Find the last row towards `outside` at which the pad is still there."""
    while abs(outside - inside) > longest:
        middle = (inside + outside) // 2
        if is_there(np.array([middle]))[0]:
            inside = middle
        else:
            outside = middle
    low, high = min(inside, outside), max(inside, outside)
    rows = np.arange(low, high + 1, _STEP_ROWS)
    there = is_there(rows)
    if outside > inside:
        away = next((i for i, each in enumerate(there) if not each), len(rows))
        return int(rows[max(away - 1, 0)])
    away = next((i for i in reversed(range(len(rows))) if not there[i]), -1)
    return int(rows[min(away + 1, len(rows) - 1)])


def _to_box(edges: Edges, fit: PictureFit, video: SourceVideo) -> Box:
    left, top, right, bottom = fit.to_video(edges)
    return (
        max(0, int(np.floor(left + 0.5))),
        max(0, int(np.floor(top + 0.5))),
        min(video.width, int(np.ceil(right - 0.5))),
        min(video.height, int(np.ceil(bottom - 0.5))),
    )


def _overlap(first: Edges, second: Edges) -> float:
    """Return the area that two boxes share by that of both together."""
    wide = min(first[2], second[2]) - max(first[0], second[0])
    tall = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(0.0, wide) * max(0.0, tall)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return shared / max(areas[0] + areas[1] - shared, 1e-6)
