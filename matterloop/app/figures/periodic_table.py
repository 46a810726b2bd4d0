"""A periodic table coloured by numbers of a campaign."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ...base.elements import SYMBOLS
from .svg import FAINT, INK, PAPER, mark, picture, ramp, text, titled


def place(z: int) -> tuple[int, int]:
    """(row, column) from 0 in the wide form with the lanthanoids and actinoids below."""
    if z <= 2:
        return 0, 0 if z == 1 else 17
    if 57 <= z <= 71:
        return 7, z - 57 + 2
    if 89 <= z <= 103:
        return 8, z - 89 + 2
    for row, (first, last) in enumerate(((3, 10), (11, 18), (19, 36), (37, 54), (55, 86), (87, 118)), 1):
        if first <= z <= last:
            k = z - first
            if row <= 2:
                return row, k if k < 2 else k + 10
            return row, k if k < 2 or row <= 4 else k - 14
    raise ValueError(f"no place for element {z}")


def periodic_table(heat: Mapping[str, tuple[int, int, float]], masked: Collection[str], side: float = 35.0) -> str:
    """Element -> (proposed, kept, lowest energy above hull in eV/atom): colour by proposals (square root), a number for kept ones; masked ones are struck."""
    top = max((a for a, _, _ in heat.values()), default=1) or 1
    parts = []
    for z in range(1, 104):
        name = SYMBOLS[z]
        row, column = place(z)
        x, y = column * side, row * side + (8.0 if row > 6 else 0.0)
        proposed, kept, lowest = heat.get(name, (0, 0, float("nan")))
        share = (proposed / top) ** 0.5
        fill = ramp(0.15 + 0.85 * share) if proposed else "#f3f5f7"
        ink = PAPER if proposed and share < 0.5 else INK if proposed else FAINT
        box = mark("rect", x=x + 1, y=y + 1, width=side - 2, height=side - 2, rx=3.0, fill=fill)
        box += text(x + side / 2, y + side / 2 + (1 if kept else 5), name, 12.5, "middle", ink, font_weight="600" if proposed else "400")
        if kept:
            box += text(x + side / 2, y + side - 5, f"{kept} kept", 8, "middle", ink)
        if name in masked:
            box += mark("line", x1=x + 5, y1=y + side - 5, x2=x + side - 5, y2=y + 5, stroke="#b8c1ca", stroke_width=1.5)
        words = f"{name}: {proposed} proposed, {kept} kept" + (f", lowest {lowest:.3f} eV/atom above the hull" if lowest == lowest else "")
        parts.append(titled(box, words + (", left out by the element mask" if name in masked else "")))
    for i in range(60):
        parts.append(mark("rect", x=3 * side + i * 3.0, y=14.0, width=3.2, height=9.0, fill=ramp(0.15 + 0.85 * i / 59)))
    parts.append(text(3 * side, 36, "1", 10, "start", FAINT))
    parts.append(text(3 * side + 180, 36, f"{top} proposals with it", 10, "end", FAINT))
    return picture(18 * side, 9 * side + 10, parts, "periodic table of proposals and kept candidates")
