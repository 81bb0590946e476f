"""The shape of a training run's config, and every check that needs no data and no process group.

The top level is a dataclass, so that a misspelt key is refused; below it, components are plain YAML
with a `_target_`, whose keys are checked against the component's own signature.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.utils import instantiate
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from nitrogen_train.data.mixture import read_options
from nitrogen_train.data.share import Share
from nitrogen_train.run_checks import check_path, check_strategy


def find_config_dir() -> str:
    """Find the Hydra tree: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / "conf"
    return str(inside if inside.is_dir() else package.parent / "conf")


@dataclass(kw_only=True)
class NgOptions:
    """What an ng.pt may not say of itself."""

    vision_num_heads: int | None = None
    """Attention heads of its encoder, if the encoder's name does not tell."""
    games: list[str] | None = None
    """Of one that tells games apart: their names by game id, from 1."""


@dataclass(kw_only=True)
class DataConfig:
    """What windows are cut from, and how they are batched."""

    sources: dict[str, dict[str, Any]] = MISSING
    """Name to the fields of `SourceOptions`: path, weight, where, …"""
    games: list[str] = MISSING
    """Names by game id, from 1; a game that is not named here has the id 0, unconditional."""
    action_space: str = "gamepad"
    image_size: int = MISSING
    num_frames: int = 1
    frame_stride: int = 1
    action_horizon: int = MISSING
    action_offset: int = MISSING
    action_hz: float | None = None
    """Reduce clips to this many frames and rows per second; null leaves them as they are."""
    global_batch_size: int = MISSING
    """Samples in one optimizer step, over all ranks and micro-batches."""
    micro_batch_size: int = MISSING
    num_val_windows: int = MISSING
    lane_groups: int = 1
    """Steps between two samples from one clip: lane_groups * global_batch_size clips are open."""
    windows_per_visit: int = 256
    """Windows that a clip hands out each time it is opened, a multiple of 64."""
    clip_cache_gib: float = 2.0
    """If all data, decoded, take less than about this, each worker decodes a clip once."""
    max_lane_gib: float = 16.0
    """What a rank's open clips may take; a run that would take more is refused at its start."""
    index_dir: str | None = None
    """Where each node keeps what it derives from manifests: about 300 bytes per clip, best on its
    own disk; null: $XDG_CACHE_HOME/nitrogen-train or ~/.cache/nitrogen-train."""
    cache_dir: str | None = None
    """Folder on a local disk for what is read from URLs; shared by all processes of the machine."""
    cache_gib: float = 100.0
    """Limit on the files in `cache_dir`."""
    num_workers: int = 1
    prefetch_factor: int = 8
    decoder: str = "auto"
    max_wait_share: float = 0.2
    """Of the time; training that waits for data longer than this is told why."""
    max_fault_share: float = 0.01
    """Of windows that may stand in for others that cannot be read; above it the run stops."""


@dataclass(kw_only=True)
class RunConfig:
    """Top level of `nitrogen-train`."""

    seed: int = 0
    output_dir: str = MISSING
    """The run folder. The same command continues the run that it finds there."""
    max_steps: int = MISSING
    """Optimizer steps of the whole run."""
    ckpt_path: str | None = None
    """A checkpoint of this run to resume from; null: the last one in the run folder."""
    init_from: str | None = None
    """A run, a policy folder, an ng.pt, a hub id or a checkpoint: its network and weights start a
    new run; see `adoption`."""
    ng: NgOptions = field(default_factory=NgOptions)
    """What an ng.pt in `init_from` may not say of itself: ng.vision_num_heads=N."""
    frozen: list[str] = field(default_factory=list[str])
    """Patterns for names of parameters that are not trained, as in frozen=[encoder.*]"""
    lr_scales: dict[str, float] = field(default_factory=dict[str, float])
    """Pattern to factor on the learning rate, as in +lr_scales={encoder.*:0.1}; patterns must
    exclude each other."""
    ema_decay: float = MISSING
    num_sampling_steps: int = 16
    """Solver steps of validation."""
    val_every_n_steps: int = MISSING
    checkpoint_every_n_steps: int = MISSING
    keep_checkpoints: int = 2
    """How many of the latest to keep, at least 1."""
    keep_every_n_steps: int | None = None
    """Checkpoints at multiples of this are kept for good; of checkpoint_every_n_steps."""
    keep_best: int = 0
    """How many of the best by `best_metric` to keep besides."""
    best_metric: str = "val/loss"
    best_is_lowest: bool = True
    activation_checkpointing: bool = False
    """Compute activations twice instead of keeping them: less memory, about a third slower."""
    compile: bool = False
    """torch.compile encoder, mixer and transformer: minutes at the start, faster steps on a GPU."""
    skip_loss_above: float | None = None
    """Times the running median: a step whose loss is above it is skipped; null: none is."""
    check_ranks_every_n_steps: int = 1000
    """Compare the ranks' weights and place in the data; also at the start."""
    plan: bool = False
    """Print what the run would take, here and on clusters of other sizes; nothing is started."""
    num_threads: int | None = None
    """torch's threads per process on a CPU; null: torch's choice."""
    debug: bool = False
    """Show tracebacks."""
    data: DataConfig = field(default_factory=DataConfig)
    model: Any = MISSING
    augmentation: Any = None
    """What training sees differently; empty: nothing."""
    optimizer: Any = MISSING
    schedule: Any = MISSING
    trainer: Any = MISSING
    strategy: Any = MISSING
    """How the run is spread over processes: single, ddp, zero_1, zero_2, zero_3, …_offload."""
    loggers: Any = MISSING
    callbacks: dict[str, Any] = field(default_factory=dict[str, Any])
    """More of Lightning's callbacks, as in +callbacks.mine._target_=my_package.MyCallback"""


def register_schema() -> None:
    """Make the dataclasses known to Hydra; call before composing."""
    store = ConfigStore.instance()
    store.store(name="run_schema", node=RunConfig)
    store.store(group="data", name="schema", node=DataConfig)


def load_defaults(overrides: Sequence[str] = ()) -> RunConfig:
    """Compose what `nitrogen-train` would run with, outside of its command."""
    register_schema()
    with initialize_config_dir(find_config_dir(), version_base="1.3"):
        return OmegaConf.to_object(compose("train", overrides=list(overrides)))  # pyright: ignore[reportReturnType]


def read_run(run_dir: Path) -> RunConfig:
    """Read the config that a run has left in its folder.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is not one, or of a version with other keys.
    """
    path = run_dir / "config.yaml"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: is {run_dir} a run's folder?")
    try:
        merged = OmegaConf.merge(OmegaConf.structured(RunConfig), OmegaConf.load(path))
        return OmegaConf.to_object(merged)  # pyright: ignore[reportReturnType]
    except (OmegaConfBaseException, YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is not the config of a run: {reason}") from error


def build(component: dict[str, Any]) -> Any:  # noqa: ANN401 - whatever `_target_` says
    """Build a component from its node; it gets plain containers, never OmegaConf's."""
    return instantiate(component, _convert_="all")


def build_for_weights(model: dict[str, Any]) -> Any:  # noqa: ANN401 - whatever `_target_` says
    """Build a policy whose weights are read from elsewhere, without fetching any for it."""
    return build(model | {"encoder": model["encoder"] | {"pretrained": False}})


def count_micro_batches(config: RunConfig) -> int:
    """Count the micro-batches that a rank accumulates in one optimizer step.

    Raises:
        ValueError: If the global batch does not divide; the message names the nearest that does.
    """
    world_size = config.trainer["devices"] * config.trainer["num_nodes"]
    return Share(
        global_batch_size=config.data.global_batch_size,
        micro_batch_size=config.data.micro_batch_size,
        rank=0,
        world_size=world_size,
    ).accumulation


def validate(config: RunConfig) -> None:
    """Refuse, before any process starts, what cannot work.

    Raises:
        ValueError: What is wrong, what was expected and what to do.
        FileNotFoundError: If a path does not exist.
    """
    for key in ("devices", "num_nodes"):
        value = config.trainer.get(key)
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"trainer.{key} must be a whole number from 1, got {value!r}")
    count_micro_batches(config)
    if config.check_ranks_every_n_steps < 1:
        raise ValueError(
            f"check_ranks_every_n_steps must be at least 1, got {config.check_ranks_every_n_steps}"
        )
    check_strategy(config.strategy, config.trainer)
    _check_checkpoints(config)
    if not config.data.sources:
        raise ValueError(
            "no data: give at least one source, for example +data.sources.mine.path=FOLDER"
        )
    for name, source in config.data.sources.items():
        check_path(name, read_options(name, source).path)
    if config.data.cache_dir is not None and config.data.cache_gib <= 0:
        raise ValueError(f"data.cache_gib must be above 0, got {config.data.cache_gib}")
    if config.ckpt_path is not None and not Path(config.ckpt_path).exists():
        raise FileNotFoundError(f"ckpt_path={config.ckpt_path} does not exist")
    if config.init_from is not None and not config.init_from:
        raise ValueError(
            "this recipe starts from a policy: give init_from=ng.pt, a hub id or a policy folder"
        )
    if config.ckpt_path is not None and config.init_from is not None:
        raise ValueError(
            "ckpt_path resumes a run, init_from starts a new one from weights: give one of them"
        )


def _check_checkpoints(config: RunConfig) -> None:
    """Refuse a policy of keeping checkpoints that cannot be followed.

    Raises:
        ValueError: What does not fit.
    """
    every = config.checkpoint_every_n_steps
    if every < 1 or config.keep_checkpoints < 1 or config.keep_best < 0:
        raise ValueError(
            "checkpoint_every_n_steps and keep_checkpoints must be at least 1 and keep_best at "
            f"least 0, got {every}, {config.keep_checkpoints} and {config.keep_best}"
        )
    kept = config.keep_every_n_steps
    if kept is not None and (kept < 1 or kept % every):
        raise ValueError(
            f"keep_every_n_steps={kept} must be a multiple of checkpoint_every_n_steps={every}"
        )
    if config.keep_best and config.val_every_n_steps % every:
        raise ValueError(
            f"keep_best judges checkpoints by validations: val_every_n_steps="
            f"{config.val_every_n_steps} must be a multiple of checkpoint_every_n_steps={every}"
        )
