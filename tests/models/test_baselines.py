"""Policies without a flow, which researchers compare with."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from nitrogen_train.batch import PolicyBatch
from nitrogen_train.models.baselines import Recurrent, Regression
from nitrogen_train.models.dit import DiT, Mixer
from nitrogen_train.models.encoder import VisionEncoder
from nitrogen_train.models.load import load_policy
from nitrogen_train.models.visual_policy import VisualPolicy

BuildBatch = Callable[..., PolicyBatch]
KINDS = ["one pass", "two passes", "recurrent"]


def build(kind: str, *, num_frames: int = 1, games: tuple[str, ...] = ()) -> VisualPolicy:
    torch.manual_seed(0)
    sizes = {"width": 16, "num_heads": 2, "num_layers": 1, "dropout": 0.0}
    options = {"norm_layer": "groupnorm1", "stem_width": 8, "channels": [8, 8, 16, 16]}
    seeing = {
        "encoder": VisionEncoder(
            name="resnet10t", image_size=32, width=16, num_frames=num_frames, options=options
        ),
        "mixer": Mixer(**sizes),
        "action_space": "gamepad",
        "action_horizon": 4,
        "games": games,
    }
    if kind == "recurrent":
        return Recurrent(hidden_dim=24, **seeing).eval()
    dit = DiT(**sizes | {"num_layers": 2}, max_action_horizon=8)
    return Regression(dit=dit, refine=kind == "two passes", **seeing).eval()


def _values(policy: VisualPolicy, batch: PolicyBatch) -> Tensor:
    tokens = policy.encode_frames(batch.frames, frame_mask=batch.frame_mask, game_id=batch.game_id)
    return policy.generate_actions(tokens).values


@pytest.mark.parametrize("kind", KINDS)
def test_one_batch_can_be_learned_and_played_back(kind: str, build_batch: BuildBatch) -> None:
    policy, batch = build(kind).train(), build_batch(2)
    # A dark and a bright picture, and for each an action that is the same in all rows.
    frames = torch.tensor([20, 230], dtype=torch.uint8)[:, None, None, None, None]
    batch = replace(
        batch,
        frames=frames.expand_as(batch.frames),
        actions=batch.actions[:, :1].round().expand_as(batch.actions),
        action_mask=torch.ones_like(batch.action_mask),
    )
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-2)

    for _ in range(40):
        optimizer.zero_grad()
        policy.compute_loss(batch).loss.backward()
        optimizer.step()

    values = _values(policy.eval(), batch)
    assert ((values > 0.5) == (batch.actions > 0.5)).float().mean() > 0.95


@pytest.mark.parametrize("kind", KINDS)
def test_every_trainable_parameter_gets_a_gradient(kind: str, build_batch: BuildBatch) -> None:
    policy = build(kind, games=("a",), num_frames=3)

    policy.compute_loss(build_batch(num_frames=3, num_games=1)).loss.backward()

    assert not [n for n, p in policy.named_parameters() if p.requires_grad and p.grad is None]


def test_regression_compares_logits_and_axes_with_what_was_recorded(
    build_batch: BuildBatch,
) -> None:
    policy, batch = build("one pass"), build_batch()

    output = policy.compute_loss(batch)

    # What it plays is what it was compared with: probabilities and axes.
    values, mask = _values(policy, batch), batch.action_mask
    buttons, sticks = (
        part[mask_part]
        for part, mask_part in zip(values.split([21, 4], -1), mask.split([21, 4], -1), strict=True)
    )
    expected_buttons, expected_sticks = (
        part[mask_part]
        for part, mask_part in zip(
            batch.actions.split([21, 4], -1), mask.split([21, 4], -1), strict=True
        )
    )
    torch.testing.assert_close(
        output.error_sum_buttons / output.num_valid_buttons,
        F.binary_cross_entropy(buttons, expected_buttons),
    )
    torch.testing.assert_close(
        output.error_sum_sticks / output.num_valid_sticks, F.mse_loss(sticks, expected_sticks)
    )


def test_the_second_pass_sees_the_first_ones_result(build_batch: BuildBatch) -> None:
    batch = build_batch()
    one, two = build("one pass"), build("two passes")
    one.load_state_dict(two.state_dict())

    assert not torch.allclose(_values(two, batch), _values(one, batch), atol=1e-4)


def test_the_second_pass_is_trained_on_noisy_recorded_actions(build_batch: BuildBatch) -> None:
    policy, batch = build("two passes"), build_batch()

    def loss(seed: int, batch: PolicyBatch = batch) -> Tensor:
        return policy.compute_loss(batch, generator=torch.Generator().manual_seed(seed)).loss

    assert torch.equal(loss(1), loss(1))
    assert not torch.equal(loss(1), loss(2))
    # Without a generator the noise follows the samples.
    assert torch.equal(policy.compute_loss(batch).loss, policy.compute_loss(batch).loss)


@pytest.mark.parametrize("kind", KINDS)
def test_missing_frames_change_nothing(kind: str, build_batch: BuildBatch) -> None:
    policy, batch = build(kind, num_frames=3), build_batch(num_frames=3)
    mask = torch.tensor([[False, True, True]]).expand(len(batch), -1).clone()
    noise = torch.randint_like(batch.frames, 0, 256)
    other = torch.where(mask[..., None, None, None], batch.frames, noise)

    first = _values(policy, replace(batch, frame_mask=mask))
    second = _values(policy, replace(batch, frame_mask=mask, frames=other))

    torch.testing.assert_close(first, second)
    assert not torch.allclose(first, _values(policy, batch), atol=1e-4)


def test_the_memory_knows_the_order_of_frames(build_batch: BuildBatch) -> None:
    policy, batch = build("recurrent", num_frames=3), build_batch(num_frames=3)

    swapped = replace(batch, frames=batch.frames[:, [1, 0, 2]])

    assert not torch.allclose(_values(policy, batch), _values(policy, swapped), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_game_is_told(kind: str, build_batch: BuildBatch) -> None:
    policy, batch = build(kind, games=("a", "b")), build_batch(2)

    first, second = (
        _values(policy, replace(batch, game_id=torch.full((2,), game_id))) for game_id in (1, 2)
    )

    assert not torch.equal(first, second)


@pytest.mark.parametrize("kind", KINDS)
def test_any_kind_of_policy_is_loaded_as_it_was_saved(
    kind: str, build_batch: BuildBatch, tmp_path: Path
) -> None:
    policy, batch = build(kind, games=("a",)), build_batch()

    policy.save_pretrained(tmp_path / "policy")
    loaded = load_policy(tmp_path / "policy").eval()

    assert type(loaded) is type(policy)
    assert loaded.settings == policy.settings
    assert torch.equal(_values(loaded, batch), _values(policy, batch))


@pytest.mark.parametrize("kind", KINDS)
def test_what_needs_a_flow_is_refused(kind: str, build_batch: BuildBatch) -> None:
    policy = build(kind)
    tokens = policy.encode_frames(build_batch().frames)

    with pytest.raises(ValueError, match="cannot be guided: leave guidance_scale at 1"):
        policy.generate_actions(tokens, guidance_scale=2.0)
    with pytest.raises(ValueError, match="cannot continue decided actions"):
        policy.generate_actions(tokens, committed_actions=torch.zeros(6, 1, 25))
