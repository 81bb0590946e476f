"""Read SigLIP's vision tower under Hugging Face's names, which ng.pt shares, and timm's.

    SiglipVisionModel  embeddings. encoder.layers.N. post_layernorm. head.
    timm               patch_embed. pos_embed blocks.N. norm. attn_pool.

Both compute the same; Hugging Face's towers use the tanh approximation of GELU. A folder that
`SiglipVisionModel.save_pretrained` has written can be read too.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nitrogen_train.pretrained.tensor_rules import (
    Rule,
    join,
    layer_norm,
    linear,
    refuse_non_finite,
    rename,
    split,
    to_our_names,
)

POSITION_IDS = "embeddings.position_ids"
"""A buffer that old versions of Hugging Face's tower saved: 0, 1, 2, and so on."""

_PREFIX = "vision_model."
# The rest of a whole SigLIP model.
_NOT_VISION = ("text_model.", "logit_scale", "logit_bias")
_ACTIVATIONS = {"gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu"}


@dataclass(frozen=True, kw_only=True)
class VisionSizes:
    """The sizes that a tower's tensors show; the number of attention heads is not among them."""

    width: int
    depth: int
    hidden_dim: int
    """Width of the feed-forward layers inside."""
    patch_size: int
    num_tokens: int
    """Number of tokens of an image: a square number."""

    @property
    def grid_size(self) -> int:
        """Return patches along each side of an image."""
        return math.isqrt(self.num_tokens)

    @property
    def mlp_ratio(self) -> float:
        """Return what timm multiplies the width with, and rounds down, to get `hidden_dim`."""
        ratio = self.hidden_dim / self.width
        return ratio if int(self.width * ratio) == self.hidden_dim else math.nextafter(ratio, 9e9)


def measure_tower(state: Mapping[str, Tensor], *, prefix: str, where: str) -> VisionSizes:
    """Read the sizes of a tower off its tensors, in Hugging Face's names.

    Args:
        state: Tensors by name.
        prefix: What stands before the names of the tower.
        where: What to call the file in an error.

    Raises:
        ValueError: If a tensor that shows a size is missing, or shows nonsense.
    """
    names = [
        f"{prefix}{name}.weight"
        for name in (
            "embeddings.patch_embedding",
            "embeddings.position_embedding",
            "encoder.layers.0.mlp.fc1",
        )
    ]
    if missing := [name for name in names if name not in state]:
        raise ValueError(
            f"the tensors of {where} are not those of a SigLIP tower: missing {', '.join(missing)}"
        )
    patches, positions, feed_forward = (state[name] for name in names)
    layers = re.compile(re.escape(prefix) + r"encoder\.layers\.(\d+)\.")
    found = {match[1] for name in state if (match := layers.match(name))}
    return _measure(patches, positions, feed_forward, depth=len(found), where=where)


def measure_timm_tower(state: Mapping[str, Tensor], *, prefix: str, where: str) -> VisionSizes:
    """Read the sizes of a tower off its tensors, in timm's names; the tower must be whole."""
    blocks = re.compile(re.escape(prefix) + r"blocks\.(\d+)\.")
    return _measure(
        state[f"{prefix}patch_embed.proj.weight"],
        state[f"{prefix}pos_embed"][0],
        state[f"{prefix}blocks.0.mlp.fc1.weight"],
        depth=len({match[1] for name in state if (match := blocks.match(name))}),
        where=where,
    )


def _measure(
    patches: Tensor, positions: Tensor, feed_forward: Tensor, *, depth: int, where: str
) -> VisionSizes:
    shapes = [tuple(tensor.shape) for tensor in (patches, positions, feed_forward)]
    if [len(shape) for shape in shapes] != [4, 2, 2] or 0 in sum(shapes, ()):
        raise ValueError(
            f"the patch and position embeddings and feed-forward layers of {where} must have 4, 2 "
            f"and 2 axes, none empty, got shapes {', '.join(map(str, shapes))}"
        )
    num_tokens = len(positions)
    if math.isqrt(num_tokens) ** 2 != num_tokens:
        raise ValueError(
            f"the position table of {where} has {num_tokens} rows, which is not a square image"
        )
    return VisionSizes(
        width=patches.shape[0],
        depth=depth,
        hidden_dim=feed_forward.shape[0],
        patch_size=patches.shape[-1],
        num_tokens=num_tokens,
    )


def tower_rules(
    sizes: VisionSizes,
    *,
    theirs: str,
    ours: str,
    has_head: bool = True,
    has_position_ids: bool = False,
) -> Iterator[Rule]:
    """List the tensors of a tower.

    Args:
        sizes: Of the tower.
        theirs: What stands before Hugging Face's names.
        ours: What stands before timm's names.
        has_head: Whether there is a pooling head.
        has_position_ids: Whether their file holds the buffer `POSITION_IDS`.
    """
    width, patch = sizes.width, sizes.patch_size
    their_patches, our_patches = f"{theirs}embeddings.patch_embedding", f"{ours}patch_embed.proj"
    yield rename(f"{their_patches}.weight", f"{our_patches}.weight", width, 3, patch, patch)
    yield rename(f"{their_patches}.bias", f"{our_patches}.bias", width)
    if has_position_ids:
        yield _position_ids_rule(f"{theirs}{POSITION_IDS}", sizes.num_tokens)
    yield Rule(
        theirs={f"{theirs}embeddings.position_embedding.weight": (sizes.num_tokens, width)},
        ours=(f"{ours}pos_embed",),
        to_ours=lambda table: [table[0][None]],
        to_theirs=lambda batched: [batched[0][0]],
    )
    for index in range(sizes.depth):
        yield from _layer_rules(sizes, f"{theirs}encoder.layers.{index}", f"{ours}blocks.{index}")
    yield from layer_norm(f"{theirs}post_layernorm", f"{ours}norm", width)
    if has_head:
        yield from _head_rules(sizes, f"{theirs}head", f"{ours}attn_pool")


def _layer_rules(sizes: VisionSizes, theirs: str, ours: str) -> Iterator[Rule]:
    width = sizes.width
    yield from layer_norm(f"{theirs}.layer_norm1", f"{ours}.norm1", width)
    for part, *shape in (("weight", width, width), ("bias", width)):
        names = [f"{theirs}.self_attn.{projection}_proj.{part}" for projection in "qkv"]
        yield join(names, f"{ours}.attn.qkv.{part}", *shape)
    yield from linear(
        f"{theirs}.self_attn.out_proj", f"{ours}.attn.proj", out_dim=width, in_dim=width
    )
    yield from layer_norm(f"{theirs}.layer_norm2", f"{ours}.norm2", width)
    yield from _mlp_rules(sizes, f"{theirs}.mlp", f"{ours}.mlp")


def _head_rules(sizes: VisionSizes, theirs: str, ours: str) -> Iterator[Rule]:
    width = sizes.width
    yield rename(f"{theirs}.probe", f"{ours}.latent", 1, 1, width)
    for part, *rest in (("weight", width), ("bias",)):
        parts = {f"{ours}.q.{part}": width, f"{ours}.kv.{part}": 2 * width}
        yield split(f"{theirs}.attention.in_proj_{part}", parts, *rest)
    yield from linear(f"{theirs}.attention.out_proj", f"{ours}.proj", out_dim=width, in_dim=width)
    yield from layer_norm(f"{theirs}.layernorm", f"{ours}.norm", width)
    yield from _mlp_rules(sizes, f"{theirs}.mlp", f"{ours}.mlp")


def _mlp_rules(sizes: VisionSizes, theirs: str, ours: str) -> Iterator[Rule]:
    width, hidden = sizes.width, sizes.hidden_dim
    yield from linear(f"{theirs}.fc1", f"{ours}.fc1", out_dim=hidden, in_dim=width)
    yield from linear(f"{theirs}.fc2", f"{ours}.fc2", out_dim=width, in_dim=hidden)


def _position_ids_rule(name: str, num_tokens: int) -> Rule:
    in_order = torch.arange(num_tokens)[None]

    def forget(ids: Sequence[Tensor]) -> Sequence[Tensor]:
        if not torch.equal(ids[0], in_order):
            raise ValueError(f"{name} must count the positions from 0, in order")
        return []

    return Rule(
        theirs={name: (1, num_tokens)}, ours=(), to_ours=forget, to_theirs=lambda _: [in_order]
    )


def read_siglip_folder(
    path: Path, *, sizes: VisionSizes, num_heads: int, activation: str, has_head: bool
) -> dict[str, Tensor]:
    """Read a tower's weights, in timm's names.

    Args:
        path: A folder with `model.safetensors`, of a vision tower or of a whole SigLIP model; its
            `config.json` is compared if it is there.
        sizes: That the weights must have.
        num_heads: Attention heads that they must be meant for.
        activation: timm's name of the nonlinearity that they must be meant for.
        has_head: Whether the pooling head is wanted.

    Raises:
        FileNotFoundError: If there are no weights.
        ValueError: If they are damaged, of other sizes or meant for another network.
    """
    weights = path / "model.safetensors"
    if not weights.is_file():
        raise FileNotFoundError(
            f"no SigLIP weights in {path}: expected model.safetensors, as "
            "SiglipVisionModel.save_pretrained writes it"
        )
    _check_config(path / "config.json", num_heads=num_heads, activation=activation)
    try:
        with safe_open(weights, framework="pt") as file:
            names = list(file.keys())
            prefix = _PREFIX if any(name.startswith(_PREFIX) for name in names) else ""
            unused = _NOT_VISION if prefix else ()
            unused = unused if has_head else (*unused, f"{prefix}head.")
            state = {name: file.get_tensor(name) for name in names if not name.startswith(unused)}
    except SafetensorError as error:
        raise ValueError(f"{weights} is damaged: {error}; download it again") from error
    rules = tower_rules(
        sizes,
        theirs=prefix,
        ours="",
        has_head=has_head,
        has_position_ids=f"{prefix}{POSITION_IDS}" in state,
    )
    ours = to_our_names(list(rules), state, where=str(weights))
    refuse_non_finite(ours, where=str(weights))
    return ours


def _check_config(path: Path, *, num_heads: int, activation: str) -> None:
    """Compare a config with the network; what it leaves out has the base size's value.

    Raises:
        ValueError: If they contradict each other.
    """
    if not path.is_file():
        return
    try:
        config: Any = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}; download it again") from error
    vision = config.get("vision_config", config) if isinstance(config, Mapping) else None
    if not isinstance(vision, Mapping):
        raise ValueError(f"{path} is not the config of a SigLIP tower: expected a JSON object")
    found = {
        "num_attention_heads": (vision.get("num_attention_heads", 12), num_heads),
        "hidden_act": (
            _ACTIVATIONS.get(str(vision.get("hidden_act", "gelu_pytorch_tanh"))),
            activation,
        ),
        "layer_norm_eps": (vision.get("layer_norm_eps", 1e-6), 1e-6),
    }
    for key, (theirs, ours) in found.items():
        if theirs != ours:
            raise ValueError(
                f"{path} says {key}={vision.get(key)}, but the network is built with {ours}: "
                "choose the network of these weights, and its options num_heads and act_layer"
            )
