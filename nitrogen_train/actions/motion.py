"""Axes that hold what happened during a row, such as a mouse's way."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32


@dataclass(frozen=True, kw_only=True)
class MotionScale:
    r"""Motion during a row to an axis in [-1, 1], fine near zero and coarse far from it.

    Computes the mu-law :math:`v = \operatorname{sgn}(m) \ln(1 + \mu |m| / L) / \ln(1 + \mu)`, with
    :math:`L` the limit; a motion beyond it is clipped to it.

    Example:
        >>> scale = MotionScale(limit=512.0, mu=255.0)
        >>> values = scale.encode(np.array([0.0, 1.0, -4.0, 64.0, 512.0, 2000.0]))
        >>> [f"{value:.2f}" for value in values]
        ['0.00', '0.07', '-0.20', '0.63', '1.00', '1.00']
    """

    limit: float
    """The motion that is 1 on the axis."""
    mu: float
    """Above 0; the larger, the finer near zero."""

    def encode(self, motion: Float[np.ndarray, "*rows"]) -> Float32[np.ndarray, "*rows"]:
        """Scale motions, beyond the limit clipped."""
        share = np.minimum(np.abs(motion) / self.limit, 1.0)
        size = np.log1p(self.mu * share) / np.log1p(self.mu)
        return (np.sign(motion) * size).astype(np.float32)

    def decode(self, values: Float[np.ndarray, "*rows"]) -> Float[np.ndarray, "*rows"]:
        """Undo `encode`: the motion of an axis in [-1, 1]."""
        size = np.expm1(np.abs(values.astype(np.float64)) * np.log1p(self.mu)) / self.mu
        return np.sign(values) * self.limit * size
