"""Write what a data set holds as one page for people."""

import io
from collections import defaultdict
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image

from data_tools.action_rows import stick_pairs
from data_tools.inspection.stats import (
    CLIP_EDGES_S,
    IDLE_EDGES,
    PRESS_EDGES_S,
    DatasetCounts,
    PlayCounts,
)
from nitrogen_train.actions import ActionSpace
from nitrogen_train.data.action_file import ClipActions, idle_rows
from nitrogen_train.data.manifest import Manifest, ManifestRow
from nitrogen_train.data.schema import SPLITS
from nitrogen_train.data.storage import Storage
from nitrogen_train.data.stored_clips import read_clip
from nitrogen_train.data.video import choose_decoder
from nitrogen_train.pages.charts import Chart, draw_bars, draw_columns
from nitrogen_train.pages.page import Picture, Section, Table, write_page
from nitrogen_train.runtime.progress import track
from nitrogen_train.viewing.overlays import draw_controls

_MOST_GAMES = 30
"""Games with a section of their own, the longest first; the table has all."""
_PICTURES_PER_GAME = 4
_PICTURE_WIDTH_PX = 400
_ACCENT = (26, 155, 148)
"""Stands out on light and dark paper."""


def write_stats_page(output_path: Path, dataset_dir: Path, counts: DatasetCounts) -> None:
    """Write the page; nothing in it is fetched from elsewhere.

    Args:
        output_path: The HTML file; written whole or not at all.
        dataset_dir: The data set's folder, from which a few pictures are decoded.
        counts: Of all its clips.

    Raises:
        ShardError: If a clip that is shown cannot be read.
    """
    games = {game: total for (game,), total in counts.sum_by("game").items()}
    longest = sorted(games, key=lambda game: (-games[game].seconds, game))
    (whole,) = counts.sum_by().values()
    clips = choose_clips(counts.manifest.rows(), number=_PICTURES_PER_GAME)
    shown = longest[:_MOST_GAMES]
    sections = [
        _hours_section(counts, longest),
        _whole_section(whole),
        *(
            _game_section(game, games[game], dataset_dir, counts.manifest, clips[game])
            for game in track(shown, label="draw", unit="game", total=len(shown))
        ),
    ]
    write_page(
        output_path,
        title=f"Data set {dataset_dir.resolve().name}",
        lead=_describe(whole, counts, num_games=len(games)),
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


def _describe(whole: PlayCounts, counts: DatasetCounts, *, num_games: int) -> str:
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
    game: str,
    counts: PlayCounts,
    dataset_dir: Path,
    manifest: Manifest,
    clips: Sequence[ManifestRow],
) -> Section:
    presses = _press_charts(counts, manifest.action_space)
    return Section(
        heading=game,
        note="" if presses else "No button is down in any row.",
        pictures=[_draw_thumbnail(dataset_dir, manifest, row) for row in clips],
        charts=[*presses, *_distributions(counts)],
        maps=_stick_maps(counts, manifest.action_space),
    )


def _press_charts(counts: PlayCounts, space: ActionSpace) -> list[Chart]:
    rates = counts.pressed / counts.num_rows * 100
    used = [place for place in np.argsort(-rates, kind="stable") if rates[place] > 0]
    bars = {space.buttons[place]: [float(rates[place])] for place in used}
    return [draw_bars("Buttons: share of the rows down, in %", bars)] if bars else []


def _stick_maps(counts: PlayCounts, space: ActionSpace) -> list[Picture]:
    names = [name.replace("_", " ").capitalize() for name in stick_pairs(space)]
    maps = zip(names, counts.stick_maps, strict=True)
    return [_draw_map(f"{name}, up is up", places) for name, places in islice(maps, 4)]


def _draw_map(caption: str, counts: Int64[np.ndarray, "h w"]) -> Picture:
    """Draw counts over a square, logarithmically: dark where many are."""
    strength = np.log1p(counts) / max(np.log1p(counts.max()), 1e-9)
    pixels = np.empty((*counts.shape, 4), dtype=np.uint8)
    pixels[..., :3] = _ACCENT
    pixels[..., 3] = np.where(counts > 0, 30 + 225 * strength, 0).round()
    return _encode(pixels, "png", caption)


def _encode(pixels: UInt8[np.ndarray, "h w c"], kind: str, caption: str) -> Picture:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, quality=80)
    return Picture(kind=f"image/{kind}", data=buffer.getvalue(), caption=caption)


def _distributions(counts: PlayCounts) -> list[Chart]:
    idle = [f"{edge:.0%}" if place % 2 == 0 else "" for place, edge in enumerate(IDLE_EDGES)]
    charts = [draw_columns("Clips by share of idle rows", idle, counts.idle_shares.tolist())]
    lengths = counts.press_lengths.tolist()
    if any(lengths):
        edges = [*(f"{edge:g}" for edge in PRESS_EDGES_S[:-1]), "more"]
        charts.append(draw_columns("Presses by length, in seconds", edges, lengths))
    return charts


def _draw_thumbnail(dataset_dir: Path, manifest: Manifest, row: ManifestRow) -> Picture:
    """Draw a moment of a clip in which something is pressed, if there is one, with the pad."""
    clip = read_clip(Storage(str(dataset_dir)), row)
    moment = _choose_moment(clip.actions)
    (frame,) = choose_decoder().decode(clip.video, indices=[moment])
    picture = draw_controls(
        frame,
        [("", manifest.action_space.controls_at(clip.actions.rows, moment))],
        space=manifest.action_space,
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
