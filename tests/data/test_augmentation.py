import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.transforms.functional import InterpolationMode, rotate

from nitrogen_train.batch import PolicyBatch, WindowId
from nitrogen_train.data.augmentation import Augmentation
from nitrogen_train.flow.path import sample_uniform

NONE = Augmentation(
    brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0, rotation_degrees=0.0, crop=1.0
)
ALL = Augmentation(
    brightness=0.3, contrast=0.4, saturation=0.5, hue=0.08, rotation_degrees=5.0, crop=0.9
)
LUMA = torch.tensor([0.299, 0.587, 0.114])[:, None, None]


def random_frames(num: int, *, num_frames: int = 1, height: int = 24, width: int = 24) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (num, num_frames, 3, height, width)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def smooth_frame(height: int, width: int) -> Tensor:
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    waves = [(y / 9).sin(), (x / 7).cos(), ((x + y) / 11).sin()]
    return (100 * torch.stack(waves) + 128).round().byte()[None, None]


def seeds(num: int) -> Tensor:
    return torch.arange(num) * 7919 + 1


def levels_apart(one: Tensor, other: Tensor) -> int:
    return int((one.int() - other.int()).abs().max())


@pytest.mark.parametrize("width", [24, 37])
def test_without_ranges_nothing_changes(width: int) -> None:
    frames = random_frames(5, num_frames=2, width=width)

    assert torch.equal(NONE.augment_frames(frames, seeds(5)), frames)


@pytest.mark.parametrize(
    "name", ["brightness", "contrast", "saturation", "hue", "rotation_degrees"]
)
def test_each_range_changes_the_frames_and_no_two_samples_alike(name: str) -> None:
    frames = random_frames(1).expand(6, -1, -1, -1, -1)

    changed = replace(NONE, **{name: getattr(ALL, name)}).augment_frames(frames, seeds(6))

    assert len({bytes(sample.numpy()) for sample in [frames[0], *changed]}) == 7


def test_a_sample_is_changed_alike_wherever_it_stands() -> None:
    frames, seed = random_frames(8, num_frames=2), seeds(8)
    order = torch.tensor([3, 0, 7, 1, 2, 6, 5, 4])
    whole = ALL.augment_frames(frames, seed)

    shuffled = ALL.augment_frames(frames[order], seed[order])
    parts = [ALL.augment_frames(f, s) for f, s in zip(frames.split(3), seed.split(3), strict=True)]

    assert levels_apart(shuffled, whole[order]) <= 1
    assert levels_apart(torch.cat(parts), whole) <= 1
    assert levels_apart(ALL.augment_frames(frames, seed + 1), whole) > 50


def test_all_frames_of_a_sample_are_changed_alike() -> None:
    frames = random_frames(4).expand(-1, 3, -1, -1, -1)

    changed = ALL.augment_frames(frames, seeds(4))

    assert torch.equal(changed, changed[:, :1].expand_as(changed))


def test_the_rest_of_a_batch_stays() -> None:
    batch = PolicyBatch(
        frames=random_frames(2),
        frame_mask=torch.ones(2, 1, dtype=torch.bool),
        actions=torch.rand(2, 4, 25),
        action_mask=torch.ones(2, 4, 25, dtype=torch.bool),
        game_id=torch.tensor([0, 1]),
        sample_seed=seeds(2),
        num_valid_in_step=torch.tensor(200),
        window_ids=(WindowId("s", "c", 0), WindowId("s", "c", 1)),
    )

    augmented = ALL(batch)

    assert torch.equal(augmented.frames, ALL.augment_frames(batch.frames, batch.sample_seed))
    assert replace(augmented, frames=batch.frames) == batch


@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 80)])
def test_a_rotation_is_torchvisions(height: int, width: int) -> None:
    frame = smooth_frame(height, width)
    chance = 2 * sample_uniform(seeds(1), (7,), stream="augmentation")[0, 0].item() - 1

    rotated = replace(NONE, rotation_degrees=20.0).augment_frames(frame, seeds(1))

    expected = rotate(frame[0, 0], 20 * chance, InterpolationMode.BILINEAR)
    margin = 16
    inside = (..., slice(margin, -margin), slice(margin, -margin))
    assert levels_apart(rotated[0, 0][inside], expected[inside]) <= 1
    assert levels_apart(frame[0, 0][inside], expected[inside]) > 10


def test_a_crop_enlarges_a_part_of_the_picture() -> None:
    ramp = torch.arange(40, 200, 2, dtype=torch.uint8).expand(1, 1, 3, 80, 80)
    frames = torch.cat([ramp.mT, ramp]).repeat(16, 1, 1, 1, 1)

    cropped = replace(NONE, crop=0.5).augment_frames(frames, seeds(32)).float()

    down, across = cropped[0::2, 0, 0, :, 40], cropped[1::2, 0, 0, 40]
    for lines in (down, across):
        slopes = (lines[:, -1] - lines[:, 0]) / 79
        torch.testing.assert_close(slopes, torch.ones(16), rtol=0.0, atol=0.02)
        starts = lines[:, 0]
        assert starts.min() >= 40
        assert starts.max() <= 120
        assert starts.max() - starts.min() > 40


def test_brightness_multiplies() -> None:
    frames = torch.full((64, 1, 3, 4, 4), 100, dtype=torch.uint8)

    values = replace(NONE, brightness=0.3).augment_frames(frames, seeds(64))[:, 0, 0, 0, 0]

    assert values.min() >= 70
    assert values.max() <= 130
    assert values.float().std() > 10


def test_contrast_keeps_the_mean_luma() -> None:
    frames = random_frames(8) // 2 + 64

    changed = replace(NONE, contrast=0.4).augment_frames(frames, seeds(8))

    before, after = ((LUMA * f.float()).sum(dim=-3).mean(dim=(1, 2, 3)) for f in (frames, changed))
    torch.testing.assert_close(after, before, rtol=0.0, atol=0.5)


def test_hue_and_saturation_keep_luma_and_grey() -> None:
    coloured, grey = (
        random_frames(8) // 4 + 96,
        random_frames(8)[:, :, :1].expand(-1, -1, 3, -1, -1),
    )
    augmentation = replace(NONE, hue=0.5, saturation=0.5)

    changed = augmentation.augment_frames(coloured, seeds(8))

    luma = [(LUMA * frames.float()).sum(dim=-3) for frames in (coloured, changed)]
    torch.testing.assert_close(luma[1], luma[0], rtol=0.0, atol=1.0)
    assert levels_apart(changed, coloured) > 20
    assert torch.equal(augmentation.augment_frames(grey, seeds(8)), grey)


def test_hue_reaches_other_colours_and_saturation_reaches_grey() -> None:
    red = torch.tensor([200, 60, 60], dtype=torch.uint8)[:, None, None].expand(64, 1, 3, 4, 4)

    hues = replace(NONE, hue=0.5).augment_frames(red, seeds(64))[:, 0, :, 0, 0]
    greyed = replace(NONE, saturation=1.0).augment_frames(red, seeds(64))[:, 0, :, 0, 0].int()

    assert set(hues.argmax(dim=-1).tolist()) == {0, 1, 2}
    chroma = greyed[:, 0] - greyed[:, 1]
    assert chroma.min() < 20
    assert chroma.max() > 170


def test_missing_earlier_frames_do_not_darken_the_mean() -> None:
    frames = random_frames(4, num_frames=3)
    missing = frames.clone()
    missing[:, :2] = 0

    last = [
        replace(NONE, contrast=0.4).augment_frames(f, seeds(4))[:, -1] for f in (frames, missing)
    ]

    assert torch.equal(*last)


def test_mixed_precision_around_it_changes_nothing() -> None:
    frames = random_frames(4)
    expected = ALL.augment_frames(frames, seeds(4))

    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ALL.augment_frames(frames, seeds(4)), expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hue": 0.6}, r"augmentation.hue must lie in \[0, 0.5\], got 0.6"),
        ({"contrast": -0.1}, r"augmentation.contrast must lie in \[0, 1.0\], got -0.1"),
        ({"crop": 0.0}, r"augmentation.crop must lie in \(0, 1.0\], got 0.0"),
        ({"rotation_degrees": math.inf}, "augmentation.rotation_degrees must lie in"),
    ],
)
def test_a_range_without_sense_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(ALL, **changes)
