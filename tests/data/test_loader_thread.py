"""A thread prepares what comes next, and its errors and its end are those of what it runs."""

import threading
from collections.abc import Generator

import pytest

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
