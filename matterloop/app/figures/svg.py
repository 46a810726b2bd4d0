"""Scalable pictures as text: a few marks, one palette that colour-blind readers can tell apart, and safe escaping of every word."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

INK, FAINT, GRID, PAPER, KEPT, OTHER, WARN = "#1c2733", "#6b7885", "#e3e8ed", "#ffffff", "#0b7a75", "#9aa7b3", "#c4622d"
CIVIDIS = ("#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838")


def mark(name: str, content: str = "", **attributes) -> str:
    """One element; underscores of attribute names become dashes, numbers are rounded to hundredths."""
    text = " ".join(f'{k.strip("_").replace("_", "-")}="{v:.2f}"' if isinstance(v, float) else f'{k.strip("_").replace("_", "-")}="{escape(str(v))}"'
                    for k, v in attributes.items())
    return f"<{name} {text}>{content}</{name}>" if content else f"<{name} {text}/>"


def line(x1: float, y1: float, x2: float, y2: float, colour: str = INK, width: float = 1.0, **more) -> str:
    return mark("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), stroke=colour, stroke_width=width, **more)


def text(x: float, y: float, words: str, size: float = 12.0, anchor: str = "start", colour: str = INK, **more) -> str:
    return mark("text", escape(words), x=float(x), y=float(y), font_size=size, text_anchor=anchor, fill=colour, **more)


def titled(content: str, title: str) -> str:
    """A group that shows `title` when the pointer rests on it."""
    return f"<g><title>{escape(title)}</title>{content}</g>"


def picture(width: float, height: float, parts: Sequence[str], label: str) -> str:
    """The whole picture; `label` is what a screen reader says."""
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" role="img" '
            f'aria-label="{escape(label)}" font-family="inherit">{"".join(parts)}</svg>')


def ramp(x: float, colours: Sequence[str] = CIVIDIS) -> str:
    """Colour at x in [0, 1] of a piecewise linear scale."""
    x = min(max(x, 0.0), 1.0) * (len(colours) - 1)
    i = min(int(x), len(colours) - 2)
    a, b = (tuple(int(c[k : k + 2], 16) for k in (1, 3, 5)) for c in (colours[i], colours[i + 1]))
    return "#" + "".join(f"{round(p + (q - p) * (x - i)):02x}" for p, q in zip(a, b, strict=True))


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers between low and high."""
    span = high - low
    if not span > 0:
        return [low]
    power = 10 ** len(str(int(1 / span))) if span < 1 else 1
    raw = span * power / wanted
    scale = 1.0
    while raw > 10:
        raw, scale = raw / 10, scale * 10
    step = next(s for s in (0.5, 1, 2, 2.5, 5, 10) if s >= raw) * scale / power
    first = -(-low // step)
    return [round((first + i) * step, 10) for i in range(int((high - first * step) // step) + 1)]
