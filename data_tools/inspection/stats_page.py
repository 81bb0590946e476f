"""What a data set holds, as one page for people."""

from collections.abc import Sequence
from html import escape
from itertools import islice
from pathlib import Path

import numpy as np

from data_tools.inspection.play_counts import (
    CLIP_EDGES_S,
    IDLE_EDGES,
    PRESS_EDGES_S,
    PlayCounts,
)
from data_tools.inspection.stats import DatasetCounts
from data_tools.inspection.thumbnails import choose_clips, draw_thumbnail
from data_tools.sticks import stick_pairs
from nitrogen_train.actions import ActionSpace
from nitrogen_train.data.manifest import Manifest
from nitrogen_train.data.manifest_row import ManifestRow
from nitrogen_train.data.schema import SPLITS
from nitrogen_train.pages.bars import draw_bars, draw_columns, draw_map, show_picture
from nitrogen_train.pages.page import format_table, write_page
from nitrogen_train.progress import track

_MOST_GAMES = 30
"""With a section of their own, the longest first; the table has all."""
_PICTURES_PER_GAME = 4


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


def _describe(whole: PlayCounts, counts: DatasetCounts, *, num_games: int) -> str:
    num_sessions = sum(len(sessions) for sessions in counts.sessions.values())
    return (
        f"{whole.seconds / 3600:,.2f} hours in {whole.num_clips:,} clips of {num_sessions:,} "
        f"session{_s(num_sessions)}, {num_games:,} game{_s(num_games)}. "
        f"{whole.num_valid_rows / whole.num_rows:.1%} of the rows are valid, "
        f"{whole.num_idle_rows / whole.num_rows:.1%} are idle."
    )


def _hours_section(counts: DatasetCounts, longest: Sequence[str]) -> str:
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
    chart = draw_bars("Hours", bars, parts=SPLITS)
    table = format_table(header, rows)
    return (
        f'<h2>Hours</h2><div class="card"><div class="narrow">{chart}</div></div>'
        f'<div class="card">{table}</div>'
    )


def _whole_section(whole: PlayCounts) -> str:
    charts = _distributions(whole)
    lengths = draw_columns(
        "Clips by length, in seconds",
        [f"{edge:g}" for edge in CLIP_EDGES_S],
        whole.clip_lengths.tolist(),
    )
    cards = "".join(f'<div class="card">{chart}</div>' for chart in [lengths, *charts])
    return f'<h2>All games</h2><div class="tiles">{cards}</div>'


def _game_section(
    game: str,
    counts: PlayCounts,
    dataset_dir: Path,
    manifest: Manifest,
    clips: Sequence[ManifestRow],
) -> str:
    space = manifest.action_space
    pictures = ""
    for row in clips:
        picture, moment = draw_thumbnail(dataset_dir, manifest, row)
        pictures += show_picture(picture, f"{row.clip_id}, row {moment}")
    charts = "".join(f"<div>{chart}</div>" for chart in _distributions(counts))
    return (
        f'<h2>{escape(game)}</h2><div class="card"><div class="pictures">{pictures}</div>'
        f'<div class="wide"><div>{_press_chart(counts, space)}</div>'
        f'<div class="maps">{_stick_maps(counts, space)}</div></div>'
        f'<div class="wide">{charts}</div></div>'
    )


def _press_chart(counts: PlayCounts, space: ActionSpace) -> str:
    rates = counts.pressed / counts.num_rows * 100
    used = [place for place in np.argsort(-rates, kind="stable") if rates[place] > 0]
    if not used:
        return '<p class="note">No button is down in any row.</p>'
    bars = {space.buttons[place]: [float(rates[place])] for place in used}
    return draw_bars("Buttons: share of the rows down, in %", bars, text="{:.2f}")


def _stick_maps(counts: PlayCounts, space: ActionSpace) -> str:
    names = [name.replace("_", " ").capitalize() for name in stick_pairs(space)]
    maps = zip(names, counts.stick_maps, strict=True)
    return "".join(draw_map(f"{name}, up is up", places) for name, places in islice(maps, 4))


def _distributions(counts: PlayCounts) -> list[str]:
    idle = [f"{edge:.0%}" if place % 2 == 0 else "" for place, edge in enumerate(IDLE_EDGES)]
    charts = [draw_columns("Clips by share of idle rows", idle, counts.idle_shares.tolist())]
    lengths = counts.press_lengths.tolist()
    if any(lengths):
        edges = [*(f"{edge:g}" for edge in PRESS_EDGES_S[:-1]), "more"]
        charts.append(draw_columns("Presses by length, in seconds", edges, lengths))
    return charts


def _s(number: int) -> str:
    return "" if number == 1 else "s"
