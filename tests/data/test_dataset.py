import hashlib
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from range_server import RangeServer, serve_ranges

from nitrogen_train.data.clip_record import encode_record
from nitrogen_train.data.dataset import Dataset
from nitrogen_train.data.range_cache import RangeCache
from nitrogen_train.data.schema import ShardError


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory, write_dataset: Callable[..., Path], clip_plan: Any
) -> Path:
    plans = [clip_plan(clip_id="a"), clip_plan(clip_id="b", game="pong", split="val")]
    return write_dataset(tmp_path_factory.mktemp("one") / "set", plans)


@pytest.fixture
def server(folder: Path) -> Iterator[RangeServer]:
    with serve_ranges() as server:
        server.files |= {f"/games/set/{path.name}": path.read_bytes() for path in folder.iterdir()}
        yield server


@pytest.fixture(params=["folder", "url"])
def root(request: pytest.FixtureRequest, folder: Path, server: RangeServer) -> str:
    return str(folder) if request.param == "folder" else f"{server.url}/games/set"


@pytest.mark.parametrize("is_mapped", [False, True])
def test_what_is_read_is_what_was_written(
    root: str, is_mapped: bool, folder: Path, tmp_path: Path
) -> None:
    dataset = Dataset(root, index_dir=tmp_path if is_mapped else None)

    shard, rows = (folder / "shard-000000.tar").read_bytes(), dataset.manifest.rows()

    assert [row.clip_id for row in rows] == ["a", "b"]
    for row in rows:
        stored = shard[row.offset : row.offset + row.size]
        assert dataset.read_bytes(row) == encode_record(dataset.read(row)) == stored
    assert (str(dataset), dataset.name) == (root, "set")
    assert bool(list(tmp_path.iterdir())) == is_mapped


def test_clips_are_selected_by_an_expression(root: str) -> None:
    dataset = Dataset(root)

    (row,) = dataset.select("split == val and game in [pong]")

    assert row.clip_id == "b"
    with pytest.raises(ValueError, match="no clip is left by 'game == chess'; of 2 clips"):
        dataset.select("game == chess")


def test_a_record_that_is_not_what_its_row_says_is_named_by_its_place(
    folder: Path, tmp_path: Path
) -> None:
    row = Dataset(folder).manifest.row(1)
    place = rf"shard-000000\.tar, byte {row.offset}: "
    damaged = (folder / row.shard).read_bytes().replace(b"PAR1", b"XAR1")
    (tmp_path / row.shard).write_bytes(damaged)
    digest = hashlib.sha256(damaged[row.offset : row.offset + row.size]).hexdigest()

    with pytest.raises(ShardError, match=f"{place}.* 30 rows of actions, .* expects 7"):
        Dataset(folder).read(replace(row, num_frames=7))
    with pytest.raises(ShardError, match=f"{place}.* space 'gamepad', .* 'keyboard_mouse'"):
        Dataset(folder).read(replace(row, action_space="keyboard_mouse"))
    with pytest.raises(ShardError, match=f"{place}actions are not readable") as told:
        Dataset(tmp_path).read(replace(row, sha256=digest))
    assert told.value.cause == "parquet"


def test_another_process_gets_the_address_and_reads_by_it(
    server: RangeServer, tmp_path: Path
) -> None:
    cache = RangeCache(tmp_path, max_bytes=10**6)
    dataset = Dataset(f"{server.url}/games/set", cache=cache)
    row = dataset.manifest.row(0)
    dataset.read(row)

    data = pickle.dumps(dataset)
    moved = pickle.loads(data)
    server.requests.clear()

    assert len(data) < 1000
    assert moved.read_bytes(row) == dataset.read_bytes(row)
    assert server.requests == []
    assert moved.manifest.hash == dataset.manifest.hash


def test_a_url_without_a_data_set_is_one_line(server: RangeServer) -> None:
    dataset = Dataset(f"{server.url}/none/")

    with pytest.raises(ShardError, match=r"/none/manifest\.parquet is missing .*404") as raised:
        dataset.manifest  # noqa: B018 - reads it
    assert "\n" not in str(raised.value)


def test_what_is_not_there_is_only_missed_when_it_is_asked_for(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path / "none")

    with pytest.raises(FileNotFoundError, match="none"):
        dataset.manifest  # noqa: B018 - reads it
