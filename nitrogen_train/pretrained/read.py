"""A policy's files, wherever they are and whichever layout they have."""

from collections.abc import Sequence
from pathlib import Path

from nitrogen_train.pretrained.folder import CONFIG, WEIGHTS, PolicyFiles, read_policy_folder
from nitrogen_train.pretrained.hub import find_file
from nitrogen_train.pretrained.ng_checkpoint import read_ng_file

NG_FILE = "ng.pt"


def read_policy(
    name_or_path: str | Path,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    vision_num_heads: int | None = None,
    games: Sequence[str] | None = None,
) -> PolicyFiles:
    """Read a policy that `save_pretrained` wrote, or an ng.pt.

    Args:
        name_or_path: A folder or `owner/name` on the hub with either of them, or an ng.pt.
        revision: Branch, tag or commit on the hub; None is its main branch.
        cache_dir: The hub's cache; None is its usual place.
        vision_num_heads: Of an ng.pt: attention heads of its encoder, if its name does not tell.
        games: Of an ng.pt that tells games apart: their names by game id, from 1.

    Raises:
        FileNotFoundError: If there is no such file, folder or repository.
        ValueError: If what is there cannot be read, or an argument does not concern it.
    """
    path = find_file(name_or_path, CONFIG, NG_FILE, revision=revision, cache_dir=cache_dir)
    if path.name == WEIGHTS:
        raise ValueError(
            f"{path} holds weights alone: give its folder, which says what they are of"
        )
    if path.name != CONFIG:
        return read_ng_file(path, vision_num_heads=vision_num_heads, games=games)
    if vision_num_heads is not None or games is not None:
        raise ValueError(
            f"vision_num_heads and games are said of an ng.pt; {path} says them itself: leave "
            "them out"
        )
    weights = find_file(_folder_of(name_or_path), WEIGHTS, revision=revision, cache_dir=cache_dir)
    return read_policy_folder(path, weights)


def _folder_of(name_or_path: str | Path) -> str | Path:
    path = Path(name_or_path)
    return path.parent if path.is_file() else name_or_path
