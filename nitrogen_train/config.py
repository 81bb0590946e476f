"""Define the config of each command, and compose, read and build from it.

    words of the command, conf/*.yaml ─► Hydra ─► RunConfig, EvaluateConfig, …

The top level is a dataclass, so that a misspelt key is refused. Below it, components are plain YAML
with a `_target_`. `run/start_checks.py` refuses what cannot work; `docs/config.md` lists all keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.utils import instantiate
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from nitrogen_train.data.order import BatchShape
from nitrogen_train.pretrained.places import read_run_config


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

    def as_arguments(self) -> dict[str, Any]:
        """Give what `PolicySource` takes besides the place."""
        games = None if self.games is None else tuple(self.games)
        return {"vision_num_heads": self.vision_num_heads, "games": games}


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


class Profile(Enum):
    """What a profile measures."""

    steps = "steps"
    loader = "loader"


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
    checkpoint_every_minutes: float | None = None
    """Minutes after which a checkpoint is saved also between these steps; null: at none."""
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
    """torch.compile the blocks of encoder, mixer and transformer: faster steps on a GPU, and a
    minute at the start."""
    matmul_precision: str = "high"
    """Precision of float32 matrix products on a GPU: highest, high (TF32) or medium."""
    skip_loss_above: float | None = None
    """Skip a step whose loss is above this many times the running median; null: skip none."""
    check_ranks_every_n_steps: int = 1000
    """Steps between two comparisons of the ranks' weights and places in the data; the first is at
    the start."""
    plan: bool = False
    """Print what the run would take, here and on clusters of other sizes; nothing is started."""
    profile: Profile | None = None
    """Measure the phases of some steps (steps) or the loader alone (loader) instead of training;
    nothing of the run changes, see docs/cluster.md."""
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
    games: Any = None
    """Games to play: names, `module:Class` or YAML files of native games, as a list or one alone;
    `suite` is all that `nitrogen-data games` lists."""
    datasets: Any = None
    """Data sets whose split `val` is predicted: a list of folders and URLs, or by name as
    `data.sources` has them, with `where` and an `action_offset` for each."""
    where: str | None = None
    """Clips of all `datasets` that are in use, as in where='fps == 60 and idle_share < 0.5'; null:
    all."""
    index_dir: str | None = None
    """See `data.index_dir`."""
    cache_dir: str | None = None
    """See `data.cache_dir`."""
    cache_gib: float = 100.0
    """Limit on the size of all files in `cache_dir`."""
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
    delays_ms: Any = None
    """Delays of the policy's plans, as [0,100,200]: the games go on meanwhile, see docs/live.md.
    null: they wait. `execution_horizon` is then of the method synchronous, and
    `start_row` does not count."""
    jitter_ms: float = 0.0
    """At most so much more delay, drawn for each plan."""
    methods: Any = None
    """What is done about delays: some of synchronous, skip, guided, trained; null: all that the
    policy can."""
    num_sampling_steps: int | None = None
    """Solver steps per chunk; null: as the policy was validated, else 16."""
    guidance_scale: float = 1.0
    """1 follows the game's condition, more exaggerates it; for policies that are told the game."""
    frame_stride: int | None = None
    """Rows between observed frames; null: as the policy says."""
    action_offset: int | None = None
    """Rows from the last observed frame to the first predicted one; null: as the policy says.
    At play, with `delays_ms` alone: else a chunk's first row is executed at once."""
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


@dataclass(kw_only=True)
class PlayConfig:
    """Top level of `nitrogen-play`."""

    policy: str = MISSING
    """A folder that `save_pretrained` wrote, an ng.pt, or a run folder."""
    ng: NgOptions = field(default_factory=NgOptions)
    """Settings that the ng.pt in `policy` does not state: ng.vision_num_heads=N."""
    game: str = MISSING
    """What is played: a name, `module:Class` or a YAML file of a native game."""
    episodes: int = 1
    """Number of episodes, of consecutive seeds."""
    first_seed: int | None = None
    """Seed of the first one; null: the first that is kept for evaluation."""
    method: str | None = None
    """What is done about latency: synchronous, skip, guided or trained; null: trained where the
    policy is, else skip."""
    output_dir: str | None = None
    """Folder for a video of each episode, with the pad below the picture; null: none."""
    num_sampling_steps: int | None = None
    """Solver steps per chunk; null: as the policy was validated, else 16."""
    guidance_scale: float = 1.0
    """1 follows the game's condition, more exaggerates it; for policies that are told the game."""
    frame_stride: int | None = None
    """Rows between observed frames; null: as the policy says."""
    action_offset: int | None = None
    """Rows from a frame to the first row of its plan; null: as the policy says, else 0."""
    action_hz: float | None = None
    """Rows per second that the game is reduced to; null: as the policy was trained."""
    debug: bool = False
    """Show tracebacks."""


@dataclass(kw_only=True)
class ServeConfig:
    """Top level of `nitrogen-serve`."""

    policy: str = MISSING
    """A folder that `save_pretrained` wrote, an ng.pt, or a run folder."""
    ng: NgOptions = field(default_factory=NgOptions)
    """Settings that the ng.pt in `policy` does not state: ng.vision_num_heads=N."""
    game: str | None = None
    """Game that is played where a client names none; for a policy that is told the game."""
    address: str = MISSING
    """Where to listen: 127.0.0.1 is for this machine alone."""
    port: int | None = None
    """Of NVIDIA's protocol, for its unmodified player; null: not spoken; 0: a free one."""
    json_port: int | None = None
    """Of the protocol in docs/serving.md; null: not spoken; 0: a free one."""
    allow_remote: bool = False
    """Whether other machines may come in; only with `key_dir` and `token_file`."""
    key_dir: str | None = None
    """Folder of keys by which NVIDIA's protocol is encrypted and clients are known; made if new."""
    token_file: str | None = None
    """File with the word that clients of the JSON protocol have to say."""
    player_hz: float = 60.0
    """Ticks per second of NVIDIA's player, which holds each row for a whole number of them."""
    num_sampling_steps: int | None = None
    """Solver steps per chunk; null: as the policy was validated, else 16."""
    guidance_scale: float = 1.0
    """1 follows the game's condition, more exaggerates it; for policies that are told the game."""
    frame_stride: int | None = None
    """Pictures of a client between those that the policy sees; null: as the policy says."""
    action_hz: float | None = None
    """Rows per second; null: as the policy was trained."""
    seed: int = 0
    """Seed of the noise."""
    debug: bool = False
    """Show tracebacks."""


def register_schema() -> None:
    """Make the dataclasses known to Hydra; call before composing."""
    store = ConfigStore.instance()
    store.store(name="run_schema", node=RunConfig)
    store.store(group="data", name="schema", node=DataConfig)
    store.store(name="evaluate_schema", node=EvaluateConfig)
    store.store(name="export_schema", node=ExportConfig)
    store.store(name="serve_schema", node=ServeConfig)
    store.store(name="play_schema", node=PlayConfig)


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
