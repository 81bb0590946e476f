"""What a network's output means, and how the velocity follows from it.

Velocity, x_1 and the logits of a binary x_1 determine each other along the path: a network may
return any of them, apart for buttons and for sticks, and the solver sees a velocity.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from nitrogen_train.flow.loss import ErrorKind
from nitrogen_train.flow.path import PathSample, velocity_to

StickPrediction = Literal["velocity", "x_1"]
ButtonPrediction = Literal["velocity", "x_1", "logits"]


@dataclass(frozen=True, kw_only=True)
class Prediction:
    r"""How to read an output whose first values are buttons and whose other values are sticks.

    - `velocity`: :math:`x_1 - x_0`, squared error; what the released policy returns.
    - `x_1`: the actions, squared error. The network need not learn to subtract the noise.
    - `logits`: of the probability that a button is pressed, cross entropy.

    Source:
        x_1 and cross entropy for binary data: arXiv:2602.10420.
    """

    buttons: ButtonPrediction
    sticks: StickPrediction
    num_buttons: int
    """Leading values of an action."""

    def __post_init__(self) -> None:
        for part, known in (("buttons", ButtonPrediction), ("sticks", StickPrediction)):
            if getattr(self, part) not in get_args(known):
                raise ValueError(
                    f"the prediction of {part} must be one of {', '.join(get_args(known))}, "
                    f"got {getattr(self, part)!r}"
                )

    @property
    def button_error(self) -> ErrorKind:
        """What buttons are trained with."""
        return "cross_entropy" if self.buttons == "logits" else "squared"

    def target(self, path: PathSample, x_1: Float[Tensor, "b t a"]) -> Float[Tensor, "b t a"]:
        """Say what the network should return at a point of the path to x_1."""
        button_target, stick_target = (
            path.velocity if kind == "velocity" else x_1 for kind in (self.buttons, self.sticks)
        )
        num = self.num_buttons
        return torch.cat([button_target[..., :num], stick_target[..., num:]], dim=-1)

    def to_velocity(
        self,
        output: Float[Tensor, "b t a"],
        x_t: Float[Tensor, "b t a"],
        time: Float[Tensor, "#b #t"],
    ) -> Float[Tensor, "b t a"]:
        """Find the velocity that the network's output at x_t means; time as in `velocity_to`."""
        num = self.num_buttons
        buttons, sticks = output[..., :num], output[..., num:]
        if self.buttons == "logits":
            buttons = buttons.sigmoid()
        if self.buttons != "velocity":
            buttons = velocity_to(buttons, x_t[..., :num], time)
        if self.sticks != "velocity":
            sticks = velocity_to(sticks, x_t[..., num:], time)
        return torch.cat([buttons, sticks], dim=-1)
