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
