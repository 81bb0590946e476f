"""Runs made small, imported late so that the shape checks see the project's packages."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import nn

if TYPE_CHECKING:
    from nitrogen_train.batch import PolicyBatch
    from nitrogen_train.config import RunConfig

SMALL = ("data.games=[a,b]", "data.image_size=32", "data.action_horizon=4", "model.games=[a,b]")
# The policy at full size, only smaller: transformers everywhere, dropout everywhere.
TRANSFORMERS = (
    "model=base", *SMALL,
    "model.encoder.name=test_vit", "model.encoder.pretrained=false", "model.encoder.width=32",
    "+model.encoder.options.depth=3", "+model.encoder.options.num_heads=2",
    "+model.encoder.options.proj_drop_rate=0.1", "model.mixer.num_heads=2",
    "model.dit.num_heads=2", "model.dit.num_layers=4",
)  # fmt: skip


@pytest.fixture
def compose_run() -> Callable[..., "RunConfig"]:
    """Compose a run of a tiny policy: of transformers, or of a kind of `conf/model`."""
    from nitrogen_train.config import RunConfig, find_config_dir, register_schema

    def compose_run(*overrides: str, model: str | None = None) -> RunConfig:
        register_schema()
        policy = TRANSFORMERS if model is None else (f"model={model}", *SMALL)
        with initialize_config_dir(config_dir=find_config_dir(), version_base="1.3"):
            config = OmegaConf.to_object(compose("train", overrides=[*policy, *overrides]))
        assert isinstance(config, RunConfig)
        return config

    return compose_run


@pytest.fixture
def count_kept_bytes() -> Callable[[nn.Module, Callable[[], object]], int]:
    """Count what a run keeps for the backward pass, the module's own weights left out."""

    def count(module: nn.Module, run: Callable[[], object]) -> int:
        weights = {p.untyped_storage().data_ptr() for p in module.parameters()}
        kept: dict[int, torch.UntypedStorage] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                # Held, so that no other storage takes its place.
                kept[storage.data_ptr()] = storage
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            run()
        return sum(storage.nbytes() for storage in kept.values())

    return count


@pytest.fixture
def build_batch() -> Callable[..., "PolicyBatch"]:
    """Build a random batch for such a policy."""
    from nitrogen_train.batch import PolicyBatch, WindowId

    def build(num: int = 4) -> PolicyBatch:
        generator = torch.Generator().manual_seed(1)
        mask = torch.rand(num, 4, 25, generator=generator) < 0.7
        return PolicyBatch(
            frames=torch.randint(
                0, 256, (num, 1, 3, 32, 32), generator=generator, dtype=torch.uint8
            ),
            frame_mask=torch.ones(num, 1, dtype=torch.bool),
            actions=torch.rand(num, 4, 25, generator=generator),
            action_mask=mask,
            game_id=torch.arange(num) % 3,
            sample_seed=torch.randint(2**62, (num,), generator=generator),
            num_valid_in_step=mask.sum(),
            window_ids=tuple(WindowId("source", "clip", frame) for frame in range(num)),
        )

    return build
