"""Run work in several processes, and return results in order."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

from nitrogen_train.runtime.processes import open_pool, submit

Task = TypeVar("Task")
Result = TypeVar("Result")


def map_in_order(
    function: Callable[[Task], Result], tasks: Iterable[Task], *, workers: int
) -> Generator[Result, None, None]:
    """Apply a function to tasks in worker processes; results come in the order of the tasks.

    Only a few results per worker are held at a time, however slow their reader is.

    Args:
        function: At the top of a module, so that a fresh process can import it.
        tasks: Inputs that can be pickled.
        workers: Processes; with 1 all happens in this one.

    Raises:
        ValueError: If there is less than one worker.
        RuntimeError: If a worker died, for example for want of memory.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    if workers == 1:
        yield from map(function, tasks)
        return
    queue = iter(tasks)
    pending: deque[Future[Result]] = deque()
    try:
        with open_pool(workers) as pool:
            while True:
                for task in islice(queue, 2 * workers - len(pending)):
                    pending.append(submit(pool, function, task))
                if not pending:
                    return
                yield pending.popleft().result()
    except BrokenProcessPool as error:
        raise RuntimeError(
            "a worker process died, perhaps for want of memory; use fewer --workers and start "
            "again: what is finished is kept"
        ) from error
