"""Files of a policy: in a folder, or in a repository of the Hugging Face hub."""

from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
)

_FILE_SUFFIXES = (".pt", ".safetensors")
_CARD = "README.md"
_CARD_TEXT = """---
library_name: nitrogen-train
tags: [robotics, gamepad, imitation-learning]
---

# {repo_id}

A policy that plays games from what is on the screen, written by `nitrogen-train`.

    from nitrogen_train.models.load import load_policy

    policy = load_policy("{repo_id}")
"""


def find_file(
    name_or_path: str | Path,
    *names: str,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
) -> Path:
    """Find the first of several files that is there.

    Args:
        name_or_path: A file, which is returned; a folder; or `owner/name` on the hub, from where
            the file is downloaded to the cache.
        *names: Files, the most wanted first.
        revision: Branch, tag or commit on the hub; None is its main branch.
        cache_dir: The hub's cache; None is its usual place.

    Raises:
        FileNotFoundError: If there is none of them, or no such folder or repository.
    """
    path = Path(name_or_path)
    wanted = " or ".join(names)
    if path.is_file():
        return path
    if path.is_dir():
        for name in names:
            if (path / name).is_file():
                return path / name
        raise FileNotFoundError(f"{path} holds no {wanted}; expected a folder of a policy")
    if path.suffix in _FILE_SUFFIXES:
        raise FileNotFoundError(f"no policy at {path}: there is no such file")
    problem: Exception | None = None
    for name in names:
        try:
            return Path(
                hf_hub_download(str(name_or_path), name, revision=revision, cache_dir=cache_dir)
            )
        except EntryNotFoundError as error:
            problem = problem or error
        except (HFValidationError, HfHubHTTPError, OfflineModeIsEnabled) as error:
            problem = error
            break
    raise FileNotFoundError(
        f"no policy at {name_or_path}: there is no such folder, and the Hugging Face hub says: "
        f"{str(problem).splitlines()[0]} (looked for {wanted})"
    ) from problem


def push_files(repo_id: str, folder: Path, *, names: list[str], private: bool) -> None:
    """Upload files of a folder to `owner/name`, created if needed, with a card if it has none."""
    hub = HfApi()
    hub.create_repo(repo_id, private=private, exist_ok=True)
    if not hub.file_exists(repo_id, _CARD):
        (folder / _CARD).write_text(_CARD_TEXT.format(repo_id=repo_id))
        names = [*names, _CARD]
    hub.upload_folder(repo_id=repo_id, folder_path=folder, allow_patterns=names)
