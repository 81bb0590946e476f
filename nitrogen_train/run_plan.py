"""A run's config to its data and its order; `nitrogen-train` and `nitrogen-data` both ask here."""

from pathlib import Path

from nitrogen_train.config import DataConfig, RunConfig
from nitrogen_train.data.cache import RangeCache
from nitrogen_train.data.index_files import default_index_dir
from nitrogen_train.data.mixture import Source, load_sources
from nitrogen_train.data.order import Interleaving
from nitrogen_train.data.plan import WindowPlan
from nitrogen_train.data.schema import Split
from nitrogen_train.data.windows import WindowShape


def open_sources(data: DataConfig, *, split: Split) -> list[Source]:
    """Open the data sets of a run."""
    cache = None
    if data.cache_dir is not None:
        cache = RangeCache(Path(data.cache_dir), max_bytes=int(data.cache_gib * 2**30))
    window = WindowShape(
        num_frames=data.num_frames,
        frame_stride=data.frame_stride,
        action_horizon=data.action_horizon,
        action_offset=data.action_offset,
        action_hz=data.action_hz,
    )
    index_dir = default_index_dir() if data.index_dir is None else Path(data.index_dir)
    return load_sources(data.sources, split=split, window=window, index_dir=index_dir, cache=cache)


def build_plan(config: RunConfig) -> WindowPlan:
    """Open the training clips of a run, and lay out their order; no shard is read."""
    data = config.data
    interleaving = Interleaving(
        global_batch_size=data.global_batch_size,
        lane_groups=data.lane_groups,
        windows_per_visit=data.windows_per_visit,
        seed=config.seed,
    )
    return WindowPlan(open_sources(data, split="train"), interleaving)
