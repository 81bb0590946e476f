"""What of a run's config is refused before any process starts; no torch, no server is asked."""

import shlex
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nitrogen_train.data.manifest import MANIFEST_NAME
from nitrogen_train.data.storage import Storage


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
