"""All translations that map a crystal on itself, also those that a supercell does not show: its primitive lattice and which atoms are copies of which."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..base.errors import BadInput
from .segments import offsets_of, segment_count
from .state import Crystals
from .symmetry import Symmetry, analyse


@dataclass(frozen=True)
class Translations:
    """Of a batch; a structure without three periodic axes, or without a space group to be found, counts as its own primitive cell.

    cell    (crystals, 3, 3)  rows are vectors of the primitive lattice in Å, as the crystal lies, right-handed
    first   (atoms,)          first atom of the batch that a translation brings onto each
    found   symmetry of each crystal, None where there is none
    """

    cell: Tensor
    first: Tensor
    found: tuple[Symmetry | None, ...]

    def place(self) -> tuple[Tensor, Tensor]:
        """(representatives,) atoms that stand for all their copies, ascending, and (atoms,) the place of each atom's in that list."""
        return torch.unique(self.first, return_inverse=True)

    def primitive(self, crystals: Crystals) -> Crystals:
        """The representatives in primitive cells, not turned, without fields, in float64."""
        crystals = crystals.bare().to(torch.float64)
        one, _ = self.place()
        owner = crystals.owner[one]
        changed = (self.cell != crystals.cell).flatten(1).any(1)
        frac = torch.linalg.solve(self.cell.mT[owner], crystals.cart[one])
        frac = torch.where(changed[owner][:, None], frac, crystals.frac[one])
        return Crystals(frac, crystals.species[one], self.cell, offsets_of(segment_count(owner, len(crystals))), crystals.periodic)


@torch.no_grad()
def translations(crystals: Crystals, symprec: float = 0.01) -> Translations:
    """Primitive lattices and copies, two atoms being copies within `symprec` Å."""
    crystals = crystals.bare().to("cpu").to(torch.float64)
    solid = crystals.periodic.all(1).nonzero()[:, 0]
    found: list[Symmetry | None] = [None] * len(crystals)
    cell, first = crystals.cell.clone(), torch.arange(crystals.atoms)
    for i, symmetry in zip(solid.tolist(), analyse(crystals[solid], symprec, on_error="keep"), strict=True):
        if isinstance(symmetry, BadInput):
            continue
        found[i] = symmetry
        if len(symmetry.mapping) > int(symmetry.mapping.max()) + 1:
            start = int(crystals.offsets[i])
            cell[i] = symmetry.primitive_vectors @ crystals.cell[i]
            same = symmetry.mapping[:, None] == symmetry.mapping
            first[start : start + len(same)] = start + same.long().argmax(1)
    return Translations(cell, first, tuple(found))
