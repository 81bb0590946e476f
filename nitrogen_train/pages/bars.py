"""Bars, columns and maps of counts."""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image

from nitrogen_train.pages.svg import Number, draw_bar, draw_line, draw_svg, draw_text

_ACCENT = (26, 155, 148)
"""Stands out on light and dark paper."""


def draw_bars(
    title: str,
    bars: Mapping[str, Sequence[Number]],
    *,
    parts: Sequence[str] = (),
    text: str = "{:.2f}",
) -> str:
    """Draw a horizontal bar for each name, of one or more parts in a row.

    Args:
        title: What the values are.
        bars: The parts' lengths, not negative, by name.
        parts: Names of the parts, if there are several.
        text: How a bar's sum is written.
    """
    width, row_height, left, right, top = 480, 20, 150, 420, 26
    height = top + row_height * len(bars) + 4
    longest = max((sum(values) for values in bars.values()), default=0) or 1
    pieces = [draw_text("name", title, x=0, y=14)]
    for index, part in enumerate(parts):
        place = width - 44 * (len(parts) - 1 - index)
        pieces.append(draw_text(f"key{index}", part, x=place, y=14, anchor="end"))
    for row, (name, values) in enumerate(bars.items()):
        x, y = float(left), top + row_height * row
        pieces.append(draw_text("tick", name[:24], x=left - 8, y=y + 13, anchor="end"))
        for index, value in enumerate(values):
            length = value / longest * (right - left)
            pieces.append(
                draw_bar(f"fill{index}", x=x, y=y + 2, width=length, height=row_height - 6)
            )
            x += length
        pieces.append(draw_text("tick", text.format(sum(values)), x=x + 6, y=y + 13))
    return draw_svg(pieces, width=width, height=height, label=title)


def draw_columns(title: str, labels: Sequence[str], values: Sequence[Number]) -> str:
    """Draw a histogram; the highest column is labelled with its share of all.

    Args:
        title: What is counted.
        labels: Of the edges between the columns, one more than there are columns; an empty one is
            left out.
        values: Not negative.
    """
    width, height, left, right, top, bottom = 360, 170, 8, 352, 40, 146
    total, highest = sum(values) or 1, max(values, default=0) or 1
    step = (right - left) / max(1, len(values))
    pieces = [draw_text("name", title, x=0, y=14)]
    pieces.append(draw_line("grid", x1=left, x2=right, y1=bottom, y2=bottom))
    for index, value in enumerate(values):
        x, length = left + step * index, value / highest * (bottom - top)
        if value:
            pieces.append(
                draw_bar("fill0", x=x + 1, y=bottom - length, width=step - 2, height=length)
            )
        if value == highest:
            share = f"{value / total:.0%}"
            pieces.append(
                draw_text("tick", share, x=round(x + step / 2, 1), y=top - 6, anchor="middle")
            )
    for index, label in enumerate(labels):
        x = round(left + step * index, 1)
        anchor = "start" if index == 0 else "end" if index == len(labels) - 1 else "middle"
        pieces.append(draw_text("tick", label, x=x, y=height - 8, anchor=anchor))
    return draw_svg(pieces, width=width, height=height, label=title)


def draw_map(title: str, counts: Int64[np.ndarray, "h w"]) -> str:
    """Draw counts over a square, logarithmically: dark where many are.

    Args:
        title: What is counted.
        counts: From the top left corner.
    """
    strength = np.log1p(counts) / max(np.log1p(counts.max()), 1e-9)
    pixels = np.empty((*counts.shape, 4), dtype=np.uint8)
    pixels[..., :3] = _ACCENT
    pixels[..., 3] = np.where(counts > 0, 30 + 225 * strength, 0).round()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return (
        f'<figure class="map"><img alt="{escape(title)}" '
        f'src="{_data_url(buffer.getvalue(), "png")}"><figcaption>{escape(title)}</figcaption>'
        "</figure>"
    )


def show_picture(picture: UInt8[np.ndarray, "h w 3"], caption: str) -> str:
    """Show a picture inside the page, as a JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=80)
    return (
        f'<figure class="picture"><img alt="{escape(caption)}" '
        f'src="{_data_url(buffer.getvalue(), "jpeg")}"><figcaption>{escape(caption)}</figcaption>'
        "</figure>"
    )


def _data_url(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
