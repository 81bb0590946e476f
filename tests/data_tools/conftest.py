"""Recordings written by the tests, through the files that a user would bring."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="session")
def write_recording() -> Callable[..., Path]:
    """Write a recording whose frame t is grey of brightness 4 t, with row t's stick at t / 100."""
    return _write_recording


def _write_recording(
    folder: Path,
    name: str = "run-0",
    *,
    num_frames: int = 60,
    num_rows: int | None = None,
    fps: float = 10.0,
    start_ns: int = 5_000_000_000,
    log_rows: list[dict[str, Any]] | None = None,
    **facts: Any,
) -> Path:
    from nitrogen_train.data.encode import VideoWriter

    with VideoWriter(folder / f"{name}.mp4", fps=fps, width=64, height=48) as video:
        for t in range(num_frames):
            video.write(np.full((48, 64, 3), 4 * (t % 60), np.uint8))
    rows = log_rows or [
        {
            "t_ns": start_ns + round(t * 1e9 / fps),
            "controls": {"LEFT_STICK_X": t / 100, "SOUTH": t % 2 == 1},
        }
        for t in range(num_frames if num_rows is None else num_rows)
    ]
    (folder / f"{name}.inputs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    values = {
        "schema_version": 1,
        "video_start_ns": start_ns,
        "game": "grey",
        "session_id": name,
        "stick_y_axis": "down",
        "licence": "CC0-1.0",
    }
    (folder / f"{name}.json").write_text(json.dumps(values | facts))
    return folder
