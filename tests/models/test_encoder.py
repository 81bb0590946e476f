"""Frames to tokens, through very different networks."""

import pytest
import torch
from torch import Tensor

from nitrogen_train.models.encoder import VisionEncoder

SWIN = {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 1], "window_size": 4}
NETWORKS = {
    "vit with a class token": ("test_vit", 32, {"depth": 1}, 4),
    "vit with a pooling head": (
        "vit_base_patch16_siglip_224",
        32,
        {"depth": 1, "embed_dim": 24, "num_heads": 2},
        4,
    ),
    "channels first": ("resnet10t", 64, {"norm_layer": "groupnorm1", "channels": [8] * 4}, 4),
    "channels last": ("swin_tiny_patch4_window7_224", 64, SWIN, 64),
}


def _frames(num: int, num_frames: int, size: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (num, num_frames, 3, size, size)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("kind", NETWORKS)
def test_any_kind_of_network_gives_tokens_frame_by_frame(kind: str) -> None:
    name, size, options, num_tokens = NETWORKS[kind]
    encoder = VisionEncoder(name=name, image_size=size, width=12, num_frames=2, options=options)

    tokens = encoder(_frames(3, 2, size))

    assert tokens.shape == (3, 2 * num_tokens, 12)
    assert encoder.num_tokens == num_tokens


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_parameter_that_trains_gets_a_gradient(kind: str) -> None:
    name, size, options, _ = NETWORKS[kind]
    encoder = VisionEncoder(name=name, image_size=size, width=12, options=options)

    encoder(_frames(2, 1, size)).square().sum().backward()

    missing = [n for n, p in encoder.named_parameters() if (p.grad is None) == p.requires_grad]
    assert not missing


def test_the_pooling_head_is_kept_and_frozen() -> None:
    name, size, options, _ = NETWORKS["vit with a pooling head"]
    encoder = VisionEncoder(name=name, image_size=size, width=24, options=options)

    frozen = {n.split(".")[0] for n, p in encoder.network.named_parameters() if not p.requires_grad}

    assert frozen == {"attn_pool"}


@pytest.mark.parametrize("kind", ["vit with a class token", "channels first", "channels last"])
def test_tokens_are_in_reading_order(kind: str) -> None:
    name, size, options, num_tokens = NETWORKS[kind]
    encoder = VisionEncoder(name=name, image_size=size, width=12, options=options).eval()
    frames = _frames(1, 1, size)
    changed = frames.clone()
    changed[..., -4:, :4] = 255 - changed[..., -4:, :4]

    # A change in the lower left corner moves the token of that corner most.
    difference = (encoder(changed) - encoder(frames))[0].norm(dim=-1)

    side = round(num_tokens**0.5)
    assert difference.argmax() == num_tokens - side


def test_convolutional_tokens_of_equal_cells_differ_by_place() -> None:
    options = {"norm_layer": "groupnorm1", "channels": [8, 8, 8, 8]}
    encoder = VisionEncoder(name="resnet10t", image_size=256, width=8, options=options)
    uniform = torch.full((1, 1, 3, 256, 256), 128, dtype=torch.uint8)

    tokens = encoder(uniform)[0].unflatten(0, (8, 8))
    features = tokens - encoder.position_embedding.unflatten(0, (8, 8))

    # Inside, away from the zero padding, the features alone do not tell the cells apart.
    torch.testing.assert_close(features[3, 3], features[4, 4])
    assert (tokens[3, 3] - tokens[4, 4]).norm() > 0.01


def test_the_order_of_frames_is_seen() -> None:
    name, size, options, num_tokens = NETWORKS["channels first"]
    encoder = VisionEncoder(name=name, image_size=size, width=12, num_frames=2, options=options)
    frames = _frames(1, 1, size).repeat(1, 2, 1, 1, 1)

    older, newer = encoder(frames).split(num_tokens, dim=1)

    assert (older - newer).abs().min() > 0


def test_a_black_and_a_white_pixel_are_minus_one_and_one_for_siglip() -> None:
    name, size, options, _ = NETWORKS["vit with a pooling head"]
    encoder = VisionEncoder(name=name, image_size=size, width=24, options=options)
    seen: list[Tensor] = []
    encoder.network.patch_embed.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    frames = torch.zeros(1, 1, 3, size, size, dtype=torch.uint8)
    frames[..., 0] = 255

    encoder(frames)

    torch.testing.assert_close(seen[0][..., 0], torch.ones(1, 3, size))
    torch.testing.assert_close(seen[0][..., 1:], -torch.ones(1, 3, size, size - 1))


@pytest.mark.parametrize(("num_frames", "size"), [(1, 48), (2, 32)])
def test_frames_of_another_shape_are_refused_with_both_shapes(num_frames: int, size: int) -> None:
    encoder = VisionEncoder(name="test_vit", image_size=32, width=8, options={"depth": 1})

    with pytest.raises(ValueError, match=rf"\(1, 3, 32, 32\), got \({num_frames}, 3, {size}, "):
        encoder(_frames(1, num_frames, size))


@pytest.mark.parametrize(
    ("name", "options", "problem"),
    [
        ("resnet10", {}, "no network 'resnet10'; did you mean resnet10t"),
        ("zzz", {}, r"timm.list_models\(\) lists them"),
        ("hf-hub:somebody/model", {}, "timm has no network"),
        ("test_vit", {"checkpoint_path": "weights.pth"}, "remove checkpoint_path"),
        ("test_vit", {"pretrained": True}, "remove pretrained"),
        ("test_vit", {"num_heads": 7}, "timm cannot build test_vit with .* divisible by num_heads"),
        ("test_vit", {"zap": 1}, "timm cannot build test_vit with .* unexpected keyword .*zap"),
        ("vit_base_patch16_siglip_224", {"patch_size": 0}, "timm cannot build vit_base"),
    ],
)
def test_what_is_not_an_architecture_is_refused(name: str, options: dict, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        VisionEncoder(name=name, image_size=32, width=8, options=options)


def test_a_number_of_frames_is_at_least_one() -> None:
    with pytest.raises(ValueError, match="num_frames must be at least 1, got 0"):
        VisionEncoder(name="test_vit", image_size=32, width=8, num_frames=0)


def test_weights_that_cannot_be_downloaded_leave_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise FileNotFoundError("no connection\nand more")

    monkeypatch.setattr("timm.models._builder.load_pretrained", fail)

    with pytest.raises(OSError, match=r"no connection \(encoder\.pretrained may") as it:
        VisionEncoder(name="test_vit", image_size=160, width=8, pretrained=True)
    assert "\n" not in str(it.value)


@pytest.mark.parametrize(
    ("name", "activation"),
    [("vit_base_patch16_siglip_224", "gelu"), ("vit_base_patch32_siglip_256", "gelu_tanh")],
)
def test_what_is_saved_says_which_gelu_siglip_has(name: str, activation: str) -> None:
    options = {"depth": 1, "embed_dim": 24, "num_heads": 2}

    encoder = VisionEncoder(name=name, image_size=64, width=24, options=options)

    assert encoder.settings["options"] == options | {"act_layer": activation}
