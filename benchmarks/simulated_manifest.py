"""A manifest of any size without videos, for what can be measured from a manifest alone.

Sessions of 90 clips, each of one game; the games' shares fall as 1 / rank. Clips of 600 frames with
up to three runs of valid rows, in shards of 100.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int64

from nitrogen_train.actions import GAMEPAD
from nitrogen_train.data.manifest import MANIFEST_NAME, MANIFEST_SCHEMA, describe_file
from nitrogen_train.runtime.atomic_files import write_atomically

_CLIPS_PER_SESSION = 90
_CLIPS_PER_SHARD = 100
_NUM_FRAMES = 600
_SESSIONS_PER_HELDOUT = 50
# A whole number of sessions and of shards.
_BATCH_ROWS = 90_000


def write_simulated_manifest(
    dataset_dir: Path, *, num_clips: int, num_games: int, seed: int = 0
) -> Path:
    """Write a manifest that keeps the contract; there are no shards to it.

    Args:
        dataset_dir: Where to.
        num_clips: At least 90 for each game, or not all games occur.
        num_games: Each has at least a session.
        seed: The same arguments give the same clips.

    Returns:
        The manifest's path.
    """
    path = dataset_dir / MANIFEST_NAME
    schema = MANIFEST_SCHEMA.with_metadata(describe_file(GAMEPAD))
    with (
        write_atomically(path) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd") as writer,
    ):
        for first in range(0, num_clips, _BATCH_ROWS):
            clips = np.arange(first, min(first + _BATCH_ROWS, num_clips))
            writer.write_batch(_simulate(clips, num_games, np.random.default_rng((seed, first))))
    return path


def _simulate(
    clip: Int64[np.ndarray, " clips"], num_games: int, generator: np.random.Generator
) -> pa.RecordBatch:
    num_clips, session = len(clip), clip // _CLIPS_PER_SESSION
    game = _draw_games(session, num_games, generator)
    size = generator.integers(1_000, 8_000, num_clips) * 512
    valid_runs, num_valid_rows = _draw_runs(num_clips, generator)
    columns = {
        "shard": _number("shard", clip // _CLIPS_PER_SHARD, ".tar"),
        "offset": _place(clip, size),
        "size": size,
        "clip_id": _number("clip", clip),
        "num_frames": _NUM_FRAMES,
        "num_valid_rows": num_valid_rows,
        "valid_runs": valid_runs,
        "fps": np.where(game % 4, 30.0, 60.0),
        "game": _number("game", game),
        "source": "simulated",
        "session_id": _number("session", session),
        "action_space": GAMEPAD.name,
        "labels": np.where(session % 10, "raw", "processed"),
        "width": 256,
        "height": 256,
        "source_width": 1920,
        "source_height": 1080,
        "idle_share": generator.random(num_clips),
        "licence": "CC-BY-4.0",
        "split": np.where(session % _SESSIONS_PER_HELDOUT, "train", "val"),
        "sha256": _draw_checksums(num_clips, generator),
    }
    return pa.RecordBatch.from_pydict(
        {
            name: pa.repeat(value, num_clips) if isinstance(value, str | int) else value
            for name, value in columns.items()
        }
    ).cast(MANIFEST_SCHEMA)


def _number(prefix: str, numbers: Int64[np.ndarray, " n"], suffix: str = "") -> list[str]:
    return [f"{prefix}-{number:08}{suffix}" for number in numbers.tolist()]


def _draw_games(
    session: Int64[np.ndarray, " clips"], num_games: int, generator: np.random.Generator
) -> Int64[np.ndarray, " clips"]:
    sessions = np.arange(session[0], session[-1] + 1)
    shares = 1 / np.arange(1, num_games + 1)
    drawn = generator.choice(num_games, size=len(sessions), p=shares / shares.sum())
    return np.where(sessions < num_games, sessions, drawn)[session - session[0]]


def _place(
    clip: Int64[np.ndarray, " clips"], size: Int64[np.ndarray, " clips"]
) -> Int64[np.ndarray, " clips"]:
    """Find the offsets of clips that follow each other in their shards."""
    starts = np.cumsum(size) - size
    return starts - starts[(clip - clip[0]) // _CLIPS_PER_SHARD * _CLIPS_PER_SHARD]


def _draw_runs(
    num_clips: int, generator: np.random.Generator
) -> tuple[pa.Array, Int64[np.ndarray, " clips"]]:
    """Draw valid runs, from a clip's first row to its last with up to two gaps, and their rows."""
    num_gaps = generator.choice(3, size=num_clips, p=[0.8, 0.15, 0.05])
    inner = np.sort(generator.integers(1, _NUM_FRAMES - 4, (num_clips, 4)), axis=1) + np.arange(4)
    edges = np.pad(inner, ((0, 0), (1, 1)), constant_values=((0, 0), (0, _NUM_FRAMES)))
    is_kept = np.stack([num_gaps >= gaps for gaps in (0, 1, 1, 2, 2, 0)], axis=1)
    offsets = np.cumsum([0, *is_kept.sum(axis=1)])
    runs = pa.ListArray.from_arrays(offsets.astype(np.int32), edges[is_kept].astype(np.int32))
    return runs, (edges * is_kept * [-1, 1, -1, 1, -1, 1]).sum(axis=1)


def _draw_checksums(num_clips: int, generator: np.random.Generator) -> pa.Array:
    text = generator.bytes(32 * num_clips).hex().encode()
    offsets = np.arange(num_clips + 1, dtype=np.int32) * 64
    return pa.StringArray.from_buffers(num_clips, pa.py_buffer(offsets), pa.py_buffer(text))
