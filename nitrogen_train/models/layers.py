"""Attention and feed-forward layers, as in NitroGen's mixer and DiT."""

import math
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from einops import rearrange
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

KeysValues = tuple[Float[Tensor, "b heads n k"], Float[Tensor, "b heads n k"]]
"""A context as an attention layer sees it: constant while the queries change."""


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
