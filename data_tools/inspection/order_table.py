"""List the planned windows of a rank as JSON lines, without reading a shard."""

import json
from collections.abc import Iterator

import numpy as np

from nitrogen_train.data.order import BatchShape, Share, WindowPlan

_BLOCK_SAMPLES = 2**14
"""Samples that are planned at once: enough that numpy's calls cost little."""


def split_rank(
    global_batch_size: int, *, world_size: int, rank: int, accumulation: int | None, default: int
) -> Share:
    """Find what a rank builds of each step.

    Args:
        global_batch_size: Samples of one optimizer step.
        world_size: Ranks.
        rank: Which one.
        accumulation: Micro-batches of a rank in a step; None: as many as `default` implies.
        default: Samples of a micro-batch where `accumulation` does not say.

    Raises:
        ValueError: If the step cannot be split so.
    """
    if world_size < 1:
        raise ValueError(f"--world-size must be at least 1, got {world_size}")
    if not 0 <= rank < world_size:
        raise ValueError(f"--rank must lie in [0, {world_size}), got {rank}")
    if accumulation is not None:
        shape = BatchShape.accumulate(
            global_batch_size,
            world_size=world_size,
            accumulation=accumulation,
            setting="--global-batch-size ",
        )
        return Share(shape=shape, rank=rank)
    try:
        shape = BatchShape(
            global_batch_size=global_batch_size, micro_batch_size=default, world_size=world_size
        )
    except ValueError as error:
        raise ValueError(f"{error}; or give --accumulation") from error
    return Share(shape=shape, rank=rank)


def iter_order(plan: WindowPlan, share: Share, *, start: int, num_steps: int) -> Iterator[str]:
    """Name a rank's windows in the order in which its loader delivers them.

    Args:
        plan: The order.
        share: The rank's part.
        start: The first optimizer step.
        num_steps: How many.

    Yields:
        A line of JSON for each sample; `slot` is its place in the micro-batch.

    Raises:
        ValueError: If a step is negative.
    """
    if start < 0 or num_steps < 0:
        raise ValueError(f"steps are counted from 0, got start={start} and {num_steps} steps")
    shape = share.shape
    micro_batches = range(shape.accumulation)
    per_block = max(1, _BLOCK_SAMPLES // shape.samples_per_process)
    for first in range(start, start + num_steps, per_block):
        steps = range(first, min(first + per_block, start + num_steps))
        pieces = [
            share.piece(step, micro_batch, worker=0, num_workers=1)
            for step in steps
            for micro_batch in micro_batches
        ]
        places = (
            {"step": step, "micro_batch": micro_batch, "slot": slot}
            for step in steps
            for micro_batch in micro_batches
            for slot in range(shape.micro_batch_size)
        )
        window_ids = plan.window_ids(np.concatenate(pieces))
        for place, window_id in zip(places, window_ids, strict=True):
            yield json.dumps(place | window_id._asdict())
