"""Compiled and in bfloat16; without the shape checks, which torch.compile cannot trace."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    from nitrogen_train.batch import PolicyBatch
    from nitrogen_train.models.nitrogen import NitroGen

pytestmark = [
    pytest.mark.unchecked,
    # torch's own, of the kind that its next release mends.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
BuildPolicy = Callable[..., "NitroGen"]
BuildBatch = Callable[..., "PolicyBatch"]


@pytest.fixture(autouse=True)
def forget_compiled_code() -> None:
    torch._dynamo.reset()


@pytest.mark.parametrize("button_prediction", ["velocity", "logits"])
def test_sampling_is_one_graph_with_the_same_numbers(
    build_policy: BuildPolicy, build_batch: BuildBatch, button_prediction: str
) -> None:
    policy, batch = build_policy(button_prediction=button_prediction), build_batch(2)
    arguments = {"noise": torch.randn(2, 4, 25), "num_sampling_steps": 2}

    with torch.no_grad():
        tokens = torch.compile(policy.encode_frames, fullgraph=True, backend="aot_eager")(
            batch.frames
        )
        compiled = torch.compile(policy.generate_actions, fullgraph=True, backend="aot_eager")
        chunk = compiled(tokens, **arguments)
        expected_tokens = policy.encode_frames(batch.frames)

    torch.testing.assert_close(tokens.values, expected_tokens.values)
    torch.testing.assert_close(
        chunk.values, policy.generate_actions(expected_tokens, **arguments).values
    )


@pytest.mark.full
def test_the_default_compiler_gives_the_same_numbers(
    build_policy: BuildPolicy, build_batch: BuildBatch
) -> None:
    policy = build_policy()
    batch = build_batch(2)
    with torch.no_grad():
        tokens = policy.encode_frames(batch.frames)
    arguments = {"noise": torch.randn(2, 4, 25), "num_sampling_steps": 1}

    chunk = torch.compile(policy.generate_actions, fullgraph=True)(tokens, **arguments)

    torch.testing.assert_close(chunk.values, policy.generate_actions(tokens, **arguments).values)


def test_a_compiled_loss_has_the_same_gradients(
    build_policy: BuildPolicy, build_batch: BuildBatch
) -> None:
    policy, batch = build_policy(), build_batch(2)
    time, noise = torch.tensor([0.2, 0.7]), torch.randn(2, 4, 25)

    def gradients(compute_loss: Callable) -> list[torch.Tensor]:
        policy.zero_grad()
        compute_loss(batch, time=time, noise=noise).loss.backward()
        return [p.grad.clone() for p in policy.parameters() if p.requires_grad]

    compiled = gradients(torch.compile(policy.compute_loss, fullgraph=True, backend="aot_eager"))

    for ours, expected in zip(compiled, gradients(policy.compute_loss), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("num_sampling_steps", [1, 4, 16])
def test_autocast_to_bfloat16_stays_close(
    build_policy: BuildPolicy, build_batch: BuildBatch, num_sampling_steps: int
) -> None:
    policy, batch = build_policy(), build_batch()
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.mul_(0.3)
    noise = torch.randn(6, 4, 25)

    def play() -> torch.Tensor:
        tokens = policy.encode_frames(batch.frames)
        return policy.generate_actions(
            tokens, noise=noise, num_sampling_steps=num_sampling_steps
        ).values

    exact = play()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded, loss = play(), policy.compute_loss(batch).loss

    # The state of the solver and the loss stay in float32: only the network is rounded.
    assert rounded.dtype == loss.dtype == torch.float32
    assert 0 < (rounded - exact).abs().max() < 0.05 * exact.abs().max()


def test_a_policy_of_bfloat16_weights_trains_and_plays(
    build_policy: BuildPolicy, build_batch: BuildBatch
) -> None:
    policy, batch = build_policy().to(torch.bfloat16), build_batch()
    policy.compute_loss(batch).loss.backward()
    chunk = policy.generate_actions(policy.encode_frames(batch.frames))

    assert all(torch.isfinite(p.grad).all() for p in policy.parameters() if p.requires_grad)
    assert torch.isfinite(chunk.values).all()


@pytest.mark.parametrize("part", ["button", "stick"])
def test_an_unknown_prediction_is_refused(build_policy: BuildPolicy, part: str) -> None:
    with pytest.raises(ValueError, match=f"the prediction of {part}s must be one of velocity, x_1"):
        build_policy(**{f"{part}_prediction": "score"})
