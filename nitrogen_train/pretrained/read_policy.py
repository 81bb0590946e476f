"""Read a policy's files, wherever they are and whichever layout they have."""

from collections.abc import Sequence
from pathlib import Path

from nitrogen_train.pretrained.hub import download_file
from nitrogen_train.pretrained.ng_pt import read_ng_file
from nitrogen_train.pretrained.places import (
    CONFIG,
    NG_FILE,
    WEIGHTS,
    Place,
    find_place,
    refuse_checkpoint,
)
from nitrogen_train.pretrained.policy_folder import PolicyFiles, read_policy_folder


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
        name_or_path: A folder or `owner/name` on the hub with either of them, an ng.pt, or the
            folder of a run that has ended.
        revision: Branch, tag or commit on the hub; None is its main branch.
        cache_dir: The hub's cache; None is its usual place.
        vision_num_heads: Of an ng.pt: attention heads of its encoder, if its name does not tell.
        games: Of an ng.pt that tells games apart: their names by game id, from 1.

    Raises:
        FileNotFoundError: If there is no such file, folder or repository.
        ValueError: If what is there cannot be read, or an argument does not concern it.
    """
    place = find_place(name_or_path)
    is_on_hub = place is None
    if place is None:
        found = download_file(
            str(name_or_path), CONFIG, NG_FILE, revision=revision, cache_dir=cache_dir
        )
        place = Place(kind="folder" if found.name == CONFIG else "ng", path=found)
    refuse_checkpoint(place)
    if place.kind == "ng":
        return read_ng_file(place.path, vision_num_heads=vision_num_heads, games=games)
    if vision_num_heads is not None or games is not None:
        raise ValueError(
            f"vision_num_heads and games are said of an ng.pt; {place.path} says them itself: "
            "leave them out"
        )
    weights = place.path.with_name(WEIGHTS)
    if is_on_hub:
        weights = download_file(str(name_or_path), WEIGHTS, revision=revision, cache_dir=cache_dir)
    if not weights.is_file():
        raise FileNotFoundError(f"{weights.parent} holds no {WEIGHTS}; expected a policy's folder")
    return read_policy_folder(place.path, weights)
