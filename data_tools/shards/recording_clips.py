"""A recording to clips: its video, its inputs laid out as rows, cut evenly."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from data_tools.recordings.input_log import InputLog, overlapping, read_input_log
from data_tools.recordings.recording import Recording
from data_tools.shards.constant_rate import to_constant_rate
from data_tools.shards.cutting import Stretch, cut_stretch
from data_tools.shards.plan import ShardSettings
from data_tools.shards.planned import PlannedUnit, list_loss
from data_tools.shards.source_video import SourceVideo, read_video_table
from nitrogen_train.data.schema import ShardError, get_space


def plan_recording(recording: Recording, *, settings: ShardSettings) -> PlannedUnit:
    """Read a recording's files, and cut it into clips of equal length.

    Raises:
        ShardError: If a file breaks the contract, or video and log do not span the same time.
        OSError: If a file cannot be read.
    """
    facts = recording.read_facts()
    space = get_space(facts.action_space)
    video, frames, edges_ns = _lay_out(recording.video_path, facts.video_start_ns)
    log = read_input_log(recording.log_path, space, stick_y_axis=facts.stick_y_axis)
    _check_span(recording, log, edges_ns, is_cut_off=video.is_cut_off)
    if motions := sorted(space.motions.keys() & log.tracks.keys()):
        raise ShardError(
            f"{recording.log_path} logs {motions[0]}, a motion: a row holds all of it, and such a "
            "log gives states; leave it out, or write an adapter as in data_tools/ingest"
        )
    actions = log.rows(edges_ns, space)
    actions = replace(actions, valid=~overlapping(edges_ns, facts.disturbed_ns))
    stretch = Stretch(
        name=recording.name,
        original_id=recording.name,
        source=facts.source,
        game=facts.game,
        session_id=facts.session_id,
        video=video,
        frames=frames,
        actions=actions,
        action_space=facts.action_space,
        labels=facts.labels,
        licence=facts.licence,
        url=facts.url,
    )
    return PlannedUnit(
        digest=_hash_files(recording),
        clips=cut_stretch(stretch, settings),
        notes={"logs whose last row was cut, left out": int(bool(log.lost))},
        dropped=list_loss(video, name=recording.name, game=facts.game),
    )


def _lay_out(
    path: Path, start_ns: int
) -> tuple[SourceVideo, Int64[np.ndarray, " rows"], Int64[np.ndarray, " edges"]]:
    """Read a video, at a constant rate, with its frames' places and its rows' edges."""
    video = read_video_table(path)
    steady = to_constant_rate(video, video.fps)
    return steady.video, steady.frames, steady.edges_ns(start_ns)


def _check_span(
    recording: Recording, log: InputLog, edges_ns: Int64[np.ndarray, " edges"], *, is_cut_off: bool
) -> None:
    row_ns = int(edges_ns[-1] - edges_ns[-2])
    start, last_frame, end = int(edges_ns[0]), int(edges_ns[-2]), int(edges_ns[-1])
    begins_late = log.first_ns > start + row_ns
    ends_early = log.last_ns < last_frame - row_ns
    # What was recorded once the file ended has inputs and no picture.
    ends_late = log.last_ns > end + row_ns and not is_cut_off
    if begins_late or ends_early or ends_late:
        raise ShardError(
            f"{recording.video_path} and {recording.log_path.name} differ in length: the video "
            f"lasts from {start / 1e9:.3f} to {end / 1e9:.3f} s, the log from "
            f"{log.first_ns / 1e9:.3f} to {log.last_ns / 1e9:.3f} s, expected the same within a "
            "row; check video_start_ns, cut the longer one, and end a log of changes with an "
            "empty row at the last frame"
        )


def _hash_files(recording: Recording) -> str:
    digest = hashlib.sha256()
    for path in (recording.video_path, recording.log_path, recording.facts_path):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
