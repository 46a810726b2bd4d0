"""M3GNet: bonds learn from the angles they make with other bonds, then bonds and atoms update each other; smooth in every coordinate.

C. Chen, S. P. Ong, "A universal graph deep learning interatomic potential for the periodic table", Nature Computational Science 2, 718 (2022),
doi:10.1038/s43588-022-00349-3, eq. 2 to 9; settings of the published code.

    e_ij <- e_ij + g(W t_ij) * s(W t_ij),  t_ij = sum_{k != i, j} j_l(z_ln r_ik / c) Y_l0(angle_jik) * s(W v_k + b) f(r_ij) f(r_ik)
    e_ij <- e_ij + phi(v_i, v_j, e_ij) * W h(r_ij),  v_i <- v_i + sum_j phi(v_i, v_j, e_ij) * W h(r_ij)
    whole = sum_i w_i xi(v_i) / sum_i w_i,  w_i = s(xi(v_i))                                        for intensive properties
with phi two dense layers times two that end in the sigmoid s, g = silu, h radial functions that end smoothly at c = 5 Å, f a polynomial that ends at 4 Å.

No angle is written down: by the addition theorem Y_l0 is a sum of products of harmonics of both directions, which are summed once for each atom.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..base.elements import MAX_Z
from ..base.registry import Card
from ..base.seeds import torch_stream
from ..crystal.alike_edges import AlikeEdges, kinds_of
from ..crystal.graph import Graph, Within
from ..crystal.segments import Bins, segment_sum
from ..crystal.state import Crystals
from ..layers.angle_sums import HarmonicSums
from ..layers.bessel import SmoothSincs, SphericalBessel, envelope
from ..layers.pair_linear import PairLinear
from ..layers.parts import embedding, linear, perceptron
from ..learn.targets import Features

CARD = Card(
    name="m3gnet",
    build="M3GNet",
    role="encoder",
    paper="10.1038/s43588-022-00349-3",
    year=2022,
    summary="bonds, atoms and the angles between bonds, smooth, at the cost of its bonds; the network of the universal potential",
    capabilities=("seed", "whole"),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    reference=1.1945944175041143,
    small={"width": 16, "blocks": 2, "cutoff": 4.5, "near": 3.6},
    differs=(
        "angles are summed as harmonics at each atom, which is the same sum",
        "extensive targets of a predictor are sums of the head of intensive ones over atoms; the original has a gated perceptron there",
        "states of whole crystals, off in the paper's models, are left out",
        "first weights are drawn after Glorot for all layers, embeddings from a normal distribution",
        "an atom or bond that symmetry repeats is computed once and counted as often as it occurs: the same numbers, less work",
    ),
)


class Gated(nn.Module):
    """phi: edges (edges, width) from both their ends and themselves, times a linear map of their radial functions."""

    def __init__(self, rng: torch.Generator, width: int, radial: int):
        super().__init__()
        self.join = PairLinear(rng, width, width, 2 * width)
        self.value, self.gate, self.weight = linear(rng, width, width), linear(rng, width, width), linear(rng, radial, width, bias=False)

    def forward(self, x: Tensor, e: Tensor, radial: Tensor, here: Bins, there: Bins) -> Tensor:
        value, gate = F.silu(self.join(x, e, here, there)).chunk(2, 1)
        return F.silu(self.value(value)) * torch.sigmoid(self.gate(gate)) * self.weight(radial)


class Block(nn.Module):
    """Three bodies, then bonds, then atoms."""

    def __init__(self, rng: torch.Generator, width: int, radial: int, angular: int):
        super().__init__()
        self.ends = linear(rng, width, angular)
        self.value, self.gate = linear(rng, angular, width, bias=False), linear(rng, angular, width, bias=False)
        self.bond, self.atom = Gated(rng, width, radial), Gated(rng, width, radial)

    def forward(self, x: Tensor, e: Tensor, radial: Tensor, counted: Tensor, sums: HarmonicSums, here: Bins, there: Bins) -> tuple[Tensor, Tensor]:
        three = sums(there.take(torch.sigmoid(self.ends(x))))
        e = e + F.silu(self.value(three)) * torch.sigmoid(self.gate(three))
        e = e + self.bond(x, e, radial, here, there)
        return x + here.sum(self.atom(x, e, counted, here, there)), e


class M3GNet(nn.Module):
    """Encoder: (atoms, width) and (crystals, width) features; differentiable twice in positions and cell.

    width    of atoms and bonds; `blocks` of updates
    degrees  of spherical harmonics (l < degrees), `radial` functions of each, and of bonds
    cutoff   of bonds in Å, `near` that of the two bonds of an angle
    """

    def __init__(self, width: int = 64, blocks: int = 3, degrees: int = 3, radial: int = 3, cutoff: float = 5.0, near: float = 4.0, seed: int = 0):
        super().__init__()
        rng = torch_stream(seed, "m3gnet")
        self.width, self.near, self.scale, self.graph = width, near, cutoff**-1.5, AlikeEdges(Within(cutoff))
        self.embed, self.begin = embedding(rng, MAX_Z + 1, width), linear(rng, radial, width, bias=False)
        self.expand, self.spherical = SmoothSincs(radial, cutoff), SphericalBessel(degrees, radial, cutoff)
        self.blocks = nn.ModuleList(Block(rng, width, radial, degrees * radial) for _ in range(blocks))
        self.read, self.weigh = perceptron(rng, width, width, width, activation=nn.SiLU, last=True), perceptron(rng, width, width, 1, activation=nn.SiLU)

    def forward(self, crystals: Crystals, graph: Graph) -> Features:
        """Features in the dtype of the weights; lengths and directions are taken in the dtype of the crystals."""
        kinds, step, dtype = kinds_of(graph, crystals), graph.vectors(crystals), self.embed.weight.dtype
        nodes, length = kinds.nodes, step.norm(dim=-1)
        here, there, mean = Bins(nodes.receivers, len(nodes)), Bins(nodes.senders, len(nodes)), kinds.mean(length)
        end = envelope(mean / self.near, 3)
        basis = self.scale * self.spherical(mean) * end[:, None, None]
        sums = HarmonicSums(kinds, step / length[:, None], basis.to(dtype), end.to(dtype), here)
        radial = self.expand(mean).to(dtype)
        counted = radial * kinds.count[:, None]
        x, e = self.embed(crystals.species[nodes.first]), F.silu(self.begin(radial))
        for block in self.blocks:
            x, e = block(x, e, radial, counted, sums, here, there)
        weight, owner = torch.sigmoid(self.weigh(x)) * nodes.copies[:, None], crystals.owner[nodes.first]
        total = segment_sum(torch.cat([self.read(x) * weight, weight], -1), owner, len(crystals))
        return Features(x[nodes.of_atom], whole=total[:, :-1] / total[:, -1:])

    def head(self, rng: torch.Generator, outputs: int) -> nn.Module:
        """The last layers of the paper: (rows, width) to (rows, outputs)."""
        return perceptron(rng, self.width, self.width, self.width, outputs, activation=nn.SiLU)
