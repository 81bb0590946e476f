"""`nitrogen-export`: a run's checkpoint, or any policy, in; a policy folder or an ng.pt out.

    nitrogen-export run=FOLDER output_dir=FOLDER [step=N] [weights=trained] [format=ng]
    nitrogen-export policy=FOLDER output_dir=FOLDER format=ng

`format=folder` writes `config.json` and `model.safetensors`, the layout of the Hugging Face hub;
`format=ng` writes `ng.pt`, which the public code plays. Either is what `NitroGen.from_pretrained`,
`nitrogen-eval policy=` and `init_from=` read. `format=checkpoint` puts the files of a checkpoint
from many ranks into one that `ckpt_path=` reads, to keep or to carry elsewhere; no resume needs it.
"""

import logging
import shlex
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import hydra
import torch
import yaml
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from nitrogen_train.config import build_for_weights, find_config_dir
from nitrogen_train.console import report_errors
from nitrogen_train.data.files import write_atomically
from nitrogen_train.models.load import load_policy
from nitrogen_train.models.visual_policy import VisualPolicy
from nitrogen_train.pretrained.ng_export import build_ng_checkpoint, build_ng_header
from nitrogen_train.pretrained.read import NG_FILE
from nitrogen_train.progress import waiting
from nitrogen_train.training.checkpoints import (
    AtomicCheckpointIO,
    find_last_checkpoint,
    read_checkpoint,
    read_policy,
)

_log = logging.getLogger(__name__)


class Weights(Enum):
    """Which weights of a checkpoint."""

    averaged = "averaged"
    trained = "trained"


class Format(Enum):
    """What a policy is written as."""

    folder = "folder"
    ng = "ng"
    checkpoint = "checkpoint"


@dataclass(kw_only=True)
class ExportConfig:
    """Top level of `nitrogen-export`."""

    run: str | None = None
    """The run folder."""
    policy: str | None = None
    """Instead of a run: a policy folder, an ng.pt or a hub id."""
    output_dir: str = MISSING
    """Where the policy goes."""
    format: Format = Format.folder
    """`ng` is the released checkpoint's layout; `checkpoint` is a run's, in one file."""
    step: int | None = None
    """Of a run's checkpoint; null: the last."""
    weights: Weights = Weights.averaged
    """Of a run: the moving average, which validation and evaluation use, or those in training."""
    action_offset: int | None = None
    """For `ng`: rows from the last observed frame to the first predicted one; null: as the run's
    config or the ng.pt says."""
    debug: bool = False
    """Show tracebacks."""


ConfigStore.instance().store(name="export_schema", node=ExportConfig)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A policy, and what is known of its training."""

    policy: VisualPolicy
    name: str
    step: int
    action_offset: int | None


@hydra.main(config_path=find_config_dir(), config_name="export", version_base="1.3")
@report_errors
def main(cfg: DictConfig) -> None:
    """Compose, convert."""
    config: ExportConfig = OmegaConf.to_object(cfg)  # pyright: ignore[reportAssignmentType]
    export(config)


def export(config: ExportConfig) -> None:
    """Convert a policy.

    Raises:
        ValueError: If the settings contradict each other, or the format cannot hold the policy.
    """
    if (config.run is None) == (config.policy is None):
        raise ValueError("give run=FOLDER or policy=FOLDER, one of them")
    if config.policy is not None and (config.step is not None or config.weights is Weights.trained):
        raise ValueError("step and weights choose from a run: give run=FOLDER, or leave them out")
    if config.format is Format.checkpoint:
        _export_checkpoint(config)
        return
    with waiting("loading the policy"):
        trained = _load_run(config) if config.run is not None else _load_policy(config)
    output_dir = Path(config.output_dir)
    if config.format is Format.folder:
        trained.policy.save_pretrained(output_dir)
    else:
        write_ng_file(output_dir / NG_FILE, trained)
    _log.info("%s, step %d, as %s: %s", trained.name, trained.step, config.format.value, output_dir)
    _log.info("next: %s", _describe_next(config))


def _describe_next(config: ExportConfig) -> str:
    """Write the command that plays what has been written."""
    is_file = config.format is Format.ng
    policy = Path(config.output_dir) / NG_FILE if is_file else Path(config.output_dir)
    return shlex.join(["nitrogen-eval", f"policy={policy}", "games=[GAME]"])


def _export_checkpoint(config: ExportConfig) -> None:
    """Put a checkpoint of many files into one.

    Raises:
        ValueError: If there is no run, or only a part of the checkpoint is asked for.
    """
    if config.run is None or config.weights is Weights.trained:
        raise ValueError("format=checkpoint takes run=FOLDER and holds all of its weights")
    checkpoint = find_checkpoint(Path(config.run), step=config.step)
    target = Path(config.output_dir) / checkpoint.name
    if target.resolve() == checkpoint.resolve():
        raise ValueError(f"{target} is the checkpoint itself: give another output_dir")
    AtomicCheckpointIO().save_checkpoint(read_checkpoint(checkpoint), target)
    _log.info("%s in one file: %s", checkpoint, target)


def write_ng_file(path: Path, trained: Trained) -> None:
    """Write a policy as an ng.pt; one that was read from an ng.pt keeps all that stood there.

    Raises:
        ValueError: If the public code cannot compute the policy.
        OSError: If it cannot be written; what was there stays.
    """
    policy, state = trained.policy, trained.policy.state_dict()
    header = policy.ng_header
    if header is None:
        if trained.action_offset is None:
            raise ValueError(
                "a policy does not say which rows it predicts, an ng.pt does: give action_offset=N"
            )
        header = build_ng_header(
            policy.settings,
            state,
            experiment_name=trained.name,
            step=trained.step,
            action_offset=trained.action_offset,
        )
    checkpoint = build_ng_checkpoint(state, header)
    try:
        with write_atomically(path) as temporary:
            torch.save(checkpoint, temporary)
    except RuntimeError as error:
        # torch reports a failed write as a RuntimeError of its zip writer.
        raise OSError(f"cannot write {path}: {error}; free some space and try again") from error


def _load_policy(config: ExportConfig) -> Trained:
    policy = load_policy(str(config.policy))
    if policy.ng_header is not None and config.action_offset is not None:
        raise ValueError("the policy comes from an ng.pt, which says action_offset: leave it out")
    return Trained(
        policy=policy,
        name=Path(str(config.policy)).stem,
        step=0 if policy.ng_header is None else policy.ng_header.get("step", 0),
        action_offset=config.action_offset,
    )


def _load_run(config: ExportConfig) -> Trained:
    run_dir = Path(str(config.run))
    checkpoint = find_checkpoint(run_dir, step=config.step)
    action_offset = config.action_offset
    if action_offset is None:
        action_offset = _read_config(run_dir)["data"]["action_offset"]
    return Trained(
        policy=load_checkpoint(checkpoint, run_dir=run_dir, weights=config.weights),
        name=run_dir.resolve().name,
        step=int(checkpoint.stem.removeprefix("step-")),
        action_offset=action_offset,
    )


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


def load_checkpoint(checkpoint: Path, *, run_dir: Path, weights: Weights) -> VisualPolicy:
    """Rebuild a run's policy with the weights of a checkpoint."""
    policy: VisualPolicy = build_for_weights(_read_config(run_dir)["model"])
    averaged = weights is Weights.averaged
    policy.load_state_dict(read_policy(read_checkpoint(checkpoint), averaged=averaged))
    return policy


def _read_config(run_dir: Path) -> dict[str, Any]:
    return yaml.safe_load((run_dir / "config.yaml").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
