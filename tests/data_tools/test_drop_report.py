import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from data_tools.shards.drop_report import (
    Dropped,
    DropReport,
    GameShare,
    format_faults,
    format_report,
    iter_reasons,
    join_reports,
    make_report,
    read_report,
)
from nitrogen_train.data.schema import ShardError

IDLE = [Dropped(name=f"clip-{n}", game="doom", seconds=60.0, reason="idle", detail="0 % active",
                is_fault=False) for n in range(3)]  # fmt: skip
LOST = Dropped(name="run-1", reason="no video", detail="run-1.mp4 does not exist")


def test_the_commonest_reason_is_first_with_number_length_and_example() -> None:
    assert list(iter_reasons([LOST, *IDLE])) == [
        "dropped 3 (3.0 min): idle; for example clip-0: 0 % active",
        "dropped 1: no video; for example run-1: run-1.mp4 does not exist",
    ]
    assert list(iter_reasons([])) == []


def test_what_costs_no_play_is_not_called_dropped() -> None:
    seen = Dropped(name="a", reason="odd", detail="A in 45%", is_fault=False, is_told=True)

    assert list(iter_reasons([seen])) == ["noticed in 1: odd; for example a: A in 45%"]
    assert list(iter_reasons([seen, replace(seen, seconds=2.0)])) == [
        "dropped 2 (2.0 s): odd; for example a: A in 45%"
    ]


def test_reports_of_parts_join_to_that_of_the_whole() -> None:
    parts = [
        make_report([], IDLE[:1], {"rows": 1}),
        make_report([], [*IDLE[1:], LOST], {"rows": 2}),
    ]

    assert join_reports(parts) == make_report([], [*IDLE, LOST], {"rows": 3})
    assert join_reports(parts[:1]) == parts[0]


def test_a_report_shows_games_reasons_notes_and_faults() -> None:
    report = DropReport(
        games=[GameShare(game="doom", num_clips=2, kept_s=7200.0, dropped_s=180.0)],
        dropped=[*IDLE, LOST],
        notes={"rows with MOUSE_X clipped to 512": 4},
    )

    text = format_report(report)

    assert text.splitlines()[1].split() == ["doom", "2", "2.00", "h", "3.0", "min"]
    assert "dropped 3 (3.0 min): idle" in text
    assert "rows with MOUSE_X clipped to 512       4" in text
    assert text.splitlines()[-1] == "run-1: dropped: run-1.mp4 does not exist"


def test_what_was_kept_in_part_is_told_and_games_of_one_spelling() -> None:
    part = Dropped(name="a", reason="end", detail="cut off", is_fault=False, is_told=True)
    games = [
        GameShare(game=game, num_clips=1, kept_s=1.0, dropped_s=0.0) for game in ("Doom", "doom")
    ]

    text = format_report(DropReport(games=games, dropped=[part, *IDLE]))

    assert "a: kept in part: cut off" in text
    assert "clip-0: kept" not in text
    assert "differ in their spelling alone" in text


def test_a_report_is_in_the_order_of_reasons_and_names_and_without_notes_of_nothing() -> None:
    report = make_report([], [LOST, *reversed(IDLE)], {"b": 1, "a": 2, "none": 0})

    assert [item.name for item in report.dropped] == ["clip-0", "clip-1", "clip-2", "run-1"]
    assert list(report.notes.items()) == [("a", 2), ("b", 1)]


def test_a_screen_holds_a_hundred_faults_and_says_how_many_there_are_more() -> None:
    faults = [Dropped(name=f"f{n}", reason="r", detail=f"d{n}") for n in range(103)]

    lines = format_faults(faults).splitlines()

    assert len(lines) == 101
    assert lines[-1] == "and 3 more, all in report.json"


def test_a_report_is_read_as_it_was_written_also_by_an_earlier_version(tmp_path: Path) -> None:
    report = make_report([], [*IDLE, LOST])
    report.write(tmp_path / "report.json")
    assert read_report(tmp_path / "report.json") == report
    values = asdict(report)
    del values["notes"]
    for item in values["dropped"]:
        del item["is_fault"], item["is_told"]
    (tmp_path / "report.json").write_text(json.dumps(values))

    assert read_report(tmp_path / "report.json").faults == []


@pytest.mark.parametrize(
    ("text", "message"), [('{"a": 1}', "damaged"), ("x", "damaged"), (None, "gone")]
)
def test_a_report_that_cannot_be_read_is_one_line(
    tmp_path: Path, text: str | None, message: str
) -> None:
    if text is not None:
        (tmp_path / "report.json").write_text(text)

    with pytest.raises(ShardError, match=rf"report\.json is {message}: .*make it again"):
        read_report(tmp_path / "report.json")


def test_one_damaged_file_is_told_once_and_signs_are_harmless() -> None:
    twins = [Dropped(name=name, reason="r", detail="a.tar\x1b ends") for name in ("a", "b")]

    assert format_faults(twins) == "a: dropped: a.tar? ends"
