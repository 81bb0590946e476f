"""Fetch clips by one ranged read, and decode them as far as windows need them.

    manifest row ─► storage ─► record ─► clip ─► frames of a stretch
                                   └► unreadable ─► quarantine: listed, counted, too many refused

What loading cost and what went wrong is counted where it happens, and summed where it is logged.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from nitrogen_train.actions import ActionSpace
from nitrogen_train.data.clip_record import valid_runs
from nitrogen_train.data.dataset import Dataset
from nitrogen_train.data.manifest import ManifestRow
from nitrogen_train.data.schema import ShardError
from nitrogen_train.data.stored_clips import StoredClip
from nitrogen_train.data.video import DecodeError, EncodedVideo, VideoDecoder
from nitrogen_train.picture import squash
from nitrogen_train.runtime.ledger import Ledger

_log = logging.getLogger(__name__)

_FEWEST_WINDOWS = 1000
"""Delivered before their share is judged."""


@dataclass(frozen=True, order=True)
class Fault:
    """A clip that cannot be read, however often one tries."""

    source: str
    shard: str
    clip_id: str
    cause: str
    """A word for counting, such as `missing`, `checksum` or `video`."""
    message: str


@dataclass(kw_only=True)
class LoadReport:
    """Sums since the last report."""

    windows: Counter[str] = field(default_factory=Counter[str])
    """Delivered, by source."""
    replaced: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    """Windows that stand in for others, by the planned one's source and the cause."""
    faults: set[Fault] = field(default_factory=set[Fault])
    bytes_read: int = 0
    """Bytes of records, from storage or its cache."""
    read_s: float = 0.0
    decode_s: float = 0.0
    frames_decoded: int = 0

    def add(self, other: "LoadReport") -> None:
        """Take in another report."""
        self.windows += other.windows
        self.replaced += other.replaced
        self.faults |= other.faults
        for name in ("bytes_read", "read_s", "decode_s", "frames_decoded"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def take(self) -> "LoadReport":
        """Hand the sums over, and begin again at zero."""
        taken = LoadReport()
        for item in fields(self):
            fresh = getattr(taken, item.name)
            setattr(taken, item.name, getattr(self, item.name))
            setattr(self, item.name, fresh)
        return taken


class Quarantine:
    """Watches a rank's reports.

    Its file is output only: the stream goes around these clips by itself, in the same way each
    time. A data set without them is another one, with an order of its own.
    """

    def __init__(self, path: Path, *, max_share: float) -> None:
        """Begin with what earlier starts of the run have listed.

        Args:
            path: This rank's list, a JSON line per clip. Lists beside it are other ranks', of
                which there may have been more or fewer.
            max_share: Of windows that may stand in for others before the run is stopped.
        """
        self._path = path
        self._ledger = Ledger(path, Fault)
        self._max_share = max_share
        self._windows = 0
        self._replaced: Counter[tuple[str, str]] = Counter()
        self._listed = {
            (fault.source, fault.clip_id)
            for listed in path.parent.glob(f"*{path.suffix}")
            for fault in Ledger(listed, Fault)
        }

    def add(self, report: LoadReport) -> None:
        """List new faults, and judge their share.

        Raises:
            ShardError: If more windows than allowed stand in for others; the message names the
                causes.
        """
        for fault in sorted(report.faults):
            self._list(fault)
        self._windows += report.windows.total()
        self._replaced += report.replaced
        replaced = self._replaced.total()
        if self._windows >= _FEWEST_WINDOWS and replaced > self._max_share * self._windows:
            causes = ", ".join(
                f"{count} of {source} ({cause})"
                for (source, cause), count in self._replaced.most_common(5)
            )
            raise ShardError(
                f"{replaced} of {self._windows} windows could not be read and were replaced, more "
                f"than data.max_fault_share={self._max_share}: {causes}; the clips are listed in "
                f"{self._path}"
            )

    def _list(self, fault: Fault) -> None:
        if (fault.source, fault.clip_id) in self._listed:
            return
        self._listed.add((fault.source, fault.clip_id))
        _log.warning("replaced from now on: %s", fault.message)
        self._ledger.add(fault)


@dataclass(frozen=True, kw_only=True)
class EncodedClip:
    """A clip as it was fetched, its video still encoded: about 3 MB for 20 s."""

    clip_id: str
    game: str
    video: EncodedVideo
    values: Float32[np.ndarray, "rows a"]
    """Actions in model space."""
    valid: Bool[np.ndarray, " rows"]
    frame_step: int
    """Frames of the video per frame of the clip."""
    record_bytes: int
    """Size of the record that it comes from, about what it takes."""


@dataclass(frozen=True, kw_only=True)
class DecodedClip:
    """Some of a clip's frames, or all, and all of its actions."""

    clip_id: str
    game: str
    index: Int64[np.ndarray, " kept"]
    """Frames of the clip that are kept, increasing."""
    frames: UInt8[np.ndarray, "kept h w 3"]
    values: Float32[np.ndarray, "rows a"]
    """Actions in model space."""
    valid: Bool[np.ndarray, " rows"]

    def find_frames(self, indices: Int64[np.ndarray, "..."]) -> Int64[np.ndarray, "..."]:
        """Find the places in `frames` of frames of the clip, which must be among those kept."""
        return np.searchsorted(self.index, indices)


class ClipReader:
    """Fetches and decodes; holds nothing but what it counts."""

    def __init__(self, *, space: ActionSpace, decoder: VideoDecoder, image_size: int) -> None:
        """Fix what all clips share.

        Args:
            space: The layout of the actions.
            decoder: Opened per call, in the process that reads.
            image_size: Frames are squashed to this many pixels a side where they differ.
        """
        self._space = space
        self._decoder = decoder
        self.image_size = image_size
        self.report = LoadReport()
        self.frame_bytes = 3 * image_size**2
        """Size of a decoded frame."""

    def fetch(
        self,
        dataset: Dataset,
        row: ManifestRow,
        *,
        rows_per_action: int = 1,
        begun: Callable[[], StoredClip] | None = None,
    ) -> EncodedClip:
        """Read a clip with one ranged read, and check all of it but the video.

        Args:
            dataset: Whose clip it is.
            row: Its own of the manifest.
            rows_per_action: Reduce its rate by this factor.
            begun: Waits for a read of it that has begun already; None begins one.

        Raises:
            ShardError: If it cannot be had, however often one tries, or has not the valid rows
                that the manifest lists.
            OSError: If it could not be had now.
        """
        started = time.perf_counter()
        record = dataset.read(row) if begun is None else begun()
        self.report.read_s += time.perf_counter() - started
        self.report.bytes_read += row.size
        # Windows are counted by the manifest alone.
        valid = record.actions.valid
        if len(valid) != row.num_frames or valid_runs(valid) != row.valid_runs:
            raise ShardError(
                f"{row.shard}, byte {row.offset}: the valid rows of clip {row.clip_id!r} are "
                "not those that the manifest lists: shard again"
            )
        actions = record.actions.join(rows_per_action, self._space)
        return EncodedClip(
            clip_id=row.clip_id,
            game=row.game,
            video=self._decoder.open(record.video),
            values=self._space.encode(actions.rows),
            valid=actions.valid,
            frame_step=rows_per_action,
            record_bytes=row.size,
        )

    def decode(
        self,
        clip: EncodedClip,
        indices: Int64[np.ndarray, " kept"] | None = None,
        *,
        out: UInt8[np.ndarray, "_ _ _ 3"] | None = None,
    ) -> DecodedClip:
        """Decode some frames of a clip, in increasing order, or all of them.

        Args:
            clip: Whose frames they are.
            indices: Which; None: all.
            out: Memory for them; None: new memory.

        Raises:
            DecodeError: If a frame cannot be had.
        """
        started = time.perf_counter()
        if indices is None and clip.frame_step > 1:
            indices = np.arange(len(clip.valid))
        wanted = None if indices is None else (indices * clip.frame_step).tolist()
        frames = clip.video.decode(wanted, out=out)
        if indices is None and len(frames) < len(clip.valid):
            raise DecodeError(
                f"the video of clip {clip.clip_id!r} has {len(frames)} frames, its actions have "
                f"{len(clip.valid)} rows"
            )
        if frames.shape[1:3] != (self.image_size, self.image_size):
            frames = np.stack([squash(frame, self.image_size) for frame in frames])
        self.report.decode_s += time.perf_counter() - started
        self.report.frames_decoded += len(frames)
        return DecodedClip(
            clip_id=clip.clip_id,
            game=clip.game,
            index=np.arange(len(frames)) if indices is None else indices,
            frames=frames,
            values=clip.values,
            valid=clip.valid,
        )

    def blank(self) -> DecodedClip:
        """Make a clip of one black frame, none of whose rows is valid."""
        side = self.image_size
        return DecodedClip(
            clip_id="",
            game="",
            index=np.zeros(1, np.int64),
            frames=np.zeros((1, side, side, 3), np.uint8),
            values=np.zeros((1, self._space.action_dim), np.float32),
            valid=np.zeros(1, bool),
        )
