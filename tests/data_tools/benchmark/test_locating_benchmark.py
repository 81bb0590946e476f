"""The benchmark of locating compares what was found with what was drawn."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import locating
from data_tools.watching.any_skin.locate_pads import LocatedPad

BOX = (100, 100, 300, 220)


def find(box: tuple[int, int, int, int]) -> LocatedPad:
    return LocatedPad(start=0, stop=10, box=box, confidence=0.9)


def test_each_pad_has_its_best_overlap_and_what_is_none_is_a_false_find() -> None:
    found = (find(BOX), find((100, 100, 300, 200)), find((600, 400, 700, 460)))

    result = locating.compare("1-0", ("a", "b"), [BOX, (800, 0, 900, 60)], found, 0.1)

    assert result.overlaps == (1.0, 0.0)
    assert result.false_finds == 1


def test_the_table_tells_of_both_kinds_of_videos() -> None:
    results = [
        locating.compare("1-0", ("drawn-1",), [BOX], [find(BOX)], 0.1),
        locating.compare("0-0", (), [], [find(BOX)], 0.1),
        locating.compare("0-1", (), [], [], 0.1),
    ]

    table = locating.describe(results)

    assert "videos without a pad: 2, false finds in 1" in table
    assert "drawn by code          1      1.000     1.000" in table


@pytest.mark.slow
def test_videos_are_drawn_and_searched(tmp_path: Path, write_recording, monkeypatch, capsys):
    folder = tmp_path / "play"
    folder.mkdir()
    write_recording(folder)
    arguments = [str(folder), "--pads", "1", "--videos", "1", "--seconds", "2"]
    outputs = ["--clips", str(tmp_path / "clips"), "--json", str(tmp_path / "scores.json")]
    monkeypatch.setattr(sys, "argv", ["locating", *arguments, *outputs])

    locating.main()

    assert len(json.loads((tmp_path / "scores.json").read_text())["locating"]) == 2
    assert "videos without a pad: 1" in capsys.readouterr().out
