"""Lennard-Jones pairs with a cutoff, analytic forces and stress, for a whole batch at once.

J. E. Lennard-Jones, "Cohesion", Proceedings of the Physical Society 43, 461 (1931), doi:10.1088/0959-5309/43/5/301; the 12-6 form
    u(r) = 4 epsilon ((sigma/r)^12 - (sigma/r)^6)
and, between unlike atoms, the rules of H. A. Lorentz (1881), sigma_ij = (sigma_i + sigma_j)/2, and D. Berthelot (1898),
epsilon_ij = sqrt(epsilon_i epsilon_j).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ..base.elements import MAX_Z, number, symbol
from ..base.errors import BadInput, Missing
from ..base.registry import Card
from ..crystal.graph import SkinList, Within
from ..crystal.segments import segment_sum
from ..crystal.state import Crystals
from .oracle import Labels, Potential

CARD = Card(
    name="lennard_jones",
    build="LennardJones",
    role="potential",
    paper="10.1088/0959-5309/43/5/301",
    year=1931,
    summary="pair potential with cutoff, shift and mixing rules",
    capabilities=("energy", "forces", "stress"),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    presets={
        # argon: epsilon/k = 119.8 K, sigma = 3.405 Å; A. Rahman, Physical Review 136, A405 (1964)
        "argon": {"epsilon": 0.010323575, "sigma": 3.405, "cutoff": 8.5125},
    },
    small={"epsilon": 0.1, "sigma": 2.2, "cutoff": 5.5, "ending": "smooth"},
    reference=-0.13200553297927464,
    differs=("the paper sums infinite lattices; here pairs end at a cutoff, as in every simulation code",),
)
ENDINGS = ("none", "shift", "force-shift", "smooth")


class Pairs(NamedTuple):
    """Every pair once: atoms i and j, vector (pairs, 3) from i to the image of j, energy u (pairs,) and u'(r)/r (pairs,)."""

    i: Tensor
    j: Tensor
    vector: Tensor
    energy: Tensor
    slope: Tensor


class LennardJones(Potential):
    """4 epsilon ((sigma/r)^12 - (sigma/r)^6), ended at `cutoff`.

    epsilon, sigma  eV and Å: one number for all atoms, or {element: number} by symbol or atomic number, mixed by Lorentz and Berthelot
    cutoff          Å; 3 times the largest sigma if absent
    ending          "none": cut; "shift": energy shifted to end at 0; "force-shift": energy and force end at 0;
                    "smooth": multiplied by a cubic in r^2 that falls from 1 at `onset` to 0 at the cutoff (energy and force end at 0)
    onset           Å; 0.66 times the cutoff if absent
    skin            Å; above 0 the neighbours are listed so much farther out and searched again only where atoms moved (crystal.graph.SkinList)

    `label` is analytic; `energy` is differentiable in frac and cell for whatever else needs it.
    """

    name = "lennard_jones"
    energy_scheme = "lj"

    def __init__(self, epsilon: float | Mapping = 1.0, sigma: float | Mapping = 1.0, cutoff: float | None = None, ending: str = "shift",
                 onset: float | None = None, skin: float = 0.0):
        super().__init__()
        if ending not in ENDINGS:
            raise Missing("ending of Lennard-Jones", str(ending), ENDINGS)
        self.register_buffer("epsilon", _per_element(epsilon, "epsilon"))
        self.register_buffer("sigma", _per_element(sigma, "sigma"))
        self.cutoff = float(cutoff) if cutoff is not None else 3 * float(self.sigma.nan_to_num(0).max())
        self.onset = float(onset) if onset is not None else 0.66 * self.cutoff
        self.ending = ending
        self.neighbours = SkinList(self.cutoff, skin, half=True) if skin else Within(self.cutoff, half=True)
        if not 0 < self.onset < self.cutoff:
            raise BadInput(f"onset is {self.onset} and cutoff {self.cutoff} Å; 0 < onset < cutoff is needed", "LennardJones")

    def pairs(self, crystals: Crystals) -> Pairs:
        """All pairs within the cutoff, energies and slopes differentiable in frac and cell."""
        graph = self.neighbours(crystals)
        i, j = graph.receivers, graph.senders
        self._refuse_unknown(crystals)
        vector = graph.vectors(crystals)
        square = vector.square().sum(-1)
        zi, zj = crystals.species[i], crystals.species[j]
        epsilon, sigma = self.epsilon.to(square), self.sigma.to(square)
        epsilon = (epsilon[zi] * epsilon[zj]).sqrt()
        six = ((sigma[zi] + sigma[zj]) / 2).pow(2)
        end_six = (six / self.cutoff**2) ** 3
        six = (six / square) ** 3
        energy = 4 * epsilon * (six * six - six)
        slope = -24 * epsilon * (2 * six * six - six) / square
        if self.ending in ("shift", "force-shift"):
            energy = energy - 4 * epsilon * (end_six * end_six - end_six)
        if self.ending == "force-shift":
            length = square.sqrt()
            end_slope = -24 * epsilon * (2 * end_six * end_six - end_six) / self.cutoff
            energy, slope = energy - (length - self.cutoff) * end_slope, slope - end_slope / length
        if self.ending == "smooth":
            rc, ro = self.cutoff**2, self.onset**2
            inside = square < ro
            fade = torch.where(inside, 1, (rc - square) ** 2 * (rc + 2 * square - 3 * ro) / (rc - ro) ** 3)
            slope = slope * fade + energy * torch.where(inside, 0, 12 * (rc - square) * (ro - square) / (rc - ro) ** 3)
            energy = energy * fade
        return Pairs(i, j, vector, energy, slope)

    def energy(self, crystals: Crystals) -> Tensor:
        """(crystals,) total energies in eV."""
        pairs = self.pairs(crystals)
        return segment_sum(pairs.energy, crystals.owner[pairs.i], len(crystals))

    def label(self, crystals: Crystals, keep_graph: bool = False) -> Labels:
        """Energies, forces and stresses; analytic unless `keep_graph` asks for a differentiable answer.

        Raises BadInput for elements without parameters and for cells too flat to list their pairs.
        """
        if keep_graph:
            return super().label(crystals, keep_graph=True)
        crystals = crystals.bare().to(torch.float64)
        with torch.no_grad():
            pairs = self.pairs(crystals)
            owner = crystals.owner[pairs.i]
            pull = pairs.slope[:, None] * pairs.vector
            forces = segment_sum(pull, pairs.i, crystals.atoms) - segment_sum(pull, pairs.j, crystals.atoms)
            virial = segment_sum(pairs.vector[:, :, None] * pull[:, None, :], owner, len(crystals))
            return Labels(segment_sum(pairs.energy, owner, len(crystals)), forces, virial / crystals.volume[:, None, None])

    def _refuse_unknown(self, crystals: Crystals) -> None:
        for name, table in (("epsilon", self.epsilon), ("sigma", self.sigma)):
            bad = table.isnan().to(crystals.species.device)[crystals.species]
            if bool(bad.any()):
                atom = int(bad.nonzero()[0, 0])
                crystal, z = int(crystals.owner[atom]), int(crystals.species[atom])
                raise BadInput(f"`{name}` has no value for {symbol(z) if z else 'an undecided element (0)'}", f"crystal {crystal}")


def _per_element(values: float | Mapping, name: str) -> Tensor:
    """(MAX_Z + 1,) one positive number per atomic number, NaN where none was given."""
    table = torch.full((MAX_Z + 1,), float("nan"), dtype=torch.float64)
    if isinstance(values, Mapping):
        for element, value in values.items():
            table[number(element) if isinstance(element, str) else int(element)] = float(value)
    else:
        table[:] = float(values)
    given = table[~table.isnan()]
    if not len(given) or not bool((given > 0).all() & given.isfinite().all()):
        raise BadInput(f"`{name}` is {values}; positive numbers are needed", "LennardJones")
    return table
