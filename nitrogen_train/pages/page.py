"""Our pages: one file, nothing in it is fetched, light or dark as the reader's screen."""

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from nitrogen_train.data.files import write_atomically


def write_page(output_path: Path, *, title: str, lead: str, sections: Iterable[str]) -> None:
    """Write a page, whole or not at all.

    Args:
        output_path: The HTML file.
        title: Its headline.
        lead: A sentence below it.
        sections: HTML, in order; empty ones leave nothing.
    """
    style = files("nitrogen_train.pages").joinpath("page.css").read_text(encoding="utf-8")
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body>"
        f'<h1>{escape(title)}</h1><p class="lead">{escape(lead)}</p>'
        f"{''.join(sections)}</body></html>\n"
    )
    with write_atomically(output_path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def format_table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    strong: str | None = None,
    code_column: int | None = None,
) -> str:
    """Lay rows out as HTML; all text is escaped.

    Args:
        header: Names of the columns.
        rows: Cells, as many as the header has.
        strong: First cell of a row to stand out.
        code_column: Index of a column of commands.
    """

    def cell(tag: str, column: int, text: str) -> str:
        if column != code_column:
            return f"<{tag}>{escape(text)}</{tag}>"
        content = _format_command(text) if tag == "td" else escape(text)
        return f'<{tag} class="text">{content}</{tag}>'

    def line(tag: str, cells: Sequence[str]) -> str:
        return "".join(cell(tag, column, text) for column, text in enumerate(cells))

    body = "".join(
        f'<tr class="policy">{line("td", row)}</tr>'
        if row[0] == strong
        else f"<tr>{line('td', row)}</tr>"
        for row in rows
    )
    head = line("th", header)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _format_command(text: str) -> str:
    """Let lines end between words only: a browser would also end one behind the first `-` of `--`.

    A word that is longer than a line still breaks, and what is copied is the command.
    """
    words = text.split(" ")
    short = (f"<span>{escape(word)}</span>" if len(word) < 40 else escape(word) for word in words)
    return f"<code>{' '.join(short)}</code>"
