"""Convolution whose edges are gates and are updated themselves; it works on atoms and bonds as on bonds and angles.

X. Bresson, T. Laurent, "Residual gated graph convnets", arXiv:1711.07553, eq. 11, with the gates divided by their sum.

    m = A x_src + B x_dst + C y,  s = sigmoid(m)
    x' = x + silu(BN(U x + sum_src s * V x_src / (sum_src s + 1e-6)))
    y' = y + silu(BN(m))

There are many more edges than nodes: maps of nodes come before rows are repeated, and what the backward pass needs per edge is kept once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..crystal.segments import Bins
from .normal import BatchNorm
from .parts import linear

EPSILON = 1e-6  # added to the sum of gates


class EdgeGated(nn.Module):
    """One convolution of nodes (nodes, width) and edges (edges, width); edges come back as they were unless `edges` are updated."""

    def __init__(self, rng: torch.Generator, width: int, edges: bool = True):
        super().__init__()
        self.source, self.target, self.edge = linear(rng, width, width, bias=False), linear(rng, width, width, bias=False), linear(rng, width, width)
        self.own, self.value = linear(rng, width, width, bias=False), linear(rng, width, width, bias=False)
        self.norm, self.edge_norm = BatchNorm(width), BatchNorm(width) if edges else None

    def forward(self, x: Tensor, y: Tensor, source: Bins, target: Bins) -> tuple[Tensor, Tensor]:
        """`source` and `target` are the bins of the edges by the node they leave and the node they enter."""
        m, h = _Gates.apply(self.source(x), self.target(x), self.edge(y), self.value(x), source, target)
        x = x + self.norm.silu(self.own(x) + h)
        return x, y if self.edge_norm is None else y + self.edge_norm.silu(m)


class _Gates(torch.autograd.Function):
    """(a_src + b_dst + c, sum s v_src / sum s); keeps one number per edge and feature."""

    @staticmethod
    def forward(ctx, a, b, c, v, source, target):
        m = a.index_select(0, source.index).add_(b.index_select(0, target.index)).add_(c)
        s = torch.sigmoid(m)
        whole = target.raw_sum(s) + EPSILON
        h = target.raw_sum(s.mul_(v.index_select(0, source.index))) / whole
        ctx.bins = source, target
        ctx.save_for_backward(m, v, whole, h)
        return m, h

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, down_m, down_h):
        m, v, whole, h = ctx.saved_tensors
        source, target = ctx.bins
        s = torch.sigmoid(m)
        of_sum = down_h / whole
        part = of_sum.index_select(0, target.index)
        to_v = source.raw_sum(s * part)
        slope = v.index_select(0, source.index).mul_(part).sub_((of_sum * h).index_select(0, target.index)).mul_(s)
        slope.addcmul_(slope, s, value=-1)
        if down_m is not None:
            slope.add_(down_m)
        return source.raw_sum(slope), target.raw_sum(slope), slope, to_v, None, None
