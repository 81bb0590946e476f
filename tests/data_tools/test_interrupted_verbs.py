"""Every verb of `nitrogen-data` that works for long, interrupted in a terminal, or failing."""

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from label_maker import TarballMaker
from terminal import Terminal, in_terminal

from data_tools.__main__ import main

# Inputs are in `made`, outputs in the folder of the test; reached by a worker where there are any.
VERBS = {
    "record": (
        "record toy_game:ToyGame --out rec --episodes 3 --workers 2", r"rename toy-\d+\.json$"
    ),
    "record, starting workers": (
        "record toy_game:ToyGame --out rec --episodes 3 --workers 2", r"worker ^numpy$"
    ),
    "shard": ("shard {made}/rec --out set --size 64 --workers 2", r"rename shard-000000\.tar$"),
    "shard, plan": ("shard {made}/rec --out set --size 64 --workers 2", r"open toy-\d+\.mp4$"),
    "merge": ("merge parts", r"rename manifest\.parquet$"),
    "verify": ("verify {made}/set --workers 2", r"open shard-000000\.tar$"),
    "stats": ("stats {made}/set --html page.html --workers 2", r"open shard-000000\.tar$"),
    "filter": (
        "filter {made}/set --out filtered --min-active 0 --workers 2", r"open shard-000000\.tar$"
    ),
    "index": ("index {made}/set --game g --out index", r"rename manifest\.parquet$"),
    "order": (
        "order {made}/set --global-batch-size 4 --accumulation 1",
        r"import ^nitrogen_train\.data\.order$",
    ),
    "mixture": (
        "mixture {made}/set --global-batch-size 4", r"import ^nitrogen_train\.data\.mixture$"
    ),
    "preview": ("preview {made}/set --out preview.mp4", r"open shard-000000\.tar$"),
    "export lerobot": (
        "export lerobot {made}/set --out lerobot --workers 2", r"open shard-000000\.tar$"
    ),
    "ingest lerobot": (
        "ingest lerobot {made}/lerobot --out set --size 64 --workers 2",
        r"rename shard-000000\.tar$",
    ),
    "ingest recording": (
        "ingest recording {made}/rec/toy-000100.mp4 --log {made}/rec/toy-000100.inputs.jsonl "
        "--video-start 0 --stick-y down --out ingested --game toy",
        r"rename toy-000100\.json$",
    ),
    "labels index": ("labels index {made}/labels --out labelled --workers 2", r"rename \.parquet$"),
    "labels query": (
        "labels query {made}/labelled", r"import ^data_tools\.ingest\.nitrogen\.label_index$"
    ),
}  # fmt: skip
# These need much to get further; behind this, they are the code that the others are.
AT_THE_START = {
    "ingest vpt nowhere --out set": r"import ^data_tools\.ingest\.vpt$",
    "ingest open-p2p nowhere --out set": r"import ^data_tools\.ingest\.open_p2p$",
    "ingest nitrogen nowhere --videos v --out set": (
        r"import ^data_tools\.ingest\.nitrogen\.ingest_nitrogen$"
    ),
    "videos fetch nowhere --out videos": r"import ^data_tools\.ingest\.fetch_videos$",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    for line in (
        "record toy_game:ToyGame --out rec --episodes 3 --workers 1",
        "shard rec --out set --size 64 --workers 1",
        "shard rec --out parts --size 64 --workers 1 --part 0/2",
        "shard rec --out parts --size 64 --workers 1 --part 1/2",
        "export lerobot set --out lerobot --workers 1",
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            assert main(line.split()) == 0
    maker = TarballMaker()
    for chunk in range(4):
        maker.piece("hades000000", chunk, 90 * chunk, 90 * chunk + 90, game="hades", fps=60.0)
    (folder / "labels").mkdir()
    maker.write(folder / "labels" / "SHARD_0000.tar.gz")
    labels = str(folder / "labels")
    assert main(["labels", "index", labels, "--out", f"{folder}/labelled", "--workers", "1"]) == 0
    return folder


def start_with(made: Path, folder: Path) -> Callable[[str], list[str]]:
    shutil.copytree(made / "parts", folder / "parts")
    return lambda line: ["-m", "data_tools", *line.format(made=made).split()]


def assert_ended(terminal: Terminal, *statuses: int) -> None:
    assert terminal.wait() in statuses, terminal.output
    for word in ("Traceback", "Exception ignored", "resource_tracker"):
        assert word not in terminal.output, terminal.output
    terminal.assert_nothing_is_left()


def pick(*, slow: set[str]) -> list[Any]:
    """The verbs; those that are not `slow` are for `make test-full`."""
    return [
        pytest.param(*verb, id=name, marks=pytest.mark.slow if name in slow else pytest.mark.full)
        for name, verb in VERBS.items()
    ]


@pytest.mark.parametrize(("line", "stop_at"), pick(slow={"shard"}))
def test_ctrl_c_ends_a_verb_with_one_line_and_it_goes_on(
    made: Path, tmp_path: Path, line: str, stop_at: str
) -> None:
    arguments = start_with(made, tmp_path)(line)

    with in_terminal(arguments, tmp_path, stop_at=stop_at) as terminal:
        terminal.wait_at_the_place()
        terminal.press_ctrl_c()
        assert_ended(terminal, 130)
    last = terminal.output.splitlines()[-1]
    verb, _, end = last.removeprefix("nitrogen-data ").partition(": ")
    assert line.startswith(verb)
    assert end == "interrupted; start again to go on"

    with in_terminal(arguments, tmp_path) as terminal:
        assert_ended(terminal, 0)


@pytest.mark.full
@pytest.mark.parametrize(("line", "stop_at"), AT_THE_START.items(), ids=list(AT_THE_START))
def test_ctrl_c_ends_a_verb_that_starts(tmp_path: Path, line: str, stop_at: str) -> None:
    with in_terminal(["-m", "data_tools", *line.split()], tmp_path, stop_at=stop_at) as terminal:
        terminal.wait_at_the_place()
        terminal.press_ctrl_c()
        assert_ended(terminal, 130)

    assert "interrupted" in terminal.output.splitlines()[-1]


@pytest.mark.full
def test_ctrl_c_during_the_first_imports_ends_a_verb(tmp_path: Path) -> None:
    arguments = ["-m", "data_tools", "stats", "nowhere"]

    with in_terminal(arguments, tmp_path, stop_at=r"import ^data_tools\.shards$") as terminal:
        terminal.wait_at_the_place()
        terminal.press_ctrl_c()
        assert_ended(terminal, 130)

    assert terminal.output.splitlines()[-1] == "interrupted"


@pytest.mark.parametrize(("line", "stop_at"), pick(slow=set()))
def test_an_error_ends_a_verb_and_its_workers(
    made: Path, tmp_path: Path, line: str, stop_at: str
) -> None:
    arguments = start_with(made, tmp_path)(line)

    with in_terminal(arguments, tmp_path, stop_at=stop_at, stop_by="raise") as terminal:
        terminal.wait()
        terminal.assert_nothing_is_left()

    assert "on purpose" in terminal.output


@pytest.mark.full
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_a_verb_that_is_killed(
    made: Path, tmp_path: Path, number: signal.Signals
) -> None:
    arguments = start_with(made, tmp_path)(VERBS["shard"][0])

    with in_terminal(arguments, tmp_path, stop_at=VERBS["shard"][1]) as terminal:
        terminal.wait_at_the_place()
        terminal.kill(number)
        terminal.wait()
        terminal.assert_nothing_is_left()

    if number == signal.SIGTERM:
        assert "resource_tracker" not in terminal.output
        assert "interrupted" in terminal.output.splitlines()[-1]
