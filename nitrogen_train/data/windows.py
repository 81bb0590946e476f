"""Count and cut the windows of clips: frames up to t, and the rows of actions that follow.

    frames   t-2·stride … t-stride … t          (before the clip's start: masked)
    rows     t+offset … t+offset+horizon-1      (from the first row that is not valid: masked)

Rows past the clip's end are not valid. What follows an invalid row is not supervised either: an
injected disturbance lies between it and anything the frames show. A window exists for each valid
first row, so the windows of a clip are counted from its manifest row alone.

A run's table of windows counts all windows of the clips in use without listing them, and tells
which window is at a position:

    clips in use, in manifest order or by game ─► runs of valid rows ─► one entry per run
    position p ─► the run at which the running count of windows passes p ─► clip, frame, rows

A run of n valid rows holds n windows, so the table is three numbers per run, which all processes of
a node map from the same files.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64, Shaped

from nitrogen_train.actions.space import count_rows_per_action
from nitrogen_train.data.manifest import Manifest
from nitrogen_train.data.selection import Selection
from nitrogen_train.runtime.atomic_files import build_once, write_atomically

_FORMAT = 3
"""Format of the files; higher when their content changes."""

_SUMMARY_NAME = "table.json"


@dataclass(frozen=True, kw_only=True)
class WindowShape:
    """The frames and rows that a policy observes and predicts at one moment."""

    num_frames: int
    """Observed frames, at least 1."""
    frame_stride: int
    """Rows between observed frames."""
    action_horizon: int
    """Predicted rows, at least 1."""
    action_offset: int
    """Rows from the last observed frame to the first predicted row: 3 in ng.pt, 0 in recordings
    of games."""
    action_hz: float | None = None
    """Rows per second that clips are reduced to, frames and actions alike: of a clip of twice the
    rate every second frame is seen, and its rows are joined in pairs. `None` leaves clips as they
    are. Frames and rows are counted at this rate."""

    def __post_init__(self) -> None:
        least = {"num_frames": 1, "frame_stride": 1, "action_horizon": 1, "action_offset": 0}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be at least {low}, got {getattr(self, name)}")
        if self.action_hz is not None and not 0 < self.action_hz <= 1000:
            raise ValueError(f"action_hz must lie above 0 and up to 1000, got {self.action_hz}")

    def rows_per_action(self, fps: float) -> int:
        """Tell how many rows of a clip become one.

        Raises:
            ValueError: If the clip's rate is not a multiple of `action_hz`, to 1 %.
        """
        return count_rows_per_action(fps, self.action_hz)

    def frame_indices(self, frames: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, "n f"]:
        """List the observed frames of windows, oldest first; negative before the clip's start.

        Args:
            frames: Each window's last observed frame.
        """
        return frames[:, None] - self.frame_stride * np.arange(self.num_frames - 1, -1, -1)

    def count_rows(
        self, valid: Bool[np.ndarray, " rows"], frames: Int64[np.ndarray, " n"]
    ) -> Int64[np.ndarray, " n"]:
        """Count the supervised rows of windows, up to the first that is not valid.

        Args:
            valid: Of each of the clip's rows, whether it may be learned from.
            frames: Each window's last observed frame.
        """
        first = frames + self.action_offset
        edges = np.append(np.flatnonzero(~valid), len(valid))
        # The first row that is not valid from there on.
        stops = edges[np.minimum(np.searchsorted(edges, first), len(edges) - 1)]
        return np.clip(stops - first, 0, self.action_horizon)


@dataclass(frozen=True, kw_only=True)
class Located:
    """Windows, one per position."""

    clip: Int64[np.ndarray, " n"]
    """Rows of the manifest."""
    frame: Int64[np.ndarray, " n"]
    """Last observed frames."""
    num_rows: Int64[np.ndarray, " n"]
    """Supervised rows, at least 1."""


@dataclass(frozen=True, kw_only=True)
class GameCount:
    """The clips of one game in a table."""

    game: str
    num_clips: int
    """Number of clips in use, also those without a window."""
    num_windows: int
    hours: float
    """Hours of video."""


class WindowTable:
    """The windows of the clips in use, at positions from 0."""

    def __init__(self, folder: Path, *, window: WindowShape) -> None:
        """Map a table that `open_window_table` has built."""
        summary = json.loads((folder / _SUMMARY_NAME).read_bytes())
        self._window = window
        self._ends, self._clips, self._stops = (
            np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r"))
            for name in ("ends", "clips", "stops")
        )
        self.game_counts = tuple(GameCount(**count) for count in summary["game_counts"])
        """Counts of every game in use, by name."""
        self.fps_range: tuple[float, float] = tuple(summary["fps_range"])
        """Least and most frames per second of the clips in use."""
        self.num_windows = sum(count.num_windows for count in self.game_counts)
        self.games: tuple[str, ...] = ()
        """Names in the order of their windows if these are grouped by game, or none."""
        self.game_starts = np.zeros(1, np.int64)
        """Position of each game's first window, and at last `num_windows`."""
        if summary["by_game"]:
            self.games = tuple(count.game for count in self.game_counts)
            num_windows = [count.num_windows for count in self.game_counts]
            self.game_starts = np.cumsum([0, *num_windows], dtype=np.int64)

    def locate(self, positions: Int64[np.ndarray, " n"]) -> Located:
        """Find the windows at some positions.

        Raises:
            IndexError: If a position is negative, or not below `num_windows`.
        """
        if len(positions) and not 0 <= positions.min() <= positions.max() < self.num_windows:
            raise IndexError(
                f"positions must lie in [0, {self.num_windows}), got {positions.min()} to "
                f"{positions.max()}"
            )
        run = np.searchsorted(self._ends, positions, side="right")
        rows_left = self._ends[run] - positions
        return Located(
            clip=self._clips[run].astype(np.int64),
            frame=self._stops[run] - rows_left - self._window.action_offset,
            num_rows=np.minimum(rows_left, self._window.action_horizon),
        )

    def count_by_clip(self, num_clips: int) -> Int64[np.ndarray, " clips"]:
        """Count the windows of each of the manifest's clips."""
        sizes = np.diff(self._ends, prepend=0)
        return np.bincount(self._clips, weights=sizes, minlength=num_clips).astype(np.int64)


def open_window_table(
    manifest: Manifest,
    *,
    selection: Selection,
    window: WindowShape,
    cache_dir: Path,
    by_game: bool = False,
) -> WindowTable:
    """Map the table of a manifest's windows, built once on this node.

    Args:
        manifest: The clips.
        selection: Which of them are in use.
        window: How windows are cut.
        cache_dir: Where the table's files are, or will be: 16 bytes per run of valid rows.
        by_game: Group the windows by game, games by name; within a game, clips keep their order.

    Raises:
        ValueError: If no clip is selected, or `cache_dir` cannot be written.
    """
    offset, rate = window.action_offset, window.action_hz
    key = (_FORMAT, manifest.hash, selection.expression, offset, rate, by_game)
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()
    folder = cache_dir / f"windows-{digest[:32]}"
    build = partial(_build, folder, manifest, selection, window=window, by_game=by_game)
    # Written last: the arrays beside it are whole.
    build_once(folder / _SUMMARY_NAME, build)
    return WindowTable(folder, window=window)


def _build(
    folder: Path, manifest: Manifest, selection: Selection, *, window: WindowShape, by_game: bool
) -> None:
    is_used = selection.select(manifest)
    games, game_of_clip = number_games(manifest)
    num_frames, fps = (_read_numbers(manifest, name) for name in ("num_frames", "fps"))
    joined = _count_joined_rows(fps, is_used, window)
    offset = window.action_offset
    runs = np.concatenate(list(_iter_runs(manifest, is_used, joined, offset)), axis=1)
    if by_game:
        runs = runs[:, np.argsort(game_of_clip[runs[0]], kind="stable")]
    clips, stops, num_windows = runs
    arrays = {"ends": np.cumsum(num_windows, dtype=np.int64), "clips": clips, "stops": stops}
    for name, array in arrays.items():
        with write_atomically(folder / f"{name}.npy") as path, path.open("wb") as file:
            np.save(file, array)
    columns = zip(
        games,
        _sum_by(game_of_clip, is_used, len(games)),
        _sum_by(game_of_clip[clips], num_windows, len(games)),
        _sum_by(game_of_clip, is_used * num_frames / fps, len(games)),
        strict=True,
    )
    counts = [
        GameCount(
            game=game,
            num_clips=int(num_clips),
            num_windows=int(num_windows),
            hours=float(seconds) / 3600,
        )
        for game, num_clips, num_windows, seconds in columns
        if num_clips
    ]
    with write_atomically(folder / _SUMMARY_NAME) as path:
        summary = {
            "by_game": by_game,
            "game_counts": [asdict(count) for count in counts],
            "fps_range": _find_rates(fps[is_used], window),
        }
        path.write_text(json.dumps(summary), encoding="utf-8")


def _count_joined_rows(
    fps: Float64[np.ndarray, " clips"], is_used: Bool[np.ndarray, " clips"], window: WindowShape
) -> Int32[np.ndarray, " clips"]:
    """Count for each clip how many of its rows become one."""
    rates, rate_of_clip = np.unique(fps, return_inverse=True)
    in_use = np.bincount(rate_of_clip[is_used], minlength=len(rates)) > 0
    joined = [
        window.rows_per_action(float(rate)) if used else 1
        for rate, used in zip(rates, in_use, strict=True)
    ]
    return np.array(joined, np.int32)[rate_of_clip]


def _find_rates(fps: Float64[np.ndarray, " clips"], window: WindowShape) -> tuple[float, float]:
    if window.action_hz is not None:
        return window.action_hz, window.action_hz
    return float(fps.min()), float(fps.max())


def _iter_runs(
    manifest: Manifest,
    is_used: Bool[np.ndarray, " clips"],
    joined: Int32[np.ndarray, " clips"],
    action_offset: int,
) -> Iterator[Int32[np.ndarray, "3 runs"]]:
    """List the runs of rows that may be the first of a window: clip, one past the last row, rows.

    Rows before `action_offset` belong to no window: their last frame would lie before the clip.
    """
    first = 0
    for batch in manifest.table.to_batches():
        edges = batch["valid_runs"].flatten().to_numpy()
        runs_per_clip = batch["valid_runs"].value_lengths().to_numpy() // 2
        clip = np.repeat(np.arange(first, first + len(batch), dtype=np.int32), runs_per_clip)
        # What is joined is valid if all of it is.
        starts, stops = -(-edges[::2] // joined[clip]), edges[1::2] // joined[clip]
        num_rows = stops - np.maximum(starts, np.int32(action_offset))
        yield np.stack([clip, stops, num_rows])[:, is_used[clip] & (num_rows > 0)]
        first += len(batch)


def number_games(manifest: Manifest) -> tuple[list[str], Int64[np.ndarray, " clips"]]:
    """List the games by name, and each clip's place in the list."""
    numbers: dict[str, int] = {}
    pieces: list[Int64[np.ndarray, " clips"]] = []
    for batch in manifest.table.to_batches():
        encoded = batch["game"].dictionary_encode()
        of_batch = [numbers.setdefault(g, len(numbers)) for g in encoded.dictionary.to_pylist()]
        pieces.append(np.array(of_batch, np.int64)[encoded.indices.to_numpy()])
    games = sorted(numbers)
    place = np.empty(len(games), np.int64)
    place[[numbers[game] for game in games]] = np.arange(len(games))
    return games, place[np.concatenate(pieces)]


def _read_numbers(manifest: Manifest, column: str) -> Shaped[np.ndarray, " clips"]:
    return np.concatenate([batch[column].to_numpy() for batch in manifest.table.to_batches()])


def _sum_by(
    group: Int64[np.ndarray, " n"], values: Shaped[np.ndarray, " n"], num_groups: int
) -> Float64[np.ndarray, " groups"]:
    # Without values bincount gives whole numbers.
    return np.bincount(group, weights=values, minlength=num_groups).astype(np.float64)
