"""Convolution whose edges are gates and are updated themselves; it works on atoms and bonds as on bonds and angles.

X. Bresson, T. Laurent, "Residual gated graph convnets", arXiv:1711.07553, eq. 11, with the gates divided by their sum.

    m = A x_src + B x_dst + C y,  s = sigmoid(m)
    x' = x + silu(BN(U x + sum_src c s * V x_src / (sum_src c s + 1e-6)))
    y' = y + silu(BN(m))
where an edge stands for c equal ones.

There are many more edges than nodes. So maps of nodes come before rows are repeated, the backward pass keeps one number per edge and feature of a gate, and
edges are worked on in pieces that stay in the cache: a table of all of them is written only where it outlives the piece.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .normal import BatchNorm, Often, pieces
from .parts import linear

EPSILON = 1e-6  # added to the sum of gates


class Ends(NamedTuple):
    """Whom edges join, and for how many each stands.

    source, target  (edges,) the nodes that edges leave and enter; sorted by target it is faster
    times           (edges, 1) equal edges of its target that each stands for, or None: itself
    nodes, edges    how often each occurs in the batch, or None: once
    """

    source: Tensor
    target: Tensor
    times: Tensor | None = None
    nodes: Often | None = None
    edges: Often | None = None


class EdgeGated(nn.Module):
    """One convolution of nodes (nodes, width) and edges (edges, width); edges come back as they were unless `edges` are updated."""

    def __init__(self, rng: torch.Generator, width: int, edges: bool = True):
        super().__init__()
        self.source, self.target, self.edge = linear(rng, width, width, bias=False), linear(rng, width, width, bias=False), linear(rng, width, width)
        self.own, self.value = linear(rng, width, width, bias=False), linear(rng, width, width, bias=False)
        self.norm, self.edge_norm = BatchNorm(width), BatchNorm(width) if edges else None

    def forward(self, x: Tensor, y: Tensor, ends: Ends) -> tuple[Tensor, Tensor]:
        m, h = _Gates.apply(self.source(x), self.target(x), self.edge(y), self.value(x), ends)
        x = self.norm.silu(self.own(x) + h, x, ends.nodes)
        return x, y if self.edge_norm is None else self.edge_norm.silu(m, y, ends.edges)


def _parts(ends: Ends, width: int) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Pieces of edges with the nodes they leave and enter."""
    for piece in pieces(len(ends.source), width):
        yield piece, ends.source[piece], ends.target[piece]


class _Gates(torch.autograd.Function):
    """(a_src + b_dst + c, sum s v_src / sum s), s the gates times how often they count. Writes into c, the result of a linear map, which nobody else looks at."""

    @staticmethod
    def forward(ctx, a, b, c, v, ends):
        whole, h = torch.full_like(b, EPSILON), torch.zeros_like(b)
        for piece, src, dst in _parts(ends, c.shape[1]):
            m = c[piece].add_(a.index_select(0, src)).add_(b.index_select(0, dst))
            s = torch.sigmoid(m)
            if ends.times is not None:
                s.mul_(ends.times[piece])
            whole.index_add_(0, dst, s)
            h.index_add_(0, dst, s.mul_(v.index_select(0, src)))
        h /= whole
        ctx.mark_dirty(c)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(c, v, whole, h)
        ctx.ends = ends
        return c, h

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, down_m, down_h):
        (m, v, whole, h), ends = ctx.saved_tensors, ctx.ends
        of_sum = torch.zeros_like(h) if down_h is None else down_h / whole
        of_share = of_sum * h
        to_a, to_b, to_v, slope = torch.zeros_like(v), torch.zeros_like(h), torch.zeros_like(v), torch.empty_like(m)
        for piece, src, dst in _parts(ends, m.shape[1]):
            s, part = torch.sigmoid(m[piece]), of_sum.index_select(0, dst)
            onto = s if ends.times is None else s * ends.times[piece]
            to_v.index_add_(0, src, onto * part)
            part.mul_(v.index_select(0, src)).sub_(of_share.index_select(0, dst)).mul_(onto)
            torch.addcmul(part, part, s, value=-1, out=slope[piece])
            if down_m is not None:
                slope[piece].add_(down_m[piece])
            to_a.index_add_(0, src, slope[piece])
            to_b.index_add_(0, dst, slope[piece])
        return to_a, to_b, slope, to_v, None
