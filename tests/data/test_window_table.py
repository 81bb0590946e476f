from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from nitrogen_train.data.manifest import Manifest, ManifestRow
from nitrogen_train.data.selection import Selection
from nitrogen_train.data.windows import GameCount, WindowShape, WindowTable, open_window_table

EVERY = Selection("split in [train, val]")


def shape(**changes: float) -> WindowShape:
    defaults = {"num_frames": 1, "frame_stride": 1, "action_horizon": 4, "action_offset": 0}
    return WindowShape(**(defaults | changes))


@pytest.fixture
def build_manifest(clip_row: ManifestRow) -> Callable[[Sequence[dict[str, Any]]], Manifest]:
    def build(clips: Sequence[dict[str, Any]]) -> Manifest:
        rows = [
            replace(
                clip_row,
                clip_id=f"clip-{index}",
                num_frames=100,
                num_valid_rows=sum(clip["valid_runs"][1::2]) - sum(clip["valid_runs"][::2]),
                **clip,
            )
            for index, clip in enumerate(clips)
        ]
        return Manifest(pa.Table.from_pylist([vars(row) for row in rows]))

    return build


def random_clips(num_clips: int) -> list[dict[str, Any]]:
    generator = np.random.default_rng(0)
    return [
        {
            "valid_runs": np.sort(
                generator.choice(101, size=2 * generator.integers(0, 5), replace=False)
            ).tolist(),
            "game": f"game-{generator.integers(4)}",
            "split": "val" if generator.random() < 0.3 else "train",
        }
        for _ in range(num_clips)
    ]


def count_rows(valid_runs: Sequence[int], frame: int, window: WindowShape) -> int:
    first = frame + window.action_offset
    for start, stop in zip(valid_runs[::2], valid_runs[1::2], strict=True):
        if start <= first < stop:
            return min(window.action_horizon, stop - first)
    return 0


def list_windows(
    manifest: Manifest, rows: Sequence[int], window: WindowShape
) -> list[tuple[int, int, int]]:
    """List (clip, frame, supervised rows) clip by clip."""
    return [
        (row, frame, num_rows)
        for row in rows
        for clip in [manifest.row(row)]
        for frame in range(clip.num_frames)
        if (num_rows := count_rows(clip.valid_runs, frame, window))
    ]


def all_windows(table: WindowTable) -> list[tuple[int, int, int]]:
    found = table.locate(np.arange(table.num_windows))
    return list(zip(*(a.tolist() for a in (found.clip, found.frame, found.num_rows)), strict=True))


@pytest.mark.parametrize("offset", [0, 3, 50, 100])
def test_the_table_holds_the_windows_that_clips_list(
    tmp_path: Path, build_manifest: Callable[..., Manifest], offset: int
) -> None:
    manifest = build_manifest(random_clips(60))
    window = shape(action_offset=offset, action_horizon=7)
    train = [i for i, row in enumerate(manifest.rows()) if row.split == "train"]

    table = open_window_table(
        manifest, selection=Selection("split == train"), window=window, cache_dir=tmp_path
    )

    assert all_windows(table) == list_windows(manifest, train, window)
    assert (table.games, table.game_starts.tolist()) == ((), [0])


@pytest.mark.parametrize("offset", [0, 2, 30])
def test_clips_of_other_rates_have_the_windows_of_their_joined_rows(
    tmp_path: Path, build_manifest: Callable[..., Manifest], offset: int
) -> None:
    clips = [clip | {"fps": (30.0, 60.0, 90.0)[i % 3]} for i, clip in enumerate(random_clips(60))]
    manifest = build_manifest(clips)
    window = shape(action_offset=offset, action_hz=30.0)

    table = open_window_table(manifest, selection=EVERY, window=window, cache_dir=tmp_path)

    expected: list[tuple[int, int, int]] = []
    for index, row in enumerate(manifest.rows()):
        valid = np.zeros(100, bool)
        for start, stop in zip(row.valid_runs[::2], row.valid_runs[1::2], strict=True):
            valid[start:stop] = True
        per_row = round(row.fps / 30)
        joined = valid[: 100 // per_row * per_row].reshape(-1, per_row).all(axis=1)
        for frame in range(len(joined)):
            if num_rows := int(window.count_rows(joined, np.array([frame]))[0]):
                expected.append((index, frame, num_rows))
    assert all_windows(table) == expected
    assert table.fps_range == (30.0, 30.0)


def test_a_rate_that_does_not_fit_is_refused_only_where_it_is_in_use(
    tmp_path: Path, build_manifest: Callable[..., Manifest]
) -> None:
    manifest = build_manifest(
        [
            {"valid_runs": [0, 50], "fps": 60.0},
            {"valid_runs": [0, 40], "fps": 45.0, "split": "val"},
        ]
    )
    window = shape(action_hz=30.0)

    with pytest.raises(ValueError, match="45 frames per second are no multiple of action_hz=30"):
        open_window_table(manifest, selection=EVERY, window=window, cache_dir=tmp_path)
    selection = Selection("split == train")
    table = open_window_table(manifest, selection=selection, window=window, cache_dir=tmp_path)
    assert table.num_windows == 25


def test_windows_are_grouped_by_game_and_clips_keep_their_order(
    tmp_path: Path, build_manifest: Callable[..., Manifest]
) -> None:
    manifest, window = build_manifest(random_clips(60)), shape(action_offset=2)
    rows = manifest.rows()

    table = open_window_table(
        manifest, selection=EVERY, window=window, cache_dir=tmp_path, by_game=True
    )

    assert table.games == ("game-0", "game-1", "game-2", "game-3")
    windows = all_windows(table)
    for index, game in enumerate(table.games):
        of_game = [row for row in range(60) if rows[row].game == game]
        start, stop = table.game_starts[index : index + 2]
        assert windows[start:stop] == list_windows(manifest, of_game, window)
    assert table.game_starts[-1] == table.num_windows == len(windows)


def test_games_are_counted_even_without_a_window(
    tmp_path: Path, build_manifest: Callable[..., Manifest]
) -> None:
    manifest = build_manifest(
        [
            {"valid_runs": [0, 40], "game": "pong", "fps": 10.0},
            {"valid_runs": [], "game": "chess", "fps": 20.0},
            {"valid_runs": [10, 20, 30, 35], "game": "pong", "fps": 10.0},
            {"valid_runs": [0, 100], "game": "doom", "split": "val"},
        ]
    )

    table = open_window_table(
        manifest,
        selection=Selection("split == train"),
        window=shape(action_offset=15),
        cache_dir=tmp_path,
        by_game=True,
    )

    assert table.game_counts == (
        GameCount(game="chess", num_clips=1, num_windows=0, hours=5 / 3600),
        GameCount(game="pong", num_clips=2, num_windows=35, hours=20 / 3600),
    )
    assert table.game_starts.tolist() == [0, 0, 35]


def test_a_table_without_a_window_is_empty(
    tmp_path: Path, build_manifest: Callable[..., Manifest]
) -> None:
    manifest = build_manifest([{"valid_runs": []}])

    table = open_window_table(manifest, selection=EVERY, window=shape(), cache_dir=tmp_path)

    assert table.num_windows == 0
    assert all_windows(table) == []
    with pytest.raises(IndexError, match=r"positions must lie in \[0, 0\)"):
        table.locate(np.array([0]))


@pytest.mark.parametrize("position", [-1, 40])
def test_a_position_outside_is_refused(
    tmp_path: Path, build_manifest: Callable[..., Manifest], position: int
) -> None:
    manifest = build_manifest([{"valid_runs": [0, 40]}])
    table = open_window_table(manifest, selection=EVERY, window=shape(), cache_dir=tmp_path)

    with pytest.raises(IndexError, match=r"positions must lie in \[0, 40\)"):
        table.locate(np.array([3, position]))


def test_what_a_table_depends_on_has_files_of_its_own(
    tmp_path: Path, build_manifest: Callable[..., Manifest]
) -> None:
    manifest = build_manifest(random_clips(10))
    other = build_manifest(random_clips(11))

    def count(manifest: Manifest = manifest, where: str = "split == train", **changes: Any) -> int:
        window = shape(**{key: value for key, value in changes.items() if key != "by_game"})
        open_window_table(
            manifest,
            selection=Selection(where),
            window=window,
            cache_dir=tmp_path,
            by_game=changes.get("by_game", False),
        )
        return len(list(tmp_path.iterdir()))

    assert count() == 1
    assert count(action_horizon=9, num_frames=3, frame_stride=2) == 1
    assert count(action_offset=1) == 2
    assert count(where="split == val") == 3
    assert count(by_game=True) == 4
    assert count(other) == 5
    assert count(action_hz=35 / 6) == 6


def test_an_interrupted_build_is_done_again(
    tmp_path: Path, build_manifest: Callable[..., Manifest]
) -> None:
    manifest = build_manifest(random_clips(10))
    window = shape()
    expected = all_windows(
        open_window_table(manifest, selection=EVERY, window=window, cache_dir=tmp_path / "whole")
    )
    open_window_table(manifest, selection=EVERY, window=window, cache_dir=tmp_path / "cut")
    (folder,) = (tmp_path / "cut").iterdir()
    (folder / "table.json").unlink()
    (folder / "stops.npy").unlink()

    table = open_window_table(manifest, selection=EVERY, window=window, cache_dir=tmp_path / "cut")

    assert all_windows(table) == expected
