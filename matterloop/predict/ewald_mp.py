"""Ewald message passing: blocks of long-range messages in reciprocal space, put on any encoder of short range.

A. Kosmala, J. Gasteiger, N. Gao, S. Günnemann, "Ewald-based long-range message passing for molecular graphs", ICML 2023, arXiv:2303.04791, eqs. 5 to 14;
code of the authors at github.com/arthurkosmala/EwaldMP.

    y_i = sum_k f(k) Re[S(k) exp(-i k . x_i)],  S(k) = sum_j R(h_j) exp(i k . x_j)     R a residual layer, f a learnt filter of wave lengths
    h_i <- (h_i + short_i + F(y_i)) / sqrt(3)                                           F a dense layer and residual layers
f goes through a bottleneck, of which one half is shared by all blocks. In SchNet a block stands beside every interaction, as in the paper; after any
other encoder the blocks stand in a row, h <- (h + F(y)) / sqrt(2).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..base.errors import BadInput
from ..base.registry import Card, load
from ..base.seeds import torch_stream
from ..crystal.alike import Nodes, nodes_of
from ..crystal.edge_orbits import orbits
from ..crystal.graph import Graph, Within
from ..crystal.segments import Bins
from ..crystal.state import Crystals
from ..layers.far_messages import FarField, far_field, refuse_wires
from ..layers.parts import Gaussians, cosine_cutoff, linear
from ..learn.targets import Features
from .schnet import SchNet

CARD = Card(
    name="ewald_mp",
    build="EwaldMP",
    role="encoder",
    paper="2303.04791",
    year=2023,
    summary="long-range messages as a sum over reciprocal space, put on any encoder",
    capabilities=("seed",),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    reference=-0.9954187069784111,
    presets={"oe62": {"cutoff": 0.4, "blocks": 4, "options": {"width": 512, "blocks": 4, "radius": 6.0, "spacing": 0.03}}},
    small={"bins": 8, "hidden": 1, "blocks": 2, "cutoff": 1.6, "nodes": 64, "options": {"width": 16, "blocks": 2, "radius": 4.5, "spacing": 0.3, "gamma": 5.0}},
    differs=(
        "crystals: the paper learns one weight per index of a fixed box of the reciprocal lattice, which depends on the choice of the cell; here all k within a "
        "radius and the radial filter that the paper has for molecules, each k for (2 pi)^3 / volume where the paper has 0.01",
        "molecules: the paper lays a grid of voxels in the frame of the molecule's principal axes, which turns over where two of them are equal; here the "
        "angles are integrated exactly over pairs of atoms and |k| by quadrature, slabs likewise along their normal",
        "the default cutoff reaches the first reciprocal vectors of cells of 3.2 Å; the paper's are 0.4 to 0.8 1/Å for molecules, about 0.7 for its large slabs",
        "Gaussians of |k| are made even in k and end by a cosine to the fourth power at the cutoff, so that far atoms are forgotten as a high power of distance; "
        "the paper's polynomial ends 0.1 1/Å beyond a sharp cutoff",
        "weights are drawn as everywhere in this package; scaling factors fitted before training are not used",
        "beside SchNet, an atom or edge that the space group repeats is computed once and counted as often as it occurs: the same numbers, less work",
    ),
)


def scaled_silu(x: Tensor) -> Tensor:
    """silu(x) / 0.6, which keeps the variance of standard normal numbers."""
    return F.silu(x) / 0.6


class Residual(nn.Module):
    """(x + two dense layers of x) / sqrt(2)."""

    def __init__(self, rng, width: int):
        super().__init__()
        self.one, self.two = linear(rng, width, width, bias=False), linear(rng, width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x + scaled_silu(self.two(scaled_silu(self.one(x))))) / math.sqrt(2)


class EwaldBlock(nn.Module):
    """Long-range update of the features of atoms; goes beside or after any layer.

    width   features of an atom;  squeezed  width of the filter's bottleneck, whose first half the caller shares between blocks;  hidden  residual layers
    """

    def __init__(self, rng, width: int, squeezed: int, hidden: int):
        super().__init__()
        self.up = linear(rng, squeezed, width, bias=False)
        self.before, self.dense = Residual(rng, width), linear(rng, width, width, bias=False)
        self.after = nn.Sequential(*(Residual(rng, width) for _ in range(hidden)))

    def forward(self, h: Tensor, field: FarField, of_wave: Tensor, of_node: Tensor, nodes: Nodes | None = None) -> Tensor:
        """h (nodes, width), squeezed basis at waves and nodes of the quadrature (..., squeezed): (nodes, width) to be added. Nodes are all atoms if not given."""
        h = self.before(h)
        far = field.spread(h if nodes is None else h.index_select(0, nodes.of_atom), self.up(of_wave), self.up(of_node))
        return self.after(scaled_silu(self.dense(far if nodes is None else far.index_select(0, nodes.first))))


class EwaldMP(nn.Module):
    """Encoder: the features of another encoder, with long-range messages.

    encoder   name of an encoder with features of atoms;  options  its options
    cutoff    of |k| in 1/Å
    bins      Gaussians of |k|;  squeezed  width of the filter's bottleneck;  hidden  residual layers of a block
    blocks    long-range blocks (in SchNet one per interaction, whatever is said here)
    nodes     even number of points of the quadrature for molecules and slabs; good to structures of nodes / cutoff Å
    seed      of the first weights

    Missing for an unknown encoder or option; BadInput for an encoder without features of atoms, and for structures that repeat along one axis only.
    """

    def __init__(self, encoder: str = "schnet", options: Mapping | None = None, cutoff: float = 2.0, bins: int = 48, squeezed: int = 8, hidden: int = 3,
                 blocks: int = 4, nodes: int = 96, seed: int = 0):
        super().__init__()
        rng = torch_stream(seed, "ewald_mp")
        self.short = load(encoder, role="encoder", seed=seed, **(options or {}))
        self.width, self.offers = self.short.width, getattr(self.short, "offers", ())
        self.cutoff, self.nodes = cutoff, nodes
        self.expand = Gaussians(0.0, cutoff, bins)
        self.down = linear(rng, bins, squeezed, bias=False)
        count = len(self.short.blocks) if isinstance(self.short, SchNet) else blocks
        self.blocks = nn.ModuleList(EwaldBlock(rng, self.width, squeezed, hidden) for _ in range(count))

    def graph(self, crystals: Crystals) -> Graph:
        """The graph of the encoder below; beside SchNet one edge for each orbit of the space group, for atoms that are alike nearby may differ in what is far. All
        edges where slopes are wanted.
        """
        refuse_wires(crystals)
        if not isinstance(self.short, SchNet):
            return self.short.graph(crystals)
        graph = Within(self.short.radius)(crystals)
        return graph if crystals.frac.requires_grad or crystals.cell.requires_grad else orbits(crystals, graph).graph(graph)

    def basis(self, k: Tensor) -> Tensor:
        """(..., squeezed) numbers of wave lengths k in 1/Å: even in k, smooth, zero from the cutoff on."""
        return self.down((self.expand(k) + self.expand(-k)) * cosine_cutoff(k, self.cutoff)[..., None] ** 2)

    def forward(self, crystals: Crystals, graph: Graph) -> Features:
        """Features of the encoder below; `site` with far messages, `whole` gone, so that crystals are the mean of their sites."""
        field = far_field(crystals, self.cutoff, self.nodes, self.down.weight.dtype)
        of_wave, of_node = self.basis(field.length), self.basis(field.node)
        if isinstance(self.short, SchNet):
            length = graph.vectors(crystals).norm(dim=-1).to(of_wave)
            nodes, times = nodes_of(graph, crystals.atoms), graph.edge.get("count", torch.ones_like(graph.senders))
            x, bins = self.short.embed(crystals.species[nodes.first]), self.short.expand(length)
            weight = (cosine_cutoff(length, self.short.radius) * times)[:, None]
            senders, receivers = Bins(nodes.senders, len(x)), Bins(nodes.receivers, len(x))
            for near, far in zip(self.short.blocks, self.blocks, strict=True):
                x = (near(x, bins, weight, senders, receivers) + far(x, field, of_wave, of_node, nodes)) / math.sqrt(3)
            return Features(x[nodes.of_atom])
        found = self.short(crystals, graph)
        if found.site is None:
            raise BadInput("the encoder tells no atoms apart, long-range messages need features of atoms", "ewald_mp")
        x = found.site
        for far in self.blocks:
            x = (x + far(x, field, of_wave, of_node)) / math.sqrt(2)
        return found._replace(site=x, whole=None)
