"""What is known, before torch is imported, of whether a policy can be written as an ng.pt."""

from pathlib import Path
from typing import Any

import yaml

from nitrogen_train.pretrained.places import find_place
from nitrogen_train.pretrained.policy_config import read_policy_config
from nitrogen_train.pretrained.siglip_names import to_hf_name


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
