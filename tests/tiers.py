"""Which cases of a test `make test` runs, and which are for `make test-full`."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def divide(cases: Iterable[Any], *, slow: Collection[Any]) -> list[Any]:
    """Mark cases: those of `slow` are slow tests, the others are for `make test-full`.

    Args:
        cases: Values of one parameter, or tuples for several.
        slow: Some of them.
    """
    return [
        pytest.param(
            *(case if type(case) is tuple else (case,)),
            marks=pytest.mark.slow if case in slow else pytest.mark.full,
        )
        for case in cases
    ]
