from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dataset_faults import list_faults

from data_tools.__main__ import main
from data_tools.lerobot.export_lerobot import export_lerobot
from data_tools.lerobot.ingest_lerobot import ReadingOptions, plan_lerobot
from data_tools.lerobot.layout import FileLimits
from data_tools.shards.shard_plan import ALL, Part, ShardSettings
from data_tools.shards.shard_writer import join_parts, write_dataset
from nitrogen_train.data.clip_record import Record
from nitrogen_train.data.dataset import Dataset
from nitrogen_train.data.manifest import ManifestRow, read_manifest
from nitrogen_train.data.schema import ShardError
from nitrogen_train.data.video import choose_decoder

SETTINGS = ShardSettings(size=64, clips_per_shard=2)


def read_all(dataset_dir: Path) -> dict[str, tuple[ManifestRow, Record]]:
    dataset = Dataset(dataset_dir)
    return {row.clip_id: (row, dataset.read(row)) for row in dataset.manifest.rows()}


def assert_same_play(got_dir: Path, expected_dir: Path) -> None:
    """All of the clips but their compressed pictures, bit by bit."""
    got, expected = read_all(got_dir), read_all(expected_dir)
    assert got.keys() == expected.keys()
    for clip_id, (row, record) in expected.items():
        other_row, other = got[clip_id]
        assert other.metadata == record.metadata
        assert other_row.split == row.split
        assert other_row.valid_runs == row.valid_runs
        for name in ("valid", "left_trigger_value", "right_trigger_value"):
            values, others = getattr(record.actions, name), getattr(other.actions, name)
            assert (values is None) == (others is None)
            assert values is None or values.tobytes() == others.tobytes()
        assert other.actions.rows.buttons.tobytes() == record.actions.rows.buttons.tobytes()
        assert other.actions.rows.sticks.tobytes() == record.actions.rows.sticks.tobytes()


def read_shades(video: bytes) -> np.ndarray:
    """The brightness on the left, 4 t in frame t; where it meets the right it is not so exact."""
    return choose_decoder().decode(video)[:, :, :28].mean(axis=(1, 2, 3))


def ingest(folder: Path, out_dir: Path, *, part: Part = ALL) -> None:
    plan = plan_lerobot(folder, options=ReadingOptions(), settings=SETTINGS, part=part, workers=1)
    write_dataset(plan, out_dir=out_dir, workers=1)


def test_a_round_trip_keeps_every_action_and_every_frame(
    dataset_dir: Path, exported_dir: Path, tmp_path: Path
) -> None:
    ingest(exported_dir, tmp_path / "back")

    assert_same_play(tmp_path / "back", dataset_dir)
    assert list_faults(tmp_path / "back") == []
    has_pull = []
    for row, record in read_all(tmp_path / "back").values():
        first = record.metadata.provenance.start_frame
        expected = 4 * np.arange(first, first + row.num_frames)
        assert np.abs(read_shades(record.video) - expected).max() < 3
        has_pull.append(record.actions.right_trigger_value is not None)
    # Both kinds of triggers were in it, and rows that are not valid.
    assert set(has_pull) == {True, False}
    manifest = read_manifest(tmp_path / "back")
    assert sum(manifest.table["num_valid_rows"].to_pylist()) < 150
    assert set(manifest.table["split"].to_pylist()) == {"train", "val"}


def test_many_small_files_give_the_same(dataset_dir: Path, tmp_path: Path) -> None:
    # Files hold one or two episodes, and chunks two files.
    limits = FileLimits(data_mb=0.006, video_mb=0.004, files_per_chunk=2)
    export_lerobot(
        Dataset(dataset_dir), out_dir=tmp_path / "lr", games=None, limits=limits, workers=1
    )

    ingest(tmp_path / "lr", tmp_path / "back")

    videos = sorted((tmp_path / "lr" / "videos").rglob("*.mp4"))
    assert len(videos) > 4
    assert all(path.stat().st_size < 0.004 * 2**20 + 2500 for path in videos)
    assert len(list((tmp_path / "lr" / "data").rglob("*.parquet"))) > 2
    assert (tmp_path / "lr" / "data" / "chunk-001").is_dir()
    assert_same_play(tmp_path / "back", dataset_dir)


def test_parts_of_an_ingest_are_joined(dataset_dir: Path, tmp_path: Path) -> None:
    limits = FileLimits(video_mb=0.004)
    export_lerobot(
        Dataset(dataset_dir), out_dir=tmp_path / "lr", games=None, limits=limits, workers=1
    )

    for index in range(2):
        ingest(tmp_path / "lr", tmp_path / "back", part=Part(index=index, count=2))
    join_parts(tmp_path / "back")

    assert_same_play(tmp_path / "back", dataset_dir)


def test_what_was_cut_out_of_the_original_is_not_cut_out_again(
    exported_dir: Path, edit_facts: Callable[..., Path], tmp_path: Path
) -> None:
    folder = edit_facts(
        exported_dir,
        lambda facts: replace(
            facts,
            metadata=replace(facts.metadata, masked_boxes=((0, 0, 64, 48),), area=(0, 0, 32, 32)),
        ),
    )

    ingest(folder, tmp_path / "back")

    for _, record in read_all(tmp_path / "back").values():
        assert record.metadata.area == (0, 0, 32, 32)
        assert record.metadata.masked_boxes == ((0, 0, 64, 48),)
        assert read_shades(record.video).max() > 30


def test_the_commands_go_there_and_back(
    dataset_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, back = str(tmp_path / "lr"), str(tmp_path / "back")

    assert main(["export", "lerobot", str(dataset_dir), "--out", folder, "--workers", "1"]) == 0
    arguments = ["ingest", "lerobot", folder, "--out", back, "--size", "64", "--workers", "1"]
    assert main(arguments) == 0

    out = capsys.readouterr().out
    assert "is a LeRobotDataset v3.0: 9 episodes, 150 frames, tasks grey" in out
    assert f"{back} holds " in out
    assert_same_play(Path(back), dataset_dir)
    # A finished one is left alone.
    assert main(arguments) == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--map", "SOUTH=EAST"], "leave out --map"),
        (["--game", "another"], "leave out --game"),
        (["--clip-seconds", "1"], "the longest has 1.5 s; leave out --clip-seconds"),
        (["--camera", "observation.images.face"], "--camera must name a video"),
    ],
)
def test_an_export_needs_no_options(
    exported_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    message: str,
) -> None:
    arguments = ["ingest", "lerobot", str(exported_dir), "--out", str(tmp_path / "back"), *more]

    assert main(arguments) == 2

    assert message in capsys.readouterr().err


def test_a_session_in_both_splits_is_refused(
    exported_dir: Path, edit_facts: Callable[..., Path]
) -> None:
    folder = edit_facts(
        exported_dir,
        lambda facts: replace(facts, metadata=replace(facts.metadata, session_id="one")),
    )

    with pytest.raises(ShardError, match="sessions are in train and in val: \\['one'\\]"):
        plan_lerobot(folder, options=ReadingOptions(), settings=SETTINGS, part=ALL, workers=1)
