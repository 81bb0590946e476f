"""Training of the locator: stopped and continued, it learns the same; what it ships is used."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from data_tools.watching.any_skin.locate_pads import PadDetector
from nitrogen_train.overlay_reader import locator_batches, locator_scenes
from nitrogen_train.overlay_reader.locator_batches import SceneBatch, SceneBatches
from nitrogen_train.overlay_reader.train_locator import LocatorSettings, ship_locator, train_locator
from nitrogen_train.training.checkpoints import read_checkpoint

pytestmark = pytest.mark.slow


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocatorSettings:
    for module in (locator_scenes, locator_batches):
        monkeypatch.setattr(module, "CHUNK", 2)
    return LocatorSettings(
        videos=(), out_dir=tmp_path / "whole", num_scenes=2, num_validation_scenes=4, max_steps=3,
        batch_size=1, workers=1, save_every_n_steps=2,
    )  # fmt: skip


def test_a_run_that_broke_down_goes_on_as_if_it_had_not(
    settings: LocatorSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(settings, save_every_n_steps=1)
    whole = train_locator(settings).state_dict()
    parts = replace(settings, out_dir=tmp_path / "parts")
    shutil.copytree(tmp_path / "whole" / "scenes", tmp_path / "parts" / "scenes")
    make_batch = SceneBatches.make_batch

    def break_down(batches: SceneBatches, step: int) -> SceneBatch:
        if step == 2:
            raise OSError("the disk is gone")
        return make_batch(batches, step)

    monkeypatch.setattr(SceneBatches, "make_batch", break_down)
    with pytest.raises(OSError, match="disk is gone"):
        train_locator(parts)
    monkeypatch.setattr(SceneBatches, "make_batch", make_batch)
    step = read_checkpoint(tmp_path / "parts" / "last.ckpt")["global_step"]
    again = train_locator(parts).state_dict()

    assert 0 < step < settings.max_steps
    for name, value in whole.items():
        assert torch.allclose(again[name], value, atol=1e-6), name


def test_what_is_shipped_is_what_the_search_opens(
    settings: LocatorSettings, tmp_path: Path
) -> None:
    train_locator(settings)

    scores = ship_locator(settings, tmp_path / "weights", command="train")

    detector = PadDetector(tmp_path / "weights" / "locator.onnx")
    assert detector.threshold == scores.threshold
    assert 0 <= scores.threshold <= 1
