import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from data_tools.ingest.tar_index import ForeignFacts, index_shards
from data_tools.lerobot.export_lerobot import ExportCounts, export_lerobot
from data_tools.lerobot.layout import FileLimits
from data_tools.lerobot.write_lerobot import (
    add_statistics,
    choose_frames,
    describe_pictures,
    describe_rows,
)
from data_tools.shards.shard_plan import ShardSettings
from data_tools.shards.shard_recordings import shard_recordings
from nitrogen_train.actions import GAMEPAD
from nitrogen_train.data.clip_record import Record
from nitrogen_train.data.dataset import Dataset
from nitrogen_train.data.manifest import ManifestRow, read_manifest
from nitrogen_train.data.schema import ShardError
from nitrogen_train.data.video import choose_decoder

CAMERA = "observation.images.screen"


def export(dataset_dir: Path, out_dir: Path, games: list[str] | None = None) -> ExportCounts:
    dataset, limits = Dataset(dataset_dir), FileLimits()
    return export_lerobot(dataset, out_dir=out_dir, games=games, limits=limits, workers=1)


def read_in_order(dataset_dir: Path) -> list[tuple[ManifestRow, Record]]:
    """The clips as they are exported: those for training first."""
    rows = sorted(read_manifest(dataset_dir).rows(), key=lambda row: row.split)
    return [(row, Dataset(dataset_dir).read(row)) for row in rows]


def test_the_layout_is_lerobots(exported_dir: Path) -> None:
    info = json.loads((exported_dir / "meta" / "info.json").read_bytes())
    rows = pq.read_table(exported_dir / "data" / "chunk-000" / "file-000.parquet")
    episodes = pq.read_table(
        exported_dir / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
    ).to_pylist()
    tasks = pq.read_table(exported_dir / "meta" / "tasks.parquet")

    assert info["codebase_version"] == "v3.0"
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (9, 150, 1)
    assert info["splits"] == {"train": "0:6", "val": "6:9"}
    assert info["fps"] == pytest.approx(35 / 3)
    assert info["features"]["action"]["names"] == list(GAMEPAD.controls)
    assert info["features"][CAMERA]["info"]["video.codec"] == "h264"
    columns = {name for name, item in info["features"].items() if item["dtype"] != "video"}
    assert set(rows.column_names) == columns
    assert rows["index"].to_pylist() == list(range(150))
    lengths = [episode["length"] for episode in episodes]
    assert [episode["dataset_to_index"] for episode in episodes] == np.cumsum(lengths).tolist()
    edges = np.concatenate([[0], np.cumsum(lengths)]) / (35 / 3)
    starts = [episode[f"videos/{CAMERA}/from_timestamp"] for episode in episodes]
    np.testing.assert_allclose(starts, edges[:-1], atol=1e-9)
    assert tasks.to_pylist() == [{"task_index": 0, "__index_level_0__": "grey"}]
    # pandas makes an index of it, by which LeRobot looks tasks up.
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["__index_level_0__"]


def test_frames_are_copied_not_encoded_again(dataset_dir: Path, exported_dir: Path) -> None:
    (path,) = (exported_dir / "videos" / CAMERA).rglob("*.mp4")

    frames = choose_decoder().decode(path.read_bytes())

    clips = [choose_decoder().decode(record.video) for _, record in read_in_order(dataset_dir)]
    np.testing.assert_array_equal(frames, np.concatenate(clips))


def test_statistics_are_those_of_all_rows(dataset_dir: Path, exported_dir: Path) -> None:
    statistics = json.loads((exported_dir / "meta" / "stats.json").read_bytes())
    records = [record for _, record in read_in_order(dataset_dir)]
    rows = np.concatenate(
        [np.hstack([r.actions.rows.buttons, r.actions.rows.sticks]) for r in records]
    ).astype(np.float64)
    frames = np.concatenate([choose_decoder().decode(r.video) for r in records]) / 255

    np.testing.assert_allclose(statistics["action"]["mean"], rows.mean(axis=0), atol=1e-7)
    np.testing.assert_allclose(statistics["action"]["std"], rows.std(axis=0), atol=1e-7)
    np.testing.assert_allclose(statistics["action"]["min"], rows.min(axis=0))
    np.testing.assert_allclose(statistics["action"]["max"], rows.max(axis=0))
    assert statistics["action"]["count"] == [150]
    pictures = statistics[CAMERA]
    assert np.shape(pictures["mean"]) == (3, 1, 1)
    np.testing.assert_allclose(np.ravel(pictures["mean"]), frames.mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(np.ravel(pictures["std"]), frames.std(axis=(0, 1, 2)))
    np.testing.assert_allclose(np.ravel(pictures["max"]), frames.max(axis=(0, 1, 2)))


def test_statistics_add_up() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(40, 3)), rng.normal(2, 3, size=(100, 3))

    both = add_statistics(describe_rows(first), describe_rows(second))

    expected = describe_rows(np.concatenate([first, second]))
    for name in ("min", "max", "mean", "std", "count"):
        np.testing.assert_allclose(both[name], expected[name])


def test_quantiles_of_pictures_are_levels_that_occur() -> None:
    frames = np.repeat(np.arange(100, dtype=np.uint8), 3).reshape(1, 10, 10, 3)

    statistics = describe_pictures(frames)

    assert statistics["q50"].ravel() * 255 == pytest.approx([49] * 3)
    assert statistics["q99"].ravel() * 255 == pytest.approx([98] * 3)
    assert statistics["count"].tolist() == [1]


@pytest.mark.parametrize(("num_frames", "expected"), [(1, 1), (80, 80), (400, 100), (1200, 203)])
def test_frames_for_statistics_are_spread_evenly(num_frames: int, expected: int) -> None:
    frames = choose_frames(num_frames)

    assert len(frames) == expected
    assert (frames[0], frames[-1]) == (0, num_frames - 1)
    assert len(set(frames)) == expected


def test_what_is_there_is_not_overwritten(dataset_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("somebody's work")

    with pytest.raises(FileExistsError, match="choose another --out"):
        export(dataset_dir, tmp_path)

    assert (tmp_path / "mine.txt").read_text() == "somebody's work"


def test_an_unknown_game_is_named(dataset_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"no clip has game in \['chess'\]; there are \['grey'\]"):
        export(dataset_dir, tmp_path / "lr", games=["chess"])


def test_one_rate_at_a_time(tmp_path: Path, write_recording: Callable[..., Path]) -> None:
    (tmp_path / "recordings").mkdir()
    for name, fps in (("slow", 10.0), ("fast", 20.0)):
        write_recording(tmp_path / "recordings", name, num_frames=20, fps=fps, game=name)
    shard_recordings(
        [tmp_path / "recordings"],
        out_dir=tmp_path / "set",
        settings=ShardSettings(size=64, heldout_share=0.0),
        workers=1,
    )

    with pytest.raises(ShardError, match=r"one fps, the data set's have .*--game: fast, slow"):
        export(tmp_path / "set", tmp_path / "lr")
    export(tmp_path / "set", tmp_path / "lr", games=["fast"])

    info = json.loads((tmp_path / "lr" / "meta" / "info.json").read_bytes())
    # A whole rate is written as one, as LeRobot does.
    assert info["fps"] == 20
    assert type(info["fps"]) is int
    assert info["splits"] == {"train": "0:1"}


def test_a_damaged_clip_is_left_out_of_an_export(dataset_dir: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(dataset_dir, tmp_path / "set")
    row = read_manifest(folder).row(6)
    data = bytearray((folder / row.shard).read_bytes())
    data[row.offset + row.size // 2] ^= 0xFF
    (folder / row.shard).write_bytes(data)

    counts = export(folder, tmp_path / "lr")

    (fault,) = counts.faults
    assert (fault.name, fault.game, fault.seconds) == (
        row.clip_id, row.game, row.num_frames / row.fps,
    )  # fmt: skip
    assert counts.num_episodes == len(read_manifest(folder)) - 1
    info = json.loads((tmp_path / "lr" / "meta" / "info.json").read_bytes())
    assert info["total_episodes"] == counts.num_episodes
    rows = read_manifest(folder).rows()
    num_train = sum(each.split == "train" for each in rows if each != row)
    assert info["splits"]["train"] == f"0:{num_train}"


def test_what_a_killed_export_left_is_replaced(
    dataset_dir: Path, exported_dir: Path, tmp_path: Path
) -> None:
    left = tmp_path / ".lr.part" / "videos" / CAMERA / "chunk-009" / "file-000.mp4"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half a video")

    export(dataset_dir, tmp_path / "lr")

    def contents(folder: Path) -> dict[str, bytes]:
        paths = [path for path in folder.rglob("*") if path.is_file()]
        return {str(path.relative_to(folder)): path.read_bytes() for path in paths}

    # The same data set gives the same bytes.
    assert contents(tmp_path / "lr") == contents(exported_dir)
    assert [path.name for path in tmp_path.iterdir()] == ["lr"]


def test_foreign_records_are_refused(dataset_dir: Path, tmp_path: Path) -> None:
    _, record = read_in_order(dataset_dir)[0]
    actions = io.BytesIO()
    np.save(actions, np.zeros((record.metadata.num_frames, GAMEPAD.action_dim), np.float32))
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, data in (("clip.mp4", record.video), ("clip.npy", actions.getvalue())):
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    facts = ForeignFacts(game="foreign", source="elsewhere", val_share=0.0)
    index_shards(str(tmp_path), out_dir=None, facts=facts)

    with pytest.raises(ShardError, match="only indexed; export takes data sets that"):
        export(tmp_path, tmp_path / "lr")
