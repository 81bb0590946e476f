"""Judge one clip by itself: each rule of `filter` says what it found, or None."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8
from PIL import Image

from data_tools.action_rows import CORNERS, corner_rows, hash_actions, hash_video, stick_pairs
from data_tools.shards.filter_settings import (
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
from nitrogen_train.actions import ActionSpace
from nitrogen_train.data.clip_record import ClipActions, idle_rows
from nitrogen_train.data.dataset import Dataset
from nitrogen_train.data.manifest import ManifestRow
from nitrogen_train.data.schema import ShardError, get_space
from nitrogen_train.data.stored_clips import StoredClip
from nitrogen_train.data.video import VideoDecoder, choose_decoder

GRID = 16
"""A picture is looked at in this many parts, per side."""
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)

# Grey levels of 255: below it is what encoders make of a picture that does not change.
_STILL_LEVEL = 2.0
_CHANGED_LEVEL = 8.0
_FEWEST_INTERVALS = 2
_FEWEST_PICTURES = 4
_SIGNATURE_PICTURES = 4


@dataclass(frozen=True, kw_only=True)
class PictureSamples:
    """Pictures of a clip, each part as its mean brightness."""

    rows: Int64[np.ndarray, " n"]
    """Places of the sampled frames in the clip, increasing."""
    levels: Float32[np.ndarray, "n g g"]
    """Brightness of the areas, from 0 to 255."""


def sample_pictures(
    decoder: VideoDecoder, video: bytes, *, num_frames: int, fps: float, sample_hz: float
) -> PictureSamples:
    """Decode every n-th frame, where n comes nearest to `sample_hz`.

    Raises:
        ShardError: If the video is damaged.
    """
    step = max(1, round(fps / sample_hz))
    rows = np.arange(0, num_frames, step)
    frames = decoder.decode(video, indices=rows.tolist())
    return PictureSamples(rows=rows, levels=np.stack([_reduce(frame) for frame in frames]))


def _reduce(frame: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "g g"]:
    grey = Image.fromarray(frame @ _LUMA)
    return np.array(grey.resize((GRID, GRID), Image.Resampling.BOX), dtype=np.float32)


def find_black(samples: PictureSamples, settings: FilterSettings) -> str | None:
    """Find pictures without a part that is not black."""
    share = float((samples.levels.max(axis=(1, 2)) <= settings.black_level).mean())
    return f"{share:.1%} of the pictures are black" if share >= settings.black_share else None


def find_frozen(
    samples: PictureSamples, settings: FilterSettings, *, is_active: Bool[np.ndarray, " rows"]
) -> str | None:
    """Find a picture that does not change while the player does something."""
    is_still = np.abs(np.diff(samples.levels, axis=0)).max(axis=(1, 2)) <= _STILL_LEVEL
    has_input = np.array(
        [is_active[a:b].any() for a, b in zip(samples.rows, samples.rows[1:], strict=False)],
        dtype=bool,
    )
    if has_input.sum() < _FEWEST_INTERVALS:
        return None
    share = float(is_still[has_input].mean())
    if share < settings.frozen_share:
        return None
    return f"the picture stands still in {share:.1%} of the time with input"


def find_menu(samples: PictureSamples, settings: FilterSettings) -> str | None:
    """Find a picture most of which never changes while another part does.

    Black bars beside the picture belong to neither.
    """
    if len(samples.rows) < _FEWEST_PICTURES:
        return None
    is_bar = samples.levels.max(axis=0) <= settings.black_level
    spread = np.ptp(samples.levels, axis=0)[~is_bar]
    if not len(spread) or spread.max() <= _CHANGED_LEVEL:
        return None
    share = float((spread <= _STILL_LEVEL).mean())
    if share < settings.constant_share:
        return None
    return f"{share:.1%} of the picture stays the same for the whole clip"


def make_signature(samples: PictureSamples) -> UInt8[np.ndarray, " k"]:
    """Keep a few pictures, coarser still, to compare clips by."""
    chosen = np.linspace(0, len(samples.rows) - 1, _SIGNATURE_PICTURES).round().astype(int)
    half = GRID // 2
    parts = samples.levels[chosen].reshape(_SIGNATURE_PICTURES, half, 2, half, 2)
    return parts.mean(axis=(2, 4)).round().astype(np.uint8).ravel()


def are_same(
    one: UInt8[np.ndarray, " k"], other: UInt8[np.ndarray, " k"], settings: FilterSettings
) -> bool:
    """Tell whether two clips look the same, however they were compressed."""
    return bool(np.abs(one.astype(int) - other).max() <= settings.same_level)


def find_idle(actions: ClipActions, settings: FilterSettings, *, fps: float) -> str | None:
    """Find too many idle rows among the valid ones.

    With a window, the clip is cut into stretches of about that length; those with enough active
    rows must hold at least half of the clip's valid rows.
    """
    valid = actions.valid
    if not valid.any():
        return "no row is valid"
    is_active = ~idle_rows(actions.rows, dead_zone=settings.dead_zone)[valid]
    if settings.idle_window_s is None:
        share = float(is_active.mean())
        if share >= settings.min_active:
            return None
        return f"{share:.1%} of the rows are active, expected at least {settings.min_active:.1%}"
    pieces = max(1, round(len(is_active) / (settings.idle_window_s * fps)))
    stretches = [s for s in np.array_split(is_active, pieces) if len(s)]
    good = sum(len(s) for s in stretches if s.mean() >= settings.min_active) / len(is_active)
    if good >= 0.5:
        return None
    return f"{good:.1%} of the rows are in active stretches, expected at least half"


def find_corner(
    actions: ClipActions, settings: FilterSettings, *, space: ActionSpace
) -> str | None:
    """Find a stick that stays in a corner, as padding with zeros in model space makes it."""
    if not actions.valid.any():
        return None
    for name, axes in stick_pairs(space).items():
        shares = corner_rows(actions.rows.sticks[actions.valid][:, axes]).mean(axis=0)
        if shares.max() >= settings.corner_share:
            corner = CORNERS[int(shares.argmax())]
            return f"{name} is at {corner} in {shares.max():.1%} of the rows"
    return None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The judgement whether a clip is kept, as far as the clip alone can tell."""

    clip_id: str
    rule: str | None
    """The first rule that it breaks."""
    detail: str = ""
    """Finding of the rule, in words."""
    actions_hash: str = ""
    """Hash of the rows and their rate, for a clip that is kept."""
    video_hash: str = ""
    signature: str = ""
    """Signature of the clip's pictures, in hexadecimal."""


def judge_clip(dataset: Dataset, settings: FilterSettings, row: ManifestRow) -> Verdict:
    """Read a clip, and ask the rules in turn; pictures are decoded only if the actions are kept.

    Raises:
        ShardError: If the shard is missing: what is left would pass for the whole data set.
        OSError: If it could not be read now.
    """
    try:
        clip = dataset.read(row)
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
