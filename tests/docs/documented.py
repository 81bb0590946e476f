"""The commands and Python snippets that README and the other pages print, as readers copy them.

A command stands in a fenced block, in a block indented by four spaces, or between backquotes; there
it has more than a program's name. A line that `\\` continues is one command, a comment is left out,
and `a && b` are two.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))

_PROGRAM = re.compile(
    r"(?:[A-Z_]+=\S+ )*(?:time )?(?:nitrogen-[a-z]+|make|python[\d.]*|pip|uv|bash|git|cd|ls|tail|\."
    r"|export|eval|grid=\S*|sbatch|salloc|srun|scontrol|squeue|slurm/\S+|venv/\S+|docker"
    r"|ffmpeg|ffprobe|apt-get|apt|sudo|curl|wget|npm|conda)(?: .+)"
)
# Fences inside a list are indented.
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"\s+#.*$")


@dataclass(frozen=True, order=True)
class Printed:
    """A command or a snippet."""

    text: str
    page: str


def read_commands() -> list[Printed]:
    """List the commands of all pages, each once a page."""
    found = {
        Printed(command, page.name)
        for page in PAGES
        for command in _commands_of(page.read_text(encoding="utf-8"))
    }
    return sorted(found)


def read_snippets() -> list[Printed]:
    """List the fenced blocks of Python of all pages."""
    return [
        Printed(text, page.name)
        for page in PAGES
        for language, text in _fences(page.read_text(encoding="utf-8"))
        if language == "python"
    ]


def read_specs() -> list[str]:
    """List the fenced blocks of YAML of all pages: specs of native games."""
    return [
        text
        for page in PAGES
        for language, text in _fences(page.read_text(encoding="utf-8"))
        if language == "yaml"
    ]


def read_mentioned_verbs() -> set[str]:
    """List the verbs that are named after `nitrogen-data`."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    return set(re.findall(r"nitrogen-data ([a-z][a-z-]+)", text))


def _commands_of(text: str) -> Iterator[str]:
    for language, block in _fences(text):
        if language in ("", "bash"):
            yield from _split(block)
    prose = _FENCE.sub("", text)
    indented = re.findall(r"(?:^ {4,}\S.*\n)+", prose, flags=re.MULTILINE)
    for block in indented:
        yield from _split(block)
    for span in re.findall(r"`([^`]+)`", re.sub(r"^ {4,}.*$", "", prose, flags=re.MULTILINE)):
        command = " ".join(span.split())
        # A verb alone is its name, `read_mentioned_verbs` looks after it.
        if _PROGRAM.fullmatch(command) and not re.fullmatch(r"nitrogen-data [a-z-]+", command):
            yield command


def _fences(text: str) -> list[tuple[str, str]]:
    fences = [(language, block) for _, language, block in _FENCE.findall(text)]
    unknown = {language for language, _ in fences} - {"", "bash", "python", "yaml"}
    assert not unknown, f"fences of {unknown}: commands stand in bash, snippets in python"
    return fences


def _split(block: str) -> Iterator[str]:
    for line in block.replace("\\\n", " ").splitlines():
        bare = " ".join(_COMMENT.sub("", line).split())
        parts = bare.split(" && ")
        if _PROGRAM.fullmatch(parts[0]):
            yield from parts
