"""Fetch a clip once, decode it a stretch at a time, and hand it out window by window: a visit.

    planned visit ─► clip_reader ─► decoded stretch ─► windows ─► samples ─► PolicyBatch

What cannot be read is replaced by windows that the plan itself draws, so that a fault in the data
changes the stream in the same way at any number of ranks and workers.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64, UInt8

from nitrogen_train.actions import ActionSpace
from nitrogen_train.batch import PolicyBatch, WindowId
from nitrogen_train.data.clip_reader import ClipReader, DecodedClip, EncodedClip, Fault
from nitrogen_train.data.mixture import Source
from nitrogen_train.data.order import STRETCH, WindowPlan
from nitrogen_train.data.reads_ahead import ReadsAhead
from nitrogen_train.data.schema import ShardError

MAX_ATTEMPTS = 16
"""Windows drawn in place of one that cannot be read, before the data set is given up."""


class Window(NamedTuple):
    """One sample before it is cut."""

    source: Source
    clip: DecodedClip
    frame: int
    """The last observed frame."""
    planned: WindowId
    """Window that the plan has here; another window stands in where this one cannot be read."""
    occurrence: int
    """Tells the times apart that the same window is delivered."""

    @property
    def id(self) -> WindowId:
        """Name what is delivered."""
        return WindowId(self.source.name, self.clip.clip_id, self.frame)


class WindowCollator:
    """Cuts windows and stacks them into a `PolicyBatch`."""

    def __init__(self, *, space: ActionSpace, games: Sequence[str], seed: int) -> None:
        """Fix what all windows share.

        Args:
            space: The layout of the actions.
            games: Names in the order of their ids, from 1; other games are 0, unconditional.
            seed: The run's, from which each sample's is derived.
        """
        self._space = space
        self._game_ids = {name: index for index, name in enumerate(games, start=1)}
        self._seed = seed
        self.labelled_controls = int(space.label_mask.sum())
        # A masked value must be one that the network may see as an input: centred and released.
        self._neutral = np.array([0.0] * len(space.buttons) + [0.5] * len(space.sticks), np.float32)

    def collate(self, windows: Sequence[Window], *, num_valid_in_step: int) -> PolicyBatch:
        """Build a batch.

        Args:
            windows: One per sample.
            num_valid_in_step: See `PolicyBatch`.
        """
        num, shape = len(windows), windows[0].source.window
        # As decoded, colours last: each frame is copied once, and nothing is transposed.
        side = windows[0].clip.frames.shape[1]
        frames = np.empty((num, shape.num_frames, side, side, 3), np.uint8)
        frame_mask = np.empty((num, shape.num_frames), bool)
        actions = np.tile(self._neutral, (num, shape.action_horizon, 1))
        row_mask = np.empty((num, shape.action_horizon), bool)
        for index, window in enumerate(windows):
            frame_mask[index] = self._cut_frames(window, frames[index])
            row_mask[index] = self._cut_rows(window, actions[index])
        seeds = [_sample_seed(self._seed, window.id, window.occurrence) for window in windows]
        return PolicyBatch(
            frames=torch.from_numpy(frames.transpose(0, 1, 4, 2, 3)),
            frame_mask=torch.from_numpy(frame_mask),
            actions=torch.from_numpy(actions),
            action_mask=torch.from_numpy(row_mask[:, :, None] & self._space.label_mask),
            game_id=torch.tensor([self._game_ids.get(w.clip.game, 0) for w in windows]),
            sample_seed=torch.tensor(seeds),
            num_valid_in_step=torch.tensor(num_valid_in_step),
            window_ids=tuple(window.id for window in windows),
            planned_window_ids=tuple(window.planned for window in windows),
        )

    def _cut_frames(
        self, window: Window, frames: UInt8[np.ndarray, "f h w 3"]
    ) -> Bool[np.ndarray, " f"]:
        """Fill in a window's frames, and say which of them exist."""
        indices = window.source.window.frame_indices(window.frame)
        window.clip.copy_frames(np.maximum(indices, 0), frames)
        return indices >= 0

    def _cut_rows(
        self, window: Window, values: Float32[np.ndarray, "t a"]
    ) -> Bool[np.ndarray, " t"]:
        """Fill in a window's supervised rows, and say which these are."""
        shape, clip = window.source.window, window.clip
        rows = shape.row_mask(clip.valid, window.frame)
        first, num_rows = window.frame + shape.action_offset, int(rows.sum())
        values[:num_rows] = clip.values[first : first + num_rows]
        return rows


def _sample_seed(seed: int, window_id: WindowId, occurrence: int) -> int:
    name = f"{seed}/{window_id.source}/{window_id.clip_id}/{window_id.frame}/{occurrence}"
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


@dataclass(kw_only=True)
class _Visit:
    """The clip and the windows that a lane holds open."""

    source: int
    number: int
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
        self._ahead = ReadsAhead(plan)
        self._kept: dict[tuple[int, int], DecodedClip] | None = None
        if fits_decoded(plan, frame_bytes=reader.frame_bytes, max_kept_bytes=max_kept_bytes):
            self._kept = {}

    def announce(self, samples: Int64[np.ndarray, " n"]) -> None:
        """Say which samples come later, so that slow reads begin; what is kept is read once."""
        if self._kept is None:
            self._ahead.announce(samples)

    def close(self) -> None:
        """Begin no reads any more."""
        self._ahead.close()

    def read(self, samples: Int64[np.ndarray, " n"]) -> list[Window]:
        """Read the windows of some samples.

        Raises:
            ShardError: If `MAX_ATTEMPTS` windows drawn for one sample cannot be read.
            OSError: If storage fails for a reason that may pass.
        """
        turns = self._plan.turns(samples)
        columns = (samples, turns.lane, turns.source, turns.visit, turns.atom)
        return [
            self._read_window(*(int(value) for value in turn))
            for turn in zip(*columns, strict=True)
        ]

    def _read_window(self, sample: int, lane: int, source: int, number: int, atom: int) -> Window:
        visit = self._lanes.get(lane)
        if visit is None or (visit.source, visit.number) != (source, number):
            if visit is not None:
                self._ahead.forget(visit.source, visit.number)
            visit = self._lanes[lane] = _Visit(source=source, number=number)
        stretch, place = divmod(atom, STRETCH)
        if visit.stretch != stretch:
            self._decode_stretch(visit, stretch)
        report, name = self._reader.report, self._plan.sources[source].name
        report.windows[name] += 1
        cause = visit.causes[place]
        if cause is not None:
            report.replaced[name, cause] += 1
        return visit.windows[place]._replace(occurrence=sample)

    def _decode_stretch(self, visit: _Visit, stretch: int) -> None:
        source = self._plan.sources[visit.source]
        atoms = np.arange(stretch * STRETCH, (stretch + 1) * STRETCH)
        located = self._plan.windows(visit.source, visit.number, atoms)
        clips, frames = located.clip.copy(), located.frame.copy()
        planned = [
            WindowId(source.name, source.manifest.clip_id(int(clip)), int(frame))
            for clip, frame in zip(clips, frames, strict=True)
        ]
        windows: dict[int, Window] = {}
        causes: list[str | None] = [None] * STRETCH
        left = np.arange(STRETCH)
        fault: Fault | None = None
        for attempt in range(1, MAX_ATTEMPTS + 1):
            for clip in np.unique(clips[left]):
                places = left[clips[left] == clip]
                decoded = self._decode(visit, source, int(clip), frames[places])
                if isinstance(decoded, Fault):
                    fault = decoded
                for place in places:
                    if isinstance(decoded, Fault):
                        causes[place] = causes[place] or decoded.cause
                    else:
                        windows[int(place)] = Window(
                            source, decoded, int(frames[place]), planned[place], occurrence=0
                        )
            left = np.array([place for place in left if int(place) not in windows], np.int64)
            if not len(left):
                break
            others = self._plan.windows(visit.source, visit.number, atoms[left], attempt=attempt)
            clips[left], frames[left] = others.clip, others.frame
        else:
            raise ShardError(
                f"source {source.name!r} ({source.dataset}): {MAX_ATTEMPTS} clips in a row "
                f"cannot be read; the last: {fault.message if fault else ''}"
            )
        visit.stretch, visit.causes = stretch, causes
        visit.windows = [windows[place] for place in range(STRETCH)]

    def _decode(
        self, visit: _Visit, source: Source, clip: int, frames: Int64[np.ndarray, " n"]
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
            seen = (source.window.frame_indices(int(frame)) for frame in frames)
            return self._reader.decode(encoded, np.unique(np.maximum(np.concatenate([*seen]), 0)))
        except ShardError as error:
            return self._note(source, clip, error)

    def _fetch(self, visit: _Visit, source: Source, clip: int) -> EncodedClip | Fault:
        row = source.manifest.row(clip)
        begun = self._ahead.take(visit.source, visit.number, clip)
        try:
            joined = source.window.rows_per_action(row.fps)
            return self._reader.fetch(source.dataset, row, rows_per_action=joined, begun=begun)
        except ShardError as error:
            return self._note(source, clip, error)

    def _note(self, source: Source, clip: int, error: ShardError) -> Fault:
        row = source.manifest.row(clip)
        fault = Fault(source.name, row.shard, row.clip_id, error.cause, str(error))
        self._reader.report.faults.add(fault)
        return fault
