"""Clips that cannot be read: listed, counted, and too many of them refused."""

import json
import logging
from collections import Counter
from contextlib import suppress
from pathlib import Path

from nitrogen_train.data.report import Fault, LoadReport
from nitrogen_train.data.schema import ShardError

_log = logging.getLogger(__name__)

_FEWEST_WINDOWS = 1000
"""Delivered before their share is judged."""


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
        self._max_share = max_share
        self._windows = 0
        self._replaced: Counter[tuple[str, str]] = Counter()
        self._listed: set[tuple[str, str]] = set()
        for listed in path.parent.glob(f"*{path.suffix}"):
            text = listed.read_text(encoding="utf-8")
            for line in text.splitlines():
                # A full disk or a crash may have cut the last one short.
                with suppress(ValueError, KeyError, TypeError):
                    entry = json.loads(line)
                    self._listed.add((entry["source"], entry["clip_id"]))
            if listed == path and text and not text.endswith("\n"):
                with path.open("a", encoding="utf-8") as file:
                    file.write("\n")

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
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(fault._asdict()) + "\n")
