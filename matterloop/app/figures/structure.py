"""A crystal as a flat picture: one cell seen along a slanted direction, atoms shaded by depth, bonds between touching neighbours."""

from __future__ import annotations

import numpy as np

from ...base.elements import (ALKALI_METALS, ALKALINE_EARTH_METALS, HALOGENS, LANTHANOIDS, METALLOIDS, NOBLE_GASES, POST_TRANSITION_METALS, TRANSITION_METALS,
                              symbol)
from ...crystal.graph import Within
from ...crystal.state import Crystals
from .svg import FAINT, INK, PAPER, line, mark, picture, text, titled

OWN = {1: "#e8e8e8", 6: "#4d4d4d", 7: "#3b5bdb", 8: "#d6332a", 9: "#6fbf4b", 15: "#e8853d", 16: "#e3c229", 17: "#3fae49", 34: "#c98b1a", 35: "#8f3b2e", 53: "#7a3fa0"}
GROUPS = ((ALKALI_METALS, "#9b6bd3"), (ALKALINE_EARTH_METALS, "#5fb56a"), (LANTHANOIDS, "#52bfb5"), (TRANSITION_METALS, "#5b83c4"),
          (POST_TRANSITION_METALS, "#8c95a6"), (METALLOIDS, "#b39b6d"), (HALOGENS, "#6fbf4b"), (NOBLE_GASES, "#b5d6e6"))
BOND = 3.6  # Å, farthest neighbour looked at for a bond


def colour(z: int) -> str:
    """Colour of an element: the usual one for common anions, else that of its family, shifted a little from element to element."""
    if z in OWN:
        return OWN[z]
    base = next((c for group, c in GROUPS if z in group), "#a0a0a0")
    shift = (z * 37 % 41) - 20
    return "#" + "".join(f"{min(255, max(0, int(base[i : i + 2], 16) + shift)):02x}" for i in (1, 3, 5))


def structure(crystal: Crystals, size: float = 220.0) -> str:
    """Picture of a batch of one; atoms on faces of the cell are shown on every face they touch."""
    cell = crystal.cell[0].numpy()
    frac, species = crystal.wrapped().frac.numpy(), crystal.species.numpy()
    shown, kinds = [], []
    for f, z in zip(frac, species, strict=True):
        for shift in np.ndindex(2, 2, 2):
            copy = f + shift
            if (copy <= 1.001).all():
                shown.append(copy)
                kinds.append(int(z))
    points = np.array(shown) @ cell
    a = cell[0] / np.linalg.norm(cell[0])
    c = np.cross(cell[0], cell[1])
    c /= np.linalg.norm(c)
    axes = np.stack([a, np.cross(c, a), c])  # standard orientation: a to the right, c up
    turn, tilt = np.radians(22.0), np.radians(14.0)
    spin = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    lean = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    view = lean @ spin @ axes
    seen = points @ view.T  # x right, z up, y away
    corners = np.array(list(np.ndindex(2, 2, 2)), dtype=float) @ cell @ view.T
    everything = np.concatenate([seen, corners])[:, [0, 2]]
    low, high = everything.min(0), everything.max(0)
    scale = (size - 44) / max(*(high - low), 1e-6)
    place = lambda p: ((p[0] - (low[0] + high[0]) / 2) * scale + size / 2, size / 2 - (p[2] - (low[1] + high[1]) / 2) * scale)
    drawn: list[tuple[float, str]] = []
    for i in range(8):
        for k in range(3):
            j = i | (4 >> k)
            if j != i:
                (x, y), (u, v) = place(corners[i]), place(corners[j])
                drawn.append((-(corners[i][1] + corners[j][1]) / 2 - 0.01, line(x, y, u, v, "#8a96a3", 1.0)))
    nearest = _bond_lengths(crystal)
    for i in range(len(points)):
        for j in range(i + 1, len(points)):
            d = float(np.linalg.norm(points[i] - points[j]))
            if kinds[i] != kinds[j] and d < 1.12 * min(nearest[kinds[i]], nearest[kinds[j]]) or kinds[i] == kinds[j] and len(set(kinds)) == 1 and d < 1.12 * nearest[kinds[i]]:
                (x, y), (u, v) = place(seen[i]), place(seen[j])
                drawn.append((-max(seen[i][1], seen[j][1]) - 0.01, line(x, y, u, v, "#b9c1c9", max(1.5, 0.16 * scale), stroke_linecap="round")))
    for p, z in zip(seen, kinds, strict=True):
        x, y = place(p)
        r = max(3.0, (0.32 if z in (8, 9, 7, 17, 16, 35, 53, 34, 1) else 0.42) * scale)
        ball = mark("circle", cx=x, cy=y, r=r, fill=colour(z), stroke=INK, stroke_width=0.6) + mark("circle", cx=x - r / 3, cy=y - r / 3, r=r / 3.2, fill=PAPER, opacity=0.55)
        drawn.append((-p[1], titled(ball, symbol(z))))
    parts = [m for _, m in sorted(drawn, key=lambda t: t[0])]
    legend, x = [], 6.0
    for z in sorted(set(kinds)):
        legend += [mark("circle", cx=x + 5, cy=size + 8, r=5.0, fill=colour(z), stroke=INK, stroke_width=0.5), text(x + 14, size + 12, symbol(z), 11, colour=FAINT)]
        x += 34 + 6 * len(symbol(z))
    return picture(size, size + 18, [*parts, *legend], f"one cell of {crystal.formula()}")


def _bond_lengths(crystal: Crystals) -> dict[int, float]:
    """Shortest distance of each element to another element (to itself in an element), Å; 0 where none is near."""
    graph = Within(BOND)(crystal)
    lengths = graph.vectors(crystal).norm(dim=-1).tolist()
    z = crystal.species.tolist()
    alone = len(set(z)) == 1
    found = dict.fromkeys(z, BOND)
    for s, r, d in zip(graph.senders.tolist(), graph.receivers.tolist(), lengths, strict=True):
        if alone or z[s] != z[r]:
            found[z[r]] = min(found[z[r]], d)
    return found
