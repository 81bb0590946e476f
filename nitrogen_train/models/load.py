"""Load whatever kind of policy a folder holds, and tell how it is used."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from nitrogen_train.models.visual_policy import VisualPolicy
from nitrogen_train.pretrained.places import KINDS, Usage, read_run_config
from nitrogen_train.pretrained.read_policy import read_policy


@dataclass(frozen=True, kw_only=True)
class PolicySource:
    """The place of a policy, from which other processes can load it, too."""

    path: Path
    vision_num_heads: int | None = None
    """Attention heads of the encoder; see `load_policy`."""
    games: tuple[str, ...] | None = None
    """Names of the games; see `load_policy`."""

    def load(self) -> VisualPolicy:
        """Load the policy."""
        return load_policy(self.path, vision_num_heads=self.vision_num_heads, games=self.games)


def load_policy(
    name_or_path: str | Path,
    *,
    vision_num_heads: int | None = None,
    games: Sequence[str] | None = None,
) -> VisualPolicy:
    """Load a policy of any kind, in evaluation mode.

    On a CPU that others use too, a small policy plays 20 to 40 times faster on one thread:
    `OMP_NUM_THREADS=1` in the environment, or `torch.set_num_threads(1)`.

    Args:
        name_or_path: A policy's folder, the folder of a run that has ended, an ng.pt, or
            `owner/name` on the Hugging Face hub.
        vision_num_heads: Of an ng.pt: attention heads of its encoder, if its name does not tell.
        games: Of an ng.pt that tells games apart: their names by game id, from 1.

    Raises:
        FileNotFoundError: If there is no such file, folder or repository.
        ValueError: If what is there is not a policy that this version can read.
    """
    files = read_policy(name_or_path, vision_num_heads=vision_num_heads, games=games)
    kind = files.config.settings.get("policy")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(
            f"{name_or_path} holds a policy of the kind {kind!r}; known: {', '.join(KINDS)}"
        )
    module, _, name = KINDS[kind].rpartition(".")
    policy: type[VisualPolicy] = getattr(import_module(module), name)
    return policy.from_files(files, where=name_or_path)


def find_usage(
    asked: Usage, policy: VisualPolicy, *, policy_dir: Path, is_offline: bool = False
) -> Usage:
    """Tell how a policy is used: as asked for, else as it was trained.

    Args:
        asked: What was asked for.
        policy: Which says it, unless an older version has saved it.
        policy_dir: Then in a run folder, whose config says it.
        is_offline: Whether it predicts recordings.

    Raises:
        ValueError: If something is needed and nothing says it.
    """
    trained: dict[str, Any] = {}
    run_dir = policy_dir.parent
    if policy_dir.name == "policy" and (run_dir / "config.yaml").is_file():
        trained = read_run_config(run_dir)["data"]
    names = ("frame_stride", "action_offset", "action_hz")
    usage = Usage(**{name: trained.get(name) for name in names}).updated(policy.usage.known)
    usage = usage.updated(asked.known)
    needed = {"frame_stride": policy.num_frames > 1, "action_offset": is_offline}
    for name, is_needed in needed.items():
        if is_needed and name not in usage.known:
            raise ValueError(
                f"{policy_dir} does not say its {name}: give {name}=N, as in training (the "
                "released ng.pt: frame_stride=1 action_offset=3)"
            )
    return usage
