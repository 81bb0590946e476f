"""Read the runs in a folder: their settings, how far each has come, and which belong together."""

import contextlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from typing import Any

import yaml

from nitrogen_train.pretrained.places import iter_settings, read_run_config
from nitrogen_train.runtime.run_files import (
    FILE_NAME,
    Metric,
    RunError,
    count_steps,
    read_error,
    read_max_steps,
    read_metrics,
)

SEED = "seed"
_EVERY_RUN_HAS_ITS_OWN = ("output_dir", "ckpt_path", "loggers.", "hydra.")


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run folder, read."""

    name: str
    """Its path below the folder that was asked for."""
    settings: Mapping[str, str]
    """The resolved config, flat; of a run that failed before it was written, the overrides."""
    has_config: bool
    max_steps: int | None
    """None if it failed before its config was written."""
    best_metric: str
    best_is_lowest: bool
    metrics: Mapping[str, Metric]
    """Empty before the first logged step."""
    scores: Mapping[str, int | float]
    """Normalized score by game, where it has been evaluated."""
    is_finished: bool
    error: str | None
    """Error of the last start, if it failed."""

    @property
    def step(self) -> int:
        """Return the number of steps that have been logged."""
        return count_steps(self.metrics)

    def last(self, metric: str) -> float | None:
        """Return the last value of a metric, None if there is none."""
        return float(self.metrics[metric][1][-1]) if metric in self.metrics else None

    def best(self, metric: str) -> float | None:
        """Return the best value of a metric, None if there is none."""
        if metric not in self.metrics:
            return None
        is_lowest = "loss" in metric or "error" in metric
        if metric == self.best_metric:
            is_lowest = self.best_is_lowest
        values = [value for value in self.metrics[metric][1] if isfinite(value)]
        if not values:
            return None
        return float(min(values) if is_lowest else max(values))


def read_runs(folder: Path) -> list[Run]:
    """Read the run folders in and below a folder, in the order of their names' numbers.

    Raises:
        FileNotFoundError: If there is none.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}{_suggest(folder)}")
    found = {path.parent for name in ("config.yaml", FILE_NAME) for path in folder.rglob(name)}
    paths = [path for path in found if not _is_copy(path)]
    ordered = sorted(
        paths, key=lambda path: [(not part.isdigit(), part.zfill(9)) for part in path.parts]
    )
    runs = [run for path in ordered if (run := _read_run(path, folder)) is not None]
    if not runs:
        raise FileNotFoundError(
            f"no run in {folder}: expected folders of nitrogen-train, with a config.yaml"
        )
    return runs


def group_runs(runs: Sequence[Run]) -> list[list[Run]]:
    """Put runs together that differ in nothing but the seed, the best group first.

    Groups are in the order of their mean of the best metric; those without one are last.
    """
    groups: dict[tuple[tuple[str, str], ...], list[Run]] = defaultdict(list)
    for run in runs:
        settings = {key: value for key, value in run.settings.items() if key != SEED}
        groups[tuple(sorted(settings.items()))].append(run)
    metric = choose_best_metric(runs)
    return sorted(groups.values(), key=lambda group: _rank(group, metric))


def choose_best_metric(runs: Sequence[Run]) -> str:
    """Choose the metric by which most of the runs are told to be judged."""
    return Counter(run.best_metric for run in runs).most_common(1)[0][0]


def select_comparable(group: Sequence[Run]) -> list[Run]:
    """Select the runs that have come as far as the furthest: a mean over others says nothing."""
    step = max(run.step for run in group)
    return [run for run in group if run.step == step and step]


def find_varying(runs: Sequence[Run]) -> list[str]:
    """Find the settings that differ, without those that follow from others; the seed is last.

    Of a component of different classes only its class is told: the rest has other names.
    """
    configured = [run for run in runs if run.has_config] or runs
    # An override that no config knows is the choice of a file, as in experiment=demo.
    keys = {key for run in configured for key in run.settings}
    varying = {key for key in keys if _varies(key, runs)}
    parents = [key.removesuffix("_target_") for key in varying if key.endswith("._target_")]
    varying = {
        key
        for key in varying
        if key.endswith("._target_") or not any(key.startswith(parent) for parent in parents)
    }
    kept: list[str] = []
    for key in sorted(varying, key=lambda key: (key == SEED, key.count("."), key)):
        if not any(_follows(key, other, runs) for other in kept):
            kept.append(key)
    return kept


def _rank(group: Sequence[Run], metric: str) -> tuple[bool, bool, float]:
    best = [value for run in select_comparable(group) if (value := run.best(metric)) is not None]
    if not best:
        return True, all(run.error for run in group), 0.0
    mean = sum(best) / len(best)
    is_lowest = all(run.best_is_lowest for run in group)
    return False, False, mean if is_lowest else -mean


def _varies(key: str, runs: Sequence[Run]) -> bool:
    # Overrides are not all settings: what they do not name is not known.
    values = {run.settings.get(key) for run in runs if run.has_config or key in run.settings}
    return len(values) > 1


def _follows(key: str, other: str, runs: Sequence[Run]) -> bool:
    """Tell whether a setting is another's value at a second place, as schedule.max_steps is."""
    if key.rpartition(".")[2] != other.rpartition(".")[2]:
        return False
    pairs = [(run.settings.get(key), run.settings.get(other)) for run in runs if run.has_config]
    return all(value == others for value, others in pairs)


def _suggest(folder: Path) -> str:
    """Name the folder that was probably meant."""
    parent = folder.parent
    siblings = [path.name for path in parent.iterdir() if path.is_dir()] if parent.is_dir() else []
    close = get_close_matches(folder.name, siblings, n=1)
    return f"; did you mean {parent / close[0]}?" if close else ""


def _is_copy(path: Path) -> bool:
    """Tell whether wandb or Hydra has copied a run's config here."""
    above = [path, *path.parents]
    return any(
        place.name == ".hydra"
        or (place.name == "wandb" and (place.parent / "config.yaml").exists())
        for place in above
    )


def _read_run(path: Path, folder: Path) -> Run | None:
    """Read a run's folder; None if it is another kind of folder."""
    config, error = _read_config(path / "config.yaml"), read_error(path)
    if config is None and (error is None or (path / "config.yaml").exists()):
        return None
    log = path / "metrics.csv"
    metrics = read_metrics(log) if log.is_file() else {}
    config = config or {}
    max_steps = config.get("max_steps")
    if config and (last := read_max_steps(path)) not in (None, max_steps):
        for place in (config, config.get("schedule", {})):
            place.update({"max_steps": last} if place.get("max_steps") == max_steps else {})
        max_steps = last
    is_finished = bool(config) and (
        count_steps(metrics) >= config["max_steps"] or (path / "policy").is_dir()
    )
    # What has gone on since was an error of another start, which this run has refused.
    is_old = log.is_file() and (
        not error or (path / FILE_NAME).stat().st_mtime_ns < log.stat().st_mtime_ns
    )
    return Run(
        name=str(path.relative_to(folder)) if path != folder else folder.resolve().name,
        settings=_list_settings(config) if config else _read_overrides(error),
        has_config=bool(config),
        max_steps=max_steps,
        best_metric=config.get("best_metric", "val/loss"),
        best_is_lowest=config.get("best_is_lowest", True),
        metrics=metrics,
        scores=_read_scores(path),
        is_finished=is_finished,
        error=None if error is None or is_old or is_finished else error.line,
    )


def _read_config(path: Path) -> dict[str, Any] | None:
    """Read a run's config; None if it is none."""
    try:
        config = read_run_config(path.parent) if path.is_file() else None
    except (yaml.YAMLError, UnicodeDecodeError):
        return None
    is_ours = isinstance(config, dict) and isinstance(config.get("max_steps"), int)
    return config if is_ours else None


def _read_scores(path: Path) -> dict[str, int | float]:
    """Read the scores beside a run, where nitrogen-eval leaves them, or in it, as the demo does."""
    for scores in (path / "eval" / "scores.json", path / "scores.json"):
        if scores.is_file():
            # One that was cut, or is something else's, hides no other run.
            with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
                games = json.loads(scores.read_text(encoding="utf-8"))["games"]
                return {game: score["score"] for game, score in games.items()}
    return {}


def _list_settings(config: dict[str, Any]) -> dict[str, str]:
    return {
        key: str(value)
        for key, value in iter_settings(config)
        if value != {} and not key.startswith(_EVERY_RUN_HAS_ITS_OWN)
    }


def _read_overrides(error: RunError | None) -> dict[str, str]:
    overrides = error.overrides if error else ()
    pairs = (override.lstrip("+~").partition("=") for override in overrides)
    return {
        key: _plain(value)
        for key, _, value in pairs
        if not f"{key}.".startswith(_EVERY_RUN_HAS_ITS_OWN)
    }


def _plain(text: str) -> str:
    """Write a number as the resolved config does: 1e-3 as 0.001.

    >>> _plain("1e-3"), _plain("4"), _plain("[a,b]")
    ('0.001', '4', '[a,b]')
    """
    for kind in (int, float):
        try:
            return str(kind(text))
        except ValueError:
            continue
    return text
