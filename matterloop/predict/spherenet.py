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
from ..base.seeds import torch_stream
from ..crystal.graph import Graph, Within
from ..crystal.segments import Bins, runs
from ..crystal.state import Crystals
from ..layers.angles import reverse_of
from ..layers.bessel import SphericalBessel
from ..layers.harmonics import real_harmonics
from ..layers.parts import linear
from ..layers.recompute import recomputed
from ..layers.torsions import local_directions
from ..learn.targets import Features
from .dimenet import EdgeMessages

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
    ),
)
TOGETHER = 16_000  # triplets computed at once


class Chunk(NamedTuple):
    """Atoms of like numbers of neighbours, m at most, and all triplets at them.

    slot (edges of these atoms,)  place of an edge among atoms x m
    basis (degrees^2, atoms m, radial) and harmonics (atoms m, m, degrees^2) [neighbour k, axis i], 0 where there is no triplet
    """

    slot: Tensor
    basis: Tensor
    harmonics: Tensor


class Places(NamedTuple):
    """order (edges,) edges chunk by chunk; back (edges,) where the sum at the other end of an edge lies in that order."""

    order: Tensor
    back: Tensor
    chunks: list[Chunk]


class TorsionSum(nn.Module):
    """(edges, inner) messages k -> j to (edges, inner) sums at j -> i, weighed by functions of distance, angle and torsion."""

    def __init__(self, rng: torch.Generator, degrees: int, radial: int, basis: int, inner: int):
        super().__init__()
        self.degrees, self.radial, self.basis = degrees, radial, basis
        self.angle, self.angle_up = linear(rng, degrees * radial, basis, bias=False), linear(rng, basis, inner, bias=False)
        self.torsion, self.torsion_up = linear(rng, degrees**2 * radial, basis, bias=False), linear(rng, basis, inner, bias=False)

    def forward(self, x: Tensor, known: Places) -> Tensor:
        both = torch.cat([self._angle_weight(), self.torsion.weight.view(self.basis, -1, self.radial).permute(1, 2, 0)], 2)  # (degrees^2, radial, 2 basis)
        pieces = x.index_select(0, known.order).split([len(c.slot) for c in known.chunks])
        up = self.angle_up.weight, self.torsion_up.weight
        done = [recomputed(_sums, piece, both, *up, *chunk) for piece, chunk in zip(pieces, known.chunks, strict=True)]
        return torch.cat(done).index_select(0, known.back) if done else x

    def _angle_weight(self) -> Tensor:
        """(degrees^2, radial, basis), 0 but for m = 0."""
        flat = torch.arange(self.degrees, device=self.angle.weight.device)
        weight = self.angle.weight.view(self.basis, self.degrees, self.radial).permute(1, 2, 0)
        return weight.new_zeros(self.degrees**2, self.radial, self.basis).index_copy(0, flat * flat + flat, weight)


def _sums(x: Tensor, weight: Tensor, angle_up: Tensor, torsion_up: Tensor, slot: Tensor, basis: Tensor, harmonics: Tensor) -> Tensor:
    """(edges of a chunk, inner) sums at the atoms of a Chunk, for the edge with each axis."""
    rows, most = harmonics.shape[:2]
    angle, torsion = torch.bmm(harmonics, torch.bmm(basis, weight).transpose(0, 1)).chunk(2, 2)  # (atoms m, m, basis) each
    table = x.new_zeros(rows, x.shape[1]).index_copy(0, slot, x)
    product = F.linear(angle, angle_up) * F.linear(torsion, torsion_up) * table[:, None]
    return product.view(rows // most, most, most, -1).sum(1).view(rows, -1).index_select(0, slot)


class SphereNet(nn.Module):
    """Encoder: (atoms, width) features.

    width    of messages; `inner` of what is summed over neighbours, `basis` of what passes between basis functions and those, `out` of the output blocks
    blocks   interactions; `dense` layers of an output block
    degrees  of spherical harmonics (l < degrees), `radial` functions of each
    cutoff   Å
    """

    def __init__(self, width: int = 128, inner: int = 64, basis: int = 8, out: int = 256, blocks: int = 4, degrees: int = 7, radial: int = 6,
                 cutoff: float = 5.0, dense: int = 3, seed: int = 0):
        super().__init__()
        rng = torch_stream(seed, "spherenet")
        self.width, self.degrees, self.graph = width, degrees, Within(cutoff)
        self.spherical = SphericalBessel(degrees, radial, cutoff)
        gather = lambda: TorsionSum(rng, degrees, radial, basis, inner)
        self.messages = EdgeMessages(rng, gather, width, inner, basis, out, blocks, radial, cutoff, dense)

    def forward(self, crystals: Crystals, graph: Graph) -> Features:
        """Features in the dtype of the weights; lengths, angles and torsions are taken in the dtype of the crystals."""
        here, there = Bins(graph.receivers, crystals.atoms), Bins(graph.senders, crystals.atoms)
        step = graph.vectors(crystals)
        length = step.norm(dim=-1)
        known = self._places(step / length[:, None], self.spherical(length), graph, here.offsets)
        return Features(self.messages(crystals.species, length, here, there, known))

    def head(self, rng: torch.Generator, outputs: int) -> nn.Module:
        """(rows, width) to (rows, outputs), linear as the last map of the paper."""
        return linear(rng, self.width, outputs, bias=False)

    def _places(self, unit: Tensor, basis: Tensor, graph: Graph, offsets: Tensor) -> Places:
        dtype, degree = self.messages.embed.weight.dtype, offsets.diff()
        atoms = torch.argsort(degree, stable=True)  # of like numbers of neighbours together, so that little is padded
        atoms = atoms[degree[atoms] > 0]
        chunks, order = [], []
        for part in atoms.split(_sizes(degree[atoms].tolist())) if len(atoms) else ():
            count, most = degree[part], int(degree[part[-1]])
            edges = runs(offsets[:-1][part], count)
            slot = (torch.arange(len(part), device=unit.device) * most).repeat_interleave(count) + runs(torch.zeros_like(count), count)
            pad = lambda rows, slot=slot, size=len(part) * most: rows.new_zeros(size, *rows.shape[1:]).index_copy(0, slot, rows)
            real = pad(torch.ones_like(slot, dtype=torch.bool)).view(-1, most)
            local = local_directions(pad(unit[edges]).view(-1, most, 3), real).transpose(1, 2)
            pairs = real[:, None] & real[:, :, None] & ~torch.eye(most, dtype=torch.bool, device=unit.device)
            harmonics = real_harmonics(local.to(dtype), self.degrees) * pairs[..., None]
            radial = pad(basis[edges].to(dtype)).repeat_interleave(torch.arange(1, 2 * self.degrees, 2, device=unit.device), 1)
            chunks.append(Chunk(slot, radial.transpose(0, 1).contiguous(), harmonics.reshape(-1, most, self.degrees**2)))
            order.append(edges)
        order = torch.cat(order) if order else graph.receivers
        place = torch.empty_like(order).index_copy_(0, order, torch.arange(len(order), device=order.device))
        return Places(order, place[reverse_of(graph)], chunks)


def _sizes(degrees: list[int]) -> list[int]:
    """How many atoms, whose numbers of neighbours rise, to take together."""
    sizes, begin = [], 0
    for i, most in enumerate(degrees):
        if i > begin and (i + 1 - begin) * most * most > TOGETHER:
            sizes.append(i - begin)
            begin = i
    return [*sizes, len(degrees) - begin]
