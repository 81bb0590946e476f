"""An ng.pt made from nothing, and what it computes, written out from its layout alone.

Nothing here knows our names, classes or shortcuts: it is what they are compared with.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

TIME_FEATURES = 256


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of an ng.pt, all apart."""

    width: int = 24
    vision_depth: int = 2
    vision_heads: int = 3
    vision_hidden: int = 40
    patch: int = 4
    grid: int = 2
    mixer_layers: int = 1
    mixer_heads: int = 2
    dit_layers: int = 3
    dit_heads: int = 4
    horizon: int = 5
    table: int = 9
    frames: int = 1
    games: int = 0

    @property
    def tokens(self) -> int:
        return self.grid**2


def build_ng(shape: Shape, **tokenizer: Any) -> dict[str, Any]:
    """Make a checkpoint with random weights; no two sizes need to agree."""
    weights = _Weights(shape)
    weights.add_vision()
    weights.add_mixer()
    weights.add_dit()
    weights.add_action_layers()
    config = build_config(shape)
    config["tokenizer_cfg"] |= tokenizer
    return {"model": weights.model, "step": 3, "epoch": 1, "ckpt_config": config}


class _Weights:
    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.model: dict[str, Tensor] = {}
        self._generator = torch.Generator().manual_seed(0)

    def add_vision(self) -> None:
        shape, d, vision = self.shape, self.shape.width, "vision_encoder"
        patches = f"{vision}.embeddings.patch_embedding"
        self._add(f"{patches}.weight", d, 3, shape.patch, shape.patch)
        self._add(f"{patches}.bias", d)
        self._add(f"{vision}.embeddings.position_embedding.weight", shape.tokens, d)
        for index in range(shape.vision_depth):
            layer = f"{vision}.encoder.layers.{index}"
            self._norm(f"{layer}.layer_norm1")
            self._norm(f"{layer}.layer_norm2")
            for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
                self._linear(f"{layer}.self_attn.{part}", d, d)
            self._mlp(f"{layer}.mlp")
        self._norm(f"{vision}.post_layernorm")
        self._add(f"{vision}.head.probe", 1, 1, d)
        self._add(f"{vision}.head.attention.in_proj_weight", 3 * d, d)
        self._add(f"{vision}.head.attention.in_proj_bias", 3 * d)
        self._linear(f"{vision}.head.attention.out_proj", d, d)
        self._norm(f"{vision}.head.layernorm")
        self._mlp(f"{vision}.head.mlp")

    def add_mixer(self) -> None:
        if self.shape.games:
            self._add("game_embedding.weight", 1 + self.shape.games, self.shape.width)
        for index in range(self.shape.mixer_layers):
            block = f"vl_self_attention_model.transformer_blocks.{index}"
            self._norm(f"{block}.norm1")
            self._norm(f"{block}.norm3")
            self._block(block)

    def add_dit(self) -> None:
        d = self.shape.width
        for index in range(self.shape.dit_layers):
            self._linear(f"model.transformer_blocks.{index}.norm1.linear", 2 * d, d)
            self._block(f"model.transformer_blocks.{index}")
        self._linear("model.timestep_encoder.timestep_embedder.linear_1", d, TIME_FEATURES)
        self._linear("model.timestep_encoder.timestep_embedder.linear_2", d, d)
        self._linear("model.proj_out_1", 2 * d, d)
        self._linear("model.proj_out_2", d, d)
        self._add("position_embedding.weight", self.shape.table, d)

    def add_action_layers(self) -> None:
        d = self.shape.width
        self._table("action_encoder.W1", 25, d)
        self._table("action_encoder.W2", 2 * d, d)
        self._table("action_encoder.W3", d, d)
        self._table("action_decoder.layer1", d, d)
        self._table("action_decoder.layer2", d, 25)

    def _block(self, block: str) -> None:
        d = self.shape.width
        for part in ("to_q", "to_k", "to_v", "to_out.0"):
            self._linear(f"{block}.attn1.{part}", d, d)
        self._linear(f"{block}.ff.net.0.proj", 4 * d, d)
        self._linear(f"{block}.ff.net.2", d, 4 * d)

    def _mlp(self, name: str) -> None:
        self._linear(f"{name}.fc1", self.shape.vision_hidden, self.shape.width)
        self._linear(f"{name}.fc2", self.shape.width, self.shape.vision_hidden)

    def _linear(self, name: str, out_dim: int, in_dim: int) -> None:
        self._add(f"{name}.weight", out_dim, in_dim)
        self._add(f"{name}.bias", out_dim)

    def _norm(self, name: str) -> None:
        self._add(f"{name}.weight", self.shape.width)
        self._add(f"{name}.bias", self.shape.width)

    def _table(self, name: str, in_dim: int, out_dim: int) -> None:
        self._add(f"{name}.W", 1, in_dim, out_dim)
        self._add(f"{name}.b", 1, out_dim)

    def _add(self, name: str, *size: int) -> None:
        self.model[name] = 0.1 * torch.randn(size, generator=self._generator)


def build_config(shape: Shape) -> dict[str, Any]:
    """Describe such a checkpoint, with the released one's values where there are sizes of none."""

    def transformer(heads: int, layers: int) -> dict[str, Any]:
        return {
            "num_attention_heads": heads,
            "attention_head_dim": shape.width // heads,
            "num_layers": layers,
            "dropout": 0.2,
            "attention_bias": True,
            "activation_fn": "gelu-approximate",
            "final_dropout": True,
            "positional_embeddings": None,
        }

    return {
        "experiment_name": "made up",
        "model_cfg": {
            "add_pos_embed": True,
            "diffusion_model_cfg": {
                **transformer(shape.dit_heads, shape.dit_layers),
                "output_dim": shape.width,
                "norm_type": "ada_norm",
                "norm_elementwise_affine": False,
                "norm_eps": 1e-05,
                "interleave_self_attention": True,
                "cross_attention_dim": None,
            },
            "vl_self_attention_cfg": transformer(shape.mixer_heads, shape.mixer_layers),
            "hidden_size": shape.width,
            "max_seq_len": shape.table,
            "action_dim": 25,
            "action_horizon": shape.horizon,
            "noise_beta_alpha": 1.5,
            "noise_beta_beta": 1.0,
            "noise_s": 0.99,
            "num_timestep_buckets": 1000,
            "num_inference_timesteps": 4,
            "max_num_embodiments": 1,
            "vision_encoder_name": "google/siglip2-large-patch16-256",
            "vision_hidden_size": shape.width,
            "add_view_embed": False,
        },
        "tokenizer_cfg": {
            "num_visual_tokens_per_frame": shape.tokens,
            "max_action_dim": 25,
            "max_sequence_length": shape.frames * shape.tokens + (shape.games > 0),
            "action_horizon": shape.horizon,
            "game_mapping_cfg": {"src_files": ["games.parquet"]} if shape.games else None,
            "old_layout": False,
        },
        "modality_cfg": {
            "frame_per_sample": shape.frames,
            "frame_spacing": 18,
            "action_per_chunk": shape.horizon,
            "action_shift": 3,
            "action_interleaving": False,
            "token_set": "new",
        },
    }


class PlainNitroGen:
    """The network of an ng.pt, by the names and shapes of its tensors."""

    def __init__(self, model: dict[str, Tensor], shape: Shape) -> None:
        self.model = model
        self.shape = shape

    def encode(self, frames: Tensor, game_id: Tensor | None = None) -> Tensor:
        """Encode uint8 frames (b, f, 3, h, w); the mixed tokens come back."""
        tokens = self._see(frames.flatten(0, 1) / 127.5 - 1)
        tokens = tokens.reshape(len(frames), -1, self.shape.width)
        if game_id is not None:
            games = self.model["game_embedding.weight"][game_id]
            tokens = torch.cat([games[:, None], tokens], dim=1)
        for index in range(self.shape.mixer_layers):
            block = f"vl_self_attention_model.transformer_blocks.{index}"
            normed = self._norm(tokens, f"{block}.norm1")
            tokens = tokens + self._attend(normed, normed, block, self.shape.mixer_heads)
            tokens = tokens + self._feed_forward(self._norm(tokens, f"{block}.norm3"), block)
        return tokens

    def velocity(self, x_t: Tensor, time: Tensor, tokens: Tensor) -> Tensor:
        """Predict (b, t, 25) at path times (b,)."""
        bucket = (time * 1000).long()
        actions = self._encode_actions(x_t, bucket)
        hidden = actions + self.model["position_embedding.weight"][: x_t.shape[1]]
        half = TIME_FEATURES // 2
        angle = bucket[:, None] * torch.exp(-math.log(1e4) * torch.arange(half) / (half - 1))
        name = "model.timestep_encoder.timestep_embedder"
        time_vector = self._linear(torch.cat([angle.cos(), angle.sin()], -1), f"{name}.linear_1")
        time_vector = F.silu(self._linear(F.silu(time_vector), f"{name}.linear_2"))
        for index in range(self.shape.dit_layers):
            block = f"model.transformer_blocks.{index}"
            scale, shift = self._linear(time_vector, f"{block}.norm1.linear")[:, None].chunk(2, -1)
            normed = F.layer_norm(hidden, [self.shape.width]) * (1 + scale) + shift
            context = normed if index % 2 else tokens
            hidden = hidden + self._attend(normed, context, block, self.shape.dit_heads)
            normed = F.layer_norm(hidden, [self.shape.width])
            hidden = hidden + self._feed_forward(normed, block)
        shift, scale = self._linear(time_vector, "model.proj_out_1")[:, None].chunk(2, -1)
        hidden = F.layer_norm(hidden, [self.shape.width], eps=1e-6) * (1 + scale) + shift
        hidden = self._linear(hidden, "model.proj_out_2")
        return self._table(
            F.relu(self._table(hidden, "action_decoder.layer1")), "action_decoder.layer2"
        )

    def _see(self, pixels: Tensor) -> Tensor:
        name = "vision_encoder.embeddings"
        weight = self.model[f"{name}.patch_embedding.weight"]
        bias = self.model[f"{name}.patch_embedding.bias"]
        tokens = F.conv2d(pixels, weight, bias, stride=self.shape.patch).flatten(2).mT
        tokens = tokens + self.model[f"{name}.position_embedding.weight"]
        for index in range(self.shape.vision_depth):
            layer = f"vision_encoder.encoder.layers.{index}"
            normed = self._norm(tokens, f"{layer}.layer_norm1", eps=1e-6)
            query, key, value = (
                self._heads(self._linear(normed, f"{layer}.self_attn.{part}_proj"))
                for part in "qkv"
            )
            attended = _attention(query, key, value)
            tokens = tokens + self._linear(attended, f"{layer}.self_attn.out_proj")
            normed = self._norm(tokens, f"{layer}.layer_norm2", eps=1e-6)
            hidden = F.gelu(self._linear(normed, f"{layer}.mlp.fc1"), approximate="tanh")
            tokens = tokens + self._linear(hidden, f"{layer}.mlp.fc2")
        return self._norm(tokens, "vision_encoder.post_layernorm", eps=1e-6)

    def _heads(self, x: Tensor, heads: int | None = None) -> Tensor:
        return x.unflatten(-1, (heads or self.shape.vision_heads, -1)).transpose(1, 2)

    def _encode_actions(self, x_t: Tensor, bucket: Tensor) -> Tensor:
        half = self.shape.width // 2
        angle = bucket[:, None] * torch.exp(-math.log(1e4) * torch.arange(half) / half)
        waves = torch.cat([angle.sin(), angle.cos()], -1)[:, None]
        encoded = self._table(x_t, "action_encoder.W1")
        both = torch.cat([encoded, waves.expand_as(encoded)], -1)
        return self._table(F.silu(self._table(both, "action_encoder.W2")), "action_encoder.W3")

    def _attend(self, x: Tensor, context: Tensor, block: str, heads: int) -> Tensor:
        query = self._heads(self._linear(x, f"{block}.attn1.to_q"), heads)
        key, value = (
            self._heads(self._linear(context, f"{block}.attn1.to_{part}"), heads) for part in "kv"
        )
        return self._linear(_attention(query, key, value), f"{block}.attn1.to_out.0")

    def _feed_forward(self, x: Tensor, block: str) -> Tensor:
        hidden = F.gelu(self._linear(x, f"{block}.ff.net.0.proj"), approximate="tanh")
        return self._linear(hidden, f"{block}.ff.net.2")

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.model[f"{name}.weight"], self.model[f"{name}.bias"])

    def _norm(self, x: Tensor, name: str, eps: float = 1e-5) -> Tensor:
        weight, bias = self.model[f"{name}.weight"], self.model[f"{name}.bias"]
        return F.layer_norm(x, [self.shape.width], weight, bias, eps)

    def _table(self, x: Tensor, name: str) -> Tensor:
        return x @ self.model[f"{name}.W"][0] + self.model[f"{name}.b"][0]


def _attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    weights = (query @ key.mT / math.sqrt(query.shape[-1])).softmax(-1)
    return (weights @ value).transpose(1, 2).flatten(2)
