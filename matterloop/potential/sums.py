"""Oracles made of oracles: sums with corrections by composition, and ensembles whose spread measures doubt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..base.elements import MAX_Z, number, symbol
from ..base.errors import BadInput
from ..crystal.segments import segment_sum
from ..crystal.state import Crystals
from .oracle import Labels, Oracle


class CompositionOracle:
    """A fixed energy per atom of each element: forces and stress are zero.

    energies  {element: eV} by symbol or atomic number; an element not listed is an error
    """

    def __init__(self, energies: Mapping, name: str = "composition", energy_scheme: str = "shift"):
        self.name, self.energy_scheme = name, energy_scheme
        self.table = torch.full((MAX_Z + 1,), torch.nan, dtype=torch.float64)
        for element, value in energies.items():
            self.table[number(element) if isinstance(element, str) else int(element)] = float(value)

    def label(self, crystals: Crystals) -> Labels:
        """Energies (crystals,) eV with zero forces and stresses; BadInput for an element without an energy."""
        each = self.table.to(crystals.cell.device)[crystals.species]
        if bool(each.isnan().any()):
            atom = int(each.isnan().nonzero()[0, 0])
            z = int(crystals.species[atom])
            raise BadInput(f"{self.name!r} has no energy for {symbol(z) if z else 'an undecided element (0)'}", f"crystal {int(crystals.owner[atom])}")
        return Labels(segment_sum(each, crystals.owner, len(crystals)), each.new_zeros(crystals.atoms, 3), each.new_zeros(len(crystals), 3, 3))


class SumOracle:
    """Sum of oracles: a potential and its corrections. The caller says what the sum means, for no scheme follows from its parts.

    Energies, forces and stresses add; a field that one part lacks is absent from the sum. Magnetic moments and spread are the first part's.
    """

    def __init__(self, parts: Sequence[Oracle], name: str, energy_scheme: str):
        if not parts:
            raise BadInput("a sum needs at least one oracle", "SumOracle")
        self.parts, self.name, self.energy_scheme = tuple(parts), name, energy_scheme

    def label(self, crystals: Crystals) -> Labels:
        """Labels of the sum, units as in Labels."""
        answers = [part.label(crystals) for part in self.parts]
        add = lambda field: None if any(getattr(a, field) is None for a in answers) else sum(getattr(a, field) for a in answers)
        return Labels(add("energy"), add("forces"), add("stress"), answers[0].spread, answers[0].magmoms)


class EnsembleOracle:
    """Mean of oracles of one energy scheme; `spread` is the standard deviation (n - 1) of their energies per atom.

    The mean of potentials is a potential: its forces are the mean of theirs.
    """

    def __init__(self, members: Sequence[Oracle], name: str = "ensemble"):
        schemes = sorted({m.energy_scheme for m in members})
        if len(members) < 2 or len(schemes) != 1:
            raise BadInput(f"{len(members)} members with the energy schemes {schemes}; at least 2 members of one scheme are needed", "EnsembleOracle")
        self.members, self.name, self.energy_scheme = tuple(members), name, schemes[0]

    def label(self, crystals: Crystals) -> Labels:
        """Mean labels and spread (crystals,) in eV/atom."""
        answers = [member.label(crystals) for member in self.members]
        energies = torch.stack([a.energy for a in answers])
        return Labels(
            energies.mean(0), self._mean([a.forces for a in answers]), self._mean([a.stress for a in answers]),
            (energies / crystals.counts.clamp(min=1)).std(0), self._mean([a.magmoms for a in answers]))

    @staticmethod
    def _mean(values: Sequence[Tensor | None]) -> Tensor | None:
        return None if any(v is None for v in values) else torch.stack(list(values)).mean(0)
