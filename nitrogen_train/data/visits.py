"""Fetch a clip once, decode it a stretch at a time, and hand it out window by window: a visit.

    planned visit ─► clip_reader ─► decoded stretch, in the lane's memory ─► windows

What cannot be read is replaced by windows that the plan itself draws, so that a fault in the data
changes the stream in the same way at any number of ranks and workers.
"""

from collections import deque
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

import numpy as np
from jaxtyping import Int64, UInt8

from nitrogen_train.batch import WindowId
from nitrogen_train.data.clip_reader import ClipReader, DecodedClip, EncodedClip, Fault
from nitrogen_train.data.collate import Window, cut_windows
from nitrogen_train.data.mixture import Source
from nitrogen_train.data.order import STRETCH, Turns, WindowPlan
from nitrogen_train.data.reads_ahead import ReadsAhead
from nitrogen_train.data.schema import ShardError
from nitrogen_train.data.windows import Located

_RECENT_BYTES = 64 * 2**20
"""Of clips that were fetched last: of a small data set they are fetched once."""
MAX_ATTEMPTS = 16
"""Windows drawn in place of one that cannot be read, before the data set is given up."""


@dataclass(kw_only=True)
class _Visit:
    """The clips and the windows that a lane holds open."""

    source: int
    number: int
    located: Located
    """All its planned windows, in the order of handing out."""
    clips: dict[int, EncodedClip | Fault] = field(default_factory=dict[int, "EncodedClip | Fault"])
    stretch: int = -1
    windows: list[Window] = field(default_factory=list[Window])
    """Windows of the stretch, in the order of handing out."""
    causes: list[str | None] = field(default_factory=list["str | None"])
    """Reason why a window of the stretch stands in for another; None where it does not."""


def estimate_lane_bytes(plan: WindowPlan, *, samples_per_step: int, frame_bytes: int) -> int:
    """Estimate what a rank's lanes hold: a record each, and the frames of a stretch of windows.

    Args:
        plan: The order.
        samples_per_step: Of the rank.
        frame_bytes: Of a decoded frame.
    """
    shares = np.array([source.options.weight for source in plan.sources])
    sizes = np.array([source.mean_record_bytes for source in plan.sources])
    windows = [source.window for source in plan.sources]
    frames = np.array(
        [
            min(STRETCH * each.num_frames, STRETCH + (each.num_frames - 1) * each.frame_stride)
            for each in windows
        ]
    )
    lane_bytes = np.average(sizes + frames * frame_bytes, weights=shares)
    return int(samples_per_step * plan.interleaving.lane_groups * lane_bytes)


def fits_decoded(plan: WindowPlan, *, frame_bytes: int, max_kept_bytes: int) -> bool:
    """Tell whether all data may be kept decoded: about a frame per window of the plan."""
    num_frames = sum(source.table.num_windows for source in plan.sources)
    return num_frames * frame_bytes <= max_kept_bytes


class VisitReader:
    """Reads the windows of lanes; each worker has its own."""

    def __init__(self, plan: WindowPlan, reader: ClipReader, *, max_kept_bytes: int) -> None:
        """Hold what is needed; nothing is read yet.

        Args:
            plan: Which windows.
            reader: Of clips.
            max_kept_bytes: If a frame per window of the plan fits in here, clips are decoded whole,
                once, and kept.
        """
        self._plan = plan
        self._reader = reader
        self._lanes: dict[int, _Visit] = {}
        self._frames: dict[int, UInt8[np.ndarray, "kept h w 3"]] = {}
        """Memory of each lane for the frames of a stretch; nobody looks at the one before."""
        self._encoded: WeakValueDictionary[tuple[int, int], EncodedClip] = WeakValueDictionary()
        """What some lane holds open, by source and clip: of few clips, lanes share most."""
        self._recent: deque[EncodedClip] = deque()
        self._recent_bytes = 0
        self._ahead = ReadsAhead(plan)
        self._kept: dict[tuple[int, int], DecodedClip] | None = None
        if fits_decoded(plan, frame_bytes=reader.frame_bytes, max_kept_bytes=max_kept_bytes):
            self._kept = {}

    def announce(self, turns: Turns) -> None:
        """Say whose turns come later, so that slow reads begin; what is kept is read once."""
        if self._kept is None:
            self._ahead.announce(turns)

    def close(self) -> None:
        """Begin no reads any more."""
        self._ahead.close()

    def read(self, turns: Turns) -> list[Window]:
        """Read the windows of some turns, of which no two are of one lane.

        They are to be copied before the next are read.

        Raises:
            ShardError: If `MAX_ATTEMPTS` windows drawn for one sample cannot be read.
            OSError: If storage fails for a reason that may pass.
        """
        report = self._reader.report
        windows: list[Window] = []
        columns = turns.lane, turns.source, turns.visit, turns.atom
        for lane, source, number, atom in zip(*map(np.ndarray.tolist, columns), strict=True):
            visit = self._lanes.get(lane)
            if visit is None or visit.number != number or visit.source != source:
                visit = self._open(lane, source, number)
            stretch, place = divmod(atom, STRETCH)
            if visit.stretch != stretch:
                self._decode_stretch(lane, visit, stretch)
            windows.append(visit.windows[place])
            cause = visit.causes[place]
            if cause is not None:
                report.replaced[self._plan.sources[source].name, cause] += 1
        counts = np.bincount(turns.source, minlength=len(self._plan.sources)).tolist()
        for source, num in zip(self._plan.sources, counts, strict=True):
            if num:
                report.windows[source.name] += num
        return windows

    def _open(self, lane: int, source: int, number: int) -> _Visit:
        """Begin a lane's next visit."""
        if lane in self._lanes:
            self._ahead.forget(self._lanes[lane].source, self._lanes[lane].number)
        atoms = np.arange(self._plan.interleaving.windows_per_visit)
        located = self._plan.windows(source, number, atoms)
        visit = self._lanes[lane] = _Visit(source=source, number=number, located=located)
        return visit

    def _decode_stretch(self, lane: int, visit: _Visit, stretch: int) -> None:
        source = self._plan.sources[visit.source]
        first = stretch * STRETCH
        clips = visit.located.clip[first : first + STRETCH].copy()
        frames = visit.located.frame[first : first + STRETCH].copy()
        planned: list[WindowId] | None = None
        windows: dict[int, Window] = {}
        causes: list[str | None] = [None] * STRETCH
        left = np.arange(STRETCH)
        fault: Fault | None = None
        # Windows of the stretch before, which lie in the same memory.
        visit.windows = []
        for attempt in range(1, MAX_ATTEMPTS + 1):
            seen = self._find_seen(source, clips, frames, left)
            # Clips that are kept are decoded whole, and not into what a lane uses again.
            room = None
            if self._kept is None:
                room = self._take_memory(lane, sum(len(indices) for _, _, indices in seen))
            for clip, places, indices in seen:
                out = None
                if room is not None:
                    out, room = room[: len(indices)], room[len(indices) :]
                decoded = self._decode(visit, source, clip, indices, out=out)
                if isinstance(decoded, Fault):
                    fault = decoded
                    for place in places.tolist():
                        causes[place] = causes[place] or decoded.cause
                    continue
                cut = cut_windows(
                    decoded,
                    frames[places],
                    shape=source.window,
                    source=source.name,
                    planned=None if planned is None else [planned[p] for p in places.tolist()],
                )
                windows.update(zip(places.tolist(), cut, strict=True))
            left = np.array([place for place in range(STRETCH) if place not in windows], np.int64)
            if not len(left):
                break
            if planned is None:
                planned = [
                    WindowId(source.name, source.manifest.clip_id(clip), frame)
                    for clip, frame in zip(clips.tolist(), frames.tolist(), strict=True)
                ]
            others = self._plan.windows(visit.source, visit.number, first + left, attempt=attempt)
            clips[left], frames[left] = others.clip, others.frame
            # What has been decoded stays where it is.
            self._frames.pop(lane, None)
        else:
            raise ShardError(
                f"source {source.name!r} ({source.dataset}): {MAX_ATTEMPTS} clips in a row "
                f"cannot be read; the last: {fault.message if fault else ''}"
            )
        visit.stretch, visit.causes = stretch, causes
        visit.windows = [windows[place] for place in range(STRETCH)]

    @staticmethod
    def _find_seen(
        source: Source,
        clips: Int64[np.ndarray, " n"],
        frames: Int64[np.ndarray, " n"],
        left: Int64[np.ndarray, " k"],
    ) -> list[tuple[int, Int64[np.ndarray, " m"], Int64[np.ndarray, " kept"]]]:
        """List clips, which windows are of each, and which frames these observe, in order."""
        seen: list[tuple[int, Int64[np.ndarray, " m"], Int64[np.ndarray, " kept"]]] = []
        for clip in np.unique(clips[left]).tolist():
            places = left[clips[left] == clip]
            observed = source.window.frame_indices(frames[places])
            seen.append((clip, places, np.unique(np.maximum(observed, 0))))
        return seen

    def _take_memory(self, lane: int, num_frames: int) -> UInt8[np.ndarray, "kept h w 3"]:
        """Take a lane's memory, made larger if it must be."""
        memory = self._frames.get(lane)
        if memory is None or len(memory) < num_frames:
            side = self._reader.image_size
            memory = self._frames[lane] = np.empty((num_frames, side, side, 3), np.uint8)
        return memory

    def _decode(
        self,
        visit: _Visit,
        source: Source,
        clip: int,
        indices: Int64[np.ndarray, " kept"],
        *,
        out: UInt8[np.ndarray, "kept h w 3"] | None,
    ) -> DecodedClip | Fault:
        kept = self._kept.get((visit.source, clip)) if self._kept is not None else None
        if kept is not None:
            return kept
        encoded = visit.clips.get(clip)
        if encoded is None:
            encoded = visit.clips[clip] = self._fetch(visit, source, clip)
        if isinstance(encoded, Fault):
            return encoded
        try:
            if self._kept is not None:
                visit.clips.clear()
                kept = self._kept[visit.source, clip] = self._reader.decode(encoded)
                return kept
            return self._reader.decode(encoded, indices, out=out)
        except ShardError as error:
            return self._note(source, clip, error)

    def _fetch(self, visit: _Visit, source: Source, clip: int) -> EncodedClip | Fault:
        begun = self._ahead.take(visit.source, visit.number, clip)
        shared = self._encoded.get((visit.source, clip))
        if shared is not None:
            return shared
        row = source.manifest.row(clip)
        try:
            joined = source.window.rows_per_action(row.fps)
            encoded = self._reader.fetch(source.dataset, row, rows_per_action=joined, begun=begun)
        except ShardError as error:
            return self._note(source, clip, error)
        self._encoded[visit.source, clip] = encoded
        self._recent.append(encoded)
        self._recent_bytes += encoded.record_bytes
        while self._recent_bytes > _RECENT_BYTES:
            self._recent_bytes -= self._recent.popleft().record_bytes
        return encoded

    def _note(self, source: Source, clip: int, error: ShardError) -> Fault:
        row = source.manifest.row(clip)
        fault = Fault(source.name, row.shard, row.clip_id, error.cause, str(error))
        self._reader.report.faults.add(fault)
        return fault
