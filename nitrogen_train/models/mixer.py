"""The mixer: visual tokens look at each other before the actions look at them."""

from jaxtyping import Bool, Float
from torch import Tensor, nn

from nitrogen_train.models.layers import Attention, FeedForward, run_block


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
            _Block(width=width, num_heads=num_heads, dropout=dropout) for _ in range(num_layers)
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


class _Block(nn.Module):
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
