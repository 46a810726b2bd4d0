"""Sums over the edges of an atom, weighed by functions of length and of the angle with one more edge, at the cost of the edges.

    t_ef^ln = u_e sum_{k != e} b_k^ln Y_l0(angle of e and k) x_k^ln,   Y_l0(angle) = sqrt(4 pi / (2 l + 1)) sum_m Y_lm(e) Y_lm(k)
(the addition theorem of spherical harmonics), for all edges e, k of one centre.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..crystal.alike_edges import Kinds
from ..crystal.segments import Bins
from .harmonics import real_harmonics


class HarmonicSums:
    """What is known of the edges of a batch, by their kinds; differentiable any number of times.

    unit   (edges, 3) directions from the centre
    basis  (kinds, degrees, radial) functions b of length;  end (kinds,) u, the weight of the edge that is asked
    here   bins of the kinds by centre
    """

    def __init__(self, kinds: Kinds, unit: Tensor, basis: Tensor, end: Tensor, here: Bins):
        degrees = basis.shape[1]
        each = torch.arange(1, 2 * degrees, 2, device=unit.device)
        self.degree = torch.arange(degrees, device=unit.device).repeat_interleave(each)  # of each harmonic
        angle = torch.sqrt(4 * math.pi / each.to(unit))
        harmonics = real_harmonics(unit, degrees)
        self.basis, self.end, self.here = basis, end, here
        self.one = (harmonics[kinds.row] * angle[self.degree]).to(basis.dtype) * end[:, None]
        self.every = kinds.sum(harmonics).to(basis.dtype)
        self.own = end[:, None, None] / angle[:, None].to(basis.dtype)  # Y_l0 of the angle 0

    def __call__(self, x: Tensor) -> Tensor:
        """x (kinds, degrees radial) of the edges that are summed: (kinds, degrees radial)."""
        x = x.view_as(self.basis) * self.basis
        put = x.index_select(1, self.degree) * self.every[:, :, None]
        met = self.here.take(self.here.sum(put.flatten(1))).view_as(put) * self.one[:, :, None]
        return (torch.zeros_like(x).index_add(1, self.degree, met) - x * self.own).flatten(1)
