"""The networks that read pads, and what they have still to learn: identities."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_pads import make_pad_scene

from nitrogen_train.overlay_reader.pad_batches import join_samples, sample_scene
from nitrogen_train.overlay_reader.placed_controls import PLACED
from nitrogen_train.overlay_reader.reader_loss import (
    PadBatch,
    _size_error,
    _spread_entropy,
    measure_losses,
)
from nitrogen_train.overlay_reader.reader_networks import PadReaderNetworks, find_offset


@pytest.fixture(scope="module")
def batch() -> PadBatch:
    rng = np.random.default_rng(0)
    return join_samples([sample_scene(rng, make_pad_scene(seed)) for seed in (0, 1)])


def spread(x: float, y: float, width: float = 0.8) -> torch.Tensor:
    """Logits of a normal distribution over cells around a place."""
    rows, columns = torch.arange(40) + 0.5, torch.arange(64) + 0.5
    off = (columns[None] - x) ** 2 + (rows[:, None] - y) ** 2
    return (-off / (2 * width**2))[None, None]


def test_entropy_is_lowest_where_the_place_is_and_as_wide_as_its_target() -> None:
    place = torch.tensor([[[20.3, 11.6]]])

    def measure(heat: torch.Tensor) -> float:
        return _spread_entropy(heat, place, 0.8).item()

    lowest = measure(spread(20.3, 11.6))

    weights = spread(20.3, 11.6).flatten().softmax(0)
    assert lowest == pytest.approx(float(-(weights * weights.clamp_min(1e-30).log()).sum()))
    for other in (spread(20.8, 11.6), spread(20.3, 11.1), spread(11.6, 20.3)):
        assert measure(other) > lowest + 0.1
    for width in (0.6, 1.1):
        assert measure(spread(20.3, 11.6, width)) > lowest + 0.05


def test_the_entropy_of_what_has_no_place_is_a_number() -> None:
    heat = torch.zeros(1, 1, 40, 64, requires_grad=True)

    _spread_entropy(heat, torch.full((1, 1, 2), torch.nan), 0.8).sum().backward()

    assert heat.grad is not None
    assert heat.grad.isfinite().all()


@pytest.mark.parametrize(("row", "column"), [(0, 0), (16, 3), (31, 31)])
def test_a_sharp_heat_map_is_at_its_cell(row: int, column: int) -> None:
    heat = torch.full((2, 32, 32), -60.0)
    heat[0, row, column], heat[1, column, row] = 60, 60

    offsets = find_offset(heat)

    x, y = 2 * column - 31, 2 * row - 31
    assert offsets.tolist() == [pytest.approx([x, y]), pytest.approx([y, x])]


def test_a_heat_map_of_two_cells_is_between_them() -> None:
    heat = torch.full((1, 32, 32), -60.0)
    heat[0, 10, 10], heat[0, 20, 14] = 0, 0

    assert find_offset(heat)[0].tolist() == pytest.approx([2 * 12 - 31, 2 * 15 - 31])


def test_true_sizes_and_travels_have_no_error_and_others_that_of_their_logarithm(
    batch: PadBatch,
) -> None:
    is_drawn = ~batch.places.isnan().any(dim=2)
    sizes = torch.full((2, 2, len(PLACED), 40, 64), 9.0)
    for pad, control in is_drawn.nonzero().tolist():
        column, row = (batch.places[pad, control] / 4).long().tolist()
        sizes[pad, :, control, row, column] = batch.sizes[pad, control].log()
    maps, travels = sizes.reshape(2, -1, 40, 64), batch.travels.clamp_min(1).log()

    assert is_drawn.sum() == 2 * 3
    assert _size_error(maps, travels, batch, is_drawn).item() == pytest.approx(0, abs=1e-6)
    doubled = _size_error(maps + np.log(2), travels, batch, is_drawn).item()
    assert doubled == pytest.approx(np.log(2), abs=1e-5)
    further = _size_error(maps, travels + np.log(3), batch, is_drawn).item()
    assert further == pytest.approx(np.log(3), abs=1e-5)


@pytest.mark.parametrize("has_clicks", [True, False])
def test_every_weight_learns_from_a_batch(batch: PadBatch, has_clicks: bool) -> None:
    torch.manual_seed(0)
    networks = PadReaderNetworks()
    none = torch.full_like(batch.stick_clicks, torch.nan)

    losses = measure_losses(networks, batch if has_clicks else replace(batch, stick_clicks=none))
    losses.total.backward()

    assert losses.total.isfinite()
    assert (losses.click.item() > 0) == has_clicks
    for name, each in networks.named_parameters():
        assert each.grad is not None, name
        assert each.grad.isfinite().all(), name
