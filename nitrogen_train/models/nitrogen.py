"""NitroGen's policy: a flow-matching transformer over visual tokens.

    frames ─► VisionEncoder ─► + game ─► Mixer ─► tokens ──┐
                                                           ▼
                                      x_t, time ─► VelocityNetwork ─► velocity

Path time and velocity are those of `nitrogen_train.flow.path`.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
from einops import repeat
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn

from nitrogen_train import flow
from nitrogen_train.actions import get_action_space
from nitrogen_train.batch import PolicyBatch
from nitrogen_train.models.dit import Context, DiT
from nitrogen_train.models.encoder import VisionEncoder
from nitrogen_train.models.mixer import Mixer
from nitrogen_train.models.policy import (
    ActionChunk,
    LossOutput,
    decode_actions,
    measure_errors,
)
from nitrogen_train.models.saved_policy import SavedPolicy
from nitrogen_train.models.velocity import TimeCondition, VelocityNetwork

_FORMAT_VERSION = 1

Prediction = Literal["velocity", "x_1"]
"""What the network returns."""


class NitroGen(SavedPolicy):
    """Predicts a chunk of actions from frames, at any size; a `Policy`.

    Built without games it is the released policy. Built with games, a learned token for the game
    stands before the visual tokens, and the policy can be guided by it.
    """

    def __init__(  # noqa: PLR0913 - the parts, and how they were trained
        self,
        *,
        encoder: VisionEncoder,
        mixer: Mixer,
        dit: DiT,
        path_time: flow.TimeDistribution,
        action_space: str,
        action_horizon: int,
        games: Sequence[str] = (),
        condition_dropout: float = 0.0,
        prediction: Prediction = "velocity",
    ) -> None:
        """Join the parts.

        Args:
            encoder: Frames to tokens.
            mixer: Tokens to tokens.
            dit: Noisy action tokens to clean ones.
            path_time: Path times that training draws.
            action_space: Name of the controller layout.
            action_horizon: Rows of a chunk.
            games: Games that the policy is told apart, by game id from 1.
            condition_dropout: Share of training samples whose game is hidden, in [0, 1].
            prediction: What the network returns and the loss compares: the velocity, as ng.pt, or
                the actions x_1, from which the velocity follows. A network that predicts x_1 need
                not learn to subtract the noise, and learns from far fewer samples.

        Raises:
            ValueError: If the parts do not fit together.
        """
        super().__init__()
        if prediction not in get_args(Prediction):
            raise ValueError(
                f"prediction must be one of {', '.join(get_args(Prediction))}, got {prediction!r}"
            )
        if not encoder.width == mixer.width == dit.width:
            raise ValueError(
                "encoder, mixer and dit must have one width, "
                f"got {encoder.width}, {mixer.width} and {dit.width}"
            )
        if not 1 <= action_horizon <= dit.max_action_horizon:
            raise ValueError(
                f"action_horizon={action_horizon} must lie in "
                f"[1, dit.max_action_horizon={dit.max_action_horizon}]"
            )
        self.action_space = get_action_space(action_space)
        self.action_horizon = action_horizon
        self.games = tuple(games)
        self._condition_dropout = condition_dropout
        self._prediction = prediction
        self._path_time = path_time
        self.encoder = encoder
        self.mixer = mixer
        self.velocity = VelocityNetwork(dit=dit, action_dim=self.action_space.action_dim)
        self.game_embedding = None
        if self.games:
            self.game_embedding = nn.Embedding(1 + len(self.games), dit.width)
            nn.init.normal_(self.game_embedding.weight, std=0.02)

    @property
    def num_frames(self) -> int:
        """Frames that `encode_frames` expects."""
        return self.encoder.num_frames

    @property
    def image_size(self) -> int:
        """Height and width of a frame in pixels."""
        return self.encoder.image_size

    def game_id(self, game: str) -> int:
        """Look up a game's id; 0, unconditional, if the policy was built without games.

        Raises:
            ValueError: If the policy knows games, but not this one.
        """
        if not self.games:
            return 0
        if game not in self.games:
            raise ValueError(f"this policy knows the games {', '.join(self.games)}, not {game!r}")
        return 1 + self.games.index(game)

    def encode_frames(
        self,
        frames: UInt8[Tensor, "b f 3 h w"],
        *,
        frame_mask: Bool[Tensor, "b f"] | None = None,
        game_id: Int64[Tensor, " b"] | None = None,
    ) -> Float[Tensor, "b n d"]:
        """Look at frames.

        Args:
            frames: RGB, oldest first.
            frame_mask: True where a frame exists; None is everywhere. A single frame always does.
            game_id: Which game is played; 0 or None leaves it open; ignored without games.

        Returns:
            The mixed tokens, the game's first. Those of a missing frame are zero, which is how
            `predict_velocity` knows that it must not attend to them.
        """
        tokens = self.encoder(frames)
        mask = None
        if frame_mask is not None and self.num_frames > 1:
            mask = repeat(frame_mask, "b f -> b (f n)", n=self.encoder.num_tokens)
        if self.game_embedding is not None:
            if game_id is None:
                game_id = torch.zeros(len(frames), dtype=torch.int64, device=frames.device)
            tokens = torch.cat([self.game_embedding(game_id)[:, None], tokens], dim=1)
            if mask is not None:
                mask = nn.functional.pad(mask, (1, 0), value=True)
        tokens = self.mixer(tokens, mask)
        return tokens if mask is None else tokens.masked_fill(~mask[..., None], 0)

    def predict_velocity(
        self,
        x_t: Float[Tensor, "b t a"],
        time: Float[Tensor, " b"] | Float[Tensor, "b t"],
        tokens: Float[Tensor, "b n d"],
    ) -> Float[Tensor, "b t a"]:
        """Predict where x_t should move.

        Args:
            x_t: Between noise and actions, in model space.
            time: Path time in [0, 1], one per sample or one per row.
            tokens: From `encode_frames`.
        """
        time = time.reshape(len(time), -1)
        condition = self.velocity.condition_on(time)
        return self._to_velocity(self.velocity(x_t, condition, self._attend_to(tokens)), x_t, time)

    def compute_loss(
        self,
        batch: PolicyBatch,
        *,
        generator: torch.Generator | None = None,
        time: Float[Tensor, " b"] | Float[Tensor, "b t"] | None = None,
        noise: Float[Tensor, "b t a"] | None = None,
    ) -> LossOutput:
        """Compare the predicted with the true velocity; see `Policy.compute_loss`."""

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
        path = flow.sample_path(noise, batch.actions, time)
        tokens = self.encode_frames(batch.frames, frame_mask=batch.frame_mask, game_id=game_id)
        condition = self.velocity.condition_on(time.reshape(len(time), -1))
        predicted = self.velocity(path.x_t, condition, self._attend_to(tokens))
        target = path.velocity if self._prediction == "velocity" else batch.actions
        return measure_errors(predicted, target, mask=batch.action_mask, space=self.action_space)

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
        """Integrate noise to a chunk of actions; arguments as in `Policy.generate_actions`.

        Committed actions enter clean, at time 1, and come back unchanged.

        Raises:
            ValueError: If guidance lacks its unconditional tokens.
        """
        contexts = [self._attend_to(tokens)]
        if unconditional_tokens is not None:
            contexts.append(self._attend_to(unconditional_tokens))
        elif guidance_scale != 1:
            raise ValueError(
                f"guidance_scale={guidance_scale} needs unconditional_tokens: "
                "encode the same frames without a game_id"
            )
        x_0 = self._draw_noise(tokens, generator) if noise is None else noise
        num_committed = 0 if committed_actions is None else committed_actions.shape[1]
        if committed_actions is not None:
            x_0 = torch.cat([committed_actions, x_0[:, num_committed:]], dim=1)
        conditions = self._condition_on_steps(num_sampling_steps, x_0, num_committed)

        def velocity(x_t: Float[Tensor, "b t a"], time: float) -> Float[Tensor, "b t a"]:
            at_time = torch.full((1, 1), time, device=x_t.device)
            predicted = [
                self._to_velocity(self.velocity(x_t, conditions[time], context), x_t, at_time)
                for context in contexts
            ]
            if len(predicted) > 1:
                predicted = [flow.guide_velocity(*predicted, guidance_scale=guidance_scale)]
            return nn.functional.pad(predicted[0][:, num_committed:], (0, 0, num_committed, 0))

        values = flow.solve_euler(velocity, x_0, num_sampling_steps=num_sampling_steps)
        return decode_actions(values, self.action_space)

    @property
    def settings(self) -> dict[str, Any]:
        """What `from_settings` needs, as JSON can hold it."""
        space = self.action_space
        return {
            "format_version": _FORMAT_VERSION,
            "encoder": self.encoder.settings,
            "mixer": self.mixer.settings,
            "dit": self.velocity.dit.settings,
            "path_time": self._path_time.settings,
            "action_space": {"name": space.name, "controls": list(space.controls)},
            "action_horizon": self.action_horizon,
            "games": list(self.games),
            "condition_dropout": self._condition_dropout,
            "prediction": self._prediction,
        }

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> "NitroGen":
        """Build an untrained policy from plain values.

        Raises:
            ValueError: If they do not describe a policy that this version can build.
        """
        if settings.get("format_version") != _FORMAT_VERSION:
            raise ValueError(
                f"expected a policy of format_version {_FORMAT_VERSION}, got "
                f"{settings.get('format_version')}; use the nitrogen-train that wrote it"
            )
        try:
            space = get_action_space(settings["action_space"]["name"])
            if list(space.controls) != settings["action_space"]["controls"]:
                has = ", ".join(settings["action_space"]["controls"])
                raise ValueError(f"action space {space.name!r} differs from ours: it has {has}")
            return cls(
                encoder=VisionEncoder(**settings["encoder"], pretrained=False),
                mixer=Mixer(**settings["mixer"]),
                dit=DiT(**settings["dit"]),
                path_time=flow.build_time_distribution(settings["path_time"]),
                action_space=space.name,
                action_horizon=settings["action_horizon"],
                games=settings["games"],
                condition_dropout=settings["condition_dropout"],
                prediction=settings["prediction"],
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"the settings do not describe a policy: {error!r}") from error

    def _condition_on_steps(
        self, num_sampling_steps: int, x_0: Float[Tensor, "b t a"], num_committed: int
    ) -> dict[float, TimeCondition]:
        """Prepare all times of the solver at once; committed rows are at time 1 throughout."""
        times = flow.euler_times(num_sampling_steps)
        time = torch.tensor(times, device=x_0.device)[:, None]
        if num_committed:
            time = time.repeat(1, x_0.shape[1])
            time[:, :num_committed] = 1
        conditions = self.velocity.condition_on(time)
        return {step_time: conditions.select(step) for step, step_time in enumerate(times)}

    def _to_velocity(
        self,
        predicted: Float[Tensor, "b t a"],
        x_t: Float[Tensor, "b t a"],
        time: Float[Tensor, "#b #t"],
    ) -> Float[Tensor, "b t a"]:
        return (
            predicted if self._prediction == "velocity" else flow.velocity_to(predicted, x_t, time)
        )

    def _attend_to(self, tokens: Float[Tensor, "b n d"]) -> Context:
        mask = (tokens != 0).any(dim=-1) if self.num_frames > 1 else None
        return self.velocity.attend_to(tokens, mask)

    def _draw_noise(
        self, tokens: Float[Tensor, "b n d"], generator: torch.Generator | None
    ) -> Float[Tensor, "b t a"]:
        shape = (len(tokens), self.action_horizon, self.action_space.action_dim)
        device = tokens.device if generator is None else generator.device
        return torch.randn(shape, generator=generator, device=device).to(tokens.device)
