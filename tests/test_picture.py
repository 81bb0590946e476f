import numpy as np
import pytest

from nitrogen_train.picture import squash


def test_a_shrunk_pixel_is_the_mean_of_its_area() -> None:
    frame = np.zeros((6, 8, 3), dtype=np.uint8)
    frame[:3, :4] = 200

    assert squash(frame, 2)[..., 0].tolist() == [[200, 0], [0, 0]]
    assert squash(frame, 1)[0, 0].tolist() == [50, 50, 50]


@pytest.mark.parametrize("shape", [(240, 320), (96, 96), (64, 300), (300, 64)])
def test_the_whole_picture_fills_the_square(shape: tuple[int, int]) -> None:
    frame = np.full((*shape, 3), 255, dtype=np.uint8)

    squashed = squash(frame, 128)

    assert squashed.shape == (128, 128, 3)
    assert squashed.min() == 255


def test_a_square_of_the_size_is_left_alone() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)

    np.testing.assert_array_equal(squash(frame, 32), frame)
