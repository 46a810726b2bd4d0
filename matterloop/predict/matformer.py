"""Matformer: attention over edges of a periodic graph, in which every atom also has edges to its own copies that carry the lattice.

K. Yan, Y. Liu, Y. Lin, S. Ji, "Periodic graph transformers for crystal material property prediction", Advances in Neural Information Processing Systems 35
(2022), arXiv:2209.11807, eqs. 3 to 5; public code at github.com/YKQ98/Matformer.

    q = (Q x_i, Q x_i, Q x_i),  k = (K x_i, K x_j, E e),  v = (V x_i, V x_j, E e)                per head
    m_ij = LN(W1 (sigmoid(LN(q * k / sqrt(3 d))) * (W2 v)))                                      no softmax: the number of neighbours counts
    x_i <- W3 x_i + silu(BN(W4 concat_heads sum_j m_ij))
Edges: the 12 nearest images with all as near as the last, seen from both ends, and those to an atom's own copies at a, b, c, a + b, a + c, b + c, which tell
lengths and angles of the lattice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..base.registry import Card
from ..base.seeds import torch_stream
from ..crystal.alike import Alike, nodes_of
from ..crystal.frames import copy_edges, united
from ..crystal.graph import Graph, Nearest
from ..crystal.lattice import niggli_reduce
from ..crystal.segments import Bins
from ..crystal.state import Crystals
from ..crystal.translations import translations
from ..layers.gated_convolution import Messages, WeightedNorm
from ..layers.merging import merged
from ..layers.parts import Gaussians, linear
from ..learn.targets import Features
from ..represent.element_bins import WIDTH, element_bins

CARD = Card(
    name="matformer",
    build="Matformer",
    role="encoder",
    paper="2209.11807",
    year=2022,
    summary="attention over edges, those of an atom to its own copies among them, which carry the lattice",
    capabilities=("seed",),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    waives={"smooth": "the graph of the paper ends at the twelfth neighbour: an image that enters or leaves makes the prediction jump"},
    reference=-96.63783882614578,
    presets={"light": {"width": 64, "blocks": 3, "heads": 1}},
    small={"width": 16, "blocks": 2, "heads": 2, "bins": 32},
    differs=(
        "a, b, c are the Niggli-reduced vectors of the primitive lattice, whose lengths are the same for every cell of the crystal; the paper takes those of the cell "
        "as given. Axes that do not repeat have no such edges, and a slab's are those of its cell",
        "every edge is there once in each direction; the code lists an atom's edges to itself twice",
        "the bins of element properties are filled from the tables of Magpie",
        "no bias before batch normalisation, which would take it away",
        "layers of the public code that nothing runs through are left out",
        "first weights are drawn after Glorot; the code takes torch's own",
        "an atom or edge that symmetry repeats is computed once and counted as often as it occurs: the same numbers, less work",
    ),
)
SUMS = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1))


@dataclass(frozen=True)
class NearestAndCopies:
    """The `count` nearest images within `radius` Å with ties, and the copies of every atom at six short lattice vectors; each edge with its opposite."""

    count: int
    radius: float

    def __call__(self, crystals: Crystals) -> Graph:
        known = translations(crystals)
        solid = crystals.periodic.all(1)
        cell = torch.where(solid[:, None, None], niggli_reduce(known.cell)[0], known.cell)
        sums = torch.tensor(SUMS)
        able = ((sums == 0) | crystals.periodic[:, None]).all(-1)
        crystal, which = able.nonzero().unbind(1)
        copies, _ = copy_edges(crystals, known, crystal, (sums.to(cell) @ cell)[crystal, which])
        return united(Nearest(self.count, self.radius, fewer=True)(crystals), copies)[0]


class Block(nn.Module):
    """One layer of attention; linear maps of nodes and of lengths are taken once each, before they meet in edges."""

    def __init__(self, rng, width: int, heads: int):
        super().__init__()
        self.heads, total = heads, heads * width
        self.query, self.key, self.value = (linear(rng, width, total) for _ in range(3))
        self.edge = linear(rng, width, total, bias=False)
        self.update, self.gate = linear(rng, 3 * width, 3 * width), nn.LayerNorm(3 * width)
        self.message, self.norm = linear(rng, 3 * width, width), nn.LayerNorm(width)
        self.join, self.skip = linear(rng, total, width, bias=False), linear(rng, width, width)
        self.outer = WeightedNorm(width)

    def forward(self, x: Tensor, e: Tensor, kinds: Bins, messages: Messages) -> Tensor:
        """x (nodes, width), e (different lengths, width), `kinds` bins of the edges by length."""
        width, split = x.shape[1], lambda t: t.unflatten(1, (self.heads, -1))
        here, there = messages.receivers.take, messages.senders.take
        query, key, value, edge = (f(t) for f, t in ((self.query, x), (self.key, x), (self.value, x), (self.edge, e)))
        own, other, between = self.update.weight.split(width, 1)
        v = here(F.linear(split(value), own, self.update.bias).flatten(1)) + there(F.linear(split(value), other).flatten(1))
        v = v + kinds.take(F.linear(split(edge), between).flatten(1))
        query = split(here(query))
        alpha = torch.cat([query * split(t) for t in (here(key), there(key), kinds.take(edge))], -1) / math.sqrt(3 * width)
        message = self.norm(self.message(torch.sigmoid(self.gate(alpha)) * split(v)))
        total = self.join(messages.receivers.sum(message.flatten(1) * messages.times))
        return self.skip(x) + F.silu(self.outer(total, messages.node_share, messages.nodes))


class Matformer(nn.Module):
    """Encoder: (atoms, width) features.

    width       features of an atom, per head; `blocks` layers of `heads`
    neighbours  nearest images of an atom within `radius` Å, with all that are as near as the last
    bins        Gaussians of lengths, from 0 to the radius
    seed        of the first weights
    """

    def __init__(self, width: int = 128, blocks: int = 5, heads: int = 4, neighbours: int = 12, radius: float = 8.0, bins: int = 128, seed: int = 0):
        super().__init__()
        rng = torch_stream(seed, "matformer")
        self.width, self.graph = width, Alike(NearestAndCopies(neighbours, radius))
        self.register_buffer("elements", torch.tensor(element_bins()), persistent=False)
        self.embed = linear(rng, WIDTH, width)
        self.expand = Gaussians(0.0, radius, bins, (bins - 1) / radius)
        self.edge = nn.Sequential(linear(rng, bins, width), nn.Softplus(), linear(rng, width, width))
        self.blocks = nn.ModuleList(Block(rng, width, heads) for _ in range(blocks))

    def forward(self, crystals: Crystals, graph: Graph) -> Features:
        """Features in the dtype of the weights."""
        nodes = nodes_of(graph, crystals.atoms)
        length, kind = merged(graph.edge["length"], crystals.owner[graph.receivers])
        e, kinds = self.edge(self.expand(length.to(self.embed.weight.dtype))), Bins(kind, len(length))
        messages = Messages(nodes, graph.edge["count"], e.dtype)
        x = F.embedding(crystals.species[nodes.first], self.embed(self.elements))
        for block in self.blocks:
            x = block(x, e, kinds, messages)
        return Features(x[nodes.of_atom])

    def head(self, rng: torch.Generator, outputs: int) -> nn.Module:
        """The layers of the paper after pooling: (rows, width) to (rows, outputs)."""
        return nn.Sequential(linear(rng, self.width, self.width), nn.SiLU(), linear(rng, self.width, outputs))
