"""A thread prepares what comes next, and its errors and its end are those of what it runs."""

import threading
from collections.abc import Generator

import pytest
import torch

from nitrogen_train.batch import PolicyBatch, concatenate_batches
from nitrogen_train.data.stream import ahead_of


def test_items_come_in_order_from_another_thread() -> None:
    seen: list[int] = []

    def items() -> Generator[int]:
        for number in range(20):
            seen.append(threading.get_ident())
            yield number

    assert list(ahead_of(items(), 2)) == list(range(20))
    assert set(seen).isdisjoint({threading.get_ident()})


def test_no_more_than_what_was_asked_for_is_prepared() -> None:
    begun = threading.Semaphore(0)
    counts: list[int] = []

    def items() -> Generator[int]:
        for number in range(100):
            counts.append(number)
            begun.release()
            yield number

    batches = ahead_of(items(), 2)
    assert next(batches) == 0
    # Two are ready, a third waits for its place: one more is never begun.
    for _ in range(4):
        assert begun.acquire(timeout=30)
    assert not begun.acquire(timeout=0.3)
    batches.close()


def test_an_error_comes_after_what_was_before_it() -> None:
    def items() -> Generator[int]:
        yield from range(3)
        raise OSError("the disk is gone")

    batches = ahead_of(items(), 8)
    assert [next(batches) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="the disk is gone"):
        next(batches)


def test_closing_ends_the_thread_though_nobody_takes_what_it_has() -> None:
    is_closed = threading.Event()

    def items() -> Generator[int]:
        try:
            while True:
                yield 1
        finally:
            is_closed.set()

    batches = ahead_of(items(), 1)
    assert next(batches) == 1
    batches.close()

    assert is_closed.wait(30)
    assert not [thread for thread in threading.enumerate() if thread.name == "loader"]


def test_pieces_are_joined_as_they_lie_in_memory() -> None:
    def make(num: int) -> PolicyBatch:
        frames = torch.randint(256, (num, 1, 8, 8, 3), dtype=torch.uint8)
        return PolicyBatch(
            frames=frames.movedim(-1, 2),
            frame_mask=torch.ones(num, 1, dtype=torch.bool),
            actions=torch.rand(num, 2, 25),
            action_mask=torch.ones(num, 2, 25, dtype=torch.bool),
            game_id=torch.zeros(num, dtype=torch.int64),
            sample_seed=torch.arange(num),
            num_valid_in_step=torch.tensor(7),
            window_ids=(),
        )

    parts = [make(3), make(2)]
    joined = concatenate_batches(parts)

    assert joined.frames.stride() == (192, 192, 1, 24, 3)
    assert torch.equal(joined.frames, torch.cat([part.frames for part in parts]))
    assert torch.equal(joined.actions, torch.cat([part.actions for part in parts]))
