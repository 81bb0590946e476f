"""A policy of the released one's sizes as an ng.pt, and the check of such a file.

python full_size_policy.py write NG.pt           random weights
python full_size_policy.py check NG.pt AFTER.pt  what a run that began from the first has exported
"""

import sys
from pathlib import Path
from typing import Any

import torch
from plain_nitrogen import Shape, build_ng
from torch import Tensor
from torch._subclasses import FakeTensorMode

from nitrogen_train.config import build_for_weights, load_defaults
from nitrogen_train.models.load import load_policy
from nitrogen_train.pretrained.ng_pt import build_ng_checkpoint, build_ng_header
from nitrogen_train.pretrained.places import Usage

RELEASED = Shape(
    width=1024, vision_depth=24, vision_heads=16, vision_hidden=4096, patch=16, grid=16,
    mixer_layers=4, mixer_heads=16, dit_layers=8, dit_heads=16, horizon=18, table=1024,
)  # fmt: skip
NUM_PARAMETERS = 493_631_513


def write(path: Path) -> None:
    """Write what `model=nitrogen` builds, without fetching the tower's weights."""
    torch.manual_seed(0)
    policy = build_for_weights(load_defaults(["experiment=finetune", "init_from=none"]).model)
    state = policy.state_dict()
    header = build_ng_header(
        policy.settings, state, experiment_name="random", step=0, usage=Usage(action_offset=3)
    )
    torch.save(build_ng_checkpoint(state, header), path)


def check(before: Path, after: Path) -> None:
    """Compare names and shapes with the layout as it is written out in `plain_nitrogen`."""
    with FakeTensorMode():
        layout: dict[str, Tensor] = build_ng(RELEASED)["model"]
    expected = {name: tuple(tensor.shape) for name, tensor in layout.items()}
    was, now = _map(before), _map(after)

    assert sum(tensor.numel() for tensor in layout.values()) == NUM_PARAMETERS
    for checkpoint in (was, now):
        assert {name: tuple(t.shape) for name, t in checkpoint["model"].items()} == expected
    assert now["step"] == 3
    changed = {
        name.partition(".")[0]
        for name, tensor in now["model"].items()
        if not torch.equal(tensor, was["model"][name])
    }
    assert changed >= {"vision_encoder", "vl_self_attention_model", "model", "action_decoder"}
    # Every name of ours is filled, and none of theirs is left over.
    policy = load_policy(str(after))
    assert sum(parameter.numel() for parameter in policy.parameters()) == NUM_PARAMETERS


def _map(path: Path) -> dict[str, Any]:
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


if __name__ == "__main__":
    verb, *paths = sys.argv[1:]
    {"write": write, "check": check}[verb](*map(Path, paths))
