"""The diffusion transformer: action tokens look at visual tokens and at each other.

Even blocks attend to the visual tokens, odd blocks to the action tokens. A path time enters as a
scale and a shift after the norm in front of each attention, and after the last norm. What does
not depend on the noisy actions is computed by `attend_to` and `modulate`, once for all steps of a
solver.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from nitrogen_train.models.layers import (
    Attention,
    FeedForward,
    KeysValues,
    encode_sinusoid,
    run_block,
)

_NUM_TIME_FREQUENCIES = 128


@dataclass(frozen=True, kw_only=True)
class Context:
    """What action tokens attend to."""

    keys_values: tuple[KeysValues, ...]
    """One pair for each even block."""
    mask: Bool[Tensor, "b n"] | None
    """True for tokens to attend to; None is all."""


Modulation = Float[Tensor, "samples rows two_d"]
"""Scale and shift, side by side; samples is b, or 1 for all; rows is t, or 1 for all."""


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
            _Block(width=width, num_heads=num_heads, dropout=dropout) for _ in range(num_layers)
        )
        self.output_modulation = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)
        self._recompute = False

    def checkpoint_activations(self) -> None:
        """Keep of each block only its input for the backward pass, which computes the rest."""
        self._recompute = True

    def attend_to(
        self, tokens: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"] | None
    ) -> Context:
        """Prepare visual tokens for the even blocks."""
        blocks = cast("Iterable[_Block]", self.blocks[::2])
        keys_values = tuple(block.attention.keys_values(tokens) for block in blocks)
        return Context(keys_values=keys_values, mask=mask)

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


class _Block(nn.Module):
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
