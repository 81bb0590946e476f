"""Planes of what stays and what changes: identities that each must keep."""

import numpy as np
import pytest

from nitrogen_train.overlay_reader.video_statistics import (
    HEIGHT,
    PLANES,
    WIDTH,
    PictureFit,
    measure_statistics,
)

PLANE = {name: place for place, name in enumerate(PLANES)}


def make_moments(count: int = 8) -> np.ndarray:
    """A square that stands still on noise that does not."""
    moments = np.random.default_rng(0).integers(0, 256, (count, HEIGHT, WIDTH)).astype(np.uint8)
    moments[:, 100:200, 100:300] = 40
    moments[:, 140:160, 150:250] = 220
    return moments


def test_a_still_picture_has_no_spread_and_its_own_median() -> None:
    still = np.repeat(make_moments(1), 6, axis=0)

    planes = measure_statistics(still)

    assert np.array_equal(planes[PLANE["median"]], still[0])
    for name in ("spread", "flicker", "rarity"):
        assert not planes[PLANE[name]].any(), name


def test_the_order_of_moments_does_not_matter() -> None:
    moments = make_moments()

    assert np.array_equal(measure_statistics(moments), measure_statistics(moments[::-1]))


def test_edges_that_stay_are_coherent_and_edges_of_the_game_are_not() -> None:
    planes = measure_statistics(make_moments(16))

    coherence = planes[PLANE["coherence"]].astype(float) / 255
    assert coherence[140, 160:240].min() > 0.9
    assert coherence[210:, :].mean() < 0.4


def test_what_happens_seldom_is_rare() -> None:
    moments = np.full((16, HEIGHT, WIDTH), 50, np.uint8)
    moments[3, :, :100] = 200
    moments[::2, :, 200:300] = 200

    rarity = measure_statistics(moments)[PLANE["rarity"]]

    assert rarity[50, 50] > 1.7 * rarity[50, 250] > 0
    assert rarity[50, 400] == 0


@pytest.mark.parametrize("size", [(1280, 720), (1920, 1080), (640, 480), (720, 1280), (320, 180)])
def test_a_place_in_the_video_is_found_again(size: tuple[int, int]) -> None:
    width, height = size
    fit = PictureFit(width, height)
    luma = np.zeros((height, width), np.uint8)
    luma[height // 4 : height // 2, width // 4 : width // 2] = 255

    small = fit.shrink(luma) > 128

    rows, columns = np.flatnonzero(small.any(1)), np.flatnonzero(small.any(0))
    edges = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    box = fit.to_video([float(edge) for edge in edges])
    wanted = (width // 4, height // 4, width // 2, height // 2)
    assert np.allclose(box, wanted, atol=1 / fit.scale + 1)
