"""How our commands end when something is wrong: one clear line, the traceback when asked for."""

import functools
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from hydra.errors import HydraException, InstantiationException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from nitrogen_train.overrides import explain

_Result = TypeVar("_Result")
_EXPECTED = (ValueError, OSError, FloatingPointError, OmegaConfBaseException)
"""What a user, a disk or the data can cause. Anything else is our mistake: show the traceback."""

_OF_WORDS = (ValueError, HydraException, OmegaConfBaseException, YAMLError)
"""What the words of a command can cause."""

_FROM_A_WORKER = re.compile(r"Caught \w+ in DataLoader worker process \d+\.\nOriginal Traceback ")


def report_errors(command: Callable[[DictConfig], _Result]) -> Callable[[DictConfig], _Result]:
    """Turn the errors of a Hydra command into one line and exit status 1, unless `debug=true`."""

    @functools.wraps(command)
    def reported(cfg: DictConfig) -> _Result:
        try:
            return command(cfg)
        except (*_EXPECTED, RuntimeError, InstantiationException) as error:
            line = _describe(error)
            if line is None or cfg.get("debug", False):
                raise
            sys.stderr.write(f"error: {line}\n(debug=true shows where)\n")
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


def _describe(error: Exception) -> str | None:
    """Put an error in one line; None if it is our mistake."""
    if isinstance(error, RuntimeError):
        # Only now: it brings torch, which a command imports after its checks.
        from nitrogen_train.data.loader import explain_lost_worker

        return explain_lost_worker(error)
    if isinstance(error, InstantiationException):
        cause = error.__cause__
        # A TypeError is an argument that the component does not have.
        if not isinstance(cause, (*_EXPECTED, TypeError)):
            return None
        _, _, key = str(error).partition("\nfull_key: ")
        return " ".join(f"{cause} (in {key})".split()) if key else " ".join(str(cause).split())
    text = str(error)
    if _FROM_A_WORKER.match(text):
        # The traceback in the worker, which ends with the name and the message of the error.
        text = text.strip().splitlines()[-1].partition(": ")[2]
    return " ".join(text.split())
