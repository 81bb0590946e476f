import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from nitrogen_train.viewing.charts import NUM_COLOURS, draw_columns
from nitrogen_train.viewing.page import PagePicture, Section, Table, write_page

HOSTILE = '"><script>alert(1)</script>'


def write(path: Path, *sections: Section, title: str = "A page") -> str:
    write_page(path / "page.html", title=title, lead=title, sections=sections)
    return (path / "page.html").read_text(encoding="utf-8")


class _Balance(HTMLParser):
    """Fails on an element that is not closed where it should be."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("meta", "img"):
            self.opened.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.opened.pop() == tag

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        pass


def test_nothing_that_is_written_becomes_markup(tmp_path: Path) -> None:
    picture = PagePicture(kind="image/png", data=b"x", caption=HOSTILE, detail=HOSTILE)
    table = Table(
        header=[HOSTILE, HOSTILE], header_hints=[HOSTILE, HOSTILE], rows=[[HOSTILE, HOSTILE]],
        row_hints=[HOSTILE], row_styles=["strong"], code_column=1,
    )  # fmt: skip
    section = Section(
        heading=HOSTILE, note=HOSTILE, videos=[picture], pictures=[picture], maps=[picture],
        charts=[draw_columns(HOSTILE, [HOSTILE, "1"], [1])], tables=[table],
        facts={HOSTILE: HOSTILE}, remarks=[HOSTILE],
    )  # fmt: skip

    page = write(tmp_path, section, title=HOSTILE)

    balance = _Balance()
    balance.feed(page)
    assert balance.opened == []
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 17


def test_a_section_without_content_leaves_nothing(tmp_path: Path) -> None:
    page = write(tmp_path, Section(heading="Empty", note="a"), Section(heading="b", remarks=["c"]))

    assert re.findall("<h2>(.*?)</h2>", page) == ["b"]


@pytest.mark.parametrize("scheme", [0, 1])
def test_both_schemes_have_every_colour(tmp_path: Path, scheme: int) -> None:
    style = write(tmp_path).partition("<style>")[2].partition("</style>")[0]

    colours = dict(
        re.findall(r"--(\w+): (#\w+)", style.split("prefers-color-scheme: dark")[scheme])
    )
    names = {"ink", "soft", "rule", "bar", *(f"colour{index}" for index in range(NUM_COLOURS))}
    assert names <= colours.keys()
