"""Judge what was read from videos by the logs of the play that they show.

    watched recordings, the same recordings with their own logs ─► rows of both ─► JudgedReading

Frame t of both is the same moment. Rows that were not read are counted, and not judged.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32

from data_tools.recordings.input_log import overlapping, read_input_log
from data_tools.recordings.recording import Recording, find_recordings
from data_tools.shards.source_video import read_video_table
from nitrogen_train.actions import GAMEPAD, ActionRows
from nitrogen_train.data.schema import ShardError

LABELLED = tuple(name for name in GAMEPAD.controls if name not in GAMEPAD.unlabelled)
"""The controls that a pad has."""
_ONSET_ROWS = 1
"""A press may be read to begin so many rows from where it began."""


@dataclass(frozen=True, kw_only=True)
class JudgedReading:
    """How well some controls were read."""

    num_rows: int
    """Rows of the videos."""
    readable: float
    """Share of them that was read; all that follows is of these rows."""
    controls: tuple[str, ...]
    accuracy: float | None
    """Share of the rows, over buttons, with the right state; None without buttons."""
    press_f1: float | None
    """F1 of the pressed rows, over buttons; None where nothing was pressed, nor read so."""
    onsets: float | None
    """Share of the presses that are read to begin within a row; None where nothing was pressed."""
    stick_r2: dict[str, float]
    """R² of each axis that moves."""
    stick_error: float | None
    """Mean distance of an axis from the log's; None without axes."""


def judge_reading(
    watched_dir: Path, truth_dir: Path, controls: Sequence[str] = LABELLED
) -> JudgedReading:
    """Compare a folder of watched recordings with the logs of the play.

    Args:
        watched_dir: What `watch` has written.
        truth_dir: Recordings of the same names with their own logs.
        controls: The controls to judge by.

    Raises:
        ShardError: If a watched recording has no log to be held against, or another length.
        FileNotFoundError: If a folder holds no recordings.
    """
    truths = {recording.name: recording for recording in find_recordings([truth_dir])}
    read, true, readable = [], [], []
    for recording in find_recordings([watched_dir]):
        if recording.name not in truths:
            raise ShardError(f"{truth_dir} holds no recording {recording.name} to judge it by")
        rows, is_read = read_rows(recording)
        actual, _ = read_rows(truths[recording.name])
        if len(rows) != len(actual):
            raise ShardError(
                f"{recording.video_path} has {len(rows)} frames, its recording in {truth_dir} has "
                f"{len(actual)}"
            )
        read.append(rows.take(is_read))
        true.append(actual.take(is_read))
        readable.append(is_read)
    marks = np.concatenate(readable)
    return _judge(read, true, controls, num_rows=len(marks), readable=float(marks.mean()))


def read_rows(recording: Recording) -> tuple[ActionRows, Bool[np.ndarray, " rows"]]:
    """Read a recording's rows, and mark those that may be learned from.

    Raises:
        ShardError: If a file breaks its contract.
    """
    facts = recording.read_facts()
    log = read_input_log(recording.log_path, GAMEPAD, stick_y_axis=facts.stick_y_axis)
    edges_ns = read_video_table(recording.video_path).edges_ns(facts.video_start_ns)
    return log.rows(edges_ns, GAMEPAD).rows, ~overlapping(edges_ns, facts.disturbed_ns)


def _judge(
    read: Sequence[ActionRows],
    true: Sequence[ActionRows],
    controls: Sequence[str],
    *,
    num_rows: int,
    readable: float,
) -> JudgedReading:
    buttons = [GAMEPAD.buttons.index(name) for name in controls if name in GAMEPAD.buttons]
    axes = {name: GAMEPAD.sticks.index(name) for name in controls if name in GAMEPAD.sticks}
    pressed, down = (
        np.concatenate([rows.buttons[:, buttons] for rows in each]) for each in (read, true)
    )
    moved, place = (np.concatenate([rows.sticks for rows in each]) for each in (read, true))
    num_pressed = int(pressed.sum() + down.sum())
    met = [is_met for pair in zip(read, true, strict=True) for is_met in _iter_met(*pair, buttons)]
    return JudgedReading(
        num_rows=num_rows,
        readable=readable,
        controls=tuple(controls),
        accuracy=float(np.mean(pressed == down)) if buttons else None,
        press_f1=2 * int((pressed & down).sum()) / num_pressed if num_pressed else None,
        onsets=float(np.mean(met)) if met else None,
        stick_r2={
            name: _r2(moved[:, axis], place[:, axis])
            for name, axis in axes.items()
            if np.ptp(place[:, axis])
        },
        stick_error=float(np.abs(moved - place)[:, list(axes.values())].mean()) if axes else None,
    )


def _iter_met(read: ActionRows, true: ActionRows, buttons: Sequence[int]) -> Iterator[bool]:
    """Tell of each press of a video whether it was read to begin within a row."""
    for button in buttons:
        starts = [
            np.flatnonzero(np.diff(rows.buttons[:, button].astype(np.int8), prepend=0) == 1)
            for rows in (true, read)
        ]
        for start in starts[0]:
            yield bool(np.any(np.abs(starts[1] - start) <= _ONSET_ROWS))


def _r2(read: Float32[np.ndarray, " rows"], true: Float32[np.ndarray, " rows"]) -> float:
    return float(1 - np.mean((read - true) ** 2) / np.var(true))
