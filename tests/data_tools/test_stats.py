from collections.abc import Callable
from pathlib import Path

import pytest
from range_server import serve_ranges

from data_tools.__main__ import main
from data_tools.inspection.stats import compute_stats, count_dataset, format_stats
from nitrogen_train.data.dataset import Dataset


def test_the_numbers_are_those_of_the_clips(
    tmp_path: Path, write_dataset: Callable, clip_plan: Callable
) -> None:
    # Row t: stick x = t / 100, SOUTH in odd rows.
    clips = [
        clip_plan(clip_id="a", num_frames=20, session_id="one", invalid_rows=[3, 4]),
        clip_plan(clip_id="b", num_frames=20, session_id="one"),
        clip_plan(clip_id="c", num_frames=10, session_id="two", split="val"),
    ]

    train, val = compute_stats(count_dataset(Dataset(write_dataset(tmp_path, clips))))

    assert (train.game, train.split, train.num_clips, train.num_sessions) == (
        "doom_defend",
        "train",
        2,
        1,
    )
    assert train.hours == pytest.approx(4 / 3600)
    assert train.valid_share == pytest.approx(38 / 40)
    # Even rows up to 10 have no button, and the stick within 0.1.
    assert train.idle_share == pytest.approx(12 / 40)
    assert train.press_rates == {"SOUTH": 0.5}
    assert train.axis_means == {"LEFT_STICK_X": pytest.approx(0.095)}
    assert (val.split, val.num_clips, val.idle_share) == ("val", 1, 0.5)


def test_the_table_names_each_group(
    tmp_path: Path, write_dataset: Callable, clip_plan: Callable
) -> None:
    clips = [clip_plan(clip_id="a"), clip_plan(clip_id="b", game="carracing", split="val")]

    counts = count_dataset(Dataset(write_dataset(tmp_path, clips)))
    table = format_stats(compute_stats(counts)).splitlines()

    assert table[1].split()[:4] == ["carracing", "val", "1", "1"]
    assert table[2].split()[:4] == ["doom_defend", "train", "1", "1"]
    assert any("SOUTH" in line and "50.00%" in line for line in table)


def test_a_page_that_a_browser_would_show_as_text_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["stats", str(tmp_path), "--html", "page"]) == 2
    assert "a page is a .html file, got page" in capsys.readouterr().err


def test_the_verbs_that_read_clips_take_a_url(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], write_dataset, clip_plan
) -> None:
    folder = write_dataset(tmp_path / "set", [clip_plan(clip_id="a"), clip_plan(clip_id="b")])

    def tell(root: str) -> str:
        assert main(["stats", root, "--html", str(tmp_path / "page.html"), "--workers", "2"]) == 0
        assert main(["preview", root]) == 0
        assert main(["filter", root, "--dry-run", "--off", "idle", "--workers", "1"]) == 0
        return capsys.readouterr().out + (tmp_path / "page.html").read_text()

    with serve_ranges() as server:
        server.files |= {f"/set/{path.name}": path.read_bytes() for path in folder.iterdir()}
        assert tell(f"{server.url}/set") == tell(str(folder))
        assert main(["stats", f"{server.url}/none"]) == 2

    error = capsys.readouterr().err
    assert "/none/manifest.parquet is missing" in error
    assert error.count("\n") == 1
