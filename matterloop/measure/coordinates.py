"""Generalised coordinates of relaxing crystals: for every crystal its atoms' rows, then three rows for its cell.

The logarithm of the deformation gradient as cell coordinate: E. B. Tadmor, G. S. Smith, N. Bernstein, E. Kaxiras, Phys. Rev. B 59, 235 (1999),
doi:10.1103/PhysRevB.59.235, here symmetric and with the exact derivative of the matrix exponential.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from ..crystal.segments import offsets_of, runs
from ..crystal.state import Crystals
from ..crystal.symmetry import Symmetrizer

CELL_LENGTH = 2.0  # Å; a log strain w counts as a move of w * CELL_LENGTH * sqrt(atoms), which gives it the stiffness of a bond


@dataclass(frozen=True)
class Frame:
    """Generalised coordinates of a batch around its starting geometry C_0.

    cell = C_0 exp(W), W symmetric;  x = [frac C_0; scale W],  scale = CELL_LENGTH sqrt(atoms)

    start     the starting crystals (float64)
    moves_in  (crystals, 3, 3) projector onto the directions in which the cell may strain; zero for molecules and fixed cells
    symmetry  a symmetriser of each crystal alone, empty where symmetry is not kept
    """

    start: Crystals
    moves_in: Tensor
    symmetry: tuple[Symmetrizer, ...] = ()

    @staticmethod
    def of(start: Crystals, cell: bool, symmetry: tuple[Symmetrizer, ...] = ()) -> Frame:
        axes = start.cell * (start.periodic & cell)[:, :, None]
        whole = (start.periodic.all(1) & cell)[:, None, None]
        return Frame(start, torch.where(whole, torch.eye(3, dtype=torch.float64), torch.linalg.pinv(axes) @ axes), symmetry)

    def pick(self, keep: Tensor) -> Frame:
        """The crystals `keep` (indices)."""
        return Frame(self.start[keep], self.moves_in[keep], tuple(self.symmetry[i] for i in keep.tolist()) if self.symmetry else ())

    def joined(self, other: Frame) -> Frame:
        return Frame(Crystals.join([self.start, other.start]), torch.cat([self.moves_in, other.moves_in]), self.symmetry + other.symmetry)

    @cached_property
    def symmetrizer(self) -> Symmetrizer | None:
        """The symmetrisers of all crystals as one."""
        parts = self.symmetry
        if not parts:
            return None
        operations = torch.tensor([len(p.rotation) for p in parts])
        pairs = torch.tensor([len(p.source) for p in parts])
        first, atom = offsets_of(operations)[:-1].repeat_interleave(pairs), self.start.offsets[:-1].repeat_interleave(pairs)
        cat = lambda name: torch.cat([getattr(p, name) for p in parts])
        return replace(
            parts[0], number=tuple(n for p in parts for n in p.number), rotation=cat("rotation"), owner=torch.arange(len(parts)).repeat_interleave(operations),
            operation=cat("operation") + first, source=cat("source") + atom, target=cat("target") + atom, translation=cat("translation"),
            offsets=offsets_of(operations))

    def symmetric(self, forces: Tensor, stress: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Forces and stress without what the symmetry forbids; `cell` as it is now."""
        if self.symmetrizer is None:
            return forces, stress
        return self.symmetrizer.forces(forces, cell), self.symmetrizer.stress(stress, cell)

    @cached_property
    def counts(self) -> Tensor:
        return self.start.counts + 3

    @cached_property
    def owner(self) -> Tensor:
        """(rows,) crystal of each row."""
        return torch.arange(len(self.start)).repeat_interleave(self.counts)

    @cached_property
    def atom_rows(self) -> Tensor:
        return runs(offsets_of(self.counts)[:-1], self.start.counts)

    @cached_property
    def cell_rows(self) -> Tensor:
        """(crystals, 3)"""
        return (offsets_of(self.counts)[1:] - 3)[:, None] + torch.arange(3)

    @cached_property
    def scale(self) -> Tensor:
        return CELL_LENGTH * self.start.counts.to(torch.float64).sqrt()

    def rows_of(self, which: Tensor) -> Tensor:
        """Rows of the crystals `which` (indices)."""
        return runs(offsets_of(self.counts)[:-1][which], self.counts[which])

    def coordinates(self) -> Tensor:
        """(rows, 3) x of the start."""
        x = self.start.cell.new_zeros(len(self.owner), 3)
        x[self.atom_rows] = self.start.cart
        return x

    def strain(self, x: Tensor) -> Tensor:
        """(crystals, 3, 3) W."""
        w = x[self.cell_rows] / self.scale[:, None, None]
        return (w + w.mT) / 2

    def crystals(self, x: Tensor) -> Crystals:
        """The crystals at coordinates `x`; not checked, numbers may be absurd."""
        frac = torch.bmm(x[self.atom_rows][:, None], torch.linalg.inv(self.start.cell)[self.start.owner])[:, 0]
        return self.start.put(frac=frac, cell=self.start.cell @ torch.linalg.matrix_exp(self.strain(x)))

    def force(self, x: Tensor, forces: Tensor, stress: Tensor, volume: Tensor) -> Tensor:
        """(rows, 3) minus the gradient of the enthalpy by x; `stress` includes the pressure.

        F = exp(W):  -dH/dx_atoms = f F;  dH/dW = Q (Γ ∘ Q^T A Q) Q^T with A = V F^-1 σ and W = Q w Q^T, Γ_ij = (e^w_i - e^w_j)/(w_i - w_j)
        """
        w, q = torch.linalg.eigh(self.strain(x))
        e = w.exp()
        bend = q @ torch.diag_embed(e) @ q.mT
        gap = w[:, :, None] - w[:, None, :]
        near = gap.abs() < 1e-6
        mean = ((w[:, :, None] + w[:, None, :]) / 2).exp()
        gamma = torch.where(near, mean, (e[:, :, None] - e[:, None, :]) / torch.where(near, torch.ones_like(gap), gap))
        a = volume[:, None, None] * (torch.linalg.inv(bend) @ stress)
        by_w = q @ (gamma * (q.mT @ a @ q)) @ q.mT
        by_w = self.moves_in @ ((by_w + by_w.mT) / 2) @ self.moves_in
        out = torch.zeros_like(x)
        out[self.atom_rows] = torch.bmm(forces[:, None], bend[self.start.owner])[:, 0]
        out[self.cell_rows] = -by_w / self.scale[:, None, None]
        return out
