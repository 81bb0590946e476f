from collections.abc import Callable
from pathlib import Path

import pytest

from data_tools.__main__ import main
from data_tools.inspection.stats import compute_stats, count_dataset, format_stats


def test_the_numbers_are_those_of_the_clips(
    tmp_path: Path, write_dataset: Callable, clip_plan: Callable
) -> None:
    # Row t: stick x = t / 100, SOUTH in odd rows.
    clips = [
        clip_plan(clip_id="a", num_frames=20, session_id="one", invalid_rows=[3, 4]),
        clip_plan(clip_id="b", num_frames=20, session_id="one"),
        clip_plan(clip_id="c", num_frames=10, session_id="two", split="val"),
    ]

    train, val = compute_stats(count_dataset(write_dataset(tmp_path, clips)))

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

    table = format_stats(compute_stats(count_dataset(write_dataset(tmp_path, clips)))).splitlines()

    assert table[1].split()[:4] == ["carracing", "val", "1", "1"]
    assert table[2].split()[:4] == ["doom_defend", "train", "1", "1"]
    assert any("SOUTH" in line and "50.00%" in line for line in table)


def test_a_page_that_a_browser_would_show_as_text_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["stats", str(tmp_path), "--html", "page"]) == 2
    assert "a page is a .html file, got page" in capsys.readouterr().err
