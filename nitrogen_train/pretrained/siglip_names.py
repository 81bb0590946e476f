"""List the published SigLIP towers, as Hugging Face and timm call them; no torch.

The names tell, before torch is imported, whether a policy can be written as an ng.pt.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from nitrogen_train.pretrained.places import find_place, read_policy_config

# Width, depth and attention heads.
_SIZES = {
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
    "so400m": (1152, 27, 16),
    "giant-opt": (1536, 40, 16),
}
_HF_NAME = re.compile(r"google/siglip(2?)-(base|large|so400m|giant-opt)-patch(\d+)-(\d+)")
_TIMM_NAME = re.compile(
    r"vit_(base|large|so400m|giantopt)_patch(\d+)_siglip_(\d+)(?:\.(v2_webli|webli))?"
)
# Any of timm's towers serves for a name that is not published: all its sizes are given.
_UNPUBLISHED = "vit_base_patch16_siglip_224.v2_webli"


def find_num_heads(hf_name: str, *, width: int) -> int | None:
    """Look up a tower's attention heads; None if its name does not tell those of this width."""
    match = _HF_NAME.fullmatch(hf_name)
    if match is None:
        return None
    published_width, _, num_heads = _SIZES[match[2]]
    return num_heads if published_width == width else None


def find_untold_heads(timm_name: str, *, width: int, num_heads: int | None) -> int | None:
    """Say how many attention heads an ng.pt does not tell, so that its reader must be told.

    Args:
        timm_name: Of the tower.
        width: Of the tower as it was built.
        num_heads: As it was built; None is timm's own number.

    Returns:
        None if the name tells them.
    """
    hf_name = to_hf_name(timm_name)
    match = _HF_NAME.fullmatch(hf_name or "")
    if match is None or find_num_heads(match[0], width=width) is not None:
        return None
    return num_heads or _SIZES[match[2]][2]


def is_published(hf_name: str, *, width: int, depth: int, image_size: int) -> bool:
    """Say whether a name stands for a tower of these sizes."""
    match = _HF_NAME.fullmatch(hf_name)
    if match is None:
        return False
    return (*_SIZES[match[2]][:2], int(match[4])) == (width, depth, image_size)


def find_image_size(hf_name: str, *, patch_size: int, grid_size: int) -> int:
    """Find the height and width in pixels of a tower's images.

    Patches that do not fill an image leave a rim, which nothing sees: 27 patches of 14 pixels
    lie in an image of 378 pixels, or of 384, as a name may say.
    """
    match = _HF_NAME.fullmatch(hf_name)
    if match is not None and int(match[4]) // patch_size == grid_size:
        return int(match[4])
    return grid_size * patch_size


def to_timm_name(hf_name: str) -> str:
    """Name timm's network of the same architecture."""
    match = _HF_NAME.fullmatch(hf_name)
    if match is None:
        return _UNPUBLISHED
    version, size, patch_size, image_size = match.groups()
    if (patch_size, image_size) == ("14", "384"):
        # timm calls it by the pixels that it sees.
        image_size = "378"
    tag = "v2_webli" if version else "webli"
    return f"vit_{size.replace('-', '')}_patch{patch_size}_siglip_{image_size}.{tag}"


def to_hf_name(timm_name: str) -> str | None:
    """Name Hugging Face's tower of the same architecture; None if there is none."""
    match = _TIMM_NAME.fullmatch(timm_name)
    if match is None:
        return None
    size, patch_size, image_size, tag = match.groups()
    image_size = "384" if (patch_size, image_size) == ("14", "378") else image_size
    version = "" if tag == "webli" else "2"
    size = size.replace("giantopt", "giant-opt")
    return f"google/siglip{version}-{size}-patch{patch_size}-{image_size}"


def refuse_what_is_no_ng(name_or_path: str) -> None:
    """Refuse a policy whose encoder has no place in an ng.pt.

    Args:
        name_or_path: A run, or a policy on this machine; another policy is left for later.

    Raises:
        ValueError: If it is one.
    """
    name = _read_encoder_name(name_or_path)
    if name is not None and to_hf_name(name) is None:
        raise ValueError(
            f"the policy cannot be written as an ng.pt: its encoder {name!r} is not a SigLIP tower "
            "with a pooling head, as those of model=nitrogen, model=base and "
            "experiment=pretrain_debug; format=folder writes any policy"
        )


def _read_encoder_name(name_or_path: str) -> str | None:
    place, run_config = find_place(name_or_path), Path(name_or_path) / "config.yaml"
    settings: Any = None
    if run_config.is_file():
        settings = (yaml.safe_load(run_config.read_text("utf-8")) or {}).get("model")
    elif place is not None and place.kind == "folder":
        settings = read_policy_config(place.path).settings
    encoder = settings.get("encoder") if isinstance(settings, dict) else None
    name = encoder.get("name") if isinstance(encoder, dict) else None
    return name if isinstance(name, str) else None
