"""Files of a policy in a repository of the Hugging Face hub."""

from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
)

_CARD = "README.md"
_CARD_TEXT = """---
library_name: nitrogen-train
tags: [robotics, gamepad, imitation-learning]
---

# {repo_id}

A policy that plays games from what is on the screen, written by `nitrogen-train`.

    from nitrogen_train import load_policy

    policy = load_policy("{repo_id}")
"""


def download_file(
    repo_id: str,
    *names: str,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
) -> Path:
    """Download the first of several files that a repository has to the hub's cache.

    Args:
        repo_id: `owner/name`.
        *names: Files, the most wanted first.
        revision: Branch, tag or commit; None is the main branch.
        cache_dir: The hub's cache; None is its usual place.

    Raises:
        FileNotFoundError: If there is none of them, or no such repository.
    """
    problem: Exception | None = None
    for name in names:
        try:
            return Path(hf_hub_download(repo_id, name, revision=revision, cache_dir=cache_dir))
        except EntryNotFoundError as error:
            problem = problem or error
        except (HFValidationError, HfHubHTTPError, OfflineModeIsEnabled) as error:
            problem = error
            break
    raise FileNotFoundError(
        f"no policy at {repo_id}: there is no such folder, and the Hugging Face hub says: "
        f"{str(problem).splitlines()[0]} (looked for {' or '.join(names)})"
    ) from problem


def push_files(repo_id: str, folder: Path, *, names: list[str], private: bool) -> None:
    """Upload files of a folder to `owner/name`, created if needed, with a card if it has none."""
    hub = HfApi()
    hub.create_repo(repo_id, private=private, exist_ok=True)
    if not hub.file_exists(repo_id, _CARD):
        (folder / _CARD).write_text(_CARD_TEXT.format(repo_id=repo_id))
        names = [*names, _CARD]
    hub.upload_folder(repo_id=repo_id, folder_path=folder, allow_patterns=names)
