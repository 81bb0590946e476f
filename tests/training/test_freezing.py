from collections.abc import Callable
from fnmatch import fnmatch

import pytest
import torch
from torch import nn

from nitrogen_train.batch import PolicyBatch
from nitrogen_train.config import RunConfig, build
from nitrogen_train.training.optimization import freeze, hold_frozen_parts

ComposeRun = Callable[..., RunConfig]
BuildBatch = Callable[..., PolicyBatch]
CountKeptBytes = Callable[[nn.Module, Callable[[], object]], int]


@pytest.fixture
def policy(compose_run: ComposeRun) -> nn.Module:
    torch.manual_seed(0)
    return build(compose_run().model)


def test_what_a_pattern_fits_is_frozen_and_nothing_else(policy: nn.Module) -> None:
    freeze(policy, ["encoder.network.blocks.1.*", "*.bias"])

    for name, parameter in policy.named_parameters():
        is_frozen = fnmatch(name, "encoder.network.blocks.1.*") or name.endswith("bias")
        assert parameter.requires_grad != is_frozen, name


def test_frozen_parameters_get_no_gradient_and_those_before_them_do(
    policy: nn.Module, build_batch: BuildBatch
) -> None:
    freeze(policy, ["encoder.network.blocks.1.*", "mixer.*"])

    policy.compute_loss(build_batch()).error_sum.backward()

    has_gradient = {name for name, p in policy.named_parameters() if p.grad is not None}
    assert not any(name.startswith(("mixer", "encoder.network.blocks.1")) for name in has_gradient)
    assert "encoder.network.blocks.0.attn.qkv.weight" in has_gradient


def test_a_frozen_encoder_keeps_nothing_for_a_backward_pass(
    policy: nn.Module, build_batch: BuildBatch, count_kept_bytes: CountKeptBytes
) -> None:
    frames = build_batch().frames
    parts = ("*.network.cls_token", "*.network.pos_embed", "*.patch_embed.*", "*.blocks.[01].*")
    freeze(policy, ["mixer.*", "game_embedding.*"])
    kept = [count_kept_bytes(policy, lambda: policy.encode_frames(frames))]

    for patterns in (parts, ["encoder.*"]):
        freeze(policy, patterns)
        kept.append(count_kept_bytes(policy, lambda: policy.encode_frames(frames)))

    whole, without_beginning, nothing = kept
    assert nothing == 0 < without_beginning < 0.8 * whole


def test_frozen_parts_are_held_in_evaluation_mode(policy: nn.Module) -> None:
    freeze(policy, ["mixer.blocks.1.*", "encoder.*"])

    hold_frozen_parts(policy.train())

    for name, part in policy.named_modules():
        if list(part.parameters()) or "dropout" in name:
            assert part.training != name.startswith(("mixer.blocks.1", "encoder")), name


def test_a_pattern_that_fits_nothing_is_refused_with_those_like_it(policy: nn.Module) -> None:
    with pytest.raises(
        ValueError, match=r"'encodr\.\*' fits no parameter; did you mean encoder\.\*"
    ):
        freeze(policy, ["encodr.*"])
    with pytest.raises(ValueError, match=r"did you mean encoder\.\*, mixer\.\*"):
        freeze(policy, ["???"])


def test_freezing_everything_is_refused(policy: nn.Module) -> None:
    with pytest.raises(ValueError, match="leave nothing to train"):
        freeze(policy, ["*"])
