"""Our loader in a process of its own, as a training's rank runs it.

python -m benchmarks.loading_process ROLE JOB    # JOB: the fields of `DataConfig`
"""

import json
import multiprocessing
import statistics
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from benchmarks.memory import read_memory_mib
from benchmarks.pinned import Answers, Block, Stopwatch
from nitrogen_train.actions import get_action_space
from nitrogen_train.batch import PolicyBatch
from nitrogen_train.config import DataConfig, RunConfig
from nitrogen_train.data.clip_reader import ClipReader, Quarantine
from nitrogen_train.data.collate import WindowCollator
from nitrogen_train.data.order import STRETCH, BatchShape, Share
from nitrogen_train.data.stream import TrainingLoader, TrainingStream
from nitrogen_train.data.video import choose_decoder
from nitrogen_train.run.data_of_run import build_plan
from nitrogen_train.runtime.processes import measure_cpu_s

NUM_MEMORY_SAMPLES = 10_000
_MAX_WARM_UP_BLOCKS = 50


class LoaderBlocks:
    """A rank's batches, a block of them at a time."""

    def __init__(self, data: DataConfig, *, start_step: int = 0) -> None:
        """Open the data sets; nothing is decoded yet."""
        self.data = data
        # A micro-batch is a step, and in a block of them each lane hands out one stretch.
        self.num_steps = STRETCH * data.lane_groups
        self._loader = build_loader(data, start_step=start_step)
        self._batches: Iterator[PolicyBatch] = iter(self._loader)

    def read(self, num_steps: int) -> Block:
        """Take the batches of some steps."""
        watch, windows, frames = Stopwatch(), 0, 0
        for batch in islice(self._batches, num_steps):
            windows += len(batch)
            frames += batch.frames.shape[0] * batch.frames.shape[1]
        return Block(
            seconds=watch.seconds,
            cpu_s=watch.cpu_s,
            windows=windows,
            frames=frames,
            decoded=self._loader.report.take().frames_decoded,
        )

    def read_block(self) -> Block:
        """Take a block, whose cost does not depend on where it begins."""
        return self.read(self.num_steps)

    def warm_up(self) -> None:
        """Go on until blocks cost what they will: nothing is decoded any more if clips are kept."""
        for _ in range(_MAX_WARM_UP_BLOCKS):
            block = self.read_block()
            if not (self.data.clip_cache_gib and block.decoded):
                return


def build_stream(data: DataConfig, *, start_step: int = 0) -> TrainingStream:
    """Build the stream of a training's only rank."""
    plan = build_plan(RunConfig(data=data))
    space = get_action_space(data.action_space)
    shape = BatchShape(
        global_batch_size=data.global_batch_size,
        micro_batch_size=data.micro_batch_size,
        world_size=1,
    )
    reader = ClipReader(
        space=space, decoder=choose_decoder(data.decoder), image_size=data.image_size
    )
    return TrainingStream(
        plan=plan,
        share=Share(shape=shape, rank=0),
        reader=reader,
        collator=WindowCollator(space=space, games=data.games, seed=0),
        max_kept_bytes=int(data.clip_cache_gib * 2**30),
        start_step=start_step,
    )


def build_loader(data: DataConfig, *, start_step: int = 0) -> TrainingLoader:
    """Build the loader of a training's only rank."""
    return TrainingLoader(
        build_stream(data, start_step=start_step),
        num_workers=data.num_workers,
        prefetch_factor=data.prefetch_factor,
        pin_memory=False,
        # What stands in for clips that cannot be read must not be compared with these.
        quarantine=Quarantine(
            Path(data.index_dir or ".") / "quarantine" / "rank-0.jsonl", max_share=0.0
        ),
    )


def serve_blocks(answers: Answers, data: DataConfig) -> None:
    """Warm up, then read blocks whenever asked to."""
    blocks = LoaderBlocks(data)
    blocks.warm_up()
    answers.serve(blocks.read_block)


def measure_start(answers: Answers, data: DataConfig, *, start_step: int) -> None:
    """Say when the first batch is there; then how fast the first two rounds were, and a block."""
    watch = Stopwatch()
    blocks = LoaderBlocks(data, start_step=start_step)
    first = blocks.read(1)
    answers.send({"loader_s": watch.seconds, "cpu_s": measure_cpu_s()})
    rest = blocks.read(2 * data.lane_groups - 1)
    early_rate = (first.windows + rest.windows) / (first.cpu_s + rest.cpu_s)
    steady = blocks.read_block()
    answers.send({"early_rate": early_rate, "steady_rate": steady.windows / steady.cpu_s})


def measure_memory(answers: Answers, data: DataConfig) -> None:
    """Say what the worker holds while it delivers samples, once each lane has ended a visit."""
    blocks = LoaderBlocks(data)
    blocks.warm_up()
    blocks.read(data.lane_groups * data.windows_per_visit)
    (worker,) = multiprocessing.active_children()
    resident: list[float] = []
    for _ in range(-(-NUM_MEMORY_SAMPLES // data.micro_batch_size)):
        blocks.read(1)
        resident.append(read_memory_mib("VmRSS", pid=worker.pid))
    tenth = max(1, len(resident) // 10)
    answers.send(
        {
            "num_samples": len(resident) * data.micro_batch_size,
            "peak_mib": read_memory_mib("VmHWM", pid=worker.pid),
            "first_mib": statistics.median(resident[:tenth]),
            "last_mib": statistics.median(resident[-tenth:]),
        }
    )


def main() -> None:
    """Do what the arguments say."""
    answers = Answers()
    role, job = sys.argv[1], json.loads(sys.argv[2])
    start_step = job.pop("start_step", 0)
    data = DataConfig(**job)
    if role == "blocks":
        serve_blocks(answers, data)
    elif role == "start":
        measure_start(answers, data, start_step=start_step)
    else:
        measure_memory(answers, data)


if __name__ == "__main__":
    main()
