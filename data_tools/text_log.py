"""Read text logs in whatever encoding a program wrote them, up to where they were cut.

PowerShell writes UTF-16, many editors a mark at the start; a program that is killed leaves half a
row at the end, a machine that loses its power leaves zeros there.
"""

import codecs
from collections.abc import Iterator
from pathlib import Path

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def find_encoding(path: Path) -> str:
    """Find out how a text is encoded: by its mark, or by the zeros beside plain letters.

    Raises:
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(4)
    for mark, encoding in _MARKS.items():
        if start.startswith(mark):
            return encoding
    for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        zeros, letters = start[first::2], start[1 - first :: 2]
        if zeros == b"\0\0" and 0 not in letters:
            return encoding
    return "utf-8"


def read_text(path: Path) -> bytes:
    """Read a text as UTF-8, without a mark and without zeros at its end.

    Raises:
        OSError: If it cannot be read.
    """
    data = path.read_bytes()
    encoding = find_encoding(path)
    if encoding == "utf-8" and not _is_utf8(data):
        # Excel of Western Europe: all that a log is read by is plain letters, in either.
        encoding = "cp1252"
    if encoding != "utf-8":
        # Half a letter at the end, and what is no text, become signs that no number has.
        data = data.decode(encoding, "replace").encode()
    return data.rstrip(b"\0")


def _is_utf8(data: bytes) -> bool:
    try:
        # A letter that was cut at the end is no other encoding.
        codecs.getincrementaldecoder("utf-8")().decode(data)
    except UnicodeDecodeError:
        return False
    return True


def iter_lines(path: Path) -> Iterator[str]:
    """Read a text's lines, a few at a time, each with its end unless it is cut there.

    Raises:
        OSError: If it cannot be read.
    """
    with path.open(encoding=find_encoding(path), errors="replace", newline="\n") as file:
        for line in file:
            if line := line.rstrip("\0"):
                yield line
