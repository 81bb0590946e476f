"""The plan of a run's samples: which window comes where, known without reading a shard."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64

from nitrogen_train.data.mixture import Source
from nitrogen_train.data.order import STRETCH, Interleaving, LaneOrder, SourceOrder, Turns
from nitrogen_train.data.window_table import Located
from nitrogen_train.window_id import WindowId


class WindowPlan:
    """Samples of the endless stream to windows of clips."""

    def __init__(self, sources: Sequence[Source], interleaving: Interleaving) -> None:
        """Lay out the order.

        Args:
            sources: The mixture.
            interleaving: How the sources' visits are laid side by side.

        Raises:
            ValueError: If a source has no window, or no sample in a step.
        """
        self.sources = sources
        self.interleaving = interleaving
        self._lanes = LaneOrder(interleaving, weights=[source.options.weight for source in sources])
        self._orders: list[SourceOrder] = []
        for index, source in enumerate(sources):
            try:
                order = SourceOrder(
                    windows_per_visit=interleaving.windows_per_visit,
                    starts=source.starts,
                    weights=source.part_weights,
                    seed=interleaving.seed,
                    index=index,
                )
            except ValueError as error:
                raise ValueError(
                    f"source {source.name!r} ({source.storage.root}): {error}"
                ) from error
            self._orders.append(order)

    def turns(self, samples: Int64[np.ndarray, " n"]) -> Turns:
        """Find whose turn each sample is."""
        return self._lanes.locate(samples)

    def windows(
        self, source: int, visit: int, atoms: Int64[np.ndarray, " n"], *, attempt: int = 0
    ) -> Located:
        """Find windows of one visit.

        Args:
            source: Index of the source.
            visit: Number in its endless sequence.
            atoms: Which of the visit's windows, in the order of handing out.
            attempt: 0 for what was planned, from 1 on for what stands in.
        """
        visits = np.full(len(atoms), visit)
        positions = self._orders[source].positions(visits, atoms, attempt=attempt)
        return self.sources[source].table.locate(positions)

    def locate(
        self, samples: Int64[np.ndarray, " n"]
    ) -> list[tuple[Int64[np.ndarray, " k"], Source, Located]]:
        """Find the planned windows of some samples, source by source.

        Returns:
            For each source that has some: which of the samples, the source, and their windows.
        """
        turns = self.turns(samples)
        found: list[tuple[Int64[np.ndarray, " k"], Source, Located]] = []
        for index in np.unique(turns.source):
            which = np.flatnonzero(turns.source == index)
            order, source = self._orders[index], self.sources[index]
            positions = order.positions(turns.visit[which], turns.atom[which])
            found.append((which, source, source.table.locate(positions)))
        return found

    def window_ids(self, samples: Int64[np.ndarray, " n"]) -> list[WindowId]:
        """Name the planned windows of some samples."""
        ids: dict[int, WindowId] = {}
        for index, source, located in self.locate(samples):
            for place, clip, frame in zip(index, located.clip, located.frame, strict=True):
                clip_id = source.manifest.clip_id(int(clip))
                ids[int(place)] = WindowId(source.name, clip_id, int(frame))
        return [ids[place] for place in range(len(samples))]

    def count_rows(self, samples: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        """Count the supervised rows of the planned window of each of some samples."""
        counts = np.zeros(len(samples), np.int64)
        for which, _, located in self.locate(samples):
            counts[which] = located.num_rows
        return counts

    def identity(self) -> dict[str, Any]:
        """Say what the order depends on: a run resumes only where all of it is the same."""
        laid = self.interleaving
        return {
            "seed": laid.seed,
            "global_batch_size": laid.global_batch_size,
            "lane_groups": laid.lane_groups,
            "windows_per_visit": laid.windows_per_visit,
            "windows_per_stretch": STRETCH,
            "sources": [source.describe() for source in self.sources],
        }
