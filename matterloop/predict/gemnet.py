"""GemNet-T: messages of edges that meet at an atom, joined through distance and angle, passed on to both directions of an edge, and shared with atoms.

J. Gasteiger, F. Becker, S. Günnemann, "GemNet: Universal directional graph neural networks for molecules", NeurIPS 2021, arXiv:2106.08903, sections 4 to 6
with triplets only; settings of the published code.

    t_ca = sum_{b != c} W (e(d_ca, angle_cab), down(m_ba * U e(d_ba))),   x_ca = (s(V t_ca) + s(V' t_ac)) / sqrt 2
    m_ca <- (m_ca + f(s(D m_ca) + x_ca)) / sqrt 2,  h_a <- (h_a + g(sum_c m_ca * U' e(d_ca))) / sqrt 2,  m_ca <- (m_ca + s(W' [h_a, h_c, m_ca])) / sqrt 2
with W bilinear, e(d, angle) = u(d) N_ln j_l(z_ln d / c) Y_l0(angle), e(d) = u(d) sin(n pi d / c) / d, s = silu / 0.6, f and g dense and residual layers.

No angle is written down: by the addition theorem Y_l0 is a sum of products of harmonics of both directions, which are summed once for each atom.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..base.elements import MAX_Z
from ..base.registry import Card
from ..base.seeds import torch_stream
from ..crystal.alike_edges import AlikeEdges, kinds_of
from ..crystal.graph import Graph, Within
from ..crystal.segments import Bins
from ..crystal.state import Crystals
from ..layers.bessel import RadialSines, SphericalBessel, envelope
from ..layers.even_variance import HALF, Dense, Layer, Pairs, Residual, fit_factors
from ..layers.harmonics import real_harmonics
from ..layers.padded import Padded
from ..layers.parts import linear
from ..learn.targets import Features

CARD = Card(
    name="gemnet",
    build="GemNetT",
    role="encoder",
    paper="2106.08903",
    year=2021,
    summary="messages over distances and angles that both directions of an edge share, with atoms in between, smooth",
    capabilities=("seed",),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    presets={"light": {"width": 64, "blocks": 2, "inner": 32, "bilinear": 32, "basis": 8, "degrees": 5, "dense": 1}},
    reference=2.455944894370379,
    small={"width": 16, "inner": 8, "bilinear": 8, "basis": 4, "blocks": 2, "degrees": 4, "radial": 4, "cutoff": 4.5, "dense": 1},
    differs=(
        "messages are summed over harmonics at each atom instead of over angles, which is the same sum",
        "scale factors are fitted to the first weights on four made-up crystals when the network is made; the original fits them to its training set",
        "atoms and edges have one width, 128 each in the paper",
        "the last map of each output block gives `width` features, and one linear map of their sum the targets; the original has one map",
        "no forces of their own: those of a potential are slopes, and there is no head that reads them off the edges",
        "an atom or edge that symmetry repeats is computed once and counted as often as it occurs: the same numbers, less work",
    ),
)


class Known(NamedTuple):
    """What is known of the edges of a batch, by their kinds.

    here, there, back  bins of kinds by centre, by neighbour, and by their kind in the other direction
    times (edges, 1)   edges of the centre that each stands for
    table              edges laid side by side by centre
    harmonics (atoms, most edges of an atom, degrees^2)  of directions from the centre; `summed` over all edges of a kind that an atom has, so that their product
                       over m is Y_l0 of the angle
    """

    here: Bins
    there: Bins
    back: Bins
    times: Tensor
    table: Padded
    harmonics: Tensor
    summed: Tensor


class Triplets(nn.Module):
    """What edges (edges, width) hear of those they meet at their centre, both directions of each joined."""

    def __init__(self, rng: torch.Generator, width: int, inner: int, bilinear: int, basis: int):
        super().__init__()
        self.dense, self.radial, self.down = Layer(rng, width, width), Dense(rng, basis, width, True), Layer(rng, width, inner)
        self.join = Dense(rng, basis * inner, bilinear, True)
        self.along, self.against = Layer(rng, bilinear, width), Layer(rng, bilinear, width)

    def forward(self, m: Tensor, radial: Tensor, angular: Tensor, known: Known) -> Tensor:
        """radial (edges, basis); angular (edges, basis, degrees + 1): for each degree, and last what the edge itself would add to its sum."""
        x = self.dense(m)
        x = self.down(self.radial.fit(x, x * self.radial(radial)))
        met = torch.bmm(known.summed.mT, known.table.lay(x))
        seen = [torch.bmm(known.harmonics[:, :, n * n : (n + 1) ** 2], met[:, n * n : (n + 1) ** 2]) for n in range(angular.shape[2] - 1)]
        seen = torch.stack([*(known.table.pick(s) for s in seen), x], 1)
        t = self.join.fit(x, self.join(torch.bmm(angular, seen).flatten(1)))
        return (self.along(t) + self.against(known.back.take(t))) * HALF


class Gather(nn.Module):
    """Edges (edges, width) to atoms (atoms, width): summed, then a layer and `dense` residual ones."""

    def __init__(self, rng: torch.Generator, width: int, basis: int, dense: int):
        super().__init__()
        self.radial = Dense(rng, basis, width, True)
        self.layers = nn.Sequential(Layer(rng, width, width), *(Residual(rng, width) for _ in range(dense)))

    def forward(self, m: Tensor, radial: Tensor, here: Bins) -> Tensor:
        """radial (edges, basis), times how often each edge counts."""
        return self.layers(self.radial.fit(m, here.sum(m * self.radial(radial))))


class Block(nn.Module):
    """Edges learn from edges, atoms from edges, edges from atoms."""

    def __init__(self, rng: torch.Generator, width: int, inner: int, bilinear: int, basis: int, dense: int):
        super().__init__()
        self.own, self.triplets = Layer(rng, width, width), Triplets(rng, width, inner, bilinear, basis)
        self.before, self.after = Residual(rng, width), Residual(rng, width)
        self.gather, self.join, self.last = Gather(rng, width, basis, dense), Pairs(rng, width, width, width), Residual(rng, width)

    def forward(self, h: Tensor, m: Tensor, radial: Tensor, angular: Tensor, atomic: Tensor, known: Known) -> tuple[Tensor, Tensor]:
        x = (self.own(m) + self.triplets(m, radial, angular, known)) * HALF
        m = self.after((m + self.before(x)) * HALF)
        h = (h + self.gather(m, atomic, known.here)) * HALF
        return h, (m + self.last(self.join(h, m, known.here, known.there))) * HALF


class GemNetT(nn.Module):
    """Encoder: (atoms, width) features; differentiable twice in positions and cell.

    width    of atoms and edges; `inner` of what meets at an atom, `bilinear` of what comes of it, `basis` of functions of distance and angle after one map
    blocks   of updates; `dense` residual layers wherever atoms gather edges
    degrees  of spherical harmonics (l < degrees), `radial` functions of each, and of lengths
    cutoff   Å
    """

    def __init__(self, width: int = 128, blocks: int = 4, inner: int = 64, bilinear: int = 64, basis: int = 16, degrees: int = 7, radial: int = 6,
                 cutoff: float = 5.0, dense: int = 2, seed: int = 0):
        super().__init__()
        rng = torch_stream(seed, "gemnet")
        self.width, self.degrees, self.cutoff, self.graph = width, degrees, cutoff, AlikeEdges(Within(cutoff))
        self.embed = nn.Embedding(MAX_Z + 1, width, _weight=(2 * torch.rand(MAX_Z + 1, width, generator=rng) - 1) * math.sqrt(3))
        self.expand, self.spherical = RadialSines(radial, cutoff, 5), SphericalBessel(degrees, radial, cutoff)
        self.radial, self.atomic, self.read = (Dense(rng, radial, basis) for _ in range(3))
        self.angular, self.begin = Dense(rng, degrees * radial, basis), Pairs(rng, width, radial, width)
        self.blocks = nn.ModuleList(Block(rng, width, inner, bilinear, basis, dense) for _ in range(blocks))
        self.gather = nn.ModuleList(Gather(rng, width, basis, dense) for _ in range(blocks + 1))
        self.outputs = nn.ModuleList(Dense(rng, width, width) for _ in range(blocks + 1))
        crystals = made_up(cutoff)
        fit_factors(self, lambda model: model(crystals, Within(cutoff)(crystals)))

    def forward(self, crystals: Crystals, graph: Graph) -> Features:
        """Features in the dtype of the weights; lengths and directions are taken in the dtype of the crystals."""
        kinds, step, dtype = kinds_of(graph, crystals), graph.vectors(crystals), self.embed.weight.dtype
        nodes, length = kinds.nodes, step.norm(dim=-1)
        known, mean = self._known(kinds, step / length[:, None], dtype), kinds.mean(length)
        radial, angular = self.expand(mean).to(dtype) * (math.sqrt(2 / self.cutoff) / self.cutoff), self._angular(mean, dtype)
        sums, atomic, read = self.radial(radial), self.atomic(radial) * known.times, self.read(radial) * known.times
        h = self.embed(crystals.species[nodes.first])
        m = self.begin(h, radial, known.here, known.there)
        site = self.outputs[0](self.gather[0](m, read, known.here))
        for block, gather, output in zip(self.blocks, self.gather[1:], self.outputs[1:], strict=True):
            h, m = block(h, m, sums, angular, atomic, known)
            site = site + output(gather(m, read, known.here))
        return Features(site[nodes.of_atom])

    def _angular(self, length: Tensor, dtype: torch.dtype) -> Tensor:
        """(edges, basis, degrees + 1), as Triplets takes it."""
        every = self.spherical(length) * (envelope(length / self.cutoff, 5) * self.cutoff**-1.5)[:, None, None]
        degrees, basis = self.degrees, len(self.angular.weight)
        weight = self.angular.weight.view(basis, degrees, -1)
        out = torch.einsum("eln,bln->ebl", every.to(dtype), weight)
        same = torch.sqrt(torch.arange(1, 2 * degrees, 2).to(length) / (4 * math.pi)).to(dtype)  # Y_l0 of the angle 0
        return torch.cat([out, -(out @ same)[..., None]], -1)

    def _known(self, kinds, unit: Tensor, dtype: torch.dtype) -> Known:
        here, there = Bins(kinds.nodes.receivers, len(kinds.nodes)), Bins(kinds.nodes.senders, len(kinds.nodes))
        table, each = Padded(here), torch.arange(1, 2 * self.degrees, 2, device=unit.device)
        every = real_harmonics(unit, self.degrees)
        summed = kinds.sum(every) * torch.sqrt(4 * math.pi / each.to(unit)).repeat_interleave(each)
        times = kinds.count[:, None].to(dtype)
        return Known(here, there, Bins(kinds.back, len(kinds)), times, table, table.lay(every[kinds.row].to(dtype)), table.lay(summed.to(dtype)))

    def head(self, rng: torch.Generator, outputs: int) -> nn.Module:
        """(rows, width) to (rows, outputs), linear as the last map of the paper."""
        return linear(rng, self.width, outputs, bias=False)


def made_up(cutoff: float) -> Crystals:
    """Four crystals of four atoms of any elements near cubic close packing, 10 to 31 Å^3 for each as in crystals; denser where `cutoff` (Å) is below 4."""
    rng = torch_stream(0, "gemnet.made_up")
    normal = lambda *shape: torch.randn(*shape, generator=rng, dtype=torch.float64)
    place = torch.tensor([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]], dtype=torch.float64)
    crystals = []
    for side in (3.4, 3.9, 4.4, 5.0):
        cell = side * min(1.0, cutoff / 4) * (torch.eye(3, dtype=torch.float64) + 0.05 * normal(3, 3))
        crystals.append(Crystals.of(place + 0.08 * normal(4, 3), torch.randint(1, 84, (4,), generator=rng).tolist(), cell))
    return Crystals.join(crystals)
