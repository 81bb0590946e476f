"""Define the network: the mixer, the diffusion transformer and the action head.

    visual tokens ─► Mixer: they look at each other ─► keys and values ─┐
    noisy actions ─► ActionEncoder ─► DiT ◄─────────────────────────────┘
                          ▲            │
                     path time         └─► ActionDecoder ─► values of actions

In the DiT, even blocks attend to the visual tokens, odd blocks to the action tokens. A path time
enters as a scale and a shift after the norm in front of each attention, and after the last norm.
Path times and visual tokens are prepared apart, by `condition_on`, `modulate` and `attend_to`: both
are constant over the steps of a solver. Attention and feed-forward layers are NitroGen's.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from einops import rearrange
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

KeysValues = tuple[Float[Tensor, "b heads n k"], Float[Tensor, "b heads n k"]]
"""A context as an attention layer sees it: constant while the queries change."""

_NUM_TIME_FREQUENCIES = 128

Modulation = Float[Tensor, "samples rows two_d"]
"""Scale and shift, side by side; samples is b, or 1 for all; rows is t, or 1 for all."""

_NUM_TIME_BUCKETS = 1000


class Attention(nn.Module):
    """Multi-head attention whose keys and values can be computed ahead of its queries."""

    def __init__(self, *, width: int, num_heads: int, dropout: float) -> None:
        """Build the layer.

        Args:
            width: Size of a token.
            num_heads: Heads, which share the width.
            dropout: Of the output, in training.

        Raises:
            ValueError: If the heads cannot share the width.
        """
        super().__init__()
        if num_heads < 1 or width % num_heads:
            raise ValueError(f"width={width} must be a multiple of num_heads={num_heads}")
        self._num_heads = num_heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        # Twice in a row, as in NitroGen: once by the attention, once by the block around it.
        self.dropout = nn.Sequential(nn.Dropout(dropout), nn.Dropout(dropout))

    def keys_values(self, context: Float[Tensor, "b n d"]) -> KeysValues:
        """Compute what queries attend to."""
        return self._split_heads(self.key(context)), self._split_heads(self.value(context))

    def forward(
        self,
        tokens: Float[Tensor, "b t d"],
        keys_values: KeysValues,
        mask: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b t d"]:
        """Attend from tokens to a context.

        Args:
            tokens: The queries.
            keys_values: The context.
            mask: True for context to attend to; None attends to all of it.
        """
        attended = F.scaled_dot_product_attention(
            self._split_heads(self.query(tokens)),
            *keys_values,
            attn_mask=None if mask is None else mask[:, None, None],
        )
        return self.dropout(self.output(rearrange(attended, "b heads t k -> b t (heads k)")))

    def _split_heads(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b heads n k"]:
        return rearrange(x, "b n (heads k) -> b heads n k", heads=self._num_heads)


class FeedForward(nn.Sequential):
    """Two linear layers, four times as wide in between."""

    def __init__(self, *, width: int, dropout: float) -> None:
        """Build the layer; `dropout` applies after each linear layer, in training."""
        super().__init__(
            nn.Linear(width, 4 * width),
            nn.GELU(approximate="tanh"),
            nn.Dropout(dropout),
            nn.Linear(4 * width, width),
            nn.Dropout(dropout),
        )


def run_block(block: nn.Module, *inputs: Any, recompute: bool) -> Float[Tensor, "b n d"]:  # noqa: ANN401 - as the block says
    """Run a block.

    Args:
        block: What is run.
        *inputs: Of the block.
        recompute: Whether the backward pass computes the block's activations again, instead of
            keeping them.
    """
    if recompute and torch.is_grad_enabled():
        return checkpoint(block, *inputs, use_reentrant=False)
    return block(*inputs)


def encode_sinusoid(
    time_bucket: Int64[Tensor, "*shape"], *, num_frequencies: int, period_ratio: int
) -> tuple[Float[Tensor, "*shape k"], Float[Tensor, "*shape k"]]:
    """Encode integers as waves of many lengths.

    Args:
        time_bucket: What to encode.
        num_frequencies: Waves, their angular frequencies falling from 1.
        period_ratio: Frequency i is 10000^(-i / `period_ratio`).

    Returns:
        The sines and the cosines.
    """
    index = torch.arange(num_frequencies, device=time_bucket.device)
    frequency = torch.exp(index * (-math.log(10000) / period_ratio))
    angle = time_bucket[..., None] * frequency
    return angle.sin(), angle.cos()


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """What a policy sees, and which of it exists.

    Layers exchange plain tensors, where DeepSpeed's hooks look for gradients; policies exchange
    this.
    """

    values: Float[Tensor, "b n d"]
    is_real: Bool[Tensor, "b n"] | None = None
    """False for tokens of missing frames, to which nothing attends; None is True everywhere."""


class Mixer(nn.Module):
    """Pre-norm self-attention layers over the tokens of all frames."""

    def __init__(self, *, width: int, num_heads: int, num_layers: int, dropout: float) -> None:
        """Build the layers.

        Args:
            width: Size of a token.
            num_heads: Attention heads, which share the width.
            num_layers: Layers; 0 passes the tokens through.
            dropout: In training, after attention and feed-forward layers.
        """
        super().__init__()
        self.settings = {
            "width": width,
            "num_heads": num_heads,
            "num_layers": num_layers,
            "dropout": dropout,
        }
        self.width = width
        self.blocks = nn.ModuleList(
            _MixerBlock(width=width, num_heads=num_heads, dropout=dropout)
            for _ in range(num_layers)
        )
        self._recompute = False

    def checkpoint_activations(self) -> None:
        """Keep of each layer only its input for the backward pass, which computes the rest."""
        self._recompute = True

    def forward(
        self, tokens: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"] | None = None
    ) -> Float[Tensor, "b n d"]:
        """Mix tokens; where `mask` is False, no token attends."""
        for block in self.blocks:
            tokens = run_block(block, tokens, mask, recompute=self._recompute)
        return tokens


class _MixerBlock(nn.Module):
    def __init__(self, *, width: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width=width, num_heads=num_heads, dropout=dropout)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width=width, dropout=dropout)

    def forward(
        self, tokens: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"] | None
    ) -> Float[Tensor, "b n d"]:
        normed = self.attention_norm(tokens)
        tokens = tokens + self.attention(normed, self.attention.keys_values(normed), mask)
        return tokens + self.feed_forward(self.feed_forward_norm(tokens))


@dataclass(frozen=True, kw_only=True)
class Context:
    """The prepared tokens and times that action tokens attend to."""

    keys_values: tuple[KeysValues, ...]
    """One pair for each even block."""
    mask: Bool[Tensor, "b n"] | None
    """True for tokens to attend to; None is all."""


class DiT(nn.Module):
    """NitroGen's diffusion transformer."""

    def __init__(
        self,
        *,
        width: int,
        num_heads: int,
        num_layers: int,
        dropout: float,
        max_action_horizon: int,
    ) -> None:
        """Build the network.

        Args:
            width: Size of a token, visual tokens included.
            num_heads: Attention heads, which share the width.
            num_layers: Blocks: even ones attend to visual tokens, odd ones to action tokens.
            dropout: In training, after attention and feed-forward layers.
            max_action_horizon: Length of the learned position table.
        """
        super().__init__()
        self.settings = {
            "width": width,
            "num_heads": num_heads,
            "num_layers": num_layers,
            "dropout": dropout,
            "max_action_horizon": max_action_horizon,
        }
        self.width = width
        self.max_action_horizon = max_action_horizon
        self.position_embedding = nn.Parameter(torch.empty(max_action_horizon, width))
        nn.init.normal_(self.position_embedding, std=0.02)
        self.time_embedding = nn.Sequential(
            nn.Linear(2 * _NUM_TIME_FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.blocks = nn.ModuleList(
            _DiTBlock(width=width, num_heads=num_heads, dropout=dropout) for _ in range(num_layers)
        )
        self.output_modulation = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)
        self._recompute = False

    def checkpoint_activations(self) -> None:
        """Keep of each block only its input for the backward pass, which computes the rest."""
        self._recompute = True

    def attend_to(self, tokens: Tokens) -> Context:
        """Prepare visual tokens for the even blocks."""
        blocks = cast("Iterable[_DiTBlock]", self.blocks[::2])
        keys_values = tuple(block.attention.keys_values(tokens.values) for block in blocks)
        return Context(keys_values=keys_values, mask=tokens.is_real)

    def modulate(self, time_bucket: Int64[Tensor, "samples rows"]) -> tuple[Modulation, ...]:
        """Prepare path times for every block, and for the output."""
        sine, cosine = encode_sinusoid(
            time_bucket,
            num_frequencies=_NUM_TIME_FREQUENCIES,
            period_ratio=_NUM_TIME_FREQUENCIES - 1,
        )
        waves = torch.cat([cosine, sine], dim=-1).to(self.output.weight.dtype)
        embedding = F.silu(self.time_embedding(waves))
        heads = [*(block.modulation for block in self.blocks), self.output_modulation]
        return tuple(head(embedding) for head in heads)

    def forward(
        self,
        tokens: Float[Tensor, "b t d"],
        context: Context,
        modulations: tuple[Modulation, ...],
    ) -> Float[Tensor, "b t d"]:
        """Transform action tokens.

        Args:
            tokens: Noisy actions, not yet told where in the chunk they are.
            context: From `attend_to`.
            modulations: From `modulate`.
        """
        tokens = tokens + self.position_embedding[: tokens.shape[1]]
        for index, block in enumerate(self.blocks):
            # A block without a context attends to the action tokens themselves.
            keys_values = None if index % 2 else context.keys_values[index // 2]
            mask = None if index % 2 else context.mask
            inputs = (tokens, modulations[index], keys_values, mask)
            tokens = run_block(block, *inputs, recompute=self._recompute)
        return self.output(_norm(tokens, modulations[-1], eps=1e-6))


class _DiTBlock(nn.Module):
    def __init__(self, *, width: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.modulation = nn.Linear(width, 2 * width)
        self.attention = Attention(width=width, num_heads=num_heads, dropout=dropout)
        self.feed_forward = FeedForward(width=width, dropout=dropout)

    def forward(
        self,
        tokens: Float[Tensor, "b t d"],
        modulation: Modulation,
        keys_values: KeysValues | None,
        mask: Bool[Tensor, "b n"] | None,
    ) -> Float[Tensor, "b t d"]:
        normed = _norm(tokens, modulation)
        if keys_values is None:
            keys_values = self.attention.keys_values(normed)
        tokens = tokens + self.attention(normed, keys_values, mask)
        return tokens + self.feed_forward(F.layer_norm(tokens, tokens.shape[-1:]))


def _norm(
    tokens: Float[Tensor, "b t d"], modulation: Modulation, eps: float = 1e-5
) -> Float[Tensor, "b t d"]:
    scale, shift = modulation.chunk(2, dim=-1)
    return F.layer_norm(tokens, tokens.shape[-1:], eps=eps) * (1 + scale) + shift


@dataclass(frozen=True, kw_only=True)
class TimeCondition:
    """Path times as the network takes them; samples is b, or 1 for all; rows is t, or 1 for all."""

    encoded_time: Float[Tensor, "samples rows d"]
    """Time for the action encoder."""
    modulations: tuple[Modulation, ...]
    """Modulations for the DiT."""

    def select(self, sample: int) -> "TimeCondition":
        """Keep one sample, to stand for all samples of a batch."""
        kept = slice(sample, sample + 1)
        return TimeCondition(
            encoded_time=self.encoded_time[kept],
            modulations=tuple(modulation[kept] for modulation in self.modulations),
        )


class ActionHead(nn.Module):
    """NitroGen's action encoder, diffusion transformer and action decoder."""

    def __init__(self, *, dit: DiT, action_dim: int, action_horizon: int, token_dim: int) -> None:
        """Put the action layers around the transformer.

        Args:
            dit: Action tokens to action tokens.
            action_dim: Values of an action.
            action_horizon: Rows of a chunk.
            token_dim: Width of the visual tokens.

        Raises:
            ValueError: If the transformer does not fit them.
        """
        super().__init__()
        if dit.width != token_dim:
            raise ValueError(
                f"encoder, mixer and dit must have one width, got {token_dim} and {dit.width}"
            )
        if not 1 <= action_horizon <= dit.max_action_horizon:
            raise ValueError(
                f"action_horizon={action_horizon} must lie in "
                f"[1, dit.max_action_horizon={dit.max_action_horizon}]"
            )
        self.action_encoder = ActionEncoder(action_dim=action_dim, width=dit.width)
        self.dit = dit
        self.action_decoder = nn.Sequential(
            nn.Linear(dit.width, dit.width), nn.ReLU(), nn.Linear(dit.width, action_dim)
        )

    def attend_to(self, tokens: Tokens) -> Context:
        """Prepare visual tokens; nothing attends to those that are not real."""
        return self.dit.attend_to(tokens)

    def condition_on(self, time: Float[Tensor, "samples rows"]) -> TimeCondition:
        """Prepare path times in [0, 1]; the network is told floor(1000 time), at most 999."""
        time_bucket = (time * _NUM_TIME_BUCKETS).long().clamp(max=_NUM_TIME_BUCKETS - 1)
        return TimeCondition(
            encoded_time=self.action_encoder.encode_time(time_bucket),
            modulations=self.dit.modulate(time_bucket),
        )

    def forward(
        self, x_t: Float[Tensor, "b t a"], condition: TimeCondition, context: Context
    ) -> Float[Tensor, "b t a"]:
        """Predict, at x_t, whatever the policy trains: a velocity, actions, logits."""
        tokens = self.action_encoder(x_t, condition.encoded_time)
        return self.action_decoder(self.dit(tokens, context, condition.modulations))


class ActionEncoder(nn.Module):
    """Turns noisy actions and their path times into tokens."""

    def __init__(self, *, action_dim: int, width: int) -> None:
        """Build the layers: `action_dim` values in, tokens of `width` out."""
        super().__init__()
        self._width = width
        self.input = nn.Linear(action_dim, width)
        self.hidden = nn.Linear(2 * width, width)
        self.output = nn.Linear(width, width)

    def encode_time(
        self, time_bucket: Int64[Tensor, "samples rows"]
    ) -> Float[Tensor, "samples rows d"]:
        """Prepare path times."""
        half = self._width // 2
        waves = encode_sinusoid(time_bucket, num_frequencies=half, period_ratio=half)
        return torch.cat(waves, dim=-1).to(self.input.weight.dtype)

    def forward(
        self, x_t: Float[Tensor, "b t a"], encoded_time: Float[Tensor, "samples rows d"]
    ) -> Float[Tensor, "b t d"]:
        """Encode noisy actions; `encoded_time` comes from `encode_time`."""
        encoded = self.input(x_t.to(self.input.weight.dtype))
        hidden = torch.cat([encoded, encoded_time.expand_as(encoded)], dim=-1)
        return self.output(F.silu(self.hidden(hidden)))
