"""How an answer moves along one column: a curve per row, their mean, accumulated local effects, and where the rows are."""

from __future__ import annotations

from collections.abc import Sequence

from .svg import FAINT, GRID, INK, KEPT, OTHER, WARN, line, mark, picture, text, ticks

MOST = 60  # curves of single rows that are drawn


def dependence(grid: Sequence[float], lines: Sequence[Sequence[float]], rows: Sequence[float], across: str, up: str, *,
               accumulated: tuple[Sequence[float], Sequence[float]] | None = None, width: float = 460.0, height: float = 320.0) -> str:
    """Curves (rows, points) over the grid (points,), thin; their mean thick; accumulated effects (grid, effect) dashed, moved to the mean's middle; a tick per row below."""
    left, right, top, bottom = 64.0, 16.0, 32.0, 58.0
    mean = [sum(one[k] for one in lines) / len(lines) for k in range(len(grid))]
    step = max(1, -(-len(lines) // MOST))
    some = list(lines)[::step]
    moved: list[float] = []
    if accumulated is not None:
        shift = sum(mean) / len(mean) - sum(accumulated[1]) / len(accumulated[1])
        moved = [v + shift for v in accumulated[1]]
    ys = [v for one in some for v in one] + mean + moved
    x0, x1 = min(grid), max(grid)
    x0, x1 = (x0, x1) if x1 > x0 else (x0 - 0.5, x1 + 0.5)
    y0, y1 = min(ys), max(ys)
    pad = 0.05 * (y1 - y0 or max(abs(y1), 1e-9))
    y0, y1 = y0 - pad, y1 + pad
    px = lambda v: left + (min(max(v, x0), x1) - x0) / (x1 - x0) * (width - left - right)
    py = lambda v: top + (y1 - v) / (y1 - y0) * (height - top - bottom)
    path = lambda xs, vs: " ".join(f"{px(a):.1f},{py(b):.1f}" for a, b in zip(xs, vs, strict=True))
    out = []
    for t in ticks(y0, y1):
        out += [line(left, py(t), width - right, py(t), GRID), text(left - 7, py(t) + 4, f"{t:g}", 10.5, "end", FAINT)]
    for t in ticks(x0, x1):
        out += [line(px(t), top, px(t), height - bottom, GRID), text(px(t), height - bottom + 24, f"{t:g}", 10.5, "middle", FAINT)]
    out += [mark("polyline", points=path(grid, one), fill="none", stroke=OTHER, stroke_width=0.8, opacity=0.45) for one in some]
    out += [line(px(v), height - bottom + 2, px(v), height - bottom + 9, INK, 0.7, opacity=0.35) for v in rows]
    if moved:
        out.append(mark("polyline", points=path(accumulated[0], moved), fill="none", stroke=WARN, stroke_width=1.8, stroke_dasharray="5 3"))
    out.append(mark("polyline", points=path(grid, mean), fill="none", stroke=KEPT, stroke_width=2.6))
    at = left
    for name, colour, dash in (("mean", KEPT, None), ("single rows", OTHER, None), *([("accumulated effects", WARN, "5 3")] if moved else [])):
        out += [line(at, 14, at + 18, 14, colour, 2.2, **({"stroke_dasharray": dash} if dash else {})), text(at + 23, 18, name, 10.5)]
        at += 40 + 5.8 * len(name)
    middle = (top + height - bottom) / 2
    out += [text((left + width - right) / 2, height - 10, across, 11.5, "middle", FAINT),
            mark("text", up, x=14.0, y=middle, font_size=11.5, fill=FAINT, text_anchor="middle", transform=f"rotate(-90 14 {middle:g})")]
    return picture(width, height, out, f"{up} along {across}")
