"""SchNet: continuous-filter convolutions, whose filters are functions of distance and so smooth in every coordinate.

K. T. Schütt, H. E. Sauceda, P.-J. Kindermans, A. Tkatchenko, K.-R. Müller, "SchNet: a deep learning architecture for molecules and materials",
Journal of Chemical Physics 148, 241722 (2018), doi:10.1063/1.5019779; the first form of it in arXiv:1706.08566.

    e_k(r) = exp(-gamma (r - mu_k)^2)                      distances in Gaussians
    W(r) = ssp(L ssp(L e(r))) c(r)                         a filter per feature, ended by the cutoff c
    v_i = x_i + L ssp(L sum_j (L x_j) * W(r_ij))           one interaction block
with x the features of atoms, L linear maps of their own each, ssp the shifted softplus.
"""

from __future__ import annotations

from torch import Tensor, nn

from ..base.elements import MAX_Z
from ..base.registry import Card
from ..base.seeds import torch_stream
from ..crystal.alike import Alike, lengths_of, nodes_of
from ..crystal.graph import Graph, Within
from ..crystal.segments import Bins
from ..crystal.state import Crystals
from ..layers.parts import Gaussians, cosine_cutoff, embedding, linear, perceptron
from ..learn.targets import Features

CARD = Card(
    name="schnet",
    build="SchNet",
    role="encoder",
    paper="10.1063/1.5019779",
    year=2018,
    summary="continuous-filter convolutions over distances, smooth in every coordinate",
    capabilities=("seed",),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    reference=-2.9823680896717475,
    small={"width": 16, "blocks": 2, "radius": 4.5, "spacing": 0.3, "gamma": 5.0},
    differs=(
        "a cosine cutoff ends every filter, so that forces are continuous; the paper cuts",
        "filters of neighbours are summed; for crystals the paper divides them by the number of neighbours, which jumps when an atom crosses the cutoff",
        "an atom or edge that symmetry repeats is computed once and counted as often as it occurs: the same numbers, less work",
    ),
)


class Block(nn.Module):
    """One interaction block: filter, atom-wise map, convolution, two atom-wise maps."""

    def __init__(self, rng, bins: int, width: int):
        super().__init__()
        self.filter = perceptron(rng, bins, width, width, last=True)
        self.inward = linear(rng, width, width, bias=False)
        self.outward = perceptron(rng, width, width, width)

    def forward(self, x: Tensor, bins: Tensor, weight: Tensor, senders: Bins, receivers: Bins) -> Tensor:
        """x (nodes, width), bins (edges, bins), weight (edges, 1): cutoff times how often an edge counts; both ends of the edges."""
        message = senders.take(self.inward(x)) * self.filter(bins) * weight
        return x + self.outward(receivers.sum(message))


class SchNet(nn.Module):
    """Encoder: (atoms, width) features.

    width    features of an atom and filters
    blocks   interaction blocks
    radius   cutoff in Å
    spacing  of the Gaussians in Å, from 0 to the cutoff; `gamma` their sharpness in 1/Å^2
    seed     of the first weights
    """

    def __init__(self, width: int = 64, blocks: int = 6, radius: float = 5.0, spacing: float = 0.1, gamma: float = 10.0, seed: int = 0):
        super().__init__()
        rng = torch_stream(seed, "schnet")
        self.width, self.radius, self.graph = width, radius, Alike(Within(radius))
        self.embed = embedding(rng, MAX_Z + 1, width)
        bins = round(radius / spacing) + 1
        self.expand = Gaussians(0.0, radius, bins, gamma)
        self.blocks = nn.ModuleList(Block(rng, bins, width) for _ in range(blocks))

    def forward(self, crystals: Crystals, graph: Graph) -> Features:
        """Features in the dtype of the weights; lengths are taken in the dtype of the crystals."""
        nodes = nodes_of(graph, crystals.atoms)
        length, count = lengths_of(graph, crystals)
        length = length.to(self.embed.weight.dtype)
        x, bins, weight = self.embed(crystals.species[nodes.first]), self.expand(length), (cosine_cutoff(length, self.radius) * count)[:, None]
        senders, receivers = Bins(nodes.senders, len(nodes)), Bins(nodes.receivers, len(nodes))
        for block in self.blocks:
            x = block(x, bins, weight, senders, receivers)
        return Features(x[nodes.of_atom])
