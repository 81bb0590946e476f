"""List the planned windows of a rank as JSON lines, without reading a shard."""

import json
from collections.abc import Iterator

import numpy as np

from nitrogen_train.data.order import Share, WindowPlan

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
    for name, value in (("world-size", world_size), ("accumulation", accumulation)):
        if value is not None and value < 1:
            raise ValueError(f"--{name} must be at least 1, got {value}")
    if not 0 <= rank < world_size:
        raise ValueError(f"--rank must lie in [0, {world_size}), got {rank}")
    size = default
    if accumulation is not None:
        size, rest = divmod(global_batch_size, world_size * accumulation)
        if rest or not size:
            per_step = world_size * accumulation
            lower = max(1, global_batch_size // per_step) * per_step
            raise ValueError(
                f"global_batch_size={global_batch_size} must be a multiple of world_size * "
                f"accumulation = {world_size} * {accumulation}; use "
                f"--global-batch-size {lower} or {lower + per_step}"
            )
    try:
        return Share(
            global_batch_size=global_batch_size,
            micro_batch_size=size,
            rank=rank,
            world_size=world_size,
        )
    except ValueError as error:
        raise ValueError(f"{error}; or give --accumulation") from error


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
    micro_batches = range(share.accumulation)
    per_block = max(1, _BLOCK_SAMPLES // (share.accumulation * share.micro_batch_size))
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
            for slot in range(share.micro_batch_size)
        )
        window_ids = plan.window_ids(np.concatenate(pieces))
        for place, window_id in zip(places, window_ids, strict=True):
            yield json.dumps(place | window_id._asdict())
