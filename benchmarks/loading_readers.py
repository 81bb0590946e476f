"""The readers that are compared, and how each is started in a process of its own."""

import importlib.util
import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import lerobot_process
from benchmarks.loading_clips import ClipSet
from nitrogen_train.actions import get_action_space
from nitrogen_train.config import DataConfig, load_defaults

STRETCHES, WORKER, KEPT, KEPT_WORKER = (
    f"ours, {mode}, {workers}"
    for mode in ("by stretches", "kept decoded")
    for workers in ("0 workers", "1 worker")
)
"""Our loader: with clips decoded a stretch at a time, which is how large data are read, and with
clips decoded once and kept, which small data are unless `data.clip_cache_gib` forbids it."""
SEQUENTIAL = {library: f"in order, {library}" for library in ("pyav", "decord", "torchcodec")}
OPENS = "an open per sample, decord"
WEBDATASET_ONE = "webdataset + decord, a window per clip read"
WEBDATASET_WHOLE = "webdataset + decord, whole clips, shuffled decoded"
LEROBOT = "LeRobot's dataset, shuffled"


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A process to be started."""

    name: str
    clips: ClipSet
    command: list[str]
    is_optional: bool = False
    """Whether its library may be missing."""


def list_readers(
    stored: ClipSet,
    long: ClipSet,
    data: DataConfig,
    work_dir: Path,
    *,
    lerobot_python: Path | None,
    block_s: float,
) -> list[Reader]:
    """List what reads the clips as they are stored, and in long groups."""
    kept_gib = load_defaults().data.clip_cache_gib
    readers: list[Reader] = []

    def add_ours(name: str, clips: ClipSet, **changes: Any) -> None:  # noqa: ANN401 - any field
        sources = {"clips": {"path": str(clips.dataset_dir)}}
        command = command_ours("blocks", replace(data, sources=sources, **changes))
        readers.append(Reader(name=name, clips=clips, command=command))

    def add_rival(rival: str, name: str, clips: ClipSet) -> None:
        job = {
            "videos": [str(path) for path in clips.videos],
            "shards": [str(path) for path in clips.shards],
            "micro_batch_size": data.micro_batch_size,
            "action_horizon": data.action_horizon,
            "block_s": block_s,
        }
        command = _command("loading_rivals", rival, job)
        optional = rival == "torchcodec"
        readers.append(Reader(name=name, clips=clips, command=command, is_optional=optional))

    add_ours(STRETCHES, stored, num_workers=0)
    add_ours(WORKER, stored, num_workers=1)
    add_ours(KEPT, stored, num_workers=0, clip_cache_gib=kept_gib)
    add_ours(KEPT_WORKER, stored, num_workers=1, clip_cache_gib=kept_gib)
    add_ours(STRETCHES, long, num_workers=0)
    for clips in (stored, long):
        for library, name in SEQUENTIAL.items():
            if library != "torchcodec" or importlib.util.find_spec(library) is not None:
                add_rival(library, name, clips)
        add_rival("opens", OPENS, clips)
    add_rival("webdataset-one", WEBDATASET_ONE, stored)
    add_rival("webdataset-whole", WEBDATASET_WHOLE, stored)
    if lerobot_python is not None:
        job = _lerobot_job(stored, data, work_dir, block_s=block_s)
        command = [str(lerobot_python), lerobot_process.__file__, json.dumps(job)]
        readers.append(Reader(name=LEROBOT, clips=stored, command=command, is_optional=True))
    return readers


def _lerobot_job(
    clips: ClipSet, data: DataConfig, work_dir: Path, *, block_s: float
) -> dict[str, Any]:
    return {
        "videos": [str(path) for path in clips.videos],
        "num_frames": clips.num_frames,
        "fps": clips.fps,
        "side": clips.side,
        "action_horizon": data.action_horizon,
        "action_dim": get_action_space(data.action_space).action_dim,
        "micro_batch_size": data.micro_batch_size,
        "root": str(work_dir / "lerobot" / "clips"),
        "block_s": block_s,
    }


def command_ours(role: str, data: DataConfig, **more: int) -> list[str]:
    """Spell out how to start our loader in a process of its own."""
    return _command("loading_process", role, {**asdict(data), **more})


def _command(module: str, role: str, job: dict[str, Any]) -> list[str]:
    return [sys.executable, "-m", f"benchmarks.{module}", role, json.dumps(job)]
