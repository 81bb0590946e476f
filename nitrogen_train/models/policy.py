"""Define what every policy offers, whatever its objective, and what it returns."""

import abc
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from nitrogen_train.actions import ActionSpace
from nitrogen_train.batch import PolicyBatch
from nitrogen_train.flow import ErrorKind, masked_error_sums, masked_mean_loss


@dataclass(frozen=True, kw_only=True)
class LossOutput:
    """The errors of one micro-batch: sums and counts, which add up over micro-batches and ranks."""

    error_sum: Float[Tensor, ""]
    """Over all supervised values."""
    num_valid: Int64[Tensor, ""]
    """Number of the supervised values."""
    error_sum_buttons: Float[Tensor, ""]
    num_valid_buttons: Int64[Tensor, ""]
    error_sum_sticks: Float[Tensor, ""]
    num_valid_sticks: Int64[Tensor, ""]
    error_sum_by_sample: Float[Tensor, " b"]
    """Sums of errors over all controls; like those of the groups, they have no gradient."""
    num_valid_by_sample: Int64[Tensor, " b"]

    @property
    def loss(self) -> Float[Tensor, ""]:
        """Mean over this micro-batch alone, 0 if it supervises nothing."""
        return masked_mean_loss(self.error_sum, self.num_valid)

    @property
    def loss_buttons(self) -> Float[Tensor, ""]:
        """Mean over the buttons."""
        return masked_mean_loss(self.error_sum_buttons, self.num_valid_buttons)

    @property
    def loss_sticks(self) -> Float[Tensor, ""]:
        """Mean over the axes."""
        return masked_mean_loss(self.error_sum_sticks, self.num_valid_sticks)

    def average_with(self, other: "LossOutput") -> "LossOutput":
        """Average the errors with those of another look at the same values."""
        return replace(
            self,
            error_sum=(self.error_sum + other.error_sum) / 2,
            error_sum_buttons=(self.error_sum_buttons + other.error_sum_buttons) / 2,
            error_sum_sticks=(self.error_sum_sticks + other.error_sum_sticks) / 2,
            error_sum_by_sample=(self.error_sum_by_sample + other.error_sum_by_sample) / 2,
        )


def measure_errors(
    predicted: Float[Tensor, "b t a"],
    target: Float[Tensor, "b t a"],
    *,
    mask: Bool[Tensor, "b t a"],
    space: ActionSpace,
    weight: Float[Tensor, " a"] | None = None,
    button_error: ErrorKind = "squared",
    stick_error: ErrorKind = "squared",
) -> LossOutput:
    """Sum errors where `mask` is True, buttons and axes apart and together, and by sample.

    Args:
        predicted: What the network returned.
        target: What it should have returned.
        mask: True where supervised.
        space: Where buttons end and axes begin.
        weight: Factor on the errors of each control; counts are not weighted.
        button_error: Kind of error of the buttons.
        stick_error: Kind of error of the axes.
    """
    sizes = [len(space.buttons), len(space.sticks)]
    weights = [None, None] if weight is None else weight.split(sizes)
    sums, counts = [], []
    for kind, part_weight, *part in zip(
        (button_error, stick_error),
        weights,
        *(values.split(sizes, dim=-1) for values in (predicted, target, mask)),
        strict=True,
    ):
        sums.append(masked_error_sums(*part, kind=kind, weight=part_weight))
        counts.append(part[-1].sum())
    by_sample = sums[0] + sums[1]
    return LossOutput(
        error_sum=by_sample.sum(),
        num_valid=mask.sum(),
        error_sum_buttons=sums[0].detach().sum(),
        num_valid_buttons=counts[0],
        error_sum_sticks=sums[1].detach().sum(),
        num_valid_sticks=counts[1],
        error_sum_by_sample=by_sample.detach(),
        num_valid_by_sample=mask.sum(dim=(1, 2)),
    )


@dataclass(frozen=True, kw_only=True)
class ActionChunk:
    """Predicted actions, row by row."""

    values: Float[Tensor, "b t a"]
    """Model space, not clamped."""
    buttons: Bool[Tensor, "b t num_buttons"]
    """True where pressed, in the order of the action space."""
    sticks: Float[Tensor, "b t num_axes"]
    """Axes in [-1, 1], in the order of the action space."""
    space: ActionSpace
    """The layout that buttons and axes are looked up in."""

    @property
    def left_stick(self) -> Float[Tensor, "b t 2"]:
        """Take x and y of a gamepad's left stick, in [-1, 1]; y is positive downwards."""
        return self._take_stick("LEFT_STICK")

    @property
    def right_stick(self) -> Float[Tensor, "b t 2"]:
        """Take x and y of a gamepad's right stick, in [-1, 1]; y is positive downwards."""
        return self._take_stick("RIGHT_STICK")

    def _take_stick(self, name: str) -> Float[Tensor, "b t 2"]:
        num_buttons = len(self.space.buttons)
        axes = [self.space.index(f"{name}_{axis}") - num_buttons for axis in "XY"]
        return self.sticks[..., axes]


def decode_actions(values: Float[Tensor, "b t a"], space: ActionSpace) -> ActionChunk:
    """Read a chunk of actions out of model space: pressed above 0.5, axes clamped."""
    num_buttons = len(space.buttons)
    return ActionChunk(
        values=values,
        buttons=values[..., :num_buttons] > 0.5,
        sticks=(values[..., num_buttons:] * 2 - 1).clamp(-1, 1),
        space=space,
    )


def read_probabilities(
    output: Float[Tensor, "b t a"], space: ActionSpace
) -> Float[Tensor, "b t a"]:
    """Turn logits of buttons into probabilities, and leave axes as they are: model space."""
    num = len(space.buttons)
    return torch.cat([output[..., :num].sigmoid(), output[..., num:]], dim=-1)


def refuse_flow_arguments(
    policy: "Policy",
    *,
    unconditional_tokens: Float[Tensor, "b n d"] | None,
    guidance_scale: float,
    committed_actions: Float[Tensor, "b k a"] | None,
) -> None:
    """Refuse, for a policy without a flow, what only a flow can do.

    Raises:
        ValueError: If guidance or committed actions are asked for.
    """
    if unconditional_tokens is not None or guidance_scale != 1:
        raise ValueError(f"{type(policy).__name__} cannot be guided: leave guidance_scale at 1")
    if committed_actions is not None:
        raise ValueError(
            f"{type(policy).__name__} cannot continue committed_actions: leave them out"
        )


@runtime_checkable
class Policy(Protocol):
    """A network that learns actions from what is on the screen.

    To add one: write a module with these methods and a `conf/model/NAME.yaml` that names it.
    """

    action_space: ActionSpace
    action_horizon: int
    games: tuple[str, ...]
    """Names by game id, from 1; empty for a policy that is not told the game."""

    @property
    def num_frames(self) -> int:
        """Return frames that `encode_frames` expects."""
        ...

    @property
    def image_size(self) -> int:
        """Return the height and width of a frame in pixels."""
        ...

    def game_id(self, game: str) -> int:
        """Look up a game's id; 0, unconditional, if the policy is not told the game.

        Raises:
            ValueError: If the policy knows games, but not this one.
        """
        ...

    @abc.abstractmethod
    def compute_loss(
        self,
        batch: PolicyBatch,
        *,
        generator: torch.Generator | None = None,
        time: Float[Tensor, " b"] | Float[Tensor, "b t"] | None = None,
        noise: Float[Tensor, "b t a"] | None = None,
    ) -> LossOutput:
        """Compare predictions with the recorded actions.

        Args:
            batch: What was observed and done.
            generator: Source of what is random; None draws it from each sample's own seed.
            time: Path times, instead of random ones.
            noise: Noise x_0, instead of random noise.
        """
        ...

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
            frame_mask: True where a frame exists; None is everywhere.
            game_id: Which game is played; 0 or None leaves it open.

        Returns:
            Tokens for `generate_actions`.
        """
        ...

    @abc.abstractmethod
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
        """Choose what to do next.

        Args:
            tokens: From `encode_frames`.
            unconditional_tokens: The same frames encoded with game id 0, for guidance.
            guidance_scale: 0 ignores the condition, 1 follows it, more exaggerates it.
            committed_actions: First rows of the chunk, already decided, in model space.
            noise: x_0; drawn if None.
            generator: Source of the noise; None is torch's global one.
            num_sampling_steps: Solver steps.
        """
        ...
