import numpy as np
import pytest
import torch
from tiny_policy import build_tiny_policy

from nitrogen_train.models.nitrogen import NitroGen
from nitrogen_train.models.playing import SamplingSettings, sample_chunks


def sample(policy: NitroGen, *, game_id: int, guidance_scale: float) -> np.ndarray:
    size = policy.image_size
    shape = (3, policy.num_frames, 3, size, size)
    frames = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    noise_shape = (3, policy.action_horizon, policy.action_space.action_dim)
    return sample_chunks(
        policy,
        frames,
        frame_mask=np.ones(shape[:2], bool),
        game_ids=[game_id] * 3,
        noise=torch.randn(noise_shape, generator=torch.Generator().manual_seed(0)),
        # One step: what is drawn is a straight line in the scale.
        settings=SamplingSettings(num_sampling_steps=1, guidance_scale=guidance_scale),
    )


def test_guidance_extends_the_line_from_unconditional_to_conditional() -> None:
    policy = build_tiny_policy(games=("chase", "flee")).eval()

    without = sample(policy, game_id=0, guidance_scale=1.0)
    followed = sample(policy, game_id=2, guidance_scale=1.0)
    guided = sample(policy, game_id=2, guidance_scale=3.0)

    assert np.abs(followed - without).max() > 1e-3
    np.testing.assert_allclose(guided, without + 3 * (followed - without), atol=1e-5)


def test_guidance_without_a_condition_is_refused() -> None:
    with pytest.raises(ValueError, match=r"guidance_scale=2\.0 has nothing to follow"):
        sample(build_tiny_policy().eval(), game_id=0, guidance_scale=2.0)
