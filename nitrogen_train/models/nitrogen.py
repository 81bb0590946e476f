"""Define NitroGen's policy: a flow-matching transformer over visual tokens.

    frames ─► VisualPolicy ─► tokens ─────┐
                                          ▼
                     x_t, time ─► ActionHead ─► Prediction ─► velocity

Path time and velocity are those of `nitrogen_train.flow.path`.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from nitrogen_train import flow
from nitrogen_train.batch import PolicyBatch
from nitrogen_train.models.dit import ActionHead, Context, DiT, Mixer, TimeCondition, Tokens
from nitrogen_train.models.encoder import VisionEncoder
from nitrogen_train.models.policy import ActionChunk, LossOutput, decode_actions, measure_errors
from nitrogen_train.models.visual_policy import VisualPolicy


class NitroGen(VisualPolicy):
    """Predicts a chunk of actions from frames by flow matching, at any size.

    Built without games it is the released policy; built with games it can be guided by them.
    """

    def __init__(  # noqa: PLR0913 - six of VisualPolicy and its own
        self,
        *,
        encoder: VisionEncoder,
        mixer: Mixer,
        action_space: str,
        action_horizon: int,
        dit: DiT,
        path_time: flow.TimeDistribution,
        button_prediction: flow.ButtonPrediction = "velocity",
        stick_prediction: flow.StickPrediction = "velocity",
        condition_dropout: float = 0.0,
        max_prefix_rows: int = 0,
        games: Sequence[str] = (),
        control_weights: Mapping[str, float] | None = None,
    ) -> None:
        """Join the parts.

        Args:
            encoder: Frames to tokens.
            mixer: Tokens to tokens.
            action_space: Name of the controller layout.
            action_horizon: Rows of a chunk.
            dit: Noisy action tokens to clean ones.
            path_time: Path times that training draws.
            button_prediction: What the network returns for buttons; see `flow.Prediction`.
            stick_prediction: What the network returns for sticks.
            condition_dropout: Share of training samples whose game is hidden, in [0, 1].
            max_prefix_rows: Training gives the network at most so many first rows of a chunk as
                they are, a number drawn for each sample, so that it learns to continue what is
                decided already: rows that pass while a policy thinks.
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
        if not 0 <= condition_dropout <= 1:
            raise ValueError(f"condition_dropout must lie in [0, 1], got {condition_dropout}")
        if condition_dropout and not self.games:
            raise ValueError(
                f"condition_dropout={condition_dropout} hides the game, but the policy is not told "
                "the game: give games, or leave it at 0"
            )
        self.action_head = ActionHead(
            dit=dit,
            action_dim=self.action_space.action_dim,
            action_horizon=self.action_horizon,
            token_dim=self.encoder.width,
        )
        if not 0 <= max_prefix_rows < action_horizon:
            raise ValueError(
                f"max_prefix_rows must lie in [0, {action_horizon - 1}], so that a row is left to "
                f"predict, got {max_prefix_rows}"
            )
        self.prediction = flow.Prediction(
            buttons=button_prediction,
            sticks=stick_prediction,
            num_buttons=len(self.action_space.buttons),
        )
        self._path_time = path_time
        self._condition_dropout = condition_dropout
        self.max_prefix_rows = max_prefix_rows

    def predict_velocity(
        self,
        x_t: Float[Tensor, "b t a"],
        time: Float[Tensor, " b"] | Float[Tensor, "b t"],
        tokens: Tokens,
    ) -> Float[Tensor, "b t a"]:
        """Predict where x_t should move.

        Args:
            x_t: Between noise and actions, in model space.
            time: Path time in [0, 1], one per sample or one per row.
            tokens: From `encode_frames`.
        """
        time = time.reshape(len(time), -1)
        condition = self.action_head.condition_on(time)
        return self._velocity(x_t, time, condition, self.action_head.attend_to(tokens))

    def compute_loss(
        self,
        batch: PolicyBatch,
        *,
        generator: torch.Generator | None = None,
        time: Float[Tensor, " b"] | Float[Tensor, "b t"] | None = None,
        noise: Float[Tensor, "b t a"] | None = None,
    ) -> LossOutput:
        """Compare what the network returns with what it should; see `VisualPolicy.compute_loss`.

        In training with `max_prefix_rows`, a sample's first rows are clean, at path time 1, and
        have no error: they count as right ones in the mean.

        Source:
            Training-time action conditioning: arXiv:2512.05964.
        """

        def draw(sample: Callable[..., Tensor], *shape: int, stream: str) -> Tensor:
            return sample(batch.sample_seed, shape, stream=stream, generator=generator)

        if time is None:
            time = self._path_time(draw(flow.sample_uniform, stream="path_time"))
        if noise is None:
            noise = draw(flow.sample_normal, *batch.actions.shape[1:], stream="noise")
        game_id = batch.game_id
        if self.training and self._condition_dropout > 0:
            chance = draw(flow.sample_uniform, stream="condition_dropout")
            game_id = game_id.masked_fill(chance < self._condition_dropout, 0)
        mask = batch.action_mask
        if self.training and self.max_prefix_rows:
            chance = draw(flow.sample_uniform, stream="prefix")
            is_prefix = self._draw_prefix(chance)
            time = time.reshape(len(time), -1).masked_fill(is_prefix, 1.0)
            mask = mask & ~is_prefix[..., None]
        path = flow.sample_path(noise, batch.actions, time)
        tokens = self.encode_frames(batch.frames, frame_mask=batch.frame_mask, game_id=game_id)
        condition = self.action_head.condition_on(time.reshape(len(time), -1))
        return measure_errors(
            self.action_head(path.x_t, condition, self.action_head.attend_to(tokens)),
            self.prediction.target(path, batch.actions),
            mask=mask,
            space=self.action_space,
            weight=self._weight,
            button_error=self.prediction.button_error,
        )

    def _draw_prefix(self, chance: Float[Tensor, " b"]) -> Bool[Tensor, "b t"]:
        """Mark each sample's first rows, 0 to `max_prefix_rows` of them alike often."""
        num_rows = (chance * (self.max_prefix_rows + 1)).floor()
        rows = torch.arange(self.action_horizon, device=chance.device)
        return rows < num_rows[:, None]

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
        """Integrate noise to a chunk of actions; see `VisualPolicy.generate_actions`.

        What does not depend on the noisy actions is computed once: keys and values of the tokens,
        modulations of all path times. Committed actions enter clean, at time 1, and come back
        unchanged.

        Raises:
            ValueError: If guidance lacks its unconditional tokens, or more rows are committed
                than a chunk has.
        """
        contexts = [self.action_head.attend_to(tokens)]
        if unconditional_tokens is not None:
            contexts.append(self.action_head.attend_to(unconditional_tokens))
        elif guidance_scale != 1:
            raise ValueError(
                f"guidance_scale={guidance_scale} needs unconditional_tokens: "
                "encode the same frames without a game_id"
            )
        x_0 = self._draw_noise(tokens.values, generator) if noise is None else noise
        num_committed = 0 if committed_actions is None else committed_actions.shape[1]
        if num_committed > x_0.shape[1]:
            raise ValueError(
                f"{num_committed} rows are committed, but a chunk of this policy has {x_0.shape[1]}"
            )
        if committed_actions is not None:
            x_0 = torch.cat([committed_actions, x_0[:, num_committed:]], dim=1)
        times = flow.list_sampling_times(num_sampling_steps)
        conditions = self._condition_on_all(times, x_0, num_committed)

        def velocity(x_t: Float[Tensor, "b t a"], time: float) -> Float[Tensor, "b t a"]:
            at_time = torch.full((1, 1), time, device=x_t.device)
            predicted = [
                self._velocity(x_t, at_time, conditions[time], context) for context in contexts
            ]
            if len(predicted) > 1:
                predicted = [flow.guide_velocity(*predicted, guidance_scale=guidance_scale)]
            return nn.functional.pad(predicted[0][:, num_committed:], (0, 0, num_committed, 0))

        field = velocity
        if inpainting is not None:
            field = functools.partial(_steer, velocity, inpainting)
        values = flow.solve_flow(field, x_0, num_sampling_steps=num_sampling_steps)
        return decode_actions(values, self.action_space)

    def _velocity(
        self,
        x_t: Float[Tensor, "b t a"],
        time: Float[Tensor, "#b #t"],
        condition: TimeCondition,
        context: Context,
    ) -> Float[Tensor, "b t a"]:
        return self.prediction.to_velocity(self.action_head(x_t, condition, context), x_t, time)

    def _condition_on_all(
        self, times: tuple[float, ...], x_0: Float[Tensor, "b t a"], num_committed: int
    ) -> dict[float, TimeCondition]:
        """Prepare all times of the solver at once; committed rows are at time 1 throughout."""
        time = torch.tensor(times, device=x_0.device)[:, None]
        if num_committed:
            time = time.repeat(1, x_0.shape[1])
            time[:, :num_committed] = 1
        conditions = self.action_head.condition_on(time)
        return {step_time: conditions.select(step) for step, step_time in enumerate(times)}

    def _draw_noise(
        self, seen: Float[Tensor, "b n d"], generator: torch.Generator | None
    ) -> Float[Tensor, "b t a"]:
        shape = (len(seen), self.action_horizon, self.action_space.action_dim)
        device = seen.device if generator is None else generator.device
        return torch.randn(shape, generator=generator, device=device).to(seen.device)

    @property
    def _own_settings(self) -> dict[str, Any]:
        return {
            "dit": self.action_head.dit.settings,
            "path_time": self._path_time.settings,
            "button_prediction": self.prediction.buttons,
            "stick_prediction": self.prediction.sticks,
            "condition_dropout": self._condition_dropout,
            # Only where it is: earlier versions read the others.
            **({"max_prefix_rows": self.max_prefix_rows} if self.max_prefix_rows else {}),
        }

    @classmethod
    def _build_own(cls, own_settings: dict[str, Any]) -> dict[str, Any]:
        return {
            **own_settings,
            "dit": DiT(**own_settings["dit"]),
            "path_time": flow.build_time_distribution(own_settings["path_time"]),
        }


def _steer(
    velocity: Callable[[Float[Tensor, "b t a"], float], Float[Tensor, "b t a"]],
    inpainting: flow.Inpainting,
    x_t: Float[Tensor, "b t a"],
    time: float,
) -> Float[Tensor, "b t a"]:
    return flow.steer_velocity(velocity, x_t, time, inpainting)
