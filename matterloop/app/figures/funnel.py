"""The funnel of a campaign: how many candidates came through each stage."""

from __future__ import annotations

from collections.abc import Sequence

from .svg import FAINT, GRID, KEPT, mark, picture, text, titled


def funnel(stages: Sequence[tuple[str, int]], width: float = 640.0) -> str:
    """Horizontal bars, one per stage, with counts and the share of all proposals."""
    top = max((n for _, n in stages), default=1) or 1
    left, right, row = 190.0, 110.0, 26.0
    parts = []
    for i, (name, count) in enumerate(stages):
        y, length = i * row + 4, (width - left - right) * count / top
        bar = mark("rect", x=left, y=y, width=width - left - right, height=row - 8, fill=GRID, rx=3.0)
        bar += mark("rect", x=left, y=y, width=max(length, 1.0), height=row - 8, fill=KEPT, rx=3.0, opacity=1.0 if name == "kept" else 0.55)
        parts.append(titled(bar, f"{name}: {count} of {stages[0][1]}"))
        parts.append(text(left - 10, y + 13, name, 12.5, "end"))
        parts.append(text(width - right + 8, y + 13, str(count), 12.5, font_weight="600"))
        parts.append(text(width - 2, y + 13, f"{count / top:.0%}", 12, "end", FAINT))
    return picture(width, len(stages) * row + 4, parts, "funnel: " + ", ".join(f"{n} {c}" for n, c in stages))
