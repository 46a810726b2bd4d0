"""eComFormer: attention over a crystal graph, and one pass of vectors and tensors of neighbours through it that sees all angles.

K. Yan, C. Fu, X. Qian, X. Qian, S. Ji, "Complete and efficient graph transformers for crystal material property prediction", International Conference on Learning
Representations 2024, arXiv:2403.11857, section 4.3; public code in github.com/divelab/AIRS.

    s = A x;  h = softplus(B e) of edges (another B in each step)                          Y_l: spherical harmonics of the edge, |Y_l|^2 = 2 l + 1
    u_l = s [l = 0] + mean_j sum_ca W1_l[c, a] h_c s_ja Y_l / 8                            l = 0, 1, 2: 64, 8, 8 channels
    z = mean_j sum_ca W2[c, a] h_c [u_j0, u_j1 Y_1 / sqrt 3, u_j2 Y_2 / sqrt 5]_a / sqrt 80
    x <- softplus(D softplus(BN(z))) + S x
which are the two tensor products of the code with their factors in closed form. Weights differ from edge to edge, but sums over channels can be taken before
those over edges: per atom where neighbours send, per pair of channels where they arrive, so that no edge has 5,120 weights.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..base.registry import Card
from ..base.seeds import torch_stream
from ..crystal.alike import nodes_of
from ..crystal.edge_orbits import orbits
from ..crystal.graph import Graph
from ..crystal.segments import Bins
from ..crystal.state import Crystals
from ..layers.gated_convolution import Messages, WeightedNorm
from ..layers.harmonics import real_harmonics
from ..layers.merging import merged
from ..layers.padded import Padded
from ..layers.parts import Gaussians, linear
from ..learn.targets import Features
from ..represent.element_bins import WIDTH, element_bins
from .comformer import NearestAndFrame, NodeAttention

CARD = Card(
    name="ecomformer",
    build="EComFormer",
    role="encoder",
    paper="2403.11857",
    year=2024,
    summary="eComFormer: attention over edges, and one pass of vectors and tensors of neighbours",
    capabilities=("seed",),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    waives={"smooth": "the graph of the paper ends at the 25th neighbour, and its frame is of the three shortest vectors: predictions jump where either changes"},
    reference=36.2751142221091,
    presets={"light": {"width": 64, "blocks": 2, "scalars": 32, "vectors": 8, "neighbours": 12}},
    small={"width": 16, "blocks": 2, "neighbours": 12, "bins": 32, "scalars": 8, "vectors": 4},
    differs=(
        "where several frames of lattice vectors are as short, an atom has edges to its copies at the vectors of all; the code takes the first frame in the order in "
        "which images were listed",
        "frames are those of the primitive lattice; a slab has two vectors and a molecule none",
        "every edge is there once in each direction; the code lists an atom's edges to itself twice",
        "neighbours are searched within 8 Å, and an atom with fewer keeps those it has; the code begins at 4 Å and enlarges",
        "64 scalars, 8 vectors and 8 tensors as in the public code, 5.5 M parameters, which the paper calls half; its full model has 12.4 M",
        "mirror images get equal predictions: the products that the code takes are even under reflection",
        "the bins of element properties are filled from the tables of Magpie",
        "no bias before batch normalisation, which would take it away",
        "first weights are drawn after Glorot; the code takes torch's own",
        "an atom or edge that the space group repeats is computed once and counted as often as it occurs, with what has a direction turned: the same numbers, less work",
    ),
)


def harmonics(unit: Tensor) -> Tensor:
    """(edges, 9) of unit vectors, up to degree 2, |Y_l|^2 = 2 l + 1."""
    return math.sqrt(4 * math.pi) * real_harmonics(unit, 3)


class EdgeWeights(nn.Module):
    """h = softplus(B e), 1 beside it, and weights W (channels of h + 1, in, out)."""

    def __init__(self, rng, width: int, fan_in: int, fan_out: int):
        super().__init__()
        self.hidden, self.fan_in = linear(rng, width, width), fan_in
        self.weights = linear(rng, width, fan_in * fan_out)

    def forward(self, e: Tensor) -> tuple[Tensor, Tensor]:
        """(edges, width + 1) and (width + 1, in, out)."""
        h = F.softplus(self.hidden(e))
        w = torch.cat([self.weights.weight.T, self.weights.bias[None]])
        return torch.cat([h, h.new_ones(len(h), 1)], 1), w.unflatten(1, (self.fan_in, -1))


class TensorPass(nn.Module):
    """(nodes, width) from nodes and edges (edges, width)."""

    def __init__(self, rng, width: int, scalars: int, vectors: int):
        super().__init__()
        self.scalars, self.vectors = scalars, vectors
        self.inward, self.skip, self.outward = linear(rng, width, scalars), linear(rng, width, width), linear(rng, scalars, width)
        self.first, self.second = EdgeWeights(rng, width, scalars, scalars + 2 * vectors), EdgeWeights(rng, width, scalars + 2 * vectors, scalars)
        self.norm = WeightedNorm(scalars)

    def scalars_of(self, s: Tensor, e: Tensor, summed: Tensor, seen: Tensor, messages: Messages) -> Tensor:
        """The two tensor products: scalars (nodes, scalars) of scalars.

        summed  (edges, 9) harmonics summed over the edges that each stands for
        seen    (edges, 9) harmonics of the edge, turned as the sender is turned from the atom that stands for it: its features stay as they are there
        """
        here, there = messages.receivers, messages.senders
        many = here.sum(messages.times).clamp(min=1)
        h, w = self.first(e)
        sent = Padded(there)
        message = sent.pick(torch.bmm(sent.lay(h), torch.einsum("ja,cab->jcb", s, w))) / math.sqrt(self.scalars)
        plain, one, two = message.split([self.scalars, self.vectors, self.vectors], 1)
        spread = lambda t, y: (t[..., None] * y[:, None]).flatten(1)
        parts = torch.cat([plain * messages.times, spread(one, summed[:, 1:4]), spread(two, summed[:, 4:])], 1)
        u = there.take(here.sum(parts) / many + F.pad(s, (0, 8 * self.vectors)))
        one, two = u[:, self.scalars :].split([3 * self.vectors, 5 * self.vectors], 1)
        dot = lambda t, y: (t.unflatten(1, (self.vectors, -1)) * y[:, None]).sum(-1) / math.sqrt(y.shape[1])
        u = torch.cat([u[:, : self.scalars], dot(one, seen[:, 1:4]), dot(two, seen[:, 4:])], 1)
        h, w = self.second(e)
        met = Padded(here)
        pairs = torch.bmm(met.lay(h * messages.times).mT, met.lay(u))  # (nodes, channels of h, channels of u)
        return pairs.flatten(1) @ w.flatten(0, 1) / math.sqrt(w.shape[1]) / many

    def forward(self, x: Tensor, e: Tensor, summed: Tensor, seen: Tensor, messages: Messages) -> Tensor:
        """Harmonics (edges, 9) as in `scalars_of`."""
        z = self.scalars_of(self.inward(x), e, summed, seen, messages)
        return F.softplus(self.outward(F.softplus(self.norm(z, messages.node_share, messages.nodes)))) + self.skip(x)


class EComFormer(nn.Module):
    """Encoder: (atoms, width) features.

    width       features of atoms and edges; `blocks` layers of attention, the pass of tensors after the first
    scalars, vectors  channels of the pass of degree 0, and of degrees 1 and 2 each
    neighbours  nearest images of an atom within `radius` Å, with all that are as near as the last
    bins        Gaussians of -0.75 / length
    seed        of the first weights
    """

    def __init__(self, width: int = 256, blocks: int = 3, scalars: int = 64, vectors: int = 8, neighbours: int = 25, radius: float = 8.0, bins: int = 256,
                 seed: int = 0):
        super().__init__()
        rng = torch_stream(seed, "ecomformer")
        self.width, self.search = width, NearestAndFrame(neighbours, radius)
        self.register_buffer("elements", torch.tensor(element_bins()), persistent=False)
        self.embed = linear(rng, WIDTH, width)
        self.near = Gaussians(-4.0, 0.0, bins, (bins - 1) / 4)
        self.length = nn.Sequential(linear(rng, bins, width), nn.Softplus())
        self.blocks = nn.ModuleList(NodeAttention(rng, width) for _ in range(blocks))
        self.tensors = TensorPass(rng, width, scalars, vectors)

    def graph(self, crystals: Crystals) -> Graph:
        """One edge of every orbit with harmonics `summed` (edges, 9) and directions `seen` (edges, 3), see `TensorPass`; all edges where slopes are wanted."""
        graph = self.search(crystals)
        if crystals.frac.requires_grad or crystals.cell.requires_grad:
            return graph
        found, vector = orbits(crystals, graph), graph.vectors(crystals.bare().to(torch.float64))
        unit = vector / vector.norm(dim=-1, keepdim=True)
        seen = torch.bmm(unit[found.kept][:, None], found.turn[graph.senders[found.kept]])[:, 0]
        return found.graph(graph, summed=found.sum(harmonics(unit)), seen=seen)

    def forward(self, crystals: Crystals, graph: Graph) -> Features:
        """Features in the dtype of the weights."""
        dtype, vector = self.embed.weight.dtype, graph.vectors(crystals)
        length = vector.norm(dim=-1)
        nodes = nodes_of(graph, crystals.atoms)
        messages = Messages(nodes, graph.edge.get("count", torch.ones_like(graph.senders)), dtype)
        seen = harmonics(graph.edge.get("seen", vector / length[:, None]))
        summed = graph.edge.get("summed", seen)
        length, kind = merged(length, graph.owner(crystals))
        e, kinds = self.length(self.near((-0.75 / length).to(dtype))), Bins(kind, len(length))
        x = F.embedding(crystals.species[nodes.first], self.embed(self.elements))
        x = self.blocks[0](x, e, messages, kinds)
        e = kinds.take(e)
        x = self.tensors(x, e, summed.to(dtype), seen.to(dtype), messages)
        for block in self.blocks[1:]:
            x = block(x, e, messages)
        return Features(x[nodes.of_atom])

    def head(self, rng: torch.Generator, outputs: int) -> nn.Module:
        """The layers of the paper after pooling: (rows, width) to (rows, outputs)."""
        return nn.Sequential(linear(rng, self.width, self.width), nn.SiLU(), linear(rng, self.width, outputs))
