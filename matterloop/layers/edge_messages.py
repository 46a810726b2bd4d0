"""Messages of directed edges: how they begin, what updates them, and what atoms read of them; who gathers messages at an atom is given.

J. Gasteiger, S. Giri, J. T. Margraf, S. Günnemann, "Fast and uncertainty-aware directional message passing for non-equilibrium molecules", arXiv:2011.14115.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..base.elements import MAX_Z
from ..crystal.segments import Bins
from .bessel import RadialSines
from .pair_linear import PairLinear
from .parts import linear, perceptron


def silu_stack(rng: torch.Generator, *widths: int) -> nn.Sequential:
    """Linear maps, each followed by SiLU."""
    return perceptron(rng, *widths, activation=nn.SiLU, last=True)


class Residual(nn.Module):
    """x + two dense layers of x."""

    def __init__(self, rng: torch.Generator, width: int):
        super().__init__()
        self.layers = silu_stack(rng, width, width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class Interaction(nn.Module):
    """One update of the messages (edges, width); `gather` sums what comes in at the sender."""

    def __init__(self, rng: torch.Generator, gather: nn.Module, width: int, inner: int, basis: int, radial: int):
        super().__init__()
        self.gather = gather
        self.own, self.other = silu_stack(rng, width, width), silu_stack(rng, width, width)
        self.radial = nn.Sequential(linear(rng, radial, basis, bias=False), linear(rng, basis, width, bias=False))
        self.down, self.up = linear(rng, width, inner, bias=False), linear(rng, inner, width, bias=False)
        self.before = nn.Sequential(Residual(rng, width), silu_stack(rng, width, width))
        self.after = nn.Sequential(Residual(rng, width), Residual(rng, width))

    def forward(self, m: Tensor, radial: Tensor, known) -> Tensor:
        come = self.gather(F.silu(self.down(self.other(m) * self.radial(radial))), known)
        return self.after(m + self.before(self.own(m) + F.silu(self.up(come))))


class Output(nn.Module):
    """Messages (edges, width) to features (atoms, width); `radial` times how often an edge counts."""

    def __init__(self, rng: torch.Generator, width: int, out: int, dense: int, radial: int):
        super().__init__()
        self.radial, self.up = linear(rng, radial, width, bias=False), linear(rng, width, out, bias=False)
        self.dense, self.last = silu_stack(rng, *[out] * (dense + 1)), linear(rng, out, width, bias=False)

    def forward(self, m: Tensor, radial: Tensor, here: Bins) -> Tensor:
        return self.last(self.dense(self.up(here.sum(self.radial(radial) * m))))


class EdgeMessages(nn.Module):
    """The network without its geometry: messages of edges, their updates and what atoms read of them. `gather` makes a module that sums messages."""

    def __init__(self, rng: torch.Generator, gather: Callable[[], nn.Module], width: int, inner: int, basis: int, out: int, blocks: int, radial: int,
                 cutoff: float, dense: int):
        super().__init__()
        self.radial = RadialSines(radial, cutoff)
        self.embed = nn.Embedding(MAX_Z + 1, width, _weight=(2 * torch.rand(MAX_Z + 1, width, generator=rng) - 1) * math.sqrt(3))
        self.begin, self.join = silu_stack(rng, radial, width), PairLinear(rng, width, width, width)
        self.blocks = nn.ModuleList(Interaction(rng, gather(), width, inner, basis, radial) for _ in range(blocks))
        self.outputs = nn.ModuleList(Output(rng, width, out, dense, radial) for _ in range(blocks + 1))

    def forward(self, species: Tensor, length: Tensor, times: Tensor, here: Bins, there: Bins, known) -> Tensor:
        """(atoms, width) from lengths (edges,), for how many edges of its atom each stands (edges, 1), the bins of the edges by centre and by neighbour, and
        what `gather` wants to know."""
        x, radial = self.embed(species), self.radial(length)
        counted = radial * times
        m = F.silu(self.join(x, self.begin(radial), here, there))
        site = self.outputs[0](m, counted, here)
        for block, output in zip(self.blocks, self.outputs[1:], strict=True):
            m = block(m, radial, known)
            site = site + output(m, counted, here)
        return site
