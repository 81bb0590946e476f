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

from typing import Any, Literal, get_args

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn

from nitrogen_train import flow
from nitrogen_train.batch import PolicyBatch
from nitrogen_train.models.dit import ActionHead, DiT
from nitrogen_train.models.policy import (
    ActionChunk,
    LossOutput,
    decode_actions,
    measure_errors,
    read_probabilities,
    refuse_flow_arguments,
)
from nitrogen_train.models.visual_policy import VisualPolicy

_REFINE_TIME = 0.9

StickError = Literal["squared", "absolute"]


class Regression(VisualPolicy):
    r"""Predicts a chunk of actions at once; a `Policy`.

    Buttons are trained with cross entropy. With `refine`, a second pass looks at the first one's
    result, and is trained on recorded actions with noise, :math:`\pi(t\,a + (1-t)\,\epsilon, t)`.

    Source:
        Two passes: arXiv:2512.01809 (its minimal iterative policy, t = 0.9).
    """

    def __init__(
        self,
        *,
        dit: DiT,
        stick_error: StickError = "squared",
        refine: bool = False,
        **seeing: Any,  # noqa: ANN401 - as VisualPolicy says
    ) -> None:
        """Join the parts.

        Args:
            dit: Action tokens to action tokens.
            stick_error: What sticks are trained with.
            refine: Whether a second pass refines the first.
            **seeing: Arguments of `VisualPolicy`.

        Raises:
            ValueError: If the parts do not fit together.
        """
        super().__init__(**seeing)
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
        """Compare predicted with recorded actions; see `Policy.compute_loss`.

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

    @torch.no_grad()
    def generate_actions(
        self,
        tokens: Float[Tensor, "b n d"],
        *,
        unconditional_tokens: Float[Tensor, "b n d"] | None = None,
        guidance_scale: float = 1.0,
        committed_actions: Float[Tensor, "b k a"] | None = None,
        noise: Float[Tensor, "b t a"] | None = None,
        generator: torch.Generator | None = None,
        num_sampling_steps: int = 16,
    ) -> ActionChunk:
        """Predict a chunk of actions; there is no noise and no solver, and both are ignored.

        Raises:
            ValueError: If asked for guidance or committed actions, which need a flow.
        """
        refuse_flow_arguments(
            self,
            unconditional_tokens=unconditional_tokens,
            guidance_scale=guidance_scale,
            committed_actions=committed_actions,
        )
        start = tokens.new_zeros(len(tokens), self.action_horizon, self.action_space.action_dim)
        space = self.action_space
        values = read_probabilities(self._predict(start, 0.0, tokens), space)
        if self._refine:
            refined = self._predict(_REFINE_TIME * values, _REFINE_TIME, tokens)
            values = read_probabilities(refined, space)
        return decode_actions(values, space)

    def _predict(
        self, x_t: Float[Tensor, "b t a"], time: float, tokens: Float[Tensor, "b n d"]
    ) -> Float[Tensor, "b t a"]:
        """Run the network: logits of the buttons, axes in model space."""
        condition = self.action_head.condition_on(torch.full((1, 1), time, device=tokens.device))
        context = self.action_head.attend_to(tokens, self._find_real(tokens))
        return self.action_head(x_t, condition, context)

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


class Recurrent(VisualPolicy):
    """Predicts a chunk of actions from what a recurrent cell remembers of the frames; a `Policy`.

    Buttons are trained with cross entropy, sticks with squared errors.
    """

    def __init__(self, *, hidden_dim: int, **seeing: Any) -> None:  # noqa: ANN401 - as VisualPolicy says
        """Join the parts.

        Args:
            hidden_dim: Size of a frame's vector and of the memory.
            **seeing: Arguments of `VisualPolicy`.

        Raises:
            ValueError: If the parts do not fit together.
        """
        super().__init__(**seeing)
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
    ) -> Float[Tensor, "b n d"]:
        """Look at frames, oldest first; arguments as in `VisualPolicy.encode_frames`.

        Returns:
            One token, the memory after the last frame.
        """
        tokens = super().encode_frames(frames, frame_mask=frame_mask, game_id=game_id)
        num_games = int(self.game_vector is not None)
        vectors = self.frame_vector(tokens[:, num_games:].reshape(len(frames), self.num_frames, -1))
        if self.game_vector is not None:
            vectors = vectors + self.game_vector(tokens[:, :1])
        memory = vectors.new_zeros(len(frames), self._hidden_dim)
        for index, vector in enumerate(vectors.unbind(dim=1)):
            updated = self.memory(vector, memory)
            if frame_mask is not None and self.num_frames > 1:
                updated = torch.where(frame_mask[:, index, None], updated, memory)
            memory = updated
        return memory[:, None]

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
            self.action_decoder(tokens[:, 0]),
            batch.actions,
            mask=batch.action_mask,
            space=self.action_space,
            weight=self._weight,
            button_error="cross_entropy",
        )

    @torch.no_grad()
    def generate_actions(
        self,
        tokens: Float[Tensor, "b n d"],
        *,
        unconditional_tokens: Float[Tensor, "b n d"] | None = None,
        guidance_scale: float = 1.0,
        committed_actions: Float[Tensor, "b k a"] | None = None,
        noise: Float[Tensor, "b t a"] | None = None,
        generator: torch.Generator | None = None,
        num_sampling_steps: int = 16,
    ) -> ActionChunk:
        """Predict a chunk of actions; there is no noise and no solver, and both are ignored.

        Raises:
            ValueError: If asked for guidance or committed actions, which need a flow.
        """
        refuse_flow_arguments(
            self,
            unconditional_tokens=unconditional_tokens,
            guidance_scale=guidance_scale,
            committed_actions=committed_actions,
        )
        values = read_probabilities(self.action_decoder(tokens[:, 0]), self.action_space)
        return decode_actions(values, self.action_space)

    @property
    def _own_settings(self) -> dict[str, Any]:
        return {"hidden_dim": self._hidden_dim}

    @classmethod
    def _build_own(cls, own_settings: dict[str, Any]) -> dict[str, Any]:
        return own_settings
