"""Play that is in both splits, under whatever names.

Suspicions, not faults: what a data set promises is that sessions are not divided, and two black
screens are the same without being one play.
"""

from collections.abc import Iterator

from data_tools.inspection.clip_checks import ClipFacts
from nitrogen_train.data.manifest_row import ManifestRow

# Fewer changes of input may be the same by chance: an idle clip is like any other.
_FEWEST_CHANGES = 8


class SharedPlay:
    """Remembers what was in which split: a few bytes per clip."""

    def __init__(self) -> None:
        self._videos: dict[int, tuple[str, str]] = {}
        self._actions: dict[int, tuple[str, str]] = {}

    def look_at(self, dataset: str, row: ManifestRow, facts: ClipFacts) -> Iterator[str]:
        """Compare a clip with those before it.

        Args:
            dataset: Whose clip it is.
            row: The clip.
            facts: What it holds.
        """
        name = f"{row.clip_id} of {dataset}"
        clip = f"clip {row.clip_id} ({row.split})"
        other = _find(self._videos, facts.video_hash, row.split, name)
        if other is not None:
            yield (
                f"{clip} has the picture of {other}, byte by byte: a policy would be measured on "
                "what it learned from; remove one of them"
            )
            return
        if facts.controls.num_changes < _FEWEST_CHANGES:
            return
        other = _find(self._actions, facts.actions_hash, row.split, name)
        if other is not None:
            yield (
                f"{clip} has the actions of {other}, row by row; look at both: if they are the "
                "same play, remove one of them"
            )


def _find(known: dict[int, tuple[str, str]], digest: str, split: str, name: str) -> str | None:
    """Name the clip of the other split with this hash, if there is one."""
    first_split, first_name = known.setdefault(int(digest[:16], 16), (split, name))
    return f"{first_name} ({first_split})" if first_split != split else None
