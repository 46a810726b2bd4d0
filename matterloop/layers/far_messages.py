"""Messages between all atoms and all their images, shaped by a filter of wave lengths: a sum over reciprocal space that is long-ranged and cheap.

    y_i = integral over half of k-space of f(|k|) Re[S(k) exp(-i k . x_i)],  S(k) = sum_j h_j exp(i k . x_j)
Periodic in three axes the integral is a sum over the reciprocal lattice, each k for (2 pi)^3 / volume; in two, such a sum in the plane and a quadrature
along its normal; in none (a molecule) the angles are integrated exactly, S S* -> sin(k r) / (k r) of pairs, and |k| by quadrature. All three are the same
convolution of h with one radial function, so that the answer depends on no choice of cell, frame or origin. Lengths in Å, k in 1/Å.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..base.errors import BadInput
from ..crystal.segments import Bins, runs
from ..crystal.state import Crystals
from ..crystal.waves import measure, waves_within


@dataclass(frozen=True)
class FarField:
    """What a batch gives to every block: waves of crystals and slabs, pairs of atoms of molecules.

    length      (waves,) |k|;  scale (waves,) k-space that a wave stands for, in 1/Å^3
    cos, sin    (rows, 1) of k . x for every wave and atom of its crystal;  by_wave, by_atom  bins of the rows
    node        (nodes,) |k| of the quadrature for molecules
    kernel      (pairs, nodes) share of each node in the integral;  here, there  bins of the pairs, None without molecules
    """

    length: Tensor
    scale: Tensor
    cos: Tensor
    sin: Tensor
    by_wave: Bins
    by_atom: Bins
    node: Tensor
    kernel: Tensor | None
    here: Bins | None
    there: Bins | None

    def spread(self, h: Tensor, of_wave: Tensor, of_node: Tensor) -> Tensor:
        """h (atoms, width), the filter at waves (waves, width) and nodes (nodes, width): (atoms, width)."""
        rows = self.by_atom.take(h)
        wave = self.by_wave.sum(torch.cat([rows * self.cos, rows * self.sin], 1)) * (of_wave * self.scale[:, None]).repeat(1, 2)
        real, imaginary = self.by_wave.take(wave).chunk(2, 1)
        y = self.by_atom.sum(real * self.cos + imaginary * self.sin)
        if self.kernel is not None:
            y = y + self.here.sum(self.there.take(h) * (self.kernel @ of_node))
        return y


def refuse_wires(crystals: Crystals) -> None:
    """BadInput naming the first structure that repeats along one axis only: it would need cylindrical waves."""
    if bool((wire := crystals.periodic.sum(1) == 1).any()):
        raise BadInput("it repeats along one axis only; long-range messages are there for crystals, slabs and molecules", f"crystal {int(wire.nonzero()[0, 0])}")


def far_field(crystals: Crystals, cutoff: float, nodes: int, dtype: torch.dtype) -> FarField:
    """Waves with |k| below `cutoff` and quadratures of `nodes` points below it (even), computed in the dtype of the crystals, given in `dtype`.

    BadInput as `refuse_wires` and `waves_within`.
    """
    refuse_wires(crystals)
    kind, device = crystals.periodic.sum(1), crystals.cell.device
    root, weight = (torch.as_tensor(x).to(crystals.cell) for x in np.polynomial.legendre.leggauss(nodes))
    k, scale, owner = _waves(crystals, cutoff, root * cutoff, weight * cutoff, kind)
    order = torch.argsort(owner, stable=True)
    k, scale, owner = k[order], scale[order], owner[order]
    many = crystals.counts[owner]
    wave = torch.arange(len(owner), device=device).repeat_interleave(many)
    atom = runs(crystals.offsets[:-1][owner], many)
    phase = (k[wave] * crystals.cart[atom]).sum(-1, keepdim=True)
    node, share = (root + 1) / 2 * cutoff, weight / 2 * cutoff  # from 0 to the cutoff
    pairs = _molecules(crystals, kind, node, share)
    kernel, here, there = (None, None, None) if pairs is None else (pairs[0].to(dtype), Bins(pairs[1], crystals.atoms), Bins(pairs[2], crystals.atoms))
    return FarField(
        k.norm(dim=-1).to(dtype), scale.to(dtype), torch.cos(phase).to(dtype), torch.sin(phase).to(dtype), Bins(wave, len(k)), Bins(atom, crystals.atoms),
        node.to(dtype), kernel, here, there)


def _waves(crystals: Crystals, cutoff: float, root: Tensor, weight: Tensor, kind: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """k (waves, 3), the k-space each stands for and its crystal, of crystals and slabs."""
    waves, size = waves_within(crystals, cutoff), measure(crystals.cell, crystals.periodic)
    k, owner = waves.vectors(crystals.cell, crystals.periodic), waves.owner
    solid = (kind[owner] == 3).nonzero()[:, 0]
    parts = [(k[solid], ((2 * math.pi) ** 3 / size)[owner[solid]], owner[solid])]
    slabs = (kind == 2).nonzero()[:, 0]
    if len(slabs):
        axis = (~crystals.periodic[slabs]).long().argmax(1)
        edges = crystals.cell[slabs]
        pick = lambda step: edges[torch.arange(len(slabs)), (axis + step) % 3]
        normal = torch.zeros_like(crystals.cell[:, 0]).index_put((slabs,), torch.linalg.cross(pick(1), pick(2)))
        normal = normal / normal.norm(dim=-1, keepdim=True).clamp(min=1e-30)
        area, flat, count = (2 * math.pi) ** 2 / size, (kind[owner] == 2).nonzero()[:, 0], len(root)
        up = root > 0  # where the wave in the plane is zero, half of the normal is half of the space
        for plane, at, q, w in ((k[flat], owner[flat], root, weight), (torch.zeros_like(normal[slabs]), slabs, root[up], weight[up])):
            at, count = at.repeat_interleave(len(q)), len(at)
            q, w = q.repeat(count), w.repeat(count)
            parts.append((plane.repeat_interleave(len(q) // max(count, 1), 0) + q[:, None] * normal[at], w * area[at], at))
    return tuple(torch.cat(column) for column in zip(*parts, strict=True))


def _molecules(crystals: Crystals, kind: Tensor, node: Tensor, share: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
    """Kernel (pairs, nodes), receivers and senders of all pairs of atoms of molecules; None without molecules."""
    which = (kind == 0).nonzero()[:, 0]
    if not len(which):
        return None
    many = crystals.counts[which]
    begin, n = (x.repeat_interleave(many**2) for x in (crystals.offsets[:-1][which], many))
    k = runs(torch.zeros_like(many), many**2)
    here, there = begin + k // n, begin + k % n
    own = here == there
    square = (crystals.cart[here] - crystals.cart[there]).square().sum(-1)
    phase = torch.where(own, torch.ones_like(square), square).sqrt()[:, None] * node
    ripple = torch.where(own[:, None], torch.ones_like(phase), torch.sin(phase) / phase)
    return ripple * (2 * math.pi * node**2 * share), here, there
