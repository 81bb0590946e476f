"""Write and read a policy as `config.json` (plain settings) and `model.safetensors` (weights).

The layout is the one of the Hugging Face hub. Nothing in it is code: a reader rebuilds the policy
from plain values.
"""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from nitrogen_train.pretrained.places import (
    CONFIG,
    WEIGHTS,
    PolicyConfig,
    format_policy_config,
    read_policy_config,
)
from nitrogen_train.pretrained.tensor_rules import refuse_non_finite
from nitrogen_train.runtime.atomic_files import sync


@dataclass(frozen=True, kw_only=True)
class PolicyFiles:
    """The contents of a policy's files."""

    config: PolicyConfig
    state: dict[str, Tensor]
    """The weights, in our names."""


def write_policy_folder(folder: Path, files: PolicyFiles) -> None:
    """Write a policy; an interrupted write leaves no folder, or an older policy's files whole.

    Args:
        folder: Created if it does not exist; other files in it stay.
        files: What to write.

    Raises:
        FileExistsError: If `folder` is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"cannot save a policy to {folder}: it is a file, choose a folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        written = Path(temporary) / "policy"
        written.mkdir()
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in files.state.items()}
        (written / CONFIG).write_text(format_policy_config(files.config), encoding="utf-8")
        save_file(weights, written / WEIGHTS, metadata={"format": "pt"})
        # safetensors makes its file for its owner alone, whatever the umask says.
        shutil.copymode(written / CONFIG, written / WEIGHTS)
        for name in (WEIGHTS, CONFIG):
            sync(written / name)
        if not folder.exists():
            written.rename(folder)
        else:
            for name in (WEIGHTS, CONFIG):
                (written / name).replace(folder / name)
    sync(folder.parent)


def read_policy_folder(config_path: Path, weights_path: Path) -> PolicyFiles:
    """Read a policy's config and weights.

    Raises:
        ValueError: If a file is damaged, or a weight is not finite.
    """
    config = read_policy_config(config_path)
    try:
        state = load_file(weights_path)
    except SafetensorError as error:
        raise ValueError(f"{weights_path} is damaged: {error}; save the policy again") from error
    refuse_non_finite(state, where=str(weights_path))
    return PolicyFiles(config=config, state=state)
