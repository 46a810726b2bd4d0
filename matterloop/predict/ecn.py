"""Equivariant crystal network (ECN): message functions tied by the space group, one for each kind of pair that no operation turns into another.

S.-O. Kaba, S. Ravanbakhsh, "Equivariant networks for crystal structures", NeurIPS 2022, arXiv:2211.15420; code of the authors at
github.com/oumarkaba/equivariant_crystal_networks.

    m_ij = silu(W silu(V [x_i, x_j, e_ij])),  times sigmoid(a . m_ij)          from all neighbours
    m'_iT = silu(W_c silu(V_c [x_i, e_iT])),  times sigmoid(a' . m'_iT)        from an atom's own copies at T, c the colour of T
    x_i <- x_i + U silu(U' [sum_j m_ij + sum_T m'_iT, x_i])
Atoms and edges that the space group makes equal have equal features and messages: each is computed once and counted (crystal/edge_orbits.py).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..base.elements import MAX_Z
from ..base.registry import Card
from ..base.seeds import torch_stream
from ..crystal.alike import nodes_of
from ..crystal.edge_orbits import COLOURS, reduced
from ..crystal.graph import Graph, Within
from ..crystal.segments import Bins
from ..crystal.state import Crystals
from ..layers.pair_linear import PairLinear
from ..layers.parts import Gaussians, cosine_cutoff, embedding, linear, perceptron
from ..learn.targets import Features

CARD = Card(
    name="ecn",
    build="ECN",
    role="encoder",
    paper="2211.15420",
    year=2022,
    summary="messages tied by the space group: one per orbit of edges, own functions for translations by their class in a 2 x 2 x 2 supercell",
    capabilities=("seed",),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    reference=-2.077620027782032,
    small={"width": 16, "bins": 8, "layers": 2, "radius": 4.5},
    differs=(
        "the paper tells every cell of a 2 x 2 x 2 supercell by a one-hot vector, which breaks the symmetry but depends on the choice of cell and of its atoms; "
        "of this only what does not depend on them is kept: the class of a translation T in L / 2 L, and how many classes the point group makes equal to it",
        "so different cells of the supercell are told apart between copies of one atom only, by weights of their own; the authors' default ties all cells alike",
        "orbits are those of the space group of each crystal, found within 0.01 Å; the paper uses the lattice's group",
        "messages end by a cosine at the radius; the paper takes bonded neighbours or all within the radius",
        "structures without three periodic axes have one colour and no orbits; the paper does not treat them",
    ),
)


class Tied(nn.Module):
    """x W_c + b_c of rows, with weights of their own for each colour c."""

    def __init__(self, rng, colours: int, fan_in: int, fan_out: int):
        super().__init__()
        maps = [linear(rng, fan_in, fan_out) for _ in range(colours)]
        self.weight = nn.Parameter(torch.stack([m.weight.detach().T for m in maps]))
        self.bias = nn.Parameter(torch.zeros(colours, fan_out))

    def forward(self, x: Tensor, rows: list[tuple[int, Tensor]]) -> Tensor:
        """x (rows, in), the rows of each colour that occurs, in order: (rows, out)."""
        return torch.cat([torch.addmm(self.bias[c], x[r], self.weight[c]) for c, r in rows]) if rows else x.new_zeros(0, self.bias.shape[1])


class Layer(nn.Module):
    """Messages from neighbours and from copies, and the update of sites."""

    def __init__(self, rng, width: int, extra: int):
        super().__init__()
        self.pair, self.message, self.attend = PairLinear(rng, width, extra, width), linear(rng, width, width), linear(rng, width, 1)
        self.copy, self.copied, self.attend_copy = Tied(rng, COLOURS, width + extra, width), Tied(rng, COLOURS, width, width), linear(rng, width, 1)
        self.update = perceptron(rng, 2 * width, width, width, activation=nn.SiLU)

    def forward(self, x: Tensor, edge: Tensor, weight: Tensor, here: Bins, there: Bins, copies: Copies) -> Tensor:
        """x (sites, width), edge (edges, extra), weight (edges, 1) count times cutoff."""
        m = F.silu(self.message(F.silu(self.pair(x, edge, here, there))))
        total = here.sum(torch.sigmoid(self.attend(m)) * weight * m)
        if len(copies.edge):
            m = F.silu(self.copied(F.silu(self.copy(torch.cat([copies.here.take(x), edge[copies.edge]], 1), copies.rows)), copies.rows))
            total = total + copies.here.sum(torch.sigmoid(self.attend_copy(m)) * weight[copies.edge] * m)
        return x + self.update(torch.cat([total, x], 1))


class Copies:
    """Edges (edge,) to an atom's own copies sorted by colour, where each colour lies among them, and their bins by site."""

    def __init__(self, colour: Tensor, receivers: Tensor, sites: int):
        self.edge = torch.argsort(colour, stable=True)[int((colour == 0).sum()) :]
        own = colour[self.edge]
        self.rows = [(int(c), (own == c).nonzero()[:, 0]) for c in own.unique()]
        self.here = Bins(receivers[self.edge], sites)


class ECN(nn.Module):
    """Encoder: (atoms, width) features, exactly equal for equivalent atoms.

    width    features of an atom;  extra  of an edge
    bins     Gaussians of distance
    layers   of messages
    radius   cutoff in Å
    symprec  distance in Å within which symmetry is found
    seed     of the first weights
    """

    def __init__(self, width: int = 100, extra: int = 20, bins: int = 20, layers: int = 6, radius: float = 6.0, symprec: float = 0.01, seed: int = 0):
        super().__init__()
        rng = torch_stream(seed, "ecn")
        self.width, self.radius, self.symprec = width, radius, symprec
        self.embed, self.edge = embedding(rng, MAX_Z + 1, width), linear(rng, bins, extra)
        self.expand = Gaussians(0.0, radius, bins, (bins / (2 * radius)) ** 2)
        self.layers = nn.ModuleList(Layer(rng, width, extra) for _ in range(layers))
        self.decode = perceptron(rng, width, width, width, activation=nn.SiLU)

    def graph(self, crystals: Crystals) -> Graph:
        """One edge of every orbit, as told in crystal/edge_orbits.py; errors as `Within`."""
        return reduced(crystals, Within(self.radius)(crystals), self.symprec)

    def forward(self, crystals: Crystals, graph: Graph) -> Features:
        """Features in the dtype of the weights; lengths are taken in the dtype of the crystals. `graph` is that of this encoder."""
        nodes, length = nodes_of(graph, crystals.atoms), graph.vectors(crystals).norm(dim=-1)
        x = self.embed(crystals.species[nodes.first])
        weight = (graph.edge["count"] * cosine_cutoff(length, self.radius))[:, None].to(x)
        edge = self.edge(self.expand(length.to(x)))
        here, there = Bins(nodes.receivers, len(x)), Bins(nodes.senders, len(x))
        copies = Copies(graph.edge["colour"], nodes.receivers, len(x))
        for layer in self.layers:
            x = layer(x, edge, weight, here, there, copies)
        return Features(self.decode(x)[nodes.of_atom])
