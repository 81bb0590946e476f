"""The policies that are measured, each with the batches it is measured on."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from nitrogen_train.actions import get_action_space
from nitrogen_train.batch import PolicyBatch
from nitrogen_train.config import RunConfig, build, find_config_dir, register_schema
from nitrogen_train.models.nitrogen import NitroGen
from nitrogen_train.training import throughput as operations
from nitrogen_train.training.throughput import make_random_batch


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A policy as `nitrogen-train` would build it, with random weights."""

    name: str
    overrides: tuple[str, ...]
    """Of `nitrogen-train`, its batch size among them."""

    def compose_config(self, *more: str) -> RunConfig:
        """Compose the config of a run, with `more` overrides."""
        register_schema()
        with initialize_config_dir(find_config_dir(), version_base="1.3"):
            cfg = compose("train", overrides=[*self.overrides, *more])
        config: RunConfig = OmegaConf.to_object(cfg)  # pyright: ignore[reportAssignmentType]
        return config

    def build_policy(self) -> NitroGen:
        """Build the policy, on torch's default device."""
        return build(self.compose_config().model)

    def make_batch(self, num_samples: int | None = None) -> PolicyBatch:
        """Draw a batch, by default a micro-batch of a run, on torch's default device.

        Pictures and actions are random and all valid: what a step costs does not depend on them.
        """
        data = self.compose_config().data
        return make_random_batch(
            num_samples=num_samples or data.micro_batch_size,
            num_frames=data.num_frames,
            image_size=data.image_size,
            action_horizon=data.action_horizon,
            action_dim=get_action_space(data.action_space).action_dim,
        )


FULL = Workload(
    name="full",
    overrides=(
        "model=nitrogen", "model.encoder.pretrained=false",
        "data.global_batch_size=1", "data.micro_batch_size=1", "trainer.log_every_n_steps=1",
    ),
)  # fmt: skip
"""The released policy's size: 493,631,513 parameters."""

BASE = Workload(
    name="base",
    overrides=(
        "model=base", "model.encoder.pretrained=false",
        "data.global_batch_size=2", "data.micro_batch_size=2", "trainer.log_every_n_steps=1",
    ),
)  # fmt: skip
"""SigLIP2-B, mixer and DiT 768 wide."""

DEMO = Workload(name="demo", overrides=("experiment=demo", "data.games=[doom_defend,doom_gather]"))
"""What `make demo` trains."""


def count_flops(workload: Workload, function: Callable[[NitroGen, PolicyBatch], object]) -> int:
    """Count the floating-point operations of a function of a policy and a batch of one sample.

    Nothing is computed, see `nitrogen_train.training.throughput`.
    """
    with torch.device("meta"):
        policy, batch = workload.build_policy(), workload.make_batch(num_samples=1)
    return operations.count_flops(lambda: function(policy, batch))
