"""A cap is followed as a picture that moves, and taken off the frames."""

import numpy as np

from data_tools.watching.any_skin.stick_caps import ClickLook, find_sprite, halve_planes

PLACE, SIZE = (70.0, 80.0), (36.0, 36.0)


def draw_frames(
    offsets: np.ndarray, clicked: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """A textured board with a large grey cap, and a letter that lies on it."""
    rng = np.random.default_rng(1)
    board = rng.uniform(20, 70, (160, 256)).astype(np.float32)
    rows, columns = np.indices(board.shape) + 0.5
    luma = np.empty((len(offsets), *board.shape), np.float32)
    for number, (frame, (x, y)) in enumerate(zip(luma, offsets, strict=True)):
        off = np.hypot(columns - PLACE[0] - x, rows - PLACE[1] - y)
        bright = 230 if clicked is not None and clicked[number] else 160
        cover = np.clip(SIZE[0] / 2 - off + 0.5, 0, 1)
        frame[:] = board * (1 - cover) + bright * cover
        frame[70:76, 60:80] = 250
    return luma, np.full((len(offsets), 2, 80, 128), 128, np.float32)


def draw_offsets(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.uniform(-18, 18, (count, 2)) * (rng.random((count, 1)) < 0.7)).astype(np.float32)


def test_a_cap_that_the_network_does_not_see_is_followed() -> None:
    offsets = draw_offsets(48)
    planes = halve_planes(*draw_frames(offsets))

    sprite = find_sprite(planes, PLACE, SIZE, np.zeros((48, 2), np.float32))

    assert sprite is not None
    others = draw_offsets(60, seed=1)
    found = sprite.read(halve_planes(*draw_frames(others)))
    assert np.median(np.abs(found[:, :2] - others)) < 0.5
    assert np.mean(np.abs(found[:, :2] - others).max(axis=1) < 2) > 0.95
    assert found[:, 2].min() > 0.5
    assert sprite.read(planes[:0]).shape == (0, 3)


def test_the_network_is_kept_where_it_sees_the_cap() -> None:
    offsets = draw_offsets(48)

    assert find_sprite(halve_planes(*draw_frames(offsets)), PLACE, SIZE, offsets) is None


def test_what_stands_still_has_no_cap() -> None:
    still = np.zeros((48, 2), np.float32)

    assert find_sprite(halve_planes(*draw_frames(still)), PLACE, SIZE, still) is None


def test_frames_without_the_cap_show_what_is_behind_it_and_what_lies_on_it() -> None:
    offsets = draw_offsets(48)
    luma, chroma = draw_frames(offsets)
    sprite = find_sprite(halve_planes(luma, chroma), PLACE, SIZE, np.zeros((48, 2), np.float32))
    assert sprite is not None
    planes, before = halve_planes(luma, chroma), luma.copy()

    sprite.erase(luma, chroma, planes, sprite.read(planes))

    # The board is as it is where no cap has been, whatever the moment; the letter stays.
    around = (slice(45, 115), slice(35, 105))
    spread, was = (
        np.abs(each - np.median(each, axis=0))[:, *around].mean() for each in (luma, before)
    )
    assert spread < 0.3 * was
    assert luma[:, 71:75, 62:78].min() > 200


def test_a_click_is_told_wherever_the_cap_is() -> None:
    offsets = draw_offsets(80)
    clicked = np.random.default_rng(2).random(80) < 0.25
    luma, chroma = draw_frames(offsets, clicked)
    half_known = np.where(clicked, 0.6, 0.2).astype(np.float32)
    caps = np.column_stack([offsets, np.ones(80), half_known]).astype(np.float32)

    look = ClickLook.find(luma[:48], chroma[:48], PLACE, SIZE, caps[:48])

    assert look is not None
    read = look.read(luma[48:], chroma[48:], caps[48:]) > 0.5
    np.testing.assert_array_equal(read, clicked[48:])
