"""What each stage of a campaign cost: bars of CPU seconds with wall seconds and memory beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .svg import FAINT, GRID, KEPT, line, mark, picture, text, titled


def duration(seconds: float) -> str:
    """Seconds as a person reads them: 0.31 s, 42 s, 3.5 min, 2.1 h."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"


def stage_cost(stages: Mapping[str, Mapping[str, Any]], width: float = 640.0) -> str:
    """Horizontal bars, one per stage, of its CPU seconds; a thin line is its wall seconds on the same scale."""
    top = max((max(s["cpu_seconds"], s["wall_seconds"]) for s in stages.values()), default=0) or 1
    left, right, row, head = 90.0, 330.0, 26.0, 20.0
    columns = (("CPU", width - right + 70), ("share", width - right + 125), ("wall", width - right + 205), ("peak so far", width - right + 325))
    parts = [text(x, 13, name, 11.5, "end", FAINT) for name, x in columns]
    scale = (width - left - right) / top
    for i, (name, s) in enumerate(stages.items()):
        y = head + i * row + 4
        bar = mark("rect", x=left, y=y, width=width - left - right, height=row - 8, fill=GRID, rx=3.0)
        bar += mark("rect", x=left, y=y, width=max(s["cpu_seconds"] * scale, 1.0), height=row - 8, fill=KEPT, rx=3.0, opacity=0.8)
        bar += line(left + s["wall_seconds"] * scale, y - 2, left + s["wall_seconds"] * scale, y + row - 6, width=1.5)
        parts.append(titled(bar, f"{name}: {duration(s['cpu_seconds'])} of CPU, {duration(s['wall_seconds'])} of wall time"))
        parts.append(text(left - 10, y + 13, name, 12.5, "end"))
        shown = (duration(s["cpu_seconds"]), f"{s['share_of_cpu']:.0%}", duration(s["wall_seconds"]), f"{s['peak_mib']:.0f} MiB")
        parts += [text(x, y + 13, words, 12, "end", font_weight="600" if name == "CPU" else "400") for words, (name, x) in zip(shown, columns, strict=True)]
    label = "cost of the stages: " + ", ".join(f"{n} {s['cpu_seconds']:.1f} CPU seconds" for n, s in stages.items())
    return picture(width, head + len(stages) * row + 4, parts, label)
