"""What a profile measures: numbers that add up, on real ranks and as they are judged."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import accumulate, count, pairwise, repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L  # noqa: N812
import pytest
import torch
from ready import run_ready
from run_processes import environment, until
from tiers import divide

from nitrogen_train.data.order import BatchShape
from nitrogen_train.run.profile_report import (
    LoaderRate,
    describe_loader,
    describe_steps,
    find_slowest,
    judge_loader,
)
from nitrogen_train.training.step_profiler import (
    COLLECTIVE,
    PHASES,
    WAIT,
    PhaseClock,
    PhaseProfiler,
    ProfiledSteps,
    RankTimes,
    StepProfilerCallback,
    list_phase_events,
    name_trace,
    timing_collectives,
)

HERE = Path(__file__).parent
TINY = (
    "experiment=mine", "trainer.accelerator=cpu", "data.num_workers=0", "data.windows_per_visit=64",
    "data.global_batch_size=8", "data.micro_batch_size=2", "data.image_size=32", "num_threads=1",
    "model.encoder.options.channels=[8,8,16,16]", "model.encoder.width=32",
    "model.dit.num_layers=2",
)  # fmt: skip
SLOW_RANK = ("+callbacks.slow._target_=slow_rank.SlowRank", "+callbacks.slow.rank=1")


def profile(output_dir: Path, datasets: list[str], *overrides: str, ranks: int = 1) -> Any:
    path = datasets[0].partition("=")[2]
    return run_ready(
        "nitrogen_train.train", *TINY, f"data.sources.mine.path={path}",
        f"output_dir={output_dir}", *overrides, env=os.environ | {"PYTHONPATH": str(HERE)},
        ranks=ranks,
    )  # fmt: skip


def read_trace(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt") as file:
        return json.load(file)["traceEvents"]


def list_files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.parent.name != "profile"
    }


def times(rank: int, *steps: dict[str, float], repeats: int = 1) -> RankTimes:
    whole = [dict.fromkeys(PHASES, 0.0) | step for step in steps] * repeats
    return RankTimes(rank=rank, host=f"node-{rank}", steps=whole)


def test_phases_follow_each_other_and_add_up_to_the_step() -> None:
    ends = list(accumulate([1, 5, 2, 7, 3, 4, 6, 2, 8, 9]))
    ticks = iter([0, *(1_000_000_000 * end for end in ends)])
    clock = PhaseClock(now=lambda: next(ticks))

    with clock.within("forward"):  # Before the first step: nobody looks at the clock.
        pass
    clock.begin_step()
    optimizer = clock.enter("optimizer")
    with clock.within("forward"), clock.within(COLLECTIVE):
        pass
    backward = clock.enter("backward")
    clock.enter(COLLECTIVE)  # As from the last gradient on: ended by who ends what is around.
    clock.leave_to(backward)
    clock.leave_to(optimizer)
    clock.begin_step()

    (step,) = clock.read_steps()
    assert step == dict.fromkeys(PHASES, 0.0) | {
        "other host work": 1.0 + 9.0,
        "optimizer": 5.0 + 4.0 + 8.0,
        "forward": 2.0 + 3.0,
        COLLECTIVE: 7.0 + 2.0,
        "backward": 6.0,
    }
    assert sum(step.values()) == ends[-1]


@pytest.mark.unchecked
def test_on_a_gpu_events_are_read_at_the_end_and_the_host_waits_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = SimpleNamespace(num_waits=0)
    stream.synchronize = lambda: setattr(stream, "num_waits", stream.num_waits + 1)
    numbers = count()

    class Event:
        def __init__(self, *, enable_timing: bool) -> None:
            assert enable_timing

        def record(self, on: Any) -> None:
            assert (on, stream.num_waits) == (stream, 0)
            self.ms = 10.0 * next(numbers)

        def elapsed_time(self, other: "Event") -> float:
            return other.ms - self.ms

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda *_: stream)
    clock = PhaseClock(device=torch.device("cuda", 0))

    clock.begin_step()
    with clock.within("forward"):
        pass
    clock.begin_step()

    assert not clock.is_aside
    (step,) = clock.read_steps()
    assert stream.num_waits == 1
    assert step == pytest.approx(
        dict.fromkeys(PHASES, 0.0) | {"forward": 0.01, "other host work": 0.02}
    )
    monkeypatch.setattr(torch.cuda, "current_stream", lambda *_: object())
    assert clock.is_aside


def test_collectives_and_waits_for_them_are_counted_and_torch_is_left_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ticks = count(0, 1_000_000_000)
    clock = PhaseClock(now=lambda: next(ticks))
    work = SimpleNamespace(wait=lambda: "waited", is_completed=lambda: True)

    def reduce(*_: Any, async_op: bool = False) -> Any:
        return work if async_op else None

    monkeypatch.setattr(torch.distributed, "all_reduce", reduce)

    with timing_collectives(clock):
        clock.begin_step()
        functions: Any = torch.distributed
        assert functions.all_reduce(None) is None
        handle = functions.all_reduce(None, async_op=True)
        assert (handle.wait(), handle.is_completed()) == ("waited", True)
        clock.begin_step()

    assert clock.read_steps()[0][COLLECTIVE] == 3.0
    assert torch.distributed.all_reduce is reduce


@pytest.mark.parametrize("accumulation", [1, 3, 64])
@pytest.mark.parametrize("max_steps", [3, 4, 7, 20, 45, 10_000])
def test_a_profile_is_no_longer_than_the_run_and_has_steps_of_each_kind(
    max_steps: int, accumulation: int
) -> None:
    steps = ProfiledSteps.fit(max_steps, accumulation=accumulation)

    assert min(steps.warm_up, steps.measured, steps.traced) >= 1
    assert steps.total <= min(max_steps, 41)


def test_a_run_that_is_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="max_steps is 2: give 3 or more"):
        ProfiledSteps.fit(2, accumulation=1)


@pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no")
def test_the_phases_of_a_real_step_are_told_apart(
    tmp_path: Path, compose_run: Callable[..., Any], build_batch: Callable[..., Any]
) -> None:
    from nitrogen_train.train import build_module

    config = compose_run("+data.sources.a.path=unused", model="small")
    steps = ProfiledSteps.fit(7, accumulation=2)
    clock = PhaseClock()
    callback = StepProfilerCallback(clock, steps, folder=tmp_path)
    trainer = L.Trainer(
        accelerator="cpu", max_steps=steps.total, accumulate_grad_batches=2, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        gradient_clip_val=1.0, callbacks=[callback],
    )  # fmt: skip
    trainer.profiler = PhaseProfiler(clock)  # pyright: ignore[reportAttributeAccessIssue]
    start = time.perf_counter()

    trainer.fit(build_module(config), repeat(build_batch(2)))

    elapsed_s = time.perf_counter() - start
    (mine,) = callback.ranks
    assert len(mine.steps) == steps.measured
    for step in mine.steps:
        assert step.pop(COLLECTIVE) == 0
        assert all(seconds > 0 for seconds in step.values()), step
    assert sum(sum(step.values()) for step in mine.steps) < elapsed_s
    events = read_trace(name_trace(tmp_path, 0))
    phases = [event for event in events if event.get("cat") == "phase"]
    assert {event["name"] for event in phases} == {*PHASES} - {COLLECTIVE}
    for event, following in pairwise(phases):
        assert event["ts"] + event["dur"] <= following["ts"] + 1
    # What torch has traced lies below the phases, on the same clock.
    gradients = [event for event in events if "AccumulateGrad" in event["name"]]
    backward = [event for event in phases if event["name"] == "backward"]
    assert gradients
    for gradient in gradients:
        around = [each for each in backward if _contains(each, gradient, tolerance_us=1000)]
        assert around, gradient


def _contains(outer: dict[str, Any], inner: dict[str, Any], *, tolerance_us: float) -> bool:
    begins = outer["ts"] - tolerance_us <= inner["ts"]
    return begins and inner["ts"] + inner["dur"] <= outer["ts"] + outer["dur"] + tolerance_us


def test_events_of_a_trace_are_in_microseconds_from_its_begin() -> None:
    head, order, *events = list_phase_events(
        [("forward", 5_000, 8_000), ("backward", 8_000, 8_000)], zero_ns=4_000, rank=3
    )

    assert [(e["name"], e["ph"], e["ts"], e["dur"]) for e in events] == [("forward", "X", 1.0, 3.0)]
    assert head["args"] == {"name": "rank 3: phases of a step"}
    assert order["ph"] == "M"


@pytest.mark.parametrize("phase", ["forward", WAIT, "other host work"])
def test_the_slowest_rank_is_the_one_for_which_the_others_wait(phase: str) -> None:
    quick = {"forward": 0.1, "backward": 0.2, COLLECTIVE: 0.5}
    slow = quick | {COLLECTIVE: 0.1, phase: quick.get(phase, 0.0) + 0.4}

    found = find_slowest([times(rank, slow if rank == 2 else quick) for rank in range(4)])

    assert (found.rank, found.phase) == (2, phase)
    assert (found.own_s, found.others_s) == pytest.approx((0.7, 0.3))


def test_a_table_has_p50_and_p95_of_each_rank_and_names_the_slowest() -> None:
    shape = BatchShape(global_batch_size=16, micro_batch_size=4, world_size=2)
    quick = times(0, {"forward": 0.1, COLLECTIVE: 0.3}, repeats=20)
    slow = times(1, *[{"forward": 0.4}] * 17, *[{"forward": 0.2, WAIT: 0.2}] * 3)

    text = describe_steps([quick, slow], shape=shape, max_wait_share=0.2, traces=["trace: here"])

    lines = text.splitlines()
    assert lines[0] == (
        "20 steps of 16 samples on 2 ranks, 2 x 4 on each: 400.0 ms a step on average, 40 samples/s"
    )
    assert lines[2].split() == [
        "ms",
        "per",
        "step",
        "rank",
        "0",
        "p50",
        "p95",
        "share",
        "rank",
        "1",
        "p50",
        "p95",
        "share",
    ]
    assert lines[3].split()[-6:] == ["0.0", "0.0", "0%", "0.0", "200.0", "8%"]
    assert lines[5].split() == ["forward", "100.0", "100.0", "25%", "400.0", "400.0", "92%"]
    assert lines[10].split()[-3:] == ["400.0", "400.0", "100%"]
    assert lines[12:] == [
        "slowest: rank 1 on node-1, 400.0 ms a step outside of collectives, where the other takes "
        "100.0 ms; most of the difference: forward",
        "trace: here",
    ]


def test_even_ranks_are_said_to_be_even_and_waiting_for_data_is_told() -> None:
    shape = BatchShape(global_batch_size=16, micro_batch_size=4, world_size=4)
    ranks = [times(rank, {WAIT: 0.1, "forward": 0.1 + rank / 1e4}) for rank in range(4)]

    text = describe_steps(ranks, shape=shape, max_wait_share=0.2, traces=[])

    assert "the ranks are even; the slowest is rank 3 on node-3: 200.3 ms a step" in text
    assert "50% of the time is spent waiting for data: profile=loader says what" in text


def test_a_stall_of_one_step_is_not_taken_for_a_slow_loader() -> None:
    ranks = [times(0, {WAIT: 1.0, "forward": 0.1}, *[{WAIT: 0.001, "forward": 0.1}] * 9)]
    shape = BatchShape(global_batch_size=4, micro_batch_size=4, world_size=1)

    text = describe_steps(ranks, shape=shape, max_wait_share=0.1, traces=[])

    assert "50% of the time is spent waiting for data, in few of the steps" in text


def test_of_many_ranks_the_spread_and_the_slowest_are_shown() -> None:
    shape = BatchShape(global_batch_size=128, micro_batch_size=1, world_size=128)
    ranks = [times(rank, {"forward": 0.1, COLLECTIVE: 0.3}) for rank in range(128)]
    ranks[77] = times(77, {"forward": 0.4})

    text = describe_steps(ranks, shape=shape, max_wait_share=0.2, traces=[])

    forward = next(line for line in text.splitlines() if line.startswith("forward"))
    assert forward.split()[1:] == ["100.0", "100.0", "400.0", "77", "400.0", "400.0", "100%"]
    assert max(map(len, text.splitlines()[2:11])) <= 100
    assert "slowest: rank 77 on node-77, 400.0 ms" in text


def test_one_rank_has_no_collectives() -> None:
    shape = BatchShape(global_batch_size=4, micro_batch_size=4, world_size=1)

    text = describe_steps([times(0, {"forward": 0.1})], shape=shape, max_wait_share=1.0, traces=[])

    assert COLLECTIVE not in text
    assert "slowest" not in text


def rate(num_workers: int = 2, **changes: Any) -> LoaderRate:
    values = {"samples": 1000, "seconds": 2.0, "cpu_s": 4.0, "start_s": 3.0}
    counts = {"num_cores": 8, "frames_decoded": 1060, "bytes_read": 2**20}
    return LoaderRate(num_workers=num_workers, **values | counts | changes)


@pytest.mark.parametrize(
    ("needed_per_s", "is_enough", "num_workers", "cores"),
    [
        (100.0, True, 1, 0.4),
        (500.0, True, 2, 2.0),
        (501.0, False, 3, 2.004),
        (2000.0, False, 8, 8.0),
    ],
)
def test_a_loader_is_judged_by_what_a_gpu_takes(
    needed_per_s: float, is_enough: bool, num_workers: int, cores: float
) -> None:
    feeding = judge_loader(rate(), needed_per_s=needed_per_s)

    assert (feeding.is_enough, feeding.num_workers) == (is_enough, num_workers)
    assert feeding.cores == pytest.approx(cores)


def test_a_loader_without_workers_is_never_enough() -> None:
    assert not judge_loader(rate(0), needed_per_s=1.0).is_enough
    assert "in the training's way" in describe_loader(
        rate(0), {"H100": 1.0}, micro_batch_size=4, notes=[]
    )


def test_the_page_of_a_loader_has_its_rate_and_the_verdict_for_each_gpu() -> None:
    text = describe_loader(
        rate(), {"slow GPU": 250.0, "fast GPU": 2000.0}, micro_batch_size=4, notes=["a note"]
    )

    lines = [line.split() for line in text.splitlines()]
    assert lines[2] == ["samples/s", "500"]
    assert lines[3][:4] == ["samples/s", "per", "core", "250"]
    assert lines[8] == ["slow", "GPU", "250", "enough,", "2.0", "times", "1", "1.0", "+", "1"]
    assert lines[9] == ["fast", "GPU", "2,000", "too", "slow,", "25%", "8", "8.0", "+", "1"]
    assert lines[-1] == ["a", "note"]


CASES = [("ddp", "forward"), ("ddp", "data"), ("zero_1", "forward"), ("zero_3", "data")]


@pytest.mark.parametrize(("strategy", "where"), divide(CASES, slow=CASES[:1]))
def test_a_slow_rank_is_named_and_all_ranks_leave_a_trace(
    tmp_path: Path, datasets: list[str], strategy: str, where: str
) -> None:
    done = profile(
        tmp_path / "run", datasets, "profile=steps", "max_steps=6", f"strategy={strategy}",
        "trainer.devices=2", *SLOW_RANK, f"+callbacks.slow.where={where}",
        "+callbacks.slow.seconds=0.2", ranks=2,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr[-3000:]
    phase = WAIT if where == "data" else where
    assert "slowest: rank 1 on" in done.stdout
    assert f"most of the difference: {phase}\n" in done.stdout
    assert done.stdout.count("ms per step") == 1
    for rank in range(2):
        events = read_trace(name_trace(tmp_path / "run" / "profile", rank))
        assert {event["name"] for event in events if event.get("cat") == "phase"} == {*PHASES}
        # DDP sends the buffers once a step; Lightning would send a flag at every micro-batch.
        names = [event["name"] for event in events]
        assert names.count("c10d::broadcast_") <= names.count("c10d::allreduce_") // 2
    assert list_files(tmp_path / "run") == {}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["steps", "loader"])
def test_a_profile_changes_nothing_of_a_run(tmp_path: Path, datasets: list[str], kind: str) -> None:
    run = tmp_path / "run"
    short = ("max_steps=4", "schedule.warmup_steps=1", "schedule.decay_steps=0", "loggers=csv")
    trained = profile(run, datasets, *short, "data.num_val_windows=4")
    assert trained.returncode == 0, trained.stderr[-3000:]
    before = list_files(run)

    done = profile(run, datasets, *short, f"profile={kind}", "data.num_workers=1")
    assert done.returncode == 0, done.stderr[-3000:]
    # That it fails is told on the screen, not kept as the run's error.
    failed = profile(run, datasets, "max_steps=2", "profile=steps", "schedule.warmup_steps=1")

    assert list_files(run) == before
    assert failed.returncode == 1
    assert "\nerror: profile=steps takes a step to warm up" in f"\n{failed.stderr}"
    if kind == "steps":
        assert "on 1 rank, 4 x 2 on each:" in done.stdout
        assert "open it at https://ui.perfetto.dev" in done.stdout
    else:
        assert "from the loader alone, data.num_workers=1:" in done.stdout
        assert "H100 SXM" in done.stdout


@pytest.mark.full
@pytest.mark.parametrize("kind", ["steps", "loader"])
def test_ctrl_c_ends_a_profile_with_one_line_and_leaves_nothing(
    tmp_path: Path, datasets: list[str], kind: str
) -> None:
    path = datasets[0].partition("=")[2]
    process = subprocess.Popen(
        [
            sys.executable, "-m", "nitrogen_train.train", *TINY, f"data.sources.mine.path={path}",
            f"output_dir={tmp_path}/run", f"profile={kind}", "data.num_workers=1",
            # Neither ends before it is stopped.
            "data.prefetch_factor=1000", "+callbacks.slow._target_=slow_rank.SlowRank",
            "+callbacks.slow.rank=0", "+callbacks.slow.where=forward", "+callbacks.slow.seconds=1",
        ],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip

    def has_workers() -> bool:
        lists = Path(f"/proc/{process.pid}/task").glob("*/children")
        children = [child for each in lists for child in each.read_text().split()]
        names = [Path(f"/proc/{child}/comm") for child in children]
        return any(name.exists() and name.read_text() == "pt_data_worker\n" for name in names)

    until(has_workers, tmp_path / "run")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)

    assert process.returncode == 130, errors
    assert errors.splitlines()[-1] == "interrupted; nothing half-written is left"
    assert list_files(tmp_path / "run") == {}
    assert not (tmp_path / "run" / "profile").exists()
