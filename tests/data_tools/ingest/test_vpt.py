from pathlib import Path
from typing import Any

import av
import pytest
from dataset_faults import list_faults
from foreign_recordings import VPT_NAME, read_dataset, vpt_line, write_barcode_video, write_vpt
from remuxed_videos import crash

from data_tools.__main__ import main
from data_tools.ingest.vpt import find_segments, ingest_vpt
from data_tools.shards.drop_report import DropReport, format_report
from data_tools.shards.shard_plan import Part, ShardSettings
from data_tools.shards.shard_writer import join_parts
from nitrogen_train.actions.space import KEYBOARD_MOUSE, MOUSE_SCALE
from nitrogen_train.data.clip_record import Record
from nitrogen_train.data.manifest import read_manifest
from nitrogen_train.data.schema import ShardError

SETTINGS = ShardSettings(size=64, clip_seconds=0.6, heldout_share=0.0)


def ingest(folder: Path, **options: Any) -> DropReport:
    return ingest_vpt(
        [folder], out_dir=folder / "set", **({"settings": SETTINGS, "workers": 1} | options)
    )


def held(record: Record, row: int) -> set[str]:
    controls = KEYBOARD_MOUSE.controls_at(record.actions.rows, row)
    return {name for name in KEYBOARD_MOUSE.buttons if controls[name]}


def only_drop(folder: Path, **options: Any) -> tuple[str, str]:
    """Ingest a good segment beside a bad one: the reason and the detail of the loss."""
    write_vpt(folder, name="good-20220421-092639", num_frames=4)
    report = ingest(folder, **options)

    assert [share.num_clips for share in report.games] == [1]
    [dropped] = report.dropped
    assert dropped.name == VPT_NAME
    return dropped.reason, dropped.detail


def test_every_frame_has_its_row(tmp_path: Path) -> None:
    report = ingest(write_vpt(tmp_path))

    clips = read_dataset(tmp_path / "set")
    assert [len(indices) for _, indices in clips] == [10, 10, 10]
    assert [index for _, indices in clips for index in indices] == list(range(30))
    for record, indices in clips:
        rows = record.actions.rows
        assert MOUSE_SCALE.decode(rows.sticks[:, 0]).round(4).tolist() == indices
        assert MOUSE_SCALE.decode(rows.sticks[:, 1]).round(4).tolist() == [-1.0] * 10
        expected = [{"KEY_W"} if index % 2 else set() for index in indices]
        assert [held(record, row) for row in range(10)] == expected
        assert record.actions.valid.all()
    metadata = clips[1][0].metadata
    assert (metadata.action_space, metadata.game, metadata.source) == (
        "keyboard_mouse", "minecraft", "vpt",
    )  # fmt: skip
    assert metadata.session_id == "cheeky-cornflower-setter-02e496ce4abb"
    assert (metadata.provenance.start_frame, metadata.provenance.end_frame) == (10, 20)
    assert (metadata.provenance.labels, metadata.licence, metadata.fps) == ("processed", "MIT", 20)
    assert not report.dropped
    assert not report.notes
    assert not list_faults(tmp_path / "set")


def test_segments_of_a_session_stay_together(tmp_path: Path) -> None:
    for time in ("092639", "093149"):
        write_vpt(tmp_path, name=f"a-b-02e496ce4abb-20220421-{time}", num_frames=2)

    assert {pair.session_id for pair in find_segments([tmp_path])[0]} == {"a-b-02e496ce4abb"}


@pytest.mark.parametrize("num_lines", [29, 31])
def test_a_line_more_or_less_than_frames_is_left_out(tmp_path: Path, num_lines: int) -> None:
    lines = [vpt_line(index) for index in range(num_lines)]
    ingest(write_vpt(tmp_path, lines))

    rows = [int(record.metadata.num_frames) for record, _ in read_dataset(tmp_path / "set")]
    assert sum(rows) == min(num_lines, 30)


@pytest.mark.parametrize("num_lines", [0, 28, 32, 500])
def test_a_segment_of_more_or_fewer_lines_is_dropped(tmp_path: Path, num_lines: int) -> None:
    write_vpt(tmp_path, [vpt_line(index) for index in range(num_lines)])

    reason, detail = only_drop(tmp_path)

    assert reason == "lines and frames differ in number"
    assert f"{min(num_lines, 32)} lines" in detail
    assert "30 frames" in detail


def test_what_the_space_lacks_is_counted_and_what_is_too_fast_is_clipped(tmp_path: Path) -> None:
    lines = [vpt_line(index) for index in range(4)]
    lines[1] = vpt_line(
        1, mouse={"dx": -2000.0, "buttons": [1, 7]}, keyboard={"keys": ["key.keyboard.left.win"]}
    )
    report = ingest(write_vpt(tmp_path, lines, num_frames=4))

    [(record, _)] = read_dataset(tmp_path / "set")
    assert record.actions.rows.sticks[1, 0] == -1.0
    assert held(record, 1) == {"BTN_RIGHT"}
    assert report.notes == {
        "rows with MOUSE_X clipped to 512": 1,
        "rows without their key 'left.win', which the action space lacks": 1,
        "rows without their mouse button 7, which the action space lacks": 1,
    }
    assert "rows with MOUSE_X clipped to 512" in format_report(report)


BAD_LINES = {
    "no JSON": b'{"mouse": {"dx": 1',
    "nested": b"[" * 100_000,
    "a list": b"[1]",
    "a large number": b'{"mouse": {"dx": 1e999, "dy": 0}, "keyboard": {"keys": []}}',
    "digits": b'{"mouse": {"dx": 1' + b"0" * 6000 + b', "dy": 0}, "keyboard": {"keys": []}}',
    "not a number": b'{"mouse": {"dx": NaN, "dy": 0}, "keyboard": {"keys": []}}',
    "a word": b'{"mouse": {"dx": "far", "dy": 0}, "keyboard": {"keys": []}}',
    "a menu": b'{"mouse": {"dx": 0, "dy": 0}, "keyboard": {"keys": []}, "isGuiOpen": "maybe"}',
    "no dx": b'{"mouse": {"dy": 0}, "keyboard": {"keys": []}}',
    "no keys": b'{"mouse": {"dx": 0, "dy": 0}, "keyboard": {}}',
    "a key of another type": b'{"mouse": {"dx": 0, "dy": 0}, "keyboard": {"keys": [[]]}}',
    "keys of another type": b'{"mouse": {"dx": 0, "dy": 0}, "keyboard": {"keys": "w"}}',
    "a text": b'{"mouse": "left", "keyboard": {"keys": []}}',
    "buttons of another type": b'{"mouse": {"dx": 0, "dy": 0, "buttons": ["0"]}, "keyboard": {}}',
    "a slot": b'{"mouse": {"dx": 0, "dy": 0}, "keyboard": {"keys": []}, "hotbar": 9}',
    "bytes": b"\xff\xfe\x00",
    "many keys": b'{"mouse": {"dx": 0, "dy": 0}, "keyboard": {"keys": ['
    + b'"w",' * 999
    + b'"w"]}}',
    "a long line": b" " * (1024 * 1024 + 1),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_drops_the_segment(tmp_path: Path, name: str) -> None:
    lines: list[Any] = [vpt_line(index) for index in range(4)]
    lines[2] = BAD_LINES[name]
    write_vpt(tmp_path, lines, num_frames=4)

    reason, detail = only_drop(tmp_path)

    assert reason == "a line of the action file is not readable"
    assert f"{VPT_NAME}.jsonl line 3" in detail
    assert len(detail) < 500


@pytest.mark.parametrize(("suffix", "what"), [("mp4", "video"), ("jsonl", "inputs")])
def test_a_missing_file_drops_the_segment(tmp_path: Path, suffix: str, what: str) -> None:
    write_vpt(tmp_path)
    (tmp_path / f"{VPT_NAME}.{suffix}").unlink()

    assert only_drop(tmp_path)[0] == f"no {what}"


NO_VIDEO = "the video is not readable, or does not keep to 20 frames per second"


def test_a_damaged_video_drops_the_segment(tmp_path: Path) -> None:
    write_vpt(tmp_path)
    (tmp_path / f"{VPT_NAME}.mp4").write_bytes(b"no video")

    assert only_drop(tmp_path)[0] == NO_VIDEO


def test_another_frame_rate_drops_the_segment(tmp_path: Path) -> None:
    write_vpt(tmp_path)
    path = tmp_path / f"{VPT_NAME}.mp4"
    write_barcode_video(path, num_frames=30, width=160, height=90, fps=30.0)

    assert only_drop(tmp_path)[0] == NO_VIDEO


def test_a_last_frame_of_another_length_does_not_change_the_rate(tmp_path: Path) -> None:
    write_vpt(tmp_path)
    path = tmp_path / f"{VPT_NAME}.mp4"
    path.rename(tmp_path / "whole")
    with av.open(str(tmp_path / "whole")) as source, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(source.streams.video[0]) if packet.size]
        packets[-1].duration *= 20
        for packet in packets:
            packet.stream = stream
            out.mux(packet)
    with av.open(str(path)) as container:
        assert float(container.streams.video[0].average_rate or 0) < 19
    ingest(tmp_path)

    clips = read_dataset(tmp_path / "set")
    assert {record.metadata.fps for record, _ in clips} == {20.0}
    assert [index for _, indices in clips for index in indices] == list(range(30))


def test_the_lines_of_a_video_that_was_cut_off_are_kept_as_far_as_it_goes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crash(write_vpt(tmp_path / "in") / f"{VPT_NAME}.mp4")

    command = ["ingest", "vpt", str(tmp_path / "in"), "--out", str(tmp_path / "set")]
    assert main([*command, "--size", "64", "--workers", "1", "--heldout-share", "0"]) == 0

    assert f"\n{VPT_NAME}: kept in part: " in capsys.readouterr().out
    [(_, indices)] = read_dataset(tmp_path / "set")
    assert indices == list(range(len(indices)))
    assert 10 < len(indices) < 30


def test_parts_make_the_data_set_of_one_run_and_a_second_run_changes_nothing(
    tmp_path: Path,
) -> None:
    for index in range(3):
        name = f"p-{index}-20220421-092639"
        write_vpt(tmp_path / "in", [vpt_line(i, isGuiOpen=i == 3) for i in range(6)], name=name,
                  num_frames=6)  # fmt: skip
    options = {"settings": SETTINGS, "workers": 1}
    whole = ingest_vpt([tmp_path / "in"], out_dir=tmp_path / "one", **options)
    for index in range(2):
        part = Part(index=index, count=2)
        ingest_vpt([tmp_path / "in"], out_dir=tmp_path / "two", part=part, **options)
    parts = join_parts(tmp_path / "two")

    assert parts == whole
    assert whole.notes == {"rows with a menu open, not valid": 3}
    again = ingest_vpt([tmp_path / "in"], out_dir=tmp_path / "one", **options)
    assert again == whole
    with pytest.raises(ShardError, match="other recordings or settings"):
        ingest_vpt([tmp_path / "in"], out_dir=tmp_path / "one", keep_menus=True, **options)


def test_the_command_says_what_became_of_everything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_vpt(tmp_path / "in", num_frames=4)
    write_vpt(tmp_path / "in", [b"{"], name="bad-20220421-092639", num_frames=1)

    command = ["ingest", "vpt", str(tmp_path / "in"), "--out", str(tmp_path / "set")]
    assert main([*command, "--size", "64", "--workers", "1"]) == 1

    said = capsys.readouterr().out
    assert "a line of the action file is not readable" in said
    assert "\nbad-20220421-092639: dropped: " in said
    assert said.endswith("set\n")
    assert len(read_manifest(tmp_path / "set").rows()) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["missing"], "is not a folder"), (["."], "holds no NAME.mp4 or NAME.jsonl"),
     ([".", "--max-difference", "-1"], "must be at least 0")],
)  # fmt: skip
def test_a_mistake_is_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(["ingest", "vpt", *arguments, "--out", "set"]) == 2
    assert words in capsys.readouterr().err
