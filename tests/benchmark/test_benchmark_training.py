import copy
from itertools import repeat
from pathlib import Path

import pytest
from descents import assert_went_the_same_way

from nitrogen_train.benchmark.machine import run_alone
from nitrogen_train.benchmark.training import (
    StepTimes,
    TrainingCost,
    describe_training,
    measure_peak_gib,
    step_barely,
    time_steps,
)
from nitrogen_train.benchmark.workload import Workload
from nitrogen_train.train import build_module, build_trainer

TINY = Workload(
    name="tiny",
    overrides=(
        "experiment=demo", "num_threads=null", "~loggers.wandb", "trainer.log_every_n_steps=2",
        "data.image_size=32", "data.micro_batch_size=4", "data.global_batch_size=4",
    ),
)  # fmt: skip


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
def test_a_bare_step_trains_as_lightning_does(tmp_path: Path) -> None:
    config = TINY.compose_config(
        f"output_dir={tmp_path}", "max_steps=3", "trainer.accelerator=cpu",
        "schedule.warmup_steps=0", "schedule.decay_steps=0",
    )  # fmt: skip
    ours = build_module(config)
    bare = copy.deepcopy(ours)
    start = {name: p.detach().clone() for name, p in ours.policy.named_parameters()}
    batch = TINY.make_batch()

    build_trainer(config).fit(ours, repeat(batch))
    optimizer = bare.configure_optimizers()["optimizer"]
    for _ in range(3):
        step_barely(bare.policy, batch, optimizer=optimizer, gradient_clip_val=1.0)

    ends = [dict(module.policy.named_parameters()) for module in (ours, bare)]
    assert_went_the_same_way(start, *ends)


@pytest.mark.full
def test_steps_are_timed_in_pairs_of_blocks() -> None:
    times = time_steps(TINY, num_blocks=3)

    assert len(times.bare_s) == len(times.lightning_s) == 3
    assert all(seconds > times.average_s > 0 for seconds in times.bare_s + times.lightning_s)
    assert times.batch_size == 4


def test_the_overhead_is_the_median_over_pairs() -> None:
    times = StepTimes(
        bare_s=[0.1, 0.2, 0.1],
        lightning_s=[0.11, 0.9, 0.12],
        average_s=0.01,
        num_parameters=5,
        batch_size=2,
        threads=1,
    )
    cost = TrainingCost(
        name="tiny", times=times, peak_batch_size=4, peak_gib=2.0, checkpointed_peak_gib=1.0
    )

    assert cost.overhead_s == pytest.approx(0.02)
    assert cost.overhead_share == pytest.approx(0.2)
    assert "+20.0%" in describe_training([cost])


@pytest.mark.full
def test_activation_checkpointing_lowers_the_peak_of_memory() -> None:
    large = Workload(name="large", overrides=(*TINY.overrides, "data.image_size=96"))

    kept, checkpointed = (
        run_alone(measure_peak_gib, large, num_samples=128, is_checkpointed=is_checkpointed)
        for is_checkpointed in (False, True)
    )

    assert checkpointed < kept
