"""Measure what the time of a training step goes into, on every rank, and trace its last part.

    Lightning's hooks, torch.distributed, the last gradient ─► cuts ─► stretches, each of one phase
    stretches of a step ─► seconds by phase ─► gathered from all ranks
    last micro-batches ─► torch.profiler ─► a trace, with the phases of all steps above it

Stretches follow each other without a gap, so the phases of a step add up to its time. On a CPU they
are measured on the host. On a GPU an event is recorded at each cut and read once all is over: the
host waits for nothing, and what the device does while the host is elsewhere counts to the phase
that has queued it.

A *collective* is all that waits for other ranks as far as nothing hides it: calls of
torch.distributed, and the backward pass from its last gradient on, when only the exchange is left.
"""

import functools
import gzip
import json
import platform
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning as L  # noqa: N812 - Lightning's own convention
import torch
import torch.distributed
from lightning.pytorch.profilers import Profiler
from torch import Tensor

from nitrogen_train.batch import PolicyBatch
from nitrogen_train.runtime.atomic_files import write_atomically
from nitrogen_train.runtime.progress import Progress

PHASES: tuple[str, ...] = (
    "wait for data", "copy to device", "forward", "backward", "collective", "optimizer",
    "other host work",
)  # fmt: skip
WAIT, _COPY, _FORWARD, _BACKWARD, COLLECTIVE, _OPTIMIZER, _OTHER = PHASES
_PHASE_OF = {
    "train_dataloader_next": WAIT,
    "batch_to_device": _COPY,
    "training_step": _FORWARD,
    "backward": _BACKWARD,
    # What it calls is an inner action of its own: forward and backward are not in it.
    "optimizer_step": _OPTIMIZER,
}
"""Phases by the last word of what Lightning calls an action; others belong to the one around."""
_COLLECTIVES = (
    "all_reduce", "reduce", "broadcast", "all_gather", "all_gather_into_tensor",
    "all_gather_object", "reduce_scatter", "reduce_scatter_tensor", "broadcast_object_list",
    "barrier", "_broadcast_coalesced",
)  # fmt: skip
"""Functions of torch.distributed that Lightning, DeepSpeed, DDP and our own code call."""
_WARM_UP_STEPS, _MEASURED_STEPS, _TRACED_MICRO_BATCHES = 3, 30, 8
_ANCHOR = "nitrogen_train: the trace begins"


@dataclass(frozen=True, kw_only=True)
class ProfiledSteps:
    """How many optimizer steps a profile takes, and what for."""

    warm_up: int
    measured: int
    traced: int
    """Steps in which something is traced; torch.profiler slows them, so they are not measured."""

    @classmethod
    def fit(cls, max_steps: int, *, accumulation: int) -> "ProfiledSteps":
        """Divide the steps of a profile, of which a short run allows fewer.

        Args:
            max_steps: Of the run.
            accumulation: Micro-batches of a rank in a step.

        Raises:
            ValueError: If there are not enough for one of each.

        Example:
            >>> ProfiledSteps.fit(1000, accumulation=4)
            ProfiledSteps(warm_up=3, measured=30, traced=2)
            >>> ProfiledSteps.fit(5, accumulation=1)
            ProfiledSteps(warm_up=1, measured=3, traced=1)
        """
        if max_steps < 3:
            raise ValueError(
                f"profile=steps takes a step to warm up, one to measure and one to trace at "
                f"least, max_steps is {max_steps}: give 3 or more"
            )
        share = max(1, max_steps // 5)
        warm_up = min(_WARM_UP_STEPS, share)
        traced = min(-(-_TRACED_MICRO_BATCHES // accumulation), share)
        measured = min(_MEASURED_STEPS, max_steps - warm_up - traced)
        return cls(warm_up=warm_up, measured=measured, traced=traced)

    @property
    def total(self) -> int:
        """Return the length of the training."""
        return self.warm_up + self.measured + self.traced


@dataclass(frozen=True, kw_only=True)
class RankTimes:
    """What a rank has measured."""

    rank: int
    host: str
    steps: Sequence[dict[str, float]]
    """Seconds by phase, all of them, of each step."""


@dataclass(frozen=True)
class _Cut:
    """A moment at which a phase begins, or goes on."""

    phase: str
    at_ns: int
    event: torch.cuda.Event | None


class PhaseClock:
    """Cuts the time of a rank into stretches of one phase each; phases may lie in one another."""

    def __init__(
        self, *, device: torch.device | None = None, now: Callable[[], int] = time.perf_counter_ns
    ) -> None:
        """Stand still until the first step begins.

        Args:
            device: GPU whose time is measured; None for that of the host.
            now: Tells the host's time in nanoseconds.
        """
        self._now = now
        self._stream = None if device is None else torch.cuda.current_stream(device)
        self._open = [_OTHER]
        self._cuts: list[_Cut] = []
        self._begins: list[int] = []
        """Indices of the cuts at which steps begin; the last one ends what is measured."""

    @property
    def is_aside(self) -> bool:
        """Tell whether work goes to another stream of the GPU, beside what is measured."""
        return self._stream is not None and torch.cuda.current_stream() != self._stream

    def begin_step(self) -> None:
        """End a step, and begin the next one; the first call starts the clock."""
        self._begins.append(len(self._cuts))
        self._cut()

    def enter(self, phase: str) -> int:
        """Begin a phase, inside of the one that is open.

        Returns:
            What `leave_to` takes at its end.
        """
        depth = len(self._open)
        self._open.append(phase)
        self._cut()
        return depth

    def leave_to(self, depth: int) -> None:
        """End a phase, with all that has begun inside of it and was left open."""
        del self._open[depth:]
        self._cut()

    @contextmanager
    def within(self, phase: str) -> Iterator[None]:
        """Count a block to a phase."""
        depth = self.enter(phase)
        try:
            yield
        finally:
            self.leave_to(depth)

    def read_steps(self) -> list[dict[str, float]]:
        """Add up the phases of each step that has ended, in seconds; waits for the device."""
        if self._stream is not None:
            self._stream.synchronize()
        steps: list[dict[str, float]] = []
        for first, last in pairwise(self._begins):
            times = dict.fromkeys(PHASES, 0.0)
            for cut, following in pairwise(self._cuts[first : last + 1]):
                times[cut.phase] += _measure_s(cut, following)
            steps.append(times)
        return steps

    def list_stretches(self) -> list[tuple[str, int, int]]:
        """List phases with their begin and end on the host, in nanoseconds."""
        return [(cut.phase, cut.at_ns, following.at_ns) for cut, following in pairwise(self._cuts)]

    def _cut(self) -> None:
        if self._begins:
            event = None
            if self._stream is not None:
                event = torch.cuda.Event(enable_timing=True)
                event.record(self._stream)
            self._cuts.append(_Cut(self._open[-1], self._now(), event))


def _measure_s(cut: _Cut, following: _Cut) -> float:
    if cut.event is not None and following.event is not None:
        return cut.event.elapsed_time(following.event) / 1e3
    return (following.at_ns - cut.at_ns) / 1e9


class PhaseProfiler(Profiler):
    """Turns what Lightning tells its profiler into phases of a clock."""

    def __init__(self, clock: PhaseClock) -> None:
        """Choose the clock."""
        super().__init__()
        self._clock = clock
        self._depths: dict[str, int] = {}

    def start(self, action_name: str) -> None:
        """Begin the phase of an action, if it has one."""
        phase = _PHASE_OF.get(action_name.rpartition(".")[2])
        if phase is not None:
            self._depths[action_name] = self._clock.enter(phase)

    def stop(self, action_name: str) -> None:
        """End the phase of an action, if it has one."""
        depth = self._depths.pop(action_name, None)
        if depth is not None:
            self._clock.leave_to(depth)


class _TimedWork:
    """A collective that is under way; whoever waits for it waits for other ranks."""

    def __init__(self, work: Any, clock: PhaseClock) -> None:  # noqa: ANN401 - a Work or a future
        self._work = work
        self._clock = clock

    def wait(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as torch's
        if self._clock.is_aside:
            return self._work.wait(*args, **kwargs)
        with self._clock.within(COLLECTIVE):
            return self._work.wait(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as torch's
        return getattr(self._work, name)


@contextmanager
def timing_collectives(clock: PhaseClock) -> Iterator[None]:
    """Count calls of torch.distributed to their phase; the process group is made in the block."""
    originals = {name: getattr(torch.distributed, name) for name in _COLLECTIVES}
    for name, function in originals.items():
        setattr(torch.distributed, name, _time_collective(function, clock))
    try:
        yield
    finally:
        for name, function in originals.items():
            setattr(torch.distributed, name, function)


def _time_collective(function: Callable[..., Any], clock: PhaseClock) -> Callable[..., Any]:
    @functools.wraps(function)
    def timed(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as torch's
        if clock.is_aside:
            return function(*args, **kwargs)
        with clock.within(COLLECTIVE):
            result = function(*args, **kwargs)
        is_under_way = kwargs.get("async_op") and result is not None
        return _TimedWork(result, clock) if is_under_way else result

    return timed


class StepProfilerCallback(L.Callback):
    """Measures and traces the steps of a training that exists for this alone."""

    def __init__(self, clock: PhaseClock, steps: ProfiledSteps, *, folder: Path) -> None:
        """Plan the steps.

        Args:
            clock: Told by a `PhaseProfiler` as well.
            steps: How many there will be.
            folder: Of the traces, one file a rank.
        """
        self._clock = clock
        self._steps = steps
        self._folder = folder
        self._on_sigterm = signal.getsignal(signal.SIGTERM)
        self._num_micro_batches = 0
        self._progress: Progress | None = None
        self._last_gradient: Tensor | None = None
        self._hooks: list[Any] = []
        self._trace: torch.profiler.profile | None = None
        self._trace_ns = 0
        self.ranks: list[RankTimes] = []
        """What all ranks have measured; the same on each, once the training has ended."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Learn in the first steps which gradient comes last."""
        # Lightning's own handler communicates, while ranks are at different places.
        signal.signal(signal.SIGTERM, self._on_sigterm)
        if trainer.is_global_zero:
            self._progress = Progress(total=self._steps.total, label="profile", unit="step")
        if trainer.world_size > 1:
            self._hooks = [
                parameter.register_post_accumulate_grad_hook(self._note_gradient)
                for parameter in pl_module.parameters()
                if parameter.requires_grad
            ]

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,  # noqa: ANN401 - as the base class
        batch: PolicyBatch,
        batch_idx: int,
    ) -> None:
        """Cut the steps apart, and begin the trace in time."""
        accumulation = trainer.accumulate_grad_batches
        self._num_micro_batches += 1
        step, rest = divmod(self._num_micro_batches, accumulation)
        if rest == 0:
            if step == self._steps.warm_up:
                self._watch_last_gradient()
            if self._steps.warm_up <= step <= self._steps.warm_up + self._steps.measured:
                self._clock.begin_step()
            if self._progress is not None:
                self._progress.update()
        left = self._steps.total * accumulation - self._num_micro_batches
        if left == min(_TRACED_MICRO_BATCHES, self._steps.traced * accumulation):
            self._begin_trace()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the trace, and gather the times of all ranks."""
        self._close()
        mine = RankTimes(
            rank=trainer.global_rank, host=platform.node(), steps=self._clock.read_steps()
        )
        if self._trace is not None:
            self._trace.stop()
            events = list_phase_events(
                self._clock.list_stretches(), zero_ns=self._trace_ns, rank=trainer.global_rank
            )
            write_trace(self._trace, name_trace(self._folder, trainer.global_rank), events)
        ranks = [mine] * trainer.world_size
        if trainer.world_size > 1:
            torch.distributed.all_gather_object(ranks, mine)
        self.ranks = ranks

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Leave what is said next on a line of its own."""
        self._close()

    def _close(self) -> None:
        if self._progress is not None:
            self._progress.close()
            self._progress = None

    def _note_gradient(self, parameter: Tensor) -> None:
        self._last_gradient = parameter

    def _begin_exchange(self, _parameter: Tensor) -> None:
        # The end of the backward pass ends this too. What a hook returns would be the gradient.
        self._clock.enter(COLLECTIVE)

    def _watch_last_gradient(self) -> None:
        for hook in self._hooks:
            hook.remove()
        if self._last_gradient is not None:
            self._last_gradient.register_post_accumulate_grad_hook(self._begin_exchange)

    def _begin_trace(self) -> None:
        activities = [torch.profiler.ProfilerActivity.CPU]
        if torch.cuda.is_available():
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        self._trace = torch.profiler.profile(activities=activities)
        self._trace.start()
        with torch.profiler.record_function(_ANCHOR):
            self._trace_ns = time.perf_counter_ns()


def name_trace(folder: Path, rank: int) -> Path:
    """Name the trace of a rank."""
    return folder / f"rank-{rank}.json.gz"


def list_phase_events(
    stretches: Sequence[tuple[str, int, int]], *, zero_ns: int, rank: int
) -> list[dict[str, Any]]:
    """Write stretches as events of a trace in Chrome's format, on a row of their own.

    Args:
        stretches: Phase, begin and end in nanoseconds.
        zero_ns: The moment from which the events count, in microseconds.
        rank: Of this process.
    """
    row = {"pid": "phases", "tid": "phases"}
    title = {"name": f"rank {rank}: phases of a step"}
    head = [
        {"name": "process_name", "ph": "M", **row, "args": title},
        {"name": "process_sort_index", "ph": "M", **row, "args": {"sort_index": -1}},
    ]
    return head + [
        {
            "name": phase, "cat": "phase", "ph": "X", **row,
            "ts": (begin - zero_ns) / 1e3, "dur": (end - begin) / 1e3,
        }
        for phase, begin, end in stretches
        if end > begin
    ]  # fmt: skip


def write_trace(
    profiler: torch.profiler.profile, path: Path, events: Sequence[dict[str, Any]]
) -> None:
    """Write what was traced, with more events, as one file that Perfetto and Chrome open.

    Args:
        profiler: Stopped; it has recorded `_ANCHOR`.
        path: The file, gzipped JSON; it is whole or absent.
        events: Their times count from the anchor.
    """
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(plain))
        trace = json.loads(plain.read_bytes())
    zero = next(each["ts"] for each in trace["traceEvents"] if each.get("name") == _ANCHOR)
    trace["traceEvents"] += [
        each | {"ts": zero + each["ts"]} if "ts" in each else each for each in events
    ]
    with write_atomically(path) as temporary, gzip.open(temporary, "wt", compresslevel=5) as file:
        json.dump(trace, file)
