"""What tells presses learns from what each scene shows of them, and from no button that is held."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from made_pads import make_pad_scene

from nitrogen_train.actions import GAMEPAD
from nitrogen_train.overlay_reader.pad_batches import store_scenes
from nitrogen_train.overlay_reader.placed_controls import BUTTONS, PLACED
from nitrogen_train.overlay_reader.reader_networks import ButtonNetwork, PressNetwork
from nitrogen_train.overlay_reader.train_presses import PressBatches, measure_f1

torch.manual_seed(0)
BUTTON = ButtonNetwork()


def write_scene(path: Path, *, held: str | None = None) -> Path:
    """A scene whose buttons are pressed in one frame of three, but one that is held."""
    scene = make_pad_scene(0)
    buttons = np.zeros_like(scene.buttons)
    buttons[::3] = 1
    if held is not None:
        buttons[:, GAMEPAD.buttons.index(held)] = 1
    store_scenes(path, [replace(scene, buttons=buttons)])
    return path


def test_a_batch_follows_from_seed_and_step(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "a.npz")
    first, again, other = (
        PressBatches([path], BUTTON, seed=3).make_batch(step) for step in (5, 5, 6)
    )

    for name, value in vars(first).items():
        assert torch.equal(value, getattr(again, name)), name
    assert not torch.equal(first.patches, other.patches)
    (worker,) = [next(iter(PressBatches([path], BUTTON, seed=3, first_step=5)))]
    assert torch.equal(worker.patches, first.patches)


def test_patches_lie_beside_the_press_of_their_own_button(tmp_path: Path) -> None:
    batch = PressBatches([write_scene(tmp_path / "a.npz")], BUTTON, seed=0).make_batch(0)

    assert 0.1 < batch.values.mean() < 0.6
    for kind in batch.kinds.unique():
        mine = batch.kinds == kind
        # All of a button's rows have one press, and no two buttons have the same.
        assert (batch.presses[mine] == batch.presses[mine][:1]).all()
        assert (batch.usual[mine] == batch.usual[mine][:1]).all()
        assert not (batch.presses[~mine] == batch.presses[mine][:1]).all(dim=(1, 2, 3)).any()


def test_a_button_that_is_held_is_not_learned_from(tmp_path: Path) -> None:
    scene = make_pad_scene(0)
    held = next(n for n in BUTTONS if not np.isnan(scene.places[PLACED.index(n)]).any())
    whole, without = (
        {
            int(kind)
            for step in range(12)
            for kind in PressBatches([path], BUTTON, seed=0).make_batch(step).kinds
        }
        for path in (
            write_scene(tmp_path / "a.npz"),
            write_scene(tmp_path / "b.npz", held=held),
        )
    )

    assert whole - without == {BUTTONS.index(held)}


def test_what_is_like_a_press_is_measured_within_windows() -> None:
    network = PressNetwork()
    press = torch.zeros(1, 3, 32, 32)
    press[:, 0, 12:20, 12:20] = 0.5
    patches = torch.zeros(3, 9, 32, 32)
    patches[0, :3], patches[1, :3] = press[0], -press[0]

    share, likeness = network._compare(patches, press.expand(3, -1, -1, -1))[:, :8].split(4, dim=1)

    assert torch.allclose(share, torch.tensor([[1.0], [-1.0], [0.0]]).expand(3, 4), atol=0.02)
    assert torch.allclose(likeness, share, atol=0.02)
    assert measure_f1(torch.tensor([2.0, -1.0, 3.0]), torch.tensor([1.0, 1.0, 0.0])) == 0.5
