"""Change colour and place of frames at random, in ways that leave the actions right.

All frames of a sample change alike, and by numbers that follow its seed alone: a sample looks the
same in whatever batch, process or resumed run it is trained.
"""

import functools
import math
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from einops import rearrange
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from nitrogen_train.batch import PolicyBatch
from nitrogen_train.flow.path import sample_uniform

# NTSC's luma and two chroma axes, rows of a matrix on RGB.
_YIQ_FROM_RGB = torch.tensor(
    [[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]]
)
_RGB_FROM_YIQ = torch.linalg.inv(_YIQ_FROM_RGB)


@functools.cache
def _colour_axes(device: torch.device) -> tuple[Tensor, Tensor]:
    """Keep the colour axes and their inverse on a device: a copy in each step waits for it."""
    return _YIQ_FROM_RGB.to(device), _RGB_FROM_YIQ.to(device)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Photometric and geometric augmentation of uint8 frames, on the device they are on.

    The colour operations are linear and make one matrix: saturation stretches the chroma plane of
    YIQ and hue turns it, which, unlike a turn in HSV, changes no luma. Rotation and crop make one
    resampling, so that the picture is interpolated once.
    """

    brightness: float
    """Colours are multiplied by 1 ± this, in [0, 1]."""
    contrast: float
    """Distances from the last frame's mean luma are multiplied by 1 ± this, in [0, 1]."""
    saturation: float
    """Distances from grey are multiplied by 1 ± this, in [0, 1]."""
    hue: float
    """Largest turn of the colour circle in either direction, in turns, in [0, 0.5]."""
    rotation_degrees: float
    """Largest rotation in either direction, in [0, 180]; the picture's edge continues outside."""
    crop: float
    """Sides of the crop as a share of the picture's, in (0, 1]; its place is random."""

    def __post_init__(self) -> None:
        limits = {"hue": 0.5, "rotation_degrees": 180.0}
        for item in fields(self):
            value, limit = getattr(self, item.name), limits.get(item.name, 1.0)
            if not 0 <= value <= limit or (item.name == "crop" and value == 0):
                bracket = "(" if item.name == "crop" else "["
                raise ValueError(
                    f"augmentation.{item.name} must lie in {bracket}0, {limit}], got {value}"
                )

    def __call__(self, batch: PolicyBatch) -> PolicyBatch:
        """Augment the frames of a batch."""
        return replace(batch, frames=self.augment_frames(batch.frames, batch.sample_seed))

    @torch.no_grad()
    def augment_frames(
        self, frames: UInt8[Tensor, "b f 3 h w"], seed: Int64[Tensor, " b"]
    ) -> UInt8[Tensor, "b f 3 h w"]:
        """Augment frames.

        Args:
            frames: RGB.
            seed: One per sample.
        """
        # In [-1, 1].
        chance = 2 * sample_uniform(seed, (7,), stream="augmentation") - 1
        # bf16 has fewer levels than a pixel.
        with torch.autocast(frames.device.type, enabled=False):
            pixels = self._resample(frames.float(), chance[:, :3])
            return self._recolour(pixels, chance[:, 3:]).round().clamp(0, 255).byte()

    def _resample(
        self, pixels: Float[Tensor, "b f 3 h w"], chance: Float[Tensor, "b 3"]
    ) -> Float[Tensor, "b f 3 h w"]:
        num_frames, height, width = pixels.shape[1], *pixels.shape[-2:]
        angle = math.radians(self.rotation_degrees) * chance[:, 0]
        cos, sin = self.crop * angle.cos(), self.crop * angle.sin()
        centre = (1 - self.crop) * chance[:, 1:]
        # From the place in the result to the place in the picture, both with corners at ±1.
        across = torch.stack([cos, -sin * height / width, centre[:, 0]], dim=-1)
        down = torch.stack([sin * width / height, cos, centre[:, 1]], dim=-1)
        size = [len(pixels), 1, height, width]
        grid = F.affine_grid(torch.stack([across, down], dim=1), size, align_corners=False)
        flat = rearrange(pixels, "b f c h w -> b (f c) h w")
        flat = F.grid_sample(flat, grid, padding_mode="border", align_corners=False)
        return rearrange(flat, "b (f c) h w -> b f c h w", f=num_frames)

    def _recolour(
        self, pixels: Float[Tensor, "b f 3 h w"], chance: Float[Tensor, "b 4"]
    ) -> Float[Tensor, "b f 3 h w"]:
        brightness, contrast, saturation = (
            1 + most * by
            for most, by in zip(
                (self.brightness, self.contrast, self.saturation),
                chance[:, :3].unbind(dim=-1),
                strict=True,
            )
        )
        to_yiq, to_rgb = _colour_axes(chance.device)
        chroma = _turn(2 * math.pi * self.hue * chance[:, 3], stretch=saturation)
        gain = (brightness * contrast)[:, None, None]
        matrix = gain * (to_rgb @ chroma @ to_yiq)
        # Earlier frames may be missing, which is black.
        mean_luma = pixels[:, -1].mean(dim=(2, 3)) @ to_yiq[0]
        offset = brightness * (1 - contrast) * mean_luma
        mixed = torch.einsum("bij, bfjhw -> bfihw", matrix, pixels)
        return mixed + offset[:, None, None, None, None]


def _turn(angle: Float[Tensor, " b"], *, stretch: Float[Tensor, " b"]) -> Float[Tensor, "b 3 3"]:
    """Turn and stretch the plane of the second and third axis."""
    cos, sin = stretch * angle.cos(), stretch * angle.sin()
    one, zero = torch.ones_like(angle), torch.zeros_like(angle)
    rows = [[one, zero, zero], [zero, cos, -sin], [zero, sin, cos]]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=1)
