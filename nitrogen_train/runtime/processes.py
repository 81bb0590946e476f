"""Start processes that work for another one, and end with it however that ends.

    a pool's worker, a loader's    killed with the process that has started it
    a command started by another   told to end (it saves), or killed, as the other one has chosen

Ctrl-C in a terminal reaches every process of the group. Workers ignore it: whoever has started them
decides, and tells them by SIGTERM.

Work that is spread over processes gives its results in the order of the tasks.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, MutableMapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TypeVar

from nitrogen_train.runtime.interrupts import end_workers

Task = TypeVar("Task")
Result = TypeVar("Result")

_PARENT = "NITROGEN_TRAIN_PARENT"
_PR_SET_PDEATHSIG = 1
_LOOK_UP_S = 1.0
_CGROUPS = {
    "": ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    "memory": (
        "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
        "total_inactive_file",
    ),
}  # fmt: skip
"""Where a group's limit and use of memory are, by the controller's name: v2, which has none, v1."""


def count_cores() -> int:
    """Count the cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def measure_cpu_s() -> float:
    """Measure how long this process and its workers, which are alive, have been on a core so far.

    Returns:
        Seconds.

    Raises:
        OSError: If the system has no `/proc`, as Linux has it.
    """
    ticks = 0
    for worker in multiprocessing.active_children():
        # Behind the name, which may hold anything, in brackets: fields 3 and on.
        values = Path(f"/proc/{worker.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2]
        user, system = values.split()[11:13]
        ticks += int(user) + int(system)
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def count_free_bytes(root: Path = Path("/")) -> float:
    """Count the bytes of memory that this process may still take; some systems tell of none.

    They are the machine's, or fewer in a container or a job whose cgroup (v1 or v2) has a limit.
    Folders `proc` and `sys` of `root` tell.
    """
    meminfo = root / "proc/meminfo"
    lines = meminfo.read_text().splitlines() if meminfo.is_file() else []
    free = [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    return float(max(0, min([*free, *_iter_free_in_cgroups(root)], default=0)))


def _iter_free_in_cgroups(root: Path) -> Iterator[int]:
    """Yield what is free in this process's cgroup and in each that it lies in."""
    table = root / "proc/self/cgroup"
    for line in table.read_text().splitlines() if table.is_file() else ():
        _, controllers, name = line.split(":", 2)
        for controller in _CGROUPS.keys() & controllers.split(","):
            mount, limit_name, used_name, cache_name = _CGROUPS[controller]
            group = root / mount / name.strip("/")
            # A container sees its own group at the mount, whatever its name is outside.
            for folder in (group, *group.parents):
                try:
                    limit = (folder / limit_name).read_text().strip()
                    used = int((folder / used_name).read_text())
                    details = (folder / "memory.stat").read_text().split()
                except OSError:
                    continue
                # What the cache of files holds, and nobody has used again, the kernel gives back.
                cache = dict(zip(details[::2], details[1::2], strict=True)).get(cache_name, 0)
                if limit != "max":
                    yield int(limit) - used + int(cache)


def end_with(parent: int, *, number: int = signal.SIGKILL) -> None:
    """Get a signal when the process that has started this one ends, however it does.

    The kernel sends it when the thread ends that has started this process: that is the main one, or
    one that waits for this process.

    Args:
        parent: Its id.
        number: The signal.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number))
        # It may have ended before that.
        if os.getppid() != parent:
            os.kill(os.getpid(), number)
    else:
        threading.Thread(target=_watch, args=(parent, number), daemon=True).start()


def name_parent(number: int) -> dict[str, str]:
    """Give the variables by which a command that this process starts ends with it.

    Args:
        number: The signal that the command gets then.
    """
    return {_PARENT: f"{os.getpid()} {int(number)}"}


def follow_parent(environment: MutableMapping[str, str] = os.environ) -> None:
    """Do what whoever has started this command asked for by `name_parent`, if anybody has."""
    parent, _, number = environment.pop(_PARENT, "").partition(" ")
    # Not if it has come from further up: then it is not about this process.
    if parent == str(os.getppid()):
        end_with(int(parent), number=int(number))


@contextmanager
def open_pool(
    num_workers: int, *, initializer: Callable[[], object] | None = None
) -> Iterator[ProcessPoolExecutor]:
    """Open a pool of processes for the block; give them work by `submit`.

    At the block's end what runs is waited for, unless the block is interrupted: then it is ended.

    Args:
        num_workers: Processes.
        initializer: Called first in each of them.

    Raises:
        KeyboardInterrupt: If the block does.
        SystemExit: If the block does.
    """
    # Fresh processes, not forked ones: decoders and games do not survive a fork.
    pool = ProcessPoolExecutor(
        num_workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(os.getpid(), initializer),
    )
    try:
        yield pool
    except (KeyboardInterrupt, SystemExit):
        end_workers()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def submit(
    pool: ProcessPoolExecutor, function: Callable[[Task], Result], task: Task
) -> Future[Result]:
    """Give work to a process of `open_pool`.

    Args:
        pool: The pool.
        function: At the top of a module, so that a fresh process can import it.
        task: Its input, which can be pickled.
    """
    # A process may be started here, and inherits this until it ignores Ctrl-C.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(_run_task, function, task)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(parent: int, initializer: Callable[[], object] | None) -> None:
    end_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if initializer:
        initializer()


def _run_task(function: Callable[[Task], Result], task: Task) -> Result:
    try:
        return function(task)
    except (KeyboardInterrupt, SystemExit):
        # The task has cleaned up on its way here. The pool would give this process another one.
        os._exit(130)


def _watch(parent: int, number: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_UP_S)
    os.kill(os.getpid(), number)


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
