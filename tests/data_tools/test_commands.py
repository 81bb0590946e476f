import pkgutil
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import data_tools
from data_tools.__main__ import main

# Torch is on the machine, and its import fails: what a verb needs must do without.
WITHOUT_TORCH = (
    "import sys\n"
    "sys.modules['torch'] = None\n"
    "from data_tools.__main__ import main\n"
    "sys.exit(main(sys.argv[1:]))\n"
)


@pytest.mark.slow
def test_every_verb_runs_on_a_real_game_without_torch(tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        result = subprocess.run(
            [sys.executable, "-c", WITHOUT_TORCH, *arguments], capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    recordings, dataset, video = (str(tmp_path / name) for name in ("rec", "set", "clip.mp4"))

    recorded = run(
        "record", "doom_defend", "--out", recordings, "--episodes", "2", "--workers", "1"
    )
    sharded = run("shard", recordings, "--out", dataset, "--size", "64", "--workers", "1")
    verified = run("verify", dataset, "--workers", "1")
    filtered = run("filter", dataset, "--dry-run", "--workers", "1")
    counted = run("stats", dataset, "--html", str(tmp_path / "page.html"), "--workers", "1")
    shown = run("preview", dataset, "doom_defend-000001-0000", "--out", video)

    assert recorded.startswith(f"2 recordings in {recordings}, mean score ")
    assert float(recorded.splitlines()[0].split()[-1]) > 10
    assert recorded.endswith(f"next: nitrogen-data shard {recordings} --out data\n")
    assert sharded.endswith(f"next: nitrogen-data verify {dataset}\n")
    assert verified.endswith(f"{dataset}: sound\n")
    assert "are kept" in filtered
    assert "RIGHT_TRIGGER" in counted
    assert "doom_defend-000001-0000" in shown
    assert Path(video).stat().st_size > 50_000


def test_no_module_imports_torch_where_it_is_installed() -> None:
    modules = sorted(
        info.name for info in pkgutil.walk_packages(data_tools.__path__, "data_tools.")
    )
    code = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"

    assert len(modules) > 20
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def error_line(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a verb that must fail, and return its one line."""
    assert main(arguments) == 2
    lines = capsys.readouterr().err.replace("\r", "\n").splitlines()
    (line,) = [line for line in lines if line.startswith("nitrogen-data")]
    assert "Traceback" not in "".join(lines)
    return line


@pytest.mark.parametrize(
    ("start", "heavy"),
    [
        (
            "data_tools.__main__ as m; m.build_parser()",
            {"aiohttp", "av", "huggingface_hub", "PIL", "scipy"},
        ),
        ("nitrogen_train.cli.commands", {"av", "huggingface_hub", "PIL", "scipy", "torch"}),
    ],
)
def test_help_needs_no_heavy_library(start: str, heavy: set[str]) -> None:
    command = [sys.executable, "-c", f"import {start}; import sys; print(*sys.modules)"]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    assert not heavy & set(loaded)


def test_an_unknown_game_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = error_line(capsys, "record", "pong", "--out", str(tmp_path), "--episodes", "1")

    assert line.startswith("nitrogen-data record: error: unknown game 'pong'; known: blobby")


def test_missing_recordings_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = error_line(capsys, "shard", str(tmp_path / "none"), "--out", str(tmp_path / "set"))

    assert line.startswith("nitrogen-data shard: ")
    assert "is not a folder of recordings" in line


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["verify", "http://127.0.0.1:9/set"], "is a URL: verify reads every byte, of folders"),
        (["filter", ".", "--out", "../{here}"], "is the data set itself: name another folder"),
    ],
)
def test_what_a_verb_cannot_do_with_a_place_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    line: str,
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main([word.format(here=tmp_path.name) for word in words]) == 2
    assert line in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["stats", "preview"])
def test_a_missing_data_set_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    more = ["--out", str(tmp_path / "clip.mp4")] if verb == "preview" else []

    assert "manifest.parquet does not exist" in error_line(capsys, verb, str(tmp_path), *more)


def test_verify_tells_faults_by_its_exit_status(
    tmp_path: Path, write_recording: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    write_recording(tmp_path / "rec", num_frames=5)
    out_dir = str(tmp_path / "set")
    assert main(["shard", str(tmp_path / "rec"), "--out", out_dir, "--workers", "1"]) == 0
    assert main(["verify", out_dir, "--workers", "1"]) == 0
    assert "sound" in capsys.readouterr().out

    shutil.copy(tmp_path / "set" / "shard-000000.tar", tmp_path / "set" / "copy.tar")

    assert main(["verify", out_dir, "--workers", "1"]) == 1
    assert "copy.tar is not in the manifest" in capsys.readouterr().out


def test_debug_shows_where_an_error_came_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["stats", str(tmp_path), "--debug"]) == 2

    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    "verb",
    [
        "record",
        "shard",
        "merge",
        "filter",
        "verify",
        "stats",
        "preview",
        "order",
        "mixture",
        "index",
    ],
)
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])

    assert ended.value.code == 0
    assert f"nitrogen-data {verb}" in capsys.readouterr().out
