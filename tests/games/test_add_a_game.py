"""The recipe of the README, done once: a Gymnasium environment becomes a game."""

import sys
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest

from nitrogen_train.actions import Controls
from nitrogen_train.games import GAMES, Frame, Game, GameInfo, list_games, load_game
from nitrogen_train.games.base import random_player, read_pad


class MountainCar(Game):
    """Gymnasium's `MountainCarContinuous-v0`: the left stick pushes the car."""

    info: ClassVar[GameInfo] = GameInfo(
        name="mountain_car",
        controls=("LEFT_STICK_X",),
        fps=7.5,
        frame_skip=4,
        frame_size=(400, 600),
        score="100 for the flag, less 0.1 times the squared push a tick: at most 100",
        reference_score=None,
        licence="Gymnasium, code and pictures: MIT",
        recording_seeds=range(0, 1000),
        heldout_seeds=range(1000, 2000),
    )

    def __init__(self) -> None:
        self._env = gymnasium.make("MountainCarContinuous-v0", render_mode="rgb_array")
        self._velocity = 0.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Frame, dict[str, Any]]:
        self._env.reset(seed=seed)
        self._velocity = 0.0
        return np.asarray(self._env.render()), {}

    def step(self, action: Controls) -> tuple[Frame, float, bool, bool, dict[str, Any]]:
        push = np.array([read_pad(action)["LEFT_STICK_X"]], dtype=np.float32)
        total_reward, terminated, truncated = 0.0, False, False
        for _ in range(self.info.frame_skip):
            (_, self._velocity), reward, terminated, truncated, _ = self._env.step(push)
            total_reward += float(reward)
            if terminated or truncated:
                break
        return np.asarray(self._env.render()), total_reward, terminated, truncated, {}

    def expert(self) -> Controls:
        return {"LEFT_STICK_X": 1.0 if self._velocity >= 0 else -1.0}

    def close(self) -> None:
        self._env.close()


def play(name: str, *, seed: int, is_expert: bool) -> float:
    game_class = load_game(name)
    presses = random_player(game_class, seed=seed)
    with closing(game_class()) as game:
        game.reset(seed=seed)
        score, over = 0.0, False
        while not over:
            action = game.expert() if is_expert else next(presses)
            _, reward, terminated, truncated, _ = game.step(action)
            score += reward
            over = terminated or truncated
    return score


def test_a_game_of_ones_own_is_loaded_by_its_module_and_class():
    game_class = load_game(f"{__name__}:MountainCar")

    with closing(game_class()) as game:
        frame, _ = game.reset(seed=0)

    assert game_class is MountainCar
    assert (frame.shape, frame.dtype) == ((400, 600, 3), np.dtype("uint8"))


@pytest.mark.slow
def test_its_expert_reaches_the_flag_and_random_does_not():
    expert = play(f"{__name__}:MountainCar", seed=0, is_expert=True)
    random = play(f"{__name__}:MountainCar", seed=0, is_expert=False)

    assert expert > 80
    assert random < 0


def test_an_unknown_game_names_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown game .tetris.; known: blobby, carracing, "):
        load_game("tetris")
    with pytest.raises(ValueError, match=r"did you mean doom_defend\? known: blobby, "):
        load_game("doom_defnd")


def test_games_are_listed_by_name_alone_or_as_all_of_ours():
    assert list_games("doom_defend") == ["doom_defend"]
    assert list_games(["my.yaml", "doom_defend"]) == ["my.yaml", "doom_defend"]
    assert list_games("suite") == list_games(["suite"]) == list(GAMES)
    assert list_games(None) == []
    with pytest.raises(ValueError, match="games has blobby twice"):
        list_games(["blobby", "suite"])
    with pytest.raises(ValueError, match=r"games are names, as games=\[doom_defend\], got \[3\]"):
        list_games([3])  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("my_games.Catch", "my_games:Catch"),
        ("my_games.py:Catch", "my_games:Catch"),
        ("./my_games.py:Catch", "my_games:Catch"),
        ("games/mine.py:Catch", "games.mine:Catch"),
        ("my_games.py", "my_games:Class"),
    ],
)
def test_a_game_that_is_spelt_as_a_file_or_an_attribute_says_how_it_is_spelt(
    name: str, meant: str
) -> None:
    with pytest.raises(ValueError, match=rf"did you mean {meant}\?"):
        load_game(name)


def test_a_game_whose_module_is_missing_says_which():
    with pytest.raises(
        ValueError, match=r"No module named .no_such.; it is neither in the current folder"
    ):
        load_game("no_such:Game")


def test_a_class_that_is_no_game_is_refused():
    with pytest.raises(ValueError, match="is not a Game: subclass"):
        load_game("collections:OrderedDict")


def test_a_game_in_the_current_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "game_beside_me.py").write_text(
        "import gymnasium\nfrom nitrogen_train.games.carracing import CarRacing as Mine\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])

    assert load_game("game_beside_me:Mine") is load_game("carracing")


def test_a_game_that_is_not_finished_says_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_a_game.py").write_text(
        "from nitrogen_train.games import Game\n"
        "class Half(Game):\n    def expert(self): return {}\n"
    )
    (tmp_path / "unread_game.py").write_text("def (")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ValueError, match=r"half_a_game:Half lacks reset, step, info: see"):
        load_game("half_a_game:Half")
    with pytest.raises(ValueError, match=r"cannot import game 'unread_game:X': .*unread_game\.py"):
        load_game("unread_game:X")


def test_a_file_of_ones_own_names_its_games_and_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "raise SystemExit\nclass Catch(games.Game): ...\nclass Other: ...\n"
    (tmp_path / "catch.py").write_text(code)
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ValueError, match="unknown game 'catch', did you mean catch:Catch"):
        load_game("catch")
