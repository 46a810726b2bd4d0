"""GATGNN: neighbours weighed by attention that sees the bond, and atoms of a crystal by attention that sees its composition.

S.-Y. Louis, Y. Zhao, A. Nasiri, X. Wang, Y. Song, F. Liu, J. Hu, "Graph convolutional neural networks with global attention for improved materials property
prediction", Physical Chemistry Chemical Physics 22, 18141 (2020), doi:10.1039/D0CP01474E.

    local    a_ij = sp(W [x_i, e_ij]),  b_ij = sp(W [x_j, e_ij])                              for every head
             s_ij = softmax over j of sp(BN(sp(q . [a_ij, b_ij])))
             x'_i = sp(BN(mean over heads of sum_j s_ij b_ij + bias))
    global   s_i = softmax over the atoms of a crystal of  w . sp(V [x_i, composition])       (GI M-1, the default)
             crystal = sp(L sum_i s_i x_i)
with e_ij the distance in Gaussians through one leaky layer and sp the softplus.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..base.elements import MAX_Z
from ..base.registry import Card
from ..base.seeds import torch_stream
from ..crystal.alike import Alike, lengths_of, nodes_of
from ..crystal.graph import Graph, Nearest
from ..crystal.segments import segment_mean, segment_softmax, segment_sum
from ..crystal.state import Crystals
from ..layers.elements import ElementLinear
from ..layers.gated_convolution import Messages, WeightedNorm
from ..layers.parts import Gaussians, linear
from ..learn.targets import Features

CARD = Card(
    name="gatgnn",
    build="GATGNN",
    role="encoder",
    paper="10.1039/D0CP01474E",
    year=2020,
    summary="augmented attention among neighbours, then attention over the atoms of a crystal by its composition",
    capabilities=("seed", "whole"),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    waives={"smooth": "the set of the 12 nearest neighbours changes by jumps, as in the paper"},
    reference=-1.9406888703144771,
    small={"width": 16, "layers": 2, "heads": 2},
    differs=(
        "every neighbour as near as the 12th counts, so that the answer does not depend on the order of atoms; the paper takes 12",
        "an atom with fewer neighbours within the radius has fewer edges; the original fills up with edges to the first atom",
        "an atom or edge that symmetry repeats is computed once and counted as often as it occurs: the same numbers, less work",
        "biases that a softmax or a normalisation takes away again are left out",
        "the bins of element properties are filled from the tables of Magpie: those of groups, periods, blocks, ionisation energies and nearly all valence "
        "electrons agree with CGCNN's table, electronegativity, electron affinity and volume for four elements of five, radii (Cordero's) for two of five",
    ),
)


class LocalAttention(nn.Module):
    """Neighbours weighed by several heads, each of full width; heads are averaged."""

    def __init__(self, rng: torch.Generator, width: int, heads: int):
        super().__init__()
        self.heads, self.width = heads, width
        self.mix = linear(rng, 2 * width, heads * width, bias=False)
        reach = math.sqrt(6 / (heads + 2 * width))
        self.score = nn.Parameter((2 * torch.rand(2, heads, width, generator=rng) - 1) * reach)
        self.score_norm, self.norm = WeightedNorm(heads), WeightedNorm(width)

    def forward(self, x: Tensor, e: Tensor, at: Messages) -> Tensor:
        """x (nodes, width), e (edges, width)."""
        of_atom, of_edge = self.mix.weight.split(self.width, 1)
        atom, edge = F.linear(x, of_atom), F.linear(e, of_edge)
        here = F.softplus(at.receivers.take(atom) + edge)
        there = F.softplus(at.senders.take(atom) + edge)
        score = F.softplus(F.linear(here, torch.block_diag(*self.score[0])) + F.linear(there, torch.block_diag(*self.score[1])))
        score = F.softplus(self.score_norm(score, at.share, at.edges)) + at.times.log()
        weight = segment_softmax(score, at.receivers.index, len(x))
        message = torch.bmm(weight[:, None] / self.heads, there.view(-1, self.heads, self.width))[:, 0]
        return F.softplus(self.norm(at.receivers.sum(message), at.node_share, at.nodes))


class GATGNN(nn.Module):
    """Encoder: (atoms, width) features before the global attention and (crystals, width) after it.

    width    of atoms and edges; `layers` of local attention with `heads` each
    radius   within which `neighbours` are looked for, Å
    spacing  of the Gaussians in Å from 0 to the radius, and their width
    """

    def __init__(self, width: int = 64, layers: int = 3, heads: int = 4, neighbours: int = 12, radius: float = 8.0, spacing: float = 0.2, seed: int = 0):
        super().__init__()
        rng = torch_stream(seed, "gatgnn")
        self.width, self.graph = width, Alike(Nearest(neighbours, radius, fewer=True))
        bins = round(radius / spacing) + 1
        self.embed, self.expand, self.edge = ElementLinear(rng, width), Gaussians(0.0, radius, bins, 1 / spacing**2), linear(rng, bins, width)
        self.layers = nn.ModuleList(LocalAttention(rng, width, heads) for _ in range(layers))
        self.compose, self.weigh = linear(rng, width + MAX_Z + 1, 32), linear(rng, 32, 1, bias=False)
        self.read = linear(rng, width, width)

    def forward(self, crystals: Crystals, graph: Graph) -> Features:
        """Features in the dtype of the weights; lengths are taken in the dtype of the crystals."""
        nodes, many = nodes_of(graph, crystals.atoms), len(crystals)
        length, count = lengths_of(graph, crystals)
        owner, x = crystals.owner[nodes.first], self.embed(crystals.species[nodes.first])
        at = Messages(nodes, count, x.dtype)
        e = F.leaky_relu(self.edge(self.expand(length.to(x.dtype))), 0.2)
        for layer in self.layers:
            x = layer(x, e, at)
        composition = segment_mean(F.one_hot(crystals.species, MAX_Z + 1).to(x), crystals.owner, many)
        score = self.weigh(F.softplus(self.compose(torch.cat([x, composition[owner]], -1)))) + nodes.copies.to(x.dtype).log()[:, None]
        whole = segment_sum(segment_softmax(score, owner, many) * x, owner, many)
        return Features(x[nodes.of_atom], whole=F.softplus(self.read(whole)))

    def head(self, rng: torch.Generator, outputs: int) -> nn.Module:
        """The last layers of the paper: (rows, width) to (rows, outputs)."""
        return nn.Sequential(linear(rng, self.width, self.width), nn.Softplus(), linear(rng, self.width, outputs))
