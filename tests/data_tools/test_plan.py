import json
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_tools.names import safe_key
from data_tools.recordings.recording import find_recordings
from data_tools.shards.drop_report import Dropped
from data_tools.shards.shard_plan import (
    ALL,
    Plan,
    PlannedUnit,
    ShardSettings,
    choose_heldout,
    make_plan,
)
from data_tools.shards.shard_recordings import plan_recording
from nitrogen_train.data.schema import ShardError
from nitrogen_train.runtime.atomic_files import describe_error


def plan(folder: Path, **settings: Any) -> Plan:
    recordings = find_recordings([folder])
    shaped = ShardSettings(**settings)
    facts = [recording.read_facts() for recording in recordings]
    return make_plan(
        recordings,
        partial(plan_recording, settings=shaped),
        heldout=choose_heldout([(f.game, f.session_id) for f in facts], share=shaped.heldout_share),
        settings=shaped,
        part=ALL,
        workers=1,
    )


def test_a_recording_is_cut_evenly(tmp_path: Path, write_recording: Callable) -> None:
    write_recording(tmp_path, num_frames=50)

    (clips,) = plan(tmp_path, clip_seconds=2.0).shards

    assert [clip.metadata.num_frames for clip in clips] == [17, 16, 17]
    assert [clip.metadata.clip_id for clip in clips] == ["run-0-0000", "run-0-0001", "run-0-0002"]
    spans = [(c.metadata.provenance.start_frame, c.metadata.provenance.end_frame) for c in clips]
    assert spans == [(0, 17), (17, 33), (33, 50)]
    assert [len(clip.video) for clip in clips] == [17, 16, 17]
    sticks = np.concatenate([clip.actions.rows.sticks[:, 0] for clip in clips])
    np.testing.assert_allclose(sticks, np.arange(50) / 100)


def test_disturbed_rows_are_not_valid(tmp_path: Path, write_recording: Callable) -> None:
    start = 5_000_000_000
    write_recording(tmp_path, disturbed_ns=[[start + 400_000_000, start + 600_000_000]])

    ((clip,),) = plan(tmp_path).shards

    assert np.flatnonzero(~clip.actions.valid).tolist() == [4, 5]


@pytest.mark.parametrize("num_rows", [59, 60, 61, 62])
def test_video_and_log_may_differ_by_a_row(
    tmp_path: Path, write_recording: Callable, num_rows: int
) -> None:
    # The last of 59 begins a row before the last frame, that of 62 a row after the end.
    write_recording(tmp_path, num_frames=60, num_rows=num_rows)

    ((clip,),) = plan(tmp_path).shards

    assert len(clip.actions) == 60


@pytest.mark.parametrize("num_rows", [1, 30, 58, 63, 70])
def test_video_and_log_of_different_length_are_refused(
    tmp_path: Path, write_recording: Callable, num_rows: int
) -> None:
    write_recording(tmp_path, num_frames=60, num_rows=num_rows)

    with pytest.raises(ShardError, match=r"run-0\.mp4 and run-0\.inputs\.jsonl differ in length"):
        plan(tmp_path)


@pytest.mark.parametrize("shift_ns", [-10_000_000_000, 10_000_000_000])
def test_a_log_on_another_clock_is_refused(
    tmp_path: Path, write_recording: Callable, shift_ns: int
) -> None:
    write_recording(tmp_path, video_start_ns=5_000_000_000 + shift_ns)

    with pytest.raises(ShardError, match="check video_start_ns"):
        plan(tmp_path)


def test_a_log_of_changes_may_end_with_an_empty_row(
    tmp_path: Path, write_recording: Callable
) -> None:
    rows = [{"t_ns": 0, "controls": {"SOUTH": True}}, {"t_ns": 5_900_000_000, "controls": {}}]
    write_recording(tmp_path, log_rows=rows, start_ns=0)

    ((clip,),) = plan(tmp_path).shards

    assert clip.actions.rows.buttons.any(axis=1).all()


def test_no_shard_mixes_splits_and_no_split_mixes_sessions(
    tmp_path: Path, write_recording: Callable
) -> None:
    for index in range(8):
        write_recording(tmp_path, f"run-{index}", num_frames=20, session_id=f"s{index // 2}")

    shards = plan(tmp_path, clip_seconds=1.0, heldout_share=0.3, clips_per_shard=3).shards

    assert all(len({clip.split for clip in shard}) == 1 for shard in shards)
    assert all(len(shard) <= 3 for shard in shards)
    clips = [clip for shard in shards for clip in shard]
    assert len(clips) == 16
    sides = {(clip.metadata.session_id, clip.split) for clip in clips}
    assert len(sides) == 4
    assert {split for _, split in sides} == {"train", "val"}


@pytest.mark.parametrize("share", [0.01, 0.15, 0.5, 0.99])
def test_each_game_keeps_a_session_on_either_side(share: float) -> None:
    sessions = {game: {f"{game}-{i}" for i in range(n)} for game, n in (("a", 2), ("b", 40))}

    heldout = choose_heldout(
        [(game, session) for game, ids in sessions.items() for session in ids], share=share
    )

    for ids in sessions.values():
        assert 0 < len(ids & heldout) < len(ids)
    assert len(heldout & sessions["b"]) == pytest.approx(40 * share, abs=8)


def test_a_single_session_is_for_training_and_no_share_keeps_none() -> None:
    assert choose_heldout([("a", "only")], share=0.001) == set()
    assert choose_heldout([("a", "one"), ("a", "two")], share=0.0) == set()


def test_a_session_stays_where_it_was_when_others_join() -> None:
    few = [("a", f"s{i}") for i in range(30)]
    more = [("a", f"s{i}") for i in range(60)]

    kept = {session for _, session in few}
    assert choose_heldout(few, share=0.2) == choose_heldout(more, share=0.2) & kept


def test_a_recorders_name_becomes_a_key(tmp_path: Path, write_recording: Callable) -> None:
    write_recording(tmp_path, "2024-05-01 10.30.00", num_frames=5)

    ((clip,),) = plan(tmp_path).shards

    assert clip.metadata.clip_id == "2024-05-01_10_30_00-b3ecb3ec-0000"
    assert clip.metadata.provenance.original_id == "2024-05-01 10.30.00"


@pytest.mark.parametrize(
    "names",
    [
        ("a b", "a.b"),
        ("x" * 70 + "1", "x" * 70 + "2"),
        ("あつまれ", "どうぶつ"),
        ('say "hi"', "say 'hi'"),
        ("-x", "x"),
        ("---", "--"),
        ("two\nlines", "two lines"),
    ],
)
def test_other_names_have_other_keys(
    tmp_path: Path, write_recording: Callable, names: tuple[str, str]
) -> None:
    for name in names:
        write_recording(tmp_path, name, num_frames=5)
        (tmp_path / f"{name}.json").write_text(
            (tmp_path / f"{name}.json").read_text().replace(json.dumps(name), '"one"')
        )

    (clips,) = plan(tmp_path).shards

    assert len({clip.metadata.clip_id for clip in clips}) == 2


def test_a_name_that_is_a_key_stays_as_it_is() -> None:
    assert safe_key("2024-05-01_run-3") == "2024-05-01_run-3"
    assert safe_key("x" * 70) == "x" * 70
    # A Mac's spelling of a name and everybody else's are one.
    assert safe_key(unicodedata.normalize("NFD", "é")) == safe_key("é")


def test_the_digest_is_of_settings_and_files(tmp_path: Path, write_recording: Callable) -> None:
    write_recording(tmp_path, num_frames=5)
    digest = plan(tmp_path).digest

    assert plan(tmp_path).digest == digest
    assert plan(tmp_path, size=128).digest != digest
    facts = json.loads((tmp_path / "run-0.json").read_text()) | {"licence": "MIT"}
    (tmp_path / "run-0.json").write_text(json.dumps(facts))
    assert plan(tmp_path).digest != digest


@pytest.mark.parametrize(
    "settings",
    [
        {"size": 255},
        {"size": 0},
        {"clip_seconds": 20.1},
        {"clip_seconds": 0.0},
        {"heldout_share": 1.0},
        {"clips_per_shard": 0},
    ],
    ids=str,
)
def test_a_setting_out_of_range_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings)).replace("_", "-")):
        ShardSettings(**settings)


@pytest.mark.parametrize(
    "problems",
    [
        [FileNotFoundError(2, "No such file or directory", "a")],
        [ShardError("row 3 is not JSON"), PermissionError(13, "Permission denied", "b")],
        [ShardError("row 3 is not JSON"), ShardError("no rows")],
    ],
)
@pytest.mark.parametrize("words", [str, describe_error])
def test_a_plan_knows_what_earlier_versions_called_the_unusable(
    tmp_path: Path, problems: list[Exception], words: Callable[[Exception], str]
) -> None:
    def plan_units(digests: list[str] | None) -> Plan:
        units = [unusable(tmp_path, number, problem) for number, problem in enumerate(problems)]
        if digests:
            units = [
                replace(unit, digest=digest, earlier_digests=())
                for unit, digest in zip(units, digests, strict=True)
            ]
        return make_plan(
            range(len(units)), units.__getitem__, heldout=set(), settings=ShardSettings(),
            part=ALL, workers=1,
        )  # fmt: skip

    now = plan_units(None)
    before = plan_units([f"run-{n}: {words(problem)}" for n, problem in enumerate(problems)])
    other = plan_units([f"run-{n}: something else" for n in range(len(problems))])

    assert now.digest != before.digest
    assert now.has_made(before.digest)
    assert not now.has_made(other.digest)


def unusable(folder: Path, number: int, problem: Exception) -> PlannedUnit:
    dropped = Dropped(
        name=f"run-{number}", game="g", seconds=1.0, reason="unreadable", detail=str(problem)
    )
    return PlannedUnit.unusable(
        dropped, problem, video_path=folder / f"{number}.mp4", small_paths=[]
    )
