"""Reciprocal-lattice vectors within a sphere, for a whole batch at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..base.errors import BadInput
from .segments import runs
from .state import Crystals

MAX_WAVES = 2_000_000  # points of the boxes around the spheres of one batch


@dataclass(frozen=True)
class Waves:
    """One of each pair k, -k of the non-zero reciprocal-lattice vectors, sorted by crystal.

    index  (waves, 3)  whole numbers h: k = 2 pi (h_1 a* + h_2 b* + h_3 c*); 0 along axes that do not repeat
    owner  (waves,)    crystal of each
    """

    index: Tensor
    owner: Tensor

    def __len__(self) -> int:
        return len(self.owner)

    def vectors(self, cell: Tensor, periodic: Tensor) -> Tensor:
        """(waves, 3) in 1/Å, differentiable in `cell` (crystals, 3, 3)."""
        return torch.bmm(self.index[:, None].to(cell), reciprocal(cell, periodic)[self.owner])[:, 0]

    def atoms(self, crystals: Crystals) -> tuple[Tensor, Tensor]:
        """Every pair of a wave and an atom of its crystal: (pairs,) waves and (pairs,) atoms."""
        many = crystals.counts[self.owner]
        return torch.arange(len(self), device=many.device).repeat_interleave(many), runs(crystals.offsets[:-1][self.owner], many)


def reciprocal(cell: Tensor, periodic: Tensor) -> Tensor:
    """(crystals, 3, 3) rows in 1/Å with a_i . k_j = 2 pi delta_ij for the axes that repeat, zero for the others; they lie in the span of the former."""
    rows = cell * periodic[..., None].to(cell)
    gram = rows @ rows.mT + torch.diag_embed((~periodic).to(cell))
    return 2 * math.pi * torch.linalg.solve(gram, rows)


def measure(cell: Tensor, periodic: Tensor) -> Tensor:
    """(crystals,) volume in Å^3, area in Å^2 or length in Å of what repeats; 1 for a molecule. Differentiable in `cell`."""
    rows = cell * periodic[..., None].to(cell)
    return torch.linalg.det(rows @ rows.mT + torch.diag_embed((~periodic).to(cell))).sqrt()


@torch.no_grad()
def waves_within(crystals: Crystals, cutoff: float | Tensor) -> Waves:
    """All k with 0 < |k| < `cutoff` (1/Å), a number or one per crystal (crystals,), whatever vectors describe the lattice.

    A crystal without periodic axes has none. BadInput where more than MAX_WAVES points would have to be looked at.
    """
    cell = crystals.cell.detach().to(torch.float64)
    limit = torch.as_tensor(cutoff, dtype=torch.float64).expand(len(cell))
    if not bool((limit > 0).all() & limit.isfinite().all()):
        raise BadInput(f"the cutoff is {cutoff} 1/Å, allowed are positive finite numbers", "waves")
    reach = torch.floor(limit[:, None] * cell.norm(dim=-1) / (2 * math.pi)) * crystals.periodic  # h_i = k . a_i / 2 pi
    points = (2 * reach + 1).prod(-1)
    if float(points.sum()) > MAX_WAVES:
        i = int(points.argmax())
        raise BadInput(f"{int(points.sum())} reciprocal points would be looked at, {int(points[i])} of them here; allowed are {MAX_WAVES}: lower the cutoff, "
                       "or describe the lattice by shorter vectors", f"crystal {i}")
    reach, points = reach.long(), points.long()
    owner = torch.arange(len(cell), device=cell.device).repeat_interleave(points)
    rank, side = runs(torch.zeros_like(points), points), 2 * reach[owner] + 1
    index = torch.stack([rank // (side[:, 1] * side[:, 2]), rank // side[:, 2] % side[:, 1], rank % side[:, 2]], -1) - reach[owner]
    half = (index[:, 0] > 0) | ((index[:, 0] == 0) & ((index[:, 1] > 0) | ((index[:, 1] == 0) & (index[:, 2] > 0))))
    index, owner = index[half], owner[half]
    found = Waves(index, owner)
    keep = (found.vectors(cell, crystals.periodic).norm(dim=-1) < limit[owner]).nonzero()[:, 0]
    return Waves(index[keep], owner[keep])
