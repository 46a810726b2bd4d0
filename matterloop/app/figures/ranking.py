"""Values of many models with their intervals, best first: who is better, and by how much more than chance."""

from __future__ import annotations

from collections.abc import Sequence

from .svg import FAINT, GRID, INK, KEPT, OTHER, PAPER, WARN, line, mark, picture, text, ticks, titled


def ranking(rows: Sequence[tuple[str, float, float, float, str]], across: str, width: float = 760.0) -> str:
    """One line per model, top to bottom as given.

    rows    (name, value, low, high, kind); kind: "" an ordinary model, "base" the base case, "more" one that learnt from more data
    across  words of the axis, with the unit
    """
    left, right, top, bottom, step = 230.0, 24.0, 12.0, 46.0, 22.0
    height = top + bottom + step * len(rows)
    ends = [v for _, value, low, high, _ in rows for v in (value, low, high)]
    low_end, high_end = min(ends), max(ends)
    pad = 0.05 * ((high_end - low_end) or abs(high_end) or 1.0)
    low_end, high_end = low_end - pad, high_end + pad
    px = lambda v: left + (v - low_end) / (high_end - low_end) * (width - left - right)
    parts = [mark("rect", x=0.0, y=0.0, width=width, height=height, fill=PAPER)]
    for t in ticks(low_end, high_end, 6):
        parts += [line(px(t), top, px(t), height - bottom, GRID), text(px(t), height - bottom + 16, f"{t:g}", 10.5, "middle", FAINT)]
    colours = {"base": WARN, "more": OTHER}
    for i, (name, value, low, high, kind) in enumerate(rows):
        y, colour = top + step * (i + 0.5), colours.get(kind, KEPT)
        if kind == "base":
            parts.append(line(px(value), top, px(value), height - bottom, WARN, 1.0, stroke_dasharray="4 4"))
        dot = line(px(low), y, px(high), y, colour, 2.0) + mark("circle", cx=px(value), cy=y, r=4.2, fill=colour, stroke=PAPER, stroke_width=0.8)
        parts += [text(left - 10, y + 4, name if len(name) <= 34 else name[:33] + "…", 11.5, "end", INK), titled(dot, f"{name}: {value:.4g} ({low:.4g} to {high:.4g})")]
    parts.append(text((left + width - right) / 2, height - 10, across, 11.5, "middle", FAINT))
    return picture(width, height, parts, f"{across} of {len(rows)} models: " + ", ".join(f"{r[0]} {r[1]:.3g}" for r in rows))


def against_cost(rows: Sequence[tuple[str, float, float, str]], across: str, up: str, width: float = 760.0, height: float = 330.0) -> str:
    """Accuracy against cost on a logarithmic axis.

    rows  (name, cost, value, kind) as in `ranking`; costs are positive
    """
    from math import ceil, floor, log10

    left, right, top, bottom = 64.0, 110.0, 14.0, 48.0
    xs, ys = [log10(r[1]) for r in rows], [r[2] for r in rows]
    x0, x1 = floor(min(xs) * 2) / 2 - 0.1, ceil(max(xs) * 2) / 2 + 0.1
    pad = 0.08 * ((max(ys) - min(ys)) or abs(max(ys)) or 1.0)
    y0, y1 = min(ys) - pad, max(ys) + pad
    px = lambda v: left + (v - x0) / (x1 - x0) * (width - left - right)
    py = lambda v: top + (y1 - v) / (y1 - y0) * (height - top - bottom)
    parts = [mark("rect", x=0.0, y=0.0, width=width, height=height, fill=PAPER)]
    for t in ticks(y0, y1):
        parts += [line(left, py(t), width - right, py(t), GRID), text(left - 7, py(t) + 4, f"{t:g}", 10.5, "end", FAINT)]
    for power in range(ceil(x0), floor(x1) + 1):
        parts += [line(px(power), top, px(power), height - bottom, GRID), text(px(power), height - bottom + 15, f"{10.0**power:g}", 10.5, "middle", FAINT)]
    taken: list[tuple[float, float]] = []
    for name, cost, value, kind in sorted(rows, key=lambda r: r[2]):
        x, y, colour = px(log10(cost)), py(value), {"base": WARN, "more": OTHER}.get(kind, KEPT)
        parts.append(titled(mark("circle", cx=x, cy=y, r=4.5, fill=colour, stroke=PAPER, stroke_width=0.8), f"{name}: {value:.4g} at {cost:.3g}"))
        place = next((dy for dy in (4.0, -7.0, 15.0) if all(abs(x - a) > 90 or abs(y + dy - b) > 10 for a, b in taken)), None)
        if place is not None:  # a name that would lie on another is left to the pointer
            parts.append(text(x + 8, y + place, name if len(name) <= 18 else name[:17] + "…", 10.0, colour=INK))
            taken.append((x, y + place))
    middle = (top + height - bottom) / 2
    parts += [text((left + width - right) / 2, height - 12, across, 11.5, "middle", FAINT),
              mark("text", up, x=14.0, y=middle, font_size=11.5, fill=FAINT, text_anchor="middle", transform=f"rotate(-90 14 {middle:g})")]
    return picture(width, height, parts, f"{up} against {across}")
