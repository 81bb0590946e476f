"""How our commands end when something is wrong: one clear line, the traceback when asked for."""

import functools
import sys
from collections.abc import Callable

from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

_EXPECTED = (ValueError, OSError, FloatingPointError, OmegaConfBaseException)
"""What a user, a disk or the data can cause. Anything else is our mistake: show the traceback."""


def report_errors(command: Callable[[DictConfig], None]) -> Callable[[DictConfig], None]:
    """Turn the errors of a Hydra command into one line and exit status 1, unless `debug=true`."""

    @functools.wraps(command)
    def reported(cfg: DictConfig) -> None:
        try:
            command(cfg)
        except _EXPECTED as error:
            if cfg.get("debug", False):
                raise
            line = " ".join(str(error).split())
            sys.stderr.write(f"error: {line}\n(debug=true shows where)\n")
            sys.exit(1)

    return reported
