"""Write one self-contained page that shows what a run has reached; it fetches nothing.

Sections without content are left out, so the same page serves a whole demo and a single evaluation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nitrogen_train.runtime.run_files import Metric, count_steps, read_metrics
from nitrogen_train.viewing.charts import (
    Chart,
    Curve,
    Scale,
    Series,
    draw_curves,
    draw_scores,
    has_content,
)
from nitrogen_train.viewing.page import PagePicture, Section, Table, write_page

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


@dataclass(frozen=True, kw_only=True)
class Opening:
    """What a page begins with."""

    title: str
    sections: Sequence[Section] = ()
    """Sections that come before those about the run."""


def write_report(
    output_path: Path,
    *,
    opening: Opening,
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
        opening: Its headline, and what comes before the sections about the run.
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
        *opening.sections,
        _videos_section(videos, games),
        _scores_section(games),
        _curves_section(read_metrics(metrics_csv) if metrics_csv else {}),
        *([_offline_section(offline)] if offline else []),
        _stages_section(stages),
        Section(heading="Where it was run", facts=facts),
    ]
    write_page(output_path, title=opening.title, lead=_headline(games), sections=sections)


def choose_scale(name: str) -> Scale:
    """Choose how a metric's values are laid out, by its name."""
    quantity = name.rpartition("/")[2]
    if any(word in quantity for word in ("f1", "r2", "share", "mfu")):
        return "share"
    return "log_if_wide" if "loss" in quantity or "norm" in quantity else "from_zero"


def make_curve(name: str, points: Series, *, key: str, colour: int) -> Curve:
    """Make the curve of a metric; all but the learning rate are noisy where they are long."""
    return Curve(key=key, points=points, colour=colour, is_noisy=name != "train/lr")


def _headline(games: Mapping[str, Mapping[str, Any]]) -> str:
    parts = [f"{name} {game['score']:.2f} ({_interval(game)})" for name, game in games.items()]
    return f"Closed-loop score, 0 = random player, 1 = expert: {' · '.join(parts)}."


def _interval(game: Mapping[str, Any]) -> str:
    return f"{game['low']:.2f} – {game['high']:.2f}"


def _videos_section(
    videos: Mapping[str, bytes | Path], games: Mapping[str, Mapping[str, Any]]
) -> Section:
    return Section(
        heading="The policy at play",
        note="Held-out seeds. The pad shows what the policy presses at that moment.",
        videos=[
            PagePicture(
                kind="video/mp4",
                data=video.read_bytes() if isinstance(video, Path) else video,
                caption=name,
                detail=f"score {games[name]['score']:.2f}" if name in games else "",
            )
            for name, video in videos.items()
        ],
    )


def _scores_section(games: Mapping[str, Mapping[str, Any]]) -> Section:
    rows = [
        (
            name,
            *(f"{game[player]:.4g}" for player in ("random", "expert", "reference", "policy")),
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
    return Section(
        heading="Scores",
        note="All players play the same held-out seeds. What counts as 1 is the larger of our "
        f"expert's mean and the published expert score ({sources}). Intervals are bootstrapped "
        "over episodes.",
        charts=[draw_scores(games)],
        tables=[Table(header=header, rows=rows)],
    )


def _curves_section(metrics: Mapping[str, Metric]) -> Section:
    return Section(
        heading="Training",
        note="Over optimizer steps; running means over what was logged, which is faint.",
        charts=_draw_curves(metrics),
    )


def _draw_curves(metrics: Mapping[str, Metric]) -> list[Chart]:
    """Draw the few charts that tell a reader how a training went."""
    sources = sorted(name for name in metrics if name.startswith("train/loss_source_"))
    charts = {
        "Loss": {"training": "train/loss", "validation": "val/loss"},
        "Loss by part": {"buttons": "train/loss_buttons", "sticks": "train/loss_sticks"},
        "Loss by source": {name.removeprefix("train/loss_source_"): name for name in sources},
        "Button F1, validation": {"": "val/button_f1"},
        "Stick R², validation": {"": "val/stick_r2"},
        "Learning rate": {"": "train/lr"},
        "Samples per second": {"": "time/samples_per_s"},
    }
    drawn: list[Chart] = []
    for title, names in charts.items():
        told = {key: name for key, name in names.items() if name in metrics}
        if has_content(metrics[name] for name in told.values()):
            curves = [
                make_curve(name, metrics[name], key=key, colour=colour)
                for colour, (key, name) in enumerate(told.items())
            ]
            scale = choose_scale(next(iter(told.values())))
            drawn.append(draw_curves(title, curves, num_steps=count_steps(metrics), scale=scale))
    return drawn


def _offline_section(offline: Mapping[str, Any]) -> Section:
    players = offline["players"]
    tables = [
        Table(
            header=("mean over games" if scope == "macro" else scope, *_OFFLINE_COLUMNS.values()),
            rows=[
                (player.replace("_", " "), *_tell_offline((told["games"] | told)[scope]))
                for player, told in players.items()
            ],
            row_styles=["strong" if player == "policy" else "" for player in players],
        )
        for scope in ("macro", *players["policy"]["games"])
    ]
    return Section(
        heading="Offline, on held-out sessions",
        note="The next row, predicted from the recorded frame, next to players that see no frame. "
        "Onset and release are the rows where a button changes; repeating the last action cannot "
        "find one.",
        tables=tables,
    )


def _tell_offline(means: Mapping[str, int | float | None]) -> list[str]:
    values = [means[name] for name in _OFFLINE_COLUMNS]
    return ["–" if value is None else f"{value:.3f}" for value in values]


def _stages_section(stages: Sequence[Stage]) -> Section:
    rows = [(stage.name, stage.command, _duration(stage.seconds)) for stage in stages]
    total = ("total", "", _duration(sum(stage.seconds for stage in stages)))
    table = Table(header=("stage", "command", "time"), rows=[*rows, total], code_column=1)
    return Section(heading="What was run", tables=[table] if stages else [])


def _duration(seconds: int | float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
