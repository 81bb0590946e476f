"""The ways through a level of Pekka Kana 2."""

import numpy as np

from nitrogen_train.games.linux.pekka_map import COLUMNS, GROUND, ROWS, Ways


def test_way_leads_up_steps_of_two_tiles_and_no_higher() -> None:
    walls = np.full((ROWS, COLUMNS), 255, np.uint8)
    walls[100, :40] = 0
    walls[98:100, 20:40] = 0
    walls[97, 30] = 149
    assert Ways(walls.tobytes(), ((30, 97),)).distance((10, 99, GROUND)) is not None
    walls[96:100, 18:40] = 0
    walls[95, 30] = 149
    assert Ways(walls.tobytes(), ((30, 95),)).distance((10, 99, GROUND)) is None
