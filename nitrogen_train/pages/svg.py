"""The pieces that charts are made of; what a style looks like, the page's CSS says."""

from collections.abc import Sequence
from html import escape

Number = int | float


def draw_text(style: str, text: str, *, x: Number, y: Number, anchor: str = "start") -> str:
    """Place a text, escaped."""
    return f'<text class="{style}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


def draw_line(style: str, *, x1: Number, x2: Number, y1: Number, y2: Number) -> str:
    """Draw a straight line."""
    return f'<line class="{style}" x1="{x1}" x2="{x2}" y1="{y1}" y2="{y2}"/>'


def draw_bar(style: str, *, x: Number, y: Number, width: Number, height: Number) -> str:
    """Draw a rectangle with slightly round corners."""
    return (
        f'<rect class="{style}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
        f'height="{height:.1f}" rx="2"/>'
    )


def draw_svg(parts: Sequence[str], *, width: int, height: int, label: str) -> str:
    """Put pieces into a picture that scales with the page."""
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )
