"""A policy as a folder: `config.json` (plain settings) and `model.safetensors` (weights).

The layout of the Hugging Face hub. Nothing in it is code: a reader rebuilds the policy from plain
values.
"""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

_CONFIG = "config.json"
_WEIGHTS = "model.safetensors"


def write_policy_folder(
    folder: Path, *, settings: Mapping[str, Any], state: Mapping[str, Tensor]
) -> None:
    """Write a policy; an interrupted write leaves no folder, or an older policy's files whole.

    Args:
        folder: Created if it does not exist; other files in it stay.
        settings: Plain values.
        state: The weights.

    Raises:
        FileExistsError: If `folder` is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"cannot save a policy to {folder}: it is a file, choose a folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        written = Path(temporary) / "policy"
        written.mkdir()
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
        save_file(weights, written / _WEIGHTS, metadata={"format": "pt"})
        (written / _CONFIG).write_text(json.dumps(settings, indent=2) + "\n")
        for name in (_WEIGHTS, _CONFIG):
            _sync(written / name)
        if not folder.exists():
            written.rename(folder)
        else:
            for name in (_WEIGHTS, _CONFIG):
                (written / name).replace(folder / name)
    _sync(folder.parent)


def read_policy_folder(name_or_path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a policy's settings and weights.

    Args:
        name_or_path: A folder, or `owner/name` on the hub, which is downloaded to its cache.

    Raises:
        FileNotFoundError: If there is no such folder, nor such a repository on the hub.
        ValueError: If a file is damaged.
    """
    config_path, weights_path = (_find(name_or_path, name) for name in (_CONFIG, _WEIGHTS))
    try:
        return json.loads(config_path.read_text()), load_file(weights_path)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{config_path} is not JSON: {error}; save the policy again") from error
    except SafetensorError as error:
        raise ValueError(f"{weights_path} is damaged: {error}; save the policy again") from error


def push_policy_folder(repo_id: str, folder: Path, *, private: bool) -> None:
    """Upload a folder that `write_policy_folder` wrote to `owner/name`, created if needed."""
    hub = HfApi()
    hub.create_repo(repo_id, private=private, exist_ok=True)
    hub.upload_folder(repo_id=repo_id, folder_path=folder, allow_patterns=[_CONFIG, _WEIGHTS])


def _find(name_or_path: str | Path, name: str) -> Path:
    folder = Path(name_or_path)
    if (folder / name).is_file():
        return folder / name
    if folder.exists():
        raise FileNotFoundError(
            f"{folder} holds no {name}; expected a folder that save_pretrained wrote"
        )
    try:
        return Path(hf_hub_download(str(name_or_path), name))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise FileNotFoundError(
            f"no policy at {name_or_path}: there is no such folder, and the Hugging Face hub "
            f"says: {str(error).splitlines()[0]}"
        ) from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
