import copy
from dataclasses import replace
from itertools import islice, repeat
from pathlib import Path

import pytest
import torch
from descents import assert_went_the_same_way

from benchmarks import feeding
from benchmarks.loading_process import build_loader
from benchmarks.machine import run_alone
from benchmarks.training import (
    StepTimes,
    TrainingCost,
    describe_training,
    measure_peak_gib,
    step_barely,
    time_steps,
)
from benchmarks.workload import Workload
from nitrogen_train.config import DataConfig, load_defaults
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


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataConfig:
    monkeypatch.setattr(feeding, "_NUM_CLIPS", 3)
    monkeypatch.setattr(feeding, "_NUM_FRAMES", 80)
    dataset = feeding.draw_dataset(tmp_path / "clips")
    return replace(
        load_defaults().data,
        sources={"drawn": {"path": str(dataset)}},
        image_size=96,
        global_batch_size=6,
        micro_batch_size=6,
        index_dir=str(tmp_path / "index"),
        clip_cache_gib=0.0,
        num_workers=2,
    )


@pytest.mark.slow
def test_both_ways_feed_the_same_batches(drawn: DataConfig) -> None:
    ours, theirs = iter(build_loader(drawn)), feeding._iter_joined(drawn)

    for expected, got in zip(islice(ours, 12), islice(theirs, 12), strict=True):
        assert got.window_ids == expected.window_ids
        assert got.num_valid_in_step == expected.num_valid_in_step
        for name in ("frames", "frame_mask", "actions", "action_mask", "game_id", "sample_seed"):
            assert torch.equal(getattr(got, name), getattr(expected, name))


def test_feeding_is_laid_out_with_what_waits() -> None:
    costs = [
        feeding.FeedingCost(num_workers=0, ours_ms=2.0, torch_ms=None, samples_per_s=100.0),
        feeding.FeedingCost(num_workers=4, ours_ms=0.2, torch_ms=4.0, samples_per_s=2000.0),
    ]

    text = feeding.describe_feeding(costs)

    assert "20.0x" in text
    assert "CUDA tensors without values: 0" in text
