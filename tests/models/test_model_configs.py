"""Every shipped policy, at its full size, without its weights: shapes alone."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from nitrogen_train.batch import PolicyBatch, WindowId
from nitrogen_train.config import find_config_dir, register_schema
from nitrogen_train.models.visual_policy import VisualPolicy
from nitrogen_train.pretrained.places import KINDS

LARGE = {"base", "nitrogen"}
MODELS = sorted(path.stem for path in Path(find_config_dir(), "model").glob("*.yaml"))


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.full] * (name in LARGE)) for name in MODELS],
)
def test_a_configured_policy_trains_and_plays(name: str) -> None:
    register_schema()
    overrides = [f"model={name}", "++model.encoder.pretrained=false", "data.games=[a,b]"]
    with initialize_config_dir(find_config_dir(), version_base="1.3"):
        cfg = compose("train", overrides=[*overrides, "data.image_size=128"])

    with torch.device("meta"):
        policy = instantiate(cfg.model, _convert_="all")
        actions = torch.empty(2, cfg.data.action_horizon, 25)
        batch = PolicyBatch(
            frames=torch.empty(2, 1, 3, 128, 128, dtype=torch.uint8),
            frame_mask=torch.empty(2, 1, dtype=torch.bool),
            actions=actions,
            action_mask=torch.empty_like(actions, dtype=torch.bool),
            game_id=torch.empty(2, dtype=torch.int64),
            sample_seed=torch.empty(2, dtype=torch.int64),
            num_valid_in_step=torch.empty((), dtype=torch.int64),
            window_ids=(WindowId("source", "clip", 0), WindowId("source", "clip", 1)),
        )
        policy.compute_loss(batch).loss.backward()
        chunk = policy.generate_actions(policy.encode_frames(batch.frames), noise=actions)

    assert isinstance(policy, VisualPolicy)
    assert chunk.buttons.shape == (2, cfg.data.action_horizon, 21)
    assert all(p.grad is not None for p in policy.parameters() if p.requires_grad)


@pytest.mark.parametrize("model", MODELS)
def test_a_policy_that_can_be_trained_can_be_loaded(model: str) -> None:
    target = OmegaConf.load(Path(find_config_dir(), "model", f"{model}.yaml")).get("_target_")

    assert target is None or KINDS[target.rpartition(".")[2]] == target
