"""Names of files as people and programs give them: any script, any case, any length."""

import hashlib
import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from nitrogen_train.data.schema import check_key

_LONGEST = 70
"""Room for a clip's number behind it."""
_DIGITS = 8


def has_suffix(path: Path, suffixes: Sequence[str]) -> bool:
    """Say whether a file's name ends in one of some suffixes in small letters; its case is free."""
    return path.name.lower().endswith(tuple(suffixes))


def plain_name(name: str) -> str:
    """Bring a file's name to one spelling, in which every file system and text can have it.

    A Mac stores letters and their accents apart (NFD), others what was typed; bytes that are no
    text and line breaks become underscores.

    Example:
        >>> plain_name("Pok\\u0065\\u0301mon\\n2") == "Pok\\u00e9mon_2"
        True
    """
    text = os.fsencode(name).decode("utf-8", "replace")
    letters = unicodedata.normalize("NFC", text)
    return "".join(each if each.isprintable() and each != "\ufffd" else "_" for each in letters)


def find_beside(path: Path, suffixes: Sequence[str]) -> list[Path]:
    """Find the files beside one that have its name but for the suffix, in the suffixes' order."""
    stem = plain_name(path.stem)
    wanted = {stem + suffix: place for place, suffix in enumerate(suffixes)}
    found: list[tuple[int, Path]] = []
    for other in sorted(path.parent.iterdir()):
        name = plain_name(other.name)
        # The suffix alone may be in capitals: RUN.csv is of another video than run.mp4.
        place = wanted.get(name[: len(stem)] + name[len(stem) :].lower())
        if place is not None and other.is_file():
            found.append((place, other))
    return [other for _, other in sorted(found)]


def safe_key(name: str) -> str:
    """Make a record's key of a name, another one for every name.

    A name that can be a key stays as it is; what a key cannot have is replaced, and a hash of the
    whole name keeps it apart from others that look alike then.

    Example:
        >>> safe_key("run-1"), safe_key("run 1"), safe_key("run.1")
        ('run-1', 'run_1-b945d8cb', 'run_1-2c44f212')
    """
    name = unicodedata.normalize("NFC", name)
    key = re.sub(r"[^A-Za-z0-9_-]", "_", name).lstrip("-")
    if key != name or len(key) > _LONGEST:
        digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:_DIGITS]
        key = f"{key[: _LONGEST - _DIGITS - 1]}-{digest}".lstrip("-")
    return check_key(key)
