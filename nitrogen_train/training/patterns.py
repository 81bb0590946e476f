"""Parameters by name: `encoder.*` is every parameter whose name begins with `encoder.`.

Patterns are those of a shell (`fnmatch`): `*` stands for any text, dots included.
"""

import difflib
from fnmatch import fnmatchcase

from torch import nn


def find_parameters(module: nn.Module, pattern: str, *, setting: str) -> list[str]:
    """Find the names that a pattern fits, in the module's order.

    Args:
        module: Whose parameters are meant.
        pattern: For names of parameters.
        setting: What the pattern was given as, for the error.

    Raises:
        ValueError: If it fits no parameter; the message names patterns like it that fit some.
    """
    names = [name for name, _ in module.named_parameters()]
    found = [name for name in names if fnmatchcase(name, pattern)]
    if not found:
        known = [f"{part}.*" for part, _ in module.named_modules() if part] + names
        close = difflib.get_close_matches(pattern, known, n=3) or [
            f"{part}.*" for part, _ in module.named_children()
        ]
        raise ValueError(
            f"{setting}: {pattern!r} fits no parameter; did you mean {', '.join(close)}?"
        )
    return found
