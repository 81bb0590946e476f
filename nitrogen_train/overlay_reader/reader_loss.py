"""Measure what the networks that read a pad have still to learn.

layout: cross entropy of the cells, presence, sizes, travels
buttons: cross entropy of how far each is pressed
sticks: cross entropy of the cell, distance of the mean place, clicks
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from nitrogen_train.overlay_reader.pad_crops import HEAT_STRIDE, LAYOUT_STRIDE, STICK_SIDE
from nitrogen_train.overlay_reader.reader_networks import (
    PadReaderNetworks,
    find_offset,
)

_LAYOUT_SPREAD, _STICK_SPREAD = 0.8, 0.7
"""Standard deviations of targets, in cells."""


@dataclass(frozen=True, eq=False)
class PadBatch:
    """What is learned from at once."""

    views: Float[Tensor, "b 7 160 256"]
    places: Float[Tensor, "b 17 2"]
    """NaN for what is not drawn."""
    sizes: Float[Tensor, "b 17 2"]
    travels: Float[Tensor, "b 2"]
    """0 where there is no stick."""
    presence: Float[Tensor, "b 19"]
    button_patches: Float[Tensor, "n 9 32 32"]
    button_kinds: Int[Tensor, " n"]
    button_values: Float[Tensor, " n"]
    stick_patches: Float[Tensor, "m 9 64 64"]
    stick_offsets: Float[Tensor, "m 2"]
    """Pixels of the crop from the patch's middle to the cap's."""
    stick_clicks: Float[Tensor, " m"]
    """NaN where clicks are not drawn."""


@dataclass(frozen=True, eq=False)
class ReaderLosses:
    """Parts of the loss."""

    place: Tensor
    presence: Tensor
    size: Tensor
    button: Tensor
    stick: Tensor
    click: Tensor

    @property
    def total(self) -> Tensor:
        """Weigh the parts; each network has its own."""
        layout = self.place + self.presence + 0.2 * self.size
        return layout + 4 * self.button + self.stick + 0.5 * self.click


def measure_losses(networks: PadReaderNetworks, batch: PadBatch) -> ReaderLosses:
    """Measure the losses of a batch."""
    heat, presence, sizes, travels = (each.float() for each in networks.layout(batch.views))
    is_drawn = ~batch.places.isnan().any(dim=2)
    place = _spread_entropy(heat, batch.places / LAYOUT_STRIDE, _LAYOUT_SPREAD)[is_drawn].mean()
    pressed = networks.button(batch.button_patches, batch.button_kinds).float()
    stick_heat, clicks = (each.float() for each in networks.stick(batch.stick_patches))
    middles = (batch.stick_offsets + STICK_SIDE / 2) / HEAT_STRIDE
    cells = _spread_entropy(stick_heat[:, None], middles[:, None], _STICK_SPREAD).mean()
    distance = F.smooth_l1_loss(find_offset(stick_heat), batch.stick_offsets)
    has_click = ~batch.stick_clicks.isnan()
    return ReaderLosses(
        place=place,
        presence=F.binary_cross_entropy_with_logits(presence, batch.presence),
        size=_size_error(sizes, travels, batch, is_drawn),
        button=F.binary_cross_entropy_with_logits(pressed, batch.button_values),
        stick=cells + 0.2 * distance,
        click=F.binary_cross_entropy_with_logits(
            clicks[has_click], batch.stick_clicks[has_click].clamp(0, 1)
        )
        if has_click.any()
        else clicks.sum() * 0,
    )


def _spread_entropy(
    heat: Float[Tensor, "b c h w"], places: Float[Tensor, "b c 2"], spread: float
) -> Float[Tensor, "b c"]:
    """Measure the cross entropy of cells with a target that is spread around a place."""
    rows, columns = (torch.arange(n, device=heat.device) + 0.5 for n in heat.shape[-2:])
    places = places.nan_to_num()
    across = torch.exp(-(((columns - places[..., :1]) / spread) ** 2) / 2)
    along = torch.exp(-(((rows - places[..., 1:]) / spread) ** 2) / 2)
    target = along[..., :, None] * across[..., None, :]
    target = target / target.sum(dim=(-1, -2), keepdim=True).clamp_min(1e-9)
    return -(target * heat.flatten(2).log_softmax(dim=2).reshape(heat.shape)).sum(dim=(-1, -2))


def _size_error(
    sizes: Float[Tensor, "b 34 40 64"],
    travels: Float[Tensor, "b 2"],
    batch: PadBatch,
    is_drawn: Tensor,
) -> Tensor:
    """Measure the error of sizes at the true places, and of travels, by logarithms."""
    count, controls, height, width = (len(sizes), sizes.shape[1] // 2, *sizes.shape[2:])
    cells = (batch.places.nan_to_num() / LAYOUT_STRIDE).long()
    cells = cells[..., 1].clamp(0, height - 1) * width + cells[..., 0].clamp(0, width - 1)
    maps = sizes.reshape(count, 2, controls, height * width)
    index = cells[:, None, :, None].expand(count, 2, controls, 1)
    found = maps.gather(3, index)[..., 0].transpose(1, 2)
    wanted = batch.sizes.nan_to_num(1.0).clamp_min(1.0).log()
    moves = batch.travels > 0
    error = F.l1_loss(found[is_drawn], wanted[is_drawn])
    if moves.any():
        error = error + F.l1_loss(travels[moves], batch.travels[moves].clamp_min(0.5).log())
    return error
