"""Gated sums over neighbours with batch normalisation, in one pass forward and one by hand backward.

T. Xie, J. C. Grossman, Physical Review Letters 120, 145301 (2018), doi:10.1103/PhysRevLett.120.145301, eq. 5, with the batch normalisation of its code:

    z_ij = BN(W_1 v_i + W_2 v_j + W_3 e_ij),  m_i = sum_j sigmoid(z^f_ij) * softplus(z^s_ij)

There are many more edges than nodes: W_1 v and W_2 v are taken per node and gathered. An edge that stands for several, or for those of several nodes, counts
that often in sums and in the statistics of the normalisation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..crystal.alike import Nodes
from ..crystal.segments import Bins
from .parts import linear


class WeightedNorm(nn.Module):
    """Batch normalisation (S. Ioffe, C. Szegedy, arXiv:1502.03167, algorithm 1) of rows that stand for several each.

    While training by the statistics of the batch, else by running ones; fewer than two rows have no variance and take the running ones too.
    """

    def __init__(self, width: int, momentum: float = 0.1, eps: float = 1e-5):
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def statistics(self, x: Tensor, share: Tensor, many: float) -> tuple[Tensor, Tensor, bool]:
        """(mean, 1 / standard deviation, whether they are the batch's) for rows x (rows, width) with `share` (rows,) of the sum of `many`; no gradients."""
        if not self.training or many < 2:
            return self.running_mean, (self.running_var + self.eps).rsqrt(), False
        with torch.no_grad():
            mean = share @ x
            var = share @ (x - mean).square_()
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * many / (many - 1), self.momentum)
        return mean, (var + self.eps).rsqrt(), True

    def forward(self, x: Tensor, share: Tensor, many: float) -> Tensor:
        """x (rows, width) normalised."""
        mean, scale, of_batch = self.statistics(x.detach(), share, many)
        return _Norm.apply(x, self.weight, self.bias, mean, scale, share if of_batch else None)


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, mean, scale, share):
        ctx.save_for_backward(x, weight, mean, scale, share)
        factor = weight * scale
        return torch.addcmul(bias - mean * factor, x, factor)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, down):
        x, weight, mean, scale, share = ctx.saved_tensors
        to_weight, to_bias, back = _norm_backward(down, x, weight, mean, scale, share)
        return back, to_weight, to_bias, None, None, None


def _norm_backward(down: Tensor, x: Tensor, weight: Tensor, mean: Tensor, scale: Tensor, share: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of weight, bias and x for `down` at the normalised rows; `share` where the statistics were the batch's."""
    to_bias = down.sum(0)
    to_weight = ((down * x).sum(0) - mean * to_bias) * scale
    factor = weight * scale
    if share is None:
        return to_weight, to_bias, down * factor
    lost = torch.addcmul(to_bias - mean * scale * to_weight, x, scale * to_weight)  # what the statistics take away, all but the share
    return to_weight, to_bias, down.addcmul(lost, share[:, None], value=-1).mul_(factor)


class Messages:
    """Who sends to whom and how often, prepared once for all convolutions of a batch.

    senders, receivers  bins of the edges by either end
    times               (edges, 1) how often an edge counts in the sum of its receiver
    share, edges        (edges,) its share of all edges of the batch, and how many those are; `node_share`, `nodes` likewise of nodes
    """

    def __init__(self, nodes: Nodes, count: Tensor, dtype: torch.dtype):
        self.receivers, self.senders = Bins(nodes.receivers, len(nodes)), Bins(nodes.senders, len(nodes))
        self.times = count.to(dtype)[:, None]
        often = (count * nodes.copies[nodes.receivers]).to(torch.float64)
        self.edges, self.nodes = float(often.sum()), float(nodes.copies.sum())
        self.share = (often / max(self.edges, 1.0)).to(dtype)
        self.node_share = (nodes.copies.to(torch.float64) / max(self.nodes, 1.0)).to(dtype)


class GatedConvolution(nn.Module):
    """v_i' = softplus(v_i + BN(m_i)): nodes (nodes, width) from nodes and edges (edges, edge_width)."""

    def __init__(self, rng: torch.Generator, width: int, edge_width: int):
        super().__init__()
        joint = linear(rng, 2 * width + edge_width, 2 * width, bias=False)
        self.weight = joint.weight
        self.inner, self.outer = WeightedNorm(2 * width), WeightedNorm(width)

    def forward(self, x: Tensor, e: Tensor, messages: Messages) -> Tensor:
        """x (nodes, width), e (edges, edge_width)."""
        width = x.shape[1]
        own, other, edge = self.weight.split([width, width, len(self.weight[0]) - 2 * width], dim=1)
        total = _Gated.apply(x @ own.T, x @ other.T, e @ edge.T, self.inner.weight, self.inner.bias, self.inner, messages)
        return F.softplus(x + self.outer(total, messages.node_share, messages.nodes))


class _Gated(torch.autograd.Function):
    """Sums of messages (nodes, width) from one (nodes, 2 width), two (nodes, 2 width) and edge (edges, 2 width)."""

    @staticmethod
    def forward(ctx, one, two, edge, weight, bias, norm, messages):
        x = edge.add(one.index_select(0, messages.receivers.index)).add_(two.index_select(0, messages.senders.index))
        mean, scale, of_batch = norm.statistics(x, messages.share, messages.edges)
        width, factor = x.shape[1] // 2, weight * scale
        y = torch.addcmul(bias - mean * factor, x, factor)
        gate, core = torch.sigmoid(y[:, :width]), F.softplus(y[:, width:])
        ctx.messages, ctx.of_batch = messages, of_batch
        ctx.save_for_backward(x, weight, mean, scale, gate, core)
        return messages.receivers.raw_sum((gate * core).mul_(messages.times))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, down):
        x, weight, mean, scale, gate, core = ctx.saved_tensors
        messages, width = ctx.messages, x.shape[1] // 2
        down = down.index_select(0, messages.receivers.index).mul_(messages.times)
        to_y = torch.empty_like(x)
        to_gate = torch.mul(down, gate, out=to_y[:, width:])  # first d / d core, then times the slope of softplus: 1 - exp(-softplus)
        to_y[:, :width] = to_gate * core * (1 - gate)
        to_y[:, width:].mul_(-torch.expm1(-core))
        to_weight, to_bias, back = _norm_backward(to_y, x, weight, mean, scale, messages.share if ctx.of_batch else None)
        return messages.receivers.raw_sum(back), messages.senders.raw_sum(back), back, to_weight, to_bias, None, None
