"""End a failed command with one clear line, and show the traceback when asked for."""

import contextlib
import functools
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from nitrogen_train.cli.overrides import explain
from nitrogen_train.runtime.run_files import RunError, keep_error
from nitrogen_train.training.run_folder import RunIsLockedError

_Result = TypeVar("_Result")
_EXPECTED = (ValueError, OSError, FloatingPointError, OmegaConfBaseException)
"""Errors that a user, a disk or the data can cause. Any other is ours: show the traceback."""

_OF_WORDS = (ValueError, HydraException, OmegaConfBaseException, YAMLError)
"""Errors that the words of a command can cause."""

FAILURES = "NITROGEN_FAILURES"
"""Variable that names the file in which the ranks of a job say why they end."""
_LOST = re.compile(
    r"CUDA error|NCCL|ncclRemoteError|connection (closed|reset|refused)|gloo|watchdog",
    re.IGNORECASE,
)
_FROM_A_WORKER = re.compile(r"Caught \w+ in DataLoader worker process \d+\.\nOriginal Traceback ")


def report_errors(command: Callable[[DictConfig], _Result]) -> Callable[[DictConfig], _Result]:
    """Turn the errors of a Hydra command into one line and exit status 1, unless `debug=true`."""

    @functools.wraps(command)
    def reported(cfg: DictConfig) -> _Result:
        try:
            return command(cfg)
        except Exception as error:
            known = (*_EXPECTED, RuntimeError, InstantiationException)
            line = _describe(error) if isinstance(error, known) else None
            _tell_job(error, line)
            if line is None or cfg.get("debug", False):
                raise
            _write(line)
            sys.exit(1)

    return reported


@contextmanager
def report_hydra_errors(words: Sequence[str], *, config_name: str) -> Iterator[None]:
    """Turn what Hydra says of the words of a command into one line and exit status 1.

    Args:
        words: Of the command line.
        config_name: Of the command's top level.

    Raises:
        ValueError: As it came, with `debug=true`.
    """
    before = os.environ.get("HYDRA_FULL_ERROR")
    # With this Hydra raises its errors, which it otherwise prints in its own words.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    except _OF_WORDS as error:
        if before == "1" or "debug=true" in words:
            raise
        is_hydras = isinstance(error, (HydraException, OmegaConfBaseException))
        line = explain(error, words, config_name=config_name) if is_hydras else str(error)
        line = " ".join(line.split())
        sys.stderr.write(f"error: {line}\n")
        sys.exit(1)
    finally:
        os.environ.pop("HYDRA_FULL_ERROR")
        if before is not None:
            os.environ["HYDRA_FULL_ERROR"] = before


def keep_errors(command: Callable[[DictConfig], _Result]) -> Callable[[DictConfig], _Result | None]:
    """Keep the error of a training in its run folder; a point of a sweep lets the others go on.

    A point's error is printed, and the point returns None: Hydra would end the sweep at SystemExit.
    `nitrogen_train.sweep.FailedPoints` ends the sweep with status 1. A single start that is refused
    leaves nothing: the folder may be that of a run which goes well.
    """

    @functools.wraps(command)
    def kept(cfg: DictConfig) -> _Result | None:
        hydra = HydraConfig.get()
        is_point = hydra.mode is RunMode.MULTIRUN
        before = 0 if is_point else _count_starts(cfg)
        try:
            return command(cfg)
        except Exception as error:
            # That is another process's run.
            is_training = not (cfg.get("plan") or cfg.get("profile"))
            is_ours = is_training and not isinstance(error, RunIsLockedError)
            if is_ours and (is_point or _count_starts(cfg) > before):
                line = _describe(error) or f"{type(error).__name__}: {error}"
                overrides = list(hydra.overrides.task)
                with contextlib.suppress(OSError):
                    keep_error(Path(cfg.output_dir), RunError(line=line, overrides=overrides))
            if not is_point:
                raise
            _say(error, debug=cfg.get("debug", False))
            return None

    return kept


def _tell_job(error: Exception, line: str | None) -> None:
    """Add a line to the file in which a job's script looks up what ended its ranks, and why.

    It begins with `lost:` where a device, another rank or a worker is gone, which may not happen
    again elsewhere, and with `error:` where it would. The first line is the cause: the ranks that
    wait for a failed one end later, and all with the same status.
    """
    path = os.environ.get(FAILURES)
    if path is None:
        return
    words = line or f"{type(error).__name__}: {error}"
    is_lost = isinstance(error, RuntimeError) and (line or _LOST.search(str(error)))
    kind = "lost" if is_lost else "error"
    rank = os.environ.get("SLURM_PROCID", os.environ.get("RANK", "0"))
    with contextlib.suppress(OSError), Path(path).open("a", encoding="utf-8") as file:
        file.write(f"{kind}: rank {rank}: {' '.join(words.split())[:1000]}\n")


def _count_starts(cfg: DictConfig) -> int:
    if OmegaConf.is_missing(cfg, "output_dir"):
        return 0
    path = Path(cfg.output_dir) / "starts.jsonl"
    return len(path.read_bytes().splitlines()) if path.is_file() else 0


def _say(error: Exception, *, debug: bool) -> None:
    line = _describe(error)
    if line is None or debug:
        traceback.print_exception(error)
    else:
        _write(line)


def _write(line: str) -> None:
    sys.stderr.write(f"error: {line}\n(debug=true shows where)\n")


def _describe(error: Exception) -> str | None:
    """Put an error in one line; None if it is our mistake."""
    if isinstance(error, RuntimeError):
        # Only now: it brings torch, which a command imports after its checks.
        from nitrogen_train.data.stream import explain_lost_worker

        return explain_lost_worker(error)
    if isinstance(error, InstantiationException):
        cause = error.__cause__
        # A TypeError is an argument that the component does not have.
        if not isinstance(cause, (*_EXPECTED, TypeError)):
            return None
        _, _, key = str(error).partition("\nfull_key: ")
        return " ".join(f"{cause} (in {key})".split()) if key else " ".join(str(cause).split())
    if not isinstance(error, _EXPECTED):
        return None
    text = str(error)
    if _FROM_A_WORKER.match(text):
        # The traceback in the worker, which ends with the name and the message of the error.
        text = text.strip().splitlines()[-1].partition(": ")[2]
    return " ".join(text.split())
