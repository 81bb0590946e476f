"""The machine, what it can do at best, and processes that are measured alone."""

import multiprocessing
import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch

_MATRIX_SIZE = 2048

P = ParamSpec("P")
T = TypeVar("T")


def describe_machine() -> dict[str, Any]:
    """Name the processor, its cores, torch and its threads."""
    return {
        "cpu": _processor_name(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def measure_seconds(function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> float:
    """Call a function once and measure how long it takes."""
    start = time.perf_counter()
    function(*args, **kwargs)
    return time.perf_counter() - start


def measure_matmul_rate() -> float:
    """Measure how fast this machine multiplies large float32 matrices, in FLOP/s, at its best."""
    left, right = torch.randn(2, _MATRIX_SIZE, _MATRIX_SIZE)
    fastest = min(measure_seconds(torch.mm, left, right) for _ in range(10))
    return 2 * _MATRIX_SIZE**3 / fastest


def run_alone(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function in a process of its own, whose memory and threads disturb nothing else.

    Args:
        function: At the top level of a module.
        *args: Its arguments.
        **kwargs: Its keyword arguments.
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=spawn) as pool:
        return pool.submit(function, *args, **kwargs).result()


def _processor_name() -> str:
    path = Path("/proc/cpuinfo")
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
