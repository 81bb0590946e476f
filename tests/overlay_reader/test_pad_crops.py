import numpy as np
import pytest

from nitrogen_train.overlay_reader.pad_crops import (
    CROP_HEIGHT,
    CROP_WIDTH,
    PadCrop,
    cut_patches,
    find_press,
    find_rest,
    stack_channels,
)


def make_planes(crop: PadCrop, by_x: float, by_y: float) -> list[np.ndarray]:
    """A picture that is linear in x and y, as planes of the crop's outer box."""
    left, top, right, bottom = crop.outer
    y, x = np.mgrid[top:bottom, left:right] + 0.5
    luma = by_x * x + by_y * y
    chroma = luma.reshape(luma.shape[0] // 2, 2, -1, 2).mean(axis=(1, 3))
    return [luma[None], chroma[None], chroma[None]]


# Planes of fractions stand for those of bytes, which are too coarse to tell a place from.
@pytest.mark.unchecked
@pytest.mark.parametrize("box", [(300.0, 200.0, 430.0, 281.5), (100.3, 150.7, 620.0, 400.0)])
def test_each_pixel_of_a_crop_shows_its_place_in_the_video(box) -> None:
    crop = PadCrop(box, 1280, 720)

    luma, chroma = crop.resample(*make_planes(crop, 0.1, 0.2))

    for row, column in ((0, 0), (80, 128), (CROP_HEIGHT - 1, CROP_WIDTH - 1)):
        x, y = crop.to_video(column + 0.5, row + 0.5)
        assert luma[0, row, column] == pytest.approx(0.1 * x + 0.2 * y, abs=0.02)
    x, y = crop.to_video(2 * 64 + 1, 2 * 40 + 1)
    assert chroma[0, 0, 40, 64] == pytest.approx(0.1 * x + 0.2 * y, abs=0.05)


def test_a_crop_at_the_edge_of_the_picture_goes_on_with_its_edge() -> None:
    crop = PadCrop((0.0, 0.0, 200.0, 120.0), 640, 360)
    left, top, right, bottom = crop.outer
    planes = [np.full((1, bottom - top, right - left), 77, np.uint8)]
    planes += [np.full((1, (bottom - top) // 2, (right - left) // 2), 99, np.uint8)] * 2

    luma, chroma = crop.resample(*planes)

    assert (left, top) == (0, 0)
    assert luma == pytest.approx(77, abs=1e-3)
    assert chroma == pytest.approx(99, abs=1e-3)


def test_rest_is_what_most_frames_show_and_patches_what_differs_from_it() -> None:
    luma = np.full((9, CROP_HEIGHT, CROP_WIDTH), 100, np.float32)
    chroma = np.full((9, 2, CROP_HEIGHT // 2, CROP_WIDTH // 2), 128, np.float32)
    luma[4, 60:64, 90:94] = 164

    rest = find_rest(luma, chroma)
    off, still = stack_channels(luma, chroma, rest)
    at_spot = cut_patches(off, still, range(9), [(92.0, 62.0)] * 9, 32)
    at_corner = cut_patches(off, still, [4, 2], [(0.0, 0.0), (300.0, 200.0)], 32)

    assert (rest.luma == 100).all()
    assert rest.spread[61, 91] == pytest.approx(64 / 9)
    assert at_spot.shape == (9, 9, 32, 32)
    assert at_spot[4, 0, 14:18, 14:18] == pytest.approx(1.0)
    assert np.count_nonzero(at_spot[:, :3]) == 16
    # By what is usual at its place: one frame of nine is nearly that far off.
    usual = 64 / (2 * rest.reach[61, 91] + 6)
    assert at_spot[4, 3, 14:18, 14:18] == pytest.approx(min(usual, 1.0))
    luma = (rest.luma[46:78, 76:108] - 128) / 64
    assert (at_spot[:, 4] == luma).all()
    assert not at_corner[0, :, :16].any()
    assert not at_corner[0, :, :, :16].any()
    assert at_corner[0, 4, 16:, 16:] == pytest.approx((100 - 128) / 64)
    assert at_corner[1, 4, :16, :16] == pytest.approx((100 - 128) / 64)
    assert not at_corner[1, :, 16:].any()


def test_a_press_is_what_the_likeliest_patches_show() -> None:
    rng = np.random.default_rng(3)
    patches = rng.normal(size=(20, 9, 32, 32)).astype(np.float32)
    logits = np.linspace(-6, 2, 20).astype(np.float32)
    order = rng.permutation(20)

    press, usual = find_press(patches[order], logits[order])

    assert press == pytest.approx(patches[-4:, :3].mean(axis=0), abs=1e-6)
    assert usual == pytest.approx(np.percentile(logits, (50, 75, 90, 100)) / 4, abs=1e-6)
    assert find_press(patches, np.full(20, 50, np.float32))[1].tolist() == [2] * 4
