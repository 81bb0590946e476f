"""`nitrogen-export`: a run's checkpoint in, a policy folder out.

    nitrogen-export run=FOLDER output_dir=FOLDER [step=N] [weights=trained]

The folder has the layout of the Hugging Face hub, `config.json` and `model.safetensors`; it is what
`NitroGen.from_pretrained`, `nitrogen-eval policy=` and `init_from=` read.
"""

import logging
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import hydra
import torch
import yaml
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from nitrogen_train.config import build, find_config_dir
from nitrogen_train.console import report_errors
from nitrogen_train.models.nitrogen import NitroGen
from nitrogen_train.training.checkpoints import find_last_checkpoint
from nitrogen_train.training.ema import averages_in

_log = logging.getLogger(__name__)
_PREFIX = "policy."


class Weights(Enum):
    """Which weights of a checkpoint."""

    averaged = "averaged"
    trained = "trained"


@dataclass(kw_only=True)
class ExportConfig:
    """Top level of `nitrogen-export`."""

    run: str = MISSING
    """The run folder."""
    output_dir: str = MISSING
    """Where the policy goes."""
    step: int | None = None
    """Of the checkpoint; null: the last."""
    weights: Weights = Weights.averaged
    """The moving average, which validation and evaluation use, or the weights in training."""
    debug: bool = False
    """Show tracebacks."""


ConfigStore.instance().store(name="export_schema", node=ExportConfig)


@hydra.main(config_path=find_config_dir(), config_name="export", version_base="1.3")
@report_errors
def main(cfg: DictConfig) -> None:
    """Compose, convert."""
    config: ExportConfig = OmegaConf.to_object(cfg)  # pyright: ignore[reportAssignmentType]
    checkpoint = find_checkpoint(Path(config.run), step=config.step)
    policy = load_policy(checkpoint, run_dir=Path(config.run), weights=config.weights)
    policy.save_pretrained(config.output_dir)
    _log.info("%s, %s weights: %s", checkpoint, config.weights.value, config.output_dir)


def find_checkpoint(run_dir: Path, *, step: int | None) -> Path:
    """Find a checkpoint of a run.

    Raises:
        FileNotFoundError: If there is none; the message names those that there are.
    """
    folder = run_dir / "checkpoints"
    found = find_last_checkpoint(folder) if step is None else folder / f"step-{step}.ckpt"
    if found is None or not found.exists():
        there = ", ".join(sorted(path.name for path in folder.glob("step-*.ckpt"))) or "none"
        wanted = "a checkpoint" if step is None else f"step-{step}.ckpt"
        raise FileNotFoundError(f"expected {wanted} in {folder}, there is {there}")
    return found


def load_policy(checkpoint: Path, *, run_dir: Path, weights: Weights) -> NitroGen:
    """Rebuild a run's policy with the weights of a checkpoint."""
    config = yaml.safe_load((run_dir / "config.yaml").read_text(encoding="utf-8"))
    # The checkpoint's weights replace them.
    config["model"]["encoder"]["pretrained"] = False
    policy: NitroGen = build(config["model"])
    saved: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)
    state = {
        name.removeprefix(_PREFIX): value
        for name, value in saved["state_dict"].items()
        if name.startswith(_PREFIX)
    }
    if weights is Weights.averaged:
        trained = [name for name, p in policy.named_parameters() if p.requires_grad]
        state |= averages_in(saved["optimizer_states"][0], trained)
    policy.load_state_dict(state)
    return policy


if __name__ == "__main__":
    main()
