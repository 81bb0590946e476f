"""Rules carry tensors there and back, and name what does not fit."""

import math
from collections import Counter

import pytest
import torch

from nitrogen_train.pretrained.ng_tensors import NgSizes, ng_rules
from nitrogen_train.pretrained.siglip import VisionSizes
from nitrogen_train.pretrained.tensor_rules import Rule, linear, to_our_names, to_their_names

SIZES = NgSizes(
    vision=VisionSizes(width=6, depth=2, hidden_dim=10, patch_size=2, num_tokens=4),
    num_mixer_layers=1, num_dit_layers=2, max_action_horizon=5, num_frames=1, num_games=2,
    old_layout=True,
)  # fmt: skip


@pytest.fixture
def rules() -> list[Rule]:
    return ng_rules(SIZES, has_position_ids=False)


def test_theirs_to_ours_to_theirs_is_the_identity(rules: list[Rule]) -> None:
    theirs = {name: torch.randn(shape) for rule in rules for name, shape in rule.theirs.items()}

    back = to_their_names(rules, to_our_names(rules, theirs, where="file"), where="policy")

    assert back.keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in back.items())


def test_ours_to_theirs_to_ours_is_the_identity(rules: list[Rule]) -> None:
    shapes = {name: torch.empty(shape) for rule in rules for name, shape in rule.theirs.items()}
    empty = to_our_names(rules, shapes, where="file")
    ours = {name: torch.randn(tensor.shape) for name, tensor in empty.items()}

    back = to_our_names(rules, to_their_names(rules, ours, where="policy"), where="file")

    assert back.keys() == ours.keys()
    assert all(torch.equal(tensor, ours[name]) for name, tensor in back.items())


def test_the_released_sizes_give_the_released_inventory() -> None:
    released = NgSizes(
        vision=VisionSizes(width=1024, depth=24, hidden_dim=4096, patch_size=16, num_tokens=256),
        num_mixer_layers=4, num_dit_layers=8, max_action_horizon=1024, num_frames=1, num_games=0,
        old_layout=False,
    )  # fmt: skip

    shapes = {
        name: shape
        for rule in ng_rules(released, has_position_ids=False)
        for name, shape in rule.theirs.items()
    }

    assert Counter(name.split(".")[0] for name in shapes) == {
        "vision_encoder": 400, "vl_self_attention_model": 64, "model": 120,
        "action_encoder": 6, "action_decoder": 4, "position_embedding": 1,
    }  # fmt: skip
    assert sum(math.prod(shape) for shape in shapes.values()) == 493_631_513


def test_all_that_is_wrong_is_said_at_once() -> None:
    rules = linear("a", "b", out_dim=2, in_dim=3)
    state = {"a.weight": torch.zeros(3, 2), "c": torch.zeros(1)}

    with pytest.raises(
        ValueError,
        match=r"missing a\.bias; unknown c; a\.weight of the shape \(3, 2\) instead of \(2, 3\)",
    ):
        to_our_names(rules, state, where="file")


def test_long_lists_are_cut_short() -> None:
    state = {f"extra.{index}": torch.zeros(1) for index in range(8)}

    with pytest.raises(ValueError, match=r"unknown extra\.0, .*extra\.4 and 3 more$"):
        to_our_names([], state, where="file")


def test_a_tensor_without_a_place_is_not_dropped_silently() -> None:
    rules = linear("a", "b", out_dim=2, in_dim=3)
    state = {"b.weight": torch.zeros(2, 3), "b.bias": torch.zeros(2), "scale": torch.ones(1)}

    with pytest.raises(ValueError, match="scale without a place in the layout"):
        to_their_names(rules, state, where="policy")
