import os
from pathlib import Path
from typing import Any

import pytest
from dataset_faults import list_faults
from foreign_recordings import p2p_annotation, p2p_frame, read_dataset, write_p2p
from remuxed_videos import crash

from data_tools.__main__ import main
from data_tools.ingest.open_p2p import ingest_open_p2p, read_annotation, read_game
from data_tools.ingest.video_input_pairs import UnusableError
from data_tools.shards.drop_report import DropReport
from data_tools.shards.shard_plan import ShardSettings
from nitrogen_train.actions.space import KEYBOARD_MOUSE, MOUSE_SCALE, WHEEL_SCALE
from nitrogen_train.data.clip_record import Record

SETTINGS = ShardSettings(clip_seconds=0.5, heldout_share=0.0)
GOOD = "good"
BAD = "01993060-06a0-7352-ac0b-d77d50a1aba7"


def ingest(folder: Path, **options: Any) -> DropReport:
    return ingest_open_p2p(
        [folder],
        out_dir=folder / "set",
        **({"settings": SETTINGS, "video_name": "192x192.mp4", "workers": 1} | options),
    )


def read_one(folder: Path, frames: list[dict[str, Any]]) -> tuple[Record, DropReport]:
    report = ingest(write_p2p(folder, frames, num_frames=len(frames)))
    [(record, _)] = read_dataset(folder / "set")
    return record, report


def held(record: Record, row: int) -> set[str]:
    controls = KEYBOARD_MOUSE.controls_at(record.actions.rows, row)
    return {name for name in KEYBOARD_MOUSE.buttons if controls[name]}


def only_drop(folder: Path) -> tuple[str, str]:
    """Ingest a good recording beside a bad one: the reason and the detail of the loss."""
    write_p2p(folder, name=GOOD, num_frames=4)
    report = ingest(folder)

    assert sum(share.num_clips for share in report.games) == 1
    [dropped] = report.dropped
    assert dropped.name == BAD
    return dropped.reason, dropped.detail


def test_every_frame_has_what_was_done_until_the_next_one(tmp_path: Path) -> None:
    report = ingest(write_p2p(tmp_path))

    clips = read_dataset(tmp_path / "set")
    assert [index for _, indices in clips for index in indices] == list(range(29))
    for record, indices in clips:
        rows = record.actions.rows
        following = [index + 1 for index in indices]
        assert MOUSE_SCALE.decode(rows.sticks[:, 0]).round(4).tolist() == following
        assert MOUSE_SCALE.decode(rows.sticks[:, 1]).round(4).tolist() == [-i for i in following]
        for row, index in enumerate(following):
            assert held(record, row) == ({"KEY_W", "KEY_LEFTSHIFT"} if index % 2 else set())
        assert record.actions.valid.all()
    metadata = clips[0][0].metadata
    assert (metadata.action_space, metadata.game, metadata.source, metadata.session_id) == (
        "keyboard_mouse", "roblox-rivals", "open-p2p", BAD,
    )  # fmt: skip
    assert (metadata.width, metadata.provenance.width, metadata.licence) == (256, 192, "MIT")
    assert metadata.provenance.labels == "raw"
    assert not report.dropped
    assert not report.notes
    assert not list_faults(tmp_path / "set")


def test_buttons_and_the_wheel_have_their_places(tmp_path: Path) -> None:
    mouse = {
        "mouse_delta_px": {"x": -3, "y": 700}, "scroll_delta_px": {"y": -2},
        "buttons_down": ["0", "2"],
    }  # fmt: skip
    record, report = read_one(tmp_path, [p2p_frame(0), p2p_frame(2, user={"mouse": mouse})])

    assert held(record, 0) == {"BTN_LEFT", "BTN_MIDDLE"}
    sticks = record.actions.rows.sticks[0]
    assert MOUSE_SCALE.decode(sticks[:2]).round(3).tolist() == [-3, 512]
    assert WHEEL_SCALE.decode(sticks[2:]).round(3).tolist() == [-2]
    assert report.notes == {"rows with MOUSE_Y clipped to 512": 1}


def test_only_what_the_player_is_known_to_have_done_is_valid(tmp_path: Path) -> None:
    model = {"is_known": True, "keyboard": {"keys": ["d"]}}
    pad = {"game_pad": {"left_stick": {"x": 0.5}}}
    at_rest = {"game_pad": {"buttons": {}, "left_stick": {"x": 0.02}, "left_trigger": 0.0}}
    record, report = read_one(
        tmp_path,
        [
            p2p_frame(0),
            p2p_frame(2, user={"is_known": False}, system=model),
            p2p_frame(4, user={"is_known": False}),
            p2p_frame(6, user=pad),
            p2p_frame(8, user={"game_pad": {"buttons": {"south": True}}}),
            p2p_frame(10, user=at_rest),
        ],
    )

    assert record.actions.valid.tolist() == [False, False, False, False, True]
    assert held(record, 0) == {"KEY_D"}
    assert report.notes == {
        "rows of unknown actions, not valid": 1,
        "rows that a model played, not valid": 1,
        "rows with a gamepad in use, not valid": 2,
    }


def test_what_a_model_did_stands_before_what_the_player_did(tmp_path: Path) -> None:
    user = {"keyboard": {"keys": ["a"]}}
    system = {"is_known": True, "keyboard": {"keys": ["d"]}}

    record, _ = read_one(tmp_path, [p2p_frame(0), p2p_frame(2, user=user, system=system)])

    assert held(record, 0) == {"KEY_D"}
    assert not record.actions.valid.any()


def test_every_part_of_a_gamepad_is_seen(tmp_path: Path) -> None:
    pads = [
        {"left_trigger": 0.2}, {"right_trigger": 0.2}, {"left_stick": {"y": -0.2}},
        {"right_stick": {"x": -0.2}}, {"left_stick": {"pressed": True}},
        {"buttons": {"right_bumper": True}},
    ]  # fmt: skip
    frames = [p2p_frame(2, user={"game_pad": pad}) for pad in pads]

    record, _ = read_one(tmp_path, [p2p_frame(0), *frames, p2p_frame(2)])

    assert record.actions.valid.tolist() == [False] * len(pads) + [True]


def test_names_that_nobody_knows_are_counted(tmp_path: Path) -> None:
    user = {"keyboard": {"keys": ["VolumeUp", "e"]}, "mouse": {"buttons_down": ["7", "left"]}}

    record, report = read_one(tmp_path, [p2p_frame(0), p2p_frame(2, user=user)])

    assert held(record, 0) == {"KEY_E"}
    assert report.notes == {
        "rows without their key 'VolumeUp', which the action space lacks": 1,
        "rows without their mouse button -1, which the action space lacks": 1,
        "rows without their mouse button 7, which the action space lacks": 1,
    }


@pytest.mark.parametrize("num_annotated", [1, 29, 31])
def test_frames_that_do_not_match_drop_the_recording(tmp_path: Path, num_annotated: int) -> None:
    write_p2p(tmp_path, [p2p_frame(index) for index in range(num_annotated)])

    reason, detail = only_drop(tmp_path)

    assert reason == "annotation and video differ in their number of frames"
    assert f"has {num_annotated} frames, 192x192.mp4 30" in detail


def test_a_recording_of_one_frame_is_dropped(tmp_path: Path) -> None:
    write_p2p(tmp_path, num_frames=1)

    assert only_drop(tmp_path)[0] == "annotation and video differ in their number of frames"


def test_another_frame_rate_drops_the_recording(tmp_path: Path) -> None:
    write_p2p(tmp_path, frames_per_second=30.0)

    assert only_drop(tmp_path)[0] == "annotation and video differ in their frame rate"


WHOLE = p2p_annotation([p2p_frame(index) for index in range(30)])
DAMAGED = {
    "cut off": WHOLE[:-5],
    "a field longer than the file": WHOLE + bytes([0x1A, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20]),
    "a number that never ends": WHOLE + b"\xff" * 11,
    "a group": WHOLE + bytes([0x1B]),
    "the field 0": WHOLE + bytes([0x02, 0x00]),
    "no UTF-8": WHOLE + bytes([0x1A, 7, 0x0A, 5, 0x12, 3, 0x0A, 1, 0xFF]),
    "text": b"this is no annotation",
    "a short frame rate": bytes([0x12, 3, 0x2D, 1, 0]) + WHOLE,
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_annotation_drops_the_recording(tmp_path: Path, name: str) -> None:
    write_p2p(tmp_path, data=DAMAGED[name])

    reason, detail = only_drop(tmp_path)

    assert reason == "the annotation is not readable"
    assert "annotation.proto: " in detail


def test_an_empty_annotation_drops_the_recording(tmp_path: Path) -> None:
    write_p2p(tmp_path, data=b"")

    assert only_drop(tmp_path)[0] == "annotation and video differ in their number of frames"


def test_more_keys_than_a_keyboard_has_drop_the_recording(tmp_path: Path) -> None:
    frames = [p2p_frame(index) for index in range(30)]
    frames[3] = p2p_frame(3, user={"keyboard": {"keys": ["w"] * 201}})
    write_p2p(tmp_path, frames)

    assert "201 keys" in only_drop(tmp_path)[1]


@pytest.mark.parametrize(
    ("file", "reason"), [("192x192.mp4", "no video"), ("annotation.proto", "no inputs")]
)
def test_a_missing_file_drops_the_recording(tmp_path: Path, file: str, reason: str) -> None:
    write_p2p(tmp_path)
    (tmp_path / "dataset" / BAD / file).unlink()

    assert only_drop(tmp_path)[0] == reason


def test_another_video_of_the_recording_can_be_taken(tmp_path: Path) -> None:
    write_p2p(tmp_path)
    folder = tmp_path / "dataset" / BAD
    (folder / "192x192.mp4").rename(folder / "video.mp4")

    command = ["ingest", "open-p2p", str(tmp_path), "--out", str(tmp_path / "set")]
    options = ["--video-name", "video.mp4", "--size", "64", "--workers", "1"]
    assert main([*command, *options]) == 0

    assert len(read_dataset(tmp_path / "set")) == 1


def test_the_frames_of_a_video_that_was_cut_off_are_kept_as_far_as_it_goes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crash(write_p2p(tmp_path) / "dataset" / BAD / "192x192.mp4")

    command = ["ingest", "open-p2p", str(tmp_path), "--out", str(tmp_path / "set")]
    assert main([*command, "--workers", "1", "--heldout-share", "0"]) == 0

    assert f"\n{BAD}: kept in part: " in capsys.readouterr().out
    [(_, indices)] = read_dataset(tmp_path / "set")
    assert indices == list(range(len(indices)))
    assert 10 < len(indices) < 29


def test_a_file_that_does_not_say_its_game_has_none(tmp_path: Path) -> None:
    path = tmp_path / "annotation.proto"
    path.write_bytes(p2p_annotation([p2p_frame(0)], env={"env": "  !"}))
    assert read_game(path) == "unknown"

    path.write_bytes(p2p_annotation([p2p_frame(0)], env={"env": "Grand Theft/Auto" * 20}))
    assert read_game(path).startswith("grand-theft-auto")
    assert len(read_game(path)) <= 80


def test_numbers_are_signed(tmp_path: Path) -> None:
    path = tmp_path / "annotation.proto"
    motion = {"mouse_delta_px": {"x": -(2**31), "y": 2**31 - 1}}
    path.write_bytes(p2p_annotation([p2p_frame(0, user={"mouse": motion})]))

    [frame] = read_annotation(path).frame_annotations

    motion = frame.user_action.mouse.mouse_delta_px
    assert (motion.x, motion.y) == (-(2**31), 2**31 - 1)


GOLDEN = bytes.fromhex(
    "12 0f 2d0000a041 32 08 0a03446f6d 1a0131"  # metadata: 20 frames a second, env "Dom", version
    "1a 2d 0a 29"  # a frame, the user's action
    "12 06 0a0157 0a0171 1801"  # keys "W" and "q", known
    "22 16 1a 0d 08fdffffffffffffffff01 1007 22 02 1001 4a0130"  # mouse: -3, 7; wheel 1; button "0"
    "2a 05 250000003f"  # left trigger 0.5
    "4005"  # the frame's time, which is not read
    "3003 c23e026869"  # version 3; a text in field 1000, which nobody knows
)


def test_bytes_of_the_format_are_read_as_their_fields(tmp_path: Path) -> None:
    path = tmp_path / "annotation.proto"
    path.write_bytes(GOLDEN)

    annotation = read_annotation(path)

    [frame] = annotation.frame_annotations
    user, mouse = frame.user_action, frame.user_action.mouse
    assert (read_game(path), annotation.metadata.frames_per_second) == ("dom", 20.0)
    assert (list(user.keyboard.keys), user.is_known) == (["W", "q"], True)
    assert (mouse.mouse_delta_px.x, mouse.mouse_delta_px.y) == (-3, 7)
    assert (mouse.scroll_delta_px.y, list(mouse.buttons_down)) == (1, ["0"])
    assert user.game_pad.left_trigger == 0.5
    assert not frame.system_action.is_known


@pytest.mark.parametrize("extra", ["1801", "1001", "12032a0100"])
def test_a_field_of_another_type_is_skipped_like_one_that_is_not_known(
    tmp_path: Path, extra: str
) -> None:
    write_p2p(tmp_path, data=bytes.fromhex(extra) + WHOLE)

    assert not ingest(tmp_path).dropped


def test_a_file_that_no_message_can_have_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "annotation.proto"
    path.write_bytes(GOLDEN)
    os.truncate(path, 2**40)

    with pytest.raises(UnusableError, match="more than 2 GiB"):
        read_annotation(path)
