import argparse
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_tools.__main__ import build_parser, main
from data_tools.command_line import propose_shard
from nitrogen_train.games import GAMES

OWN_GAME = """
from nitrogen_train.games.carracing import CarRacing
class Mine(CarRacing):
    "A game of my own: it is made for this test."
"""


def iter_verbs(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Go through all verbs that do something."""
    for action in parser._actions:
        if isinstance(action.choices, dict):
            for verb in action.choices.values():
                yield from iter_verbs(verb)
            return
    yield parser


VERBS = {verb.prog: verb for verb in iter_verbs(build_parser())}


def refusal(capsys: pytest.CaptureFixture[str], line: str) -> str:
    """Type a line that must be refused, and return the one line that comes back."""
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(line))
    assert ended.value.code == 2
    (said,) = capsys.readouterr().err.splitlines()
    return said


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("recor x", "error: VERB cannot be 'recor', did you mean record?"),
        ("ingest vtp x", "FORMAT cannot be 'vtp', expected recording or nitrogen"),
        ("record doom_defend --ouf rec", "there is no option --ouf, did you mean --out?"),
        ("record doom_defend --epis 3", "there is no option --epis, did you mean --episodes?"),
        ("record x --out r --episodes 1 --player humna", "human, did you mean human?"),
        ("filter --off meu data --dry-run", "--off cannot be 'meu', expected idle or"),
        ("filter --off", "--off: expected at least one argument"),
        ("shard a --out b --size 64 c", "c is more than expected"),
        ("shard a", "the following arguments are required: --out"),
        ("--versio", "did you mean --version?"),
        ("ingest recording a.mp4 --out o --game 'Elden Ring'", "write elden_ring"),
        ("record-screen --out o --game Celeste", "write celeste"),
        ("index tars --game Celeste", "write celeste"),
        ("ingest lerobot set --out o --filling black", "there is no option --filling"),
    ],
)
def test_a_mistake_is_one_line_with_the_right_word(
    capsys: pytest.CaptureFixture[str], line: str, message: str
) -> None:
    said = refusal(capsys, line)

    assert said.startswith("nitrogen-data")
    assert message in said
    assert said.endswith(" --help shows all)")


def test_a_mistake_names_the_verb_whose_help_shows_more(capsys: pytest.CaptureFixture[str]) -> None:
    said = refusal(capsys, "ingest recording a.mp4 --tim-unit s")

    assert "(nitrogen-data ingest recording --help shows all)" in said


def test_a_filling_is_offered_where_a_controller_may_be_hidden() -> None:
    offering = {prog for prog, verb in VERBS.items() if "--filling" in verb._option_string_actions}

    assert offering == {"nitrogen-data shard", "nitrogen-data ingest nitrogen"}


def test_a_negative_number_is_no_option() -> None:
    options = build_parser().parse_args(
        ["ingest", "recording", "a.mp4", "--out", "o", "--game", "g", "--offset-ms", "-20"]
    )
    assert options.offset_ms == -20


@pytest.mark.parametrize(
    "line",
    [
        "filter --off menu copy data",
        "filter --off menu,copy data",
        "filter --off=menu,copy data",
        "filter --off menu --off copy data",
        "filter data --off menu copy",
        "filter data --dry-run --off copy menu --workers 1",
    ],
)
def test_rules_leave_the_data_set_alone(line: str) -> None:
    options = build_parser().parse_args(shlex.split(line))

    assert (sorted(options.off), options.dataset) == (["copy", "menu"], "data")


def test_a_file_in_the_place_of_a_folder_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("")

    assert "is a file, expected a folder" in refusal(capsys, f"shard rec --out {tmp_path}/out")


@pytest.mark.parametrize("verb", VERBS.values(), ids=list(VERBS))
def test_help_fits_80_columns_and_tells_defaults_in_one_way(
    verb: argparse.ArgumentParser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = verb.format_help()

    assert max(map(len, text.splitlines())) <= 80
    assert verb.description is not None
    assert verb.description.endswith(".")
    assert not re.search(r"default: (None|False|\[\]|\))|\(\d", text)


@pytest.mark.parametrize("verb", VERBS.values(), ids=list(VERBS))
def test_every_example_of_help_is_understood(verb: argparse.ArgumentParser) -> None:
    title, *examples = (verb.epilog or "").replace("\\\n", "").splitlines()

    assert title == "examples:"
    for example in examples:
        build_parser().parse_args(shlex.split(example)[1:])


def test_help_lists_every_verb_in_groups(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main(["--help"])

    out = capsys.readouterr().out
    listed = re.findall(r"^  ([a-z-]+)  +[A-Z]", out, re.MULTILINE)
    assert sorted(listed) == sorted({name.split()[1] for name in VERBS})
    assert listed.index("record") < listed.index("shard") < listed.index("verify")
    assert max(map(len, out.splitlines())) <= 80


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])

    assert re.fullmatch(r"nitrogen-data \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_the_completion_is_a_script_that_bash_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0

    script = capsys.readouterr().out
    assert "--estimate-offset" in script
    assert "_shtab_compgen_files" in script
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0


def test_help_of_record_says_which_games_there_are() -> None:
    assert "nitrogen-data games lists" in " ".join(
        VERBS["nitrogen-data record"].format_help().split()
    )


def test_games_tells_what_each_needs_and_listens_to(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["games"]) == 0

    out = capsys.readouterr().out
    assert all(f"{name}: " in out for name in GAMES)
    assert all(
        word in out for word in ("installed here", "controls", "seeds", "licence", "module:")
    )
    assert max(map(len, out.splitlines())) <= 80


def test_games_shows_one_of_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shown_game.py").write_text(OWN_GAME)
    monkeypatch.chdir(tmp_path)

    assert main(["games", "shown_game:Mine"]) == 0
    assert "A game of my own" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere_game:Mine", "it is neither in the current folder"),
        ("broken_game:Mine", "broken_game imports it"),
        ("broken_name:Mne", "did you mean broken_name:Mine?"),
        ("doom_defnd", "did you mean doom_defend?"),
    ],
)
def test_a_game_that_cannot_be_had_is_told_why(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    message: str,
) -> None:
    (tmp_path / "broken_game.py").write_text("import no_such_package_at_all\n")
    (tmp_path / "broken_name.py").write_text(OWN_GAME)
    monkeypatch.chdir(tmp_path)

    assert main(["games", name]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "games extra" not in said


def test_an_error_of_the_system_is_said_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = str(tmp_path / "none.yaml")
    words = ["ingest", "recording", "a.mp4", "--out", "o", "--game", "g", "--columns", columns]

    assert main(words) == 2
    line = capsys.readouterr().err
    assert line == (
        f"nitrogen-data ingest recording: error: {columns}: no such file or directory\n"
    )


def test_a_mistake_in_a_pad_map_is_told_before_a_missing_pad(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["gamepads", "--watch", "--pad-map", "SOTH=BTN_EAST"]) == 2
    assert "did you mean SOUTH?" in capsys.readouterr().err


def test_a_closed_standard_output_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)

    assert main(["games"]) == 0


def test_the_next_command_takes_a_folder_that_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert propose_shard(Path("rec")) == "nitrogen-data shard rec --out data"
    (tmp_path / "data").mkdir()
    assert propose_shard(Path("rec")) == "nitrogen-data shard rec --out data_rec"
    (tmp_path / "data_rec").mkdir()
    assert propose_shard(Path("rec")) == "nitrogen-data shard rec --out data_rec-2"
