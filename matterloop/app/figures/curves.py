"""Lines through measured points with their intervals: what a setting does to a figure."""

from __future__ import annotations

from collections.abc import Sequence

from .svg import FAINT, GRID, INK, KEPT, OTHER, PAPER, WARN, line, mark, picture, text, ticks, titled

COLOURS = (KEPT, WARN, "#3b496c", "#a59c74", OTHER)

Point = tuple[float, float, float, float]
"""x, y and the interval of y."""


def curves(series: Sequence[tuple[str, Sequence[Point]]], across: str, up: str, *, width: float = 560.0, height: float = 340.0, diagonal: bool = False,
           low: float | None = None, high: float | None = None) -> str:
    """One line per series.

    series     (name, points) with points from left to right; at most five
    across, up words of the axes, with units
    diagonal   draw y = x: where a wish would be met exactly
    low, high  ends of the vertical axis, from the points where absent
    """
    left, right, top, bottom = 60.0, 20.0, 30.0, 48.0
    points = [p for _, held in series for p in held]
    xs, ys = [p[0] for p in points], [v for p in points for v in p[1:]]
    x0, x1 = min(xs), max(xs)
    y0, y1 = min(ys) if low is None else low, max(ys) if high is None else high
    pad_x, pad_y = 0.04 * (x1 - x0 or 1.0), 0.05 * (y1 - y0 or 1.0)
    x0, x1 = x0 - pad_x, x1 + pad_x
    y0, y1 = y0 - (pad_y if low is None else 0.0), y1 + (pad_y if high is None else 0.0)
    px = lambda v: left + (v - x0) / (x1 - x0) * (width - left - right)
    py = lambda v: top + (y1 - v) / (y1 - y0) * (height - top - bottom)
    parts = []
    for t in ticks(y0, y1):
        parts += [line(left, py(t), width - right, py(t), GRID), text(left - 7, py(t) + 4, f"{t:g}", 10.5, "end", FAINT)]
    for t in ticks(x0, x1):
        parts += [line(px(t), top, px(t), height - bottom, GRID), text(px(t), height - bottom + 15, f"{t:g}", 10.5, "middle", FAINT)]
    if diagonal:
        a, b = max(x0, y0), min(x1, y1)
        parts.append(line(px(a), py(a), px(b), py(b), FAINT, 1.0, stroke_dasharray="4 4"))
    at = left
    for (name, held), colour in zip(series, COLOURS):
        parts.append(mark("polyline", points=" ".join(f"{px(p[0]):.1f},{py(p[1]):.1f}" for p in held), fill="none", stroke=colour, stroke_width=1.6))
        for x, y, a, b in held:
            dot = line(px(x), py(a), px(x), py(b), colour, 1.2) + mark("circle", cx=px(x), cy=py(y), r=3.6, fill=colour, stroke=PAPER, stroke_width=0.8)
            parts.append(titled(dot, f"{name}: {y:.3g} ({a:.3g} to {b:.3g}) at {x:g}"))
        parts += [mark("rect", x=at, y=8.0, width=14.0, height=4.0, fill=colour), text(at + 19, 14, name, 11.0, colour=INK)]
        at += 34 + 6.4 * len(name)
    middle = (top + height - bottom) / 2
    parts += [text((left + width - right) / 2, height - 12, across, 11.5, "middle", FAINT),
              mark("text", up, x=14.0, y=middle, font_size=11.5, fill=FAINT, text_anchor="middle", transform=f"rotate(-90 14 {middle:g})")]
    return picture(width, height, parts, f"{up} against {across}: " + ", ".join(name for name, _ in series))
