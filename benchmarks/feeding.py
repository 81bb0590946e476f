"""Feeding a training: what a micro-batch costs the training's own thread, and how many come.

    ours           workers write into one memory, a thread hands it over
    torch's way    each worker's samples through a queue of tensors, joined by the training

Both read the same clips in the same order. The training is played by a pause in which workers get
ahead; what is counted is the thread's time on a core from asking for a micro-batch to having it.
"""

import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, fields, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from benchmarks.host_syncs import count_host_syncs
from benchmarks.loading_process import build_loader, build_stream
from benchmarks.machine import run_alone
from nitrogen_train.actions import GAMEPAD
from nitrogen_train.actions.space import Controls
from nitrogen_train.batch import PolicyBatch
from nitrogen_train.config import DataConfig, load_defaults
from nitrogen_train.data.batch_memory import BatchMemory
from nitrogen_train.data.clip_record import SHARD_END, ClipActions, Record, encode_record
from nitrogen_train.data.encode import encode_video
from nitrogen_train.data.manifest import describe_record, write_manifest
from nitrogen_train.data.schema import ClipMetadata, Provenance
from nitrogen_train.data.stream import TrainingStream
from nitrogen_train.runtime.progress import format_table, track

NUM_WORKERS = (0, 1, 2, 4)
_MICRO_BATCH_SIZE = 32
_NUM_CLIPS, _NUM_FRAMES, _FPS, _SIDE = 40, 300, 30.0, 96
_NUM_WARM_UP, _NUM_TAKEN = 12, 60
_PAUSE_S = 0.1


@dataclass(frozen=True, kw_only=True)
class FeedingCost:
    """What a loader costs with a number of workers."""

    num_workers: int
    ours_ms: float
    """Of the training's thread on a core, per micro-batch, the median."""
    torch_ms: float | None
    """The same where torch hands tensors over; None without workers, where nothing is."""
    samples_per_s: float
    """Of our loader with nothing to wait for, on all cores."""


def measure_feeding() -> list[FeedingCost]:
    """Measure how a training is fed clips of 96 x 96 pixels, in micro-batches of 32."""
    with tempfile.TemporaryDirectory() as folder:
        dataset = draw_dataset(Path(folder) / "clips")
        index_dir = Path(folder) / "index"
        return [
            run_alone(_measure, dataset, index_dir, num_workers=number)
            for number in track(NUM_WORKERS, label="feed", unit="loader", total=len(NUM_WORKERS))
        ]


def draw_dataset(folder: Path) -> Path:
    """Write clips of a texture that moves, with random buttons."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    texture = rng.integers(0, 256, (2 * _SIDE, 2 * _SIDE, 3), np.uint8)
    texture = np.repeat(np.repeat(texture[::8, ::8], 8, axis=0), 8, axis=1)
    rows, shard = [], b""
    for number in range(_NUM_CLIPS):
        places = np.cumsum(rng.integers(-2, 3, (_NUM_FRAMES, 2)), axis=0) % _SIDE
        video = encode_video(
            (texture[y : y + _SIDE, x : x + _SIDE] for y, x in places.tolist()),
            fps=_FPS,
            width=_SIDE,
            height=_SIDE,
        )
        clip_id = f"clip-{number}"
        states: list[Controls] = [{"SOUTH": bool(down)} for down in rng.integers(0, 2, _NUM_FRAMES)]
        metadata = ClipMetadata(
            clip_id=clip_id, source="drawn", game="texture", session_id=clip_id, fps=_FPS,
            num_frames=_NUM_FRAMES, action_space="gamepad", idle_share=0.5, licence="CC0-1.0",
            width=_SIDE, height=_SIDE,
            provenance=Provenance(
                original_id=clip_id, url="", start_frame=0, end_frame=_NUM_FRAMES, labels="raw",
                width=_SIDE, height=_SIDE,
            ),
        )  # fmt: skip
        actions = ClipActions(
            rows=GAMEPAD.rows_from_controls(states), valid=np.ones(_NUM_FRAMES, bool)
        )
        record = Record(metadata=metadata, actions=actions, video=video)
        data, name = encode_record(record), "shard-000000.tar"
        rows.append(describe_record(record, data, shard=name, offset=len(shard), split="train"))
        shard += data
    (folder / "shard-000000.tar").write_bytes(shard + SHARD_END)
    write_manifest(folder, rows)
    return folder


def describe_feeding(costs: list[FeedingCost]) -> str:
    """Lay measurements out as a table."""
    rows = [
        (
            str(cost.num_workers),
            f"{cost.ours_ms:.2f}",
            "" if cost.torch_ms is None else f"{cost.torch_ms:.2f}",
            "" if cost.torch_ms is None else f"{cost.torch_ms / cost.ours_ms:.1f}x",
            f"{cost.samples_per_s:,.0f}",
        )
        for cost in costs
    ]
    header = "workers", "thread's ms", "torch's way, ms", "less", "samples/s"
    return (
        f"{format_table(header, rows)}\n"
        f"per micro-batch of {_MICRO_BATCH_SIZE} at {_SIDE} x {_SIDE}; medians of {_NUM_TAKEN}\n"
        "synchronisations per micro-batch that is not logged, on CUDA tensors without values: "
        f"{count_host_syncs()}\n"
    )


def _measure(dataset: Path, index_dir: Path, *, num_workers: int) -> FeedingCost:
    torch.set_num_threads(1)
    # torch has advice on the number of workers.
    warnings.simplefilter("ignore")
    data = replace(
        load_defaults().data,
        sources={"drawn": {"path": str(dataset)}},
        image_size=_SIDE,
        global_batch_size=_MICRO_BATCH_SIZE,
        micro_batch_size=_MICRO_BATCH_SIZE,
        index_dir=str(index_dir),
        clip_cache_gib=0.0,
        num_workers=num_workers,
    )
    ours, rate = _take(iter(build_loader(data)))
    theirs = None
    if num_workers:
        theirs, _ = _take(_iter_joined(data))
    return FeedingCost(num_workers=num_workers, ours_ms=ours, torch_ms=theirs, samples_per_s=rate)


def _take(batches: Iterator[PolicyBatch]) -> tuple[float, float]:
    """Measure the thread's ms per micro-batch, and samples/s without pauses."""
    with closing(batches):  # pyright: ignore[reportArgumentType] - both are generators
        for _ in range(_NUM_WARM_UP):
            next(batches)
        times: list[float] = []
        for _ in range(_NUM_TAKEN):
            time.sleep(_PAUSE_S)
            start = time.thread_time()
            next(batches)
            times.append(time.thread_time() - start)
        # What was prepared in the last pause is not of these.
        num_ahead = 2 * _NUM_WARM_UP
        for _ in range(num_ahead):
            next(batches)
        start, num = time.perf_counter(), 0
        for batch in islice(batches, _NUM_TAKEN):
            num += len(batch)
        rate = num / (time.perf_counter() - start)
    return statistics.median(times) * 1e3, rate


class _Pieces(IterableDataset[PolicyBatch]):
    """Each worker's samples of one micro-batch after the other, as tensors."""

    def __init__(self, stream: TrainingStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[PolicyBatch]:
        info = get_worker_info()
        assert info is not None  # noqa: S101 - it runs in workers
        memory = BatchMemory(self._stream.layout, num_ahead=0, max_lent=1, is_shared=False)
        self._stream.memory = memory
        size = self._stream.layout.num_samples
        parts = iter(self._stream)
        number = 0
        while True:
            memory.reserve(number)
            part = next(parts)
            assert not isinstance(part, Exception)  # noqa: S101 - what was drawn is sound
            start, stop = (index * size // info.num_workers for index in (info.id, info.id + 1))
            yield (
                memory.lend(number)
                .cut(start, stop)
                .to_batch(
                    num_valid_in_step=part.num_valid_in_step,
                    window_ids=part.window_ids,
                    planned_window_ids=part.planned_window_ids,
                )
            )
            number += 1


def _iter_joined(data: DataConfig) -> Iterator[PolicyBatch]:
    """Join pieces where they are taken."""
    pieces = iter(
        DataLoader(
            _Pieces(build_stream(data)),
            batch_size=None,
            num_workers=data.num_workers,
            prefetch_factor=data.prefetch_factor,
            multiprocessing_context="fork",
        )
    )
    while True:
        taken = list(islice(pieces, data.num_workers))
        joined: dict[str, Any] = {}
        for item in fields(PolicyBatch):
            values = [getattr(piece, item.name) for piece in taken]
            if item.name == "num_valid_in_step":
                joined[item.name] = torch.stack(values).sum()
            elif isinstance(values[0], Tensor):
                joined[item.name] = torch.cat(values)
            else:
                joined[item.name] = tuple(chain.from_iterable(values))
        yield PolicyBatch(**joined)
