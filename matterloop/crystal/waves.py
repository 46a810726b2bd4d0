"""Reciprocal-lattice vectors within a sphere, for a whole batch at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..base.errors import BadInput
from .segments import runs
from .state import Crystals

MAX_WAVES = 2_000_000  # rods looked at, and vectors found, of one batch
NEAR = 1e-6  # by which rods are taken longer before lengths decide


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
    rods = (reach[:, 0] + 1) * (2 * reach[:, 1] + 1)  # of points with the same first two indices, the first not negative
    if float(rods.sum()) > MAX_WAVES:
        i = int(rods.argmax())
        raise BadInput(f"{int(rods.sum())} rods of reciprocal points would be looked at, {int(rods[i])} of them here; allowed are {MAX_WAVES}: lower the cutoff, "
                       "or describe the lattice by shorter vectors", f"crystal {i}")
    owner = torch.arange(len(cell), device=cell.device).repeat_interleave(rods.long())
    rank, width = runs(torch.zeros_like(rods.long()), rods.long()), (2 * reach[:, 1] + 1).long()[owner]
    h, k = rank // width, rank % width - reach[:, 1].long()[owner]
    half = ((h > 0) | (k >= 0)).nonzero()[:, 0]
    h, k, owner = h[half], k[half], owner[half]
    low, high = _rod(h, k, reciprocal(cell, crystals.periodic)[owner], limit[owner])
    low = torch.where((h == 0) & (k == 0), low.clamp(min=1.0), low)
    many = (high - low + 1).clamp(min=0).long()
    if (total := int(many.sum())) > MAX_WAVES:
        of = torch.zeros(len(cell), dtype=torch.long, device=cell.device).index_add(0, owner, many)
        raise BadInput(f"{total} reciprocal vectors are within the cutoff, {int(of.max())} of them here; allowed are {MAX_WAVES}: lower it", f"crystal {int(of.argmax())}")
    each = torch.arange(len(many), device=cell.device).repeat_interleave(many)
    found = Waves(torch.stack([h[each], k[each], runs(low.long(), many)], -1), owner[each])
    keep = (found.vectors(cell, crystals.periodic).norm(dim=-1) < limit[found.owner]).nonzero()[:, 0]
    return Waves(found.index[keep], found.owner[keep])


def _rod(h: Tensor, k: Tensor, rows: Tensor, limit: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest and largest third index (rods,) of points on each rod that may be within `limit` (rods,); rows (rods, 3, 3): reciprocal vectors."""
    base = h[:, None] * rows[:, 0] + k[:, None] * rows[:, 1]
    a, b, c = (rows[:, 2] ** 2).sum(-1), (rows[:, 2] * base).sum(-1), (base**2).sum(-1) - limit**2
    flat = a == 0  # the third axis does not repeat
    a = torch.where(flat, torch.ones_like(a), a)
    under = b**2 - a * c
    root = under.clamp(min=0).sqrt()
    low, high = torch.ceil((-b - root) / a - NEAR), torch.floor((-b + root) / a + NEAR)
    none, zero = torch.where(flat, c >= 0, under < -NEAR * a), torch.zeros_like(low)
    low, high = torch.where(flat, zero, low), torch.where(flat, zero, high)
    return torch.where(none, zero, low), torch.where(none, zero - 1, high)
