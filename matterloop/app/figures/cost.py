"""What accuracy costs: errors of many models against their seconds of training, at the end and on the way."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log10

from .svg import FAINT, GRID, INK, KEPT, OTHER, PAPER, WARN, line, mark, picture, text, ticks, titled

COLOURS = (KEPT, WARN, "#3b496c", "#a59c74", "#7b4a8e", "#5f8f2f", "#b5547a", OTHER)
POINTS = 120  # of one line, at most
SIZE = (760.0, 350.0)
EDGES = (64.0, 24.0, 16.0, 48.0)  # left, right, top, bottom


def decades(low: float, high: float) -> list[float]:
    """Round numbers between low and high, both positive, for a logarithmic axis: powers of ten, and 2 and 5 times these where there are few."""
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    found = [m * 10.0**p for p in powers for m in ((1,) if log10(high / low) > 3 else (1, 2, 5))]
    return [v for v in found if low <= v <= high]


class _Names:
    """Words beside points, none on another: where there is no room a word is left to the pointer."""

    def __init__(self, width: float):
        self.width, self.taken = width, []

    def beside(self, x: float, y: float, words: str, colour: str = INK, most: int = 30) -> list[str]:
        words = words if len(words) <= most else words[: most - 1] + "…"
        long = 5.4 * len(words)
        for dy in (4.0, -7.0, 15.0, -17.0, 25.0):
            for side in (1, -1):
                begin = x + 8 if side > 0 else x - 8 - long
                box = (begin, y + dy - 9, begin + long, y + dy + 1)
                inside = 0 <= box[0] and box[2] <= self.width
                if inside and all(box[2] < a or c < box[0] or box[3] < b or d < box[1] for a, b, c, d in self.taken):
                    self.taken.append(box)
                    return [text(x + 8 * side, y + dy, words, 10.0, "start" if side > 0 else "end", colour, paint_order="stroke", stroke=PAPER, stroke_width=3)]
        return []


def _frame(xs: tuple[float, float], upward: Sequence[float], py, across: str, up: str) -> tuple[list[str], object]:
    """Grid and words of a picture whose horizontal axis is logarithmic, and the place of a number on it."""
    (width, height), (left, right, top, bottom) = SIZE, EDGES
    x0, x1 = log10(xs[0]) - 0.06, log10(xs[1]) + 0.12
    px = lambda v: left + (log10(v) - x0) / (x1 - x0) * (width - left - right)
    parts = [mark("rect", x=0.0, y=0.0, width=width, height=height, fill=PAPER)]
    for t in upward:
        parts += [line(left, py(t), width - right, py(t), GRID), text(left - 7, py(t) + 4, f"{t:g}", 10.5, "end", FAINT)]
    for t in decades(10**x0, 10**x1):
        parts += [line(px(t), top, px(t), height - bottom, GRID), text(px(t), height - bottom + 15, f"{t:g}", 10.5, "middle", FAINT)]
    middle = (top + height - bottom) / 2
    return [*parts, text((left + width - right) / 2, height - 12, across, 11.5, "middle", FAINT),
            mark("text", up, x=14.0, y=middle, font_size=11.5, fill=FAINT, text_anchor="middle", transform=f"rotate(-90 14 {middle:g})")], px


def against_cost(rows: Sequence[tuple[str, float, float, float, float, str]], across: str, up: str, larger: bool = False) -> str:
    """Accuracy with its interval against cost; steps along those that no cheaper one betters: the best that so much buys.

    rows    (name, cost, value, low, high, kind) as in `ranking`; costs are positive
    larger  whether larger values are better
    """
    (width, height), (left, right, top, bottom) = SIZE, EDGES
    ys = [v for r in rows for v in r[2:5]]
    pad = 0.06 * ((max(ys) - min(ys)) or abs(max(ys)) or 1.0)
    y0, y1 = min(ys) - pad, max(ys) + pad
    py = lambda v: top + (y1 - v) / (y1 - y0) * (height - top - bottom)
    parts, px = _frame((min(r[1] for r in rows), max(r[1] for r in rows)), ticks(y0, y1), py, across, up)
    front: list[tuple[float, float]] = []
    for _, cost, value, *_ in sorted(rows, key=lambda r: r[1]):
        if not front or (value > front[-1][1] if larger else value < front[-1][1]):
            front.append((cost, value))
    if len(front) > 1:
        steps = [front[0], *(p for (_, before), (x, y) in zip(front, front[1:], strict=False) for p in ((x, before), (x, y)))]
        parts.append(mark("polyline", points=" ".join(f"{px(x):.1f},{py(y):.1f}" for x, y in steps), fill="none", stroke=KEPT, stroke_width=1.0, stroke_dasharray="3 4", opacity=0.7))
    names = _Names(width)
    names.taken += [(px(x) - 6, py(y) - 6, px(x) + 6, py(y) + 6) for _, x, y, *_ in rows]
    for name, cost, value, low, high, kind in sorted(rows, key=lambda r: r[2], reverse=larger):
        x, y, colour = px(cost), py(value), {"base": WARN, "more": OTHER}.get(kind, KEPT)
        dot = line(x, py(low), x, py(high), colour, 1.4) + mark("circle", cx=x, cy=y, r=4.5, fill=colour, stroke=PAPER, stroke_width=0.8)
        parts += [titled(dot, f"{name}: {value:.4g} ({low:.4g} to {high:.4g}) at {cost:.3g}"), *names.beside(x, y, name)]
    return picture(width, height, parts, f"{up} against {across}: " + ", ".join(f"{r[0]} {r[2]:.3g} at {r[1]:.3g}" for r in rows))


def learning(courses: Sequence[tuple[str, Sequence[tuple[float, float]]]], up: str, goal: float | None = None, across: str = "seconds of training") -> str:
    """The error on the way of training, both axes logarithmic; a dashed line where the goal lies.

    courses  (name, ((seconds, error), ...)) from left to right, all positive, at most eight
    """
    (width, height), (left, right, top, bottom) = SIZE, EDGES
    points = [p for _, held in courses for p in held]
    ys = [p[1] for p in points] + ([goal] if goal else [])
    y0, y1 = log10(min(ys)) - 0.04, log10(max(ys)) + 0.04
    py = lambda v: top + (y1 - log10(v)) / (y1 - y0) * (height - top - bottom)
    parts, px = _frame((min(p[0] for p in points), max(p[0] for p in points)), decades(10**y0, 10**y1), py, across, up)
    if goal:
        parts += [line(left, py(goal), width - right, py(goal), WARN, 1.0, stroke_dasharray="4 4"), text(left + 4, py(goal) - 4, f"goal {goal:g}", 10.0, colour=WARN)]
    names = _Names(width)
    for (name, held), colour in zip(courses, COLOURS, strict=False):
        drawn = [*held[:: max(1, -(-len(held) // POINTS))], held[-1]]
        parts.append(titled(mark("polyline", points=" ".join(f"{px(x):.1f},{py(y):.1f}" for x, y in drawn), fill="none", stroke=colour, stroke_width=1.6), f"{name}: {held[-1][1]:.4g}"))
        parts += names.beside(px(held[-1][0]) - 4, py(held[-1][1]), name, colour)
    return picture(width, height, parts, f"{up} against {across}: " + ", ".join(f"{n} ends at {h[-1][1]:.3g}" for n, h in courses))
