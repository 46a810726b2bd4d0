"""SphereNet: messages k -> j -> i that see distance, angle and torsion, so that each neighbour has a place of its own.

Y. Liu, L. Wang, M. Liu, Y. Lin, X. Zhang, B. Oztekin, S. Ji, "Spherical message passing for 3D molecular graphs", ICLR 2022, arXiv:2102.05013, eq. 2 to 6.
The network is that of DimeNet++ (predict/dimenet.py) with one more factor:

    sum_{k != i} down(m_kj * W e(d_kj)) * A a(d_kj, angle) * B b(d_kj, angle, torsion)
    a_ln = N_ln j_l(z_ln d / c) Y_l0(angle),  b_lmn = N_ln j_l(z_ln d / c) Y_lm(angle, torsion)
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..base.registry import Card
from ..crystal.alike_edges import Kinds
from ..crystal.graph import Graph
from ..crystal.segments import Bins, offsets_of, runs, segment_sum
from ..layers.harmonics import real_harmonics
from ..layers.parts import linear
from ..layers.torsions import like_degrees, local_directions, slots, torsions
from .dimenet import Directional

CARD = Card(
    name="spherenet",
    build="SphereNet",
    role="encoder",
    paper="2102.05013",
    year=2021,
    summary="messages over distance, angle and torsion; tells mirror images apart",
    capabilities=("seed",),
    keeps=("rotation", "translation", "permutation", "cell", "supercell"),
    waives={
        "reflection": "torsions are counted anticlockwise, so mirror images are told apart, as the paper intends",
        "smooth": "a torsion is counted to the next neighbour in azimuth, whoever that is: it jumps when one neighbour passes another",
    },
    reference=-1.4109735924672828,
    small={"width": 16, "inner": 8, "basis": 4, "out": 16, "blocks": 2, "degrees": 3, "radial": 3, "cutoff": 4.5, "dense": 1},
    differs=(
        "neighbours within 0.01 rad of the same half-plane count as one when the next is looked for, and one on the axis as none: the original decides by rounding",
        "radial functions of degree l meet harmonics of degree l as in the paper; the original code pairs them by another order",
        "the last map of each output block gives `width` features, and one linear map of their sum the targets; the original has one map",
        "first weights are uniform with the variance of the original's orthogonal ones; the first map of an output block has no bias, as in DimeNet++",
        "an atom or edge that a proper rotation repeats, or a mirror where no torsion tells, is computed once and counted as often as it occurs: the same "
        "numbers, less work",
    ),
)
class Chunk(NamedTuple):
    """Atoms of like numbers of neighbours, `most` axes each at most, and all triplets at them.

    slot (kinds,)  place of a kind of edge among atoms x most
    kind, atom (edges,)  which of these kinds, and which of these atoms, an edge is of
    harmonics (edges, most, degrees^2)  of an edge about each axis, 0 where there is no triplet
    """

    slot: Tensor
    kind: Tensor
    atom: Tensor
    harmonics: Tensor


class Places(NamedTuple):
    """basis (degrees^2, kinds, radial), and order (kinds,), chunk by chunk; back (kinds,) where the sum at the other end of a kind of edge lies in that order."""

    basis: Tensor
    order: Tensor
    back: Tensor
    chunks: list[Chunk]


class TorsionSum(nn.Module):
    """(kinds, inner) messages k -> j to (kinds, inner) sums at j -> i, weighed by functions of distance, angle and torsion."""

    def __init__(self, rng: torch.Generator, degrees: int, radial: int, basis: int, inner: int):
        super().__init__()
        self.degrees, self.radial, self.basis = degrees, radial, basis
        self.angle, self.angle_up = linear(rng, degrees * radial, basis, bias=False), linear(rng, basis, inner, bias=False)
        self.torsion, self.torsion_up = linear(rng, degrees**2 * radial, basis, bias=False), linear(rng, basis, inner, bias=False)

    def forward(self, x: Tensor, known: Places) -> Tensor:
        both = torch.cat([self._angle_weight(), self.torsion.weight.view(self.basis, -1, self.radial).permute(1, 2, 0)], 2)  # (degrees^2, radial, 2 basis)
        sizes, up = [len(c.slot) for c in known.chunks], (self.angle_up.weight, self.torsion_up.weight)
        weights = torch.bmm(known.basis, both).split(sizes, 1)
        pieces = x.index_select(0, known.order).split(sizes)
        done = [_Sums.apply(piece, weight, *up, chunk.harmonics, chunk) for piece, weight, chunk in zip(pieces, weights, known.chunks, strict=True)]
        return torch.cat(done).index_select(0, known.back) if done else x

    def _angle_weight(self) -> Tensor:
        """(degrees^2, radial, basis), 0 but for m = 0."""
        flat = torch.arange(self.degrees, device=self.angle.weight.device)
        weight = self.angle.weight.view(self.basis, self.degrees, self.radial).permute(1, 2, 0)
        return weight.new_zeros(self.degrees**2, self.radial, self.basis).index_copy(0, flat * flat + flat, weight)


class _Sums(torch.autograd.Function):
    """(kinds of a chunk, inner) sums at the atoms of a Chunk, for the kind of edge that each axis is.

    The backward pass computes anew what belongs to triplets and keeps nothing of it. Products with a matrix of few columns are written so that the long side
    of the other one is last: that is several times faster.
    """

    @staticmethod
    def forward(ctx, x, weight, angle_up, torsion_up, harmonics, chunk):
        ctx.chunk = chunk
        ctx.save_for_backward(x, weight, angle_up, torsion_up)
        _, _, one, two = _factors(weight, angle_up, torsion_up, chunk)
        product = one.mul_(two).mul_(x.index_select(0, chunk.kind)[:, None])
        return segment_sum(product.flatten(1), chunk.atom, int(chunk.atom[-1]) + 1).view(-1, x.shape[1]).index_select(0, chunk.slot)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, down):
        (x, weight, angle_up, torsion_up), chunk = ctx.saved_tensors, ctx.chunk
        most, inner = chunk.harmonics.shape[1], x.shape[1]
        angle, torsion, one, two = _factors(weight, angle_up, torsion_up, chunk)
        table = down.new_zeros((int(chunk.atom[-1]) + 1) * most, inner).index_copy_(0, chunk.slot, down).view(-1, most, inner)
        down = table.index_select(0, chunk.atom)  # (edges, most, inner)
        to_x = segment_sum((one * two).mul_(down).sum(1), chunk.kind, len(x))
        down.mul_(x.index_select(0, chunk.kind)[:, None])
        slopes = [t.mul_(down).flatten(0, 1) for t in (two, one)]
        ups = [(part.flatten(0, 1).mT @ slope).mT for part, slope in zip((angle, torsion), slopes, strict=True)]
        back = torch.cat([(up.mT @ slope.mT).mT for up, slope in zip((angle_up, torsion_up), slopes, strict=True)], 1).view(len(angle), most, -1)
        to_turned = torch.bmm(chunk.harmonics.mT, back)  # (edges, degrees^2, 2 basis)
        to_weight = segment_sum(to_turned.flatten(1), chunk.kind, len(x)).view(len(x), *to_turned.shape[1:]).transpose(0, 1)
        to_harmonics = torch.bmm(back, weight.transpose(0, 1).index_select(0, chunk.kind).mT) if ctx.needs_input_grad[4] else None
        return to_x, to_weight, *ups, to_harmonics, None


def _factors(weight: Tensor, angle_up: Tensor, torsion_up: Tensor, chunk: Chunk) -> tuple[Tensor, ...]:
    """What all triplets give by angle and by torsion, (edges, most, basis) each, and by linear maps of these (edges, most, inner)."""
    angle, torsion = torch.bmm(chunk.harmonics, weight.transpose(0, 1).index_select(0, chunk.kind)).chunk(2, 2)
    return angle, torsion, F.linear(angle, angle_up), F.linear(torsion, torsion_up)


class SphereNet(Directional):
    """Encoder as Directional, of distances, angles and torsions."""

    name, gather, torsion = "spherenet", TorsionSum, staticmethod(torsions)

    def known(self, unit: Tensor, length: Tensor, graph: Graph, kinds: Kinds, here: Bins) -> Places:
        """Radial functions, and the harmonics of all edges of an atom about one edge of each kind."""
        dtype, device, own, axes = self.messages.embed.weight.dtype, unit.device, here.offsets, here.offsets.diff()
        basis = self.spherical(length).to(dtype).repeat_interleave(torch.arange(1, 2 * self.degrees, 2, device=device), 1)
        ends = offsets_of(torch.bincount(kinds.nodes.of_atom[graph.receivers], minlength=here.size))
        chunks, order = [], [here.index[:0]]
        for part, rows, row_slot, row_most in like_degrees(ends.diff(), ends, axes):
            mine, (slot, most) = runs(own[:-1][part], axes[part]), slots(axes[part])
            real = torch.zeros(len(part) * row_most, dtype=torch.bool, device=device).index_fill(0, row_slot, True).view(-1, row_most)
            place = slot.new_full((len(part) * most,), -1).index_copy(0, slot, kinds.row[mine] - ends[:-1][part].repeat_interleave(axes[part])).view(-1, most)
            step = unit.new_zeros(len(part) * row_most, 3).index_copy(0, row_slot, unit[rows]).view(-1, row_most, 3)
            local = local_directions(step, real, place.clamp(min=0)).transpose(1, 2)[real]  # [edge, axis]
            axis = place.repeat_interleave(ends.diff()[part], 0)
            triplet = (axis >= 0) & (axis != (row_slot % row_most)[:, None])
            harmonics = real_harmonics(local.to(dtype), self.degrees) * triplet[..., None]
            kind = kinds.of_row[rows] + (offsets_of(axes[part])[:-1] - own[:-1][part]).repeat_interleave(ends.diff()[part])
            chunks.append(Chunk(slot, kind, row_slot // row_most, harmonics))
            order.append(mine)
        order = torch.cat(order)
        place = torch.empty_like(order).index_copy_(0, order, torch.arange(len(order), device=device))
        return Places(basis.index_select(0, order).transpose(0, 1).contiguous(), order, place[kinds.back], chunks)
