"""Count what a data set holds, per game and split, and write it as one page for people."""

import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8
from PIL import Image

from data_tools.action_rows import stick_pairs
from nitrogen_train.actions import ActionSpace
from nitrogen_train.data.clip_record import ClipActions, idle_rows, valid_runs
from nitrogen_train.data.dataset import Dataset
from nitrogen_train.data.manifest import ManifestRow
from nitrogen_train.data.schema import MAX_CLIP_SECONDS, SPLITS, get_space
from nitrogen_train.data.video import choose_decoder
from nitrogen_train.runtime.processes import map_in_order
from nitrogen_train.runtime.progress import track
from nitrogen_train.viewing.charts import Chart, draw_bars, draw_columns
from nitrogen_train.viewing.overlays import draw_controls
from nitrogen_train.viewing.page import PagePicture, Section, Table, write_page

MAP_SIDE = 33
"""Side of a stick's map: odd, so that a centred stick has a cell of its own."""
IDLE_EDGES = np.arange(11) / 10
CLIP_EDGES_S = np.linspace(0, MAX_CLIP_SECONDS, 11)
PRESS_EDGES_S = np.array([0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, np.inf])


@dataclass(frozen=True, kw_only=True)
class PlayCounts:
    """The counts of one clip or many."""

    num_clips: int
    num_rows: int
    num_valid_rows: int
    num_idle_rows: int
    seconds: float
    pressed: Int64[np.ndarray, " n"]
    """Rows with each button down."""
    axis_sums: Float64[np.ndarray, " s"]
    """Sums of each axis' absolute value."""
    stick_maps: Int64[np.ndarray, "pairs h w"]
    """Rows with each stick in each cell; y runs down, as the stick does."""
    idle_shares: Int64[np.ndarray, " i"]
    """Clips by their share of idle rows, see `IDLE_EDGES`."""
    clip_lengths: Int64[np.ndarray, " c"]
    """Clips by `CLIP_EDGES_S`."""
    press_lengths: Int64[np.ndarray, " p"]
    """Presses of any button by `PRESS_EDGES_S`."""

    def __add__(self, other: "PlayCounts") -> "PlayCounts":
        values = {
            item.name: getattr(self, item.name) + getattr(other, item.name) for item in fields(self)
        }
        return PlayCounts(**values)


def count_clip(dataset: Dataset, row: ManifestRow) -> PlayCounts:
    """Read a clip's actions and count.

    Raises:
        ShardError: If the record breaks the contract.
        OSError: If it could not be read now.
    """
    actions = dataset.read(row).actions
    return count_actions(actions, get_space(row.action_space), fps=row.fps)


def count_actions(actions: ClipActions, space: ActionSpace, *, fps: float) -> PlayCounts:
    """Count what a clip's rows hold, valid or not."""
    rows, is_idle = actions.rows, idle_rows(actions.rows)
    presses = [length for button in rows.buttons.T for length in _run_lengths(button)]
    return PlayCounts(
        num_clips=1,
        num_rows=len(rows),
        num_valid_rows=int(actions.valid.sum()),
        num_idle_rows=int(is_idle.sum()),
        seconds=len(rows) / fps,
        pressed=rows.buttons.sum(axis=0),
        axis_sums=np.abs(rows.sticks).sum(axis=0, dtype=np.float64),
        stick_maps=np.array(
            [_map_stick(rows.sticks[:, axes]) for axes in stick_pairs(space).values()],
            dtype=np.int64,
        ).reshape(-1, MAP_SIDE, MAP_SIDE),
        idle_shares=np.histogram(is_idle.mean(), IDLE_EDGES)[0],
        # A clip may be a row longer than the longest.
        clip_lengths=np.histogram(min(len(rows) / fps, MAX_CLIP_SECONDS), CLIP_EDGES_S)[0],
        press_lengths=np.histogram(np.array(presses) / fps, PRESS_EDGES_S)[0],
    )


def _map_stick(stick: np.ndarray) -> Int64[np.ndarray, "h w"]:
    cells = ((stick + 1) / 2 * (MAP_SIDE - 1)).round().astype(int)
    flat = np.bincount(cells[:, 1] * MAP_SIDE + cells[:, 0], minlength=MAP_SIDE**2)
    return flat.reshape(MAP_SIDE, MAP_SIDE)


def _run_lengths(is_down: Bool[np.ndarray, " rows"]) -> list[int]:
    edges = valid_runs(is_down)
    return [stop - start for start, stop in zip(edges[::2], edges[1::2], strict=True)]


@dataclass(frozen=True, kw_only=True)
class GroupStats:
    """A game's clips of one split."""

    game: str
    split: str
    num_clips: int
    num_sessions: int
    hours: float
    valid_share: float
    """Share of the rows that are valid."""
    idle_share: float
    """Share of the rows with no button down and every axis near its centre."""
    press_rates: dict[str, float]
    """Share of the rows with the button down, for the buttons that are used at all."""
    axis_means: dict[str, float]
    """Mean of the absolute value, for the axes that are used at all."""


@dataclass(frozen=True, kw_only=True)
class DatasetCounts:
    """All clips of a data set, counted."""

    dataset: Dataset
    groups: dict[tuple[str, str, str], PlayCounts]
    """Counts by game, source and split."""
    sessions: dict[tuple[str, str], set[str]]
    """Sessions by game and split."""

    def sum_by(self, *names: str) -> dict[tuple[str, ...], PlayCounts]:
        """Add the groups up, by some of `game`, `source` and `split`; in order."""
        places = [("game", "source", "split").index(name) for name in names]
        sums: dict[tuple[str, ...], PlayCounts] = {}
        for key, counts in sorted(self.groups.items()):
            short = tuple(key[place] for place in places)
            sums[short] = sums[short] + counts if short in sums else counts
        return dict(sorted(sums.items()))


def count_dataset(dataset: Dataset, *, workers: int = 1) -> DatasetCounts:
    """Read all actions of a data set and count.

    Args:
        dataset: Whose clips are read.
        workers: Processes.

    Raises:
        FileNotFoundError: If it has no manifest.
        ShardError: If a record breaks the contract.
    """
    rows = dataset.manifest.rows()
    groups: dict[tuple[str, str, str], PlayCounts] = {}
    sessions: dict[tuple[str, str], set[str]] = defaultdict(set)
    counted = map_in_order(partial(count_clip, dataset), rows, workers=workers)
    progress = track(counted, label="stats", unit="clip", total=len(rows))
    for row, counts in zip(rows, progress, strict=True):
        key = (row.game, row.source, row.split)
        groups[key] = groups[key] + counts if key in groups else counts
        sessions[row.game, row.split].add(row.session_id)
    return DatasetCounts(dataset=dataset, groups=groups, sessions=sessions)


def compute_stats(counts: DatasetCounts) -> list[GroupStats]:
    """Turn the counts into numbers, per game and split."""
    space = counts.dataset.manifest.action_space
    return [
        _describe(game, split, group, len(counts.sessions[game, split]), space)
        for (game, split), group in counts.sum_by("game", "split").items()
    ]


def format_stats(groups: list[GroupStats]) -> str:
    """Lay the numbers out as a table, and the controls in use below it."""
    head = ("game", "split", "clips", "sessions", "hours", "valid", "idle")
    lines = ["{:<20} {:<6} {:>7} {:>9} {:>9} {:>7} {:>7}".format(*head)]
    lines += [
        f"{group.game:<20} {group.split:<6} {group.num_clips:>7} {group.num_sessions:>9} "
        f"{group.hours:>9.3f} {group.valid_share:>7.1%} {group.idle_share:>7.1%}"
        for group in groups
    ]
    for group in groups:
        lines.append(f"\n{group.game}, {group.split}: share of rows pressed, mean |axis|")
        lines += [f"  {name:<16} {rate:>7.2%}" for name, rate in group.press_rates.items()]
        lines += [f"  {name:<16} {mean:>7.3f}" for name, mean in group.axis_means.items()]
    return "\n".join(lines)


def _describe(
    game: str, split: str, counts: PlayCounts, num_sessions: int, space: ActionSpace
) -> GroupStats:
    return GroupStats(
        game=game,
        split=split,
        num_clips=counts.num_clips,
        num_sessions=num_sessions,
        hours=counts.seconds / 3600,
        valid_share=counts.num_valid_rows / counts.num_rows,
        idle_share=counts.num_idle_rows / counts.num_rows,
        press_rates=_used(space.buttons, counts.pressed / counts.num_rows),
        axis_means=_used(space.sticks, counts.axis_sums / counts.num_rows),
    )


def _used(names: tuple[str, ...], values: np.ndarray) -> dict[str, float]:
    return {name: float(value) for name, value in zip(names, values, strict=True) if value > 0}


_MOST_GAMES = 30
"""Games with a section of their own, the longest first; the table has all."""
_PICTURES_PER_GAME = 4
_PICTURE_WIDTH_PX = 400
_ACCENT = (26, 155, 148)
"""Stands out on light and dark paper."""


def write_stats_page(output_path: Path, counts: DatasetCounts) -> None:
    """Write the page; nothing in it is fetched from elsewhere.

    Args:
        output_path: The HTML file; written whole or not at all.
        counts: Of a data set's clips, some of which are decoded for pictures.

    Raises:
        ShardError: If a clip that is shown cannot be read.
    """
    games = {game: total for (game,), total in counts.sum_by("game").items()}
    longest = sorted(games, key=lambda game: (-games[game].seconds, game))
    (whole,) = counts.sum_by().values()
    clips = choose_clips(counts.dataset.manifest.rows(), number=_PICTURES_PER_GAME)
    shown = longest[:_MOST_GAMES]
    sections = [
        _hours_section(counts, longest),
        _whole_section(whole),
        *(
            _game_section(game, games[game], counts.dataset, clips[game])
            for game in track(shown, label="draw", unit="game", total=len(shown))
        ),
    ]
    write_page(
        output_path,
        title=f"Data set {counts.dataset.name}",
        lead=_describe_counts(whole, counts, num_games=len(games)),
        sections=sections,
    )


def choose_clips(rows: Sequence[ManifestRow], *, number: int) -> dict[str, list[ManifestRow]]:
    """Choose clips of each game, from as many sessions as there are."""
    sessions: dict[str, dict[str, list[ManifestRow]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        sessions[row.game][row.session_id].append(row)
    chosen: dict[str, list[ManifestRow]] = {}
    for game, clips in sessions.items():
        middles = [session[len(session) // 2] for session in clips.values()]
        if len(middles) < number:
            middles = [row for session in clips.values() for row in session]
        places = np.linspace(0, len(middles) - 1, min(number, len(middles))).round().astype(int)
        chosen[game] = [middles[place] for place in places]
    return chosen


def _describe_counts(whole: PlayCounts, counts: DatasetCounts, *, num_games: int) -> str:
    num_sessions = sum(len(sessions) for sessions in counts.sessions.values())
    return (
        f"{whole.seconds / 3600:,.2f} hours in {whole.num_clips:,} clips of {num_sessions:,} "
        f"session{_s(num_sessions)}, {num_games:,} game{_s(num_games)}. "
        f"{whole.num_valid_rows / whole.num_rows:.1%} of the rows are valid, "
        f"{whole.num_idle_rows / whole.num_rows:.1%} are idle."
    )


def _hours_section(counts: DatasetCounts, longest: Sequence[str]) -> Section:
    by_split = counts.sum_by("game", "split")
    bars = {
        game: [
            by_split[game, split].seconds / 3600 if (game, split) in by_split else 0.0
            for split in SPLITS
        ]
        for game in longest[:_MOST_GAMES]
    }
    rows = [
        (
            game,
            source,
            split,
            f"{total.num_clips:,}",
            f"{total.seconds / 3600:,.2f}",
            f"{total.num_valid_rows / total.num_rows:.1%}",
            f"{total.num_idle_rows / total.num_rows:.1%}",
        )
        for (game, source, split), total in counts.sum_by("game", "source", "split").items()
    ]
    header = ("game", "source", "split", "clips", "hours", "valid", "idle")
    return Section(
        heading="Hours",
        charts=[draw_bars("Hours", bars, parts=SPLITS)],
        tables=[Table(header=header, rows=rows)],
    )


def _whole_section(whole: PlayCounts) -> Section:
    edges = [f"{edge:g}" for edge in CLIP_EDGES_S]
    lengths = draw_columns("Clips by length, in seconds", edges, whole.clip_lengths.tolist())
    return Section(heading="All games", charts=[lengths, *_distributions(whole)])


def _game_section(
    game: str, counts: PlayCounts, dataset: Dataset, clips: Sequence[ManifestRow]
) -> Section:
    space = dataset.manifest.action_space
    presses = _press_charts(counts, space)
    return Section(
        heading=game,
        note="" if presses else "No button is down in any row.",
        pictures=[_draw_thumbnail(dataset, row) for row in clips],
        charts=[*presses, *_distributions(counts)],
        maps=_stick_maps(counts, space),
    )


def _press_charts(counts: PlayCounts, space: ActionSpace) -> list[Chart]:
    rates = counts.pressed / counts.num_rows * 100
    used = [place for place in np.argsort(-rates, kind="stable") if rates[place] > 0]
    bars = {space.buttons[place]: [float(rates[place])] for place in used}
    return [draw_bars("Buttons: share of the rows down, in %", bars)] if bars else []


def _stick_maps(counts: PlayCounts, space: ActionSpace) -> list[PagePicture]:
    names = [name.replace("_", " ").capitalize() for name in stick_pairs(space)]
    maps = zip(names, counts.stick_maps, strict=True)
    return [_draw_map(f"{name}, up is up", places) for name, places in islice(maps, 4)]


def _draw_map(caption: str, counts: Int64[np.ndarray, "h w"]) -> PagePicture:
    """Draw counts over a square, logarithmically: dark where many are."""
    strength = np.log1p(counts) / max(np.log1p(counts.max()), 1e-9)
    pixels = np.empty((*counts.shape, 4), dtype=np.uint8)
    pixels[..., :3] = _ACCENT
    pixels[..., 3] = np.where(counts > 0, 30 + 225 * strength, 0).round()
    return _encode(pixels, "png", caption)


def _encode(pixels: UInt8[np.ndarray, "h w c"], kind: str, caption: str) -> PagePicture:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, quality=80)
    return PagePicture(kind=f"image/{kind}", data=buffer.getvalue(), caption=caption)


def _distributions(counts: PlayCounts) -> list[Chart]:
    idle = [f"{edge:.0%}" if place % 2 == 0 else "" for place, edge in enumerate(IDLE_EDGES)]
    charts = [draw_columns("Clips by share of idle rows", idle, counts.idle_shares.tolist())]
    lengths = counts.press_lengths.tolist()
    if any(lengths):
        edges = [*(f"{edge:g}" for edge in PRESS_EDGES_S[:-1]), "more"]
        charts.append(draw_columns("Presses by length, in seconds", edges, lengths))
    return charts


def _draw_thumbnail(dataset: Dataset, row: ManifestRow) -> PagePicture:
    """Draw a moment of a clip in which something is pressed, if there is one, with the pad."""
    clip, space = dataset.read(row), dataset.manifest.action_space
    moment = _choose_moment(clip.actions)
    (frame,) = choose_decoder().decode(clip.video, indices=[moment])
    picture = draw_controls(
        frame,
        [("", space.controls_at(clip.actions.rows, moment))],
        space=space,
        width=_PICTURE_WIDTH_PX,
        aspect=row.source_width / row.source_height,
    )
    return _encode(picture, "jpeg", f"{row.clip_id}, row {moment}")


def _choose_moment(actions: ClipActions) -> int:
    """Find the active row that is nearest to the middle, or the middle."""
    middle, active = len(actions) // 2, np.flatnonzero(~idle_rows(actions.rows))
    return int(active[np.abs(active - middle).argmin()]) if len(active) else middle


def _s(number: int) -> str:
    return "" if number == 1 else "s"
