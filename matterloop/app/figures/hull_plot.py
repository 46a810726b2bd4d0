"""Convex hulls of two and three elements with the candidates of a campaign on them."""

from __future__ import annotations

from collections.abc import Mapping
from math import cos, pi, sin
from typing import Any

from .svg import FAINT, GRID, INK, KEPT, OTHER, PAPER, WARN, line, mark, picture, ramp, text, titled, ticks


def hull_plot(data: Mapping[str, Any]) -> str:
    """The plot of one chemical system as `discover.hull_plots` describes it."""
    return _binary(data) if len(data["symbols"]) == 2 else _ternary(data)


def _star(x: float, y: float, colour: str, size: float = 7.0) -> str:
    points = []
    for i in range(10):
        r = size if i % 2 == 0 else size * 0.45
        points.append(f"{x + r * sin(i * pi / 5):.1f},{y - r * cos(i * pi / 5):.1f}")
    return mark("polygon", points=" ".join(points), fill=colour, stroke=PAPER, stroke_width=1.0)


def _words(c: Mapping[str, Any]) -> str:
    return f"{c['formula']} ({c['key']}): {c['energy_above_hull']:+.3f} eV/atom from the hull" + (", kept" if c["kept"] else "")


def _binary(d: Mapping[str, Any], width: float = 470.0, height: float = 330.0) -> str:
    left, right, top, bottom = 64.0, 18.0, 14.0, 44.0
    candidates = d["candidates"]
    lowest = min([0.0, *(e for _, e, _ in d["curve"]), *(c["formation_energy"] for c in candidates)])
    highest = max([0.05, *(min(c["formation_energy"], lowest + 1.5 * abs(lowest) + 0.3) for c in candidates)])
    low, high = lowest - 0.06 * (highest - lowest), highest + 0.04 * (highest - lowest)
    px = lambda x: left + x * (width - left - right)
    py = lambda e: top + (high - e) / (high - low) * (height - top - bottom)
    parts = []
    for t in ticks(low, high):
        parts += [line(left, py(t), width - right, py(t), GRID), text(left - 7, py(t) + 4, f"{t:g}", 10.5, "end", FAINT)]
    curve = " ".join(f"{px(x):.1f},{py(e):.1f}" for x, e, _ in d["curve"])
    parts.append(mark("polyline", points=curve, fill="none", stroke=INK, stroke_width=1.5))
    taken: list[tuple[float, float]] = []
    for x, e, above, stable, name in zip(d["fraction"], d["formation_energy"], d["above"], d["stable"], d["names"], strict=True):
        if e <= high:
            dot = mark("circle", cx=px(x), cy=py(e), r=4.0 if stable else 2.4, fill=INK if stable else OTHER)
            parts.append(titled(dot, f"{name}: {e:.3f} eV/atom" + ("" if stable else f", {above:.3f} above the hull")))
            if stable and 0 < x < 1 and all(abs(px(x) - a) > 44 or abs(py(e) - b) > 13 for a, b in taken):
                taken.append((px(x), py(e)))
                parts.append(text(px(x), py(e) + 17, name.split(" ")[0], 10.5, "middle", FAINT))
    for c in candidates:
        if c["formation_energy"] <= high:
            parts.append(titled(_star(px(c["fractions"][1]), py(c["formation_energy"]), KEPT if c["kept"] else WARN), _words(c)))
    parts += [text(left, height - 22, d["symbols"][0], 12.5, "middle", font_weight="600"), text(width - right, height - 22, d["symbols"][1], 12.5, "middle", font_weight="600"),
              text((left + width - right) / 2, height - 6, f"share of {d['symbols'][1]}", 11, "middle", FAINT),
              mark("text", "formation energy, eV/atom", x=14.0, y=height / 2, font_size=11, fill=FAINT, text_anchor="middle", transform=f"rotate(-90 14 {height / 2:g})")]
    return picture(width, height, parts, f"convex hull of {'-'.join(d['symbols'])}")


def _ternary(d: Mapping[str, Any], width: float = 470.0) -> str:
    side, left, top = 390.0, 40.0, 34.0
    height = top + side * 0.866 + 78
    px = lambda x: left + x * side
    py = lambda y: top + (0.866 - y) * side
    parts = [mark("polygon", points=" ".join(f"{px(x):.1f},{py(y):.1f}" for x, y in ((0, 0), (1, 0), (0.5, 0.866))), fill="#fafbfc", stroke=INK, stroke_width=1.5)]
    drawn = set()
    for corners in d["simplices"]:
        for i in range(len(corners)):
            pair = tuple(sorted((corners[i], corners[(i + 1) % len(corners)])))
            if pair not in drawn and pair[0] != pair[1]:
                drawn.add(pair)
                (a, b), (u, v) = d["xy"][pair[0]], d["xy"][pair[1]]
                parts.append(line(px(a), py(b), px(u), py(v), "#b9c4ce"))
    taken: list[tuple[float, float]] = []
    order = sorted(range(len(d["names"])), key=lambda i: (d["stable"][i], -d["above"][i]))
    for i in order:
        (x, y), stable, above = d["xy"][i], d["stable"][i], d["above"][i]
        if not stable and above > 0.3:
            continue
        dot = mark("circle", cx=px(x), cy=py(y), r=4.2 if stable else 2.6, fill=INK if stable else ramp(min(above / 0.3, 1.0)), stroke=PAPER, stroke_width=0.8)
        parts.append(titled(dot, f"{d['names'][i]}: {d['formation_energy'][i]:.3f} eV/atom" + (", on the hull" if stable else f", {above:.3f} above the hull")))
    for i in order:
        (x, y), name = d["xy"][i], d["names"][i].split(" ")[0]
        if d["stable"][i] and name not in d["symbols"] and all(abs(px(x) - a) > 46 or abs(py(y) - b) > 13 for a, b in taken):
            taken.append((px(x), py(y)))
            parts.append(text(px(x), py(y) - 8, name, 10, "middle", FAINT))
    for c in sorted(d["candidates"], key=lambda c: (c["kept"], -c["energy_above_hull"])):
        x, y = c["fractions"][1] + c["fractions"][2] / 2, c["fractions"][2] * 0.866
        parts.append(titled(_star(px(x), py(y), KEPT if c["kept"] else WARN), _words(c)))
    a, b, c = d["symbols"]
    parts += [text(px(0) - 8, py(0) + 18, a, 13, "middle", font_weight="600"), text(px(1) + 8, py(0) + 18, b, 13, "middle", font_weight="600"),
              text(px(0.5), py(0.866) - 10, c, 13, "middle", font_weight="600")]
    y = height - 18
    parts += [mark("circle", cx=left + 4, cy=y - 4, r=4.2, fill=INK), text(left + 14, y, "on the hull", 11, colour=FAINT),
              mark("circle", cx=left + 98, cy=y - 4, r=2.8, fill=ramp(0.5)), text(left + 108, y, "known, above it", 11, colour=FAINT),
              _star(left + 212, y - 4, KEPT), text(left + 224, y, "kept", 11, colour=FAINT), _star(left + 270, y - 4, WARN), text(left + 282, y, "turned away", 11, colour=FAINT)]
    return picture(width, height, parts, f"convex hull of {a}-{b}-{c}")
