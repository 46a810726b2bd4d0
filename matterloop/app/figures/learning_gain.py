"""What something gains at several numbers of training rows: change of the error against a base case, with intervals, one panel per task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .svg import FAINT, GRID, INK, KEPT, OTHER, PAPER, WARN, line, mark, picture, text, ticks, titled

ROW, TITLE, GAP = 15.0, 26.0, 10.0


def learning_gain(entries: Sequence[Mapping[str, Any]], units: Mapping[str, str], width: float = 760.0) -> str:
    """Entries with task, variant, rows, mae and, but for the base case, against_scratch: change, low, high (relative, negative: better). A change whose interval
    holds zero is grey, a smaller error green, a larger one orange. Tasks that have no change to show are left out."""
    tasks = list(dict.fromkeys(e["task"] for e in entries if "against_scratch" in e))
    shown = [e["against_scratch"] for e in entries if "against_scratch" in e]
    reach = [100 * v for s in shown for v in (s["low"], s["high"])] + [-10.0, 10.0]
    low, high = min(reach), max(reach)
    left, right = 320.0, 24.0
    px = lambda v: left + (v - low) / (high - low) * (width - left - right)
    parts, y = [], 8.0
    for task in tasks:
        own = [e for e in entries if e["task"] == task and "against_scratch" in e]
        base = {e["rows"]: e["mae"] for e in entries if e["task"] == task and "against_scratch" not in e}
        told = ", ".join(f"{mae:.3g} with {rows:,} rows" for rows, mae in sorted(base.items()))
        y += TITLE
        parts.append(text(8.0, y - 8, f"{task}: from scratch {told}{f', {units[task]}' if units.get(task) else ''}", 11.5))
        top = y
        for variant in dict.fromkeys(e["variant"] for e in own):
            rows = sorted((e for e in own if e["variant"] == variant), key=lambda e: e["rows"])
            parts.append(text(left - 74, y + ROW * len(rows) / 2 + 4, variant, 10.5, "end", INK))
            for e in rows:
                s, at = e["against_scratch"], y + ROW / 2
                colour = KEPT if s["high"] < 0 else WARN if s["low"] > 0 else OTHER
                dot = line(px(100 * s["low"]), at, px(100 * s["high"]), at, colour, 1.6) + mark("circle", cx=px(100 * s["change"]), cy=at, r=3.6, fill=colour, stroke=PAPER, stroke_width=0.8)
                parts += [titled(dot, f"{variant}, {e['rows']} rows: {s['change']:+.1%} ({s['low']:+.1%} to {s['high']:+.1%})"), text(left - 8, at + 4, f"{e['rows']:,} rows", 10.0, "end", FAINT)]
                y += ROW
            y += GAP / 2
        grid = [line(px(t), top, px(t), y, GRID if t else FAINT) for t in ticks(low, high)]
        parts = [*grid, *parts, *(text(px(t), y + 12, f"{t:+g} %" if t else "0", 10.0, "middle", FAINT) for t in ticks(low, high))]
        y += TITLE
    parts.append(text(width - right, y + 8, "change of the mean absolute error against training from scratch, 95 % interval", 11.0, "end", FAINT))
    return picture(width, y + 20, parts, "change of the error by what the training begins with, for several numbers of training rows")
