"""A controller of an unknown skin is there where its steady edges are, in use or not."""

import numpy as np
import pytest
from jaxtyping import Bool, Float32

from data_tools.watching.any_skin.pad_presence import SteadyEdges

NUM_ROWS = 60
BUTTON = (slice(10, 14), slice(20, 24))
"""Cells of a control, four pixels wide."""
INNER = slice(40, 56), slice(80, 96)
"""Its pixels."""
CORNERS = [
    (slice(down, down + 2), slice(across, across + 2)) for down in (1, 36) for across in (1, 60)
]
"""Cells of controls that are never in use, with the button between them."""
CONTROLS = [BUTTON, *CORNERS]


def make_rest() -> Float32[np.ndarray, "160 256"]:
    """A controller with edges all over, and a button in it."""
    rng = np.random.default_rng(0)
    rest = rng.uniform(40, 200, (20, 32)).repeat(8, axis=0).repeat(8, axis=1)
    rest[INNER] = rng.uniform(40, 200, (4, 4)).repeat(4, axis=0).repeat(4, axis=1)
    return rest.astype(np.float32)


def show(rest: np.ndarray, *, seed: int = 1) -> Float32[np.ndarray, "60 160 256"]:
    noise = np.random.default_rng(seed).normal(0, 2, (NUM_ROWS, *rest.shape))
    return (rest + noise).astype(np.float32)


def judge(
    luma: Float32[np.ndarray, "60 160 256"], pressed: Bool[np.ndarray, " rows"] | None = None
) -> Bool[np.ndarray, " rows"]:
    rest = make_rest()
    edges = SteadyEdges.find(show(rest)[:24], rest, CONTROLS)
    in_use = np.zeros((len(luma), len(CONTROLS)), bool)
    if pressed is not None:
        in_use[:, 0] = pressed
    readable, residual = edges.judge(edges.measure(luma), in_use)
    assert ((residual < 1) == readable).all()
    return readable


def test_rows_that_show_all_of_it_can_be_read() -> None:
    assert judge(show(make_rest())).all()


@pytest.mark.parametrize(
    "part",
    [np.s_[:, :], np.s_[:, :128], np.s_[80:, 60:200], np.s_[40:80, 51:103]],
    ids=["all", "half", "quarter", "tile"],
)
def test_rows_in_which_a_part_is_covered_cannot(part: tuple[slice, slice]) -> None:
    luma = show(make_rest())
    luma[20:30, *part] = 90

    assert np.flatnonzero(~judge(luma)).tolist() == list(range(20, 30))


def test_a_controller_that_is_elsewhere_cannot_be_read() -> None:
    luma = show(make_rest())
    luma[40:] = np.roll(luma[40:], (12, 20), axis=(1, 2))

    assert np.flatnonzero(~judge(luma)).tolist() == list(range(40, NUM_ROWS))


def test_a_row_alone_that_is_noise_is_kept() -> None:
    luma = show(make_rest())
    luma[30] = 90

    assert judge(luma).all()


def test_a_control_in_use_may_look_otherwise() -> None:
    luma, pressed = show(make_rest()), np.zeros(NUM_ROWS, bool)
    pressed[20:30] = True
    luma[20:30, *INNER] = 250 - luma[20:30, *INNER]
    tile = np.s_[40:80, 51:103]
    around = luma.copy()
    around[20:30, *tile] = make_rest()[tile]
    around[20:30, *INNER] = 250 - luma[20:30, *INNER]

    assert judge(luma, pressed).all()
    # What is covered beside it still counts.
    luma[22:28, 80:, :] = 90
    assert np.flatnonzero(~judge(luma, pressed)).tolist() == list(range(22, 28))


def test_what_moves_behind_an_outline_does_not_count() -> None:
    rest = make_rest()
    rng = np.random.default_rng(4)
    moments, luma = show(rest)[:24], show(rest)
    for pictures in (moments, luma):
        pictures[:, :40] = rng.uniform(0, 255, (len(pictures), 10, 64)).repeat(4, 1).repeat(4, 2)
    edges = SteadyEdges.find(moments, rest, CONTROLS)

    readable, _ = edges.judge(edges.measure(luma), np.zeros((NUM_ROWS, len(CONTROLS)), bool))

    assert readable.all()


def test_what_is_covered_outside_of_all_controls_does_not_count() -> None:
    rest = make_rest()
    edges = SteadyEdges.find(show(rest)[:24], rest, [BUTTON, CORNERS[0]])
    luma = show(rest)
    luma[20:30, 90:] = 90
    luma[40:50, 50:] = 90

    readable, _ = edges.judge(edges.measure(luma), np.zeros((NUM_ROWS, 2), bool))

    assert np.flatnonzero(~readable).tolist() == list(range(40, 50))


def test_nothing_can_be_read_where_nothing_is_steady() -> None:
    flat = np.full((24, 160, 256), 80, np.float32)
    edges = SteadyEdges.find(flat, flat[0], [BUTTON])

    readable, residual = edges.judge(edges.measure(flat), np.zeros((24, 1), bool))

    assert not readable.any()
    assert (residual == 50).all()
