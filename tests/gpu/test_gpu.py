"""What only a GPU can show, in about ten minutes on a node: `make test-gpu`.

Each test is a short run of its own processes: CUDA against the CPU, bf16, fused AdamW,
torch.compile, a resume, and, with two GPUs, NCCL under DDP and DeepSpeed's stages and offload.
Adam forgets how large a gradient is: its norm is compared as well.
"""

import csv
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

Logged = dict[str, list[float]]
"""Metrics by name, of one step after the other."""
NUM_GPUS = torch.cuda.device_count()
pytestmark = pytest.mark.gpu
two_gpus = pytest.mark.skipif(NUM_GPUS == 1, reason="needs two GPUs, there is one")
RECIPE = (
    "experiment=pretrain_debug", "loggers=csv", "max_steps=10", "data.global_batch_size=16",
    "data.micro_batch_size=4", "data.num_val_windows=8", "val_every_n_steps=5",
    "checkpoint_every_n_steps=5", "schedule.warmup_steps=2", "schedule.decay_steps=2",
    "augmentation=none", "model.mixer.dropout=0.0", "model.dit.dropout=0.0",
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def gpu() -> None:
    if NUM_GPUS == 0:
        pytest.skip("no CUDA GPU here: run make test-gpu on a GPU node")


@pytest.fixture(scope="module")
def dataset(
    tmp_path_factory: pytest.TempPathFactory, write_dataset: Callable[..., Path], clip_plan: Any
) -> str:
    plans = [clip_plan(clip_id=f"c{i}", session_id=f"s{i}", num_frames=60) for i in range(4)]
    plans.append(clip_plan(clip_id="v", session_id="v", split="val", num_frames=60))
    folder = write_dataset(tmp_path_factory.mktemp("data"), plans)
    return f"+data.sources.all.path={folder}"


def start(folder: Path, dataset: str, *overrides: str) -> subprocess.CompletedProcess[str]:
    """Start the command as a user would."""
    output = f"output_dir={folder}"
    # A job's task would be the only rank, and start no other.
    env = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    done = subprocess.run(
        [sys.executable, "-m", "nitrogen_train.train", *RECIPE, dataset, *overrides, output],
        capture_output=True, text=True, check=False, timeout=300, env=env,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def train(folder: Path, dataset: str, *overrides: str) -> Logged:
    """Train, and read what was logged."""
    start(folder, dataset, *overrides)
    found: dict[str, list[float]] = {}
    with (folder / "metrics.csv").open() as file:
        for row in csv.DictReader(file):
            found.setdefault(row["name"], []).append(float(row["value"]))
    return found


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, dataset: str) -> Logged:
    """One process on the CPU."""
    return train(tmp_path_factory.mktemp("cpu"), dataset, "trainer.accelerator=cpu")


def assert_alike(logged: Logged, reference: Logged, *, rel: float) -> None:
    for name, tolerance in (("train/loss", rel), ("train/gradient_norm", 5 * rel)):
        assert logged[name] == pytest.approx(reference[name], rel=tolerance), name


def choose_strategy(name: str) -> list[str]:
    """Choose a strategy; of ZeRO-3, one that divides even the weights of so small a policy."""
    if name.startswith("zero"):
        pytest.importorskip("deepspeed")
    zero = "strategy.deepspeed.zero_optimization"
    whole = [f"{zero}.stage3_param_persistence_threshold=0"] * name.startswith("zero_3")
    return [f"strategy={name}", *whole]


def test_cuda_trains_as_the_cpu_does(tmp_path: Path, dataset: str, reference: Logged) -> None:
    assert_alike(train(tmp_path, dataset), reference, rel=1e-2)


@pytest.mark.parametrize("strategy", ["single", "zero_2", "zero_3"])
def test_a_resumed_run_goes_on_as_if_it_had_not_ended(
    tmp_path: Path, dataset: str, reference: Logged, strategy: str
) -> None:
    phases = ("schedule.warmup_steps=2", "schedule.decay_steps=0")
    train(tmp_path, dataset, *choose_strategy(strategy), *phases, "max_steps=5")
    resumed = train(tmp_path, dataset, *choose_strategy(strategy))

    assert len(resumed["train/loss"]) == len(reference["train/loss"])
    assert_alike(resumed, reference, rel=1e-2)


@pytest.mark.parametrize(
    "overrides",
    [
        ("trainer.precision=bf16-mixed",),
        ("+optimizer.fused=false",),
        ("compile=true",),
        ("trainer.precision=bf16-mixed", "compile=true"),
        ("trainer.precision=bf16-mixed", "activation_checkpointing=true"),
    ],
    ids=str,
)
def test_what_makes_a_gpu_fast_changes_little(
    tmp_path: Path, dataset: str, reference: Logged, overrides: tuple[str, ...]
) -> None:
    logged = train(tmp_path, dataset, *overrides)

    assert_alike(logged, reference, rel=5e-2)


def test_full_size_takes_a_step_in_less_memory_than_the_plan_says() -> None:
    from nitrogen_train.config import load_defaults
    from nitrogen_train.run.plan_report import forecast_run
    from nitrogen_train.train import build_module
    from nitrogen_train.training.throughput import make_sample

    config = load_defaults(
        [
            "experiment=pretrain", "model.encoder.pretrained=false", "data.global_batch_size=1",
            "data.micro_batch_size=1",
        ]
    )  # fmt: skip
    needed = forecast_run(config)[0].memory.total
    if needed > torch.cuda.mem_get_info()[0]:
        pytest.skip(f"needs {needed / 2**30:.0f} GiB of GPU memory")
    module = build_module(config).cuda()
    optimizer = module.configure_optimizers()["optimizer"]
    with torch.device("cuda"):
        batch = make_sample(module.policy)
    torch.cuda.reset_peak_memory_stats()
    for _ in range(2):
        optimizer.zero_grad()
        with torch.autocast("cuda", torch.bfloat16):
            loss = module.policy.compute_loss(batch).loss
        loss.backward()
        optimizer.step()

    assert 0.5 * needed < torch.cuda.max_memory_allocated() < 1.2 * needed


@two_gpus
@pytest.mark.parametrize("num_gpus", [1, pytest.param(2, marks=two_gpus)])
def test_a_profile_measures_phases_on_the_device(
    tmp_path: Path, dataset: str, num_gpus: int
) -> None:
    strategy = ["strategy=ddp", "trainer.devices=2"] if num_gpus == 2 else []
    done = start(tmp_path, dataset, "profile=steps", *strategy)

    assert "share" in done.stdout
    assert ("slowest" in done.stdout) == (num_gpus == 2)
    for rank in range(num_gpus):
        with gzip.open(tmp_path / "profile" / f"rank-{rank}.json.gz", "rt") as file:
            kinds = {event.get("cat") for event in json.load(file)["traceEvents"]}
        assert {"phase", "kernel"} <= kinds


@pytest.mark.parametrize("strategy", ["ddp", "zero_1", "zero_2", "zero_3"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_two_gpus_train_as_one_process(
    tmp_path: Path, dataset: str, reference: Logged, strategy: str, precision: str
) -> None:
    overrides = ("trainer.devices=2", f"trainer.precision={precision}", *choose_strategy(strategy))

    logged = train(tmp_path, dataset, *overrides, "check_ranks_every_n_steps=5")

    assert_alike(logged, reference, rel=5e-2 if "bf16" in precision else 1e-2)


@pytest.mark.parametrize("strategy", ["zero_2_offload", "zero_3_offload"])
def test_offload_trains_as_one_process(
    tmp_path: Path, dataset: str, reference: Logged, strategy: str
) -> None:
    overrides = (*choose_strategy(strategy), f"trainer.devices={min(2, NUM_GPUS)}")

    assert_alike(train(tmp_path, dataset, *overrides), reference, rel=1e-2)
