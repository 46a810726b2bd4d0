"""A transformer over crystal graphs that keeps angles by how far maps of neighbourhoods are from conformal, without edges between edges.

After Y. Wang, S. Kong, J. M. Gregoire, C. P. Gomes, "Conformal crystal graph transformer with robust encoding of periodic invariance", Proceedings of the AAAI
Conference on Artificial Intelligence 38, 283 (2024), doi:10.1609/aaai.v38i1.27781, of which the idea is taken and not the equations: see `differs`. Harmonic
maps and their energy: J. Eells, J. H. Sampson, American Journal of Mathematics 86, 109 (1964); a map is conformal where its metric is a multiple of the unit.

    a_ij = f(r_ij) * A x_j                     per channel, how far the map of atom i's neighbourhood moves in direction u_ij
    g_i = sum_j a_ij^2 u_ij u_ij^T             its metric; D_i = tr g_i / 2, the Dirichlet energy; K_i = |g_i - (tr g_i / 3) 1|^2 / (1 + tr g_i)^2
    s_ij = 3 u_ij^T g_i u_ij / (1 + tr g_i)    stretch along an edge: sums of squared cosines to all others, the same for all edges of a conformal map
    x_i <- x_i + O silu(sum_j h(r_ij) * B x_j * sigmoid(S s_ij)) + P [D_i, K_i];   x <- x + attention to all images;   x <- x + W2 gelu(W1 x)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..base.elements import MAX_Z
from ..base.registry import Card
from ..base.seeds import torch_stream
from ..crystal.alike import nodes_of
from ..crystal.edge_orbits import orbits
from ..crystal.graph import Graph
from ..crystal.segments import Bins
from ..crystal.state import Crystals
from ..layers.image_attention import ImageAttention, Images, WithinAndSelf
from ..layers.merging import merged
from ..layers.parts import Gaussians, cosine_cutoff, embedding, linear
from ..learn.targets import Features

CARD = Card(
    name="conformal_transformer",
    build="ConformalTransformer",
    role="encoder",
    paper="10.1609/aaai.v38i1.27781",
    year=2024,
    summary="attention over edges that know how far maps of neighbourhoods are from conformal: angles without a line graph",
    capabilities=("seed",),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    reference=8.837074363825892,
    small={"width": 16, "blocks": 2, "heads": 2, "channels": 4, "functions": 24},
    differs=(
        "only the abstract could be read, and no code is public: periodic invariance by the graph, angles kept by a near-conformal harmonic map (Dirichlet energy) at the "
        "cost of a graph of distances, and attention for what is far, are the paper's; every equation above, all sizes and the training are ours",
        "the map is made anew from the metric of each neighbourhood; whether the paper minimises its energy in training could not be found out, here it is a feature",
        "the graph holds all images within a radius under a smooth end, so that it does not depend on the cell and predictions are smooth",
        "far atoms are reached by attention to periodic images with weights that decay as Gaussians, the layer of Crystalformer",
        "an atom or edge that the space group repeats is computed once and counted as often as it occurs, with what has a direction turned: the same numbers, less work",
    ),
)


class Block(nn.Module):
    """Messages that know the metric of the receiver's neighbourhood, attention to images, atom-wise maps; each added to what was there."""

    def __init__(self, rng, width: int, heads: int, channels: int, functions: int, sigma: float):
        super().__init__()
        self.near, self.moved = linear(rng, functions, channels), linear(rng, width, channels)
        self.filter, self.sent = linear(rng, functions, width), linear(rng, width, width)
        self.stretch, self.received = linear(rng, channels, width), linear(rng, width, width)
        self.energy = linear(rng, 2 * channels, width)
        self.attention = ImageAttention(rng, width, heads, functions, 0.5, 1.0, 0.5 / sigma**2)
        self.inward, self.outward = linear(rng, width, 2 * width), linear(rng, 2 * width, width)

    def forward(self, x: Tensor, kinds: Bins, cut: Tensor, weight: Tensor, square: Tensor, every: Tensor, here: Bins, there: Bins, images: Images) -> Tensor:
        """`kinds` bins of the edges by their length among those of `images`, cut (edges, 1), weight (edges, 1) cut times how often an edge counts, `square`
        (edges, 6): xx, yy, zz, and yz, xz, xy times sqrt 2, of directions, `every` (edges, 6) their sums over the edges that each stands for.
        """
        moved = (kinds.take(self.near(images.radial)) * there.take(self.moved(x)) * cut).square()
        metric = here.sum((moved[..., None] * every[:, None]).flatten(1)).unflatten(1, (-1, 6))  # products of rows are those of matrices
        trace = metric[..., :3].sum(-1)
        flat = metric.square().sum(-1) - trace.square() / 3
        stretch = 3 * (here.take(metric.flatten(1)).unflatten(1, (-1, 6)) * square[:, None]).sum(-1) / (1 + here.take(trace))
        message = kinds.take(self.filter(images.radial)) * there.take(self.sent(x)) * torch.sigmoid(self.stretch(stretch)) * weight
        x = x + self.received(F.silu(here.sum(message))) + self.energy(torch.cat([trace / 2, flat / (1 + trace).square()], 1))
        x = x + self.attention(x, images)
        return x + self.outward(F.gelu(self.inward(x)))


class ConformalTransformer(nn.Module):
    """Encoder: (atoms, width) features.

    width, heads  features of an atom and heads of attention; `blocks` layers
    channels      maps of a neighbourhood
    functions     Gaussians of distance, from 0 to the radius
    radius        cutoff in Å; the attention's Gaussians without preference have a width of a fifth of it
    seed          of the first weights
    """

    def __init__(self, width: int = 128, blocks: int = 3, heads: int = 4, channels: int = 16, functions: int = 48, radius: float = 6.0, seed: int = 0):
        super().__init__()
        rng = torch_stream(seed, "conformal_transformer")
        self.width, self.radius, self.search = width, radius, WithinAndSelf(radius)
        self.embed = embedding(rng, MAX_Z + 1, width)
        self.expand = Gaussians(0.0, radius, functions)
        self.blocks = nn.ModuleList(Block(rng, width, heads, channels, functions, radius / 5) for _ in range(blocks))

    def graph(self, crystals: Crystals) -> Graph:
        """One edge of every orbit with the sums of its `squares` (edges, 6); all edges where slopes are wanted. Errors as `Within`."""
        graph = self.search(crystals)
        if crystals.frac.requires_grad or crystals.cell.requires_grad:
            return graph
        found = orbits(crystals, graph)
        return found.graph(graph, squares=found.sum(squares(graph.vectors(crystals.bare().to(torch.float64)))))

    def forward(self, crystals: Crystals, graph: Graph) -> Features:
        """Features in the dtype of the weights; lengths are taken in the dtype of the crystals."""
        dtype, vector, nodes = self.embed.weight.dtype, graph.vectors(crystals), nodes_of(graph, crystals.atoms)
        length = vector.norm(dim=-1)
        cut = cosine_cutoff(length, self.radius).to(dtype)
        weight = cut * graph.edge.get("count", torch.ones_like(graph.senders))
        kinds, kind = merged(length, graph.owner(crystals))
        images = Images(crystals.owner[nodes.first], nodes, length.to(dtype), weight, self.expand(kinds.to(dtype)), kind)
        other = (length > 0).nonzero()[:, 0]  # an atom has no direction to itself
        square = squares(vector[other])
        every = graph.edge["squares"][other] if "squares" in graph.edge else square
        here, there = (Bins(ends[other], len(nodes)) for ends in (nodes.receivers, nodes.senders))
        x, kinds = self.embed(crystals.species[nodes.first]), Bins(kind[other], len(kinds))
        for block in self.blocks:
            x = block(x, kinds, cut[other, None], weight[other, None], square.to(dtype), every.to(dtype), here, there, images)
        return Features(x[nodes.of_atom])


def squares(vector: Tensor) -> Tensor:
    """(edges, 6) of vectors (edges, 3): products xx, yy, zz, and yz, xz, xy times sqrt 2, of their directions; 0 without a direction."""
    unit = vector / vector.norm(dim=-1, keepdim=True).clamp(min=1e-30)
    return torch.cat([unit.square(), 2**0.5 * unit[:, [1, 0, 0]] * unit[:, [2, 2, 1]]], 1)
