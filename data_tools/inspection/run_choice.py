"""Find the run that a verb is asked about: one that has begun, or one that would be started."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from nitrogen_train.config import RunConfig, load_defaults, read_run


def choose_run(
    *,
    datasets: Sequence[str] = (),
    mixture_path: Path | None = None,
    run_dir: Path | None = None,
    seed: int | None = None,
    **data: int | None,
) -> RunConfig:
    """Read or compose a run's config.

    Args:
        datasets: Folders or URLs, each a source of weight 1 that is named by its last part.
        mixture_path: Instead of these, a file with the mapping of `data.sources`.
        run_dir: Instead of these, the folder of a run, from which all is read.
        seed: In place of the run's.
        data: Fields of `DataConfig` in place of the run's; None leaves one as it is.

    Raises:
        ValueError: If not exactly one of the three is given, or it does not name sources.
        FileNotFoundError: If a file does not exist.
    """
    if sum((bool(datasets), mixture_path is not None, run_dir is not None)) != 1:
        raise ValueError("give data sets, or --mixture FILE, or --run FOLDER")
    config = load_defaults() if run_dir is None else read_run(run_dir)
    if mixture_path is not None:
        config.data.sources = _read_mixture(mixture_path)
    elif run_dir is None:
        config.data.sources = _name_sources(datasets)
    if seed is not None:
        config.seed = seed
    for name, value in data.items():
        if value is not None:
            setattr(config.data, name, value)
    return config


def name_dataset(path: str) -> str:
    """Take the last part of a folder's path or a URL."""
    return path.rstrip("/").rpartition("/")[2] if "://" in path else Path(path).resolve().name


def _read_mixture(path: Path) -> dict[str, dict[str, Any]]:
    try:
        sources = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    is_mapping = isinstance(sources, Mapping) and all(
        isinstance(name, str) and isinstance(values, Mapping) for name, values in sources.items()
    )
    if not is_mapping or not sources:
        raise ValueError(
            f"{path} must hold what data.sources holds, such as `mine: {{path: FOLDER, weight: 2}}`"
        )
    return {name: dict(values) for name, values in sources.items()}


def _name_sources(datasets: Sequence[str]) -> dict[str, dict[str, Any]]:
    sources: dict[str, dict[str, Any]] = {}
    for dataset in datasets:
        name = name_dataset(dataset)
        if name in sources:
            raise ValueError(
                f"two data sets are named {name!r}; name their sources in a --mixture file"
            )
        sources[name] = {"path": dataset}
    return sources
