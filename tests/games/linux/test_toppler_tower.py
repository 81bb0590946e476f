"""The ways up a tower: what a step does, and how the guide finds the door."""

from nitrogen_train.games.linux.toppler_tower import Guide, read_tower


def test_vanishing_step_lets_fall_what_stands_on_it() -> None:
    cells = bytearray(64 * 16)
    cells[1 * 16 : 1 * 16 + 3] = bytes([12, 12, 13])
    tower = read_tower(bytes(cells))
    assert [move.end for move in tower.moves((12, 8, True)) if move.press == "right"] == [
        (13, 8, True)
    ]
    assert tower.find_drift((19, 8, True)) == 0


def test_guide_leads_through_a_lift_to_the_target_door() -> None:
    cells = bytearray(64 * 16)
    cells[1 * 16] = 12
    cells[1 * 16 + 1] = 24
    cells[9 * 16 + 1] = 1
    cells[9 * 16 + 2] = 12
    for row in (10, 11, 12):
        cells[row * 16 + 2] = 18
    guide = Guide(read_tower(bytes(cells), is_map=True))
    assert guide.leads_to_target((4, 8, True))
    assert guide.count_ticks((12, 8, True)) < guide.count_ticks((4, 8, True))
