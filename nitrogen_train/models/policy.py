"""Define what every policy returns, whatever its objective: errors in training, actions in play."""

from dataclasses import dataclass, replace

from jaxtyping import Bool, Float, Int64
from torch import Tensor

from nitrogen_train.actions import ActionSpace
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
