import functools
import http.server
import io
import json
import pickle
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

from data_tools.__main__ import main
from data_tools.ingest.tar_index import ForeignFacts, format_report, index_shards
from data_tools.inspection.clip_checks import examine_clip
from data_tools.inspection.read_run import choose_run
from nitrogen_train.actions import GAMEPAD
from nitrogen_train.data.clip_reader import ClipReader, Quarantine
from nitrogen_train.data.collate import WindowCollator
from nitrogen_train.data.dataset import Dataset
from nitrogen_train.data.encode import encode_video
from nitrogen_train.data.manifest import read_manifest
from nitrogen_train.data.order import BatchShape, Share
from nitrogen_train.data.schema import ShardError
from nitrogen_train.data.stored_clips import ACTION_DECODERS
from nitrogen_train.data.stream import TrainingLoader, TrainingStream
from nitrogen_train.data.video import choose_decoder
from nitrogen_train.run.data_of_run import build_plan

STICK = GAMEPAD.index("LEFT_STICK_X")
FACTS = ForeignFacts(game="foreign", source="elsewhere", val_share=0.0)

# In a process of its own: webdataset imports torch, and warns.
WRITE_SHARD = """
import pickle, sys, webdataset
with webdataset.TarWriter(sys.argv[1]) as writer:
    for sample in pickle.load(sys.stdin.buffer):
        writer.write(sample)
"""


@functools.cache
def video(num_frames: int = 20) -> bytes:
    """Frame t is grey of brightness 2 * t."""
    frames = (np.full((64, 64, 3), 2 * t, np.uint8) for t in range(num_frames))
    return encode_video(frames, fps=10.0, width=64, height=64)


def picture(shade: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((48, 64, 3), shade, np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def values(num_rows: int = 20) -> np.ndarray:
    """Row t's left stick x is t / 100, SOUTH is down in odd rows."""
    array = np.zeros((num_rows, GAMEPAD.action_dim), np.float32)
    array[:, STICK] = np.arange(num_rows) / 100
    array[1::2, GAMEPAD.index("SOUTH")] = 1
    return array


def npy(array: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def json_rows(num_rows: int = 20) -> bytes:
    rows = [{"left_stick_x": t / 100, "SOUTH": t % 2 == 1} for t in range(num_rows)]
    return json.dumps(rows).encode()


def json_columns(num_rows: int = 20) -> bytes:
    columns = {
        "LEFT_STICK_X": [t / 100 for t in range(num_rows)],
        "SOUTH": [t % 2 for t in range(num_rows)],
        "valid": [t != 5 for t in range(num_rows)],
    }
    return json.dumps(columns).encode()


def pack(path: Path, members: list[tuple[str, bytes]], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **options) as archive:
        for name, data in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def dropped(folder: Path, facts: ForeignFacts = FACTS) -> dict[str, list[str]]:
    """Index a folder, in which one sound record is added, and tell what was left out."""
    pack(folder / "sound.tar", [("a.mp4", video()), ("a.npy", npy(values()))])
    found = index_shards(str(folder), out_dir=None, facts=facts)
    assert sum(len(tar.rows) for tar in found) == len(read_manifest(folder)) >= 1
    texts: dict[str, list[str]] = {}
    for item in (item for tar in found for item in tar.dropped):
        texts.setdefault(item.reason, []).append(f"{item.name}: {item.detail}")
    return texts


def test_a_clips_rate_is_that_of_its_frames_not_the_average(tmp_path: Path) -> None:
    # A last frame that lasts longer makes 49.95 of 50, or 9.5 of 10.
    with av.open(io.BytesIO(video()), "r") as source, av.open(str(tmp_path / "a.mp4"), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(source.streams.video[0]) if packet.size]
        packets[-1].duration *= 2
        for packet in packets:
            packet.stream = stream
            out.mux(packet)
    data = (tmp_path / "a.mp4").read_bytes()
    with av.open(io.BytesIO(data), "r") as container:
        assert float(container.streams.video[0].average_rate or 0) < 9.9
    pack(tmp_path / "a.tar", [("a.mp4", data), ("a.npy", npy(values()))])

    ((row,),) = (tar.rows for tar in index_shards(str(tmp_path), out_dir=None, facts=FACTS))

    assert row.fps == 10.0


@pytest.mark.slow
def test_webdatasets_own_shards_are_indexed_and_trained_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "foreign"
    folder.mkdir()
    actions = {
        "actions.json": [json_rows(), json_columns()], "npy": [npy(values())],
        "npz": [npz(x=values()), npz(actions=values(), valid=np.arange(20) != 5)],
    }  # fmt: skip
    kinds = [(suffix, data) for suffix, each in actions.items() for data in each]
    for number in range(2):
        samples = [
            {
                "__key__": f"lap{index % 2}/clip {index}", "mp4": video(), suffix: data,
                "json": b'{"camera": 1}', "txt": b"left unread", "a.b.long.name": b"x" * 700,
            }
            for index, (suffix, data) in enumerate(kinds)
        ]  # fmt: skip
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", WRITE_SHARD, str(folder / f"s-{number}.tar")],
            input=pickle.dumps(samples), check=True,
        )  # fmt: skip
    before = {path: path.read_bytes() for path in folder.glob("*.tar")}

    status = main(
        ["index", str(folder), "--game", "kart", "--session-from-key", r"^(lap\d)", "--licence",
         "CC0-1.0", "--val-share", "0.3"]
    )  # fmt: skip

    assert status == 0
    assert "2 tars, 10 records: 10 kept (" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in folder.glob("*.tar")} == before
    assert {path.name for path in folder.iterdir()} == {"s-0.tar", "s-1.tar", "manifest.parquet"}
    rows = read_manifest(folder).rows()
    assert {(row.game, row.source, row.licence, row.fps, row.width) for row in rows} == {
        ("kart", "foreign", "CC0-1.0", 10.0, 64)
    }
    assert {(row.session_id, row.split) for row in rows} == {
        ("lap0", "train"),
        ("lap1", "val"),
    } or {(row.session_id, row.split) for row in rows} == {("lap0", "val"), ("lap1", "train")}
    for row in rows:
        clip = Dataset(folder).read(row)
        np.testing.assert_array_equal(clip.actions.rows.sticks[:, 0], values()[:, STICK])
        assert clip.actions.rows.buttons[:, GAMEPAD.index("SOUTH")].tolist() == [False, True] * 10
        assert row.num_valid_rows == clip.actions.valid.sum() in (19, 20)
    check_stream(folder)


def check_stream(folder: Path) -> None:
    config = choose_run(datasets=[str(folder)], global_batch_size=8)
    plan = build_plan(config)
    stream = TrainingStream(
        plan=plan,
        share=Share(
            shape=BatchShape(global_batch_size=8, micro_batch_size=4, world_size=1), rank=0
        ),
        reader=ClipReader(space=GAMEPAD, decoder=choose_decoder("pyav"), image_size=64),
        collator=WindowCollator(space=GAMEPAD, games=["kart"], seed=0),
        max_kept_bytes=0,
    )
    quarantine = Quarantine(folder / "quarantine.jsonl", max_share=0.0)
    loader = TrainingLoader(
        stream, num_workers=0, prefetch_factor=2, pin_memory=False, quarantine=quarantine
    )
    for batch in islice(loader, 6):
        assert batch.window_ids == batch.planned_window_ids
        for i, window_id in enumerate(batch.window_ids):
            shade = batch.frames[i].float().mean()
            torch.testing.assert_close(shade, torch.tensor(2.0 * window_id.frame), atol=1.1, rtol=0)
            x = batch.actions[i, 0, STICK] * 2 - 1
            first = window_id.frame + config.data.action_offset
            torch.testing.assert_close(x, torch.tensor(first / 100), atol=1e-6, rtol=0)
            assert batch.action_mask[i, 0].any()
        assert batch.game_id.tolist() == [1] * 4


def test_pictures_are_clips_of_one_frame(tmp_path: Path) -> None:
    members = [
        (f"{t:03}.{suffix}", data)
        for t in range(3)
        for suffix, data in (("jpg", picture(50 * t)), ("npy", npy(values(4)[t : t + 1])))
    ]
    pack(tmp_path / "pictures.tar", members)

    index_shards(str(tmp_path), out_dir=None, facts=ForeignFacts(game="g", source="s", fps=5.0))

    rows = read_manifest(tmp_path).rows()
    reader = ClipReader(space=GAMEPAD, decoder=choose_decoder("pyav"), image_size=64)
    assert [(row.num_frames, row.fps, row.width, row.height) for row in rows] == [
        (1, 5.0, 64, 48)
    ] * 3
    for t, row in enumerate(rows):
        clip = reader.decode(reader.fetch(Dataset(tmp_path), row))
        assert abs(clip.frames.mean() - 50 * t) < 2
        assert clip.values[0, STICK] == pytest.approx((t / 100 + 1) / 2)


def test_our_own_shards_keep_what_they_say(
    tmp_path: Path, write_dataset: Callable[..., Path], clip_plan: Any
) -> None:
    write_dataset(tmp_path, [clip_plan(clip_id="a", session_id="one"), clip_plan(clip_id="b")])
    before = read_manifest(tmp_path)

    index_shards(str(tmp_path), out_dir=None, facts=FACTS)

    assert read_manifest(tmp_path).hash == before.hash


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names_folders_and_other_files_are_passed_over(tmp_path: Path, format: int) -> None:
    key = f"./{'folder/' * 20}clip"
    members = [
        ("README", b"no suffix"), (f"{key}.mp4", video()), (f"{key}.npy", npy(values())),
        ("LICENSE", b"nor here"), ("z.jpg", picture()), ("z.npy", npy(values(1))),
    ]  # fmt: skip
    pack(tmp_path / "s.tar", members, format=format)

    (tar,) = index_shards(
        str(tmp_path), out_dir=None, facts=ForeignFacts(game="g", source="s", fps=1.0)
    )

    assert (tar.num_records, tar.dropped, tar.fault) == (2, [], None)
    for row in read_manifest(tmp_path).rows():
        assert len(Dataset(tmp_path).read(row).actions) == row.num_frames


BAD_RECORDS = {
    "no picture": ({"npy": npy(values())}, "picture", "got none"),
    "two pictures": ({"mp4": video(), "jpg": picture(), "npy": npy(values())}, "picture", "'jpg'"),
    "no actions": ({"mp4": video()}, "actions", "got none"),
    "two actions": (
        {"mp4": video(), "npy": npy(values()), "npz": npz(a=values())}, "actions", "'npz'",
    ),
    "fewer rows": ({"mp4": video(), "npy": npy(values(19))}, "length", "20 frames and 19 rows"),
    "damaged video": ({"mp4": video()[:900], "npy": npy(values())}, "video", "video"),
    "no rate": ({"jpg": picture(), "npy": npy(values(1))}, "fps", "give --fps"),
    "a pickle": (
        {"mp4": video(), "npy": npy(np.array([{}] * 20), allow_pickle=True)}, "actions", "object",
    ),
    "a chunk for a picture": ({"jpg": picture(), "npy": npy(values(8))}, "fps", "--fps"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_RECORDS)
def test_what_cannot_be_used_is_dropped_and_said(tmp_path: Path, name: str) -> None:
    members, cause, text = BAD_RECORDS[name]
    pack(tmp_path / "bad.tar", [(f"bad.{suffix}", data) for suffix, data in members.items()])

    found = dropped(tmp_path)

    assert list(found) == [cause]
    assert found[cause][0].startswith("bad.tar, key 'bad': ")
    assert text in found[cause][0]


def bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("actions.npy", bytes(40 * 2**20))
    return buffer.getvalue()


HEADER = npy(values())
BAD_ACTIONS = {
    "another width": ("npy", npy(values()[:, :3]), r"\(rows, 25\)"),
    "out of range": ("npy", npy(values() * 1000), "must lie in"),
    "not finite": ("npy", npy(values() * np.nan), "must lie in"),
    "a text": ("npy", b"hello", "not readable as npy"),
    "fewer bytes than said": ("npy", HEADER[:-4], "holds numbers"),
    "a huge claim": ("npy", HEADER.replace(b"(20, 25)", b"(2**40,)"), "npy"),
    "more than it seems": ("npz", bomb(), "unpack to more than"),
    "no zip": ("npz", b"PK", "not readable as npz"),
    "which array": ("npz", npz(a=values(), b=values()), "got \\['a', 'b'\\]"),
    "short valid": ("npz", npz(actions=values(), valid=np.ones(3)), "one value a row"),
    "no JSON": ("actions.json", b"{", "not JSON"),
    "deep JSON": ("actions.json", b"[" * 200_000, "not JSON"),
    "a number": ("actions.json", b"3", "rows or lists"),
    "no rows": ("actions.json", b"[]", "one length"),
    "unknown control": ("actions.json", b'[{"SOUHT": 1}]', "did you mean SOUTH"),
    "a text for a number": ("actions.json", b'[{"SOUTH": "yes"}]', "row 1: .* got 'yes'"),
    "a large number": (
        "actions.json",
        b'[{"SOUTH": 1' + b"0" * 400 + b"}]",
        "row 1: expected a finite",
    ),
    "uneven columns": ("actions.json", b'{"SOUTH": [1], "EAST": []}', "one length"),
}


@pytest.mark.parametrize("name", BAD_ACTIONS)
def test_bad_actions_are_refused(name: str) -> None:
    suffix, data, message = BAD_ACTIONS[name]

    with pytest.raises(ShardError, match=message):
        ACTION_DECODERS[suffix](data, GAMEPAD)


def test_members_that_are_not_neighbours_are_refused_by_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    members = [("a.mp4", video()), ("b.mp4", video()), ("a.npy", npy(values()))]
    pack(tmp_path / "s.tar", members)

    assert main(["index", str(tmp_path), "--game", "g"]) == 2

    assert "s.tar: the members of key 'a' are not neighbours" in capsys.readouterr().err
    assert not (tmp_path / "manifest.parquet").exists()


def test_the_same_index_again_is_done_and_reads_no_tar(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack(tmp_path / "a.tar", [("a.mp4", video()), ("a.npy", npy(values()))])
    command = ["index", str(tmp_path), "--game", "kart"]
    assert main(command) == 0
    before = (tmp_path / "manifest.parquet").stat().st_mtime_ns
    capsys.readouterr()

    assert main(command) == 0

    assert "done before: 1 tar, 1 record: 1 kept" in capsys.readouterr().out
    assert (tmp_path / "manifest.parquet").stat().st_mtime_ns == before


def test_what_a_mac_leaves_beside_each_file_is_no_tar(tmp_path: Path) -> None:
    pack(tmp_path / "a.tar", [("a.mp4", video()), ("a.npy", npy(values()))])
    (tmp_path / "._a.tar").write_bytes(b"\0\5\x16\7Mac OS X")

    assert main(["index", str(tmp_path), "--game", "kart"]) == 0


def test_a_sound_index_is_verified_and_a_damaged_tar_is_to_be_indexed_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack(tmp_path / "a.tar", [("a.mp4", video()), ("a.npy", npy(values()))])
    assert main(["index", str(tmp_path), "--game", "kart"]) == 0
    assert main(["verify", str(tmp_path), "--workers", "1"]) == 0
    data = bytearray((tmp_path / "a.tar").read_bytes())
    data[600] ^= 1
    (tmp_path / "a.tar").write_bytes(data)
    capsys.readouterr()

    assert main(["verify", str(tmp_path), "--workers", "1"]) == 1

    said = capsys.readouterr().out
    assert "copy a.tar again, or index again" in said
    assert "shard" not in said


def test_a_tar_that_came_later_is_indexed(tmp_path: Path) -> None:
    for number, name in enumerate(("a", "b"), start=1):
        pack(tmp_path / f"{name}.tar", [("a.mp4", video()), ("a.npy", npy(values()))])

        assert main(["index", str(tmp_path), "--game", "kart"]) == 0

        assert len(read_manifest(tmp_path)) == number


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--game", "cart"], "with --game kart, now cart"),
        (["--game", "kart", "--fps", "30"], "with --fps (none), now 30.0"),
        (["--game", "kart", "--val-share", "0"], "with --val-share 0.15, now 0.0"),
    ],
)
def test_an_index_with_other_options_replaces_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    pack(tmp_path / "a.tar", [("a.mp4", video()), ("a.npy", npy(values()))])
    assert main(["index", str(tmp_path), "--game", "kart"]) == 0
    before = (tmp_path / "manifest.parquet").read_bytes()

    assert main(["index", str(tmp_path), *options]) == 2

    assert words in capsys.readouterr().err
    assert (tmp_path / "manifest.parquet").read_bytes() == before


def test_the_manifest_of_a_sharded_set_is_not_replaced(
    tmp_path: Path, write_clips: Callable, make_clip: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_clips(tmp_path / "set", [make_clip("a")])

    assert main(["index", str(folder), "--game", "kart"]) == 2

    assert "was not made by `index`" in capsys.readouterr().err


def test_a_bad_tar_or_folder_stops_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = [("a.mp4", video()), ("a.npy", npy(values()))]
    pack(tmp_path / "set" / "good.tar", good)
    pack(tmp_path / "set" / "mixed.tar", [*good, ("b.mp4", video()), ("a.json", b"{}")])
    pack(tmp_path / "set" / "not a name.tar", good)
    pack(tmp_path / "set" / "CAPITALS.TAR", good)
    (tmp_path / "empty").mkdir()
    pack(tmp_path / "other" / "good.tar", good)
    roots = [str(tmp_path / name) for name in ("set", "empty", "missing", "other")]

    assert main(["index", *roots, "--game", "g"]) == 1

    said = capsys.readouterr().out
    for line in ("mixed.tar: the members", "not a name.tar: ", "CAPITALS.TAR: ", "empty: not "):
        assert line in said
    for name in ("set", "other"):
        assert [row.shard for row in read_manifest(tmp_path / name).rows()] == ["good.tar"]


@pytest.mark.parametrize(
    ("damage", "num_records", "fault"),
    [
        (lambda data: data[:8000], 1, "cut short"),
        (lambda data: data[:12_288], 2, "without a tar's end mark"),
        (lambda data: data[:12_288] + b"more" * 512, 2, "no tar from byte 12288"),
        (lambda data: b"\x1f\x8b" + data, 0, "not readable as a tar"),
    ],
)
def test_a_damaged_tar_keeps_what_is_whole_and_says_so(
    tmp_path: Path, damage: Callable[[bytes], bytes], num_records: int, fault: str
) -> None:
    path = pack(
        tmp_path / "bad.tar",
        [
            (f"{key}.{suffix}", data)
            for key in "ab"
            for suffix, data in (("mp4", video()), ("npy", npy(values())))
        ],
    )
    path.write_bytes(damage(path.read_bytes()))
    pack(tmp_path / "sound.tar", [("a.mp4", video()), ("a.npy", npy(values()))])

    bad, _ = index_shards(str(tmp_path), out_dir=None, facts=FACTS)

    assert len(bad.rows) == bad.num_records == num_records
    assert bad.fault is not None
    assert fault in bad.fault
    assert f"bad.tar: {bad.fault}" in format_report([bad])


def test_names_that_would_repeat_are_dropped(tmp_path: Path) -> None:
    clip = [("mp4", video()), ("npy", npy(values()))]
    pack(tmp_path / "s.tar", [(f"{k}.{suffix}", d) for k in ("a b", "a_b") for suffix, d in clip])

    assert list(dropped(tmp_path)) == ["name"]


def test_keys_without_a_session_are_dropped(tmp_path: Path) -> None:
    pack(tmp_path / "s.tar", [("b.mp4", video()), ("b.npy", npy(values()))])
    facts = ForeignFacts(game="g", source="s", session_pattern="^a")

    assert list(dropped(tmp_path, facts)) == ["session"]


def test_a_second_start_reads_only_what_is_left(tmp_path: Path) -> None:
    first = pack(tmp_path / "a.tar", [("a.mp4", video()), ("a.npy", npy(values()))])
    second = pack(tmp_path / "b.tar", [("a.mp4", video()), ("b.mp4", video()), ("a.npy", b"")])
    # Where the manifest cannot be written, all has been read.
    (tmp_path / "manifest.parquet").mkdir()
    with pytest.raises(OSError, match="directory"):
        index_shards(str(tmp_path), out_dir=None, facts=FACTS)
    (tmp_path / "manifest.parquet").rmdir()
    saved = tmp_path / ".index" / "tars.jsonl"
    head, one, two = saved.read_text().splitlines(keepends=True)
    content = json.loads(one)
    content["rows"][0]["source"] = "taken over"
    saved.write_text(f"{head}{json.dumps(content)}\n{two}")
    pack(second, [("b.mp4", video()), ("b.npy", npy(values()))])

    index_shards(str(tmp_path), out_dir=None, facts=FACTS)

    assert {row.shard: row.source for row in read_manifest(tmp_path).rows()} == {
        first.name: "taken over",
        second.name: "elsewhere",
    }
    assert not (tmp_path / ".index").exists()


@pytest.fixture
def http_root(tmp_path: Path) -> Iterator[str]:
    """Python's own server: it lists folders and answers no ranges."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_url_is_indexed_into_a_folder(tmp_path: Path, http_root: str) -> None:
    pack(tmp_path / "set" / "s.tar", [("a.mp4", video()), ("a.npy", npy(values()))])
    index_shards(str(tmp_path / "set"), out_dir=None, facts=FACTS)
    local = read_manifest(tmp_path / "set")

    index_shards(f"{http_root}/set", out_dir=tmp_path / "out", facts=FACTS)

    assert read_manifest(tmp_path / "out").hash == local.hash


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["http://127.0.0.1:9/set"], "say with --out where its manifest should go"),
        (["http://127.0.0.1:9/set", "--out", "{folder}/out"], "cannot list"),
        (["{folder}"], "holds no .tar"),
        (["{folder}/names"], "got 'a.b.tar'; rename it"),
        (["{folder}/empty"], "no record"),
        (["{folder}", "--fps", "0"], "fps must lie above 0"),
        (["{folder}", "--val-share", "1"], "val-share must lie in"),
        (["{folder}", "--session-from-key", "("], "--session-from-key"),
        (["{folder}", "{folder}", "--out", "{folder}"], "--out takes the manifest of one folder"),
    ],
)
def test_mistakes_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    pack(tmp_path / "names" / "a.b.tar", [])
    pack(tmp_path / "empty" / "a.tar", [])

    assert (
        main(["index", "--game", "g", *(text.format(folder=tmp_path) for text in arguments)]) == 2
    )

    assert message in capsys.readouterr().err


def test_the_doctor_finds_nothing_wrong_with_indexed_tars(tmp_path: Path) -> None:
    pack(tmp_path / "a.tar", [("a.mp4", video()), ("a.npy", npy(values()))])
    index_shards(str(tmp_path), out_dir=None, facts=FACTS)
    (row,) = read_manifest(tmp_path).rows()

    assert examine_clip(Dataset(tmp_path), row).faults == []
    assert examine_clip(Dataset(tmp_path), replace(row, num_frames=19)).faults == [
        f"clip {row.clip_id}: the video has 20 frames of 64x64, expected 19 of 64x64; index again"
    ]
