"""DimeNet++: messages k -> j -> i that see the angle at j, through Bessel functions and spherical harmonics of distance and angle.

J. Gasteiger, S. Giri, J. T. Margraf, S. Günnemann, "Fast and uncertainty-aware directional message passing for non-equilibrium molecules", arXiv:2011.14115;
DimeNet itself: arXiv:2003.03123, eq. 4 to 9.

    m_ji <- f(m_ji, sum_{k != i} down(m_kj * W e(d_kj)) * sum_ln W_ln a_ln(d_kj, angle_kji)),   a_ln = u(d)/d N_ln j_l(z_ln d / c) Y_l0(angle)
    t_i = sum over blocks of dense(sum_j W e(d_ji) * m_ji)

No angle is ever written down here. By the addition theorem Y_l0(angle) is a sum over m of Y_lm of both directions, so what comes in at j is summed once for
each of the degrees^2 harmonics and read by each edge that leaves; the edge back to k = i is taken off again. Work and memory grow with the edges, not with
the angles: 25 times fewer at 5 Å in crystals.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..base.registry import Card
from ..base.seeds import torch_stream
from ..crystal.alike_edges import AlikeEdges, Kinds, kinds_of
from ..crystal.graph import Graph, Within
from ..crystal.segments import Bins
from ..crystal.state import Crystals
from ..layers.bessel import SphericalBessel, envelope
from ..layers.edge_messages import EdgeMessages
from ..layers.harmonics import real_harmonics
from ..layers.parts import linear
from ..learn.targets import Features

CARD = Card(
    name="dimenet",
    build="DimeNetPP",
    role="encoder",
    paper="2011.14115",
    year=2020,
    summary="directional messages over distances and angles, smooth, at the cost of its edges",
    capabilities=("seed",),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    reference=-18.463345073716216,
    small={"width": 16, "inner": 8, "basis": 4, "out": 16, "blocks": 2, "degrees": 4, "radial": 4, "cutoff": 4.5, "dense": 1},
    differs=(
        "messages are summed over harmonics at each atom instead of over angles, which is the same sum",
        "the last map of each output block gives `width` features, and one linear map of their sum the targets; the original has one map",
        "first weights are uniform with the variance of the original's orthogonal ones",
        "an atom or edge that symmetry repeats is computed once and counted as often as it occurs: the same numbers, less work",
    ),
)


class Directions(NamedTuple):
    """What is known of the edges of a batch, or of their kinds.

    reverse (edges,)  the edge in the other direction; `slot` (edges,) its place when every atom has `most` edges, by atom
    basis (edges, degrees, radial)      radial functions
    harmonics (atoms, most, degrees^2)  of the directions from the centre, 0 where there is no edge; `summed` over all edges of a kind that an atom has
    """

    reverse: Tensor
    slot: Tensor
    most: int
    basis: Tensor
    harmonics: Tensor
    summed: Tensor


class AngleSum(nn.Module):
    """(edges, inner) messages k -> j to (edges, inner) sums at j -> i, weighed by functions of the distance kj and the angle kji."""

    def __init__(self, rng: torch.Generator, degrees: int, radial: int, basis: int, inner: int):
        super().__init__()
        self.degrees, self.one, self.two = degrees, linear(rng, degrees * radial, basis, bias=False), linear(rng, basis, inner, bias=False)

    def forward(self, x: Tensor, known: Directions) -> Tensor:
        atoms, degrees, inner = len(known.harmonics), self.degrees, x.shape[1]
        weight = torch.einsum("bln,cb->lnc", self.one.weight.view(-1, degrees, known.basis.shape[2]), self.two.weight)
        met, back = [], torch.zeros_like(x)
        for degree in range(degrees):  # one by one, for what is padded to the most edges of an atom to stay small
            f = torch.mm(known.basis[:, degree], weight[degree]) * x
            back = back.add(f, alpha=math.sqrt((2 * degree + 1) / (4 * math.pi)))  # Y_l0 of the angle 0
            table = f.new_zeros(atoms * known.most, inner).index_copy(0, known.slot, f).view(atoms, known.most, inner)
            met.append(torch.bmm(known.summed[:, :, degree**2 : (degree + 1) ** 2].mT, table) * math.sqrt(4 * math.pi / (2 * degree + 1)))
        seen = torch.bmm(known.harmonics, torch.cat(met, 1)).view(-1, inner).index_select(0, known.slot)
        return (seen - back).index_select(0, known.reverse)


class Directional(nn.Module, ABC):
    """Encoder of messages that see messages: (atoms, width) features.

    width    of messages; `inner` of what is summed over neighbours, `basis` of what passes between basis functions and those, `out` of the output blocks
    blocks   interactions; `dense` layers of an output block
    degrees  of spherical harmonics (l < degrees), `radial` functions of each
    cutoff   Å

    A subclass says how messages are gathered at an atom, by `gather`, and what of the geometry that wants to know, by `known`; `name` tells its first weights
    from those of others, and `torsion` is what it sees of two edges beside their angle, as in AlikeEdges.
    """

    name: str
    gather: Callable[..., nn.Module]
    torsion = None

    def __init__(self, width: int = 128, inner: int = 64, basis: int = 8, out: int = 256, blocks: int = 4, degrees: int = 7, radial: int = 6,
                 cutoff: float = 5.0, dense: int = 3, seed: int = 0):
        super().__init__()
        rng = torch_stream(seed, self.name)
        self.width, self.degrees, self.cutoff, self.graph = width, degrees, cutoff, AlikeEdges(Within(cutoff), torsion=self.torsion)
        self.spherical = SphericalBessel(degrees, radial, cutoff)
        gather = lambda: self.gather(rng, degrees, radial, basis, inner)
        self.messages = EdgeMessages(rng, gather, width, inner, basis, out, blocks, radial, cutoff, dense)

    def forward(self, crystals: Crystals, graph: Graph) -> Features:
        """Features in the dtype of the weights; lengths, angles and torsions are taken in the dtype of the crystals."""
        kinds, step = kinds_of(graph, crystals), graph.vectors(crystals)
        nodes, length = kinds.nodes, step.norm(dim=-1)
        here, there = Bins(nodes.receivers, len(nodes)), Bins(nodes.senders, len(nodes))
        mean = kinds.mean(length)
        known = self.known(step / length[:, None], mean, graph, kinds, here)
        times = kinds.count[:, None].to(self.messages.embed.weight.dtype)
        return Features(self.messages(crystals.species[nodes.first], mean, times, here, there, known)[nodes.of_atom])

    @abstractmethod
    def known(self, unit: Tensor, length: Tensor, graph: Graph, kinds: Kinds, here: Bins):
        """For `gather`, from directions (edges, 3) from the centre, lengths (kinds,) in Å, the edges, their kinds, and the bins of kinds by centre."""

    def head(self, rng: torch.Generator, outputs: int) -> nn.Module:
        """(rows, width) to (rows, outputs), linear as the last map of the paper."""
        return linear(rng, self.width, outputs, bias=False)


class DimeNetPP(Directional):
    """Encoder as Directional, of distances and angles."""

    name, gather = "dimenet", AngleSum

    def known(self, unit: Tensor, length: Tensor, graph: Graph, kinds: Kinds, here: Bins) -> Directions:
        """Radial functions, and the harmonics of directions by atom."""
        dtype, degree = self.messages.embed.weight.dtype, here.offsets.diff()
        most = max(int(degree.max()), 1) if len(degree) else 1
        slot = here.index * most + torch.arange(len(kinds), device=unit.device) - here.offsets[:-1][here.index]
        x = length / self.cutoff
        basis = self.spherical(length) * (envelope(x) / x)[:, None, None]
        every = real_harmonics(unit, self.degrees).to(dtype)
        tables = [h.new_zeros(here.size * most, h.shape[1]).index_copy(0, slot, h).view(here.size, most, -1) for h in (every[kinds.row], kinds.sum(every))]
        return Directions(kinds.back, slot, most, basis.to(dtype), *tables)
