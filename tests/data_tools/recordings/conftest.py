from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pipe_pad import PipePad


@pytest.fixture
def plug_in() -> Iterator[Callable[..., PipePad]]:
    """Make gamepads whose events the test sends."""
    pads: list[PipePad] = []

    def make(**description: Any) -> PipePad:
        pads.append(PipePad(**description))
        return pads[-1]

    yield make
    for pad in pads:
        pad.close()
