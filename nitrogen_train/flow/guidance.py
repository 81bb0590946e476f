"""Classifier-free guidance: lean on what the condition changes."""

from jaxtyping import Float
from torch import Tensor


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
