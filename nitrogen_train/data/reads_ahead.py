"""Begin to read from servers what samples further on will need: the order is known.

    samples to come ─► visits that open with them ─► threads read their clips
      ─► the lane's turn comes: its clip is there, or is waited for

One answer that takes seconds then stalls nobody. What is read, and what becomes of a fault, is as
without it. Files of a disk are read when they are needed.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from nitrogen_train.data.order import Turns, WindowPlan
from nitrogen_train.data.stored_clips import StoredClip

_THREADS = 8
"""Reads that are under way at once, in each worker."""
SAMPLES_AHEAD = 2048
"""Of a rank, by which reads run ahead: three seconds of an H100."""


class ReadsAhead:
    """Reads of one worker that are under way, or done and not asked for yet."""

    def __init__(self, plan: WindowPlan) -> None:
        """Begin with none.

        Args:
            plan: Which windows come.
        """
        self._plan = plan
        self._is_remote = [source.dataset.storage.folder is None for source in plan.sources]
        self._visits: dict[int, tuple[int, int]] = {}
        """The last visit of each lane whose reads have begun."""
        self._reads: dict[tuple[int, int], dict[int, Future[StoredClip]]] = {}
        """By source and visit, then by clip."""
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="read")

    def announce(self, turns: Turns) -> None:
        """Begin to read what some turns need, in their order."""
        if not any(self._is_remote):
            return
        columns = (turns.lane, turns.source, turns.visit, turns.atom)
        for lane, source, visit, atom in zip(*(each.tolist() for each in columns), strict=True):
            if self._is_remote[source] and self._visits.get(lane) != (source, visit):
                self._visits[lane] = source, visit
                self._begin(source, visit, atom)

    def _begin(self, source: int, visit: int, atom: int) -> None:
        atoms = np.arange(atom, self._plan.interleaving.windows_per_visit)
        read = self._plan.sources[source]
        self._reads[source, visit] = {
            clip: self._pool.submit(read.dataset.read, read.manifest.row(clip))
            for clip in np.unique(self._plan.windows(source, visit, atoms).clip).tolist()
        }

    def take(self, source: int, visit: int, clip: int) -> Callable[[], StoredClip] | None:
        """Take a read that has begun; None if it has not.

        What is taken gives the clip, or raises what reading it has raised.
        """
        begun = self._reads.get((source, visit), {}).pop(clip, None)
        return None if begun is None else begun.result

    def forget(self, source: int, visit: int) -> None:
        """Drop what is left of a visit that has ended."""
        self._reads.pop((source, visit), None)

    def close(self) -> None:
        """Begin nothing any more."""
        self._pool.shutdown(wait=False, cancel_futures=True)
