"""What the real processes of a training receive, one process per rank, each with its workers."""

import json
import multiprocessing
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nitrogen_train.actions import GAMEPAD
from nitrogen_train.batch import PolicyBatch
from nitrogen_train.data.clip_reader import ClipReader, Quarantine
from nitrogen_train.data.collate import WindowCollator
from nitrogen_train.data.mixture import Source, load_sources
from nitrogen_train.data.order import BatchShape, Interleaving, Share, WindowPlan
from nitrogen_train.data.stream import TrainingLoader, TrainingStream
from nitrogen_train.data.video import choose_decoder
from nitrogen_train.data.windows import WindowShape

GLOBAL_BATCH_SIZE = 48
"""The least of which each of 8 ranks, twice a step, can give each of 3 workers a sample."""
SIDE = 64
GAMES = ("doom_defend", "doom_gather")
WINDOW = WindowShape(num_frames=2, frame_stride=3, action_horizon=4, action_offset=1)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What all topologies of a training share."""

    sources: dict[str, dict[str, Any]]
    index_dir: Path
    lane_groups: int = 1
    is_kept: bool = False
    """Whether clips are decoded whole and kept, or by stretches."""

    def load_sources(self) -> list[Source]:
        return load_sources(self.sources, split="train", window=WINDOW, index_dir=self.index_dir)


class Topology(NamedTuple):
    """How a training is spread."""

    world_size: int = 1
    num_workers: int = 0
    accumulation: int = 1


class Received(NamedTuple):
    """What all ranks of a training received."""

    steps: list[list[str]]
    """By step and sample: its ids, its seed, and the checksum of its tensors."""
    num_valid: list[int]
    """By step."""
    replaced: dict[str, int]
    """By source and cause."""


ONE_PROCESS = Topology()


def build_loader(
    sources: Sequence[Source],
    *,
    quarantine: Quarantine,
    lane_groups: int = 1,
    is_kept: bool = False,
    topology: Topology = ONE_PROCESS,
    rank: int = 0,
    start_step: int = 0,
) -> TrainingLoader:
    laid = Interleaving(
        global_batch_size=GLOBAL_BATCH_SIZE,
        lane_groups=lane_groups,
        windows_per_visit=64,
        seed=0,
    )
    stream = TrainingStream(
        plan=WindowPlan(sources, laid),
        share=Share(
            shape=BatchShape(
                global_batch_size=GLOBAL_BATCH_SIZE,
                micro_batch_size=GLOBAL_BATCH_SIZE // (topology.world_size * topology.accumulation),
                world_size=topology.world_size,
            ),
            rank=rank,
        ),
        # PyAV: decord hangs in a worker that was forked from a process which has used it.
        reader=ClipReader(space=GAMEPAD, decoder=choose_decoder("pyav"), image_size=SIDE),
        collator=WindowCollator(space=GAMEPAD, games=GAMES, seed=0),
        max_kept_bytes=2**30 if is_kept else 0,
        start_step=start_step,
    )
    return TrainingLoader(
        stream,
        num_workers=topology.num_workers,
        prefetch_factor=2,
        pin_memory=False,
        quarantine=quarantine,
    )


def receive(scene: Scene, topology: Topology, *, steps: range, folder: Path) -> Received:
    """Run a training's ranks at the same time, and put together what they received.

    Args:
        scene: What is trained on.
        topology: The processes.
        steps: Which optimizer steps.
        folder: Where each rank writes what it received, and its quarantine.
    """
    folder.mkdir(exist_ok=True)
    # Ranks are forked from a process that has imported this module and done nothing else.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["nitrogen_train.data.stream"])
    ranks = [
        context.Process(target=_run_rank, args=(scene, topology, rank, steps, folder))
        for rank in range(topology.world_size)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(timeout=600)
        process.kill()
    assert [process.exitcode for process in ranks] == [0] * topology.world_size
    answers = [
        json.loads((folder / f"rank-{rank}.json").read_bytes())
        for rank in range(topology.world_size)
    ]
    replaced: Counter[str] = Counter()
    for answer in answers:
        replaced.update(answer["replaced"])
    by_step = zip(*(answer["steps"] for answer in answers), strict=True)
    return Received(
        steps=[[sample for of_rank in step for sample in of_rank] for step in by_step],
        num_valid=np.sum([answer["num_valid"] for answer in answers], axis=0).tolist(),
        replaced=dict(replaced),
    )


def _run_rank(scene: Scene, topology: Topology, rank: int, steps: range, folder: Path) -> None:
    # Workers are forked, as in a training; a child of a fork server would ask that server for them.
    multiprocessing.set_start_method("fork", force=True)
    loader = build_loader(
        scene.load_sources(),
        quarantine=Quarantine(folder / f"rank-{rank}.jsonl", max_share=1.0),
        lane_groups=scene.lane_groups,
        is_kept=scene.is_kept,
        topology=topology,
        rank=rank,
        start_step=steps.start,
    )
    batches = islice(loader, len(steps) * topology.accumulation)
    samples: list[list[str]] = []
    num_valid: list[int] = []
    for index, batch in enumerate(batches):
        if index % topology.accumulation == 0:
            samples.append([])
            num_valid.append(int(batch.num_valid_in_step))
        assert num_valid[-1] == int(batch.num_valid_in_step)
        samples[-1] += describe(batch)
    replaced = {
        f"{source} {cause}": count for (source, cause), count in loader.report.replaced.items()
    }
    answer = {"steps": samples, "num_valid": num_valid, "replaced": replaced}
    (folder / f"rank-{rank}.json").write_text(json.dumps(answer))


def describe(batch: PolicyBatch) -> Iterator[str]:
    """Put each sample of a batch in a line, all of its values in a checksum."""
    for i, (got, planned) in enumerate(
        zip(batch.window_ids, batch.planned_window_ids, strict=True)
    ):
        checksum = sha256()
        for tensor in (batch.frames, batch.frame_mask, batch.actions, batch.action_mask):
            checksum.update(tensor[i].numpy().tobytes())
        seed, game = int(batch.sample_seed[i]), int(batch.game_id[i])
        yield f"{tuple(got)} {tuple(planned)} {seed} {game} {checksum.hexdigest()}"
