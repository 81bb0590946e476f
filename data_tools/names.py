"""Make safe names of the names that people and programs give: any script, any case, any length."""

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from nitrogen_train.data.schema import check_key

_LONGEST = 70
"""Room for a clip's number behind it."""
_DIGITS = 8


def has_suffix(path: Path, suffixes: Sequence[str]) -> bool:
    """Say whether a file's name ends in one of some suffixes in small letters; its case is free."""
    return path.name.lower().endswith(tuple(suffixes))


def is_hidden(path: Path) -> bool:
    """Say whether nobody means a file: an unfinished one, or the `._NAME` that a Mac adds to each.

    Example:
        >>> is_hidden(Path("videos/._run.mp4")), is_hidden(Path(".videos/run.mp4"))
        (True, False)
    """
    return path.name.startswith(".")


def plain_name(name: str) -> str:
    r"""Bring a file's name to one spelling, in which every file system and text can have it.

    A Mac stores letters and their accents apart (NFD), others what was typed; bytes that are no
    text and line breaks become underscores.

    Example:
        >>> plain_name("Poke\u0301mon\n2") == "Pok\u00e9mon_2"
        True
    """
    text = os.fsencode(name).decode("utf-8", "replace")
    letters = unicodedata.normalize("NFC", text)
    return "".join(each if each.isprintable() and each != "\ufffd" else "_" for each in letters)


class FileNames:
    """Files by their names, whose spelling and the case of whose suffixes are free."""

    def __init__(self, paths: Iterable[Path]) -> None:
        """List some files of one folder."""
        self._names: dict[str, list[tuple[str, Path]]] = {}
        for path in sorted(paths):
            name = plain_name(path.name)
            self._names.setdefault(name.lower(), []).append((name, path))

    def find(self, stem: str, suffixes: Sequence[str]) -> list[Path]:
        """Find the files of a name but for the suffix, in the order of the suffixes.

        Args:
            stem: The name, its case as it is: RUN.csv is not of run.mp4.
            suffixes: In small letters.
        """
        stem = plain_name(stem)
        return [
            path
            for suffix in suffixes
            for name, path in self._names.get(stem.lower() + suffix, ())
            if name.startswith(stem)
        ]


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
