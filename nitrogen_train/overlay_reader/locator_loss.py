"""Measure how wrong the finder and the judge are on a batch of scenes."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from nitrogen_train.overlay_reader.locator_network import (
    STRIDE,
    PadLocator,
    cut_out,
    find_places,
    grow,
    make_middles,
    measure_overlap,
    place_edges,
)

_IS_PAD, _IS_NONE = 0.5, 0.3
"""Overlap with a pad from which on a place is one, and below which it is none."""
_WITH_EDGES = 0.3
_JITTERS = 2
_FOUND = 3
_OTHERS = 1
_NEAR = 0.35
"""Heat around a middle from which on a cell learns the edges."""


@dataclass(frozen=True)
class LocatorLosses:
    """Parts of the loss."""

    heat: Tensor
    reach: Tensor
    score: Tensor
    edges: Tensor

    @property
    def total(self) -> Tensor:
        """Return what is learned from."""
        return self.heat + self.reach + self.score + 4 * self.edges


def measure_losses(
    locator: PadLocator,
    statistics: Float[Tensor, "b 6 360 640"],
    pads: Float[Tensor, "b p 4"],
    others: Float[Tensor, "b o 4"],
    generator: torch.Generator,
) -> LocatorLosses:
    """Measure the losses of a batch.

    Args:
        locator: The networks.
        statistics: In [0, 1].
        pads: Boxes of pads, NaN where there are fewer.
        others: Boxes of other things, NaN where there are fewer.
        generator: Decides where the judge looks.
    """
    heat, boxes = locator.finder(statistics)
    target, owners = _draw_heat(pads)
    reach = _measure_reach(boxes, target, owners)
    places = _choose_places(heat.detach(), boxes.detach(), pads, others, generator)
    score, edges = _judge(locator, statistics, places, pads)
    return LocatorLosses(_measure_heat(heat, target), reach, score, edges)


def _draw_heat(
    pads: Float[Tensor, "b p 4"],
) -> tuple[Float[Tensor, "b 45 80"], Float[Tensor, "b 45 80 4"]]:
    """Draw how near each cell is to the middle of a pad, and the box of the nearest."""
    middles = make_middles(pads.device)[None, None]
    middle, size = (pads[..., :2] + pads[..., 2:]) / 2, pads[..., 2:] - pads[..., :2]
    sigma = (0.1 * size).clamp_min(0.6 * STRIDE)[:, :, None, None]
    away = (middles - middle[:, :, None, None]) / sigma
    near = torch.exp(-0.5 * away.square().sum(-1)).nan_to_num(0.0)
    # The cell in which the middle lies is 1, wherever in it that is.
    peak = near.amax((2, 3), keepdim=True).clamp_min(1e-6)
    near = near / torch.where(peak > 0.2, peak, torch.ones_like(peak))
    best, which = near.max(dim=1)
    owner = pads.gather(1, which.flatten(1)[..., None].expand(-1, -1, 4))
    return best, owner.view(*best.shape, 4)


def _measure_heat(heat: Tensor, target: Tensor) -> Tensor:
    """Return the focal loss of CornerNet (arXiv:1808.01244), by the number of pads."""
    is_middle = target > 0.999
    log_yes, log_no = F.logsigmoid(heat), F.logsigmoid(-heat)
    probability = heat.sigmoid()
    at_middles = -((1 - probability) ** 2) * log_yes
    elsewhere = -((1 - target) ** 4) * probability**2 * log_no
    total = torch.where(is_middle, at_middles, elsewhere).sum()
    return total / is_middle.sum().clamp_min(1)


def _measure_reach(boxes: Tensor, target: Tensor, owners: Tensor) -> Tensor:
    weights = torch.where(target > _NEAR, target, torch.zeros_like(target))
    overlap = measure_overlap(boxes, owners.nan_to_num(0.0))
    return ((1 - overlap) * weights).sum() / weights.sum().clamp_min(1)


def _choose_places(
    heat: Tensor, boxes: Tensor, pads: Tensor, others: Tensor, generator: torch.Generator
) -> Float[Tensor, "b k 4"]:
    """Choose where the judge looks: near pads, where the finder found some, at other things."""
    near = _shake(pads.repeat_interleave(_JITTERS, dim=1), generator, 0.12)
    found = find_places(heat, boxes, _FOUND).boxes
    order = torch.rand(others.shape[:2], generator=generator).argsort(1)[:, :_OTHERS]
    chosen = others.gather(1, order[..., None].expand(-1, -1, 4))
    return torch.cat([near, found, _shake(chosen, generator, 0.2)], dim=1)


def _shake(boxes: Tensor, generator: torch.Generator, strength: float) -> Tensor:
    size = boxes[..., 2:] - boxes[..., :2]
    middle = (boxes[..., 2:] + boxes[..., :2]) / 2
    shift, scale = (torch.randn(middle.shape, generator=generator) * strength for _ in range(2))
    middle, half = middle + size * shift, size * scale.exp() / 2
    return torch.cat([middle - half, middle + half], dim=-1)


def _judge(
    locator: PadLocator, statistics: Tensor, places: Tensor, pads: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the loss of telling pads, and that of their edges."""
    is_there = ~places.isnan().any(-1)
    overlaps = measure_overlap(places[:, :, None], pads[:, None]).nan_to_num(0.0)
    overlap, which = overlaps.max(dim=2)
    truth = pads.gather(1, which[..., None].expand(-1, -1, 4)).nan_to_num(0.0)[is_there]
    overlap = overlap[is_there]
    regions = grow(places).nan_to_num(0.0)
    crops = cut_out(statistics, regions)[is_there]
    regions = regions[is_there]
    logits, columns, rows = locator.judge(crops)
    is_told = (overlap >= _IS_PAD) | (overlap < _IS_NONE)
    wrong = F.binary_cross_entropy_with_logits(
        logits, (overlap >= _IS_PAD).float(), reduction="none"
    )
    score = (wrong * is_told).sum() / is_told.sum().clamp_min(1)
    has_edges = overlap >= _WITH_EDGES
    if not has_edges.any():
        return score, columns.sum() * 0 + rows.sum() * 0
    columns, rows, regions, truth = (each[has_edges] for each in (columns, rows, regions, truth))
    found = place_edges(columns, rows, regions)
    sharp = _measure_sharpness(columns, rows, regions, truth)
    return score, (1 - measure_overlap(found, truth)).mean() + 0.1 * sharp


def _measure_sharpness(columns: Tensor, rows: Tensor, regions: Tensor, truth: Tensor) -> Tensor:
    """Return how improbable the true columns and rows are held."""
    start, size = regions[:, :2], regions[:, 2:] - regions[:, :2]
    inner = (truth.view(-1, 2, 2) - start[:, None]) / size[:, None]
    losses = []
    for axis, logits in enumerate((columns, rows)):
        count = logits.shape[-1]
        place = inner[:, :, axis] * count - 0.5
        points = torch.arange(count, dtype=torch.float32, device=logits.device)
        wanted = (1 - (points - place[..., None].clamp(0, count - 1)).abs()).clamp_min(0)
        losses.append(-(wanted * logits.log_softmax(-1)).sum(-1).mean())
    return (losses[0] + losses[1]) / 2
