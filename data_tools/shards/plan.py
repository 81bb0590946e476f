"""What `nitrogen-data shard` will do, with every input checked before anything is written."""

import hashlib
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
from jaxtyping import Int64
from tqdm import tqdm

from data_tools.recordings.input_log import InputLog, overlapping, read_input_log
from data_tools.recordings.recording import Recording, RecordingFacts
from data_tools.shards.source_video import SourceVideo, open_source_video
from data_tools.workers import map_in_order
from nitrogen_train.data.action_file import ClipActions, idle_rows
from nitrogen_train.data.schema import (
    MAX_CLIP_SECONDS,
    SCHEMA_VERSION,
    ClipMetadata,
    Provenance,
    ShardError,
    Split,
    check_key,
    get_space,
)


@dataclass(frozen=True, kw_only=True)
class ShardSettings:
    """What shapes a data set besides its recordings."""

    size: int = 256
    """Side of the stored square picture, in pixels, even."""
    clip_seconds: float = MAX_CLIP_SECONDS
    """Longest clip; a recording is cut evenly."""
    heldout_share: float = 0.15
    """Share of the sessions that goes to `val`."""
    clips_per_shard: int = 64

    def __post_init__(self) -> None:
        checks = {
            "size must be even and from 16 to 1024": 16 <= self.size <= 1024 and not self.size % 2,
            f"clip-seconds must lie above 0 and up to {MAX_CLIP_SECONDS}": (
                0 < self.clip_seconds <= MAX_CLIP_SECONDS
            ),
            "heldout-share must lie in [0, 1)": 0 <= self.heldout_share < 1,
            "clips-per-shard must be at least 1": self.clips_per_shard >= 1,
        }
        for rule, is_met in checks.items():
            if not is_met:
                raise ValueError(f"{rule}, got {self}")


@dataclass(frozen=True, kw_only=True)
class PlannedClip:
    """A clip that is known but for its video."""

    metadata: ClipMetadata
    actions: ClipActions
    video: SourceVideo
    """Just the clip's frames."""
    split: Split = "train"


@dataclass(frozen=True, kw_only=True)
class PlannedRecording:
    """A recording whose files have been read and agree."""

    digest: str
    """Of the three files' bytes."""
    clips: list[PlannedClip]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All clips in the order of the shards."""

    digest: str
    """Of the settings and of all recordings: the same plan makes the same data set."""
    shards: list[list[PlannedClip]]


def make_plan(recordings: list[Recording], settings: ShardSettings, *, workers: int) -> Plan:
    """Read and check all recordings, cut them and choose splits.

    Raises:
        ShardError: If a recording breaks the contract, or names collide.
    """
    results = map_in_order(partial(plan_recording, settings=settings), recordings, workers=workers)
    planned = list(tqdm(results, total=len(recordings), desc="check", unit="recording"))
    _check_agreement(planned)
    clips = [clip for recording in planned for clip in recording.clips]
    heldout = choose_heldout(
        ((clip.metadata.game, clip.metadata.session_id) for clip in clips),
        share=settings.heldout_share,
    )
    splits: dict[Split, list[PlannedClip]] = {"train": [], "val": []}
    for clip in sorted(clips, key=lambda clip: (clip.metadata.game, clip.metadata.clip_id)):
        split: Split = "val" if clip.metadata.session_id in heldout else "train"
        splits[split].append(replace(clip, split=split))
    per_shard = settings.clips_per_shard
    return Plan(
        digest=_digest(settings, planned),
        shards=[
            # No shard mixes splits: who trains reads training shards whole.
            clips[first : first + per_shard]
            for clips in splits.values()
            for first in range(0, len(clips), per_shard)
        ],
    )


def plan_recording(recording: Recording, *, settings: ShardSettings) -> PlannedRecording:
    """Read a recording's files, and cut it into clips of equal length.

    Raises:
        ShardError: If a file breaks the contract, or video and log do not span the same time.
    """
    facts = recording.read_facts()
    space = get_space(facts.action_space)
    video = open_source_video(recording.video_path)
    log = read_input_log(recording.log_path, space, stick_y_axis=facts.stick_y_axis)
    edges_ns = video.edges_ns(facts.video_start_ns)
    _check_span(recording, log, edges_ns)
    actions = log.rows(edges_ns, space)
    actions = replace(actions, valid=~overlapping(edges_ns, facts.disturbed_ns))
    longest = max(1, math.floor(settings.clip_seconds * video.fps))
    cuts = np.linspace(0, len(video), math.ceil(len(video) / longest) + 1).round().astype(int)
    return PlannedRecording(
        digest=_hash_files(recording),
        clips=[
            _plan_clip(
                name=f"{_safe_name(recording.name)}-{index:04d}",
                facts=facts,
                original_id=recording.name,
                video=video,
                actions=actions,
                span=range(start, stop),
                size=settings.size,
            )
            for index, (start, stop) in enumerate(pairwise(cuts.tolist()))
        ],
    )


def choose_heldout(sessions: Iterable[tuple[str, str]], *, share: float) -> set[str]:
    """Choose the sessions that are kept for validation, by a hash of their ids.

    Each game with two or more sessions keeps at least one on either side, unless the share is 0.

    Args:
        sessions: (game, session id) pairs, repeats allowed.
        share: Of the sessions, in [0, 1).
    """
    by_game: dict[str, set[str]] = defaultdict(set)
    for game, session_id in sessions:
        by_game[game].add(session_id)
    heldout = {s for ids in by_game.values() for s in ids if _unit_hash(s) < share}
    for ids in by_game.values():
        if share and len(ids) > 1:
            if not ids & heldout:
                heldout.add(min(ids, key=_unit_hash))
            elif ids <= heldout:
                heldout.remove(max(ids, key=_unit_hash))
    return heldout


def _plan_clip(
    *,
    name: str,
    facts: RecordingFacts,
    original_id: str,
    video: SourceVideo,
    actions: ClipActions,
    span: range,
    size: int,
) -> PlannedClip:
    clip_actions = actions.cut(span.start, span.stop)
    return PlannedClip(
        metadata=ClipMetadata(
            clip_id=name,
            source=facts.source,
            game=facts.game,
            session_id=facts.session_id,
            fps=video.fps,
            num_frames=len(span),
            width=size,
            height=size,
            action_space=facts.action_space,
            idle_share=float(idle_rows(clip_actions.rows).mean()),
            licence=facts.licence,
            provenance=Provenance(
                original_id=original_id,
                url=facts.url,
                start_frame=span.start,
                end_frame=span.stop,
                width=video.width,
                height=video.height,
                labels=facts.labels,
            ),
        ),
        actions=clip_actions,
        video=video.cut(span.start, span.stop),
    )


def _check_span(recording: Recording, log: InputLog, edges_ns: Int64[np.ndarray, " edges"]) -> None:
    row_ns = int(edges_ns[-1] - edges_ns[-2])
    start, last_frame, end = int(edges_ns[0]), int(edges_ns[-2]), int(edges_ns[-1])
    begins_late = log.first_ns > start + row_ns
    ends_early, ends_late = log.last_ns < last_frame - row_ns, log.last_ns > end + row_ns
    if begins_late or ends_early or ends_late:
        raise ShardError(
            f"{recording.video_path} and {recording.log_path.name} differ in length: the video "
            f"lasts from {start / 1e9:.3f} to {end / 1e9:.3f} s, the log from "
            f"{log.first_ns / 1e9:.3f} to {log.last_ns / 1e9:.3f} s, expected the same within a "
            "row; check video_start_ns, cut the longer one, and end a log of changes with an "
            "empty row at the last frame"
        )


def _check_agreement(planned: list[PlannedRecording]) -> None:
    clips = [clip for recording in planned for clip in recording.clips]
    names = [clip.metadata.clip_id for clip in clips]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ShardError(f"recordings would give clips of one name: {twice[:3]}; rename them")
    spaces = sorted({clip.metadata.action_space for clip in clips})
    if len(spaces) > 1:
        raise ShardError(f"a data set holds one action space, the recordings mix {spaces}")


def _safe_name(name: str) -> str:
    # Names come from recorders, which like dots and spaces; a key has neither.
    return check_key(re.sub(r"[^A-Za-z0-9_-]", "_", name).lstrip("-")[:70])


def _unit_hash(session_id: str) -> float:
    digest = hashlib.sha256(session_id.encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64


def _hash_files(recording: Recording) -> str:
    digest = hashlib.sha256()
    for path in (recording.video_path, recording.log_path, recording.facts_path):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _digest(settings: ShardSettings, planned: list[PlannedRecording]) -> str:
    facts = [SCHEMA_VERSION, asdict(settings), [recording.digest for recording in planned]]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
