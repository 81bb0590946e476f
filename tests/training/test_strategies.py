"""One run, whatever it is spread over: losses, windows, gradients, averages, resumes."""

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from descents import assert_went_the_same_way
from run_processes import until
from strategy_runs import record, run, start_cold, start_ranks, strategy
from tiers import divide

from nitrogen_train.export import ExportConfig, Format, export
from nitrogen_train.models.load import load_policy
from nitrogen_train.pretrained.places import find_checkpoints
from nitrogen_train.training.checkpoints import read_checkpoint, read_weights

# They share the runs that they are compared with.
pytestmark = pytest.mark.xdist_group("strategies")

NUM_STEPS, FEW_STEPS = 50, 12
CURVE = (
    f"max_steps={NUM_STEPS}", f"val_every_n_steps={NUM_STEPS}",
    f"checkpoint_every_n_steps={FEW_STEPS}", "keep_checkpoints=9",
    # So that nearly every step is clipped.
    "trainer.gradient_clip_val=0.05",
)  # fmt: skip
SHORT = ("val_every_n_steps=2", "checkpoint_every_n_steps=2")
DROPOUT = "model.dit.dropout=0.2"
# One step of plain descent moves the weights by the gradient, so far that rounding is small.
LR = 1000.0
DESCENT = (
    "max_steps=1", "optimizer._target_=torch.optim.SGD", "~optimizer.betas",
    "optimizer.weight_decay=0.0", "trainer.gradient_clip_val=null", *SHORT,
)  # fmt: skip


@pytest.fixture(scope="module")
def dataset(
    tmp_path_factory: pytest.TempPathFactory, write_dataset: Callable[..., Path], clip_plan: Any
) -> Path:
    # Of every second clip only 8 rows in 60 count: ranks and micro-batches differ widely.
    plans = [
        clip_plan(
            clip_id=f"c{i}", session_id=f"s{i}", num_frames=60,
            invalid_rows=range(0 if i % 2 else 52),
        )
        for i in range(4)
    ]  # fmt: skip
    plans.append(clip_plan(clip_id="v", session_id="v", split="val", num_frames=60))
    return write_dataset(tmp_path_factory.mktemp("data"), plans)


@pytest.fixture(scope="module")
def one_process(tmp_path_factory: pytest.TempPathFactory, dataset: Path) -> Path:
    return run(tmp_path_factory.mktemp("one"), dataset, *CURVE)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory, dataset: Path) -> dict[str, torch.Tensor]:
    """The weights that every run starts from."""
    folder = run(tmp_path_factory.mktemp("untrained"), dataset, *DESCENT, "optimizer.lr=0.0")
    return weights(folder, 1)


def weights(output_dir: Path, step: int, *, averaged: bool = False) -> dict[str, torch.Tensor]:
    checkpoint = read_checkpoint(output_dir / "checkpoints" / f"step-{step}.ckpt")
    return read_weights(checkpoint, averaged=averaged)


def assert_same_descent(two: Path, one: Path, start: dict[str, torch.Tensor], step: int) -> None:
    windows, losses = record(two)
    expected_windows, expected_losses = record(one)
    assert sorted(losses) == list(range(step))
    for number in range(step):
        assert windows[number] == expected_windows[number]
        assert losses[number] == pytest.approx(expected_losses[number], rel=1e-3)
    for averaged in (False, True):
        expected = weights(one, step, averaged=averaged)
        got = weights(two, step, averaged=averaged)
        assert_went_the_same_way(start, expected, got)


DESCENTS = {"ddp": FEW_STEPS, "zero_1": FEW_STEPS, "zero_2": NUM_STEPS, "zero_3": FEW_STEPS}
"""Long enough to learn something once; the others must go the same way."""


@pytest.mark.parametrize(
    ("name", "num_steps"),
    divide(
        DESCENTS.items(), slow=[each for each in DESCENTS.items() if each[0] in ("ddp", "zero_2")]
    ),
)
def test_two_processes_descend_as_one(
    tmp_path: Path,
    dataset: Path,
    one_process: Path,
    untrained: dict[str, torch.Tensor],
    name: str,
    num_steps: int,
) -> None:
    two = run(tmp_path, dataset, *CURVE, *strategy(name), f"max_steps={num_steps}")

    assert_same_descent(two, one_process, untrained, num_steps)
    losses = record(two)[1]
    assert num_steps < NUM_STEPS or losses[NUM_STEPS - 1] < 0.7 * losses[0]
    # Exported are the averages.
    exported = load_policy(two / "policy").state_dict()
    average, trained = (weights(two, num_steps, averaged=averaged) for averaged in (True, False))
    assert all(torch.equal(exported[name], value) for name, value in average.items())
    assert any(not torch.equal(trained[name], value) for name, value in average.items())


def gradients(start: dict[str, torch.Tensor], output_dir: Path) -> dict[str, torch.Tensor]:
    return {name: (start[name] - value) / LR for name, value in weights(output_dir, 1).items()}


@pytest.mark.slow
def test_gradients_do_not_depend_on_ranks_and_accumulation(
    tmp_path: Path, dataset: Path, untrained: dict[str, torch.Tensor]
) -> None:
    layouts = {
        "one": ["data.micro_batch_size=8"],
        "one in four": ["data.micro_batch_size=2"],
        "ddp": ["data.micro_batch_size=2", *strategy("ddp")],
        "zero_2": ["data.micro_batch_size=2", *strategy("zero_2")],
        "zero_3": ["data.micro_batch_size=2", *strategy("zero_3")],
    }
    found = {
        name: gradients(
            untrained, run(tmp_path / name, dataset, *DESCENT, f"optimizer.lr={LR}", *layout)
        )
        for name, layout in layouts.items()
    }

    whole = found.pop("one")
    assert sum(bool(gradient.any()) for gradient in whole.values()) > 0.8 * len(whole)
    for layout, others in found.items():
        for name, gradient in whole.items():
            off = (others[name] - gradient).norm()
            assert off <= 1e-4 * gradient.norm() + 1e-7, (layout, name)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("zero_2", marks=pytest.mark.slow),
        *(pytest.param(name, marks=pytest.mark.full) for name in ("ddp", "zero_1", "zero_3")),
    ],
)
def test_a_resume_under_the_same_strategy_is_exact_with_dropout(
    tmp_path: Path, dataset: Path, name: str
) -> None:
    settings = [DROPOUT, *SHORT, *strategy(name)]
    straight = run(tmp_path / "straight", dataset, *settings, "max_steps=4")
    resumed = run(tmp_path / "resumed", dataset, *settings, "max_steps=2")
    run(tmp_path / "resumed", dataset, *settings, "max_steps=4")

    assert record(resumed) == record(straight)
    for averaged in (False, True):
        expected = weights(straight, 4, averaged=averaged)
        got = weights(resumed, 4, averaged=averaged)
        for key, value in expected.items():
            assert torch.equal(got[key], value), key


CHAINS = (
    ("zero_2", "single", "zero_3", "single"),
    ("ddp", "zero_1", "zero_3", "ddp", "zero_2", "zero_1", "single"),
)  # fmt: skip


@pytest.mark.full
@pytest.mark.parametrize("chain", CHAINS, ids="-".join)
def test_a_run_goes_on_under_any_strategy_and_number_of_ranks(
    tmp_path: Path, dataset: Path, one_process: Path, chain: Sequence[str]
) -> None:
    settings = [
        "checkpoint_every_n_steps=3", "val_every_n_steps=50", "trainer.gradient_clip_val=0.05",
    ]  # fmt: skip
    # An odd step after one micro-batch a step, then two a step: Lightning counts micro-batches.
    for number, name in enumerate(chain, start=1):
        num_ranks = 1 if name == "single" else 2
        run(tmp_path, dataset, *settings, *strategy(name, num_ranks), f"max_steps={3 * number}")

    windows, losses = record(tmp_path)
    expected_windows, expected_losses = record(one_process)
    last = 3 * len(chain)
    assert sorted(losses) == list(range(last))
    for step in range(last):
        assert windows[step] == expected_windows[step]
        assert losses[step] == pytest.approx(expected_losses[step], rel=1e-3)


# Two ranks learn a step later that it is time; steps 5 and 10 start the minutes anew.
SAVED_BY_MINUTES = (
    ("single", (3, 5, 8, 10, 12)),
    ("ddp", (4, 5, 9, 10, 12)),
    ("zero_2", (4, 5, 9, 10, 12)),
)


@pytest.mark.parametrize(
    ("name", "steps"), divide(SAVED_BY_MINUTES, slow=[SAVED_BY_MINUTES[0], SAVED_BY_MINUTES[2]])
)
def test_all_ranks_save_when_rank_0s_clock_says_so_and_at_their_steps(
    tmp_path: Path, dataset: Path, name: str, steps: Sequence[int]
) -> None:
    num_ranks = 1 if name == "single" else 2
    settings = [
        "max_steps=12", "val_every_n_steps=12", "checkpoint_every_n_steps=5",
        "checkpoint_every_minutes=3", "+callbacks.clock._target_=step_clock.StepClock",
        *strategy(name, num_ranks),
    ]  # fmt: skip
    saved = run(tmp_path / "saved", dataset, *settings, "keep_checkpoints=9") / "checkpoints"

    assert set(find_checkpoints(saved)) == set(steps)
    if num_ranks == 1:
        kept = run(
            tmp_path / "kept", dataset, *settings, "keep_checkpoints=2", "keep_every_n_steps=5",
            "max_steps=9",
        )  # fmt: skip
        assert set(find_checkpoints(kept / "checkpoints")) == {5, 8, 9}


# At step 4 the disk is full: of the last checkpoint, or of one amid the training.
FULL_DISKS = (("zero_2", 0, 4), ("zero_2", 1, 4), ("zero_3", 1, 8), ("ddp", 0, 4), ("ddp", 0, 8))


@pytest.mark.parametrize(
    ("name", "rank", "max_steps"),
    divide(FULL_DISKS, slow=[("zero_3", 1, 8), ("ddp", 0, 8)]),
)
def test_a_rank_with_a_full_disk_ends_all_with_one_line_and_loses_nothing(
    tmp_path: Path, dataset: Path, name: str, rank: int, max_steps: int
) -> None:
    # Nobody ends a rank that does not end by itself.
    full = start_ranks(
        tmp_path, dataset, *SHORT, *strategy(name), f"max_steps={max_steps}", "debug=false",
        "+callbacks.disk._target_=disks.FullDisk", f"+callbacks.disk.rank={rank}",
    )  # fmt: skip

    assert full.returncode == 1
    lines = {line for line in full.stderr.splitlines() if line.startswith("error: ")}
    [line] = lines
    assert f"cannot save {tmp_path}/checkpoints/step-4.ckpt: " in line
    assert name == "ddp" or f"step-4.ckpt: rank {rank}: " in line
    assert "Traceback" not in full.stderr
    assert [path.name for path in (tmp_path / "checkpoints").glob("*step*")] == ["step-2.ckpt"]


@pytest.mark.slow
def test_training_goes_on_while_zero_writes_and_the_checkpoint_is_as_if_it_had_waited(
    tmp_path: Path, dataset: Path
) -> None:
    settings = [*SHORT, "keep_checkpoints=9", *strategy("zero_2"), "max_steps=4"]
    held, waited = tmp_path / "held", tmp_path / "waited"
    run(
        held, dataset, *settings, "+callbacks.disk._target_=disks.HeldDisk",
        "+callbacks.disk.step=2", "+callbacks.disk.until_step=3",
    )  # fmt: skip
    run(waited, dataset, *settings, "+callbacks.memory._target_=disks.NoMemory")

    for step in (2, 4):
        one, other = (
            read_checkpoint(folder / "checkpoints" / f"step-{step}.ckpt")
            for folder in (held, waited)
        )
        assert one["global_step"] == other["global_step"]
        torch.testing.assert_close(one["state_dict"], other["state_dict"], rtol=0, atol=0)
        states = [each["optimizer_states"][0]["state"] for each in (one, other)]
        torch.testing.assert_close(*states, rtol=0, atol=0)
    assert not list((held / "checkpoints").glob(".*"))


@pytest.mark.slow
def test_a_kill_amid_a_save_under_zero_leaves_the_checkpoint_before_it(
    tmp_path: Path, dataset: Path
) -> None:
    settings = [*SHORT, DROPOUT, *strategy("zero_2"), "max_steps=6"]
    killed, straight = tmp_path / "killed", tmp_path / "straight"
    folder = killed / "checkpoints"
    process = start_cold(
        killed, dataset, *settings, "+callbacks.disk._target_=disks.HeldDisk",
        "+callbacks.disk.step=4",
    )  # fmt: skip
    try:
        until((folder / ".step-4.ckpt.part" / "rank-00000.pt").exists, killed)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert {path.name for path in folder.iterdir()} == {"step-2.ckpt", ".step-4.ckpt.part"}

    run(killed, dataset, *settings)

    run(straight, dataset, *settings)
    assert record(killed) == record(straight)
    assert {path.name for path in folder.iterdir()} == {"step-4.ckpt", "step-6.ckpt"}
    for key, value in weights(straight, 6).items():
        assert torch.equal(weights(killed, 6)[key], value), key


@pytest.mark.full
def test_one_file_can_be_made_of_a_checkpoint_of_zero(tmp_path: Path, dataset: Path) -> None:
    run(tmp_path / "run", dataset, *SHORT, *strategy("zero_2"), "max_steps=2")

    export(
        ExportConfig(
            run=str(tmp_path / "run"), output_dir=str(tmp_path / "one"), format=Format.checkpoint
        )
    )
    one = torch.load(tmp_path / "one" / "step-2.ckpt", weights_only=True)
    for key, value in weights(tmp_path / "run", 2, averaged=True).items():
        assert torch.equal(read_weights(one)[key], value)


@pytest.mark.full
@pytest.mark.parametrize("name", ["zero_1", "zero_2", "zero_3"])
def test_frozen_parts_and_buffers_come_back(tmp_path: Path, dataset: Path, name: str) -> None:
    # With batch norm: its statistics are buffers.
    settings = [
        "frozen=[encoder.network.layer1.*]", "~model.encoder.options.norm_layer", *SHORT,
        *strategy(name),
    ]  # fmt: skip
    run(tmp_path / "resumed", dataset, *settings, "max_steps=2")
    before = weights(tmp_path / "resumed", 2)
    run(tmp_path / "resumed", dataset, *settings, "max_steps=4")
    run(tmp_path / "straight", dataset, *settings, "max_steps=4")

    resumed, straight = weights(tmp_path / "resumed", 4), weights(tmp_path / "straight", 4)
    assert any(key.endswith("running_mean") for key in straight)
    for key, value in straight.items():
        assert torch.equal(resumed[key], value), key
        is_frozen = ".layer1." in key
        assert not is_frozen or torch.equal(before[key], value), key


@pytest.mark.full
@pytest.mark.parametrize("name", ["zero_1", "zero_2", "zero_3"])
def test_mixed_precision_means_the_same(tmp_path: Path, dataset: Path, name: str) -> None:
    settings = ["trainer.precision=bf16-mixed", "max_steps=8", *SHORT]
    expected = record(run(tmp_path / "ddp", dataset, *settings, *strategy("ddp")))[1]

    losses = record(run(tmp_path / name, dataset, *settings, *strategy(name)))[1]

    # bf16 has three digits; DeepSpeed has a linear layer of its own for ZeRO-3, and rounds more.
    assert losses == pytest.approx(expected, rel=2e-2 if name == "zero_3" else 1e-5)
    saved = weights(tmp_path / name, 8, averaged=True)
    assert {value.dtype for value in saved.values() if value.is_floating_point()} == {torch.float32}
