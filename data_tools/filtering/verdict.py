"""What is said of one clip, by itself."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from data_tools.filtering.action_rules import find_corner, find_idle
from data_tools.filtering.picture_rules import find_black, find_frozen, find_menu, make_signature
from data_tools.filtering.pictures import sample_pictures
from data_tools.filtering.settings import (
    BLACK,
    CORNER,
    DAMAGED,
    FROZEN,
    IDLE,
    MENU,
    OUT_OF_RANGE,
    PICTURE_RULES,
    FilterSettings,
)
from data_tools.fingerprint import hash_actions, hash_video
from nitrogen_train.data.action_file import ClipActions, idle_rows
from nitrogen_train.data.decode import VideoDecoder, choose_decoder
from nitrogen_train.data.manifest_row import ManifestRow
from nitrogen_train.data.schema import ShardError, get_space
from nitrogen_train.data.storage import Storage
from nitrogen_train.data.stored_clips import StoredClip, read_clip


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a clip is kept, as far as it alone can tell."""

    clip_id: str
    rule: str | None
    """The first rule that it breaks."""
    detail: str = ""
    """What was found."""
    actions_hash: str = ""
    """Of a clip that is kept: of its rows and their rate."""
    video_hash: str = ""
    signature: str = ""
    """What it looks like, in hexadecimal."""


def judge_clip(dataset_dir: Path, settings: FilterSettings, row: ManifestRow) -> Verdict:
    """Read a clip, and ask the rules in turn; pictures are decoded only if the actions are kept.

    Raises:
        ShardError: If the shard is missing: what is left would pass for the whole data set.
        OSError: If it could not be read now.
    """
    try:
        clip = read_clip(Storage(str(dataset_dir)), row)
        found = _judge_actions(clip.actions, row, settings)
        if found is None and PICTURE_RULES.isdisjoint(settings.on):
            found = Verdict(clip_id=row.clip_id, rule=None)
        return found or _judge_pictures(clip, row, settings)
    except ShardError as error:
        if error.cause == "missing":
            raise
        rule = OUT_OF_RANGE if error.cause == "range" else DAMAGED
        return Verdict(clip_id=row.clip_id, rule=rule, detail=str(error))


def _judge_actions(
    actions: ClipActions, row: ManifestRow, settings: FilterSettings
) -> Verdict | None:
    found = {
        IDLE: lambda: find_idle(actions, settings, fps=row.fps),
        CORNER: lambda: find_corner(actions, settings, space=get_space(row.action_space)),
    }
    for rule, find in found.items():
        if rule in settings.on and (detail := find()) is not None:
            return Verdict(clip_id=row.clip_id, rule=rule, detail=detail)
    return None


def _judge_pictures(clip: StoredClip, row: ManifestRow, settings: FilterSettings) -> Verdict:
    samples = sample_pictures(
        _decoder(),
        clip.video,
        num_frames=row.num_frames,
        fps=row.fps,
        sample_hz=settings.sample_hz,
    )
    is_active = ~idle_rows(clip.actions.rows, dead_zone=settings.dead_zone)
    found = {
        BLACK: lambda: find_black(samples, settings),
        FROZEN: lambda: find_frozen(samples, settings, is_active=is_active),
        MENU: lambda: find_menu(samples, settings),
    }
    for rule, find in found.items():
        if rule in settings.on and (detail := find()) is not None:
            return Verdict(clip_id=row.clip_id, rule=rule, detail=detail)
    return Verdict(
        clip_id=row.clip_id,
        rule=None,
        actions_hash=hash_actions(clip.actions, row.fps),
        video_hash=hash_video(clip.video),
        signature=make_signature(samples).tobytes().hex(),
    )


@cache
def _decoder() -> VideoDecoder:
    return choose_decoder()
