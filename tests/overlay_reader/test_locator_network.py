"""The networks that find pads: geometry, what is learned from, and the shipped graph."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from nitrogen_train.overlay_reader.locator_loss import measure_losses
from nitrogen_train.overlay_reader.locator_network import (
    PadLocator,
    cut_out,
    find_places,
    grow,
    measure_overlap,
    place_edges,
)
from nitrogen_train.overlay_reader.train_locator import export_locator


def test_what_is_cut_out_of_a_ramp_is_a_ramp() -> None:
    ramp = (torch.arange(640) + 0.5).expand(1, 6, 360, 640)
    region = torch.tensor([[[100.0, 50.0, 292.0, 178.0]]])

    crop = cut_out(ramp, region)

    assert crop.shape == (1, 1, 6, 128, 192)
    assert torch.allclose(crop[0, 0, 0, 64], torch.arange(192) + 100.5, atol=1e-2)


def test_a_grown_box_keeps_its_middle() -> None:
    grown = grow(torch.tensor([[10.0, 20.0, 50.0, 40.0]]))

    assert grown.tolist() == [[0.0, 15.0, 60.0, 45.0]]


def test_certain_edges_are_where_they_are_said_to_be() -> None:
    columns, rows = torch.full((1, 2, 48), -50.0), torch.full((1, 2, 32), -50.0)
    columns[0, 0, 8], columns[0, 1, 39], rows[0, 0, 4], rows[0, 1, 27] = 50, 50, 50, 50

    box = place_edges(columns, rows, torch.tensor([[0.0, 0.0, 96.0, 64.0]]))

    assert torch.allclose(box, torch.tensor([[17.0, 9.0, 79.0, 55.0]]))


def test_overlap_is_that_of_areas() -> None:
    box = torch.tensor([0.0, 0.0, 10.0, 10.0])

    assert measure_overlap(box, box).item() == pytest.approx(1)
    assert measure_overlap(box, torch.tensor([5.0, 0.0, 15.0, 10.0])).item() == pytest.approx(1 / 3)
    assert measure_overlap(box, torch.tensor([20.0, 0.0, 30.0, 10.0])).item() == 0


def test_neighbours_of_a_hot_cell_are_no_places_of_their_own() -> None:
    heat = torch.full((1, 45, 80), -9.0)
    heat[0, 20, 30], heat[0, 20, 31], heat[0, 5, 70] = 4.0, 3.0, 2.0
    boxes = torch.arange(45 * 80.0)[None, :, None].expand(1, -1, 4).reshape(1, 45, 80, 4)

    places = find_places(heat, boxes, 2)

    assert places.boxes[0, :, 0].tolist() == [20 * 80 + 30, 5 * 80 + 70]


def test_every_part_learns_also_where_there_is_no_pad() -> None:
    torch.manual_seed(0)
    pads = torch.full((2, 2, 4), torch.nan)
    pads[0, 0] = torch.tensor([100.0, 100.0, 200.0, 160.0])
    others = torch.full((2, 10, 4), torch.nan)
    others[:, 0] = torch.tensor([300.0, 100.0, 350.0, 160.0])
    for number in (2, 1):
        locator = PadLocator()
        scenes = torch.rand(2, 6, 360, 640)[-number:]
        losses = measure_losses(
            locator, scenes, pads[-number:], others[-number:], torch.Generator().manual_seed(1)
        )
        losses.total.backward()
        assert losses.total.isfinite()
        assert all(each.grad is not None for each in locator.parameters())


def test_the_shipped_graph_gives_what_the_networks_give(tmp_path: Path) -> None:
    torch.manual_seed(0)
    locator = PadLocator().eval()
    statistics = np.random.default_rng(0).integers(0, 256, (1, 6, 360, 640)).astype(np.uint8)

    export_locator(locator, tmp_path / "locator.onnx")
    session = onnxruntime.InferenceSession(
        tmp_path / "locator.onnx", providers=["CPUExecutionProvider"]
    )
    boxes, confidence = session.run(None, {"statistics": statistics})

    with torch.no_grad():
        wanted = locator(torch.from_numpy(statistics))
    assert np.allclose(np.asarray(boxes), wanted[0].numpy(), atol=0.05)
    assert np.allclose(np.asarray(confidence), wanted[1].numpy(), atol=1e-3)
