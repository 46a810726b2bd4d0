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
from ..crystal.graph import Graph, Within
from ..crystal.lattice_sums import pair_sums
from ..crystal.segments import Bins, offsets_of, runs
from ..crystal.state import Crystals
from ..crystal.translations import translations
from ..layers.normal import BatchNorm
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
        self.norm_score, self.norm = BatchNorm(width), BatchNorm(width)

    def forward(self, x: Tensor, edge: Tensor, weight: Tensor, here: Bins, there: Bins, which: Bins) -> Tensor:
        """x (atoms, width), edge (rows, width) that serve the edges of the bins `which`, weight (edges, 1)."""
        score, value = F.silu(self.pair(x, edge, here, there, which)).chunk(2, 1)
        message = torch.sigmoid(self.norm_score(self.score(score))) * self.value(value) * weight
        return F.relu(x + self.norm(here.sum(message)))


def told_once(values: Tensor) -> tuple[Tensor, Tensor]:
    """Different numbers among `values` (edges,) and the place of each value among them; where slopes are wanted all count as different."""
    if values.requires_grad:
        return values, torch.arange(len(values), device=values.device)
    return torch.unique(values, return_inverse=True)


class PotNet(nn.Module):
    """Encoder: (atoms, width) features.

    width       features of an atom and an edge, and Gaussians of a neighbour
    layers      convolutions
    bins        multiquadrics of a sum of potentials
    potentials  factors of the sums of 1 / r, 1 / r^6 and exp(-decay r);  decay in 1/Å
    radius      of neighbours in Å
    symprec     distance in Å within which atoms count as copies of each other
    seed        of the first weights
    """

    def __init__(self, width: int = 256, layers: int = 3, bins: int = 64, potentials: tuple[float, float, float] = (-0.801, -0.074, 0.145), decay: float = 3.0,
                 radius: float = 5.0, symprec: float = 0.01, seed: int = 0):
        super().__init__()
        rng = torch_stream(seed, "potnet")
        self.width, self.potentials, self.decay, self.radius, self.symprec = width, tuple(potentials), decay, radius, symprec
        self.embed = embedding(rng, MAX_Z + 1, width)
        self.near = nn.Sequential(Gaussians(LOW, HIGH, width, ((width - 1) / (HIGH - LOW)) ** 2), perceptron(rng, width, width, activation=nn.SiLU, last=True))
        self.far = nn.Sequential(Multiquadrics(bins), perceptron(rng, bins, width, activation=nn.Softplus, last=True), BatchNorm(width))
        self.layers = nn.ModuleList(Convolution(rng, width) for _ in range(layers))

    @torch.no_grad()
    def graph(self, crystals: Crystals) -> Graph:
        """Neighbours, and for every atom all atoms of the primitive cell with `sums` (edges, 3); `infinite` (edges,) tells them apart.

        Errors as `Within` and `pair_sums`.
        """
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
        near, far = ((~graph.edge["infinite"]).nonzero()[:, 0], graph.edge["infinite"].nonzero()[:, 0])
        length = graph.pick(near).vectors(crystals).norm(dim=-1)
        s = graph.edge["sums"][far] @ graph.edge["sums"].new_tensor(self.potentials)
        x = self.embed(crystals.species)
        weight = torch.cat([cosine_cutoff(length, self.radius), torch.ones_like(s)])[:, None].to(x)
        length, at_length = told_once(length)
        s, at_s = told_once(s.round(decimals=12))
        every = self.far[2](self.far[:2](s.to(x))[at_s])  # normalised over all edges
        one_of = torch.empty_like(s, dtype=torch.long).index_put((at_s,), torch.arange(len(at_s), device=s.device))
        edge = torch.cat([self.near((NEAR / length).to(x)), every[one_of]])
        order, which = torch.cat([near, far]), Bins(torch.cat([at_length, at_s + len(length)]), len(edge))
        here, there = Bins(graph.receivers[order], len(x)), Bins(graph.senders[order], len(x))
        for layer in self.layers:
            x = layer(x, edge, weight, here, there, which)
        return Features(x)
