"""Two potentials on the same candidates: the distance to the hull by one against that by the other."""

from __future__ import annotations

from collections.abc import Sequence

from .svg import FAINT, GRID, INK, KEPT, PAPER, WARN, line, mark, picture, text, ticks, titled


def agreement(points: Sequence[tuple[str, float, float, bool, bool]], limit: float, first: str, second: str, width: float = 520.0) -> str:
    """One dot per candidate, hollow where a hull lacks known phases.

    points         (what the pointer shows, eV/atom above the hull by the first, by the second, whether they agree, whether both hulls hold what is known there)
    limit          eV/atom, drawn for both; first, second: names of the potentials
    """
    left, right, top, bottom = 64.0, 20.0, 14.0, 50.0
    height = width - left - right + top + bottom
    values = [v for _, a, b, _, _ in points for v in (a, b)]
    low, high = min([0.0, limit, *values]), max([0.05, limit, *values])
    margin = 0.06 * (high - low)
    low, high = low - margin, high + margin
    px = lambda v: left + (v - low) / (high - low) * (width - left - right)
    py = lambda v: top + (high - v) / (high - low) * (height - top - bottom)
    parts = [mark("rect", x=left, y=py(limit), width=px(limit) - left, height=height - bottom - py(limit), fill=KEPT, opacity=0.07)]
    for t in ticks(low, high):
        parts += [line(left, py(t), width - right, py(t), GRID), text(left - 7, py(t) + 4, f"{t:g}", 10.5, "end", FAINT),
                  line(px(t), top, px(t), height - bottom, GRID), text(px(t), height - bottom + 15, f"{t:g}", 10.5, "middle", FAINT)]
    parts.append(line(px(low), py(low), px(high), py(high), FAINT, 1.0, stroke_dasharray="4 4"))
    parts += [line(left, py(limit), width - right, py(limit), INK, 1.0), line(px(limit), top, px(limit), height - bottom, INK, 1.0)]
    for words, a, b, same, whole in sorted(points, key=lambda p: not p[3]):
        colour = KEPT if same else WARN
        parts.append(titled(mark("circle", cx=px(a), cy=py(b), r=4.5, fill=colour if whole else PAPER, stroke=PAPER if whole else colour, stroke_width=0.8 if whole else 1.6), words))
    middle = (top + height - bottom) / 2
    parts += [text((left + width - right) / 2, height - 14, f"above the hull by {first}, eV/atom", 11.5, "middle", FAINT),
              mark("text", f"above the hull by {second}, eV/atom", x=14.0, y=middle, font_size=11.5, fill=FAINT, text_anchor="middle", transform=f"rotate(-90 14 {middle:g})")]
    return picture(width, height, parts, f"{len(points)} candidates: {second} against {first}, {sum(p[3] for p in points)} agree")
