"""From noisy actions, a path time and visual tokens to values of actions.

    noisy actions ─► ActionEncoder ─► DiT ─► ActionDecoder ─► values
                          ▲            ▲
                     path time     path time, keys and values of the visual tokens

Path times and visual tokens are prepared apart, by `condition_on` and `attend_to`: both are
constant over the steps of a solver.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from nitrogen_train.models.dit import Context, DiT, Modulation
from nitrogen_train.models.layers import encode_sinusoid

_NUM_TIME_BUCKETS = 1000


@dataclass(frozen=True, kw_only=True)
class TimeCondition:
    """Path times as the network takes them; samples is b, or 1 for all; rows is t, or 1 for all."""

    encoded_time: Float[Tensor, "samples rows d"]
    """For the action encoder."""
    modulations: tuple[Modulation, ...]
    """For the DiT."""

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

    def attend_to(
        self, tokens: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"] | None
    ) -> Context:
        """Prepare visual tokens; where `mask` is False, nothing attends."""
        return self.dit.attend_to(tokens, mask)

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
