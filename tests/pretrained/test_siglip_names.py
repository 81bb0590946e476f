"""The published towers under both their names."""

import pytest
import timm

from nitrogen_train.pretrained.siglip_names import (
    find_image_size,
    find_num_heads,
    is_published,
    to_hf_name,
    to_timm_name,
)

PUBLISHED = [
    *(f"siglip-base-patch16-{size}" for size in (224, 256, 384, 512)),
    "siglip-large-patch16-256",
    "siglip-large-patch16-384",
    *(f"siglip2-base-patch16-{size}" for size in (224, 256, 384, 512)),
    "siglip2-base-patch32-256",
    *(f"siglip2-large-patch16-{size}" for size in (256, 384, 512)),
    *(f"siglip2-so400m-patch14-{size}" for size in (224, 384)),
    *(f"siglip2-so400m-patch16-{size}" for size in (256, 384, 512)),
    *(f"siglip2-giant-opt-patch16-{size}" for size in (256, 384)),
]


@pytest.mark.parametrize("name", PUBLISHED)
def test_timm_knows_every_published_tower(name: str) -> None:
    timm_name = to_timm_name(f"google/{name}")

    assert timm.get_pretrained_cfg(timm_name) is not None
    assert to_hf_name(timm_name) == f"google/{name}"


def test_a_name_tells_the_heads_of_its_own_width_alone() -> None:
    assert find_num_heads("google/siglip2-large-patch16-256", width=1024) == 16
    assert find_num_heads("google/siglip2-large-patch16-256", width=64) is None
    assert find_num_heads("somebody/siglip-tower", width=1024) is None


def test_a_rim_that_no_patch_fills_belongs_to_the_image() -> None:
    name = "google/siglip2-so400m-patch14-384"

    assert find_image_size(name, patch_size=14, grid_size=27) == 384
    assert find_image_size(name, patch_size=14, grid_size=20) == 280


def test_a_published_tower_has_all_its_sizes() -> None:
    name = "google/siglip2-large-patch16-256"

    assert is_published(name, width=1024, depth=24, image_size=256)
    assert not is_published(name, width=1024, depth=12, image_size=256)
    assert not is_published("somebody/siglip", width=1024, depth=24, image_size=256)


@pytest.mark.parametrize("name", ["resnet10t", "vit_base_patch16_siglip_gap_256.v2_webli"])
def test_other_networks_have_no_tower(name: str) -> None:
    assert to_hf_name(name) is None
