"""Write pages: one file, nothing in it is fetched, light or dark as the reader's screen.

A page is a list of sections, and a section is data: what stands in it, never how. How it looks is
in `page.html.j2` alone, which escapes all text.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib.resources import files
from pathlib import Path

from nitrogen_train.runtime.atomic_files import write_atomically
from nitrogen_train.viewing.charts import Chart


@dataclass(frozen=True, kw_only=True)
class PagePicture:
    """A picture or a video."""

    kind: str
    """Kind of the picture, for example `image/png`."""
    data: bytes
    caption: str
    detail: str = ""
    """Stands at the caption's other end."""
    is_wide: bool = False
    """Whether a video takes the whole width of the page, not half of it."""

    @property
    def url(self) -> str:
        """Return the data itself, so that nothing is fetched."""
        return f"data:{self.kind};base64,{base64.b64encode(self.data).decode()}"


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of text."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    """Cells, as many as the header has."""
    header_hints: Sequence[str] = ()
    """Told of each column to who points at it."""
    row_hints: Sequence[str] = ()
    row_styles: Sequence[str] = ()
    """CSS classes of the rows: `strong`, `member` or `key0` to `key5`, a colour as in a chart."""
    code_column: int | None = None
    """Index of a column of commands."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of a page; what is empty leaves nothing, in the order of these fields."""

    heading: str = ""
    note: str = ""
    videos: Sequence[PagePicture] = ()
    pictures: Sequence[PagePicture] = ()
    charts: Sequence[Chart] = ()
    maps: Sequence[PagePicture] = ()
    """Small square pictures, each pixel of which is seen."""
    tables: Sequence[Table] = ()
    facts: Mapping[str, object] = field(default_factory=dict)
    remarks: Sequence[str] = ()

    @property
    def has_content(self) -> bool:
        """Tell whether there is more than words above it."""
        return any(getattr(self, each.name) for each in fields(self)[2:])


def write_page(output_path: Path, *, title: str, lead: str, sections: Iterable[Section]) -> None:
    """Write a page, whole or not at all.

    Args:
        output_path: The HTML file.
        title: Its headline.
        lead: A sentence below it.
        sections: In order; those without content are left out.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = files("nitrogen_train.viewing").joinpath("page.html.j2").read_text(encoding="utf-8")
    page = environment.from_string(template).render(
        title=title, lead=lead, sections=[each for each in sections if each.has_content]
    )
    with write_atomically(output_path) as temporary:
        temporary.write_text(page, encoding="utf-8")
