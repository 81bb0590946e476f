"""Trainings that are interrupted in a terminal, or fail, at every place: all of them end."""

import signal
import time
from pathlib import Path

import pytest
from run_processes import metric, settings
from terminal import Terminal, in_terminal

NUM_STEPS = 4
SETTINGS = (
    f"max_steps={NUM_STEPS}", "val_every_n_steps=2", "checkpoint_every_n_steps=2",
    "+callbacks.places._target_=places.Places",
)  # fmt: skip
NOTHING_TO_SAVE = "interrupted before the first step: there is nothing new to save"
IN_TRAINING = {
    "a step": "place step-1 ",
    "a save": r"rename step-2\.ckpt$",
    "a validation": "place validation",
    "the last save": rf"rename step-{NUM_STEPS}\.ckpt$",
    "the policy": r"rename /policy$",
}
AT_THE_START = {
    "the imports": r"import ^lightning\.pytorch\.trainer$",
    "the run folder": r"open run\.lock$",
    "the set-up": "place setup",
    "the first batch, in a worker": r"open shard-000000\.tar$",
}
TWO_RANKS = ("strategy=ddp", "trainer.devices=2")


def command(folder: Path, datasets: list[str], *overrides: str) -> list[str]:
    run = settings(folder / "run", datasets, step_s=0)
    return ["-m", "nitrogen_train.train", *run, *SETTINGS, *overrides]


def assert_ended(terminal: Terminal, *statuses: int) -> None:
    assert terminal.wait() in statuses, terminal.output
    assert "Traceback" not in terminal.output, terminal.output
    assert "Exception ignored" not in terminal.output, terminal.output
    terminal.assert_nothing_is_left()


def assert_the_same_command_finishes(arguments: list[str], folder: Path) -> None:
    with in_terminal(arguments, folder) as terminal:
        assert_ended(terminal, 0)
    assert sorted(metric(folder / "run")) == list(range(NUM_STEPS))
    assert (folder / "run" / "policy" / "model.safetensors").is_file()


def mark(places: dict[str, str], *, slow: set[str]) -> list[object]:
    """The places; those that are not `slow` are for `make test-full`."""
    return [
        pytest.param(at, id=name, marks=pytest.mark.slow if name in slow else pytest.mark.full)
        for name, at in places.items()
    ]


@pytest.mark.full
@pytest.mark.parametrize("stop_at", IN_TRAINING.values(), ids=IN_TRAINING)
def test_ctrl_c_in_a_training_saves_and_says_so(
    tmp_path: Path, datasets: list[str], stop_at: str
) -> None:
    arguments = command(tmp_path, datasets)

    with in_terminal(arguments, tmp_path, stop_at=stop_at) as terminal:
        terminal.wait_at_the_place()
        terminal.press_ctrl_c()
        terminal.until(lambda: "once more ends at once" in terminal.output)
        terminal.go_on()
        assert_ended(terminal, 75)

    steps = sorted(metric(tmp_path / "run"))
    if steps[-1] + 1 < NUM_STEPS:
        saved = tmp_path / "run" / "checkpoints" / f"step-{len(steps)}.ckpt"
        assert f"SIGINT: saved {saved}, stopping" in terminal.output.replace("\n", "")
    assert_the_same_command_finishes(arguments, tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("stop_at", AT_THE_START.values(), ids=AT_THE_START)
def test_ctrl_c_before_the_first_step_ends_at_once(
    tmp_path: Path, datasets: list[str], stop_at: str
) -> None:
    with in_terminal(command(tmp_path, datasets), tmp_path, stop_at=stop_at) as terminal:
        terminal.wait_at_the_place()
        terminal.press_ctrl_c()
        assert_ended(terminal, 130)

    line = "interrupted" if stop_at.startswith("import") else NOTHING_TO_SAVE
    assert terminal.output.splitlines()[-1] == line


@pytest.mark.full
@pytest.mark.parametrize("stop_at", IN_TRAINING.values(), ids=IN_TRAINING)
def test_a_second_ctrl_c_ends_at_once_and_loses_no_checkpoint(
    tmp_path: Path, datasets: list[str], stop_at: str
) -> None:
    arguments = command(tmp_path, datasets)

    with in_terminal(arguments, tmp_path, stop_at=stop_at) as terminal:
        terminal.wait_at_the_place()
        terminal.press_ctrl_c()
        terminal.until(lambda: "once more ends at once" in terminal.output)
        terminal.press_ctrl_c()
        assert_ended(terminal, -signal.SIGINT, 130)

    assert_the_same_command_finishes(arguments, tmp_path)


@pytest.mark.parametrize(
    "stop_at",
    mark(
        # What a worker cannot read is put aside, up to a share.
        IN_TRAINING | {name: at for name, at in AT_THE_START.items() if "worker" not in name},
        slow={"a step"},
    ),
)
def test_an_error_ends_the_training_with_its_line(
    tmp_path: Path, datasets: list[str], stop_at: str
) -> None:
    arguments = command(tmp_path, datasets)

    with in_terminal(arguments, tmp_path, stop_at=stop_at, stop_by="raise") as terminal:
        status = terminal.wait()
        terminal.assert_nothing_is_left()

    assert status == 1
    assert "on purpose" in terminal.output


@pytest.mark.full
def test_ctrl_c_ends_wandb_too(tmp_path: Path, datasets: list[str]) -> None:
    arguments = command(tmp_path, datasets, "loggers=wandb")

    with in_terminal(arguments, tmp_path, stop_at=IN_TRAINING["a step"]) as terminal:
        terminal.wait_at_the_place()
        terminal.press_ctrl_c()
        terminal.until(lambda: "once more ends at once" in terminal.output)
        terminal.go_on()
        assert_ended(terminal, 75)


@pytest.mark.full
def test_ctrl_c_in_a_sweep_ends_the_sweep(tmp_path: Path, datasets: list[str]) -> None:
    arguments = command(tmp_path, datasets, "seed=0,1", "-m")

    with in_terminal(arguments, tmp_path, stop_at=IN_TRAINING["the policy"]) as terminal:
        terminal.wait_at_the_place()
        terminal.press_ctrl_c()
        terminal.until(lambda: "once more ends at once" in terminal.output)
        terminal.go_on()
        assert_ended(terminal, 75)

    assert (tmp_path / "run" / "0" / "policy").is_dir()
    assert not (tmp_path / "run" / "1").exists()


@pytest.mark.full
def test_ctrl_c_on_two_ranks_saves_once(tmp_path: Path, datasets: list[str]) -> None:
    arguments = command(tmp_path, datasets, *TWO_RANKS)

    with in_terminal(arguments, tmp_path, stop_at="place step-1 rank-1") as terminal:
        terminal.wait_at_the_place()
        terminal.press_ctrl_c()
        # Not for our line: rank 0 may wait for rank 1, where no handler of Python's runs.
        terminal.until(lambda: "^C" in terminal.output)
        terminal.go_on()
        assert_ended(terminal, 75)

    assert terminal.output.count("SIGINT: saving at") == 1
    assert terminal.output.count("SIGINT: saved") == 1
    assert_the_same_command_finishes(arguments, tmp_path)


@pytest.mark.full
def test_a_second_ctrl_c_ends_a_rank_that_waits_for_another(
    tmp_path: Path, datasets: list[str]
) -> None:
    arguments = command(tmp_path, datasets, *TWO_RANKS)

    with in_terminal(arguments, tmp_path, stop_at="place step-1 rank-1") as terminal:
        terminal.wait_at_the_place()
        # Rank 0 is on its way to the collective, or in it.
        time.sleep(1)
        for count in (1, 2):
            terminal.press_ctrl_c()
            terminal.until(lambda count=count: terminal.output.count("^C") == count)
        assert_ended(terminal, -signal.SIGINT, 130)


@pytest.mark.full
@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_on_one_of_two_ranks_ends_both(
    tmp_path: Path, datasets: list[str], rank: int
) -> None:
    arguments = command(tmp_path, datasets, *TWO_RANKS)
    at = f"place step-1 rank-{rank}"

    with in_terminal(arguments, tmp_path, stop_at=at, stop_by="raise") as terminal:
        status = terminal.wait()
        terminal.assert_nothing_is_left()

    assert status != 0
    assert "error: on purpose" in terminal.output
