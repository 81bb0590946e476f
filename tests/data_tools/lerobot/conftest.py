import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

FPS = 35 / 3


@pytest.fixture(scope="session")
def dataset_dir(tmp_path_factory: pytest.TempPathFactory, write_recording: Callable) -> Path:
    """Three recordings in 2 s clips at a broken rate; one has analogue pulls and a disturbance."""
    from data_tools.shards.shard_plan import ShardSettings
    from data_tools.shards.shard_recordings import shard_recordings

    folder = tmp_path_factory.mktemp("lerobot")
    times = [5_000_000_000 + round(t * 1e9 / FPS) for t in range(50)]
    pulls = [
        {
            "t_ns": time,
            "controls": {
                "RIGHT_TRIGGER": t / 49,
                "LEFT_STICK_X": t / 100,
                "RIGHT_STICK_Y": -t / 77,
                "EAST": t % 3 == 0,
            },
        }
        for t, time in enumerate(times)
    ]
    recordings = folder / "recordings"
    recordings.mkdir()
    more: list[dict[str, Any]] = [
        {"log_rows": pulls, "disturbed_ns": [[times[7], times[19]]]},
        {"source": "another collection"},
        {"url": "https://example.com/watch"},
    ]
    for index, facts in enumerate(more):
        write_recording(recordings, f"run-{index}", num_frames=50, fps=FPS, **facts)
        write_video(recordings / f"run-{index}.mp4", seed=index)
    shard_recordings(
        [recordings],
        out_dir=folder / "set",
        settings=ShardSettings(size=64, clip_seconds=2.0, clips_per_shard=2),
        workers=1,
    )
    return folder / "set"


def write_video(path: Path, *, seed: int) -> None:
    """Frame t is grey of brightness 4 t on the left, and on the right what no other video shows."""
    from nitrogen_train.data.encode import VideoWriter

    blocks = np.random.default_rng(seed).integers(0, 256, (6, 4, 3))
    right = np.kron(blocks, np.ones((8, 8, 1))).astype(np.uint8)
    with VideoWriter(path, fps=FPS, width=64, height=48) as video:
        for t in range(50):
            left = np.full((48, 32, 3), 4 * t, np.uint8)
            video.write(np.hstack([left, right]))


@pytest.fixture(scope="session")
def exported_dir(dataset_dir: Path) -> Path:
    """The data set as a LeRobotDataset; whoever changes it copies it first."""
    from data_tools.lerobot.export_lerobot import export_lerobot
    from data_tools.lerobot.layout import FileLimits
    from nitrogen_train.data.dataset import Dataset

    out_dir = dataset_dir.parent / "exported"
    export_lerobot(
        Dataset(dataset_dir), out_dir=out_dir, games=None, limits=FileLimits(), workers=1
    )
    return out_dir


@pytest.fixture(scope="session")
def edit_info() -> Callable[..., None]:
    """Change `info.json` of a data set."""

    def edit(root: Path, **values: Any) -> None:
        path = root / "meta" / "info.json"
        path.write_text(json.dumps(json.loads(path.read_bytes()) | values))

    return edit


@pytest.fixture(scope="session")
def edit_table() -> Callable[..., None]:
    """Change columns of a parquet file; None drops one."""

    def edit(path: Path, **columns: Any) -> None:
        table = pq.read_table(path)
        for name, values in columns.items():
            place = table.column_names.index(name)
            table = table.remove_column(place)
            if values is not None:
                table = table.add_column(place, name, pa.array(values))
        pq.write_table(table, path)

    return edit


@pytest.fixture
def edit_facts(tmp_path: Path) -> Callable[..., Path]:
    """Copy an export, and change what it says of each clip."""
    from data_tools.lerobot.layout import CLIP_COLUMN, EpisodeClip

    def edit(exported_dir: Path, change: Callable[[EpisodeClip], EpisodeClip]) -> Path:
        folder = shutil.copytree(exported_dir, tmp_path / "edited")
        (path,) = (folder / "meta" / "episodes").rglob("*.parquet")
        table = pq.read_table(path)
        facts = [
            change(EpisodeClip.from_json(text, what="test")).to_json()
            for text in table[CLIP_COLUMN].to_pylist()
        ]
        place = table.column_names.index(CLIP_COLUMN)
        table = table.set_column(place, CLIP_COLUMN, pa.array(facts))
        pq.write_table(table, path)
        return folder

    return edit
