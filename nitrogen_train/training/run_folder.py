"""Write what a run leaves behind, so that it can be read, resumed and repeated.

The resolved config, the versions, the commit and the uncommitted changes go in before the first
step. A lock keeps all other processes from writing to the same run folder.
"""

import fcntl
import importlib.metadata
import json
import os
import platform
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import yaml

from nitrogen_train.games import GAMES
from nitrogen_train.pretrained.places import find_last_checkpoint, iter_settings, read_run_config
from nitrogen_train.runtime.atomic_files import write_atomically
from nitrogen_train.runtime.run_files import forget_error, read_max_steps, read_metrics

_WAIT_S = 10.0
"""A process that has just been killed may hold its files for a moment."""

_SCORES = ("train/loss", "val/loss", "val/button_f1", "val/stick_r2")
"""Metrics that the last lines of a run show."""
_PACKAGES = (
    "nitrogen-train", "torch", "torchvision", "lightning", "timm", "numpy", "av", "decord",
    "webdataset", "pyarrow", "hydra-core", "wandb",
)  # fmt: skip


class RunIsLockedError(ValueError):
    """Another process trains in the folder."""


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold a run folder for the block; the kernel lets go of it however the process ends.

    A record lock of POSIX, not flock's: a loader's worker, forked from here, does not keep it when
    this process is killed, and NFS, Lustre and GPFS pass it between machines. Never open the file
    elsewhere in this process: closing it would drop the lock.

    Args:
        folder: The run's; made if it is missing.

    Raises:
        RunIsLockedError: If another process holds it.
        OSError: If the file system has no locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "run.lock").open("a+", encoding="utf-8") as file:
        _wait_for_lock(file, folder)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


def refuse_locked(folder: Path) -> None:
    """Refuse a run folder that another process holds, before this one has loaded anything.

    Args:
        folder: The run's; nothing is made or written in it.

    Raises:
        RunIsLockedError: If another process holds it.
        OSError: If the file system has no locks.
    """
    path = folder / "run.lock"
    if path.is_file():
        with path.open("r+", encoding="utf-8") as file:
            _wait_for_lock(file, folder)


def _wait_for_lock(file: TextIO, folder: Path) -> None:
    """Lock a file, which is closed to let go of it.

    Raises:
        RunIsLockedError: If another process holds it for long.
    """
    deadline = time.monotonic() + _WAIT_S
    while not _try_lock(file.fileno(), folder):
        if time.monotonic() > deadline:
            file.seek(0)
            raise RunIsLockedError(
                f"another process trains in {folder} ({file.read().strip()}): stop it first, "
                "or give another output_dir"
            )
        time.sleep(0.2)


def _try_lock(descriptor: int, folder: Path) -> bool:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        raise OSError(
            f"{folder} lies on a file system without locks ({error}): mount it with them (NFS: "
            "without nolock; Lustre: with flock), or give an output_dir elsewhere"
        ) from error
    return True


def write_run_facts(folder: Path, *, config_yaml: str, data: dict[str, Any]) -> None:
    """Write the resolved config, the git commit with what is uncommitted, versions and data.

    A resumed run keeps what its first start wrote; where nothing has been saved, the run begins
    anew. Every start adds a line to `starts.jsonl`.

    Args:
        folder: The run's.
        config_yaml: The resolved config.
        data: What the samples and their order depend on, with the hashes of the manifests.
    """
    folder.mkdir(parents=True, exist_ok=True)
    forget_error(folder)
    facts = {
        "command": sys.argv,
        "python": platform.python_version(),
        "machine": platform.platform(),
        "git_commit": _git("rev-parse", "HEAD"),
        "versions": {name: _version(name) for name in _PACKAGES},
    }
    first = {
        "config.yaml": config_yaml,
        "facts.yaml": yaml.safe_dump(facts, sort_keys=False),
        "uncommitted.diff": _git("diff", "HEAD") or "",
        "data.yaml": yaml.safe_dump(data, sort_keys=False),
    }
    for name, text in first.items():
        path = folder / name
        if not path.exists() or not _is_saved(folder):
            # Whole or not at all: other ranks look into it at their start.
            with write_atomically(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
    with (folder / "starts.jsonl").open("a", encoding="utf-8") as file:
        steps = yaml.safe_load(config_yaml).get("max_steps")
        file.write(json.dumps(facts | {"max_steps": steps}) + "\n")


def describe_change(folder: Path, *, max_steps: int) -> str | None:
    """Say that a run which goes on has become longer or shorter; None if it has not.

    Args:
        folder: The run's.
        max_steps: What is asked for now.
    """
    before = read_max_steps(folder) if _is_saved(folder) else None
    return None if before in (None, max_steps) else f"max_steps: {before} -> {max_steps}"


def read_last(folder: Path, name: str) -> float | None:
    """Read the last value of a metric from a run's `metrics.csv`; None if there is none."""
    path = folder / "metrics.csv"
    if not path.is_file() or name not in (metrics := read_metrics(path)):
        return None
    return float(metrics[name][1][-1])


def describe_end(folder: Path, *, games: Sequence[str], datasets: Sequence[str]) -> list[str]:
    """Say what a finished run has reached, where its policy lies, and what to type next.

    Args:
        folder: The run's.
        games: That it was trained on.
        datasets: Their folders or URLs.
    """
    scores = {name: read_last(folder, name) for name in _SCORES}
    reached = [f"{name} {score:.3g}" for name, score in scores.items() if score is not None]
    playable = ",".join(game for game in games if game in GAMES)
    what = f"games=[{playable}]" if playable else f"datasets=[{','.join(datasets)}]"
    own = [game for game in games if game not in GAMES]
    hint = (
        f"to play {own[0]}, name its class or file: games=[my_game:MyGame] or [my_game.yaml]"
        if own
        else ""
    )
    return [
        *([f"reached: {', '.join(reached)}; all values: {folder / 'metrics.csv'}"] * bool(reached)),
        f"the policy, averaged weights: {folder / 'policy'}",
        f"next: {shlex.join(['nitrogen-eval', f'policy={folder}', what])}",
        *([hint] * bool(hint)),
    ]


def refuse_another_model(folder: Path, *, config_yaml: str) -> None:
    """Refuse to continue a run with a policy of another shape, or one that learns another way.

    Raises:
        ValueError: What has changed since the run's first start.
    """
    if not (folder / "config.yaml").exists() or not _is_saved(folder):
        return
    before, now = (
        dict(_find_fixed(config))
        for config in (read_run_config(folder), yaml.safe_load(config_yaml))
    )
    changed = [
        f"{key}: was {before.get(key)}, is {now.get(key)}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]
    if changed:
        raise ValueError(
            f"cannot continue the run in {folder} with other settings ({'; '.join(changed)}); "
            "restore the setting, or start a new run in another output_dir"
        )


def _is_saved(folder: Path) -> bool:
    """Tell whether there is a checkpoint, so something to continue."""
    return find_last_checkpoint(folder / "checkpoints") is not None


def _find_fixed(config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    # An optimizer's saved state replaces its groups: other ones would be ignored, or not fit.
    for key in ("model", "frozen", "lr_scales", "optimizer"):
        # None and an empty mapping set the same.
        yield from (leaf for leaf in iter_settings(config.get(key), key) if leaf[1] != {})


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    """Ask the repository that this code lies in, if it does."""
    try:
        answer = subprocess.run(
            ["git", *arguments],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()
