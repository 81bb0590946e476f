"""The tiny game, which every test can run with the hook that this machine's compiler builds."""

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from nitrogen_train.games.native.build import build_hook
from nitrogen_train.games.native.process import GameLaunch, GameProcess

TINY_GAME = Path(__file__).with_name("tiny_game.py")
Start = Callable[..., GameProcess]


@pytest.fixture(scope="session")
def hook() -> Path:
    if sys.platform != "linux" or not (shutil.which("cc") or shutil.which("gcc")):
        pytest.skip("native games need Linux and a C compiler: apt-get install gcc libc6-dev")
    pytest.importorskip("sdl2dll")
    return build_hook()


@pytest.fixture
def launch(hook: Path) -> Callable[..., GameLaunch]:
    def prepare(*ways: str, seed: int = 0, fps: float = 60) -> GameLaunch:
        command = (sys.executable, str(TINY_GAME), *ways)
        return GameLaunch(name="tiny", command=command, hook=hook, fps=fps, seed=seed)

    return prepare


@pytest.fixture
def start(launch: Callable[..., GameLaunch]) -> Iterator[Start]:
    """Start the tiny game in some way, by seed; every one is ended after the test."""
    with ExitStack() as stack:

        def begin(*ways: str, seed: int = 0, fps: float = 60) -> GameProcess:
            process = GameProcess(launch(*ways, seed=seed, fps=fps))
            stack.callback(process.close)
            return process

        yield begin
