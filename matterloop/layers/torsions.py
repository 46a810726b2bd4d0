"""Local spherical coordinates of the neighbours of an atom: about the axis to one of them, each other one has an angle, and a torsion to the next in azimuth.

Y. Liu, L. Wang, M. Liu, Y. Lin, X. Zhang, B. Oztekin, S. Ji, "Spherical message passing for 3D molecular graphs", ICLR 2022, arXiv:2102.05013, section 3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ..crystal.graph import Graph
from ..crystal.segments import offsets_of, runs

TOGETHER = 16_000  # pairs of neighbours computed at once
TIE = 1e-2  # rad; neighbours nearer than this in azimuth, or than this to the axis, do not tell each other's order


def local_directions(unit: Tensor, real: Tensor, place: Tensor | None = None) -> Tensor:
    """(atoms, n, m, 3) unit vectors [atom, axis, neighbour] of the directions `unit` (atoms, m, 3), seen about some of them as the polar axis.

    The azimuth is the torsion: the angle, counted anticlockwise about the axis, from the neighbour's half-plane to that of the next neighbour, where
    neighbours within TIE of the same half-plane count as one, and a lone one has 2 pi. That is the same for every order of the neighbours and every frame.
    A neighbour on the axis has no azimuth and is nobody's next. real (atoms, m) says which rows are neighbours; other rows, and the pair of a neighbour
    with itself, are meaningless. place (atoms, n) says which neighbours are axes; None: all of them.
    """
    sine, torsion, z = _about(unit, real, torch.arange(unit.shape[1], device=unit.device).expand(unit.shape[:2]) if place is None else place)
    return torch.stack([sine * torch.cos(torsion), sine * torch.sin(torsion), z], -1)


def torsions(graph: Graph, unit: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """(pairs,) torsion of the edge `right` about the edge `left` of the same atom, as in `local_directions`; unit (edges, 3) directions from the centre."""
    degree = torch.bincount(graph.receivers)
    ends, begin, at = offsets_of(degree), offsets_of(degree.square()), graph.receivers[left]
    table = unit.new_zeros(int(begin[-1]))
    for part, rows, slot, most in like_degrees(degree, ends):
        real = torch.zeros(len(part) * most, dtype=torch.bool, device=unit.device).index_fill(0, slot, True).view(-1, most)
        own = unit.new_zeros(len(part) * most, 3).index_copy(0, slot, unit[rows]).view(-1, most, 3)
        _, torsion, _ = _about(own, real, torch.arange(most, device=unit.device).expand(len(part), most))
        table[runs(begin[:-1][part], degree[part].square())] = torsion[real[:, :, None] & real[:, None]]
    return table[begin[at] + (left - ends[at]) * degree[at] + right - ends[at]]


def like_degrees(degree: Tensor, ends: Tensor, axes: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor, Tensor, int]]:
    """Atoms of like numbers of neighbours, about TOGETHER pairs at a time, none without any: (atoms, their edges, the place of each among atoms x most, most).

    degree (atoms,) neighbours, the edges of an atom beginning at ends (atoms + 1,);  axes (atoms,) how many of them are axes, None: all
    """
    atoms = torch.argsort(degree, stable=True)
    atoms = atoms[degree[atoms] > 0]
    for part in atoms.split(_sizes(degree[atoms].tolist(), (degree if axes is None else axes)[atoms].tolist())) if len(atoms) else ():
        slot, most = slots(degree[part])
        yield part, runs(ends[:-1][part], degree[part]), slot, most


def slots(count: Tensor) -> tuple[Tensor, int]:
    """Places of the rows of atoms with `count` (atoms,) rows each in a table of atoms x most, and most."""
    most = max(int(count.max()), 1)
    return runs(torch.arange(len(count), device=count.device) * most, count), most


def _sizes(degrees: list[int], axes: list[int]) -> list[int]:
    """How many atoms, whose numbers of neighbours rise, to take together."""
    sizes, begin, widest = [], 0, 0
    for i, (most, wide) in enumerate(zip(degrees, axes, strict=True)):
        widest = max(widest, wide)
        if i > begin and (i + 1 - begin) * most * widest > TOGETHER:
            sizes.append(i - begin)
            begin, widest = i, wide
    return [*sizes, len(degrees) - begin]


def _about(unit: Tensor, real: Tensor, place: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(atoms, n, m) sine of the angle, torsion, cosine."""
    axis = unit.gather(1, place[:, :, None].expand(-1, -1, 3))
    least = torch.nn.functional.one_hot(axis.abs().argmin(-1), 3).to(unit)
    first = torch.nn.functional.normalize(torch.linalg.cross(axis, least), dim=-1)
    second = torch.linalg.cross(axis, first)
    x, y, z = (frame @ unit.mT for frame in (first, second, axis))
    off = (x * x + y * y > TIE**2) & real.gather(1, place)[:, :, None] & real[:, None] & (place[:, :, None] != torch.arange(unit.shape[1], device=unit.device))
    sine = torch.where(off, x * x + y * y, 1).sqrt()
    azimuth = torch.atan2(torch.where(off, y, 0), torch.where(off, x, 1))
    torsion = torch.where(off, _to_next(azimuth, off), 0)
    return torch.where(off, sine, 0), torsion, torch.where(off, z, z.sign())


def _to_next(azimuth: Tensor, off: Tensor) -> Tensor:
    """(..., m) angle from each azimuth to the next one that is more than TIE away from the one before it; rows where `off` is False are not looked at."""
    never = math.inf
    sorted_, order = torch.where(off, azimuth, never).sort(dim=-1)
    many = off.sum(-1, keepdim=True)
    last = sorted_.gather(-1, (many - 1).clamp(min=0)) - 2 * math.pi
    start = sorted_ - torch.cat([last, sorted_[..., :-1]], -1) > TIE  # a gap lies before it; inf - inf is not
    starts = torch.where(start & sorted_.isfinite(), sorted_, never)
    coming = starts.flip(-1).cummin(-1).values.flip(-1)
    around = coming[..., :1] + 2 * math.pi  # the first start once more
    coming = torch.minimum(torch.cat([coming[..., 1:], torch.full_like(around, never)], -1), around)
    turn = torch.where(coming.isfinite() & sorted_.isfinite(), coming - sorted_, 2 * math.pi)
    return torch.empty_like(turn).scatter(-1, order, turn)
