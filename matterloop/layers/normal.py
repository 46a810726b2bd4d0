"""Batch normalisation that also stands a batch of one row or none, alone and followed by SiLU.

S. Ioffe, C. Szegedy, "Batch normalization: accelerating deep network training by reducing internal covariate shift", ICML 2015, arXiv:1502.03167, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .parts import linear


CACHE = 1 << 19  # numbers of a piece


def pieces(rows: int, width: int) -> Iterator[slice]:
    """Slices of rows that hold about CACHE numbers each."""
    step = max(CACHE // max(width, 1), 1)
    return (slice(begin, min(begin + step, rows)) for begin in range(0, rows, step))


class Often(NamedTuple):
    """How many rows of the whole batch each row stands for: `share` (rows, 1) of all of them, `many` in all."""

    share: Tensor
    many: int

    @classmethod
    def of(cls, count: Tensor, dtype: torch.dtype) -> Often:
        """From count (rows,) int64."""
        many = int(count.sum())
        return cls((count.to(torch.float64) / max(many, 1)).to(dtype)[:, None], many)


class BatchNorm(nn.BatchNorm1d):
    """(rows, width) brought to mean 0 and variance 1 over the rows while training, by running figures else.

    Fewer than two rows have no variance: they are treated by the running figures in training too.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training and len(x) > 1:
            return super().forward(x)
        scale, shift = self._running()
        return x * scale + shift

    def silu(self, x: Tensor, onto: Tensor | None = None, often: Often | None = None) -> Tensor:
        """SiLU of the normalised rows, added to `onto`; the backward pass keeps `x` alone, one number per row and feature instead of three.

        often  for how many rows each stands, in the statistics; None: for itself
        """
        many = len(x) if often is None else often.many
        if not self.training or many < 2:
            scale, shift = self._running()
            out = F.silu(x * scale + shift)
            return out if onto is None else onto + out
        share = x.new_full((1, 1), 1 / many).expand(len(x), 1) if often is None else often.share
        with torch.no_grad():
            mean, square = x.mT @ share, torch.zeros_like(x[0])
            mean = mean[:, 0]
            for piece in pieces(*x.shape):
                square += ((x[piece] - mean).square_().mT @ share[piece])[:, 0]
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(square * (many / (many - 1)), self.momentum)
            self.num_batches_tracked += 1
        return _NormSilu.apply(x, onto, self.weight, self.bias, mean, (square + self.eps).rsqrt(), share)

    def _running(self) -> tuple[Tensor, Tensor]:
        scale = (self.running_var + self.eps).rsqrt() * self.weight
        return scale, self.bias - self.running_mean * scale


class _NormSilu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, onto, weight, bias, mean, rstd, share):
        ctx.save_for_backward(x, weight, bias, mean, rstd, share)
        ctx.onto = onto is not None
        scale, out = weight * rstd, torch.empty_like(x)
        shift = bias - mean * scale
        for piece in pieces(*x.shape):
            y = F.silu(torch.addcmul(shift, x[piece], scale), inplace=True)
            out[piece] = y if onto is None else y.add_(onto[piece])
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, down):
        x, weight, bias, mean, rstd, share = ctx.saved_tensors
        scale, slope = weight * rstd, torch.empty_like(x)
        shift, to_weight, to_bias = bias - mean * scale, torch.zeros_like(weight), torch.zeros_like(bias)
        for piece in pieces(*x.shape):
            part = torch.ops.aten.silu_backward(down[piece], torch.addcmul(shift, x[piece], scale))
            slope[piece] = part
            to_bias += part.sum(0)
            to_weight += part.mul_(x[piece] - mean).sum(0)
        to_weight *= rstd
        for piece in pieces(*x.shape):
            lost = torch.addcmul(to_bias - mean * to_weight * rstd, x[piece], to_weight * rstd)  # what the statistics take away, all but the share
            slope[piece].addcmul_(lost, share[piece], value=-1).mul_(scale)
        return slope, down if ctx.onto else None, to_weight, to_bias, None, None, None


class Dense(nn.Module):
    """Linear map without bias (the normalisation has one), batch normalisation, SiLU."""

    def __init__(self, rng: torch.Generator, fan_in: int, fan_out: int):
        super().__init__()
        self.map, self.norm = linear(rng, fan_in, fan_out, bias=False), BatchNorm(fan_out)

    def forward(self, x: Tensor, often: Often | None = None) -> Tensor:
        return self.norm.silu(self.map(x), often=often)
