from itertools import pairwise
from pathlib import Path

import pytest

from nitrogen_train.benchmark.manifest import describe_manifest, measure_manifest
from nitrogen_train.benchmark.simulated_manifest import write_simulated_manifest
from nitrogen_train.data.manifest import Manifest, open_manifest, read_manifest


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    folder = tmp_path_factory.mktemp("simulated")
    write_simulated_manifest(folder, num_clips=12_345, num_games=30)
    # Reading it checks that it keeps the contract.
    return read_manifest(folder)


def test_clips_follow_each_other_in_their_shards(manifest: Manifest) -> None:
    rows = manifest.rows()

    assert len(rows) == 12_345
    for row, following in pairwise(rows):
        if following.shard == row.shard:
            assert following.offset == row.offset + row.size
        else:
            assert (following.shard > row.shard, following.offset) == (True, 0)


def test_sessions_have_one_game_and_one_split(manifest: Manifest) -> None:
    sessions = {(row.session_id, row.game, row.split, row.fps) for row in manifest.rows()}

    assert len(sessions) == 138
    assert {split for _, _, split, _ in sessions} == {"train", "val"}


def test_every_game_occurs_and_the_first_most_often(manifest: Manifest) -> None:
    games = manifest.table["game"].value_counts().to_pylist()
    counts = {count["values"]: count["counts"] for count in games}

    assert len(counts) == 30
    assert max(counts, key=counts.__getitem__) == "game-00000000"


def test_the_same_arguments_give_the_same_clips(tmp_path: Path) -> None:
    hashes = [
        open_manifest(
            write_simulated_manifest(tmp_path / str(i), num_clips=200, num_games=2, seed=seed),
            cache_dir=tmp_path,
        ).hash
        for i, seed in enumerate((0, 0, 1))
    ]

    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.full
def test_a_small_manifest_is_measured_in_processes_of_its_own() -> None:
    cost = measure_manifest(num_clips=2000, num_games=5)

    assert cost.first.num_windows == cost.second.num_windows > 0
    assert 0 < cost.second.memory.own < cost.first.manifest_peak_mib
    assert len(cost.second.worker_memory) == 4
    assert all(worker.own < cost.second.memory.own for worker in cost.second.worker_memory)
    text = describe_manifest(cost).splitlines()
    assert [line.split()[0] for line in text[1:7]] == ["first", "second", *["worker"] * 4]
