"""Evaluations, exports and the demo, interrupted in a terminal."""

import json
import signal
from pathlib import Path

import pytest
from terminal import Terminal, in_terminal

EVALUATE = (
    "-m", "nitrogen_train.evaluate", "policy=policy", "execution_horizon=2", "num_sampling_steps=1",
    "output_dir=eval", "frame_stride=1", "action_offset=0", "action_hz=10",
)  # fmt: skip
PLAY = ("games=[chase_game:ChaseGame]", "episodes=4", "group_size=1")
COMMANDS = {
    "play": ((*EVALUATE, *PLAY, "num_processes=2"), r"open episodes\.jsonl$"),
    "play, starting processes": ((*EVALUATE, *PLAY, "num_processes=2"), r"worker ^numpy$"),
    "play in this process": ((*EVALUATE, *PLAY, "num_processes=1"), r"rename scores\.json$"),
    "predict": ((*EVALUATE, "datasets=[DATASET]"), r"rename offline\.json$"),
    "export": (
        ("-m", "nitrogen_train.export", "policy=policy", "output_dir=exported"),
        r"rename exported$",
    ),
}
"""Arguments, and where to stop."""


@pytest.fixture
def policy_dir(tmp_path: Path) -> Path:
    from tiny_policy import build_tiny_policy

    build_tiny_policy().save_pretrained(tmp_path / "policy")
    return tmp_path


def assert_ended(terminal: Terminal, *statuses: int) -> None:
    assert terminal.wait() in statuses, terminal.output
    for word in ("Traceback", "Exception ignored", "resource_tracker"):
        assert word not in terminal.output, terminal.output
    terminal.assert_nothing_is_left()


@pytest.mark.full
@pytest.mark.parametrize(("arguments", "stop_at"), COMMANDS.values(), ids=list(COMMANDS))
def test_ctrl_c_ends_a_command_with_one_line_and_it_goes_on(
    policy_dir: Path, datasets: list[str], arguments: tuple[str, ...], stop_at: str
) -> None:
    dataset = datasets[0].partition("=")[2]
    command = [word.replace("DATASET", dataset) for word in arguments]

    with in_terminal(command, policy_dir, stop_at=stop_at) as terminal:
        terminal.wait_at_the_place()
        terminal.press_ctrl_c()
        assert_ended(terminal, 130)
    assert terminal.output.splitlines()[-1].startswith("interrupted; ")

    with in_terminal(command, policy_dir) as terminal:
        assert_ended(terminal, 0)


STAGES = """
import pathlib, sys
from examples.stages import Command, Journal, run_stages
training = Command(name="train", arguments=sys.argv[1:])
run_stages([training], Journal(pathlib.Path("stages.json")), again="make demo")
"""


@pytest.mark.full
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stage_saves_when_its_series_ends_however_it_does(
    tmp_path: Path, datasets: list[str], number: signal.Signals
) -> None:
    script = tmp_path / "series.py"
    script.write_text(STAGES)
    training = [
        "-m", "nitrogen_train.train", "experiment=demo", "loggers=csv", "trainer.accelerator=cpu",
        "output_dir=run", "data.global_batch_size=4", "data.micro_batch_size=4", *datasets,
        "data.num_val_windows=4", "num_threads=1", "max_steps=4", "schedule.warmup_steps=1",
        "schedule.decay_steps=0", "+callbacks.places._target_=places.Places",
    ]  # fmt: skip

    with in_terminal([str(script), *training], tmp_path, stop_at="place step-1 ") as terminal:
        terminal.wait_at_the_place()
        if number == signal.SIGINT:
            terminal.press_ctrl_c()
            terminal.until(lambda: "once more ends at once" in terminal.output)
        else:
            terminal.kill(number)
        if number == signal.SIGKILL:
            terminal.wait()
        terminal.go_on()
        if number != signal.SIGKILL:
            assert_ended(terminal, 128 + number)
        terminal.assert_nothing_is_left()

    saved = list((tmp_path / "run" / "checkpoints").glob("step-*.ckpt"))
    assert saved
    if number != signal.SIGKILL:
        assert "interrupted; `make demo` continues from here" in terminal.output.splitlines()[-1]
        assert not json.loads((tmp_path / "stages.json").read_text())["train"]["finished"]
