"""What a crystal's geometry says before any model: volume, packing, symmetry, lengths of bonds, distances and coordination, by group.

    cell       volume per atom (Å^3), density (g/cm^3), share of the volume inside spheres of the covalent radii, space group, order of the
               point group, centre of inversion, crystal system, atoms and orbits of the primitive cell
    bonds      statistics over atoms of the nearest distance and over bonds (pairs nearer than 1.15 sums of covalent radii) of their length, length over sum of
               radii, |difference of electronegativity| and of Mendeleev number; bonds of an atom; share of bonds between equal elements
    distances  neighbours of an atom between (k - 1) / 2 and k / 2 Å, k = 3 to 14, over the volume of the shell (1/Å^3)
    sites      mean and standard deviation over atoms of CrystalNN's likelihoods and motifs (represent/crystal_nn.py)
Packing and lengths of bonds after L. Ward et al., Phys. Rev. B 96, 024104 (2017), doi:10.1103/PhysRevB.96.024104; radii and electronegativities as in crystal_nn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..base.element_scales import MAX_Z as LAST
from ..base.element_scales import MENDELEEV
from ..base.errors import BadInput, Missing
from ..base.registry import Card
from ..crystal.composition import ELECTRONEGATIVITY, density
from ..crystal.graph import Within
from ..crystal.segments import segment_count, segment_max, segment_mean, segment_min, segment_sum
from ..crystal.state import Crystals
from ..crystal.symmetry import analyse
from . import crystal_nn
from .crystal_nn import COVALENT

CARD = Card(
    name="structure_statistics",
    build="StructureStatistics",
    role="descriptor",
    paper="10.1103/PhysRevB.96.024104",
    year=2017,
    capabilities=("vector",),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    reference=113.79190382142392,
    tolerance=1e-6,
    tolerance_reason="CrystalNN's angles come from arccos, which turns a rounding of 1e-16 near 0 and 180 degrees into 1e-8",
    differs=(
        "bonds are pairs nearer than 1.15 sums of covalent radii; the paper weighs the faces of Voronoi cells",
        "symmetry, distances and coordination stand beside the attributes of the paper",
    ),
    summary="volume, packing, symmetry, bonds, distances and coordination of a crystal, in groups",
)
BOND = 1.15  # sums of covalent radii
SHELL, SHELLS = 0.5, (2, 14)  # Å: width of a shell of distances, and the first and last of them, counted from 0
RADIUS = SHELL * SHELLS[1]
SYMPREC = 0.1  # Å
ATOMS = 2000  # sites whose neighbours are looked at together
SYSTEMS = (2, 15, 74, 142, 167, 194, 230)  # last space group of each crystal system
POINT_GROUPS = {  # order of each
    "1": 1, "-1": 2, "2": 2, "m": 2, "2/m": 4, "222": 4, "mm2": 4, "mmm": 8, "4": 4, "-4": 4, "4/m": 8, "422": 8, "4mm": 8, "-42m": 8, "4/mmm": 16, "3": 3, "-3": 6,
    "32": 6, "3m": 6, "-3m": 12, "6": 6, "-6": 6, "6/m": 12, "622": 12, "6mm": 12, "-6m2": 12, "6/mmm": 24, "23": 12, "m-3": 24, "432": 24, "-43m": 24, "m-3m": 48}
CENTROSYMMETRIC = ("-1", "2/m", "mmm", "4/m", "4/mmm", "-3", "-3m", "6/m", "6/mmm", "m-3", "m-3m")
NAMES = ("triclinic", "monoclinic", "orthorhombic", "tetragonal", "trigonal", "hexagonal", "cubic")
OF_BONDS = ("length", "length over radii", "difference of electronegativity", "difference of Mendeleev number")
STATISTICS = ("mean", "deviation", "lowest", "highest")


def _table(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _spread(values: Tensor, index: Tensor, size: int) -> Tensor:
    """(size, ...) standard deviation of rows per bin."""
    mean = segment_mean(values, index, size)
    return segment_mean((values - mean[index]) ** 2, index, size).sqrt()


def _statistics(values: Tensor, index: Tensor, size: int) -> Tensor:
    """(size, columns * 4) STATISTICS of each column of `values` (rows, columns) per bin; empty bins give 0."""
    parts = (segment_mean(values, index, size), _spread(values, index, size), segment_min(values, index, size, 0.0), segment_max(values, index, size, 0.0))
    return torch.stack(parts, -1).flatten(1)


def _cell(crystals: Crystals) -> Tensor:
    radius = _table([0.0, *COVALENT])[crystals.species]
    volume, count = crystals.volume, crystals.counts.to(torch.float64)
    cubes = segment_sum(radius**3, crystals.owner, len(crystals))
    return torch.cat([torch.stack([volume / count, density(crystals), 4 / 3 * math.pi * cubes / volume], 1), _symmetry(crystals)], 1)


def _symmetry(crystals: Crystals) -> Tensor:
    found = analyse(crystals, SYMPREC)
    rows = []
    for s in found:
        operations = POINT_GROUPS[s.point_group]
        system = [float(low < s.number <= high) for low, high in zip((0, *SYSTEMS), SYSTEMS)]
        rows.append([s.number, operations, float(s.point_group in CENTROSYMMETRIC), *system, len(s.mapping.unique()), len(s.orbits.unique())])
    return _table(rows)


def _bonds(crystals: Crystals) -> Tensor:
    graph, size = Within(RADIUS)(crystals), len(crystals)
    length = graph.vectors(crystals).norm(dim=-1)
    nearest = segment_min(length, graph.receivers, crystals.atoms, RADIUS)
    radius = _table([0.0, *COVALENT])
    a, b = crystals.species[graph.senders], crystals.species[graph.receivers]
    relative = length / (radius[a] + radius[b])
    bond = relative < BOND
    owner = crystals.owner[graph.receivers[bond]]
    x, order = _table(ELECTRONEGATIVITY).nan_to_num(0.0), _table([*MENDELEEV, *[MENDELEEV[-1]] * (len(ELECTRONEGATIVITY) - LAST - 1)])
    a, b = a[bond], b[bond]
    columns = torch.stack([length[bond], relative[bond], (x[a] - x[b]).abs(), (order[a] - order[b]).abs()], 1)
    degree = segment_count(graph.receivers[bond], crystals.atoms).to(torch.float64)
    return torch.cat([_statistics(nearest[:, None], crystals.owner, size), _statistics(columns, owner, size), _statistics(degree[:, None], crystals.owner, size),
                      segment_mean((a == b).to(torch.float64)[:, None], owner, size)], 1)


def _distances(crystals: Crystals) -> Tensor:
    graph = Within(RADIUS)(crystals)
    shell = (graph.vectors(crystals).norm(dim=-1) / SHELL).long().clamp(max=SHELLS[1] - 1)
    owner = crystals.owner[graph.receivers]
    count = segment_count(owner * SHELLS[1] + shell, len(crystals) * SHELLS[1]).reshape(-1, SHELLS[1])
    ends = SHELL * torch.arange(SHELLS[1] + 1, dtype=torch.float64)
    volume = 4 / 3 * math.pi * (ends[1:] ** 3 - ends[:-1] ** 3)
    return (count / crystals.counts[:, None] / volume)[:, SHELLS[0] :]


def _sites(crystals: Crystals) -> Tensor:
    found = crystal_nn.site_fingerprints(crystals)
    return torch.cat([segment_mean(found, crystals.owner, len(crystals)), _spread(found, crystals.owner, len(crystals))], 1)


GROUPS = {
    "cell": (_cell, ("volume per atom", "density", "packing", "space group", "operations", "centre of inversion", *NAMES, "primitive atoms", "orbits")),
    "bonds": (_bonds, (*(f"{s} nearest distance" for s in STATISTICS), *(f"{s} {name} of bonds" for name in OF_BONDS for s in STATISTICS),
                       *(f"{s} number of bonds" for s in STATISTICS), "bonds between equals")),
    "distances": (_distances, tuple(f"neighbours from {k * SHELL:g} Å" for k in range(*SHELLS))),
    "sites": (_sites, tuple(f"{s} {name}" for s in ("mean", "deviation of") for name in crystal_nn.LABELS)),
}


def labels(groups: Sequence[str] = tuple(GROUPS)) -> tuple[str, ...]:
    """Names of the columns of these groups; Missing for a group that is not there."""
    if unknown := [g for g in groups if g not in GROUPS]:
        raise Missing("group of structure statistics", unknown[0], GROUPS)
    return tuple(name for g in groups for name in GROUPS[g][1])


@dataclass(frozen=True)
class StructureStatistics:
    """The descriptor as an object: called with crystals it returns (crystals, width) float64, columns as in `labels(groups)`.

    BadInput naming the crystal for undecided elements, elements beyond curium, structures that do not repeat along three axes, and whatever
    symmetry search and CrystalNN cannot read.
    """

    groups: tuple[str, ...] = tuple(GROUPS)

    def __call__(self, crystals: Crystals) -> Tensor:
        width, parts, done = len(labels(tuple(self.groups))), [], 0
        for part in crystals.bare().to("cpu").to(torch.float64).split(ATOMS):
            try:
                parts.append(self._describe(part))
            except BadInput as error:
                raise error.renumbered(lambda i: i + done) from None
            done += len(part)
        return torch.cat(parts) if parts else torch.zeros(0, width, dtype=torch.float64)

    def _describe(self, crystals: Crystals) -> Tensor:
        bad = (crystals.species < 1) | (crystals.species > len(COVALENT))
        if bool(bad.any()):
            atom = int(bad.nonzero()[0, 0])
            raise BadInput(f"element {int(crystals.species[atom])} has no covalent radius; known are 1 to {len(COVALENT)}", f"crystal {int(crystals.owner[atom])}")
        return torch.cat([GROUPS[g][0](crystals) for g in self.groups], 1)
