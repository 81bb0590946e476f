"""Play that is in both splits, under whatever names."""

from collections.abc import Iterator
from pathlib import Path

from data_tools.inspection.clip_checks import ClipFacts
from data_tools.inspection.finding import Finding
from nitrogen_train.data.manifest_row import ManifestRow

# Fewer changes of input may be the same by chance: an idle clip is like any other.
_FEWEST_CHANGES = 8


class SharedPlay:
    """Remembers what was in which split: a few bytes per clip."""

    def __init__(self) -> None:
        self._videos: dict[int, tuple[str, str]] = {}
        self._actions: dict[int, tuple[str, str]] = {}

    def look_at(self, dataset: Path, row: ManifestRow, facts: ClipFacts) -> Iterator[Finding]:
        """Compare a clip with those before it."""
        name = f"{row.clip_id} of {dataset}"
        other = _find(self._videos, facts.video_hash, row.split, name)
        if other is not None:
            yield Finding(
                level="fault",
                dataset=str(dataset),
                text=f"clip {row.clip_id} ({row.split}) has the picture of {other}: a policy would "
                "be measured on what it learned from; remove one of them",
            )
            return
        if facts.controls.num_changes < _FEWEST_CHANGES:
            return
        other = _find(self._actions, facts.actions_hash, row.split, name)
        if other is not None:
            yield Finding(
                level="suspicion",
                dataset=str(dataset),
                text=f"clip {row.clip_id} ({row.split}) has the actions of {other}, row by row; "
                "look at both: if they are the same play, remove one of them",
            )


def _find(known: dict[int, tuple[str, str]], digest: str, split: str, name: str) -> str | None:
    """Name the clip of the other split with this hash, if there is one."""
    first_split, first_name = known.setdefault(int(digest[:16], 16), (split, name))
    return f"{first_name} ({first_split})" if first_split != split else None
