"""Equivariant transformer (TorchMD-Net ET): attention filtered by distance that moves numbers and vectors from atom to atom.

P. Thölke, G. De Fabritiis, "TorchMD-NET: equivariant transformers for neural network based molecular potentials", ICLR 2022, arXiv:2202.02541,
eqs. 1 to 11; code of the authors at github.com/torchmd/torchmd-net. With e(r) exp-normal functions of distance, c the cosine cutoff, silu throughout:

    x_i = W [E z_i, sum_j (E' z_j) * W e(r_ij) c(r_ij)]             embedding of element and neighbours
    a_ij = silu(q_i . k_j * silu(W e)) per head                      attention, without a softmax
    s1, s2, s3 = (v_j * silu(W e)) c(r_ij)                           three values per feature
    y_i = sum_j s1 a_ij,  w_i = sum_j s2 vec_j + s3 r_ij / |r_ij|
    x_i += (U1 vec . U2 vec) * O2 y + O3 y,  vec_i += O1 y * U3 vec + w_i
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..base.elements import MAX_Z
from ..base.errors import BadInput
from ..base.registry import Card
from ..base.seeds import torch_stream
from ..crystal.alike import nodes_of
from ..crystal.edge_orbits import orbits
from ..crystal.graph import Graph
from ..crystal.segments import Bins
from ..crystal.state import Crystals
from ..layers.gated_vectors import GatedVectors
from ..layers.image_attention import WithinAndSelf
from ..layers.parts import cosine_cutoff, embedding, linear
from ..learn.targets import Features

CARD = Card(
    name="equivariant_transformer",
    build="EquivariantTransformer",
    role="encoder",
    paper="2202.02541",
    year=2022,
    summary="attention filtered by distance over numbers and vectors, gated output; smooth in every coordinate",
    capabilities=("seed",),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    reference=0.044695643118510736,
    presets={"qm9": {"width": 256, "layers": 8, "bins": 64}},
    small={"width": 16, "layers": 2, "bins": 8, "heads": 4, "radius": 4.5},
    differs=(
        "all values are multiplied by the cutoff, as the authors' later setting `vector_cutoff` does; the first version left a jump in the vectors",
        "lengths of vectors in the output are sqrt(|v|^2 + 1e-6) - 1e-3, smooth where a site's symmetry makes a vector vanish",
        "the second output block gives features and no vectors; the last map to one number is the head of the predictor",
        "the output has as many features as the layers, there half as many in its first block",
        "an atom or edge that the space group repeats is computed once and counted as often as it occurs, with what has a direction turned: the same numbers, less work",
    ),
)


class ExpNormal(nn.Module):
    """c(r) exp(-beta_k (exp(-5 r / radius) - mu_k)^2), mu and beta learnt (O. T. Unke, M. Meuwly, arXiv:1902.08408, eq. 7): (edges, bins)."""

    def __init__(self, bins: int, radius: float):
        super().__init__()
        self.radius, low = radius, math.exp(-radius)
        self.mu = nn.Parameter(torch.linspace(low, 1, bins))
        self.beta = nn.Parameter(torch.full((bins,), (2 / bins * (1 - low)) ** -2))

    def forward(self, length: Tensor, cutoff: Tensor) -> Tensor:
        return cutoff * torch.exp(-self.beta * (torch.exp(-5 / self.radius * length[:, None]) - self.mu) ** 2)


class Attention(nn.Module):
    """One update layer; before the `first` all vectors are zero, so it has no map of them."""

    def __init__(self, rng, width: int, bins: int, heads: int, first: bool):
        super().__init__()
        self.width, self.heads, self.first = width, heads, first
        values, outs = (2, 1) if first else (3, 3)
        self.norm = nn.LayerNorm(width)
        self.query, self.key, self.value = linear(rng, width, width), linear(rng, width, width), linear(rng, width, values * width)
        self.key_filter, self.value_filter = linear(rng, bins, width), linear(rng, bins, values * width)
        self.out = linear(rng, width, outs * width)
        self.vector = None if first else linear(rng, width, 3 * width, bias=False)

    def forward(self, x: Tensor, vec: Tensor, bins: Tensor, weight: Tensor, unit: Tensor, turn: Tensor | None, here: Bins, there: Bins) -> tuple[Tensor, Tensor]:
        """x (nodes, width), vec (nodes, 3, width), bins (edges, bins), weight (edges, 1) cutoff times how often an edge counts, and summed over the edges that one
        stands for and times the cutoff: unit vectors to neighbours (edges, 3, 1), turns of neighbours' vectors (edges, 3, 3). None: one edge each, no turns.
        What to add to x and vec.
        """
        x, width, shape = self.norm(x), self.width, (len(bins), self.heads, -1)
        product = here.take(self.query(x)) * there.take(self.key(x)) * F.silu(self.key_filter(bins))
        share = F.silu(product.view(shape).sum(-1)) * weight
        s = (there.take(self.value(x)) * F.silu(self.value_filter(bins))).split(width, 1)
        turned = s[-1][:, None] * unit
        if not self.first:
            theirs = there.take(vec.flatten(1)).view(-1, 3, width)
            turned = torch.addcmul(turned, s[1][:, None], theirs * weight[..., None] if turn is None else torch.bmm(turn, theirs))
        y, w = here.sum((s[0].reshape(shape) * share[..., None]).flatten(1)), here.sum(turned.flatten(1))
        w = w.view(-1, 3, width)
        if self.first:
            return self.out(y), w
        u1, u2, u3 = self.vector(vec).split(width, -1)
        o1, o2, o3 = self.out(y).split(width, -1)
        return (u1 * u2).sum(1) * o2 + o3, u3 * o1[:, None] + w


class EquivariantTransformer(nn.Module):
    """Encoder: (atoms, width) features and (atoms, width, 3) vectors.

    width   features of an atom, divisible by `heads` (BadInput)
    layers  of attention;  heads of each
    bins    exp-normal functions of distance
    radius  cutoff in Å
    seed    of the first weights
    """

    offers = ("vector",)

    def __init__(self, width: int = 128, layers: int = 6, bins: int = 32, heads: int = 8, radius: float = 5.0, seed: int = 0):
        super().__init__()
        if width % heads or layers < 1:
            raise BadInput(f"{width} features for {heads} heads, in {layers} layers; wanted a multiple, and at least one layer", "equivariant_transformer")
        rng = torch_stream(seed, "equivariant_transformer")
        self.width, self.radius, self.search = width, radius, WithinAndSelf(radius)
        self.embed, self.embed_neighbour = embedding(rng, MAX_Z + 1, width), embedding(rng, MAX_Z + 1, width)
        self.expand = ExpNormal(bins, radius)
        self.filter, self.combine = linear(rng, bins, width), linear(rng, 2 * width, width)
        self.layers = nn.ModuleList(Attention(rng, width, bins, heads, i == 0) for i in range(layers))
        self.norm = nn.LayerNorm(width)
        self.outer, self.inner = GatedVectors(rng, width, width), GatedVectors(rng, width, width, vectors=False)

    def graph(self, crystals: Crystals) -> Graph:
        """One edge of every orbit with the sums of its directions `unit` (edges, 3) and of the turns `turn` (edges, 3, 3) of its senders from the atoms that stand
        for them. Every atom has an edge from the one that stands for it, with its own turn, which counts 0 times between different atoms. All edges, itself
        among them, where slopes are wanted. Errors as `Within`.
        """
        graph = self.search(crystals)
        if crystals.frac.requires_grad or crystals.cell.requires_grad:
            return graph
        found = orbits(crystals, graph)
        short = found.graph(graph, unit=found.sum(units(graph.vectors(crystals.bare().to(torch.float64)))), turn=found.sum(found.turn[graph.senders]))
        rest = (found.alike != torch.arange(crystals.atoms, device=found.alike.device)).nonzero()[:, 0]
        empty = {"count": rest.new_zeros(len(rest)), "unit": found.turn.new_zeros(len(rest), 3), "turn": found.turn[rest]}
        order = torch.argsort(torch.cat([short.receivers, rest]), stable=True)
        both = Graph(torch.cat([short.senders, found.alike[rest]]), torch.cat([short.receivers, rest]), torch.cat([short.shift, short.shift.new_zeros(len(rest), 3)]),
                     {name: torch.cat([short.edge[name], empty[name]]) for name in empty}, found.alike)
        return both.pick(order)

    def forward(self, crystals: Crystals, graph: Graph) -> Features:
        """Features in the dtype of the weights; vectors are taken in the dtype of the crystals. An atom attends to itself too, at distance 0."""
        dtype, folded = self.norm.weight.dtype, "count" in graph.edge
        edges = graph.pick((graph.edge["count"] > 0).nonzero()[:, 0]) if folded else graph
        nodes, vectors = nodes_of(edges, crystals.atoms), edges.vectors(crystals)
        other = (edges.senders != edges.receivers) | (edges.shift != 0).any(1)
        length = torch.where(other[:, None], vectors, torch.ones_like(vectors)).norm(dim=-1) * other
        cutoff = cosine_cutoff(length, self.radius)[:, None].to(dtype)
        unit = edges.edge["unit"] if folded else units(vectors)
        turn = edges.edge["turn"].to(dtype) * cutoff[..., None] if folded else None
        unit, weight = unit.to(dtype)[..., None] * cutoff[..., None], cutoff * edges.edge["count"][:, None] if folded else cutoff
        bins, here, there = self.expand(length.to(dtype), cutoff), Bins(nodes.receivers, len(nodes)), Bins(nodes.senders, len(nodes))
        species = crystals.species[nodes.first]
        around = here.sum(self.filter(bins) * weight * other[:, None] * there.take(self.embed_neighbour(species)))
        x = self.combine(torch.cat([self.embed(species), around], -1))
        vec = x.new_zeros(len(x), 3, self.width)
        for layer in self.layers:
            dx, dvec = layer(x, vec, bins, weight, unit, turn, here, there)
            x, vec = x + dx, vec + dvec
        x, vec = self.outer(self.norm(x), vec)
        site, vec = self.inner(F.silu(x), vec)[0][nodes.of_atom], vec[nodes.of_atom]
        if folded:
            own = (graph.edge["count"] == 0) | (graph.senders == graph.receivers) & (graph.shift == 0).all(1)
            vec = torch.bmm(graph.edge["turn"][own].to(dtype), vec)
        return Features(site, vector=vec.mT)


def units(vectors: Tensor) -> Tensor:
    """Directions (edges, 3) of vectors (edges, 3), 0 for an atom seen from itself."""
    own = (vectors == 0).all(1, keepdim=True)
    return torch.where(own, torch.zeros_like(vectors), vectors / torch.where(own, torch.ones_like(vectors), vectors).norm(dim=-1, keepdim=True))
