"""Clips that are known but for their videos, and play that does not become a clip."""

from collections.abc import Sequence
from dataclasses import dataclass

from data_tools.shards.source_video import SourceVideo
from nitrogen_train.data.action_file import ClipActions
from nitrogen_train.data.schema import ClipMetadata, Split


@dataclass(frozen=True, kw_only=True)
class PlannedClip:
    """A clip that is known but for its video."""

    metadata: ClipMetadata
    actions: ClipActions
    video: SourceVideo
    """Just the clip's frames."""
    split: Split = "train"
    is_squashed: bool = False
    """Whether the video shows what `masked_boxes` and `area` leave of the original, not all."""


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """Play that came in and did not become a clip."""

    name: str
    """Of the clip that it would have been, or of the whole unit."""
    game: str
    seconds: float
    """Of play, as far as it is known."""
    reason: str
    """A few words, the same for all that went wrong in this way."""
    detail: str
    """What was expected and what came."""


@dataclass(frozen=True, kw_only=True)
class PlannedUnit:
    """One recording, published video or episode, whose files have been read and agree."""

    digest: str
    """Of all that its clips depend on."""
    clips: Sequence[PlannedClip]
    dropped: Sequence[Dropped] = ()
