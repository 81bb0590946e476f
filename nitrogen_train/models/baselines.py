"""Define two baselines beside the flow policy: direct regression, and a recurrent policy.

`Regression` answers what flow matching adds: it trains the same network without noise, in one pass
or two.

    0, time 0 ─► ActionHead ─► logits and axes ─► actions
    refine: time * actions, time ─► ActionHead ─► actions

`Recurrent` is behaviour cloning in the spirit of VPT (arXiv:2206.11795): no flow and no attention
from actions to the picture, memory instead. Each frame is one vector, and a recurrent cell reads
them in order.

    frames ─► VisualPolicy ─► tokens of a frame, side by side ─► vector ─► GRU ─► actions
"""

import abc
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn

from nitrogen_train import flow
from nitrogen_train.actions import ActionSpace
from nitrogen_train.batch import PolicyBatch
from nitrogen_train.models.dit import ActionHead, DiT, Mixer, Tokens
from nitrogen_train.models.encoder import VisionEncoder
from nitrogen_train.models.policy import ActionChunk, LossOutput, decode_actions, measure_errors
from nitrogen_train.models.visual_policy import VisualPolicy

_REFINE_TIME = 0.9

StickError = Literal["squared", "absolute"]


def read_probabilities(
    output: Float[Tensor, "b t a"], space: ActionSpace
) -> Float[Tensor, "b t a"]:
    """Turn logits of buttons into probabilities, and leave axes as they are: model space."""
    num = len(space.buttons)
    return torch.cat([output[..., :num].sigmoid(), output[..., num:]], dim=-1)


class OneShotPolicy(VisualPolicy):
    """A policy without a flow: it chooses a chunk at once; abstract."""

    @torch.no_grad()
    def generate_actions(
        self,
        tokens: Tokens,
        *,
        unconditional_tokens: Tokens | None = None,
        guidance_scale: float = 1.0,
        committed_actions: Float[Tensor, "b k a"] | None = None,
        inpainting: flow.Inpainting | None = None,
        noise: Float[Tensor, "b t a"] | None = None,
        generator: torch.Generator | None = None,
        num_sampling_steps: int = 16,
    ) -> ActionChunk:
        """Predict a chunk of actions; there is no noise and no solver, and both are ignored.

        Raises:
            ValueError: If asked for guidance or committed actions, which need a flow.
        """
        kind = type(self).__name__
        if unconditional_tokens is not None or guidance_scale != 1:
            raise ValueError(f"{kind} cannot be guided: leave guidance_scale at 1")
        if committed_actions is not None or inpainting is not None:
            raise ValueError(f"{kind} cannot continue decided actions, which needs a flow")
        return decode_actions(self._choose(tokens), self.action_space)

    @abc.abstractmethod
    def _choose(self, tokens: Tokens) -> Float[Tensor, "b t a"]:
        """Predict the values of a chunk, in model space."""


class Regression(OneShotPolicy):
    r"""Predicts a chunk of actions at once.

    Buttons are trained with cross entropy. With `refine`, a second pass looks at the first one's
    result, and is trained on recorded actions with noise, :math:`\pi(t\,a + (1-t)\,\epsilon, t)`.

    Source:
        Two passes: arXiv:2512.01809 (its minimal iterative policy, t = 0.9).
    """

    def __init__(  # noqa: PLR0913 - six of VisualPolicy and its own
        self,
        *,
        encoder: VisionEncoder,
        mixer: Mixer,
        action_space: str,
        action_horizon: int,
        dit: DiT,
        stick_error: StickError = "squared",
        refine: bool = False,
        games: Sequence[str] = (),
        control_weights: Mapping[str, float] | None = None,
    ) -> None:
        """Join the parts.

        Args:
            encoder: Frames to tokens.
            mixer: Tokens to tokens.
            action_space: Name of the controller layout.
            action_horizon: Rows of a chunk.
            dit: Action tokens to action tokens.
            stick_error: What sticks are trained with.
            refine: Whether a second pass refines the first.
            games: Games that the policy is told apart, by game id from 1.
            control_weights: Factors on the loss of controls, by name; others have 1.

        Raises:
            ValueError: If the parts do not fit together.
        """
        super().__init__(
            encoder=encoder,
            mixer=mixer,
            action_space=action_space,
            action_horizon=action_horizon,
            games=games,
            control_weights=control_weights,
        )
        if stick_error not in get_args(StickError):
            raise ValueError(
                f"stick_error must be one of {', '.join(get_args(StickError))}, got {stick_error!r}"
            )
        self._stick_error: StickError = stick_error
        self._refine = refine
        self.action_head = ActionHead(
            dit=dit,
            action_dim=self.action_space.action_dim,
            action_horizon=self.action_horizon,
            token_dim=self.encoder.width,
        )

    def compute_loss(
        self,
        batch: PolicyBatch,
        *,
        generator: torch.Generator | None = None,
        time: Float[Tensor, " b"] | Float[Tensor, "b t"] | None = None,
        noise: Float[Tensor, "b t a"] | None = None,
    ) -> LossOutput:
        """Compare predicted with recorded actions; see `VisualPolicy.compute_loss`.

        With `refine` the loss is the mean of both passes'. There is no path time: `time` is not
        used.
        """
        tokens = self.encode_frames(
            batch.frames, frame_mask=batch.frame_mask, game_id=batch.game_id
        )
        passes = [self._predict(torch.zeros_like(batch.actions), 0.0, tokens)]
        if self._refine:
            if noise is None:
                shape = batch.actions.shape[1:]
                noise = flow.sample_normal(
                    batch.sample_seed, shape, stream="noise", generator=generator
                )
            noisy = _REFINE_TIME * batch.actions + (1 - _REFINE_TIME) * noise
            passes.append(self._predict(noisy, _REFINE_TIME, tokens))
        outputs = [
            measure_errors(
                predicted,
                batch.actions,
                mask=batch.action_mask,
                space=self.action_space,
                weight=self._weight,
                button_error="cross_entropy",
                stick_error=self._stick_error,
            )
            for predicted in passes
        ]
        return outputs[0] if len(outputs) == 1 else outputs[0].average_with(outputs[1])

    def _choose(self, tokens: Tokens) -> Float[Tensor, "b t a"]:
        seen, space = tokens.values, self.action_space
        start = seen.new_zeros(len(seen), self.action_horizon, space.action_dim)
        values = read_probabilities(self._predict(start, 0.0, tokens), space)
        if self._refine:
            refined = self._predict(_REFINE_TIME * values, _REFINE_TIME, tokens)
            values = read_probabilities(refined, space)
        return values

    def _predict(
        self, x_t: Float[Tensor, "b t a"], time: float, tokens: Tokens
    ) -> Float[Tensor, "b t a"]:
        """Run the network: logits of the buttons, axes in model space."""
        condition = self.action_head.condition_on(torch.full((1, 1), time, device=x_t.device))
        return self.action_head(x_t, condition, self.action_head.attend_to(tokens))

    @property
    def _own_settings(self) -> dict[str, Any]:
        return {
            "dit": self.action_head.dit.settings,
            "stick_error": self._stick_error,
            "refine": self._refine,
        }

    @classmethod
    def _build_own(cls, own_settings: dict[str, Any]) -> dict[str, Any]:
        return {**own_settings, "dit": DiT(**own_settings["dit"])}


class Recurrent(OneShotPolicy):
    """Predicts a chunk of actions from what a recurrent cell remembers of the frames.

    Buttons are trained with cross entropy, sticks with squared errors.
    """

    def __init__(
        self,
        *,
        encoder: VisionEncoder,
        mixer: Mixer,
        action_space: str,
        action_horizon: int,
        hidden_dim: int,
        games: Sequence[str] = (),
        control_weights: Mapping[str, float] | None = None,
    ) -> None:
        """Join the parts.

        Args:
            encoder: Frames to tokens.
            mixer: Tokens to tokens.
            action_space: Name of the controller layout.
            action_horizon: Rows of a chunk.
            hidden_dim: Size of a frame's vector and of the memory.
            games: Games that the policy is told apart, by game id from 1.
            control_weights: Factors on the loss of controls, by name; others have 1.

        Raises:
            ValueError: If the parts do not fit together.
        """
        super().__init__(
            encoder=encoder,
            mixer=mixer,
            action_space=action_space,
            action_horizon=action_horizon,
            games=games,
            control_weights=control_weights,
        )
        self._hidden_dim = hidden_dim
        space, encoder = self.action_space, self.encoder
        self.frame_vector = nn.Sequential(
            nn.Linear(encoder.num_tokens * encoder.width, hidden_dim),
            nn.LayerNorm(hidden_dim),
            nn.ReLU(),
        )
        self.game_vector = nn.Linear(encoder.width, hidden_dim) if self.games else None
        self.memory = nn.GRUCell(hidden_dim, hidden_dim)
        self.action_decoder = nn.Sequential(
            nn.Linear(hidden_dim, hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, self.action_horizon * space.action_dim),
            nn.Unflatten(-1, (self.action_horizon, space.action_dim)),
        )

    def encode_frames(
        self,
        frames: UInt8[Tensor, "b f 3 h w"],
        *,
        frame_mask: Bool[Tensor, "b f"] | None = None,
        game_id: Int64[Tensor, " b"] | None = None,
    ) -> Tokens:
        """Look at frames, oldest first; arguments as in `VisualPolicy.encode_frames`.

        Returns:
            One token, the memory after the last frame.
        """
        seen = super().encode_frames(frames, frame_mask=frame_mask, game_id=game_id).values
        num_games = int(self.game_vector is not None)
        vectors = self.frame_vector(seen[:, num_games:].reshape(len(frames), self.num_frames, -1))
        if self.game_vector is not None:
            vectors = vectors + self.game_vector(seen[:, :1])
        memory = vectors.new_zeros(len(frames), self._hidden_dim)
        for index, vector in enumerate(vectors.unbind(dim=1)):
            updated = self.memory(vector, memory)
            if frame_mask is not None and self.num_frames > 1:
                updated = torch.where(frame_mask[:, index, None], updated, memory)
            memory = updated
        return Tokens(values=memory[:, None])

    def compute_loss(
        self,
        batch: PolicyBatch,
        *,
        generator: torch.Generator | None = None,
        time: Float[Tensor, " b"] | Float[Tensor, "b t"] | None = None,
        noise: Float[Tensor, "b t a"] | None = None,
    ) -> LossOutput:
        """Compare predicted with recorded actions; nothing is random, and there is no path."""
        tokens = self.encode_frames(
            batch.frames, frame_mask=batch.frame_mask, game_id=batch.game_id
        )
        return measure_errors(
            self.action_decoder(tokens.values[:, 0]),
            batch.actions,
            mask=batch.action_mask,
            space=self.action_space,
            weight=self._weight,
            button_error="cross_entropy",
        )

    def _choose(self, tokens: Tokens) -> Float[Tensor, "b t a"]:
        return read_probabilities(self.action_decoder(tokens.values[:, 0]), self.action_space)

    @property
    def _own_settings(self) -> dict[str, Any]:
        return {"hidden_dim": self._hidden_dim}

    @classmethod
    def _build_own(cls, own_settings: dict[str, Any]) -> dict[str, Any]:
        return own_settings
