"""Describe clips whose videos are still to be made, and play that does not become a clip."""

import contextlib
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.shards.source_video import SourceVideo
from nitrogen_train.actions import ActionRows
from nitrogen_train.data.clip_record import ClipActions
from nitrogen_train.data.schema import ClipMetadata, Split
from nitrogen_train.runtime.atomic_files import describe_error

_TRIGGERS = ("left_trigger_value", "right_trigger_value")


@dataclass(frozen=True, kw_only=True)
class PlannedClip:
    """A clip that is known but for its video."""

    metadata: ClipMetadata
    split: Split = "train"
    is_squashed: bool = False
    """True if the video shows what `masked_boxes` and `area` leave of the original, not all."""
    _video: SourceVideo = field(repr=False)
    """Without its times."""
    _packed: bytes = field(repr=False)
    """Rows and times, a tenth of their size: a plan may hold a hundred thousand clips."""

    @classmethod
    def pack(
        cls,
        *,
        metadata: ClipMetadata,
        actions: ClipActions,
        video: SourceVideo,
        is_squashed: bool = False,
    ) -> "PlannedClip":
        """Make one of its rows and just its frames."""
        arrays: dict[str, Any] = {
            "buttons": np.packbits(actions.rows.buttons, axis=0),
            "sticks": actions.rows.sticks,
            "valid": np.packbits(actions.valid),
            # Most differences are alike.
            "ticks": np.diff(video.ticks, prepend=0),
        }
        for name in _TRIGGERS:
            if (values := getattr(actions, name)) is not None:
                arrays[name] = values
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        return cls(
            metadata=metadata,
            is_squashed=is_squashed,
            _video=replace(video, ticks=np.zeros(0, np.int64)),
            _packed=buffer.getvalue(),
        )

    @property
    def actions(self) -> ClipActions:
        """Return one row per frame."""
        num_rows = self.metadata.num_frames
        with np.load(io.BytesIO(self._packed)) as arrays:
            buttons = np.unpackbits(arrays["buttons"], axis=0, count=num_rows)
            return ClipActions(
                rows=ActionRows(buttons=buttons.astype(bool), sticks=arrays["sticks"]),
                valid=np.unpackbits(arrays["valid"], count=num_rows).astype(bool),
                **{name: arrays[name] for name in _TRIGGERS if name in arrays},
            )

    @property
    def video(self) -> SourceVideo:
        """Return just the clip's frames."""
        with np.load(io.BytesIO(self._packed)) as arrays:
            return replace(self._video, ticks=np.cumsum(arrays["ticks"]))


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """Play that came in and did not become a clip."""

    name: str
    """Name of the clip that it would have been, or of the whole unit."""
    game: str = "unknown"
    seconds: float = 0.0
    """Seconds of play, as far as they are known."""
    reason: str
    """A few words, the same for all that went wrong in this way."""
    detail: str
    """Detail of the reason: what was expected and what came."""
    is_fault: bool = True
    """True if the exit status becomes 1: something that was given gave nothing, or clips of it were
    lost to damage in its middle. Not so what was not asked for, nor the end of an input of which
    the good part is kept: a video that was cut off, a log whose last row was."""
    is_told: bool = False
    """True if it has a line on the screen though it is no fault."""


def list_loss(video: SourceVideo, *, name: str, game: str) -> list[Dropped]:
    """List what a video that was cut off has lost at its end, for the report."""
    if video.loss is None:
        return []
    return [
        Dropped(
            name=name,
            game=game,
            seconds=video.loss.seconds,
            reason="the video is cut off" if video.is_cut_off else "the video's end is damaged",
            detail=video.loss.words,
            is_fault=False,
            is_told=True,
        )
    ]


@dataclass(frozen=True, kw_only=True)
class PlannedUnit:
    """One recording, published video or episode, whose files have been read and agree."""

    digest: str
    """Digest of all that the unit's clips depend on."""
    clips: Sequence[PlannedClip]
    dropped: Sequence[Dropped] = ()
    notes: Mapping[str, int] = field(default_factory=dict)
    """Changes and losses in rows that were kept, in a few words, with how often each happened."""
    earlier_digests: tuple[str, ...] = ()
    """Digests that earlier versions gave a unit that cannot be used, from its error's words."""

    @classmethod
    def unusable(
        cls, dropped: Dropped, error: Exception, *, video_path: Path, small_paths: Sequence[Path]
    ) -> "PlannedUnit":
        """Make one without clips, which stays the same however its error is worded.

        Args:
            dropped: What is reported.
            error: Why.
            video_path: Only its size counts.
            small_paths: Of its other files, whose contents count.
        """
        digest = hashlib.sha256(f"unusable {dropped.name}\n".encode())
        for path in (video_path, *small_paths):
            # What is missing, or may not be read, has neither size nor contents.
            with contextlib.suppress(OSError):
                digest.update(f"{path.stat().st_size if path.is_file() else -1}\n".encode())
                # A named pipe would be read for ever.
                if path in small_paths and path.is_file():
                    with path.open("rb") as file:
                        digest.update(hashlib.file_digest(file, "sha256").digest())
        return cls(
            digest=digest.hexdigest(),
            clips=[],
            dropped=[dropped],
            earlier_digests=tuple(
                f"{dropped.name}: {words}" for words in (error, describe_error(error))
            ),
        )
