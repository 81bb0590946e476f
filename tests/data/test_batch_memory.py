"""Micro-batches lie in memory that is used again, and never while somebody holds any of it."""

import multiprocessing
import sys
from collections import deque
from multiprocessing.context import BaseContext

import numpy as np
import pytest

from nitrogen_train.batch import PolicyBatch, WindowId
from nitrogen_train.data.batch_memory import BatchLayout, BatchMemory

LAYOUT = BatchLayout(num_samples=3, num_frames=2, image_size=4, action_horizon=5, action_dim=7)


def build_memory(*, is_shared: bool = False) -> BatchMemory:
    return BatchMemory(LAYOUT, num_ahead=2, max_lent=3, is_shared=is_shared)


def write(memory: BatchMemory, number: int) -> None:
    arrays = memory.find(number)
    arrays.frames[:] = number % 256
    arrays.actions[:] = number
    arrays.sample_seed[:] = number


def lend(memory: BatchMemory, number: int) -> PolicyBatch:
    names = [WindowId("a", "clip", number)] * 3
    return memory.lend(number).to_batch(
        num_valid_in_step=number, window_ids=names, planned_window_ids=names
    )


def holds(batch: PolicyBatch, number: int) -> bool:
    return bool(
        (batch.frames == number % 256).all()
        and (batch.actions == number).all()
        and (batch.sample_seed == number).all()
    )


@pytest.mark.parametrize("num_held", [1, 3, 4, 40])
def test_what_is_held_is_never_written_to(num_held: int) -> None:
    memory = build_memory()
    held: deque[PolicyBatch] = deque(maxlen=num_held)
    for number in range(2):
        memory.reserve(number)

    for number in range(100):
        memory.reserve(number + 2)
        # As workers may: what comes later is written before this one is handed over.
        for ahead in range(number, number + 3):
            write(memory, ahead)
        held.append(lend(memory, number))
        assert [holds(batch, batch.window_ids[0].frame) for batch in held] == [True] * len(held)


def test_one_tensor_of_a_batch_keeps_its_memory() -> None:
    memory = build_memory()
    memory.reserve(0)
    write(memory, 0)
    frames = lend(memory, 0).frames[1, :, :2]

    for number in range(1, 50):
        memory.reserve(number)
        write(memory, number)
        lend(memory, number)

    assert (frames == 0).all()


def test_memory_is_used_again() -> None:
    memory = build_memory()
    seen = set[int]()
    for number in range(50):
        memory.reserve(number)
        seen.add(lend(memory, number).frames.data_ptr())

    assert len(seen) <= 2 + 1 + 3


def test_frames_are_handed_over_as_decoded() -> None:
    batch = LAYOUT.allocate().to_batch(num_valid_in_step=1, window_ids=[], planned_window_ids=[])

    assert batch.frames.shape == (3, 2, 3, 4, 4)
    assert batch.frames.stride() == (96, 48, 1, 12, 3)
    assert batch.actions.shape == batch.action_mask.shape == (3, 5, 7)


# Elsewhere than on Linux, processes are spawned.
@pytest.mark.parametrize("method", ["fork"] if sys.platform == "linux" else ["spawn"])
def test_another_process_writes_its_samples(method: str) -> None:
    context: BaseContext = multiprocessing.get_context(method)
    memory = build_memory(is_shared=True)
    memory.reserve(0)
    memory.find(0).frames[:] = 1

    process = context.Process(target=_fill_last, args=(memory,))
    process.start()
    process.join(60)

    assert process.exitcode == 0
    assert lend(memory, 0).frames[:, 0, 0, 0, 0].tolist() == [1, 1, 9]


def _fill_last(memory: BatchMemory) -> None:
    memory.find(0).cut(2, 3).frames[:] = np.uint8(9)
