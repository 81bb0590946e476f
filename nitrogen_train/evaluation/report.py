"""One self-contained page that shows what a run has reached; nothing in it is fetched.

Sections without content are left out, so the same page serves a whole demo and a single evaluation.
"""

import base64
import contextlib
import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from nitrogen_train.evaluation.curves import draw_demo_curves
from nitrogen_train.pages.charts import Series, draw_scores
from nitrogen_train.pages.page import format_table, write_page

_OFFLINE_COLUMNS = {
    "onset_f1": "onset F1",
    "release_f1": "release F1",
    "frame_f1": "frame F1",
    "stick_r2": "stick R²",
    "stick_mae": "stick error",
}


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of what was run."""

    name: str
    command: str
    seconds: int | float
    """Wall-clock time, summed over interruptions."""


def write_report(
    output_path: Path,
    *,
    title: str,
    scores: Mapping[str, Any],
    offline: Mapping[str, Any] | None,
    metrics_csv: Path | None,
    videos: Mapping[str, bytes | Path],
    stages: Sequence[Stage],
    facts: Mapping[str, object],
) -> None:
    """Write the page.

    Args:
        output_path: The HTML file; written whole or not at all.
        title: Its headline.
        scores: The content of `scores.json`.
        offline: The content of `offline.json`; None leaves the section out.
        metrics_csv: The log of training, see `read_metrics`; None leaves the section out.
        videos: H.264 mp4 of the policy playing, by game.
        stages: What was run, in order.
        facts: About the machine and the run, by name.

    Raises:
        FileNotFoundError: If a video or the metrics are missing.
    """
    games = scores["games"]
    sections = [
        _videos_section(videos, games),
        _scores_section(games),
        _curves_section(read_metrics(metrics_csv)) if metrics_csv else "",
        _offline_section(offline) if offline else "",
        _stages_section(stages),
        _facts_section(facts),
    ]
    write_page(output_path, title=title, lead=_headline(games), sections=sections)


def read_metrics(path: Path) -> dict[str, Series]:
    """Read a log of metrics, as `nitrogen_train.training.loggers.CsvLogger` writes it.

    Args:
        path: CSV with the columns `step`, `name` and `value`. A run that was killed repeats steps:
            the last line of a step and a name counts.

    Returns:
        Steps, rising, and values of each metric.

    Raises:
        ValueError: If a column is missing; a line that was cut is passed over.
    """
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames and (
            missing := {"step", "name", "value"}.difference(reader.fieldnames)
        ):
            raise ValueError(
                f"{path}: expected the columns {sorted(missing)}, got {reader.fieldnames}"
            )
        values: dict[str, dict[int, float]] = defaultdict(dict)
        for row in reader:
            with contextlib.suppress(TypeError, ValueError):
                values[row["name"]][int(row["step"])] = float(row["value"])
    return {
        name: (sorted(by_step), [by_step[step] for step in sorted(by_step)])
        for name, by_step in values.items()
    }


def _headline(games: Mapping[str, Mapping[str, Any]]) -> str:
    parts = [f"{name} {game['score']:.2f} ({_interval(game)})" for name, game in games.items()]
    return f"Closed-loop score, 0 = random player, 1 = expert: {' · '.join(parts)}."


def _interval(game: Mapping[str, Any]) -> str:
    return f"{game['low']:.2f} – {game['high']:.2f}"


def _videos_section(
    videos: Mapping[str, bytes | Path], games: Mapping[str, Mapping[str, Any]]
) -> str:
    if not videos:
        return ""
    return (
        "<h2>The policy at play</h2>"
        '<p class="note">Held-out seeds. The pad shows what the policy presses at that moment.</p>'
        f'<div class="tiles">{"".join(_video(*item, games) for item in videos.items())}</div>'
    )


def _video(name: str, video: bytes | Path, games: Mapping[str, Mapping[str, Any]]) -> str:
    data = video.read_bytes() if isinstance(video, Path) else video
    encoded = base64.b64encode(data).decode("ascii")
    score = f"score {games[name]['score']:.2f}" if name in games else ""
    return (
        '<figure class="card"><video controls autoplay muted loop playsinline '
        f'src="data:video/mp4;base64,{encoded}"></video>'
        f"<figcaption><b>{escape(name)}</b><span>{score}</span></figcaption></figure>"
    )


def _scores_section(games: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        (
            name,
            f"{game['random']:.4g}",
            f"{game['expert']:.4g}",
            f"{game['reference']:.4g}",
            f"{game['policy']:.4g}",
            f"{game['score']:.2f}",
            _interval(game),
            str(game["episodes"]),
        )
        for name, game in games.items()
    ]
    header = (
        "game", "random", "our expert", "counts as 1", "policy", "score", "95 % interval", "seeds"
    )  # fmt: skip
    sources = "; ".join(f"{name}: {game['reference_source']}" for name, game in games.items())
    return (
        "<h2>Scores</h2>"
        '<p class="note">All players play the same held-out seeds. What counts as 1 is the larger '
        f"of our expert's mean and the published expert score ({escape(sources)}). Intervals are "
        "bootstrapped over episodes.</p>"
        f'<div class="card">{draw_scores(games)}</div>'
        f'<div class="card">{format_table(header, rows)}</div>'
    )


def _curves_section(metrics: Mapping[str, Series]) -> str:
    charts = "".join(f'<div class="card">{chart}</div>' for chart in draw_demo_curves(metrics))
    if not charts:
        return ""
    return (
        '<h2>Training</h2><p class="note">Over optimizer steps; running means over what was '
        f'logged, which is faint.</p><div class="tiles">{charts}</div>'
    )


def _offline_section(offline: Mapping[str, Any]) -> str:
    players = offline["players"]
    scopes = ["macro", *players["policy"]["games"]]
    tables = []
    for scope in scopes:
        rows = [
            (player.replace("_", " "), *(_number(value) for value in _pick(metrics, scope)))
            for player, metrics in players.items()
        ]
        header = ("mean over games" if scope == "macro" else scope, *_OFFLINE_COLUMNS.values())
        tables.append(f'<div class="card">{format_table(header, rows, strong="policy")}</div>')
    return (
        '<h2>Offline, on held-out sessions</h2><p class="note">The next row, predicted from the '
        "recorded frame, next to players that see no frame. Onset and release are the rows where a "
        "button changes; repeating the last action cannot find one.</p>" + "".join(tables)
    )


def _pick(metrics: Mapping[str, Any], scope: str) -> list[int | float | None]:
    means = metrics["macro"] if scope == "macro" else metrics["games"][scope]
    return [means[name] for name in _OFFLINE_COLUMNS]


def _number(value: int | float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _stages_section(stages: Sequence[Stage]) -> str:
    if not stages:
        return ""
    rows = [(stage.name, stage.command, _duration(stage.seconds)) for stage in stages]
    rows.append(("total", "", _duration(sum(stage.seconds for stage in stages))))
    table = format_table(("stage", "command", "time"), rows, code_column=1)
    return f'<h2>What was run</h2><div class="card">{table}</div>'


def _duration(seconds: int | float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _facts_section(facts: Mapping[str, object]) -> str:
    if not facts:
        return ""
    entries = (f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in facts.items())
    return f'<h2>Where it was run</h2><div class="card"><dl>{"".join(entries)}</dl></div>'
