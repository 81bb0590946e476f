import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from nitrogen_train.games.doom_defend import DoomDefend
from nitrogen_train.runtime.processes import map_in_order


def double(value: int) -> int:
    return 2 * value


def fail_at_three(value: int) -> int:
    if value == 3:
        raise ValueError("three")
    return value


def die(value: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return value


def test_results_come_in_order_in_this_process() -> None:
    assert list(map_in_order(double, range(5), workers=1)) == [0, 2, 4, 6, 8]


@pytest.mark.slow
def test_results_come_in_order_from_several_processes() -> None:
    assert list(map_in_order(double, range(20), workers=2)) == [2 * value for value in range(20)]


@pytest.mark.slow
def test_a_few_tasks_are_taken_at_a_time() -> None:
    taken = []

    def tasks() -> Iterator[int]:
        for value in range(100):
            taken.append(value)
            yield value

    results = map_in_order(double, tasks(), workers=2)

    assert next(results) == 0
    assert len(taken) == 4
    results.close()


@pytest.mark.slow
def test_an_error_in_a_worker_is_the_callers() -> None:
    with pytest.raises(ValueError, match="three"):
        list(map_in_order(fail_at_three, range(10), workers=2))


@pytest.mark.slow
def test_a_dead_worker_is_named() -> None:
    with pytest.raises(RuntimeError, match="a worker process died"):
        list(map_in_order(die, range(4), workers=2))


def die_and_leave_an_engine(notes: Path) -> int:
    """As a game's worker that runs out of memory: its engine, a process of its own, lives on."""
    game = DoomDefend()
    game.reset(seed=0)
    # The library starts the engine from a thread of its own.
    children = [path.read_text() for path in Path("/proc/self/task").glob("*/children")]
    notes.write_text(" ".join(children))
    return die(0)


@pytest.mark.slow
def test_a_dead_worker_is_noticed_while_its_engine_lives(tmp_path: Path) -> None:
    notes = [tmp_path / "first", tmp_path / "second"]

    with pytest.raises(RuntimeError, match="a worker process died"):
        list(map_in_order(die_and_leave_an_engine, notes, workers=2))

    engines = [int(pid) for note in notes if note.exists() for pid in note.read_text().split()]
    assert engines
    for pid in engines:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_less_than_one_worker_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        list(map_in_order(double, [1], workers=0))
