from itertools import islice

import numpy as np

from nitrogen_train.games import load_game
from nitrogen_train.games.base import random_player


def test_random_presses_every_control_by_the_documented_rule():
    game = load_game("carracing")

    presses = list(islice(random_player(game, seed=0), 2000))

    assert all(tuple(press) == game.info.controls for press in presses)
    stick = np.array([press["LEFT_STICK_X"] for press in presses])
    trigger = np.array([press["LEFT_TRIGGER"] for press in presses])
    assert set(trigger) == {False, True}
    assert abs(trigger.mean() - 0.5) < 0.05
    assert abs(stick.mean()) < 0.05
    assert abs(stick.std() - 1 / np.sqrt(3)) < 0.02
    assert abs(stick).max() <= 1


def test_random_follows_its_seed():
    game = load_game("doom_defend")
    first, same, other = (list(islice(random_player(game, seed=s), 10)) for s in (0, 0, 1))

    assert first == same
    assert first != other
