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
import sys
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    # The command imports this file again, by name, once the config is checked: torch takes seconds.
    from nitrogen_train.cli.commands import export as main

    sys.exit(main())

import torch

from nitrogen_train.config import ExportConfig, Format, Weights
from nitrogen_train.models.load import load_policy
from nitrogen_train.models.visual_policy import VisualPolicy
from nitrogen_train.pretrained.ng_pt import build_ng_checkpoint, build_ng_header, list_options
from nitrogen_train.pretrained.places import CONFIG, NG_FILE, find_last_checkpoint
from nitrogen_train.run.policy_of_run import load_checkpoint
from nitrogen_train.runtime.atomic_files import write_atomically
from nitrogen_train.runtime.progress import waiting
from nitrogen_train.training.checkpoints import AtomicCheckpointIO, read_checkpoint

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A policy, and what is known of its training."""

    policy: VisualPolicy
    name: str
    step: int


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
    changes = {"action_offset": config.action_offset}
    trained.policy.usage = trained.policy.usage.updated(changes)
    output_dir = Path(config.output_dir)
    written = output_dir / (CONFIG if config.format is Format.folder else NG_FILE)
    replaced = ", replaced" if written.exists() else ""
    if config.format is Format.folder:
        trained.policy.save_pretrained(output_dir)
    else:
        write_ng_file(output_dir / NG_FILE, trained)
    what = config.format.value
    _log.info("%s, step %d, as %s: %s%s", trained.name, trained.step, what, output_dir, replaced)
    _log.info("next: %s", _describe_next(config, trained.policy))


def _describe_next(config: ExportConfig, policy: VisualPolicy) -> str:
    """Write the command that plays what has been written."""
    is_file = config.format is Format.ng
    path = Path(config.output_dir) / NG_FILE if is_file else Path(config.output_dir)
    words = ["nitrogen-eval", f"policy={path}", "games=[GAME]"]
    words += list_options(policy.settings, policy.usage) if is_file else []
    return f"{shlex.join(words)}; GAME: of nitrogen-data games, or your own as my_game:MyGame"


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
        if policy.usage.action_offset is None:
            raise ValueError(
                "this policy does not say which rows it predicts, an ng.pt does: give "
                "action_offset=N"
            )
        header = build_ng_header(
            policy.settings,
            state,
            experiment_name=trained.name,
            step=trained.step,
            usage=policy.usage,
        )
    checkpoint = build_ng_checkpoint(state, header)
    try:
        with write_atomically(path) as temporary:
            torch.save(checkpoint, temporary)
    except RuntimeError as error:
        # torch reports a failed write as a RuntimeError of its zip writer.
        raise OSError(f"cannot write {path}: {error}; free some space and try again") from error


def _load_policy(config: ExportConfig) -> Trained:
    policy = load_policy(
        str(config.policy), vision_num_heads=config.ng.vision_num_heads, games=config.ng.games
    )
    if policy.ng_header is not None and config.action_offset is not None:
        raise ValueError("the policy comes from an ng.pt, which says action_offset: leave it out")
    return Trained(
        policy=policy,
        name=Path(str(config.policy)).stem,
        step=0 if policy.ng_header is None else policy.ng_header.get("step", 0),
    )


def _load_run(config: ExportConfig) -> Trained:
    run_dir = Path(str(config.run))
    checkpoint = find_checkpoint(run_dir, step=config.step)
    return Trained(
        policy=load_checkpoint(checkpoint, averaged=config.weights is Weights.averaged),
        name=run_dir.resolve().name,
        step=int(checkpoint.stem.removeprefix("step-")),
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
