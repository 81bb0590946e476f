"""LeRobot's dataset over our clips; a script of its own, run by the interpreter that has `lerobot`.

PYTHON benchmarks/lerobot_process.py JOB    # JOB: JSON; see `main`

The clips' own mp4 files are laid out as a data set of LeRobot's version 3.0, an episode and a file
each. Imports nothing of this project, and reads nothing of the hub.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

_KEY = "observation.images.screen"
_CHUNK = "chunk-{chunk_index:03d}/file-{file_index:03d}"


def main() -> None:
    """Lay the clips out, open them, and answer each line of input with a block of windows.

    The job's fields: `videos` (paths), `num_frames` of each, `fps`, `side` of the picture,
    `action_horizon`, `micro_batch_size`, `root` (a folder to write) and `block_s`.
    """
    answers = os.fdopen(os.dup(1), "w")
    # Libraries may print; what they print must not look like an answer.
    os.dup2(2, 1)
    job = json.loads(sys.argv[1])
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_HOME"] = str(Path(job["root"]).parent / "hub")
    import torch
    from lerobot.datasets.lerobot_dataset import LeRobotDataset  # pyright: ignore[reportMissingImports]

    fps, horizon = job["fps"], job["action_horizon"]
    write_dataset(Path(job["root"]), videos=job["videos"], num_frames=job["num_frames"], job=job)
    dataset = LeRobotDataset(
        "local/clips",
        root=job["root"],
        # A batch of ours has as many rows of actions with each frame.
        delta_timestamps={"action": [row / fps for row in range(horizon)]},
        video_backend=_choose_backend(),
    )
    facts = f"lerobot {version('lerobot')}, {dataset.video_backend}"
    loader = torch.utils.data.DataLoader(dataset, batch_size=job["micro_batch_size"], shuffle=True)
    batches = iter(loader)
    next(batches)
    answers.write(json.dumps({"facts": facts}) + "\n")
    answers.flush()
    for _ in sys.stdin:
        start, cpu_start, windows = time.perf_counter(), time.process_time(), 0
        while (seconds := time.perf_counter() - start) < job["block_s"]:
            try:
                batch = next(batches)
            except StopIteration:
                batches = iter(loader)
                continue
            windows += len(batch[_KEY])
        answer = {
            "seconds": seconds,
            "cpu_s": time.process_time() - cpu_start,
            "windows": windows,
            "frames": windows,
            "decoded": None,
        }
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def write_dataset(
    root: Path, *, videos: Sequence[str], num_frames: Sequence[int], job: dict
) -> None:
    """Write what LeRobot documents of its version 3.0: info, tasks, episodes, rows and videos."""
    import numpy as np
    import pandas as pd  # pyright: ignore[reportMissingImports]
    import pyarrow as pa
    import pyarrow.parquet as pq

    place = {"chunk_index": 0, "file_index": 0}
    data_path, episodes_path = (
        root / f"{folder}/{_CHUNK.format(**place)}.parquet" for folder in ("data", "meta/episodes")
    )
    for path in (data_path, episodes_path):
        path.parent.mkdir(parents=True)
    ends = np.cumsum(num_frames)
    starts = ends - np.asarray(num_frames)
    (root / "meta/info.json").write_text(json.dumps(_describe(job, total=int(ends[-1]))))
    pd.DataFrame({"task_index": [0]}, index=["play"]).to_parquet(root / "meta/tasks.parquet")
    num = len(videos)
    episodes = {
        "episode_index": range(num),
        "tasks": [["play"]] * num,
        "length": num_frames,
        "dataset_from_index": starts,
        "dataset_to_index": ends,
        "data/chunk_index": [0] * num,
        "data/file_index": [0] * num,
        f"videos/{_KEY}/chunk_index": [0] * num,
        f"videos/{_KEY}/file_index": range(num),
        f"videos/{_KEY}/from_timestamp": [0.0] * num,
        f"videos/{_KEY}/to_timestamp": [count / job["fps"] for count in num_frames],
    }
    pq.write_table(pa.table({key: list(values) for key, values in episodes.items()}), episodes_path)
    index = np.concatenate([np.arange(count) for count in num_frames])
    actions = pa.array(np.zeros(len(index) * job["action_dim"], np.float32))
    rows = {
        "action": pa.FixedSizeListArray.from_arrays(actions, job["action_dim"]),
        "timestamp": pa.array(index / job["fps"], pa.float32()),
        "frame_index": pa.array(index, pa.int64()),
        "episode_index": pa.array(np.repeat(range(num), num_frames), pa.int64()),
        "index": pa.array(range(len(index)), pa.int64()),
        "task_index": pa.array(np.zeros(len(index)), pa.int64()),
    }
    pq.write_table(pa.table(rows), data_path)
    for number, video in enumerate(videos):
        place = _CHUNK.format(chunk_index=0, file_index=number)
        path = root / "videos" / _KEY / f"{place}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(video, path)


def _choose_backend() -> str:
    # LeRobot asks whether torchcodec is installed, not whether it finds FFmpeg's libraries.
    try:
        import torchcodec.decoders  # noqa: F401  # pyright: ignore[reportMissingImports]
    except (ImportError, OSError, RuntimeError):
        return "pyav"
    return "torchcodec"


def _describe(job: dict, *, total: int) -> dict:
    side, one = job["side"], {"shape": [1], "names": None}
    return {
        "codebase_version": "v3.0",
        "robot_type": None,
        "total_episodes": len(job["videos"]),
        "total_frames": total,
        "total_tasks": 1,
        "chunks_size": 1000,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": job["fps"],
        "splits": {"train": f"0:{len(job['videos'])}"},
        "data_path": f"data/{_CHUNK}.parquet",
        "video_path": f"videos/{{video_key}}/{_CHUNK}.mp4",
        "features": {
            _KEY: {
                "dtype": "video",
                "shape": [side, side, 3],
                "names": ["height", "width", "channels"],
            },
            "action": {"dtype": "float32", "shape": [job["action_dim"]], "names": None},
            "timestamp": {"dtype": "float32", **one},
            **{
                name: {"dtype": "int64", **one}
                for name in ("frame_index", "episode_index", "index", "task_index")
            },
        },
    }


if __name__ == "__main__":
    main()
