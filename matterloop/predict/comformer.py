"""iComFormer: attention over a crystal graph in which the angles of edges to a frame of lattice vectors make the description complete.

K. Yan, C. Fu, X. Qian, X. Qian, S. Ji, "Complete and efficient graph transformers for crystal material property prediction", International Conference on Learning
Representations 2024, arXiv:2403.11857, section 4.2; public code in github.com/divelab/AIRS.

    m(q, k, v) = M(v) * sigmoid(BN(q * K(k) / sqrt d))                         K, M: perceptrons of three vectors in a row
    nodes   x_i <- softplus(x_i + BN(C sum_j m(Q x_i, [K x_i, K x_j, E e], [V x_i, V x_j, E e])))
    edges   e <- softplus(e + BN(C sum_p m(Q e, [K e, K_p l_p, E a_p], [V e, V_p l_p, E a_p])))   p = 1, 2, 3: lattice vectors of the frame,
            l_p from their lengths, a_p from the cosines of their angles to the edge
Lengths enter as Gaussians of -0.75 / r. One layer of nodes, one of edges, then nodes again. Edges: the 25 nearest images with all as near as the last, seen from
both ends, and those to an atom's own copies at the frame's vectors.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..base.registry import Card
from ..base.seeds import torch_stream
from ..crystal.alike import folded, multisets, nodes_of
from ..crystal.frames import copy_edges, frames, united
from ..crystal.graph import Graph, Nearest
from ..crystal.segments import Bins, offsets_of, runs, segment_count, segment_sum
from ..crystal.state import Crystals
from ..crystal.translations import translations
from ..layers.gated_convolution import Messages, WeightedNorm
from ..layers.gated_triples import Gate
from ..layers.merging import merged
from ..layers.parts import Gaussians, linear
from ..learn.targets import Features
from ..represent.element_bins import WIDTH, element_bins

CARD = Card(
    name="comformer",
    aliases=("icomformer",),
    build="IComFormer",
    role="encoder",
    paper="2403.11857",
    year=2024,
    summary="iComFormer: attention over edges that know their angles to a frame of lattice vectors",
    capabilities=("seed",),
    keeps=("rotation", "translation", "permutation", "cell", "supercell"),
    waives={
        "reflection": "the frame is right-handed, so that a crystal and its mirror image are told apart, as the paper wants",
        "smooth": "the graph of the paper ends at the 25th neighbour, and its frame is of the three shortest vectors: predictions jump where either changes",
    },
    presets={"three": {"blocks": 3}, "narrow": {"width": 128}, "light": {"width": 64, "blocks": 2, "neighbours": 12}},
    reference=-174.87996667636074,
    small={"width": 16, "blocks": 2, "neighbours": 12, "bins": 32},
    differs=(
        "where several frames are as short, as in most lattices of high symmetry, the angles' Gaussians are averaged over all; the code takes the first in the order "
        "in which images were listed, so that equal crystals differ",
        "frames are those of the primitive lattice, so that a supercell has those of its cell; a slab has two vectors and a molecule none",
        "every edge is there once in each direction; the code lists an atom's edges to itself twice",
        "neighbours are searched within 8 Å, and an atom with fewer keeps those it has; the code begins at 4 Å and enlarges",
        "the bins of element properties are filled from the tables of Magpie",
        "no bias before batch normalisation, which would take it away",
        "layers of the public code that nothing runs through are left out",
        "first weights are drawn after Glorot; the code takes torch's own",
        "an atom or edge that symmetry repeats is computed once and counted as often as it occurs: the same numbers, less work",
    ),
)


@dataclass(frozen=True)
class NearestAndFrame:
    """The `count` nearest images within `radius` Å with ties, and copies of every atom at all frame vectors; each edge with its opposite.

    Edge data `place` (edges, 3): the share of the crystal's frames that have the edge's vector first, second and third.
    """

    count: int
    radius: float

    def __call__(self, crystals: Crystals) -> Graph:
        known = translations(crystals)
        found = frames(known.cell, crystals.periodic)
        copies, row = copy_edges(crystals, known, found.crystal, found.vector)
        graph, (_, at) = united(Nearest(self.count, self.radius, fewer=True)(crystals), copies)
        place = torch.zeros(len(graph), 3, dtype=torch.float64).index_put((at, found.place[row]), found.weight[row])
        return Graph(graph.senders, graph.receivers, graph.shift, {"place": place})


class NodeAttention(nn.Module):
    """(nodes, width) from nodes and edges (edges, width)."""

    def __init__(self, rng, width: int):
        super().__init__()
        self.query, self.key, self.value, self.edge = (linear(rng, width, width) for _ in range(4))
        self.gate, self.join, self.norm = Gate(rng, width), linear(rng, width, width, bias=False), WeightedNorm(width)

    def forward(self, x: Tensor, e: Tensor, messages: Messages, kinds: Bins | None = None) -> Tensor:
        """x (nodes, width), e (edges, width); with `kinds`, bins of the edges by its rows, rows of e serve several edges each."""
        here, there = messages.receivers, messages.senders
        key, value, edge = self.key(x), self.value(x), self.gate.last(self.edge, e)
        total = here.take(self.gate.part(0, key, value)) + there.take(self.gate.part(1, key, value)) + (edge if kinds is None else kinds.take(edge))
        message = self.gate(here.take(self.query(x)), total, messages.share, messages.edges)
        return F.softplus(x + self.norm(self.join(here.sum(message * messages.times)), messages.node_share, messages.nodes))


class EdgeAttention(nn.Module):
    """(edges, width) from edges, lengths of frame vectors and angles to them."""

    def __init__(self, rng, width: int):
        super().__init__()
        self.query, self.key, self.value = (linear(rng, width, width) for _ in range(3))
        self.keys, self.values = (nn.ModuleList(linear(rng, width, width) for _ in range(3)) for _ in range(2))
        self.angle = linear(rng, width, width, bias=False)
        self.gate, self.join, self.norm = Gate(rng, width), linear(rng, width, width, bias=False), WeightedNorm(width)

    def forward(self, e: Tensor, length: Tensor, angle: Tensor, edge: Tensor, place: Tensor, kinds: Bins, messages: Messages) -> Tensor:
        """e (kinds, width) of the different lengths of edges, length (crystals, 3, width) of the frames; angle (rows, width) of edge `edge` (rows,) to `place`
        (rows,), a crystal's number times 3 plus p.
        """
        of_edge, of_place, of_kind = Bins(edge, len(kinds.index)), Bins(place, length.shape[0] * 3), Bins(kinds.index[edge], len(e))
        third = [self.gate.part(1, self.keys[p](length[:, p]), self.values[p](length[:, p])) for p in range(3)]
        total = of_kind.take(self.gate.part(0, self.key(e), self.value(e))) + of_place.take(torch.stack(third, 1).flatten(0, 1))
        often = messages.share[edge]
        part = float(often.sum(dtype=torch.float64))
        message = self.gate(of_kind.take(self.query(e)), total + self.gate.last(self.angle, angle), often / max(part, 1e-30), part * messages.edges)
        return F.softplus(kinds.take(e) + self.norm(self.join(of_edge.sum(message)), messages.share, messages.edges))


class IComFormer(nn.Module):
    """Encoder: (atoms, width) features.

    width       features of atoms and edges; `blocks` layers of nodes, the one of edges after the first
    neighbours  nearest images of an atom within `radius` Å, with all that are as near as the last
    bins        Gaussians of -0.75 / length and of cosines
    seed        of the first weights
    """

    def __init__(self, width: int = 256, blocks: int = 4, neighbours: int = 25, radius: float = 8.0, bins: int = 256, seed: int = 0):
        super().__init__()
        rng = torch_stream(seed, "comformer")
        self.width, self.search = width, NearestAndFrame(neighbours, radius)
        self.register_buffer("elements", torch.tensor(element_bins()), persistent=False)
        self.embed = linear(rng, WIDTH, width)
        self.near, self.turn = Gaussians(-4.0, 0.0, bins, (bins - 1) / 4), Gaussians(-1.0, 1.0, bins, (bins - 1) / 2)
        self.length, self.cosine = (nn.Sequential(linear(rng, bins, width), nn.Softplus()) for _ in range(2))
        self.edges = EdgeAttention(rng, width)
        self.blocks = nn.ModuleList(NodeAttention(rng, width) for _ in range(blocks))

    def graph(self, crystals: Crystals) -> Graph:
        """Edges are alike where their lengths are and all their angles to the frames; those along the frames of a crystal's first atom are kept in any case."""
        graph = self.search(crystals)
        with torch.no_grad():
            _, at, row, place, weight, _, kind = cosines(crystals.bare().to(torch.float64), graph, torch.arange(len(graph), device=graph.senders.device), 1e-6)
            mark = multisets(row, (kind * 3 + place % 3) * 2**20 + (1e6 * weight).round().long(), len(graph))
        return folded(crystals, graph, mark, also=torch.zeros_like(graph.senders, dtype=torch.bool).index_fill(0, at, True))

    def forward(self, crystals: Crystals, graph: Graph) -> Features:
        """Features in the dtype of the weights."""
        dtype, own = self.embed.weight.dtype, (graph.edge["count"] > 0).nonzero()[:, 0]
        edges = graph.pick(own)
        nodes = nodes_of(edges, crystals.atoms)
        messages = Messages(nodes, edges.edge["count"], dtype)
        x = F.embedding(crystals.species[nodes.first], self.embed(self.elements))
        length, kind = merged(edges.edge["length"], edges.owner(crystals))
        e, kinds = self.length(self.near((-0.75 / length).to(dtype))), Bins(kind, len(length))
        x = self.blocks[0](x, e, messages, kinds)
        frame, angle, edge, place = self.angles(crystals, graph, own)
        frame = self.length(self.near((-0.75 / frame).to(dtype))) * (frame > 0).to(dtype)[..., None]
        e = self.edges(e, frame, angle, edge, place, kinds, messages)
        for block in self.blocks[1:]:
            x = block(x, e, messages)
        return Features(x[nodes.of_atom])

    def head(self, rng: torch.Generator, outputs: int) -> nn.Module:
        """The layers of the paper after pooling: (rows, width) to (rows, outputs)."""
        return nn.Sequential(linear(rng, self.width, self.width), nn.SiLU(), linear(rng, self.width, outputs))

    def angles(self, crystals: Crystals, graph: Graph, own: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(crystals, 3) lengths of the frames' vectors, 0 where there is none; what is told (rows, width) of the cosines to them of the edges `own`, Gaussians
        averaged over the frames; the place in `own` of each row's edge, and its place among all vectors of frames, a crystal's number times 3 plus 0, 1 or 2.
        """
        frame, _, row, place, weight, cosine, kind = cosines(crystals, graph, own)
        key, group = torch.unique((row * 3 + place % 3) * len(cosine) + kind, return_inverse=True)
        weight, of = segment_sum(weight, group, len(key)).to(self.embed.weight.dtype), Bins(key % len(cosine), len(cosine))
        key, group = torch.unique_consecutive(key // max(len(cosine), 1), return_inverse=True)
        angle = Bins(group, len(key)).sum(weight[:, None] * of.take(self.cosine[0](self.turn(cosine.to(weight.dtype)))))  # weights of an angle sum to 1
        edge = key // 3
        return frame, self.cosine[1](angle), edge, graph.owner(crystals)[own[edge]] * 3 + key % 3


def cosines(crystals: Crystals, graph: Graph, own: Tensor, slack: float = 1e-8) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Of the edges `own` to the frames, as edges of a crystal's first atom show them: (crystals, 3) lengths of the frames' vectors, 0 where there is none; those
    edges; then for every row, an edge of `own` with one of them: its place in `own`, that of the vector (crystal's number times 3 plus 0, 1 or 2), the share
    of frames with the vector there; cosines that differ by more than `slack`, and (rows,) which is each row's.
    """
    owner = graph.owner(crystals)
    vector = graph.vectors(crystals)
    length = vector.norm(dim=-1)
    share = graph.edge["place"] * (graph.receivers == crystals.offsets[owner])[:, None]
    at, p = (share > 0).nonzero().unbind(1)
    place = owner[at] * 3 + p
    order = torch.argsort(place, stable=True)
    at, place, weight = at[order], place[order], share[at, p][order]
    frame = segment_sum(weight * length[at], place, 3 * len(crystals))
    many = segment_count(owner[at], len(crystals))
    mine = owner[own]
    row, used = torch.arange(len(own), device=own.device).repeat_interleave(many[mine]), runs(offsets_of(many)[:-1][mine], many[mine])
    unit = vector / length[:, None]
    cosine, kind = merged((unit[own[row]] * unit[at[used]]).sum(-1).clamp(-1, 1), mine[row], slack)  # directions that symmetry makes equal are expanded once
    return frame.view(-1, 3), at, row, place[used], weight[used], cosine, kind
