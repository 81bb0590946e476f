"""Define the straight path from noise to actions, its loss, and what a network predicts on it.

    actions x_1, noise x_0, time ─► x_t, velocity ─► network ─► prediction ─► velocity ─► loss

The one convention of the whole project: `time` 0 is noise, 1 is data,
x_t = (1 - time) x_0 + time x_1, velocity = x_1 - x_0, and the solver integrates from 0 to 1.

The loss is one mean over everything that a step supervises. A sum of errors travels with the count
that divides it, so that micro-batches and ranks can share one divisor, the count of the whole
global batch, and give the gradients of one batch.

Velocity, x_1 and the logits of a binary x_1 determine each other along the path: a network may
return any of them, apart for buttons and for sticks, and the solver sees a velocity.

Random numbers belong to a sample, not to a place in a batch: each is a hash of (seed, stream,
index): the same wherever and with whatever else the sample is batched, on any device. Streams keep
the uses of one seed apart.

Sampling follows the velocity field from noise at time 0 to actions at time 1.

    noise ─► velocity, with and without the condition ─► guided velocity ─► a step ─► … ─► actions

Classifier-free guidance leans on what the condition changes.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15


def sample_uniform(
    seed: Int64[Tensor, " b"],
    shape: Sequence[int],
    *,
    stream: str,
    generator: torch.Generator | None = None,
) -> Float32[Tensor, "b ..."]:
    """Draw uniform numbers in the open interval (0, 1).

    Args:
        seed: One per sample, any 64-bit integer.
        shape: Of the numbers of one sample; () gives one number each.
        stream: What the numbers are for; different names give independent numbers.
        generator: If given, the numbers come from it, and neither seed nor stream matters.
    """
    if generator is not None:
        bits = torch.randint(
            2**23, (len(seed), *shape), generator=generator, device=generator.device
        )
        return _to_uniform(bits.to(seed.device))
    start = _mix(_mix(seed) + _stream_key(stream))
    index = torch.arange(1, math.prod(shape) + 1, device=seed.device)
    bits = _mix(start[:, None] + index * _signed(_GOLDEN))
    return _to_uniform(_shift_right(bits, 41)).reshape(len(seed), *shape)


def sample_normal(
    seed: Int64[Tensor, " b"],
    shape: Sequence[int],
    *,
    stream: str,
    generator: torch.Generator | None = None,
) -> Float32[Tensor, "b ..."]:
    """Draw standard normal numbers, within 5.4 of zero; arguments as in `sample_uniform`."""
    uniform = sample_uniform(seed, shape, stream=stream, generator=generator)
    return torch.erfinv(2 * uniform - 1) * math.sqrt(2)


def _to_uniform(bits: Int64[Tensor, "*shape"]) -> Float32[Tensor, "*shape"]:
    # 23 bits and a half are exact in float32, and reach neither 0 nor 1.
    return (bits.float() + 0.5) * 2.0**-23


def _mix(x: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
    """Finalize a 64-bit hash as SplitMix64 does (Steele et al. 2014); products wrap."""
    x = (x ^ _shift_right(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shift_right(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shift_right(x, 31)


def _shift_right(x: Int64[Tensor, "*shape"], bits: int) -> Int64[Tensor, "*shape"]:
    """Shift zeros in from the left; `>>` on signed integers copies the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _signed(value: int) -> int:
    """Reinterpret an unsigned 64-bit integer as a signed one, the only kind torch computes with."""
    return value - 2**64 if value >= 2**63 else value


def _stream_key(stream: str) -> int:
    digest = hashlib.blake2b(stream.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


ErrorKind = Literal["squared", "absolute", "cross_entropy"]
"""Kinds of errors; cross entropy takes logits as predictions and probabilities as targets."""

StickPrediction = Literal["velocity", "x_1"]
ButtonPrediction = Literal["velocity", "x_1", "logits"]


@dataclass(frozen=True, kw_only=True)
class PathSample:
    """A point on the path and the direction in which the path leaves it."""

    x_t: Float[Tensor, "b t a"]
    """Between noise and actions."""
    velocity: Float[Tensor, "b t a"]
    """d x_t / d time: the regression target."""


def sample_path(
    x_0: Float[Tensor, "b t a"],
    x_1: Float[Tensor, "b t a"],
    time: Float[Tensor, " b"] | Float[Tensor, "b t"],
) -> PathSample:
    r"""Interpolate noise and actions at the given times.

    Computes :math:`x_t = (1 - t)\,x_0 + t\,x_1` and :math:`u_t = x_1 - x_0`.

    Args:
        x_0: Noise, standard normal.
        x_1: Actions in model space.
        time: Path time in [0, 1], one per sample or one per row; 0 is noise, 1 is data.

    Returns:
        The point on the path and its velocity.

    Source:
        Lipman et al. 2024, arXiv:2412.06264 (linear / conditional-OT path).

    Example:
        >>> import torch
        >>> x_0, x_1 = torch.zeros(1, 2, 3), torch.ones(1, 2, 3)
        >>> sample_path(x_0, x_1, torch.tensor([0.25])).x_t[0, 0, 0].item()
        0.25
    """
    weight = time.reshape(len(time), -1, 1)
    return PathSample(x_t=(1 - weight) * x_0 + weight * x_1, velocity=x_1 - x_0)


def velocity_to(
    x_1: Float[Tensor, "b t a"], x_t: Float[Tensor, "b t a"], time: Float[Tensor, "#b #t"]
) -> Float[Tensor, "b t a"]:
    r"""Find the velocity that leads from x_t to x_1 at time 1.

    Computes :math:`u_t = (x_1 - x_t) / (1 - t)`, which for the x_1 of the path is its velocity: a
    network that predicts x_1 predicts the velocity too.

    Args:
        x_1: Actions in model space.
        x_t: A point at `time`.
        time: Path time in [0, 1], one per sample and row, or one for all; within 0.001 of 1 it is
            taken as 0.999, the latest time that training draws.

    Example:
        >>> import torch
        >>> x_t, x_1 = torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
        >>> velocity_to(x_1, x_t, torch.tensor([[0.75]])).item()
        4.0
    """
    return (x_1 - x_t) / (1 - time[..., None]).clamp(min=1e-3)


def masked_error_sums(
    predicted: Float[Tensor, "b t a"],
    target: Float[Tensor, "b t a"],
    mask: Bool[Tensor, "b t a"],
    *,
    kind: ErrorKind = "squared",
    weight: Float[Tensor, " a"] | None = None,
) -> Float[Tensor, " b"]:
    """Sum each sample's errors, in float32 or better, over the values where the mask is True.

    Values outside the mask do not count, whatever they are, infinite and NaN included.

    Args:
        predicted: What a network returned.
        target: What it should have returned.
        mask: True where supervised.
        kind: The error of one value.
        weight: Factor on the errors of each control, at least 0; None is 1.
    """
    predicted = predicted.float() if predicted.itemsize < 4 else predicted
    # Before the error as well as after it: the gradient of what is infinite is NaN even times 0.
    predicted, target = (values.masked_fill(~mask, 0) for values in (predicted, target))
    errors = _ERRORS[kind](predicted, target).masked_fill(~mask, 0)
    return (errors if weight is None else errors * weight).sum(dim=(1, 2))


def masked_mean_loss(
    error_sum: Float[Tensor, ""], num_valid: Int64[Tensor, ""]
) -> Float[Tensor, ""]:
    r"""Divide a sum of errors by a count of valid values; no valid value gives 0.

    Args:
        error_sum: Of `masked_error_sums` over one micro-batch.
        num_valid: True values of the mask over the whole step: the losses of its micro-batches
            then add up to the masked mean over the step.
    """
    return error_sum / num_valid.clamp(min=1)


def _squared(predicted: Tensor, target: Tensor) -> Tensor:
    return (predicted - target).square()


def _absolute(predicted: Tensor, target: Tensor) -> Tensor:
    return (predicted - target).abs()


def _cross_entropy(predicted: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(predicted, target, reduction="none")


_ERRORS: dict[ErrorKind, Callable[[Tensor, Tensor], Tensor]] = {
    "squared": _squared,
    "absolute": _absolute,
    "cross_entropy": _cross_entropy,
}


@dataclass(frozen=True, kw_only=True)
class Prediction:
    r"""The reading of an output whose first values are buttons and whose other values are sticks.

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
        """Return the kind of error that trains buttons."""
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


def guide_velocity(
    conditional: Float[Tensor, "b t a"],
    unconditional: Float[Tensor, "b t a"],
    *,
    guidance_scale: float,
) -> Float[Tensor, "b t a"]:
    r"""Extrapolate from the unconditional to the conditional velocity.

    Computes :math:`v = v_u + w\,(v_c - v_u)`: 0 is unconditional, 1 conditional, above 1 guided.
    NitroGen's `cfg_scale` s is `guidance_scale` 1 + s.

    Source:
        Ho and Salimans 2022, arXiv:2207.12598.
    """
    return unconditional + guidance_scale * (conditional - unconditional)


@dataclass(frozen=True, kw_only=True)
class Inpainting:
    """Actions that a chunk should agree with, where they have weight."""

    actions: Float[Tensor, "b t a"]
    """In model space."""
    weights: Float[Tensor, " t"]
    """Of each row, from 0, free, to 1, decided."""
    max_scale: float = 5.0
    """Limit on the pull, which grows without bounds near the noise."""


def steer_velocity(
    velocity: Callable[[Float[Tensor, "b t a"], float], Float[Tensor, "b t a"]],
    x_t: Float[Tensor, "b t a"],
    time: float,
    inpainting: Inpainting,
) -> Float[Tensor, "b t a"]:
    r"""Pull the velocity towards chunks that agree with some actions, by the network's own slope.

    Computes :math:`v + \min(\beta, \frac{t^2 + (1-t)^2}{t\,(1-t)})\,J^T (w\,(a - \hat x_1))`, where
    :math:`\hat x_1 = x_t + (1-t)\,v` is the chunk that the velocity leads to, J its derivative by
    x_t, a the actions, w their weights and :math:`\beta` the limit.

    Args:
        velocity: Called as `velocity(x_t, time)`.
        x_t: A point at `time`.
        time: Path time in [0, 1).
        inpainting: What to agree with.

    Source:
        Real-time chunking, arXiv:2506.07339, equations 2 to 4; this is its weight, times 0 to 1.
    """
    with torch.enable_grad():
        x = x_t.detach().requires_grad_()
        predicted = velocity(x, time)
        x_1 = x + (1 - time) * predicted
        actions, weights = (each.to(x) for each in (inpainting.actions, inpainting.weights))
        error = (actions - x_1.detach()) * weights[:, None]
        (pull,) = torch.autograd.grad(x_1, x, error)
    scale = inpainting.max_scale
    if time > 0:
        scale = min(scale, (time**2 + (1 - time) ** 2) / (time * (1 - time)))
    return predicted.detach() + scale * pull


def list_sampling_times(num_sampling_steps: int) -> tuple[float, ...]:
    """List the path times at which `solve_flow` evaluates the velocity.

    Raises:
        ValueError: If there is not at least one step.
    """
    if num_sampling_steps < 1:
        raise ValueError(f"num_sampling_steps must be at least 1, got {num_sampling_steps}")
    return tuple(step / num_sampling_steps for step in range(num_sampling_steps))


def solve_flow(
    velocity: Callable[[Float[Tensor, "b t a"], float], Float[Tensor, "b t a"]],
    x_0: Float[Tensor, "b t a"],
    *,
    num_sampling_steps: int,
) -> Float[Tensor, "b t a"]:
    r"""Integrate :math:`\dot x_t = v(x_t, t)` with equal Euler steps.

    Args:
        velocity: Called as `velocity(x_t, time)`, once for each of `list_sampling_times`.
        x_0: Where to start, at time 0.
        num_sampling_steps: Steps.

    Returns:
        The point at time 1.
    """
    x_t = x_0
    for time in list_sampling_times(num_sampling_steps):
        x_t = x_t + velocity(x_t, time) / num_sampling_steps
    return x_t
