import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nitrogen_train.actions import GAMEPAD
from nitrogen_train.data.manifest import (
    MANIFEST_NAME,
    Manifest,
    ManifestRow,
    open_manifest,
    read_manifest,
    write_manifest,
)
from nitrogen_train.data.schema import ShardError

ROW = ManifestRow(
    shard="shard-000000.tar",
    offset=0,
    size=2048,
    clip_id="lap-0000",
    num_frames=10,
    num_valid_rows=7,
    valid_runs=[0, 3, 6, 10],
    fps=35 / 3,
    game="carracing",
    source="own",
    session_id="lap",
    action_space="gamepad",
    labels="raw",
    width=256,
    height=256,
    source_width=320,
    source_height=240,
    idle_share=0.1,
    licence="CC0",
    split="train",
    sha256="0" * 64,
)
ROWS = [
    ROW,
    replace(ROW, clip_id="lap-0001", offset=2048),
    replace(ROW, clip_id="aim-0000", shard="shard-000001.tar", game="doom_defend", split="val"),
]

NOT_UTF8 = pa.StringArray.from_buffers(
    3, pa.py_buffer(np.array([0, 1, 2, 3], np.int32)), pa.py_buffer(b"\xffab")
)


def rewrite(folder: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    path = folder / MANIFEST_NAME
    pq.write_table(change(pq.read_table(path)), path)


def test_a_manifest_survives_its_file(tmp_path: Path) -> None:
    write_manifest(tmp_path, ROWS)

    manifest = read_manifest(tmp_path)

    assert manifest.rows() == ROWS
    assert manifest.row(2) == ROWS[2]
    assert len(manifest) == 3
    assert manifest.action_space is GAMEPAD
    assert manifest.clip_id(2) == ROWS[2].clip_id


def test_reading_leaves_no_thread_that_may_hold_the_file_at_the_exit(tmp_path: Path) -> None:
    write_manifest(tmp_path, ROWS)
    script = (
        "import os, pathlib, sys; from nitrogen_train.data.manifest import read_manifest;"
        "before = os.listdir('/proc/self/task'); read_manifest(pathlib.Path(sys.argv[1]));"
        "print(len(os.listdir('/proc/self/task')) - len(before))"
    )

    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True
    )

    assert done.stdout == "0\n"


def test_the_file_names_its_version_and_its_action_space(tmp_path: Path) -> None:
    write_manifest(tmp_path, ROWS, metadata={"plan": "x"})

    metadata = pq.read_schema(tmp_path / MANIFEST_NAME).metadata

    assert (metadata[b"schema_version"], metadata[b"action_space"]) == (b"1", b"gamepad")
    assert metadata[b"plan"] == b"x"


def test_rows_are_kept_in_the_order_of_reading(tmp_path: Path) -> None:
    assert write_manifest(tmp_path, ROWS[::-1]).rows() == ROWS


@pytest.mark.slow
def test_the_hash_is_of_the_content(tmp_path: Path) -> None:
    original = write_manifest(tmp_path / "a", ROWS).hash

    assert read_manifest(tmp_path / "a").hash == original
    assert write_manifest(tmp_path / "b", ROWS[::-1]).hash == original
    for change in ({"sha256": "1" * 64}, {"offset": 4096}, {"split": "val"}, {"fps": 12.0}):
        changed = [ROW, replace(ROWS[1], **change), ROWS[2]]
        assert write_manifest(tmp_path / "c", changed).hash != original


def test_the_hash_of_a_part_does_not_depend_on_the_whole(tmp_path: Path) -> None:
    part = write_manifest(tmp_path / "part", ROWS[2:])

    assert write_manifest(tmp_path / "all", ROWS).keep_games(["doom_defend"]).hash == part.hash


def test_the_hash_is_the_same_everywhere(tmp_path: Path) -> None:
    # Committed so that a new pyarrow cannot change the order of a run that is resumed.
    assert write_manifest(tmp_path, ROWS).hash[:16] == "7c282fe184af7908"


def test_the_clips_of_some_games_are_kept(tmp_path: Path) -> None:
    assert write_manifest(tmp_path, ROWS).keep_games(["doom_defend"]).rows() == ROWS[2:]


def test_a_game_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, ROWS)

    with pytest.raises(ShardError, match=r"game in \['pong'\]; there are .*doom_defend"):
        manifest.keep_games(["pong"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clip_id": "lap-0000"}, "clips more than once.*lap-0000"),
        ({"action_space": "wheel"}, r"one action space, the manifest mixes \['gamepad', 'wheel'\]"),
        ({"split": "test"}, "split must be one of train, val, got 'test' for clip 'lap-0001'"),
        ({"offset": -1}, "offset must be at least 0"),
        ({"size": 0}, "size must be at least 1"),
        ({"num_frames": 0}, "num_frames must be at least 1"),
        ({"fps": 0.0}, "fps must be a positive number"),
        ({"fps": float("nan")}, "fps must be a positive number"),
        ({"fps": float("inf")}, "fps must be a positive number"),
        ({"shard": "a.tar\n"}, "shard must be the plain name"),
        ({"shard": "a/b.tar"}, "shard must be the plain name"),
        ({"shard": "ä.tar"}, "shard must be the plain name"),
        ({"num_frames": 2**40}, "column of the wrong type"),
        ({"valid_runs": [0, None]}, r"missing values in \['valid_runs'\]"),
        ({"shard": "../../etc/passwd"}, "shard must be the plain name"),
        ({"shard": "/a.tar"}, "shard must be the plain name"),
        ({"shard": "-x.tar"}, "shard must be the plain name"),
        ({"valid_runs": [0, 3, 6]}, "valid_runs must be increasing pairs"),
        ({"valid_runs": [0, 3, 3, 7]}, "valid_runs must be increasing pairs"),
        ({"valid_runs": [6, 10, 0, 3]}, "valid_runs must be increasing pairs"),
        ({"valid_runs": [0, 3, 7, 11]}, "valid_runs must be increasing pairs"),
        ({"valid_runs": [0, 6]}, "valid_runs must be increasing pairs"),
        ({"valid_runs": []}, "valid_runs must be increasing pairs"),
    ],
    ids=str,
)
def test_wrong_rows_are_refused(changes: dict[str, Any], message: str) -> None:
    values = [vars(ROW), vars(ROWS[1]) | changes, vars(ROWS[2])]

    with pytest.raises(ShardError, match=message):
        Manifest(pa.Table.from_pylist(values))


def test_a_clip_without_a_valid_row_is_allowed(tmp_path: Path) -> None:
    idle = replace(ROW, num_valid_rows=0, valid_runs=[])

    assert write_manifest(tmp_path, [idle]).row(0) == idle


WRONG_TABLES = pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop_columns(["sha256"]), r"each of these columns once: \['sha256'\]"),
        (lambda table: table.slice(0, 0), "has no rows"),
        (
            lambda table: table.set_column(0, "shard", pa.nulls(3, pa.string())),
            r"missing values in \['shard'\]",
        ),
        (
            lambda table: table.set_column(1, "offset", pa.array(["a", "b", "c"])),
            "column of the wrong type",
        ),
        (lambda table: table.replace_schema_metadata({"schema_version": "2"}), "schema_version 2"),
        (lambda table: table.replace_schema_metadata({}), "must be a whole number"),
        (
            lambda table: pa.concat_tables([table, table.slice(2)]),
            r"clips more than once: \[\('aim-0000', 2\)\]",
        ),
        (
            lambda table: table.set_column(8, "game", NOT_UTF8),
            "column of the wrong type.*UTF8",
        ),
    ],
    ids=["missing", "empty", "null", "type", "newer", "no version", "twice", "not a text"],
)


@WRONG_TABLES
def test_a_wrong_table_is_refused(tmp_path: Path, change: Callable, message: str) -> None:
    write_manifest(tmp_path, ROWS)
    rewrite(tmp_path, change)

    with pytest.raises(ShardError, match=message):
        read_manifest(tmp_path)


@WRONG_TABLES
def test_a_wrong_table_is_not_converted(tmp_path: Path, change: Callable, message: str) -> None:
    write_manifest(tmp_path, ROWS)
    rewrite(tmp_path, change)

    with pytest.raises(ShardError, match=message):
        open_manifest(tmp_path / MANIFEST_NAME, cache_dir=tmp_path / "index")

    assert not list((tmp_path / "index").glob("*.arrow"))


def test_what_is_not_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / MANIFEST_NAME).write_bytes(b"PAR1" + bytes(100))

    with pytest.raises(ShardError, match="not readable as parquet"):
        read_manifest(tmp_path)


def test_a_missing_manifest_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nitrogen-data shard"):
        read_manifest(tmp_path)


def many_rows(count: int) -> list[ManifestRow]:
    return [
        replace(ROW, clip_id=f"lap-{i:05}", offset=2048 * i, idle_share=i / count)
        for i in range(count)
    ]


def test_a_mapped_manifest_is_the_one_in_memory(tmp_path: Path) -> None:
    written = write_manifest(tmp_path, ROWS)

    opened = open_manifest(tmp_path / MANIFEST_NAME, cache_dir=tmp_path / "index")

    assert opened.rows() == ROWS
    assert opened.row(2) == ROWS[2]
    assert len(opened) == 3
    assert opened.action_space is GAMEPAD
    assert opened.hash == written.hash


def test_the_hash_does_not_depend_on_how_rows_are_grouped(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, many_rows(1000))
    for group, compression in ((1, "none"), (7, "snappy"), (333, "zstd")):
        rewritten = tmp_path / f"{group}.parquet"
        table = pq.read_table(tmp_path / MANIFEST_NAME)
        pq.write_table(table, rewritten, row_group_size=group, compression=compression)

        opened = open_manifest(rewritten, cache_dir=tmp_path / "index")

        assert opened.hash == manifest.hash
        assert Manifest(opened.table).hash == manifest.hash
    pieces = [manifest.table.slice(0, 10), manifest.table.slice(10)]
    assert Manifest(pa.concat_tables(pieces)).hash == manifest.hash


def test_the_hash_tells_texts_apart_that_read_the_same_when_joined(tmp_path: Path) -> None:
    def hash_of(first: str, second: str) -> str:
        rows = [replace(ROW, game=first), replace(ROWS[1], game=second)]
        return write_manifest(tmp_path, rows).hash

    assert len({hash_of("ab", "c"), hash_of("a", "bc"), hash_of("a\0b", "c")}) == 3


def test_a_mapped_manifest_takes_no_memory_for_its_rows(tmp_path: Path) -> None:
    write_manifest(tmp_path, many_rows(5000))
    allocated = pa.total_allocated_bytes()

    manifest = open_manifest(tmp_path / MANIFEST_NAME, cache_dir=tmp_path / "index")

    assert manifest.table.nbytes > 10**6
    assert pa.total_allocated_bytes() - allocated < 10**5


def test_a_manifest_is_converted_once_and_again_when_it_changes(tmp_path: Path) -> None:
    path, index_dir = tmp_path / MANIFEST_NAME, tmp_path / "index"
    write_manifest(tmp_path, ROWS)
    open_manifest(path, cache_dir=index_dir)
    (index,) = index_dir.glob("*.arrow")
    converted = index.stat()

    open_manifest(path, cache_dir=index_dir)
    assert index.stat().st_mtime_ns == converted.st_mtime_ns
    # Of the same size and time: only the content tells.
    before = path.stat()
    write_manifest(tmp_path, [replace(row, sha256="1" * 64) for row in ROWS])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)

    assert open_manifest(path, cache_dir=index_dir).row(0).sha256[0] == "1"
    assert len(list(index_dir.glob("*.arrow"))) == 2


def test_a_damaged_index_says_which_file_to_remove(tmp_path: Path) -> None:
    path, index_dir = tmp_path / MANIFEST_NAME, tmp_path / "index"
    write_manifest(tmp_path, ROWS)
    open_manifest(path, cache_dir=index_dir)
    (index,) = index_dir.glob("*.arrow")
    index.write_bytes(index.read_bytes()[:-100])

    with pytest.raises(ShardError, match=rf"{index.name} is damaged .*: remove it"):
        open_manifest(path, cache_dir=index_dir)


def test_a_missing_manifest_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nitrogen-data shard"):
        open_manifest(tmp_path / MANIFEST_NAME, cache_dir=tmp_path)


def test_a_damaged_page_is_no_reason_to_blame_the_index(tmp_path: Path) -> None:
    path = tmp_path / MANIFEST_NAME
    write_manifest(tmp_path, many_rows(1000))
    data = bytearray(path.read_bytes())
    data[100:2000] = bytes(1900)
    path.write_bytes(data)

    with pytest.raises(ShardError, match="not readable as parquet"):
        open_manifest(path, cache_dir=tmp_path / "index")


def open_and_stat(path: Path, index_dir: Path, barrier: Any, results: Any) -> None:
    barrier.wait()
    manifest = open_manifest(path, cache_dir=index_dir)
    (index,) = index_dir.glob("*.arrow")
    results.put((index.stat().st_ino, manifest.row(2).clip_id))


@pytest.mark.slow
def test_processes_that_start_at_once_convert_once(tmp_path: Path) -> None:
    write_manifest(tmp_path, many_rows(3000))
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(4), spawn.SimpleQueue()
    workers = [
        spawn.Process(
            target=open_and_stat,
            args=(tmp_path / MANIFEST_NAME, tmp_path / "index", barrier, results),
        )
        for _ in range(4)
    ]
    for worker in workers:
        worker.start()

    found = {results.get() for _ in workers}

    for worker in workers:
        worker.join()
    # One file: whoever writes anew replaces it by another.
    assert len(found) == 1
