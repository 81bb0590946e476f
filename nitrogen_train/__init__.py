"""Training for game-playing policies that learn by watching gameplay.

Attributes load on first use, so that `nitrogen_train.actions` and `nitrogen_train.games` can be
imported on a machine without torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from nitrogen_train.runtime.interrupts import is_command, listen_from_the_start
from nitrogen_train.runtime.processes import follow_parent

if TYPE_CHECKING:
    from nitrogen_train.batch import PolicyBatch as PolicyBatch
    from nitrogen_train.models.load import load_policy as load_policy
    from nitrogen_train.models.nitrogen import NitroGen as NitroGen

__version__ = "0.1.0"
__all__ = ["NitroGen", "PolicyBatch", "load_policy"]

_HOMES = {
    "NitroGen": "nitrogen_train.models.nitrogen",
    "PolicyBatch": "nitrogen_train.batch",
    "load_policy": "nitrogen_train.models.load",
}

if is_command():
    # Here, so that no import comes before it.
    listen_from_the_start()
    follow_parent()


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562 module attributes have any type
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
