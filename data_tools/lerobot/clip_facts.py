"""What LeRobot has no place for: a line of JSON beside each episode that was a clip of ours."""

import json
from dataclasses import dataclass
from typing import Any, cast

from nitrogen_train.data.action_file import ClipActions
from nitrogen_train.data.schema import (
    SPLITS,
    ClipMetadata,
    ShardError,
    Split,
    parse_json_object,
)

TRIGGER_CONTROLS = {
    "left_trigger_value": "LEFT_TRIGGER",
    "right_trigger_value": "RIGHT_TRIGGER",
}
"""Columns of `ClipActions` and of the exported rows, and the controls that they belong to."""


@dataclass(frozen=True, kw_only=True)
class ClipFacts:
    """A clip but for its rows and its pictures."""

    metadata: ClipMetadata
    split: Split
    analogue_triggers: tuple[str, ...]
    """Columns of triggers whose pull was recorded; where not, the column repeats the button."""

    def to_json(self) -> str:
        """Write one canonical line."""
        return json.dumps(
            {
                "metadata": json.loads(self.metadata.to_json()),
                "split": self.split,
                "analogue_triggers": self.analogue_triggers,
            },
            sort_keys=True,
        )

    @classmethod
    def from_json(cls, text: str, *, what: str) -> "ClipFacts":
        """Read what may have been edited since.

        Args:
            text: The line.
            what: Whose it is, for messages.

        Raises:
            ShardError: If it is not what `to_json` writes.
        """
        values = parse_json_object(text.encode(), what)
        if values.keys() != {"metadata", "split", "analogue_triggers"}:
            raise ShardError(f"{what} has the fields {sorted(values)}, it was written by others")
        split, triggers = values["split"], cast("Any", values["analogue_triggers"])
        if split not in SPLITS:
            raise ShardError(f"{what}: split must be one of {', '.join(SPLITS)}, got {split!r}")
        if not isinstance(triggers, list) or any(name not in TRIGGER_CONTROLS for name in triggers):
            raise ShardError(f"{what}: analogue_triggers may hold {', '.join(TRIGGER_CONTROLS)}")
        try:
            metadata = ClipMetadata.from_json(json.dumps(values["metadata"]).encode())
        except ShardError as error:
            raise ShardError(f"{what}: {error}") from error
        return cls(metadata=metadata, split=cast("Split", split), analogue_triggers=tuple(triggers))


def list_analogue_triggers(actions: ClipActions) -> tuple[str, ...]:
    """Name the columns of triggers whose pull was recorded."""
    return tuple(name for name in TRIGGER_CONTROLS if getattr(actions, name) is not None)
