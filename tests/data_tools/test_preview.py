from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Bool, Int

from data_tools.__main__ import main
from data_tools.inspection.preview import preview_clip
from data_tools.shards.source_video import read_video_table
from nitrogen_train.actions import GAMEPAD
from nitrogen_train.data.dataset import Dataset
from nitrogen_train.viewing.overlays import draw_pad_strip
from nitrogen_train.viewing.predictions import open_predictions


@pytest.fixture(scope="module")
def dataset_dir(
    tmp_path_factory: pytest.TempPathFactory, write_dataset: Callable, clip_plan: Callable
) -> Path:
    clips = [clip_plan(clip_id="a", num_frames=6), clip_plan(clip_id="b", num_frames=8)]
    return write_dataset(tmp_path_factory.mktemp("preview"), clips)


def shows_south(strips: Int[np.ndarray, "frames 200 512 3"]) -> Bool[np.ndarray, " frames"]:
    """Whether SOUTH, where it is drawn, looks pressed rather than released in each strip."""
    released, pressed = (
        np.asarray(draw_pad_strip(state, 512, "")).astype(int) for state in ({}, {"SOUTH": 1.0})
    )
    there = np.abs(pressed - released).max(axis=-1) > 60
    assert there.sum() > 50
    off = [np.abs(strips - look)[:, there].mean(axis=(1, 2)) for look in (released, pressed)]
    return off[1] < off[0]


def test_a_preview_shows_each_frame_above_its_row(dataset_dir: Path, tmp_path: Path) -> None:
    row = preview_clip(Dataset(dataset_dir), "b", out_path=tmp_path / "b.mp4")

    assert row.clip_id == "b"
    video = read_video_table(tmp_path / "b.mp4")
    frames = np.stack([frame.to_ndarray(format="rgb24") for frame in video.read()]).astype(int)
    assert (len(frames), video.width, video.fps) == (8, 512, 10.0)
    # Frame t is grey of brightness 2 t; SOUTH, held in odd rows, lights its button.
    assert np.abs(frames[:, 50:400, 50:450].mean(axis=(1, 2, 3)) - 2 * np.arange(8)).max() < 3
    assert shows_south(frames[:, 512:]).tolist() == [False, True] * 4


def test_the_first_clip_is_shown_if_none_is_named(dataset_dir: Path, tmp_path: Path) -> None:
    assert preview_clip(Dataset(dataset_dir), None, out_path=tmp_path / "a.mp4").clip_id == "a"


def test_a_data_set_alone_lists_its_clips(
    dataset_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["preview", str(dataset_dir)]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["a", "b"]
    assert lines[1].endswith("0.80 s")


def test_without_a_clip_one_that_was_predicted_is_shown(dataset_dir: Path, tmp_path: Path) -> None:
    predictions = write_predictions(tmp_path / "p.parquet", "b", [2, 3, 6])

    row = preview_clip(
        Dataset(dataset_dir), None, out_path=tmp_path / "x.mp4", predictions_path=predictions
    )
    assert row.clip_id == "b"


def test_an_unknown_clip_is_refused(dataset_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no clip 'c' among 2; did you mean"):
        preview_clip(Dataset(dataset_dir), "c", out_path=tmp_path / "c.mp4")


def test_only_an_mp4_is_written(dataset_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a preview is an mp4"):
        preview_clip(Dataset(dataset_dir), "a", out_path=tmp_path / "a.gif")


def write_predictions(path: Path, clip_id: str, rows: list[int]) -> Path:
    """SOUTH in every predicted row."""
    states: list[dict[str, float | bool]] = [{"SOUTH": True} for _ in rows]
    with open_predictions(path, GAMEPAD) as writer:
        writer.write(clip_id, np.array(rows), GAMEPAD.rows_from_controls(states))
    return path


def test_predictions_are_a_second_pad(dataset_dir: Path, tmp_path: Path) -> None:
    predictions = write_predictions(tmp_path / "p.parquet", "b", [2, 3, 6])

    preview_clip(
        Dataset(dataset_dir), "b", out_path=tmp_path / "b.mp4", predictions_path=predictions
    )

    video = read_video_table(tmp_path / "b.mp4")
    frames = np.stack([frame.to_ndarray(format="rgb24") for frame in video.read()]).astype(int)
    assert (video.width, video.height) == (512, 512 + 2 * 200)
    assert np.flatnonzero(shows_south(frames[:, 512:712])).tolist() == [1, 3, 5, 7]
    assert np.flatnonzero(shows_south(frames[:, 712:])).tolist() == [2, 3, 6]


def test_predictions_of_other_clips_are_refused(dataset_dir: Path, tmp_path: Path) -> None:
    predictions = write_predictions(tmp_path / "p.parquet", "a", [2])

    with pytest.raises(ValueError, match="has 0 predictions for clip b"):
        preview_clip(
            Dataset(dataset_dir), "b", out_path=tmp_path / "b.mp4", predictions_path=predictions
        )
