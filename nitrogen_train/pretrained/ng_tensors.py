"""Translate the tensors of an ng.pt into `NitroGen`'s names, and back.

    vision_encoder.           encoder.network.      Hugging Face's SigLIP, timm's
    vl_self_attention_model.  mixer.
    model.                    action_head.dit.
    action_encoder.           action_head.action_encoder.
    action_decoder.           action_head.action_decoder.

The action layers are tables in an ng.pt, with a matrix for each of several pads; a policy has one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nitrogen_train.actions.space import GAMEPAD
from nitrogen_train.pretrained.siglip import POSITION_IDS, VisionSizes, tower_rules
from nitrogen_train.pretrained.tensor_rules import Rule, layer_norm, linear, rename

VISION_PREFIX = "vision_encoder."
NETWORK_PREFIX = "encoder.network."
POSITION_IDS_NAME = f"{VISION_PREFIX}{POSITION_IDS}"
GAME_TABLE = "game_embedding.weight"

_NUM_TIME_FEATURES = 256


@dataclass(frozen=True, kw_only=True)
class NgSizes:
    """All that decides which tensors an ng.pt has, and of which shapes."""

    vision: VisionSizes
    num_mixer_layers: int
    num_dit_layers: int
    max_action_horizon: int
    """Rows of the position table."""
    num_frames: int
    num_games: int
    """That the policy is told apart; 0 if it is not told the game."""
    old_layout: bool
    """True if the sticks come first in an action, not last."""

    @property
    def width(self) -> int:
        """Return the width of every token."""
        return self.vision.width


def ng_rules(sizes: NgSizes, *, has_position_ids: bool) -> list[Rule]:
    """List the tensors of an ng.pt; `has_position_ids` as in `tower_rules`."""
    return [
        *tower_rules(
            sizes.vision,
            theirs=VISION_PREFIX,
            ours=NETWORK_PREFIX,
            has_position_ids=has_position_ids,
        ),
        *_extra_token_rules(sizes),
        *_mixer_rules(sizes),
        *_dit_rules(sizes),
        *_action_rules(sizes),
    ]


def _extra_token_rules(sizes: NgSizes) -> Iterator[Rule]:
    if sizes.num_games:
        yield rename(GAME_TABLE, GAME_TABLE, 1 + sizes.num_games, sizes.width)
    if sizes.num_frames > 1:
        shape = (sizes.num_frames, 1, sizes.width)
        yield Rule(
            theirs={},
            ours=("encoder.frame_embedding",),
            to_ours=lambda _: [torch.zeros(shape)],
            to_theirs=_drop_frame_embedding,
        )


def _drop_frame_embedding(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    if tensors[0].any():
        raise ValueError(
            "the policy tells its frames apart by what it has learned (encoder.frame_embedding), "
            "an ng.pt cannot: train it with one frame, or keep it as a folder"
        )
    return []


def _mixer_rules(sizes: NgSizes) -> Iterator[Rule]:
    for index in range(sizes.num_mixer_layers):
        theirs = f"vl_self_attention_model.transformer_blocks.{index}"
        ours = f"mixer.blocks.{index}"
        yield from layer_norm(f"{theirs}.norm1", f"{ours}.attention_norm", sizes.width)
        yield from layer_norm(f"{theirs}.norm3", f"{ours}.feed_forward_norm", sizes.width)
        yield from _block_rules(theirs, ours, sizes.width)


def _dit_rules(sizes: NgSizes) -> Iterator[Rule]:
    width, ours = sizes.width, "action_head.dit"
    time = "model.timestep_encoder.timestep_embedder"
    yield from linear(
        f"{time}.linear_1", f"{ours}.time_embedding.0", out_dim=width, in_dim=_NUM_TIME_FEATURES
    )
    yield from linear(f"{time}.linear_2", f"{ours}.time_embedding.2", out_dim=width, in_dim=width)
    for index in range(sizes.num_dit_layers):
        theirs, block = f"model.transformer_blocks.{index}", f"{ours}.blocks.{index}"
        yield from linear(
            f"{theirs}.norm1.linear", f"{block}.modulation", out_dim=2 * width, in_dim=width
        )
        yield from _block_rules(theirs, block, width)
    yield _swap_halves("model.proj_out_1.weight", f"{ours}.output_modulation.weight", width, width)
    yield _swap_halves("model.proj_out_1.bias", f"{ours}.output_modulation.bias", width)
    yield from linear("model.proj_out_2", f"{ours}.output", out_dim=width, in_dim=width)
    yield rename(
        "position_embedding.weight", f"{ours}.position_embedding", sizes.max_action_horizon, width
    )


def _block_rules(theirs: str, ours: str, width: int) -> Iterator[Rule]:
    names = (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "output"))
    for their_name, our_name in names:
        yield from linear(
            f"{theirs}.attn1.{their_name}",
            f"{ours}.attention.{our_name}",
            out_dim=width,
            in_dim=width,
        )
    hidden = 4 * width
    yield from linear(
        f"{theirs}.ff.net.0.proj", f"{ours}.feed_forward.0", out_dim=hidden, in_dim=width
    )
    yield from linear(f"{theirs}.ff.net.2", f"{ours}.feed_forward.3", out_dim=width, in_dim=hidden)


def _action_rules(sizes: NgSizes) -> Iterator[Rule]:
    width, action_dim = sizes.width, GAMEPAD.action_dim
    # Their first values are the sticks in the old layout, ours the buttons.
    shift = len(GAMEPAD.sticks) if sizes.old_layout else 0
    theirs, ours = "action_encoder", "action_head.action_encoder"
    yield from _table(
        f"{theirs}.W1", f"{ours}.input", out_dim=width, in_dim=action_dim, in_shift=shift
    )
    yield from _table(f"{theirs}.W2", f"{ours}.hidden", out_dim=width, in_dim=2 * width)
    yield from _table(f"{theirs}.W3", f"{ours}.output", out_dim=width, in_dim=width)
    theirs, ours = "action_decoder", "action_head.action_decoder"
    yield from _table(f"{theirs}.layer1", f"{ours}.0", out_dim=width, in_dim=width)
    yield from _table(
        f"{theirs}.layer2", f"{ours}.2", out_dim=action_dim, in_dim=width, out_shift=shift
    )


def _table(
    theirs: str, ours: str, *, out_dim: int, in_dim: int, out_shift: int = 0, in_shift: int = 0
) -> Iterator[Rule]:
    """Take the only matrix of a table, transpose it, and move its first values to the end."""
    shifts = (out_shift, in_shift)
    yield Rule(
        theirs={f"{theirs}.W": (1, in_dim, out_dim)},
        ours=(f"{ours}.weight",),
        to_ours=lambda table: [table[0][0].mT.roll((-out_shift, -in_shift), (0, 1))],
        to_theirs=lambda weight: [weight[0].roll(shifts, (0, 1)).mT[None]],
    )
    yield Rule(
        theirs={f"{theirs}.b": (1, out_dim)},
        ours=(f"{ours}.bias",),
        to_ours=lambda table: [table[0][0].roll(-out_shift)],
        to_theirs=lambda bias: [bias[0].roll(out_shift)[None]],
    )


def _swap_halves(theirs: str, ours: str, width: int, *rest: int) -> Rule:
    """Turn shift and scale into scale and shift."""

    def swap(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        return [tensors[0].roll(width, 0)]

    return Rule(theirs={theirs: (2 * width, *rest)}, ours=(ours,), to_ours=swap, to_theirs=swap)
