"""Heads that give a vector or a symmetric tensor per site: they turn with the crystal because only invariant numbers multiply its directions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..crystal.graph import Graph
from ..crystal.segments import segment_sum
from ..crystal.state import Crystals
from .parts import linear, perceptron


class Directions(nn.Module):
    """(edges, 3) unit vectors from centre to neighbour and their weights: a linear map without bias of edge features, 0 where those vanish."""

    def __init__(self, rng: torch.Generator, width: int, channels: int):
        super().__init__()
        self.weight = linear(rng, width, channels, bias=False)

    def forward(self, edge: Tensor, crystals: Crystals, graph: Graph) -> tuple[Tensor, Tensor]:
        """(edges, 3) unit vectors, (edges, channels) weights."""
        step = graph.vectors(crystals)
        return (step / step.norm(dim=-1, keepdim=True).clamp(min=1e-9)).to(edge.dtype), self.weight(edge)


class VectorHead(nn.Module):
    """y_i = sum_c g_c(x_i) v_ic, and sum_ij w(e_ij) u_ij where edges have features: (atoms, 3)."""

    def __init__(self, rng: torch.Generator, width: int, hidden: int, offers: Sequence[str]):
        super().__init__()
        self.gate = perceptron(rng, width, hidden, width) if "vector" in offers else None
        self.edges = Directions(rng, width, 1) if "edge" in offers else None

    def forward(self, found, crystals: Crystals, graph: Graph) -> Tensor:
        """found: Features with `vector`, `edge` or both."""
        y = found.site.new_zeros(len(found.site), 3)
        if self.gate is not None:
            y = y + torch.einsum("ac,acx->ax", self.gate(found.site), found.vector)
        if self.edges is not None:
            unit, weight = self.edges(found.edge, crystals, graph)
            y = y + segment_sum(weight * unit, graph.receivers, len(y))
        return y


class TensorHead(nn.Module):
    """y_i = g_0(x_i) 1 + sum_c g_c(x_i) T_ic + sum_c h_c(x_i) sym(A v_i (x) B v_i)_c + sum_ij w(e_ij) u_ij (x) u_ij: (atoms, 3, 3), symmetric.

    Each sum where the encoder offers tensors T, vectors v or edges; only tensors and edges see the anisotropy of a site with an inversion centre,
    where all vectors vanish.
    """

    def __init__(self, rng: torch.Generator, width: int, hidden: int, offers: Sequence[str]):
        super().__init__()
        self.middle = perceptron(rng, width, hidden, 1)
        self.tensors = perceptron(rng, width, hidden, width) if "tensor" in offers else None
        self.products = perceptron(rng, width, hidden, hidden) if "vector" in offers else None
        if self.products is not None:
            self.left, self.right = linear(rng, width, hidden, bias=False), linear(rng, width, hidden, bias=False)
        self.edges = Directions(rng, width, 1) if "edge" in offers else None

    def forward(self, found, crystals: Crystals, graph: Graph) -> Tensor:
        """found: Features with `tensor`, `vector`, `edge` or several of them."""
        x = found.site
        y = self.middle(x)[..., None] * torch.eye(3, dtype=x.dtype, device=x.device)
        if self.tensors is not None:
            y = y + torch.einsum("ac,acxy->axy", self.tensors(x), found.tensor)
        if self.products is not None:
            v = found.vector.mT
            product = torch.einsum("ac,axc,ayc->axy", self.products(x), self.left(v), self.right(v))
            y = y + (product + product.mT) / 2
        if self.edges is not None:
            unit, weight = self.edges(found.edge, crystals, graph)
            y = y + segment_sum((weight * unit)[:, :, None] * unit[:, None, :], graph.receivers, len(y))
        return y
