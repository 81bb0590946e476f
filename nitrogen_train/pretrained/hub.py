"""Download a policy's files from a repository of the Hugging Face hub, and upload them.

This is a module of its own because the hub's library takes a tenth of a second to import, and most
commands need none of it.
"""

import logging
import socket
import threading
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from huggingface_hub import HfApi, constants, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
)

_log = logging.getLogger(__name__)
_PATIENCE_S = 4.0
"""Time for the hub's machine to take a connection; its own retries last half a minute a file."""
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
    # Without the hub, what has been downloaded before is good.
    is_offline = not is_reachable()
    for name in names:
        try:
            path = hf_hub_download(
                repo_id,
                name,
                revision=revision,
                cache_dir=cache_dir,
                local_files_only=is_offline,
            )
            if is_offline:
                _log.warning(
                    "%s cannot be reached: %s of %s is what was downloaded before",
                    constants.ENDPOINT, name, repo_id,
                )  # fmt: skip
            return Path(path)
        except EntryNotFoundError as error:
            problem = problem or error
        except (HFValidationError, HfHubHTTPError, OfflineModeIsEnabled) as error:
            problem = error
            break
    why = f"the Hugging Face hub says: {str(problem).splitlines()[0]}"
    if is_offline:
        why = f"{constants.ENDPOINT} cannot be reached, from which it was never downloaded"
    raise FileNotFoundError(
        f"no policy at {repo_id}: there is no such folder, and {why} "
        f"(looked for {' or '.join(names)})"
    ) from problem


def is_reachable() -> bool:
    """Tell within seconds whether the hub's machine takes connections; behind a proxy, hope so."""
    url = urlsplit(constants.ENDPOINT)
    if constants.HF_HUB_OFFLINE or urllib.request.getproxies().keys() - {"no"}:
        return True
    connected = threading.Event()

    def connect() -> None:
        address = (url.hostname or "", url.port or (80 if url.scheme == "http" else 443))
        try:
            # It tries the addresses in turn: one that leads nowhere must not take all the time.
            socket.create_connection(address, timeout=_PATIENCE_S / 4).close()
        except OSError:
            return
        connected.set()

    # A name server that does not answer takes no time-out.
    attempt = threading.Thread(target=connect, daemon=True)
    attempt.start()
    attempt.join(_PATIENCE_S)
    return connected.is_set()


def push_files(repo_id: str, folder: Path, *, names: list[str], private: bool) -> None:
    """Upload files of a folder to `owner/name`, created if needed, with a card if it has none."""
    hub = HfApi()
    hub.create_repo(repo_id, private=private, exist_ok=True)
    if not hub.file_exists(repo_id, _CARD):
        (folder / _CARD).write_text(_CARD_TEXT.format(repo_id=repo_id))
        names = [*names, _CARD]
    hub.upload_folder(repo_id=repo_id, folder_path=folder, allow_patterns=names)
