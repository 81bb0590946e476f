"""An ng.pt read: the same numbers, nothing forgotten, and written back."""

from pathlib import Path
from typing import Any

import pytest
import torch
from plain_nitrogen import PlainNitroGen, Shape, build_ng

from nitrogen_train import NitroGen
from nitrogen_train.models.baselines import Regression
from nitrogen_train.models.dit import Tokens
from nitrogen_train.models.load import load_policy
from nitrogen_train.pretrained.ng_pt import build_ng_checkpoint

SHAPES = {
    "heads that all differ": Shape(),
    "other sizes": Shape(
        width=16, vision_depth=1, vision_heads=8, vision_hidden=59, patch=8, grid=3,
        mixer_layers=2, mixer_heads=4, dit_layers=2, dit_heads=1, horizon=3, table=3,
    ),
    "several frames": Shape(frames=3),
    "no mixer": Shape(mixer_layers=0),
    "games": Shape(games=2),
}  # fmt: skip
GAMES = ["chess", "pong"]


def load(checkpoint: dict[str, Any], folder: Path, **arguments: Any) -> NitroGen:
    torch.save(checkpoint, folder / "ng.pt")
    return NitroGen.from_pretrained(folder / "ng.pt", **{"vision_num_heads": 3} | arguments)


def load_shape(shape: Shape, folder: Path) -> NitroGen:
    games = GAMES if shape.games else None
    return load(build_ng(shape), folder, vision_num_heads=shape.vision_heads, games=games)


def equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Compare two checkpoints to the bit."""
    values = [{k: v for k, v in c.items() if k != "model"} for c in (one, other)]
    models = one["model"], other["model"]
    return (
        values[0] == values[1]
        and models[0].keys() == models[1].keys()
        and all(
            torch.equal(tensor, models[1][name]) and tensor.dtype == models[1][name].dtype
            for name, tensor in models[0].items()
        )
    )


@torch.no_grad()
@pytest.mark.parametrize("name", SHAPES)
def test_the_policy_computes_what_the_file_means(name: str, tmp_path: Path) -> None:
    shape = SHAPES[name]
    plain = PlainNitroGen(build_ng(shape)["model"], shape)
    policy = load_shape(shape, tmp_path)
    generator = torch.Generator().manual_seed(1)
    size = shape.patch * shape.grid
    frames = torch.randint(0, 256, (2, shape.frames, 3, size, size), generator=generator).byte()
    x_t = torch.randn(2, shape.horizon, 25, generator=generator)
    time = torch.tensor([0.1, 0.7])
    game_id = torch.tensor([2, 0]) if shape.games else None

    tokens = policy.encode_frames(frames, game_id=game_id)

    expected = plain.encode(frames, game_id)
    torch.testing.assert_close(tokens.values, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        policy.predict_velocity(x_t, time, tokens),
        plain.velocity(x_t, time, expected),
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.parametrize("name", SHAPES)
def test_what_was_read_is_written_back_to_the_bit(name: str, tmp_path: Path) -> None:
    policy = load_shape(SHAPES[name], tmp_path)

    written = build_ng_checkpoint(policy.state_dict(), policy.ng_header or {})

    assert equal(written, build_ng(SHAPES[name]))


def test_the_way_through_a_policy_folder_loses_nothing(tmp_path: Path) -> None:
    policy = load_shape(Shape(), tmp_path)

    policy.save_pretrained(tmp_path / "folder")
    again = NitroGen.from_pretrained(tmp_path / "folder")

    assert again.settings == policy.settings
    assert equal(build_ng_checkpoint(again.state_dict(), again.ng_header or {}), build_ng(Shape()))


def test_half_precision_and_old_buffers_come_back_as_they_were(tmp_path: Path) -> None:
    checkpoint = build_ng(Shape())
    model = checkpoint["model"]
    for name, dtype in (
        ("model.proj_out_2.weight", torch.bfloat16),
        ("action_encoder.W1.W", torch.float16),
    ):
        model[name] = model[name].to(dtype)
    model["vision_encoder.embeddings.position_ids"] = torch.arange(4)[None]

    policy = load(checkpoint, tmp_path)

    assert {p.dtype for p in policy.parameters()} == {torch.float32}
    assert equal(build_ng_checkpoint(policy.state_dict(), policy.ng_header or {}), checkpoint)


def test_written_tensors_are_whole_and_hold_nothing_else(tmp_path: Path) -> None:
    policy = load_shape(Shape(), tmp_path)

    written = build_ng_checkpoint(policy.state_dict(), policy.ng_header or {})

    for name, tensor in written["model"].items():
        assert tensor.is_contiguous(), name
        assert tensor.untyped_storage().nbytes() == tensor.nbytes, name


def test_settings_follow_from_the_config_and_the_tensors(tmp_path: Path) -> None:
    settings = load_shape(SHAPES["other sizes"], tmp_path).settings

    assert settings["encoder"]["image_size"] == 24
    assert settings["encoder"]["options"]["mlp_ratio"] * 16 == pytest.approx(59)
    assert settings["action_horizon"] == 3
    assert settings["path_time"] == {
        "kind": "shifted_beta", "alpha": 1.5, "beta": 1.0, "scale": 0.99,
    }  # fmt: skip
    assert settings["dit"]["dropout"] == 0.2


@torch.no_grad()
def test_the_old_layout_has_the_sticks_first(tmp_path: Path) -> None:
    checkpoint = build_ng(Shape(), old_layout=True)
    plain = PlainNitroGen(checkpoint["model"], Shape())
    tokens = torch.randn(1, 4, 24)
    old = torch.randn(1, 5, 25)
    time = torch.tensor([0.5])

    policy = load(checkpoint, tmp_path)
    x_t = torch.cat([old[..., 4:], old[..., :4]], -1)
    velocity = policy.predict_velocity(x_t, time, Tokens(values=tokens))

    expected = plain.velocity(old, time, tokens)
    torch.testing.assert_close(velocity[..., 21:], expected[..., :4], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(velocity[..., :21], expected[..., 4:], rtol=1e-5, atol=1e-5)
    assert equal(build_ng_checkpoint(policy.state_dict(), policy.ng_header or {}), checkpoint)


def test_a_folder_that_holds_an_ng_file_is_read(tmp_path: Path) -> None:
    expected = load_shape(Shape(), tmp_path)

    policy = NitroGen.from_pretrained(tmp_path, vision_num_heads=3)

    assert policy.settings == expected.settings


def test_the_heads_come_from_a_name_only_if_it_is_the_encoders(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"does not tell .* give ng.vision_num_heads=N"):
        load(build_ng(Shape()), tmp_path, vision_num_heads=None)
    with pytest.raises(ValueError, match="vision_num_heads=7 must divide the width 24"):
        load(build_ng(Shape()), tmp_path, vision_num_heads=7)


@pytest.mark.full
def test_any_command_reads_a_file_whose_encoder_has_its_published_width(tmp_path: Path) -> None:
    shape = Shape(width=1024, vision_depth=1, mixer_layers=0, dit_layers=1)
    torch.save(build_ng(shape), tmp_path / "ng.pt")

    policy = load_policy(tmp_path)

    assert isinstance(policy, NitroGen)
    assert policy.settings["encoder"]["options"]["num_heads"] == 16


def test_another_kind_of_policy_does_not_come_from_an_ng_file(tmp_path: Path) -> None:
    load_shape(Shape(), tmp_path)

    with pytest.raises(ValueError, match="of the kind Regression, got 'NitroGen'"):
        Regression.from_pretrained(tmp_path / "ng.pt", vision_num_heads=3)


@pytest.mark.parametrize("games", [None, ["chess"], []])
def test_games_without_their_names_are_refused(games: list[str] | None, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"tells 2 games apart .*: give ng.games="):
        load(build_ng(Shape(games=2)), tmp_path, games=games)


def test_games_that_a_checkpoint_does_not_know_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not told the game: leave games out"):
        load(build_ng(Shape()), tmp_path, games=GAMES)
