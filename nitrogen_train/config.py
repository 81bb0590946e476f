"""Define the config of each command, and refuse one that cannot work before any process starts.

    words of the command, conf/*.yaml ─► Hydra ─► RunConfig, EvaluateConfig, ExportConfig
      ─► validate: paths, batch sizes, phases, checkpoints, strategy ─► the command

The top level is a dataclass, so that a misspelt key is refused. Below it, components are plain YAML
with a `_target_`, whose keys are checked against the component's own signature. The checks need no
torch, no data and no process group, and ask no server. `docs/config.md` lists all keys.
"""

import difflib
import inspect
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.utils import get_object, instantiate
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from nitrogen_train.data.manifest import MANIFEST_NAME
from nitrogen_train.data.mixture import read_options
from nitrogen_train.data.order import BatchShape
from nitrogen_train.data.storage import Storage
from nitrogen_train.pretrained.places import read_run_config
from nitrogen_train.training.phases import count_phases


def check_output_dir(path: str) -> None:
    """Refuse a folder for results that cannot be one; nothing is left in it, or made.

    Args:
        path: What was given; the folder may be there.

    Raises:
        ValueError: If it is a file or a data set, or cannot be made or written.
    """
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"output_dir={path} is a file: give a folder")
    if (folder / MANIFEST_NAME).is_file():
        raise ValueError(
            f"output_dir={path} is a data set (it has a {MANIFEST_NAME}); give another folder"
        )
    if next(folder.glob("shard-*.tar"), None) is not None:
        raise ValueError(f"output_dir={path} holds shards of a data set; give another folder")
    what = "write into" if folder.exists() else "make"
    nearest = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    try:
        # What may be written is known only by writing: to root, or on a network, modes say little.
        with TemporaryDirectory(dir=nearest, prefix=".trial-"):
            pass
    except OSError as error:
        raise ValueError(f"cannot {what} output_dir={path}: {error.strerror}") from error


def check_dataset(path: str) -> None:
    """Refuse what cannot be one of `datasets`.

    Raises:
        ValueError: If it is a URL.
        FileNotFoundError: If it is a folder without a manifest.
    """
    if "://" in path:
        raise ValueError(f"datasets: {path} is a URL, expected a folder; download it first")
    check_path("datasets", path, then="datasets=[data]")


def check_path(setting: str, path: str, *, then: str) -> None:
    """Refuse a path that cannot be a data set's; no server is asked.

    Args:
        setting: The key that names it.
        path: A folder or a URL.
        then: What to give after recordings were made a data set.

    Raises:
        ValueError: If it is a URL that cannot be read.
        FileNotFoundError: If it is a folder without a manifest.
    """
    try:
        folder = Storage(path).folder
    except ValueError as error:
        raise ValueError(f"{setting}: {error}") from error
    if folder is not None and not (folder / MANIFEST_NAME).is_file():
        if any(folder.glob("*.inputs.jsonl")):
            shard = shlex.join(["nitrogen-data", "shard", path, "--out", "data"])
            raise FileNotFoundError(
                f"{setting}: {path} holds recordings, not a data set; shard them: {shard}, then "
                f"{then}"
            )
        raise FileNotFoundError(
            f"{setting}: {folder / MANIFEST_NAME} does not exist; make a data set with "
            "nitrogen-data record and nitrogen-data shard, or "
            + (
                "give another one: datasets=[FOLDER]"
                if setting == "datasets"
                else "train on another one: experiment=mine data.sources.mine.path=FOLDER"
            )
        )


def check_strategy(strategy: dict[str, Any], trainer: dict[str, Any]) -> None:
    """Refuse a strategy that does not fit the processes, the precision or what is installed.

    Args:
        strategy: A node of `conf/strategy`.
        trainer: The node of `conf/trainer`.

    Raises:
        ValueError: What is wrong, and what to do.
    """
    num_processes = trainer["devices"] * trainer["num_nodes"]
    if strategy["name"] == "single" and num_processes > 1:
        raise ValueError(
            f"strategy=single is one process, trainer.devices * trainer.num_nodes is "
            f"{num_processes}: give strategy=ddp, zero_1, zero_2 or zero_3"
        )
    if trainer["precision"] not in ("32-true", "bf16-mixed"):
        raise ValueError(
            f"trainer.precision={trainer['precision']} is not one of 32-true, bf16-mixed: weights, "
            "their average and the optimizer stay in fp32"
        )
    options = strategy.get("deepspeed")
    if options is None:
        return
    _check_options(options)
    if not _is_installed("deepspeed"):
        raise ValueError(
            f"strategy={strategy['name']} needs DeepSpeed: pip install 'nitrogen-train[cluster]'"
        )
    if "offload_optimizer" in options["zero_optimization"] and trainer["accelerator"] == "cpu":
        raise ValueError(
            f"strategy={strategy['name']} moves memory from a GPU to its host, and "
            "trainer.accelerator is cpu: use zero_2 or zero_3"
        )


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ValueError:
        # Python's own way to make a package un-importable leaves it without a specification.
        return False


def _check_options(options: dict[str, Any]) -> None:
    """Refuse what DeepSpeed would take from elsewhere, or what we would not save.

    Raises:
        ValueError: Which option, and where it belongs.
    """
    elsewhere = {
        "gradient_accumulation_steps": "data.global_batch_size and data.micro_batch_size",
        "train_batch_size": "data.global_batch_size",
        "train_micro_batch_size_per_gpu": "data.micro_batch_size",
        "gradient_clipping": "trainer.gradient_clip_val",
        "optimizer": "optimizer",
        "scheduler": "schedule",
        "bf16": "trainer.precision=bf16-mixed",
        "fp16": "trainer.precision=bf16-mixed",
        "torch_autocast": "trainer.precision=bf16-mixed",
    }
    for key, place in elsewhere.items():
        if key in options:
            raise ValueError(f"strategy.deepspeed.{key} is set by {place}: remove it")
    zero: dict[str, Any] = options.get("zero_optimization", {})
    if zero.get("stage") not in (1, 2, 3):
        raise ValueError(
            f"strategy.deepspeed.zero_optimization.stage must be 1, 2 or 3, got {zero.get('stage')}"
        )
    for key in ("offload_optimizer", "offload_param"):
        if zero.get(key, {}).get("device", "cpu") != "cpu":
            raise ValueError(
                f"strategy.deepspeed.zero_optimization.{key}.device must be cpu: what lies on an "
                "NVMe disk is not in our checkpoints"
            )


def find_config_dir() -> str:
    """Find the Hydra tree: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / "conf"
    return str(inside if inside.is_dir() else package.parent / "conf")


@dataclass(kw_only=True)
class NgOptions:
    """Settings that complete an ng.pt that does not state them."""

    vision_num_heads: int | None = None
    """Attention heads of the ng.pt's encoder, if the encoder's name does not tell."""
    games: list[str] | None = None
    """Names of the games by game id, from 1, for an ng.pt that tells games apart."""


@dataclass(kw_only=True)
class DataConfig:
    """Settings of the data: from what windows are cut, how, and in what batches."""

    sources: dict[str, dict[str, Any]] = MISSING
    """Data sets by name: path (folder or URL), and weight, where, … of docs/stream.md."""
    games: list[str] = field(default_factory=list[str])
    """Games that the policy tells apart, by game id from 1; empty: all that the data has."""
    action_space: str = "gamepad"
    """Action space of the data: gamepad or keyboard_mouse."""
    image_size: int = MISSING
    """Side of the square frames that the policy sees, in pixels."""
    num_frames: int = 1
    """Number of frames that the policy observes at once."""
    frame_stride: int = 1
    """Rows between observed frames."""
    action_horizon: int = MISSING
    """Number of action rows that the policy predicts at once."""
    action_offset: int = MISSING
    """Rows from the last observed frame to the first predicted row: 0 for recordings of games,
    3 for ng.pt."""
    action_hz: float | None = None
    """Reduce clips to this many frames and rows per second; null leaves them as they are."""
    global_batch_size: int = MISSING
    """Samples in one optimizer step, over all ranks and micro-batches."""
    micro_batch_size: int = MISSING
    """Samples that a process computes at once: fewer need less memory and change no result."""
    num_val_windows: int = MISSING
    """Number of held-out windows in each validation; 0: train without validation."""
    lane_groups: int = 1
    """Steps between two samples from one clip: lane_groups * global_batch_size clips are open."""
    windows_per_visit: int = 256
    """Windows that a clip hands out each time it is opened, a multiple of 64."""
    clip_cache_gib: float = 2.0
    """If all data, decoded, take less than about this, each worker decodes a clip once."""
    max_lane_gib: float = 16.0
    """Memory that a rank's open clips may take; a run that would take more is refused at its start.
    Raise it where a process that trains has more."""
    index_dir: str | None = None
    """Folder in which each node keeps what it derives from manifests, about 300 bytes per clip,
    best on its own disk; null: $XDG_CACHE_HOME/nitrogen-train or ~/.cache/nitrogen-train."""
    cache_dir: str | None = None
    """Folder on a local disk for what is read from URLs; all processes of the machine share it."""
    cache_gib: float = 100.0
    """Limit on the size of all files in `cache_dir`."""
    num_workers: int = 1
    """Processes that load data, for each process that trains."""
    prefetch_factor: int = 8
    """Micro-batches that each of these processes prepares ahead; more need more memory."""
    decoder: str = "auto"
    """pyav, torchcodec or decord; auto: pyav, the fastest that is exact, see docs/video.md."""
    max_wait_share: float = 0.2
    """Share of the time that training may wait for data; above it a warning says what to raise:
    more for a machine that is known to be short of cores."""
    max_fault_share: float = 0.01
    """Share of windows that may stand in for others that cannot be read; above it the run stops.
    0 allows none."""


@dataclass(kw_only=True)
class RunConfig:
    """Top level of `nitrogen-train`."""

    seed: int = 0
    """Seed of the weights, the noise and the order of the samples."""
    output_dir: str = MISSING
    """The run folder. The same command continues the run that it finds there."""
    max_steps: int = MISSING
    """Optimizer steps of the whole run."""
    ckpt_path: str | None = None
    """A checkpoint of this run to resume from; null: the last one in the run folder."""
    init_from: str | None = None
    """A run, a policy folder, an ng.pt, a hub id or a checkpoint, whose network and weights a new
    run starts with; see docs/recipes.md."""
    ng: NgOptions = field(default_factory=NgOptions)
    """Settings that the ng.pt in `init_from` does not state: ng.vision_num_heads=N."""
    frozen: list[str] = field(default_factory=list[str])
    """Patterns for names of parameters that are not trained, as in frozen=[encoder.*]"""
    lr_scales: dict[str, float] = field(default_factory=dict[str, float])
    """Factors on the learning rate by pattern, as in +lr_scales={encoder.*:0.1}; no parameter may
    match two patterns."""
    ema_decay: float = MISSING
    """Decay of the moving average of the weights, per optimizer step."""
    num_sampling_steps: int = 16
    """Solver steps per action chunk in validation."""
    val_every_n_steps: int = MISSING
    """Steps from one validation to the next."""
    checkpoint_every_n_steps: int = MISSING
    """Steps from one checkpoint to the next; the end of a run is saved in any case."""
    keep_checkpoints: int = 2
    """Number of the latest checkpoints to keep, at least 1."""
    keep_every_n_steps: int | None = None
    """Checkpoints at multiples of this are kept for good; null: none. It must be a multiple of
    checkpoint_every_n_steps."""
    keep_best: int = 0
    """Number of the best checkpoints by `best_metric` to keep in addition."""
    best_metric: str = "val/loss"
    """A column of metrics.csv that validation writes, see docs/checkpoints.md."""
    best_is_lowest: bool = True
    """Whether less of `best_metric` is better; false for scores and F1."""
    activation_checkpointing: bool = False
    """Compute activations twice instead of keeping them: less memory, about a third slower."""
    compile: bool = False
    """torch.compile encoder, mixer and transformer: minutes at the start, faster steps on a GPU."""
    skip_loss_above: float | None = None
    """Skip a step whose loss is above this many times the running median; null: skip none."""
    check_ranks_every_n_steps: int = 1000
    """Steps between two comparisons of the ranks' weights and places in the data; the first is at
    the start."""
    plan: bool = False
    """Print what the run would take, here and on clusters of other sizes; nothing is started."""
    num_threads: int | None = None
    """Threads of torch per process on a CPU; null: torch's choice."""
    debug: bool = False
    """Show tracebacks."""
    data: DataConfig = field(default_factory=DataConfig)
    """The data and its batches: the keys of the next table."""
    model: Any = MISSING
    """Component: the policy that is trained."""
    augmentation: Any = None
    """Component: random changes of the frames in training; empty: none."""
    optimizer: Any = MISSING
    """Component: the optimizer of torch."""
    schedule: Any = MISSING
    """Component: the learning rate over the steps of the run."""
    trainer: Any = MISSING
    """Component: Lightning's Trainer, with devices, nodes and precision."""
    strategy: Any = MISSING
    """Strategy that spreads the run over processes: single, ddp, zero_1, … zero_3_offload."""
    loggers: Any = MISSING
    """Components by name: where metrics are written."""
    callbacks: dict[str, Any] = field(default_factory=dict[str, Any])
    """More of Lightning's callbacks, as in +callbacks.mine._target_=my_package.MyCallback"""


@dataclass(kw_only=True)
class EvaluateConfig:
    """Top level of `nitrogen-eval`."""

    policy: str = MISSING
    """A folder that `save_pretrained` wrote, an ng.pt, or a run folder."""
    ng: NgOptions = field(default_factory=NgOptions)
    """Settings that the ng.pt in `policy` does not state: ng.vision_num_heads=N."""
    games: list[str] = field(default_factory=list[str])
    """Games to play: names of games, or `module:Class`."""
    datasets: list[str] = field(default_factory=list[str])
    """Folders of data sets whose split `val` is predicted."""
    output_dir: str | None = None
    """Folder for the results; null: a folder `eval` in the run, in the policy's folder, or beside
    an ng.pt."""
    known_dir: str | None = None
    """Folder of another evaluation, whose episodes of random player and expert are taken over;
    null: they are played. For many policies on the same games and seeds."""
    episodes: int = MISSING
    """Number of held-out seeds to play of each game, at least 2."""
    execution_horizon: int = MISSING
    """Number of rows of each action chunk that are executed."""
    start_row: int = 0
    """First row of a chunk that is executed."""
    num_sampling_steps: int | None = None
    """Solver steps per chunk; null: as the policy was validated, else 16."""
    guidance_scale: float = 1.0
    """1 follows the game's condition, more exaggerates it; for policies that are told the game."""
    frame_stride: int | None = None
    """Rows between observed frames; null: as the policy says."""
    action_offset: int | None = None
    """Rows from the last observed frame to the first predicted one; null: as the policy says.
    Offline only: at play a chunk's first row is executed at once."""
    action_hz: float | None = None
    """Rows per second that clips and games are reduced to; null: as the policy was trained."""
    every_nth_frame: int = 1
    """Predict, offline, from every n-th frame of a clip."""
    micro_batch_size: int = 64
    """Number of windows that are predicted at once, offline."""
    predictions: bool = False
    """Write the offline predictions as well, for `--predictions` of `nitrogen-data preview`."""
    seed: int = 0
    """Seed of the noise."""
    group_size: int = 10
    """Number of episodes that one process plays in lock step: one call of the policy serves all."""
    num_processes: int | None = None
    """Number of processes that play, each on one core; null: as many as there are cores."""
    videos: bool = False
    """Record the policy playing the first held-out seed of each game."""
    debug: bool = False
    """Show tracebacks."""


class Weights(Enum):
    """The kinds of weights in a checkpoint."""

    averaged = "averaged"
    trained = "trained"


class Format(Enum):
    """The layouts in which a policy can be written."""

    folder = "folder"
    ng = "ng"
    checkpoint = "checkpoint"


@dataclass(kw_only=True)
class ExportConfig:
    """Top level of `nitrogen-export`."""

    run: str | None = None
    """The run folder."""
    policy: str | None = None
    """A policy folder, an ng.pt or a hub id, instead of a run."""
    ng: NgOptions = field(default_factory=NgOptions)
    """Settings that the ng.pt in `policy` does not state: ng.vision_num_heads=N."""
    output_dir: str = MISSING
    """Folder in which the policy is written."""
    format: Format = Format.folder
    """Layout to write: folder, ng (released checkpoint) or checkpoint (of a run, in one file)."""
    step: int | None = None
    """Optimizer step of the run's checkpoint; null: the last one."""
    weights: Weights = Weights.averaged
    """Weights of a run to write: averaged, which validation and evaluation use, or trained."""
    action_offset: int | None = None
    """Rows from the last observed frame to the first predicted one; null: as the policy says."""
    debug: bool = False
    """Show tracebacks."""


def register_schema() -> None:
    """Make the dataclasses known to Hydra; call before composing."""
    store = ConfigStore.instance()
    store.store(name="run_schema", node=RunConfig)
    store.store(group="data", name="schema", node=DataConfig)
    store.store(name="evaluate_schema", node=EvaluateConfig)
    store.store(name="export_schema", node=ExportConfig)


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
        merged = OmegaConf.merge(OmegaConf.structured(RunConfig), read_run_config(run_dir))
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


def check_components(config: RunConfig) -> None:
    """Refuse a key that a component does not have; imports all of them.

    Raises:
        ValueError: Which key of which component, and what was meant.
    """
    nodes = {
        "model": config.model, "augmentation": config.augmentation, "optimizer": config.optimizer,
        "schedule": config.schedule, "trainer": config.trainer, "loggers": config.loggers,
        "callbacks": config.callbacks,
    }  # fmt: skip
    for path, node in _iter_components(nodes, ""):
        keys = [key for key in node if not key.startswith("_")]
        try:
            parameters = inspect.signature(get_object(node["_target_"])).parameters
        except ImportError as error:
            raise ValueError(f"{path}._target_={node['_target_']}: {error}") from error
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            continue
        unknown = [key for key in keys if key not in parameters]
        if unknown:
            close = difflib.get_close_matches(unknown[0], parameters, n=1)
            hint = f"; did you mean {close[0]}?" if close else f"; it has {', '.join(parameters)}"
            raise ValueError(f"{path}.{unknown[0]}: {node['_target_']} has no such argument{hint}")


def _iter_components(node: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:  # noqa: ANN401 - YAML
    values = cast("dict[str, Any]", node) if isinstance(node, dict) else {}
    if "_target_" in values:
        yield path, values
    for key, value in values.items():
        yield from _iter_components(value, f"{path}.{key}".lstrip("."))


def count_processes(config: RunConfig) -> int:
    """Count the processes that a run's trainer starts."""
    return config.trainer["devices"] * config.trainer["num_nodes"]


def shape_batch(config: RunConfig) -> BatchShape:
    """Divide the global batch over a run's processes.

    Raises:
        ValueError: If it does not divide; the message names the nearest that does.
    """
    return BatchShape(
        global_batch_size=config.data.global_batch_size,
        micro_batch_size=config.data.micro_batch_size,
        world_size=count_processes(config),
    )


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
    for key in ("max_steps", "val_every_n_steps"):
        if (value := getattr(config, key)) < 1:
            raise ValueError(f"{key}={value}: expected at least 1")
    shape_batch(config)
    if config.check_ranks_every_n_steps < 1:
        raise ValueError(
            f"check_ranks_every_n_steps must be at least 1, got {config.check_ranks_every_n_steps}"
        )
    check_strategy(config.strategy, config.trainer)
    _check_checkpoints(config)
    validate_schedule(config)
    if not config.data.sources:
        raise ValueError(
            "no data: give at least one source, for example +data.sources.mine.path=FOLDER; "
            "--help shows where to begin"
        )
    for name, source in config.data.sources.items():
        path = read_options(name, source).path
        check_path(f"data.sources.{name}.path", path, then="path=data")
    if config.data.cache_dir is not None and config.data.cache_gib <= 0:
        raise ValueError(f"data.cache_gib must be above 0, got {config.data.cache_gib}")
    _check_start(config)


def _check_start(config: RunConfig) -> None:
    """Refuse to begin from what is not there, or from two things at once.

    Raises:
        ValueError: If both are given, or one that must be is empty.
        FileNotFoundError: If there is no such file or folder.
    """
    if config.ckpt_path is not None and not Path(config.ckpt_path).exists():
        raise FileNotFoundError(f"ckpt_path={config.ckpt_path} does not exist")
    if config.init_from is None:
        return
    if not config.init_from:
        raise ValueError(
            "this recipe starts from a policy: give init_from=ng.pt, a hub id or a policy folder"
        )
    if config.ckpt_path is not None:
        raise ValueError(
            "ckpt_path resumes a run, init_from starts a new one from weights: give one of them"
        )


def validate_schedule(config: RunConfig) -> None:
    """Refuse our own schedule if its phases do not fit into the run.

    Raises:
        ValueError: What does not fit.
    """
    keys = ("max_steps", "warmup_share", "decay_share", "warmup_steps", "decay_steps")
    if str(config.schedule.get("_target_", "")).startswith("nitrogen_train."):
        count_phases(**{key: config.schedule[key] for key in keys if key in config.schedule})


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
    if config.keep_best and not config.data.num_val_windows:
        raise ValueError(
            "keep_best judges checkpoints by validations, and data.num_val_windows=0 leaves them "
            "out: give keep_best=0, or validate"
        )
    if config.keep_best and config.val_every_n_steps % every:
        raise ValueError(
            f"keep_best judges checkpoints by validations: val_every_n_steps="
            f"{config.val_every_n_steps} must be a multiple of checkpoint_every_n_steps={every}"
        )
