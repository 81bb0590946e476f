"""Videos that show a controller become recordings, and what shows the controller is blacked out."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jaxtyping import Float32, UInt8
from killed_command import run_until_named
from PIL import Image

from data_tools.__main__ import main
from data_tools.ingest.recording.ingest_recording import place_video
from data_tools.recordings.input_log import read_input_log
from data_tools.recordings.recording import Recording, RecordingFacts, find_recordings
from data_tools.watching.overlay_layout import OverlayLayout
from data_tools.watching.watch_videos import _Teller, list_videos
from nitrogen_train.actions import GAMEPAD
from nitrogen_train.data.dataset import Dataset
from nitrogen_train.data.encode import StreamEncoding, VideoWriter
from nitrogen_train.data.manifest import read_manifest
from nitrogen_train.data.schema import ShardError
from nitrogen_train.data.video import PyAVDecoder
from nitrogen_train.skins.open_skin import open_skin
from nitrogen_train.skins.render_skin import Renderer, composite
from nitrogen_train.skins.skin import State

FPS, NUM_FRAMES, WIDTH, HEIGHT = 20.0, 120, 320, 180
PAD_WIDTH, AT = 150, (150, 60)
OVERLAY = {
    "skin": "xbox", "layout": "xbox", "reader": "1", "opacity": 1.0, "readable": 1.0,
    "confidence": 1.0, "controls": {"SOUTH": 1.0},
}  # fmt: skip
"""Facts without what is not always known."""
AWAY = range(50, 80)
"""Frames that do not show the pad."""


def state_at(row: int) -> State:
    """What is pressed in a row."""
    return {
        "SOUTH": float(row % 12 < 5),
        "DPAD_UP": float(row % 20 in (3, 4, 5, 6)),
        "LEFT_STICK_X": float(np.sin(row / 6)),
    }


def iter_play(rng: np.random.Generator) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Yield pictures of a game: coarse patches that move."""
    coarse = rng.integers(20, 230, (18, 64, 3), dtype=np.uint8).repeat(20, axis=0)
    coarse = coarse.repeat(20, axis=1)
    for row in range(NUM_FRAMES):
        yield np.ascontiguousarray(coarse[row : row + HEIGHT, 3 * row : 3 * row + WIDTH])


def write_video(path: Path, *, has_pad: bool = True, seed: int = 0) -> Path:
    pad = Renderer(open_skin("xbox"), PAD_WIDTH)
    encoding = StreamEncoding(bitrate=1_500_000)
    with VideoWriter(path, fps=FPS, width=WIDTH, height=HEIGHT, encoding=encoding) as writer:
        for row, picture in enumerate(iter_play(np.random.default_rng(seed))):
            if has_pad and row not in AWAY:
                picture = composite(picture, pad.render(state_at(row)), AT)
            writer.write(picture)
    return path


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that shows a pad, one that shows none, and one that is no video."""
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "good.mp4")
    write_video(folder / "none.mp4", has_pad=False)
    (folder / "noise.mp4").write_bytes(b"no video" * 100)
    return folder


def watch(videos: list[Path], out: Path, *words: str) -> int:
    paths = [str(path) for path in videos]
    more = [] if "--workers" in words else ["--workers", "1"]
    return main(
        ["watch", *paths, "--out", str(out), "--game", "patches", "--skin", "xbox", *more, *words]
    )


@pytest.fixture(scope="module")
def watched(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    folder = tmp_path_factory.mktemp("watched") / "rec"
    status = watch(sorted(videos.glob("*.mp4")), folder, "--sheet", "--licence", "CC0-1.0")
    return folder, status


def read_rows(recording: Recording) -> tuple[RecordingFacts, Float32[np.ndarray, "rows a"]]:
    facts = recording.read_facts()
    log = read_input_log(recording.log_path, GAMEPAD, stick_y_axis="down")
    edges_ns = np.round(np.arange(NUM_FRAMES + 1) / FPS * 1e9).astype(np.int64)
    rows = log.rows(edges_ns, GAMEPAD).rows
    return facts, np.concatenate([rows.buttons, rows.sticks], axis=1).astype(np.float32)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }


def test_a_video_becomes_a_recording_of_what_its_pad_shows(watched: tuple[Path, int]) -> None:
    folder, _ = watched
    (recording,) = find_recordings([folder])
    facts, rows = read_rows(recording)

    assert recording.name == "good"
    overlay = facts.overlay
    assert overlay is not None
    assert (overlay.layout, overlay.lag_ms) == ("xbox", None)
    assert overlay.shifted_rows == 0
    assert overlay.skin.startswith("xbox (")
    assert overlay.opacity > 0.9
    assert overlay.readable == pytest.approx(1 - len(AWAY) / NUM_FRAMES, abs=0.05)
    assert set(overlay.controls) == set(open_skin("xbox").controls)
    ((start, stop),) = facts.disturbed_ns
    assert start / 1e9 == pytest.approx(AWAY.start / FPS, abs=0.11)
    assert stop / 1e9 == pytest.approx(AWAY.stop / FPS, abs=0.26)
    learned = [row for row in range(NUM_FRAMES) if not start / 1e9 <= row / FPS < stop / 1e9]
    for name in ("SOUTH", "DPAD_UP"):
        expected = [state_at(row)[name] for row in learned]
        assert np.mean(rows[learned, GAMEPAD.index(name)] == expected) > 0.98, name
    stick = [state_at(row)["LEFT_STICK_X"] for row in learned]
    assert np.abs(rows[learned, GAMEPAD.index("LEFT_STICK_X")] - stick).mean() < 0.06
    assert not rows[learned, GAMEPAD.index("EAST")].any()


def test_each_video_has_a_line_and_a_bad_one_stops_no_other(
    watched: tuple[Path, int], videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, status = watched

    assert status == 1
    assert watch(sorted(videos.glob("*.mp4")), folder, "--licence", "CC0-1.0") == 1
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith("good: ")]) == 1
    (good,) = [line for line in lines if line.startswith("good: ")]
    assert "kept of 6.0 s, controller of 15" in good
    assert "the controller could not be read there" in good
    assert "lag unknown (" in good
    (none,) = [line for line in lines if line.startswith("none: ")]
    assert none.startswith(
        ("none: dropped: no controller of the skin", "none: dropped: what looks most")
    )
    (noise,) = [line for line in lines if line.startswith("noise: ")]
    assert noise.startswith("noise: dropped: it is not readable as a video")
    assert any("2 videos dropped" in line for line in lines)
    report = json.loads((folder / ".watch" / "report.json").read_bytes())
    assert report["games"][0]["num_clips"] == 1
    assert {item["name"] for item in report["dropped"]} == {"good", "none", "noise"}
    assert report["games"][0]["kept_s"] == pytest.approx(4.5, abs=0.3)
    finished = (folder / ".watch" / "all.jsonl").read_text().splitlines()
    # What is no video may be copied once more; that there is no pad stays so.
    assert sorted(json.loads(line)["name"] for line in finished) == ["good", "none"]


def test_what_is_finished_is_kept_and_the_same_again_gives_the_same_bytes(
    watched: tuple[Path, int], videos: Path, tmp_path: Path
) -> None:
    folder, _ = watched
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir() if path.is_file()}
    words = ("--sheet", "--licence", "CC0-1.0")

    watch([videos / "good.mp4"], folder, *words)
    watch([videos / "good.mp4"], tmp_path / "again", *words)

    assert {path: path.stat().st_mtime_ns for path in before} == before
    again = {n: data for n, data in contents(tmp_path / "again").items() if ".watch" not in n}
    assert again == {n: data for n, data in contents(folder).items() if n in again}
    assert len(again) == 5


@pytest.mark.parametrize(
    "stop_at",
    [
        pytest.param(r"good\.json$", marks=pytest.mark.slow),
        *(
            pytest.param(pattern, marks=pytest.mark.full)
            for pattern in (
                r"good\.inputs\.parquet$", r"good\.mp4$", r"good\.sheet\.png$", r"all\.jsonl$",
                r"report\.json$",
            )
        ),
    ],
)  # fmt: skip
def test_a_killed_run_goes_on_to_the_same_bytes(
    watched: tuple[Path, int], videos: Path, tmp_path: Path, stop_at: str
) -> None:
    paths = [str(path) for path in sorted(videos.glob("*.mp4"))]
    words = ["--game", "patches", "--skin", "xbox", "--sheet", "--licence", "CC0-1.0"]
    arguments = ["watch", *paths, "--out", str(tmp_path / "rec"), *words, "--workers", "1"]

    run_until_named(stop_at, arguments)
    assert main(arguments) == 1

    assert contents(tmp_path / "rec") == contents(watched[0])


def test_other_settings_or_another_video_of_the_name_are_refused(
    watched: tuple[Path, int], videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = watched
    before = contents(folder)

    assert watch([videos / "good.mp4"], folder, "--licence", "MIT") == 1
    assert "was made with --licence CC0-1.0, now MIT" in capsys.readouterr().out
    shutil.copy(videos / "none.mp4", tmp_path / "good.mp4")
    assert watch([tmp_path / "good.mp4"], folder, "--licence", "CC0-1.0") == 1
    assert "is of another video" in capsys.readouterr().out
    # As large, and no byte of it the same but for some at its ends.
    size = (videos / "good.mp4").stat().st_size
    ends = (videos / "good.mp4").read_bytes()
    (tmp_path / "good.mp4").write_bytes(ends[:2000] + bytes(size - 4000) + ends[-2000:])
    assert watch([tmp_path / "good.mp4"], folder, "--licence", "CC0-1.0") == 1
    assert "is of another video" in capsys.readouterr().out
    assert watch([videos / "good.mp4"], videos) == 2
    assert "holds the videos: choose another folder" in capsys.readouterr().err
    after = contents(folder)
    for name in [each for each in before if "report" in each]:
        del before[name], after[name]
    assert after == before


def test_recordings_that_were_not_watched_are_left_alone(
    videos: Path, tmp_path: Path, write_recording: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    write_recording(tmp_path, "good", game="patches")
    before = contents(tmp_path)

    assert watch([videos / "good.mp4"], tmp_path) == 1

    assert "was not made by `watch`" in capsys.readouterr().out
    assert {name: contents(tmp_path)[name] for name in before} == before


def test_parts_share_the_videos(videos: Path, tmp_path: Path) -> None:
    paths = [videos / "noise.mp4", videos / "good.mp4"]

    assert watch(paths, tmp_path / "rec", "--part", "1/2") == 0
    assert watch(paths, tmp_path / "rec", "--part", "0/2") == 1

    assert [each.name for each in find_recordings([tmp_path / "rec"])] == ["good"]
    assert len(list((tmp_path / "rec" / ".watch").glob("report-part-*.json"))) == 2
    log = tmp_path / "rec" / "good.inputs.parquet"
    before = log.stat().st_mtime_ns
    assert watch(paths[1:], tmp_path / "rec") == 0
    assert log.stat().st_mtime_ns == before


def test_a_folder_stands_for_its_videos(tmp_path: Path) -> None:
    names = ("b.mp4", "a.mkv", ".half.mp4", "notes.txt")
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    alone = Path("c.mp4")

    found = list_videos([alone, tmp_path, tmp_path / "empty"])

    assert found == [alone, tmp_path / "a.mkv", tmp_path / "b.mp4", tmp_path / "empty"]


def test_the_second_video_of_a_name_is_refused(
    watched: tuple[Path, int], videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(videos / "none.mp4", tmp_path / "good.mp4")

    paths = [videos / "good.mp4", tmp_path / "good.mp4"]
    assert watch(paths, watched[0], "--licence", "CC0-1.0") == 1

    assert f"{videos / 'good.mp4'} has its name; rename one" in capsys.readouterr().out


def test_the_sheet_shows_frames_beside_what_was_read(watched: tuple[Path, int]) -> None:
    with Image.open(watched[0] / "good.sheet.png") as sheet:
        assert sheet.width > 1000
        assert sheet.height > 500


def test_the_pad_is_black_in_the_shards_and_nothing_else_is(
    watched: tuple[Path, int], videos: Path, tmp_path: Path
) -> None:
    folder, _ = watched
    main(["shard", str(folder), "--out", str(tmp_path / "set"), "--size", "180", "--workers", "1"])

    (row,) = read_manifest(tmp_path / "set").rows()
    record = Dataset(tmp_path / "set").read(row)
    ((left, top, width, height),) = record.metadata.masked_boxes
    pad_height = Renderer(open_skin("xbox"), PAD_WIDTH).size[1]
    assert left <= AT[0] - 2
    assert top <= AT[1] - 2
    assert left + width >= AT[0] + PAD_WIDTH + 2
    assert top + height >= AT[1] + pad_height + 2
    assert width <= PAD_WIDTH + 8
    assert height <= pad_height + 8
    frames = PyAVDecoder().decode(record.video).astype(int)
    x, y = 180 / WIDTH, 180 / HEIGHT
    inside = frames[
        :, round(top * y) : round((top + height) * y), round(left * x) : round((left + width) * x)
    ]
    assert np.mean(inside) < 3
    assert inside[:, 2:-2, 2:-2].max() < 40
    outside = frames[:, :, : int(left * x) - 3]
    assert outside.mean() > 60
    assert record.actions.valid.sum() == pytest.approx(NUM_FRAMES - len(AWAY), abs=6)


def test_a_clip_is_blacked_out_where_any_box_of_its_time_lies(
    tmp_path: Path, write_recording: Callable
) -> None:
    start = 5_000_000_000
    masks = [
        {"start_ns": start, "stop_ns": start + 10**9, "box": [0, 0, 16, 16]},
        {"start_ns": start + 10**9, "stop_ns": start + 4 * 10**9, "box": [32, 24, 16, 24]},
    ]
    (tmp_path / "rec").mkdir()
    write_recording(tmp_path / "rec", num_frames=60, masked_boxes=masks)

    main(
        ["shard", str(tmp_path / "rec"), "--out", str(tmp_path / "set"), "--size", "64",
         "--clip-seconds", "2", "--workers", "1"]
    )  # fmt: skip

    rows = sorted(read_manifest(tmp_path / "set").rows(), key=lambda row: row.clip_id)
    boxes = [Dataset(tmp_path / "set").read(row).metadata.masked_boxes for row in rows]
    assert boxes == [((0, 0, 16, 16), (32, 24, 16, 24)), ((32, 24, 16, 24),), ()]


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"masked_boxes": [[0, 1, 2]]}, "masked_boxes must hold objects"),
        ({"masked_boxes": [{"start_ns": 5, "stop_ns": 5, "box": [0, 0, 1, 1]}]}, "masked_boxes"),
        ({"masked_boxes": [{"start_ns": 0, "stop_ns": 5, "box": [0, 0, 0, 1]}]}, "masked_boxes"),
        ({"masked_boxes": "x"}, "masked_boxes must hold objects"),
        ({"overlay": []}, "overlay must be an object of skin"),
        ({"overlay": {"skin": "xbox"}}, "overlay must be an object of skin"),
        ({"overlay": OVERLAY | {"shifted_rows": 0.5}}, "overlay must be an object of skin"),
        ({"overlay": OVERLAY | {"lag_confidence": "1"}}, "overlay must be an object of skin"),
    ],
)
def test_facts_on_overlays_of_strangers_are_checked(facts: dict[str, Any], said: str) -> None:
    values = {
        "schema_version": 1, "video_start_ns": 0, "game": "g", "session_id": "s",
        "stick_y_axis": "down",
    }  # fmt: skip

    with pytest.raises(ShardError, match=said):
        RecordingFacts.from_json(json.dumps(values | facts).encode(), what="a.json")


def test_facts_on_overlays_may_lack_what_is_not_always_known() -> None:
    values = {
        "schema_version": 1, "video_start_ns": 0, "game": "g", "session_id": "s",
        "stick_y_axis": "down", "overlay": OVERLAY,
    }  # fmt: skip

    overlay = RecordingFacts.from_json(json.dumps(values).encode(), what="a.json").overlay

    assert overlay is not None
    assert (overlay.lag_ms, overlay.shifted_rows) == (None, 0)


def test_facts_on_overlays_are_written_and_read(watched: tuple[Path, int], tmp_path: Path) -> None:
    facts = RecordingFacts.from_json((watched[0] / "good.json").read_bytes(), what="good.json")

    facts.write(tmp_path / "a.json")
    replace(facts, overlay=None, masked_boxes=()).write(tmp_path / "b.json")

    assert RecordingFacts.from_json((tmp_path / "a.json").read_bytes(), what="a.json") == facts
    assert "overlay" not in json.loads((tmp_path / "b.json").read_bytes())


def test_a_box_outside_of_the_picture_is_named(
    tmp_path: Path, write_recording: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = [{"start_ns": 0, "stop_ns": 10**10, "box": [60, 0, 16, 16]}]
    write_recording(tmp_path, masked_boxes=masks)

    assert main(["shard", str(tmp_path), "--out", f"{tmp_path}/set", "--workers", "1"]) == 2
    assert "the masked box [60, 0, 16, 16] is not inside the picture" in capsys.readouterr().err


def test_a_layout_names_the_place_and_the_controls_that_are_read(
    watched: tuple[Path, int], videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = OverlayLayout.read(watched[0] / "good.layout.json")
    places = {name: found.places[name] for name in ("SOUTH", "LEFT_STICK")}
    travels = {"LEFT_STICK": found.travels["LEFT_STICK"]}
    replace(found, places=places, travels=travels).write(tmp_path / "mine.json")

    assert watch([videos / "good.mp4"], tmp_path / "rec", "--layout", f"{tmp_path}/mine.json") == 0

    assert abs(found.box[0] - AT[0]) <= 2
    assert abs(found.box[2] - AT[0] - PAD_WIDTH) <= 2
    (recording,) = find_recordings([tmp_path / "rec"])
    log = read_input_log(recording.log_path, GAMEPAD, stick_y_axis="down")
    assert set(log.tracks) == {"SOUTH", "LEFT_STICK_X", "LEFT_STICK_Y"}
    (tmp_path / "mine.json").write_text("{}")
    assert watch([videos / "good.mp4"], tmp_path / "rec", "--layout", f"{tmp_path}/mine.json") == 2
    assert "mine.json lacks layout, picture" in capsys.readouterr().err


def test_a_box_outside_of_the_picture_is_said_before_reading(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert watch([videos / "good.mp4"], tmp_path / "rec", "--box", "300,100,90,60") == 1

    line = capsys.readouterr().out.splitlines()[0]
    assert line == (
        "good: dropped: --box must lie inside of the picture of 320x180 pixels, got X,Y,W,H = "
        "300,100,90,60"
    )
    with pytest.raises(SystemExit):
        watch([videos / "good.mp4"], tmp_path / "rec", "--game", "")
    assert "a game is written in small letters" in capsys.readouterr().err


def test_long_videos_say_how_much_of_them_has_been_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    times = iter([0.0, 10.0, 70.0, 80.0, 200.0])
    monkeypatch.setattr("data_tools.watching.watch_videos.time.monotonic", lambda: next(times))

    teller = _Teller("a.mp4", 400)
    for _ in range(4):
        teller.count(100)

    # At its end the report line says it.
    assert capsys.readouterr().err == "a.mp4: 50% read, eta 1:10\n"


@pytest.mark.full
def test_labels_alone_are_read_back_by_ingest_nitrogen(
    watched: tuple[Path, int], videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["watch", str(videos / "good.mp4"), "--game", "patches", "--skin", "xbox"]
    labels, alone = tmp_path / "labels", tmp_path / "videos"
    words += ["--labels", str(labels), "--workers", "1"]
    assert main(words) == 0
    assert f"1 tarball, 4.5 s to learn from, in {labels}" in capsys.readouterr().out
    assert [path.name for path in labels.iterdir() if path.is_file()] == ["good.tar.gz"]
    packed = (labels / "good.tar.gz").read_bytes()
    alone.mkdir()
    shutil.copy(videos / "good.mp4", alone)

    status = main(
        ["ingest", "nitrogen", str(labels), "--videos", str(alone), "--out", str(tmp_path / "set"),
         "--size", "180", "--workers", "1"]
    )  # fmt: skip

    assert status == 0
    (recording,) = find_recordings([watched[0]])
    facts, rows = read_rows(recording)
    dataset = Dataset(tmp_path / "set")
    clips = sorted(read_manifest(tmp_path / "set").rows(), key=lambda row: row.clip_id)
    covered = np.zeros(NUM_FRAMES, bool)
    for row in clips:
        record = dataset.read(row)
        first, last = record.metadata.provenance.start_frame, record.metadata.provenance.end_frame
        covered[first:last] = True
        read = np.concatenate([record.actions.rows.buttons, record.actions.rows.sticks], axis=1)
        np.testing.assert_allclose(read, rows[first:last], atol=1e-6)
        assert record.metadata.masked_boxes == tuple(mask.box for mask in facts.masked_boxes)
        assert record.metadata.game == "patches"
    ((start, stop),) = facts.disturbed_ns
    starts_ns = np.round(np.arange(NUM_FRAMES) / FPS * 1e9)
    assert covered.tolist() == ((starts_ns < start) | (starts_ns >= stop)).tolist()
    # The same once more, also after a kill before the ledger knew it.
    shutil.rmtree(labels / ".watch")
    assert main(words) == 0
    assert (labels / "good.tar.gz").read_bytes() == packed


def test_tarballs_of_others_and_names_that_labels_cannot_have_are_refused(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def label(path: Path, *words: str) -> int:
        more = ["--labels", str(tmp_path / "labels"), "--workers", "1", *words]
        return main(["watch", str(path), "--game", "patches", "--skin", "xbox", *more])

    shutil.copy(videos / "none.mp4", tmp_path / "two words.mp4")
    assert label(tmp_path / "two words.mp4") == 1
    assert "labels name a video by up to 64 of" in capsys.readouterr().out
    (tmp_path / "labels" / "good.tar.gz").write_bytes(b"of somebody else")
    assert label(videos / "good.mp4") == 1
    assert "was not made by `watch`" in capsys.readouterr().out
    assert (tmp_path / "labels" / "good.tar.gz").read_bytes() == b"of somebody else"
    assert label(videos / "good.mp4", "--copy") == 2
    assert "leave out --copy, --session and --licence" in capsys.readouterr().err


def test_a_box_that_goes_within_a_clip_is_black_in_all_of_it(
    tmp_path: Path, write_recording: Callable
) -> None:
    start = 5_000_000_000
    masks = [{"start_ns": start, "stop_ns": start + 5 * 10**8, "box": [8, 6, 24, 18]}]
    (tmp_path / "rec").mkdir()
    write_recording(tmp_path / "rec", num_frames=60, masked_boxes=masks)

    main(
        ["shard", str(tmp_path / "rec"), "--out", str(tmp_path / "set"), "--size", "64",
         "--clip-seconds", "2", "--workers", "1"]
    )  # fmt: skip

    rows = sorted(read_manifest(tmp_path / "set").rows(), key=lambda row: row.clip_id)
    records = [Dataset(tmp_path / "set").read(row) for row in rows]
    assert [record.metadata.masked_boxes for record in records] == [((8, 6, 24, 18),), (), ()]
    frames = PyAVDecoder().decode(records[0].video).astype(int)
    across, down = frames.shape[2] / 64, frames.shape[1] / 48
    inside = frames[:, round(9 * down) : round(21 * down), round(11 * across) : round(29 * across)]
    assert inside.max() < 40
    assert len(frames) == records[0].metadata.num_frames
    later = PyAVDecoder().decode(records[1].video).astype(int)
    assert later[:, round(9 * down) : round(21 * down)].max() > 60


def test_a_pipe_stops_no_other_video(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    shutil.copy(videos / "none.mp4", tmp_path / "none.mp4")

    assert watch([tmp_path], tmp_path / "out") == 1

    told = capsys.readouterr().out
    assert "pipe: dropped: it is a pipe, expected a file" in told
    assert "none: dropped: " in told


def test_of_a_symlink_the_file_is_linked(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    link = tmp_path / "given" / "good.mp4"
    link.symlink_to(os.path.relpath(videos / "good.mp4", link.parent))

    place_video(link, tmp_path / "deep" / "er" / "good.mp4", copy=False)

    placed = tmp_path / "deep" / "er" / "good.mp4"
    assert placed.read_bytes() == (videos / "good.mp4").read_bytes()
    assert not placed.is_symlink()
