"""ADA-GNN: distances to many neighbours, angles to few; atoms and structure are embedded apart.

J. Huang, Q. Xing, J. Ji, B. Yang, "ADA-GNN: atom-distance-angle graph neural network for crystal material property prediction", arXiv:2401.11768.

    s_ij = M [distance in Gaussians, sum over k near i of c(d_ik) cos(angle_jik) in Gaussians]      structure, once for all blocks
    x_i <- x_i + silu(BN(sum_j c(d_ij) sigmoid(A [x_i, x_j, s_ij]) * silu(B [x_i, x_j, s_ij])))       atoms, block by block
j runs over the edge neighbours, within the larger radius, k over the angle neighbours, within the smaller one; crystals are the mean of their atoms.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..base.registry import Card
from ..base.seeds import torch_stream
from ..crystal.alike import folded, multisets, nodes_of
from ..crystal.graph import Graph, Within
from ..crystal.segments import Bins
from ..crystal.state import Crystals
from ..layers.angles import beside
from ..layers.elements import ElementLinear
from ..layers.gated_convolution import Messages, WeightedNorm
from ..layers.merging import merged
from ..layers.pair_linear import PairLinear
from ..layers.parts import Gaussians, cosine_cutoff, perceptron
from ..learn.targets import Features

CARD = Card(
    name="ada_gnn",
    build="ADAGNN",
    role="encoder",
    paper="2401.11768",
    year=2024,
    summary="a large radius for distances and a small one for angles; structure is embedded once, apart from the atoms",
    capabilities=("seed",),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    reference=-0.6622799019772765,
    small={"width": 16, "blocks": 2, "lengths": 20, "angles": 10, "radius": 4.5, "near": 3.2},
    differs=(
        "written from the paper's abstract and a review's description of it: two radii, atoms and structure embedded apart, blocks, mean pooling; the "
        "equations and all settings are ours",
        "both radii end smoothly, so that the prediction does not jump",
        "an atom or edge that symmetry repeats is computed once and counted as often as it occurs: the same numbers, less work",
    ),
)


class Block(nn.Module):
    """One gated update of the atoms."""

    def __init__(self, rng: torch.Generator, width: int):
        super().__init__()
        self.mix, self.norm = PairLinear(rng, width, width, 2 * width), WeightedNorm(width)

    def forward(self, x: Tensor, structure: Tensor, weight: Tensor, messages: Messages) -> Tensor:
        """x (nodes, width), structure (edges, width), weight (edges, 1): cutoff times how often an edge counts."""
        gate, core = self.mix(x, structure, messages.receivers, messages.senders).chunk(2, 1)
        total = messages.receivers.sum(torch.sigmoid(gate) * F.silu(core) * weight)
        return x + F.silu(self.norm(total, messages.node_share, messages.nodes))


class ADAGNN(nn.Module):
    """Encoder: (atoms, width) features.

    width    of atoms and structure;  blocks
    radius   of edge neighbours, `near` of angle neighbours, Å
    lengths  Gaussians of a distance, `angles` of the cosine of an angle
    """

    def __init__(self, width: int = 128, blocks: int = 4, radius: float = 5.0, near: float = 3.5, lengths: int = 64, angles: int = 32, seed: int = 0):
        super().__init__()
        rng = torch_stream(seed, "ada_gnn")
        self.width, self.radius, self.near, self.search = width, radius, near, Within(radius)
        self.embed, self.length, self.angle = ElementLinear(rng, width), Gaussians(0.0, radius, lengths), Gaussians(-1.0, 1.0, angles)
        self.structure = perceptron(rng, lengths + angles, width, width, activation=nn.SiLU, last=True)
        self.blocks = nn.ModuleList(Block(rng, width) for _ in range(blocks))

    def graph(self, crystals: Crystals) -> Graph:
        """Edges are alike where their lengths are and all their angles; the near ones of atoms that stand for others are kept in any case. Errors as `Within`."""
        graph = self.search(crystals)
        with torch.no_grad():
            vector = graph.vectors(crystals.bare().to(torch.float64))
            length, owner = vector.norm(dim=-1), graph.owner(crystals)
            near = length < self.near
            one, other, cosine = self._pairs(vector / length[:, None], near, graph)
            kind = merged(cosine, owner[one])[1] * (len(graph) + 1) + merged(length, owner, 1e-5)[1][other]
        return folded(crystals, graph, multisets(one, kind, len(graph)), also=near)

    def forward(self, crystals: Crystals, graph: Graph) -> Features:
        """Features in the dtype of the weights; lengths and angles are taken in the dtype of the crystals."""
        step = graph.vectors(crystals)
        length, own = step.norm(dim=-1), (graph.edge["count"] > 0).nonzero()[:, 0]
        edges = graph.pick(own)
        nodes = nodes_of(edges, crystals.atoms)
        x = self.embed(crystals.species[nodes.first])
        messages = Messages(nodes, edges.edge["count"], x.dtype)
        angles = self._angles(step / length[:, None], length, graph, x.dtype)[own]
        structure = self.structure(torch.cat([self.length(length[own].to(x.dtype)), angles], 1))
        weight = cosine_cutoff(length[own], self.radius).to(x.dtype)[:, None] * messages.times
        for block in self.blocks:
            x = block(x, structure, weight, messages)
        return Features(x[nodes.of_atom])

    def _angles(self, unit: Tensor, length: Tensor, graph: Graph, dtype: torch.dtype) -> Tensor:
        """(edges, angles) which angles an edge has with the near edges of its centre, and how many; 0 for edges that do not count."""
        one, other, cosine = self._pairs(unit, length < self.near, graph)
        weight = cosine_cutoff(length, self.near).index_select(0, other)
        return Bins(one, len(graph)).sum(self.angle(cosine.to(dtype)) * weight.to(dtype)[:, None])

    def _pairs(self, unit: Tensor, near: Tensor, graph: Graph) -> tuple[Tensor, Tensor, Tensor]:
        """Edges that count, near edges with the same centre, and cosines between them, (angles,) each."""
        one, other = beside(graph, near.nonzero()[:, 0])
        if "count" in graph.edge:
            counts = (graph.edge["count"][one] > 0).nonzero()[:, 0]
            one, other = one[counts], other[counts]
        return one, other, (unit.index_select(0, one) * unit.index_select(0, other)).sum(-1)
