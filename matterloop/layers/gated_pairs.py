"""Messages between the two ends of pairs through a gate, silu(LN(core)) * sigmoid(LN(gate)), with a backward pass written by hand.

Gated linear units of T. Xie, J. C. Grossman, Physical Review Letters 120, 145301 (2018), doi:10.1103/PhysRevLett.120.145301, eq. 5, with the
layer normalisation of J. L. Ba, J. R. Kiros, G. E. Hinton, arXiv:1607.06450. A pair stands for its two directions, which share what does not
depend on direction; the first linear map has been applied to nodes and pairs before they meet here, so that no row is multiplied twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..crystal.segments import Bins

EPSILON = 1e-5  # below the root of the variance in layer normalisation


class Pairs:
    """`pairs` undirected pairs of nodes; row r < pairs is the message first <- second, row pairs + r is second <- first."""

    def __init__(self, first: Tensor, second: Tensor, nodes: int):
        self.first, self.second, self.nodes = first, second, nodes
        self.here = Bins(torch.cat([first, second]), nodes)
        self.there = Bins.__new__(Bins)  # the same rows by their other end: the order of `here` with both halves exchanged
        n = len(first)
        self.there.index, self.there.size, self.there.offsets = torch.cat([second, first]), nodes, self.here.offsets
        self.there.order = torch.where(self.here.order < n, self.here.order + n, self.here.order - n)

    def __len__(self) -> int:
        return len(self.first)


@dataclass(frozen=True)
class Gate:
    """Weights after the first linear map, whose outputs are [core, gate], `width` each.

    hidden  ((width, width) of the core, (width, width) of the gate, both input by output, and bias (2 width,)), or None: no hidden layer
    scale, shift  (2, width) of the layer normalisations of core and gate

    The last linear map before the normalisation must give outputs of zero mean in each half, which costs nothing: `centred`.
    """

    hidden: tuple[Tensor, Tensor, Tensor] | None
    scale: Tensor
    shift: Tensor


def centred(weight: Tensor, width: int) -> Tensor:
    """Subtract the mean over each run of `width` outputs (first axis) of a weight matrix or bias, as layer normalisation would do to the result."""
    parts = weight.reshape(-1, width, *weight.shape[1:])
    return (parts - parts.mean(1, keepdim=True)).reshape(weight.shape)


def gated(one: Tensor, two: Tensor, shared: Tensor, weight: Tensor | None, pairs: Pairs, gate: Gate) -> Tensor:
    """Gate of one[here] + two[there] + shared for both directions of every pair.

    one, two  (nodes, 2 width)            first linear map of the nodes
    shared    (pairs or 2 pairs, 2 width) first linear map of the pairs, for both directions or for each
    weight    (pairs or 2 pairs, width)   factors of the messages
    Returns the weighted sums of messages (nodes, width), or the messages (2 pairs, width) where `weight` is None.
    Differentiable once in one, two, shared and weight.
    """
    return _Gated.apply(one, two, shared, weight, pairs, gate)


def _both(rows: Tensor, like: Tensor) -> Tensor:
    """(2 n, w) as (2, n, w) if `like` holds n rows, unchanged if it holds 2 n: what broadcasts against it."""
    return rows if len(like) == len(rows) else rows.view(2, len(rows) // 2, rows.shape[1])


def _fold(rows: Tensor) -> Tensor:
    """Sum of both directions."""
    n = len(rows) // 2
    return rows[:n] + rows[n:]


class _Gated(torch.autograd.Function):
    """Memory traffic decides the speed here, so the forward pass keeps derivatives rather than values and reuses its buffers."""

    @staticmethod
    def forward(ctx, one, two, shared, weight, pairs, gate):
        n, width = 2 * len(pairs), one.shape[1] // 2
        x = one.index_select(0, pairs.here.index)
        x += two.index_select(0, pairs.there.index)
        _both(x, shared).add_(shared)
        slope = None
        if gate.hidden is None:
            y = torch.empty_like(x)
        else:
            core, side, bias = gate.hidden
            slope = torch.sigmoid(x)
            y = x * slope
            torch.mul(y, slope, out=x)
            slope.add_(y).sub_(x)  # of silu: sigmoid + silu - silu sigmoid
            torch.mm(y[:, :width], core, out=x[:, :width])
            torch.mm(y[:, width:], side, out=x[:, width:])
            x += bias
        halves, y = x.view(n, 2, width), y.view(n, 2, width)
        rstd = torch.linalg.vector_norm(halves, dim=-1, keepdim=True).square_().div_(width).add_(EPSILON).rsqrt_()
        torch.mul(halves, rstd, out=y).mul_(gate.scale).add_(gate.shift)
        s = torch.sigmoid(y)
        a = y[:, 0] * s[:, 0]  # silu of the core
        message = a * s[:, 1]
        torch.mul(a, s[:, 0], out=y[:, 0])
        s[:, 0].add_(a).sub_(y[:, 0]).mul_(s[:, 1])  # d message / d core
        torch.mul(message, s[:, 1], out=y[:, 1])
        torch.sub(message, y[:, 1], out=s[:, 1])  # d message / d gate
        s *= gate.scale
        ctx.pairs, ctx.gate, ctx.shared_rows = pairs, gate, len(shared)
        ctx.save_for_backward(slope, x, rstd, s, weight, message if weight is not None else None)
        return message if weight is None else pairs.here.raw_sum((_both(message, weight) * weight).view(n, width))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, down):
        slope, x, rstd, s, weight, message = ctx.saved_tensors
        pairs, gate = ctx.pairs, ctx.gate
        n, width = len(x), x.shape[1] // 2
        to_weight = None
        if weight is not None:
            down = down.index_select(0, pairs.here.index)
            to_weight = message * down
            if len(weight) < n:
                to_weight = _fold(to_weight)
            down = _both(down, weight).mul_(weight).view(n, width)
        y = s * down[:, None]
        zero = torch.zeros_like(rstd).view(-1, 1)  # the mean of the rows
        back = torch.ops.aten.native_layer_norm_backward(
            y.view(-1, width), x.view(-1, width), [width], zero, rstd.view(-1, 1), None, None, [True, False, False])[0].view(n, 2 * width)
        if gate.hidden is not None:
            core, side, _ = gate.hidden
            y = y.view(n, 2 * width)
            torch.mm(back[:, :width], core.T, out=y[:, :width])
            torch.mm(back[:, width:], side.T, out=y[:, width:])
            back = y.mul_(slope)
        return pairs.here.raw_sum(back), pairs.there.raw_sum(back), back if ctx.shared_rows == n else _fold(back), to_weight, None, None
