"""Training of the locator: stopped and continued, it learns the same; what it ships is used."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from data_tools.watching.locate_pads import PadDetector
from nitrogen_train.overlay_reader import locator_batches, locator_scenes
from nitrogen_train.overlay_reader.train_locator import LocatorSettings, ship_locator, train_locator

pytestmark = pytest.mark.slow


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocatorSettings:
    for module in (locator_scenes, locator_batches):
        monkeypatch.setattr(module, "CHUNK", 2)
    return LocatorSettings(
        videos=(), out_dir=tmp_path / "whole", num_scenes=2, num_validation_scenes=4, max_steps=3,
        batch_size=1, workers=1, save_every_n_steps=2,
    )  # fmt: skip


def test_a_run_that_was_stopped_goes_on_as_if_it_was_not(
    settings: LocatorSettings, tmp_path: Path
) -> None:
    whole = train_locator(settings)
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "scenes").symlink_to(tmp_path / "whole" / "scenes")
    parts = replace(settings, out_dir=tmp_path / "parts")
    train_locator(replace(parts, max_steps=3, save_every_n_steps=1))

    again = train_locator(parts)

    for name, value in whole.state_dict().items():
        assert torch.allclose(again.state_dict()[name], value, atol=1e-6), name


def test_what_is_shipped_is_what_the_search_opens(
    settings: LocatorSettings, tmp_path: Path
) -> None:
    train_locator(settings)

    scores = ship_locator(settings, tmp_path / "weights", command="train")

    detector = PadDetector(tmp_path / "weights" / "locator.onnx")
    assert detector.threshold == scores.threshold >= 0.5
