"""Judge a command's config before any process starts: can it work, and is anything left to do?

    config ─► paths, batch sizes, phases, checkpoints, strategy ─► components ─► start

The checks need no torch but `check_components`, which imports what the config names; they read no
shard, need no process group, and ask no server.
"""

import inspect
import logging
import shlex
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from hydra.utils import get_object

from nitrogen_train.config import DataConfig, EvaluateConfig, RunConfig, shape_batch
from nitrogen_train.data.manifest import MANIFEST_NAME
from nitrogen_train.data.mixture import read_options
from nitrogen_train.data.selection import Selection
from nitrogen_train.data.storage import Storage
from nitrogen_train.pretrained.places import WEIGHTS, find_last_checkpoint
from nitrogen_train.run.data_of_run import is_first_rank, read_datasets
from nitrogen_train.runtime.atomic_files import did_you_mean
from nitrogen_train.runtime.run_files import forget_error
from nitrogen_train.training.phases import count_phases
from nitrogen_train.training.run_folder import describe_end

_log = logging.getLogger(__name__)
_MATMUL_PRECISIONS = ("highest", "high", "medium")
"""As `torch.set_float32_matmul_precision` takes them."""


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
    _check_workers(config.data)
    shape_batch(config)
    if config.check_ranks_every_n_steps < 1:
        raise ValueError(
            f"check_ranks_every_n_steps must be at least 1, got {config.check_ranks_every_n_steps}"
        )
    check_strategy(config.strategy, config.trainer)
    if config.compile and config.strategy["name"].startswith("zero_3"):
        raise ValueError(
            f"compile=true cannot trace the weights that strategy={config.strategy['name']} has "
            "spread over the ranks: give compile=false, or strategy=zero_2"
        )
    if config.matmul_precision not in _MATMUL_PRECISIONS:
        raise ValueError(
            f"matmul_precision={config.matmul_precision} is not one of "
            f"{', '.join(_MATMUL_PRECISIONS)}"
        )
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
    _check_cache(config.data, "data.")
    _check_start(config)


def _check_workers(config: DataConfig) -> None:
    for key, least in (("num_workers", 0), ("prefetch_factor", 1)):
        if (value := getattr(config, key)) < least:
            raise ValueError(f"data.{key}={value}: expected at least {least}")


def _check_cache(config: DataConfig | EvaluateConfig, prefix: str) -> None:
    if config.cache_dir is not None and config.cache_gib <= 0:
        raise ValueError(f"{prefix}cache_gib must be above 0, got {config.cache_gib}")


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
    minutes = config.checkpoint_every_minutes
    if minutes is not None and minutes <= 0:
        raise ValueError(f"checkpoint_every_minutes={minutes}: expected above 0, or null")
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
            has = f"; it has {', '.join(parameters)}"
            hint = did_you_mean(unknown[0], parameters, otherwise=has)
            raise ValueError(f"{path}.{unknown[0]}: {node['_target_']} has no such argument{hint}")


def _iter_components(node: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:  # noqa: ANN401 - YAML
    values = cast("dict[str, Any]", node) if isinstance(node, dict) else {}
    if "_target_" in values:
        yield path, values
    for key, value in values.items():
        yield from _iter_components(value, f"{path}.{key}".lstrip("."))


def check_output_dir(path: str) -> None:
    """Refuse a folder for results that cannot be one; nothing is left in it, or made.

    Args:
        path: What was given; the folder may be there.

    Raises:
        ValueError: If it is a file or a data set, or cannot be made or written.
    """
    folder, what = Path(path), "make"
    try:
        if folder.exists():
            what = "write into"
            if not folder.is_dir():
                raise ValueError(f"output_dir={path} is a file: give a folder")
        if (folder / MANIFEST_NAME).is_file():
            raise ValueError(
                f"output_dir={path} is a data set (it has a {MANIFEST_NAME}); give another folder"
            )
        if next(folder.glob("shard-*.tar"), None) is not None:
            raise ValueError(f"output_dir={path} holds shards of a data set; give another folder")
        nearest = next(each for each in (folder, *folder.absolute().parents) if each.exists())
        # What may be written is known only by writing: to root, or on a network, modes say little.
        with TemporaryDirectory(dir=nearest, prefix=".trial-"):
            pass
    except OSError as error:
        raise ValueError(f"cannot {what} output_dir={path}: {error.strerror}") from error


def check_datasets(config: EvaluateConfig) -> None:
    """Refuse data sets of an evaluation that cannot be ones; no server is asked.

    Raises:
        ValueError: If an entry is not one, or `where` cannot be understood.
        FileNotFoundError: If one is a folder without a manifest.
    """
    for name, values in read_datasets(config).items():
        options = read_options(name, values, setting="datasets")
        check_path("datasets", options.path, then="datasets=[data]")
        if options.where is not None:
            Selection(options.where)
    _check_cache(config, "")


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


def is_finished(config: RunConfig) -> bool:
    """Tell whether a run has nothing left to do, and say so."""
    folder = Path(config.output_dir)
    last = find_last_checkpoint(folder / "checkpoints")
    policy = folder / "policy" / WEIGHTS
    if config.ckpt_path is not None or last is None or not policy.is_file():
        return False
    step = int(last.stem.removeprefix("step-"))
    # A run that was interrupted between its last checkpoint and its policy goes on.
    if step < config.max_steps or policy.stat().st_mtime < last.stat().st_mtime:
        return False
    if is_first_rank():
        forget_error(folder)
        datasets = [str(source["path"]) for source in config.data.sources.values()]
        _log.info(
            "already at step %d of %d: nothing to do; raise max_steps to go on",
            step, config.max_steps,
        )  # fmt: skip
        for line in describe_end(folder, games=config.data.games, datasets=datasets):
            _log.info("%s", line)
    return True
