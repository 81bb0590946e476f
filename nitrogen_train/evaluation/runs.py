"""What several runs differ in, and where each of them has come to."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import yaml

from nitrogen_train.data.files import write_atomically
from nitrogen_train.evaluation.report import read_metrics
from nitrogen_train.pages.charts import NUM_COLOURS, Series, draw_curves
from nitrogen_train.pages.page import write_page

_EVERY_RUN_HAS_ITS_OWN = ("output_dir", "ckpt_path", "loggers.", "hydra.")


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run folder, read."""

    name: str
    """Its path below the folder that was asked for."""
    settings: Mapping[str, str]
    """The resolved config, flat."""
    metrics: Mapping[str, Series]
    """Empty before the first logged step."""
    scores: Mapping[str, int | float]
    """Normalized score by game, where it has been evaluated."""


def read_runs(folder: Path) -> list[Run]:
    """Read the run folders in and below a folder, in the order of their names' numbers.

    Raises:
        FileNotFoundError: If there is none.
    """
    found = sorted(
        (path.parent for path in folder.rglob("config.yaml") if ".hydra" not in path.parts),
        key=lambda path: [(not part.isdigit(), part.zfill(9)) for part in path.parts],
    )
    if not found:
        raise FileNotFoundError(f"no run in {folder}: expected folders with a config.yaml")
    return [_read_run(path, name=str(path.relative_to(folder))) for path in found]


def tabulate_runs(runs: Sequence[Run]) -> tuple[list[str], list[list[str]]]:
    """Lay out what differs, the last step, and last and best values of each metric.

    Returns:
        Names of the columns, and a row per run.
    """
    keys = sorted({key for run in runs for key in run.settings})
    varying = [key for key in keys if len({run.settings.get(key) for run in runs}) > 1]
    names = sorted({name for run in runs for name in run.metrics if name.startswith("val/")})
    games = sorted({game for run in runs for game in run.scores})
    header = ["run", *varying, "step", "train/loss"]
    header += [column for name in names for column in (name, f"best {name}")]
    header += [f"score {game}" for game in games]
    rows = [
        [
            run.name,
            *(run.settings.get(key, "") for key in varying),
            str(max((steps[-1] + 1 for steps, _ in run.metrics.values()), default=0)),
            _last(run, "train/loss"),
            *(text for name in names for text in (_last(run, name), _best(run, name))),
            *(_number(run.scores.get(game)) for game in games),
        ]
        for run in runs
    ]
    return header, rows


def write_runs_page(output_path: Path, runs: Sequence[Run], *, title: str) -> None:
    """Write the table and every metric's curves as one page.

    Args:
        output_path: The HTML file; written whole or not at all.
        runs: In the order of the table.
        title: The headline.
    """
    names = {name for run in runs for name in run.metrics}
    ordered = sorted(names, key=lambda name: (not name.endswith("/loss"), name))
    charts = [
        f'<div class="card">{draw_curves(name, _lines(runs, name))}</div>' for name in ordered
    ]
    sections = [
        f'<div class="card">{_format_rows(*tabulate_runs(runs))}</div>',
        f'<h2>Training</h2><div class="tiles">{"".join(charts)}</div>',
    ]
    lead = f"{len(runs)} runs; settings that they share are left out."
    write_page(output_path, title=title, lead=lead, sections=sections)


def write_runs_csv(output_path: Path, runs: Sequence[Run]) -> None:
    """Write the table for a program to read."""
    header, rows = tabulate_runs(runs)
    with (
        write_atomically(output_path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        csv.writer(file).writerows([header, *rows])


def _read_run(path: Path, *, name: str) -> Run:
    config = yaml.safe_load((path / "config.yaml").read_text(encoding="utf-8"))
    log = path / "metrics.csv"
    scores = path / "eval" / "scores.json"
    games = json.loads(scores.read_text(encoding="utf-8"))["games"] if scores.is_file() else {}
    return Run(
        name=name,
        settings=dict(_leaves(config)),
        metrics=read_metrics(log) if log.is_file() else {},
        scores={game: score["score"] for game, score in games.items()},
    )


def _leaves(node: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    leaves: list[tuple[str, str]] = []
    for key, value in node.items():
        path = f"{prefix}{key}"
        if path.startswith(_EVERY_RUN_HAS_ITS_OWN):
            continue
        if isinstance(value, dict):
            leaves += _leaves(value, f"{path}.")
        else:
            leaves.append((path, str(value)))
    return leaves


def _lines(runs: Sequence[Run], name: str) -> dict[str, Series]:
    return {run.name: run.metrics.get(name, ((), ())) for run in runs}


def _last(run: Run, name: str) -> str:
    return _number(run.metrics[name][1][-1]) if name in run.metrics else "–"


def _best(run: Run, name: str) -> str:
    if name not in run.metrics:
        return "–"
    values = run.metrics[name][1]
    return _number(min(values) if "loss" in name or "error" in name else max(values))


def _number(value: int | float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _format_rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(
        f'<tr><td class="key{index % NUM_COLOURS}">{escape(row[0])}</td>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for index, row in enumerate(rows)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
