"""Training of what reads pads: stopped and continued, it learns the same; what it ships is used."""

import json
import sys
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from made_pads import make_pad_scene, write_play

from data_tools.watching.any_skin.pad_networks import PadNetworks
from nitrogen_train.overlay_reader import __main__ as command
from nitrogen_train.overlay_reader import pad_batches
from nitrogen_train.overlay_reader.pad_batches import join_samples, sample_scene, store_scenes
from nitrogen_train.overlay_reader.reader_networks import PadReaderNetworks, PressNetwork
from nitrogen_train.overlay_reader.train_presses import PressBatch, PressBatches
from nitrogen_train.overlay_reader.train_reader import (
    ReaderScores,
    ReaderSettings,
    export_reader,
    ship_reader,
    train_reader,
)
from nitrogen_train.training.checkpoints import read_checkpoint

FILES = ["button.onnx", "layout.onnx", "press.onnx", "reader.json", "stick.onnx"]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReaderSettings:
    """A run of three steps on three scenes that are there already."""
    monkeypatch.setattr(pad_batches, "FILE", 1)
    for name, first, count in (("pads", 0, 3), ("validation", 10, 2)):
        (tmp_path / "run" / name).mkdir(parents=True)
        for number in range(count):
            path = tmp_path / "run" / name / f"{number:05d}.npz"
            store_scenes(path, [make_pad_scene(first + number)])
    return ReaderSettings(
        videos=(), out_dir=tmp_path / "run", num_scenes=3, num_validation_scenes=2, max_steps=3,
        num_press_steps=3, workers=1, save_every_n_steps=1,
    )  # fmt: skip


def find_file_of_last_step(settings: ReaderSettings) -> Path:
    order = np.random.default_rng((settings.seed, 0)).permutation(settings.num_scenes)
    return settings.out_dir / "pads" / f"{order[-1]:05d}.npz"


def join_weights(trained: tuple[PadReaderNetworks, PressNetwork]) -> dict[str, torch.Tensor]:
    networks, press = trained
    return {**networks.state_dict(), **press.state_dict(prefix="press.")}


def test_a_run_that_broke_down_goes_on_as_if_it_had_not(
    settings: ReaderSettings, tmp_path: Path
) -> None:
    parts = replace(settings, out_dir=tmp_path / "parts")
    (tmp_path / "parts" / "pads").mkdir(parents=True)
    for path in (settings.out_dir / "pads").iterdir():
        (tmp_path / "parts" / "pads" / path.name).write_bytes(path.read_bytes())
    whole = join_weights(train_reader(settings))
    last = find_file_of_last_step(parts)
    content = last.read_bytes()
    last.write_bytes(b"nothing that can be read")

    with pytest.raises(ValueError, match="pickled"):
        train_reader(parts)
    step = read_checkpoint(tmp_path / "parts" / "last.ckpt")["global_step"]
    last.write_bytes(content)
    again = join_weights(train_reader(parts))

    assert 0 < step < 3
    for name, value in whole.items():
        assert torch.allclose(again[name], value, atol=1e-6), name


def test_a_run_that_is_done_is_not_trained_further(settings: ReaderSettings) -> None:
    whole = join_weights(train_reader(settings))
    for path in (settings.out_dir / "pads").iterdir():
        path.write_bytes(b"nothing that can be read")

    again = join_weights(train_reader(settings))

    assert all(torch.equal(again[name], value) for name, value in whole.items())


def test_what_is_shipped_is_what_the_reader_opens(settings: ReaderSettings, tmp_path: Path) -> None:
    train_reader(settings)

    scores = ship_reader(settings, tmp_path / "weights", command="python -m that")

    assert sorted(path.name for path in (tmp_path / "weights").iterdir()) == FILES
    facts = PadNetworks(tmp_path / "weights").facts
    assert facts == json.loads((tmp_path / "weights" / "reader.json").read_text())
    assert facts["command"] == "python -m that"
    assert facts["steps"] == 3
    assert facts["settings"]["seed"] == settings.seed
    assert facts["settings"]["max_steps"] == 3
    assert facts["parameters"] > 100_000
    assert facts["validation"] == vars(scores)
    assert set(facts["validation"]) == {field.name for field in fields(ReaderScores)}
    for share in ("misplaced", "presence", "button_accuracy", "click_accuracy"):
        assert 0 <= facts["validation"][share] <= 1


def vars_of(batch: PressBatch) -> dict[str, torch.Tensor]:
    return {name: value for name, value in vars(batch).items() if name != "values"}


def test_the_shipped_graphs_give_what_the_networks_give(tmp_path: Path) -> None:
    torch.manual_seed(0)
    networks, press, rng = PadReaderNetworks(), PressNetwork(), np.random.default_rng(0)
    batch = join_samples([sample_scene(rng, make_pad_scene(0))])
    store_scenes(tmp_path / "scene.npz", [make_pad_scene(0)])
    presses = PressBatches([tmp_path / "scene.npz"], networks.button, seed=0).make_batch(0)
    with torch.no_grad():
        # Means and variances of the patches, which are folded into the graphs.
        networks.train()
        networks.button(batch.button_patches, batch.button_kinds)
        networks.stick(batch.stick_patches)
        press(**vars_of(presses))
        networks.eval()
        press.eval()
        wanted = {
            "layout": networks.layout(batch.views),
            "button": (networks.button(batch.button_patches, batch.button_kinds),),
            "press": (press(**vars_of(presses)),),
            "stick": networks.stick(batch.stick_patches),
        }

    export_reader(networks, press, tmp_path / "weights")

    given = {
        "layout": {"views": batch.views},
        "button": {"patches": batch.button_patches, "kinds": batch.button_kinds},
        "press": vars_of(presses),
        "stick": {"patches": batch.stick_patches},
    }
    for name, inputs in given.items():
        session = onnxruntime.InferenceSession(
            tmp_path / "weights" / f"{name}.onnx", providers=["CPUExecutionProvider"]
        )
        outputs = session.run(None, {each: value.numpy() for each, value in inputs.items()})
        for output, value in zip(outputs, wanted[name], strict=True):
            assert np.asarray(output).shape == value.shape
            assert np.allclose(np.asarray(output), value.numpy(), atol=1e-4), name


def test_the_command_trains_what_reads_alone(
    settings: ReaderSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tiny = partial(
        ReaderSettings,
        num_scenes=3,
        num_validation_scenes=2,
        max_steps=2,
        num_press_steps=1,
        save_every_n_steps=1,
    )
    monkeypatch.setattr(command, "ReaderSettings", tiny)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "read").symlink_to(settings.out_dir)
    video = tmp_path / "a video.mp4"
    video.write_bytes(b"")
    arguments = [str(video), "--out", str(tmp_path / "out"), "--only", "read", "--workers", "1"]
    arguments += ["--weights", str(tmp_path / "weights")]
    monkeypatch.setattr(sys, "argv", ["command", *arguments])

    command.main()

    assert sorted(path.name for path in (tmp_path / "weights").iterdir()) == FILES
    facts = PadNetworks(tmp_path / "weights").facts
    assert facts["command"].startswith(f"python -m nitrogen_train.overlay_reader '{video}' --out ")
    assert facts["steps"] == 2
    assert str(facts["validation"]["presence"]) in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["read"]


def test_a_video_that_is_not_there_is_told_of_before_all_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["command", str(tmp_path / "none.mp4"), "--out", str(out)])

    with pytest.raises(SystemExit, match="2"):
        command.main()

    assert "none.mp4: there is no such video" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.full
def test_the_command_begins_at_videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pad_batches, "FILE", 2)
    tiny = partial(
        ReaderSettings, num_scenes=2, num_validation_scenes=2, max_steps=1, num_press_steps=1
    )
    monkeypatch.setattr(command, "ReaderSettings", tiny)
    video = tmp_path / "a.mp4"
    write_play(video, 30)
    arguments = [str(video), "--out", str(tmp_path / "out"), "--only", "read", "--workers", "1"]
    arguments += ["--weights", str(tmp_path / "weights"), "--presets", "drawn-1000007"]
    monkeypatch.setattr(sys, "argv", ["command", *arguments])

    command.main()

    assert PadNetworks(tmp_path / "weights").facts["steps"] == 1
