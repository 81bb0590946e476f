"""Fetch what a run reads from the internet, for compute nodes that have none.

    python -m nitrogen_train.cli.fetch FOLDER OVERRIDES...      the overrides are nitrogen-train's

Weights go to FOLDER/huggingface, each source that is a URL to FOLDER/data/NAME; FOLDER/offline.sh
tells the run. Started again, it fetches what is missing. slurm/stage.sh adds the packages.
"""

import argparse
import os
import shlex
import sys
from pathlib import Path

from nitrogen_train.config import RunConfig, build, load_defaults
from nitrogen_train.data.manifest import MANIFEST_NAME, read_manifest_table
from nitrogen_train.data.mixture import read_options
from nitrogen_train.data.storage import Storage, open_url
from nitrogen_train.runtime.atomic_files import write_atomically
from nitrogen_train.runtime.interrupts import interruptible

_PIECE_BYTES = 16 * 2**20
_TIMEOUT_S = 60.0


def fetch(folder: Path, config: RunConfig) -> list[str]:
    """Fetch weights and data.

    Args:
        folder: On a disk that the compute nodes see.
        config: Of the run.

    Returns:
        The overrides that the run needs, besides its own.
    """
    os.environ["HF_HOME"] = str(folder / "huggingface")
    fetch_weights(config)
    overrides: list[str] = []
    for name, source in config.data.sources.items():
        path = read_options(name, source).path
        if Storage(path).folder is None:
            copy_dataset(path, folder / "data" / name)
            overrides.append(f"data.sources.{name}.path={(folder / 'data' / name).resolve()}")
    with write_atomically(folder / "offline.sh") as temporary:
        temporary.write_text(_write_environment(folder), encoding="utf-8")
    return overrides


def fetch_weights(config: RunConfig) -> None:
    """Load the weights that the run starts from, which keeps them below HF_HOME."""
    # Only now: the hub's library reads HF_HOME when it is imported.
    from nitrogen_train.models.load import load_policy

    if config.init_from is not None:
        load_policy(config.init_from)
    if config.model["encoder"].get("pretrained") is True:
        build(config.model["encoder"])


def copy_dataset(url: str, folder: Path) -> None:
    """Copy a data set's manifest and shards; a shard that is there in full is not fetched again.

    Args:
        url: The data set's.
        folder: Where it goes.

    Raises:
        OSError: If a shard ends before its manifest says.
    """
    _copy(f"{url}/{MANIFEST_NAME}", folder / MANIFEST_NAME)
    table = read_manifest_table(folder).select(["shard", "offset", "size"])
    ends: dict[str, int] = {}
    for shard, offset, size in zip(*(column.to_pylist() for column in table), strict=True):
        ends[shard] = max(ends.get(shard, 0), offset + size)
    for shard, end in sorted(ends.items()):
        target = folder / shard
        if target.is_file() and target.stat().st_size >= end:
            continue
        _copy(f"{url}/{shard}", target)
        if target.stat().st_size < end:
            raise OSError(f"{url}/{shard} has {target.stat().st_size} bytes, expected {end}")
        sys.stdout.write(f"{target}\n")


def _copy(url: str, target: Path) -> None:
    with (
        write_atomically(target) as temporary,
        open_url(url, timeout_s=_TIMEOUT_S) as source,
        temporary.open("wb") as file,
    ):
        while piece := source.read(_PIECE_BYTES):
            file.write(piece)


def _write_environment(folder: Path) -> str:
    values = {
        "HF_HOME": str((folder / "huggingface").resolve()),
        "HF_HUB_OFFLINE": "1",
        "WANDB_MODE": "offline",
    }
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in values.items())


def main() -> None:
    """Fetch, and print how to run."""
    parser = argparse.ArgumentParser(
        prog="python -m nitrogen_train.cli.fetch",
        description="Fetch what a run reads from the internet.",
    )
    parser.add_argument("folder", type=Path, help="on a disk that the compute nodes see")
    parser.add_argument("overrides", nargs="*", help="of nitrogen-train")
    arguments = parser.parse_args()
    try:
        with interruptible("interrupted; the same command again fetches what is missing"):
            overrides = fetch(arguments.folder, load_defaults(arguments.overrides))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    words = shlex.join([*arguments.overrides, *overrides])
    sys.stdout.write(
        f"\nsource {arguments.folder / 'offline.sh'}\n"
        f"sbatch --nodes=N --ntasks-per-node=GPUS --gpus-per-node=GPUS slurm/train.sbatch {words}\n"
    )


if __name__ == "__main__":
    main()
