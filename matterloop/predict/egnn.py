"""EGNN: messages from squared distances, which in turn move the atoms; equivariant without any spherical harmonic.

V. G. Satorras, E. Hoogeboom, M. Welling, "E(n) equivariant graph neural networks", ICML 2021, arXiv:2102.09844, eqs. 3 to 6 and 8; code of the
authors at github.com/vgsatorras/egnn.

    m_ij = phi_e(h_i, h_j, |x_i - x_j|^2)                      messages
    x_i <- x_i + C sum_j (x_i - x_j) phi_x(m_ij)               coordinates
    h_i <- h_i + phi_h(h_i, sum_j sigma(a(m_ij)) m_ij)         features
In a crystal x_j is an image of the neighbour: what moves is a displacement u (atoms, 3) in Å of every atom and all its images alike, the lattice stays.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..base.elements import MAX_Z
from ..base.registry import Card
from ..base.seeds import torch_stream
from ..crystal.alike import nodes_of
from ..crystal.edge_orbits import orbits
from ..crystal.graph import Graph, Within
from ..crystal.segments import Bins
from ..crystal.state import Crystals
from ..layers.pair_linear import PairLinear
from ..layers.parts import cosine_cutoff, embedding, linear, perceptron
from ..learn.targets import Features

GAIN = 0.001  # of the first weights of the last map of phi_x, as in the authors' code: atoms start almost at rest

CARD = Card(
    name="egnn",
    build="EGNN",
    role="encoder",
    paper="2102.09844",
    year=2021,
    summary="messages from squared distances between atoms that move from layer to layer",
    capabilities=("seed",),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    reference=-3.5934945734443464,
    small={"width": 16, "layers": 3, "radius": 4.5},
    differs=(
        "the paper connects all atoms of a molecule; here images within a radius, every message times a cosine cutoff of the length before any atom moved",
        "C is 1 / (1 + sum of the cutoffs of the neighbours) where the paper has 1 / (number of neighbours), which jumps when an atom crosses the cutoff",
        "the last layer moves no atom, for nothing would see it; in its QM9 runs the paper moves none at all (option `moves`)",
        "the authors' QM9 features (one-hot times powers of the charge) are a free vector per element",
        "an atom or edge that the space group repeats is computed once and counted as often as it occurs, with what has a direction turned: the same numbers, less work",
    ),
)


class Layer(nn.Module):
    """One equivariant graph convolution; `moves`: whether it has a phi_x."""

    def __init__(self, rng, width: int, moves: bool):
        super().__init__()
        self.pair, self.message = PairLinear(rng, width, 1, width), perceptron(rng, width, width, activation=nn.SiLU, last=True)
        self.attention = linear(rng, width, 1)
        self.move = perceptron(rng, width, width, 1, activation=nn.SiLU) if moves else None
        self.update = perceptron(rng, 2 * width, width, width, activation=nn.SiLU)
        if moves:
            self.move[-1].bias = None
            with torch.no_grad():
                self.move[-1].weight.mul_(GAIN)

    def forward(self, h: Tensor, vectors: Tensor, every: Tensor, cutoff: Tensor, times: Tensor, here: Bins, there: Bins) -> tuple[Tensor, Tensor | None]:
        """h (nodes, width), vectors (edges, 3) to neighbours as they lie now, sums of those that an edge stands for `every` (edges, 3), cutoff (edges, 1) and how
        many those are, times (edges, 1): new h, and steps (nodes, 3) if atoms move.
        """
        message = self.message(nn.functional.silu(self.pair(h, vectors.square().sum(-1, keepdim=True), here, there)))
        total = here.sum(torch.sigmoid(self.attention(message)) * (cutoff * times) * message)
        if self.move is None:
            return h + self.update(torch.cat([h, total], -1)), None
        pull = here.sum(torch.cat([self.move(message) * cutoff * -every, cutoff * times], -1))
        return h + self.update(torch.cat([h, total], -1)), pull[:, :3] / (1 + pull[:, 3:])


class EGNN(nn.Module):
    """Encoder: (atoms, width) features.

    width   features of an atom and a message
    layers  equivariant graph convolutions
    radius  cutoff in Å
    moves   whether atoms are moved (by all layers but the last)
    seed    of the first weights
    """

    def __init__(self, width: int = 128, layers: int = 7, radius: float = 5.0, moves: bool = True, seed: int = 0):
        super().__init__()
        rng = torch_stream(seed, "egnn")
        self.width, self.radius, self.search = width, radius, Within(radius)
        self.embed = embedding(rng, MAX_Z + 1, width)
        self.layers = nn.ModuleList(Layer(rng, width, moves and i < layers - 1) for i in range(layers))
        self.decode = perceptron(rng, width, width, width, activation=nn.SiLU)

    def graph(self, crystals: Crystals) -> Graph:
        """One edge of every orbit with the sums of its `vectors` (edges, 3), the `turn` (edges, 3, 3) of its sender from the atom that stands for it, and the
        sum of those in the orbit, `turns`; all edges where slopes are wanted. Errors as `Within`.
        """
        graph = self.search(crystals)
        if crystals.frac.requires_grad or crystals.cell.requires_grad:
            return graph
        found, vectors = orbits(crystals, graph), graph.vectors(crystals.bare().to(torch.float64))
        turn = found.turn[graph.senders]
        return found.graph(graph, vectors=found.sum(vectors), turn=turn[found.kept], turns=found.sum(turn))

    def forward(self, crystals: Crystals, graph: Graph) -> Features:
        """Features in the dtype of the weights; vectors are taken in the dtype of the crystals."""
        return self.walk(crystals, graph)[0]

    def walk(self, crystals: Crystals, graph: Graph) -> tuple[Features, Tensor]:
        """Features, and by how much was moved in all every atom that stands for others, (nodes, 3) in Å: every atom, where `graph` has all edges."""
        nodes, vectors, dtype = nodes_of(graph, crystals.atoms), graph.vectors(crystals), self.embed.weight.dtype
        cutoff = cosine_cutoff(vectors.norm(dim=-1), self.radius)[:, None].to(dtype)
        vectors, h = vectors.to(dtype), self.embed(crystals.species[nodes.first])
        here, there = Bins(nodes.receivers, len(h)), Bins(nodes.senders, len(h))
        folded = "turn" in graph.edge
        every, times, turn, turns = vectors, torch.ones_like(cutoff), None, None
        if folded:
            every, turn, turns, times = (graph.edge[name].to(dtype) for name in ("vectors", "turn", "turns", "count"))
            times = times[:, None]
        moved = h.new_zeros(len(h), 3)
        for layer in self.layers:
            h, step = layer(h, vectors, every, cutoff, times, here, there)
            if step is None:
                continue
            moved, theirs, own = moved + step, there.take(step), here.take(step)
            vectors = vectors + (_turned(turn, theirs) if folded else theirs) - own
            every = every + _turned(turns, theirs) - times * own if folded else vectors
        return Features(self.decode(h)[nodes.of_atom]), moved


def _turned(turn: Tensor, vectors: Tensor) -> Tensor:
    """(edges, 3, 3) matrices on (edges, 3) columns."""
    return (turn * vectors[:, None]).sum(-1)
