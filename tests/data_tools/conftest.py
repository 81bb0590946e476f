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


@pytest.fixture(scope="session")
def write_clips() -> Callable[..., Path]:
    """Write a data set of one shard of clips that `make_clip` describes."""
    return _write_clips


@pytest.fixture(scope="session")
def make_clip() -> Callable[..., dict[str, Any]]:
    """Describe a clip: a picture that moves and a stick that moves, unless told otherwise."""
    return _make_clip


def _make_clip(
    clip_id: str,
    *,
    num_frames: int = 40,
    frames: np.ndarray | None = None,
    states: list[dict[str, Any]] | None = None,
    fps: float = 10.0,
    split: str = "train",
    **facts: Any,
) -> dict[str, Any]:
    """Frames are (f, h, w, 3); states name the controls of each row."""
    seed = sum(clip_id.encode())
    rng = np.random.default_rng(seed)
    if frames is None:
        coarse = rng.integers(30, 220, (num_frames, 4, 4, 3), dtype=np.uint8)
        frames = coarse.repeat(16, axis=1).repeat(16, axis=2)
    if states is None:
        sticks = rng.uniform(0.2, 0.9, num_frames)
        states = [{"LEFT_STICK_X": float(x), "LEFT_STICK_Y": -float(x) / 2} for x in sticks]
    return {
        "clip_id": clip_id, "frames": frames, "states": states, "fps": fps, "split": split,
        "game": "made", "session_id": f"session-{clip_id}", "source": "tests", **facts,
    }  # fmt: skip


def _write_clips(folder: Path, clips: list[dict[str, Any]]) -> Path:
    from nitrogen_train.actions import GAMEPAD
    from nitrogen_train.data.clip_record import (
        SHARD_END,
        ClipActions,
        Record,
        encode_record,
        idle_rows,
    )
    from nitrogen_train.data.encode import Encoding, encode_video
    from nitrogen_train.data.manifest import describe_record, write_manifest
    from nitrogen_train.data.schema import ClipMetadata, Provenance

    folder.mkdir(parents=True, exist_ok=True)
    rows, shard = [], b""
    for clip in clips:
        frames, fps = clip["frames"], clip["fps"]
        num_frames, height, width, _ = frames.shape
        valid = np.ones(num_frames, bool)
        valid[list(clip.get("invalid_rows", ()))] = False
        actions = ClipActions(rows=GAMEPAD.rows_from_controls(clip["states"]), valid=valid)
        # As a foreign writer does, who checks nothing.
        actions.rows.sticks[:] *= clip.get("stick_scale", 1)
        metadata = ClipMetadata(
            clip_id=clip["clip_id"], source=clip["source"], game=clip["game"],
            session_id=clip["session_id"], fps=fps, num_frames=num_frames, width=width,
            height=height, action_space="gamepad", licence="CC0-1.0",
            idle_share=float(idle_rows(actions.rows).mean()),
            provenance=Provenance(
                original_id=clip["session_id"], url="", start_frame=0, end_frame=num_frames,
                width=width, height=height, labels="raw",
            ),
        )  # fmt: skip
        video = encode_video(
            frames, fps=clip.get("video_fps", fps), width=width, height=height,
            encoding=Encoding(crf=clip.get("crf", 18)),
        )  # fmt: skip
        record = Record(metadata=metadata, actions=actions, video=video)
        data = encode_record(record)
        rows.append(
            describe_record(
                record, data, shard="shard-000000.tar", offset=len(shard), split=clip["split"]
            )
        )
        shard += data
    (folder / "shard-000000.tar").write_bytes(shard + SHARD_END)
    write_manifest(folder, rows)
    return folder
