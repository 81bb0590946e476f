"""Distribute the path times on which a policy trains.

A distribution maps uniform numbers to path times (an inverse CDF), so that any source of
uniforms can drive it: a generator, or the seed that a sample carries (`sample_uniform`).
"""

import math
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Float64
from torch import Tensor

_NUM_INTERVALS = 2**14


@runtime_checkable
class TimeDistribution(Protocol):
    """A distribution of path times, as an inverse CDF."""

    def __call__(self, uniform: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Map uniform numbers in (0, 1) to path times in [0, 1]."""
        ...

    @property
    def settings(self) -> dict[str, Any]:
        """Return what `build_time_distribution` needs, as JSON can hold it."""
        ...


@dataclass(frozen=True, kw_only=True)
class ShiftedBeta:
    r"""Path times :math:`s\,(1 - \mathrm{Beta}(\alpha, \beta))`.

    With NitroGen's (1.6, 0.8, 0.999) most times lie near the noise: median 0.28, mean 0.33.

    Source:
        Black et al. 2024, arXiv:2410.24164, appendix B; values from ng.pt's config.
    """

    alpha: float
    """First exponent of the Beta distribution, at least 0.5."""
    beta: float
    """Second exponent of the Beta distribution, at least 0.5."""
    scale: float
    """The largest path time, in (0, 1]."""

    def __post_init__(self) -> None:
        if min(self.alpha, self.beta) < 0.5:
            raise ValueError(f"alpha={self.alpha} and beta={self.beta} must be at least 0.5")
        if not 0 < self.scale <= 1:
            raise ValueError(f"scale={self.scale} must lie in (0, 1]")

    @property
    def settings(self) -> dict[str, Any]:
        """Return what `build_time_distribution` needs, as JSON can hold it."""
        return {"kind": "shifted_beta", **asdict(self)}

    def __call__(self, uniform: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Map uniform numbers in (0, 1) to path times in [0, `scale`], decreasing."""
        angle, cdf = _beta_table(self.alpha, self.beta, uniform.device)
        wanted = uniform.double().contiguous()
        right = torch.searchsorted(cdf, wanted).clamp(1, _NUM_INTERVALS)
        below, above = cdf[right - 1], cdf[right]
        share = (wanted - below) / (above - below)
        quantile_angle = torch.lerp(angle[right - 1], angle[right], share)
        # 1 - x = cos^2 keeps its precision where x is close to 1.
        return (self.scale * quantile_angle.cos().square()).to(uniform.dtype)


@dataclass(frozen=True, kw_only=True)
class Uniform:
    """Path times spread evenly over [0, `scale`]."""

    scale: float
    """The largest path time, in (0, 1]."""

    def __post_init__(self) -> None:
        if not 0 < self.scale <= 1:
            raise ValueError(f"scale={self.scale} must lie in (0, 1]")

    @property
    def settings(self) -> dict[str, Any]:
        """Return what `build_time_distribution` needs, as JSON can hold it."""
        return {"kind": "uniform", **asdict(self)}

    def __call__(self, uniform: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Map uniform numbers in (0, 1) to path times in (0, `scale`)."""
        return self.scale * uniform


@dataclass(frozen=True, kw_only=True)
class LogitNormal:
    r"""Path times :math:`\mathrm{sigmoid}(\mathcal N(\mu, \sigma^2))`.

    Source:
        Esser et al. 2024, arXiv:2403.03206, section 3.1.
    """

    mean: float
    """Mean of the logit; below 0 most times lie near the noise."""
    std: float
    """Standard deviation of the logit, more than 0."""

    def __post_init__(self) -> None:
        if self.std <= 0:
            raise ValueError(f"std={self.std} must be more than 0")

    @property
    def settings(self) -> dict[str, Any]:
        """Return what `build_time_distribution` needs, as JSON can hold it."""
        return {"kind": "logit_normal", **asdict(self)}

    def __call__(self, uniform: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Map uniform numbers in (0, 1) to path times in (0, 1), increasing."""
        normal = torch.erfinv(2 * uniform - 1) * math.sqrt(2)
        return torch.sigmoid(self.mean + self.std * normal)


def build_time_distribution(settings: dict[str, Any]) -> TimeDistribution:
    """Rebuild a distribution from its `settings`.

    Raises:
        ValueError: If there is no such kind.
    """
    values = dict(settings)
    kind = values.pop("kind", None)
    if kind not in _KINDS:
        raise ValueError(f"unknown kind of path times {kind!r}; known: {', '.join(_KINDS)}")
    return _KINDS[kind](**values)


_KINDS = {"shifted_beta": ShiftedBeta, "uniform": Uniform, "logit_normal": LogitNormal}


@lru_cache(maxsize=16)
def _beta_table(
    alpha: float, beta: float, device: torch.device
) -> tuple[Float64[Tensor, " k"], Float64[Tensor, " k"]]:
    """Tabulate the Beta CDF over an angle, x = sin^2(angle), where its density is bounded."""
    angle = torch.linspace(0, math.pi / 2, _NUM_INTERVALS + 1, dtype=torch.float64)
    density = angle.sin() ** (2 * alpha - 1) * angle.cos().clamp(min=0) ** (2 * beta - 1)
    cdf = torch.cat([angle.new_zeros(1), torch.cumulative_trapezoid(density)])
    return angle.to(device), (cdf / cdf[-1]).to(device)
