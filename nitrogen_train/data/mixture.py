"""Open the weighted data sets from which a run draws its windows.

path ─► data set ─► selection ─► table of windows ─► parts with weights (games, or one)
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from nitrogen_train.actions.space import SAME_RATE
from nitrogen_train.data.dataset import Dataset
from nitrogen_train.data.manifest import Manifest, ManifestRow
from nitrogen_train.data.range_cache import RangeCache
from nitrogen_train.data.schema import Split, find_respelt, quote
from nitrogen_train.data.selection import NothingSelectedError, Selection
from nitrogen_train.data.windows import WindowShape, WindowTable, open_window_table
from nitrogen_train.runtime.atomic_files import did_you_mean

_log = logging.getLogger(__name__)
SOURCES = "data.sources"
"""The setting that holds the mixture of a run."""


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """One entry of `data.sources`, or of an evaluation's `datasets`."""

    path: str
    """A folder, or a URL of s3://, gs:// or http(s)://."""
    weight: float = 1.0
    """Share of the samples, relative to the other sources'."""
    where: str | None = None
    """Clips that are in use, such as `idle_share < 0.5 and game in [doom_defend]`."""
    game_temperature: float = 1.0
    """Games are drawn in proportion to windows ** (1 / temperature): 1 is as they come, more is
    nearer to all alike."""
    max_game_hours: float | None = None
    """A game with more video than this is drawn as if it had no more."""
    action_offset: int | None = None
    """Action offset of this data set, where it differs from the run's."""
    # Not in what a resume compares: it permits, and changes no order.
    any_fps: bool = field(default=False, repr=False)
    """Permits clips of another frame rate than the mixture's other clips; see `load_sources`."""

    def __post_init__(self) -> None:
        for name in ("weight", "game_temperature", "max_game_hours"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} must be above 0, got {value}")

    @property
    def is_balanced(self) -> bool:
        """Tell whether games are drawn otherwise than as they come."""
        return self.game_temperature != 1 or self.max_game_hours is not None


def read_options(name: str, values: Mapping[str, Any], *, setting: str = SOURCES) -> SourceOptions:
    """Read one entry of `data.sources`, or of another setting.

    Raises:
        ValueError: If a key is unknown, the path is missing, or a value is of another type.
    """
    known = [item.name for item in fields(SourceOptions)]
    unknown = [key for key in values if key not in known]
    if unknown or "path" not in values:
        got = (
            f"got {', '.join(unknown)}{did_you_mean(unknown[0], known)}" if unknown else "got none"
        )
        raise ValueError(
            f"{setting}.{name} needs a path and may have {', '.join(known[1:])}; {got}"
        )
    if type(values["path"]) not in (str, int, float) or values["path"] == "":
        raise ValueError(
            f"{setting}.{name}.path must be a folder or a URL, got {values['path'] or 'nothing'}"
        )
    plain: dict[str, Any] = {**values, "path": str(values["path"])}
    try:
        for key in ("weight", "game_temperature", "max_game_hours"):
            if plain.get(key) is not None:
                plain[key] = float(plain[key])
        kinds = ("action_offset", int, "a whole number"), ("any_fps", bool, "true or false")
        for key, kind, expected in kinds:
            # Python's booleans are whole numbers too.
            if plain.get(key) is not None and type(plain[key]) is not kind:
                raise ValueError(f"{key} must be {expected}, got {plain[key]!r}")
        return SourceOptions(**plain)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{setting}.{name}: {error}") from error


@dataclass(frozen=True, kw_only=True)
class Source:
    """One data set of a mixture, or one split of it."""

    name: str
    """Identity in window ids and logs."""
    dataset: Dataset
    """All of its clips."""
    selection: Selection
    """Selection of the clips that are in use."""
    table: WindowTable
    """The windows of those."""
    window: WindowShape
    """Shape of windows; only `action_offset` may differ between sources."""
    options: SourceOptions

    @property
    def manifest(self) -> Manifest:
        """Return the manifest of all its clips."""
        return self.dataset.manifest

    def rows(self) -> list[ManifestRow]:
        """Read the rows of the clips that are in use."""
        return self.dataset.select(self.selection.expression)

    @property
    def starts(self) -> list[int]:
        """Positions in the table at which the source's parts begin, and the end of the last one."""
        if not self.options.is_balanced:
            return [0, self.table.num_windows]
        return np.unique(self.table.game_starts).tolist()

    @property
    def part_weights(self) -> list[float]:
        """Return how often each part is drawn, relative to the others."""
        if not self.options.is_balanced:
            return [1.0]
        weights: list[float] = []
        for count in self.table.game_counts:
            if not count.num_windows:
                continue
            hours = self.options.max_game_hours
            kept = 1.0 if hours is None else min(1.0, hours / count.hours)
            weights.append((count.num_windows * kept) ** (1 / self.options.game_temperature))
        return weights

    @property
    def mean_record_bytes(self) -> float:
        """Return the mean size of a clip's record, over all clips of the manifest."""
        return float(self.manifest.table["size"].to_numpy().mean())

    def describe(self) -> str:
        """Name what the order of this source depends on; where it lies is not among it."""
        options = replace(self.options, path="", where=None)
        return (
            f"{self.name}:{options}:{self.window}:{self.selection.expression}:{self.manifest.hash}"
        )


def load_sources(
    sources: Mapping[str, Mapping[str, Any]],
    *,
    split: Split,
    window: WindowShape,
    index_dir: Path,
    cache: RangeCache | None = None,
    setting: str = SOURCES,
) -> list[Source]:
    """Open the data sets of a mixture.

    A row lasts as long as a frame, so rates that differ, by more than 1 %, are to be permitted.

    Args:
        sources: Name to the fields of `SourceOptions`.
        split: The clips to draw from.
        window: How windows are cut.
        index_dir: Where manifests and tables of windows are mapped from.
        cache: Keeps what is read from URLs.
        setting: What names the sources, for messages.

    Raises:
        ValueError: If no source is given, an entry is not one, no clip is left of it, or frame
            rates differ.
    """
    if not sources:
        raise ValueError(
            "no data: give at least one source, for example +data.sources.mine.path=FOLDER"
        )
    loaded: list[Source] = []
    for name, values in sources.items():
        options = read_options(name, values, setting=setting)
        offset = window.action_offset if options.action_offset is None else options.action_offset
        shape = replace(window, action_offset=offset)
        dataset = Dataset(options.path, cache=cache, index_dir=index_dir)
        is_of_split = f"split == {split}"
        try:
            where = f"({options.where}) and {is_of_split}" if options.where else is_of_split
            selection = Selection(where)
            _check_split(dataset.manifest, split, setting=setting)
            table = open_window_table(
                dataset.manifest,
                selection=selection,
                window=shape,
                cache_dir=index_dir,
                by_game=options.is_balanced,
            )
        except ValueError as error:
            hint = ""
            if isinstance(error, NothingSelectedError) and split == "val" and setting == SOURCES:
                hint = (
                    "; without validation: data.num_val_windows=0, else shard again with more "
                    "sessions or a larger --heldout-share"
                )
            raise ValueError(f"{setting}.{name} ({options.path}): {error}{hint}") from error
        loaded.append(
            Source(
                name=name, dataset=dataset, selection=selection, table=table, window=shape,
                options=options,
            )
        )  # fmt: skip
    _refuse_mixed_rates(
        [source for source in loaded if not source.options.any_fps], setting=setting
    )
    if split == "train":
        _warn_of_respelt_games(loaded)
    return loaded


def share_by_game(sources: Sequence[Source]) -> dict[str, float]:
    """Compute each game's share of the samples, over all sources."""
    total = sum(source.options.weight for source in sources)
    shares: dict[str, float] = {}
    for source in sources:
        counts = [count for count in source.table.game_counts if count.num_windows]
        weights: list[float] = [count.num_windows for count in counts]
        if source.options.is_balanced:
            weights = source.part_weights
        for count, weight in zip(counts, weights, strict=True):
            share = source.options.weight / total * weight / sum(weights)
            shares[count.game] = shares.get(count.game, 0.0) + share
    return shares


def _check_split(manifest: Manifest, split: Split, *, setting: str) -> None:
    if split in manifest.table["split"].unique().to_pylist():
        return
    num_sessions = len(manifest.table["session_id"].unique())
    what, without = "evaluation", ""
    if setting == SOURCES:
        what = "training"
        without = "; or train without validation: data.num_val_windows=0" * (split == "val")
    raise ValueError(
        f"no clip is in {split!r}, and {what} needs train and val: sessions are never split, and "
        f"there {'is 1' if num_sessions == 1 else f'are {num_sessions}'}; record more sessions and "
        f"make the data set again (--heldout-share says how many of them are val){without}"
    )


def _refuse_mixed_rates(sources: Sequence[Source], *, setting: str) -> None:
    edges = {source.name: source.table.fps_range for source in sources}
    if edges and max(high for _, high in edges.values()) > SAME_RATE * min(
        low for low, _ in edges.values()
    ):
        found = ", ".join(
            f"{name} has {low:g}" + (f" to {high:g}" if high > low else "")
            for name, (low, high) in edges.items()
        )
        action_hz = "data.action_hz" if setting == SOURCES else "action_hz"
        raise ValueError(
            f"{setting}: the clips' frames per second differ ({found}), and so does how long a row "
            f"of actions lasts; reduce them to one rate by {action_hz}, choose one, as by "
            'where: "fps == 60", or permit it by any_fps: true in the source that differs'
        )


def _warn_of_respelt_games(sources: Sequence[Source]) -> None:
    games = [count.game for source in sources for count in source.table.game_counts]
    for names in find_respelt(games):
        _log.warning(
            "data.sources: %s differ in their spelling alone, and are learned as different games; "
            "if they are one, make one of the data sets again with the other name",
            quote(names),
        )
