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
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..base.elements import MAX_Z
from ..base.registry import Card
from ..base.seeds import torch_stream
from ..crystal.graph import Graph, Within
from ..crystal.segments import Bins
from ..crystal.state import Crystals
from ..layers.angles import reverse_of
from ..layers.bessel import RadialSines, SphericalBessel, envelope
from ..layers.harmonics import real_harmonics
from ..layers.pair_linear import PairLinear
from ..layers.parts import linear, perceptron
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
        "GemNet-T, of the same line, is not here",
    ),
)


class Directions(NamedTuple):
    """What is known of the edges of a batch.

    reverse (edges,)  the edge in the other direction; `slot` (edges,) its place when every atom has `most` edges, by atom
    basis (edges, degrees, radial)      radial functions;  harmonics (atoms, most, degrees^2) of the directions from the centre, 0 where there is no edge
    """

    reverse: Tensor
    slot: Tensor
    most: int
    basis: Tensor
    harmonics: Tensor


def silu_stack(rng: torch.Generator, *widths: int) -> nn.Sequential:
    """Linear maps, each followed by SiLU."""
    return perceptron(rng, *widths, activation=nn.SiLU, last=True)


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
            met.append(torch.bmm(known.harmonics[:, :, degree**2 : (degree + 1) ** 2].mT, table) * math.sqrt(4 * math.pi / (2 * degree + 1)))
        seen = torch.bmm(known.harmonics, torch.cat(met, 1)).view(-1, inner).index_select(0, known.slot)
        return (seen - back).index_select(0, known.reverse)


class Residual(nn.Module):
    """x + two dense layers of x."""

    def __init__(self, rng: torch.Generator, width: int):
        super().__init__()
        self.layers = silu_stack(rng, width, width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class Interaction(nn.Module):
    """One update of the messages (edges, width); `gather` sums what comes in at the sender."""

    def __init__(self, rng: torch.Generator, gather: nn.Module, width: int, inner: int, basis: int, radial: int):
        super().__init__()
        self.gather = gather
        self.own, self.other = silu_stack(rng, width, width), silu_stack(rng, width, width)
        self.radial = nn.Sequential(linear(rng, radial, basis, bias=False), linear(rng, basis, width, bias=False))
        self.down, self.up = linear(rng, width, inner, bias=False), linear(rng, inner, width, bias=False)
        self.before = nn.Sequential(Residual(rng, width), silu_stack(rng, width, width))
        self.after = nn.Sequential(Residual(rng, width), Residual(rng, width))

    def forward(self, m: Tensor, radial: Tensor, known) -> Tensor:
        come = self.gather(F.silu(self.down(self.other(m) * self.radial(radial))), known)
        return self.after(m + self.before(self.own(m) + F.silu(self.up(come))))


class Output(nn.Module):
    """Messages (edges, width) to features (atoms, width)."""

    def __init__(self, rng: torch.Generator, width: int, out: int, dense: int, radial: int):
        super().__init__()
        self.radial, self.up = linear(rng, radial, width, bias=False), linear(rng, width, out, bias=False)
        self.dense, self.last = silu_stack(rng, *[out] * (dense + 1)), linear(rng, out, width, bias=False)

    def forward(self, m: Tensor, radial: Tensor, here: Bins) -> Tensor:
        return self.last(self.dense(self.up(here.sum(self.radial(radial) * m))))


class EdgeMessages(nn.Module):
    """The network without its geometry: messages of edges, their updates and what atoms read of them. `gather` makes a module that sums messages."""

    def __init__(self, rng: torch.Generator, gather: Callable[[], nn.Module], width: int, inner: int, basis: int, out: int, blocks: int, radial: int,
                 cutoff: float, dense: int):
        super().__init__()
        self.radial = RadialSines(radial, cutoff)
        self.embed = nn.Embedding(MAX_Z + 1, width, _weight=(2 * torch.rand(MAX_Z + 1, width, generator=rng) - 1) * math.sqrt(3))
        self.begin, self.join = silu_stack(rng, radial, width), PairLinear(rng, width, width, width)
        self.blocks = nn.ModuleList(Interaction(rng, gather(), width, inner, basis, radial) for _ in range(blocks))
        self.outputs = nn.ModuleList(Output(rng, width, out, dense, radial) for _ in range(blocks + 1))

    def forward(self, species: Tensor, length: Tensor, here: Bins, there: Bins, known) -> Tensor:
        """(atoms, width) from lengths (edges,), the bins of the edges by centre and by neighbour, and what `gather` wants to know."""
        x, radial = self.embed(species), self.radial(length)
        m = F.silu(self.join(x, self.begin(radial), here, there))
        site = self.outputs[0](m, radial, here)
        for block, output in zip(self.blocks, self.outputs[1:], strict=True):
            m = block(m, radial, known)
            site = site + output(m, radial, here)
        return site


class DimeNetPP(nn.Module):
    """Encoder: (atoms, width) features.

    width    of messages; `inner` of what is summed over angles, `basis` of what passes between basis functions and those, `out` of the output blocks
    blocks   interactions; `dense` layers of an output block
    degrees  of spherical harmonics (l < degrees), `radial` functions of each
    cutoff   Å
    """

    def __init__(self, width: int = 128, inner: int = 64, basis: int = 8, out: int = 256, blocks: int = 4, degrees: int = 7, radial: int = 6,
                 cutoff: float = 5.0, dense: int = 3, seed: int = 0):
        super().__init__()
        rng = torch_stream(seed, "dimenet")
        self.width, self.degrees, self.cutoff, self.graph = width, degrees, cutoff, Within(cutoff)
        self.spherical = SphericalBessel(degrees, radial, cutoff)
        gather = lambda: AngleSum(rng, degrees, radial, basis, inner)
        self.messages = EdgeMessages(rng, gather, width, inner, basis, out, blocks, radial, cutoff, dense)

    def forward(self, crystals: Crystals, graph: Graph) -> Features:
        """Features in the dtype of the weights; lengths and directions are taken in the dtype of the crystals."""
        here, there = Bins(graph.receivers, crystals.atoms), Bins(graph.senders, crystals.atoms)
        step = graph.vectors(crystals)
        length = step.norm(dim=-1)
        known = self._directions(step / length[:, None], length, graph, here)
        return Features(self.messages(crystals.species, length, here, there, known))

    def head(self, rng: torch.Generator, outputs: int) -> nn.Module:
        """(rows, width) to (rows, outputs), linear as the last map of the paper."""
        return linear(rng, self.width, outputs, bias=False)

    def _directions(self, unit: Tensor, length: Tensor, graph: Graph, here: Bins) -> Directions:
        dtype, degree = self.messages.embed.weight.dtype, here.offsets.diff()
        most = max(int(degree.max()), 1) if len(degree) else 1
        slot = graph.receivers * most + torch.arange(len(graph), device=unit.device) - here.offsets[:-1][graph.receivers]
        x = length / self.cutoff
        basis = self.spherical(length) * (envelope(x) / x)[:, None, None]
        harmonics = real_harmonics(unit, self.degrees).to(dtype)
        table = harmonics.new_zeros(here.size * most, harmonics.shape[1]).index_copy(0, slot, harmonics)
        return Directions(reverse_of(graph), slot, most, basis.to(dtype), table.view(here.size, most, -1))
