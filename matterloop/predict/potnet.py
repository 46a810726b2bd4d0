"""PotNet: every atom sees every other through the sum of pair potentials over all its images, and its neighbours through their distance.

Y. Lin, K. Yan, Y. Luo, Y. Liu, X. Qian, S. Ji, "Efficient approximations of complete interatomic potentials for crystal property prediction", ICML 2023,
arXiv:2306.10045, eqs. 2 to 9; code of the authors in github.com/divelab/AIRS, OpenMat/PotNet.

    s_ij = a sum 1 / r + b sum 1 / r^6 + c sum exp(-3 r)                  over all images of j: Coulomb, London and Pauli (crystal/lattice_sums.py)
    e_ij = BN(softplus(W q(s_ij))),  e_ij = silu(W g(-0.75 / r_ij))       edges to all atoms, q multiquadrics; edges to neighbours, g Gaussians
    m_ij = sigmoid(BN(f [x_i, x_j, e_ij])) * g [x_i, x_j, e_ij]           f, g perceptrons
    x_i <- relu(x_i + BN(sum_j m_ij))
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..base.elements import MAX_Z
from ..base.registry import Card
from ..base.seeds import torch_stream
from ..crystal.alike import folded, nodes_of
from ..crystal.graph import Graph, Within
from ..crystal.lattice_sums import pair_sums
from ..crystal.segments import Bins, offsets_of, runs, segment_sum
from ..crystal.state import Crystals
from ..crystal.translations import translations
from ..layers.gated_convolution import Messages, WeightedNorm
from ..layers.merging import merged
from ..layers.pair_linear import PairLinear
from ..layers.parts import Gaussians, cosine_cutoff, embedding, linear, perceptron
from ..learn.targets import Features

LOW, HIGH = -4.0, 4.0  # of the functions that potentials are told by
NEAR = -0.75  # Å, over the distance of a neighbour: what its edge is told by

CARD = Card(
    name="potnet",
    build="PotNet",
    role="encoder",
    paper="2306.10045",
    year=2023,
    summary="infinite sums of Coulomb, London and Pauli potentials between all atoms, and neighbours by distance",
    capabilities=("seed",),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    reference=24.89903409948944,
    waives={
        "smooth": "a ReLU ends every layer, as in the paper: the prediction is continuous, its slope jumps where one closes",
        "far_atoms": "all atoms of a structure are joined by edges whose messages do not end with distance, as the paper intends",
    },
    presets={"light": {"width": 64, "radius": 4.0, "functions": 256}},
    small={"width": 16, "layers": 2, "bins": 16, "radius": 4.5},
    differs=(
        "sums go over the primitive lattice, and of all copies of an atom only one sends, so that a supercell is told like its crystal; the paper takes the cell "
        "as it comes",
        "neighbours are all images within a radius, their messages ended by a cosine; the paper takes the 16 nearest, or more where distances are equal",
        "elements are a free vector each, in the paper a linear map of 92 bits",
        "sums by closed forms of incomplete gamma functions and, for exp(-3 r), term by term out to 12 Å, instead of incomplete Bessel functions; slabs repeat "
        "in their plane only and molecules nowhere, both of which the paper does not treat",
        "as in the paper the sums are computed once, with the graph: no gradient flows into them",
        "the optional transformer layers of the code are left out, which its settings do not use; the dense layer after the mean of atoms is the predictor's head",
        "an atom or edge that symmetry repeats is computed once and counted as often as it occurs: the same numbers, less work",
    ),
)


class Multiquadrics(nn.Module):
    """sqrt(1 + ((s - mu_k) / d)^2) of potentials s (edges,), mu evenly from LOW to HIGH at the distance d: (edges, bins)."""

    def __init__(self, bins: int):
        super().__init__()
        self.register_buffer("centres", torch.linspace(LOW, HIGH, bins))
        self.spacing = (HIGH - LOW) / (bins - 1)

    def forward(self, s: Tensor) -> Tensor:
        return (1 + ((s[:, None] - self.centres) / self.spacing) ** 2).sqrt()


class Convolution(nn.Module):
    """Gated messages over all edges."""

    def __init__(self, rng, width: int):
        super().__init__()
        self.pair = PairLinear(rng, width, width, 2 * width)
        self.score, self.value = linear(rng, width, width), linear(rng, width, width)
        self.norm_score, self.norm = WeightedNorm(width), WeightedNorm(width)

    def forward(self, x: Tensor, edge: Tensor, weight: Tensor, which: Bins, messages: Messages) -> Tensor:
        """x (nodes, width), edge (rows, width) that serve the edges of the bins `which`, weight (edges, 1)."""
        score, value = F.silu(self.pair(x, edge, messages.receivers, messages.senders, which)).chunk(2, 1)
        score = self.norm_score(self.score(score), messages.share, messages.edges)
        message = torch.sigmoid(score) * self.value(value) * weight
        return F.relu(x + self.norm(messages.receivers.sum(message), messages.node_share, messages.nodes))


class PotNet(nn.Module):
    """Encoder: (atoms, width) features.

    width       features of an atom and an edge
    layers      convolutions
    bins        multiquadrics of a sum of potentials
    potentials  factors of the sums of 1 / r, 1 / r^6 and exp(-decay r);  decay in 1/Å
    radius      of neighbours in Å
    functions   Gaussians of a neighbour, as many as `width` if absent
    symprec     distance in Å within which atoms count as copies of each other
    seed        of the first weights
    """

    def __init__(self, width: int = 256, layers: int = 3, bins: int = 64, potentials: tuple[float, float, float] = (-0.801, -0.074, 0.145), decay: float = 3.0,
                 radius: float = 5.0, functions: int | None = None, symprec: float = 0.01, seed: int = 0):
        super().__init__()
        rng = torch_stream(seed, "potnet")
        self.width, self.potentials, self.decay, self.radius, self.symprec = width, tuple(potentials), decay, radius, symprec
        self.embed = embedding(rng, MAX_Z + 1, width)
        functions = width if functions is None else functions
        near = Gaussians(LOW, HIGH, functions, ((functions - 1) / (HIGH - LOW)) ** 2)
        self.near = nn.Sequential(near, perceptron(rng, functions, width, activation=nn.SiLU, last=True))
        self.far = nn.Sequential(Multiquadrics(bins), perceptron(rng, bins, width, activation=nn.Softplus, last=True))
        self.norm = WeightedNorm(width)
        self.layers = nn.ModuleList(Convolution(rng, width) for _ in range(layers))

    def graph(self, crystals: Crystals) -> Graph:
        """Neighbours, and for every atom all atoms of the primitive cell with `sums` (edges, 3); `infinite` (edges,) tells them apart. One edge stands for all
        alike, those to all atoms being alike where the weighted sums are.

        Errors as `Within` and `pair_sums`.
        """
        graph = self._every(crystals)
        infinite = graph.edge["infinite"]
        kind = 1 + merged(self._strength(graph), graph.owner(crystals))[1]
        length = graph.vectors(crystals.bare().to(torch.float64)).norm(dim=-1)
        return folded(crystals, graph, torch.where(infinite, kind, 0), torch.where(infinite, torch.zeros_like(length), length))

    def _strength(self, graph: Graph) -> Tensor:
        """(edges,) the weighted sum of the sums of potentials."""
        return graph.edge["sums"] @ graph.edge["sums"].new_tensor(self.potentials)

    @torch.no_grad()
    def _every(self, crystals: Crystals) -> Graph:
        """All edges."""
        device, crystals = crystals.cell.device, crystals.bare().to("cpu")
        near = Within(self.radius)(crystals)
        copies = translations(crystals, self.symprec)
        one, place = copies.place()
        primitive = copies.primitive(crystals)
        _, senders, sums = pair_sums(primitive, self.decay)
        n, owner = primitive.counts, crystals.owner
        begin = offsets_of(n**2)[owner] + (place - primitive.offsets[owner]) * n[owner]  # first pair of each atom's representative
        pair = runs(begin, n[owner])
        receivers = torch.arange(crystals.atoms).repeat_interleave(n[owner])
        order = torch.argsort(torch.cat([near.receivers, receivers]), stable=True)
        infinite = torch.arange(len(order)) >= len(near)
        senders, receivers = torch.cat([near.senders, one[senders[pair]]]), torch.cat([near.receivers, receivers])
        shift, sums = torch.cat([near.shift, near.shift.new_zeros(len(pair), 3)]), torch.cat([sums.new_zeros(len(near), 3), sums[pair]])
        senders, receivers, shift, sums, infinite = (x[order].to(device) for x in (senders, receivers, shift, sums, infinite))
        return Graph(senders, receivers, shift, {"sums": sums, "infinite": infinite})

    def forward(self, crystals: Crystals, graph: Graph) -> Features:
        """Features in the dtype of the weights; lengths are taken in the dtype of the crystals. `graph` is that of this encoder."""
        nodes, dtype = nodes_of(graph, crystals.atoms), self.embed.weight.dtype
        messages, owner = Messages(nodes, graph.edge["count"], dtype), graph.owner(crystals)
        near, far = (~graph.edge["infinite"]).nonzero()[:, 0], graph.edge["infinite"].nonzero()[:, 0]
        length, at_length = merged(graph.edge["length"][near], owner[near])
        s, at_s = merged(self._strength(graph)[far], owner[far], 1e-9)
        share = segment_sum(messages.share[far].to(torch.float64), at_s, len(s))  # the sums are normalised over all edges to all atoms
        part = float(share.sum())
        infinite = self.norm(self.far(s.to(dtype)), (share / max(part, 1e-30)).to(dtype), part * messages.edges)
        edge = torch.cat([self.near((NEAR / length).to(dtype)), infinite])
        row = torch.empty_like(graph.senders).index_copy(0, near, at_length).index_copy(0, far, at_s + len(length))
        cutoff = torch.where(graph.edge["infinite"], torch.ones_like(graph.edge["length"]), cosine_cutoff(graph.edge["length"], self.radius))
        x, which, weight = self.embed(crystals.species[nodes.first]), Bins(row, len(edge)), cutoff[:, None].to(dtype) * messages.times
        for layer in self.layers:
            x = layer(x, edge, weight, which, messages)
        return Features(x[nodes.of_atom])
