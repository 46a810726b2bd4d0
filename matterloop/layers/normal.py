"""Batch normalisation that also stands a batch of one row or none, alone and followed by SiLU.

S. Ioffe, C. Szegedy, "Batch normalization: accelerating deep network training by reducing internal covariate shift", ICML 2015, arXiv:1502.03167, algorithm 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .parts import linear


class BatchNorm(nn.BatchNorm1d):
    """(rows, width) brought to mean 0 and variance 1 over the rows while training, by running figures else.

    Fewer than two rows have no variance: they are treated by the running figures in training too.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training and len(x) > 1:
            return super().forward(x)
        scale, shift = self._running()
        return x * scale + shift

    def silu(self, x: Tensor) -> Tensor:
        """SiLU of the normalised rows; the backward pass keeps `x` alone, one number per row and feature instead of three."""
        if not self.training or len(x) < 2:
            scale, shift = self._running()
            return F.silu(x * scale + shift)
        with torch.no_grad():
            var, mean = torch.var_mean(x, 0, correction=0)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * len(x) / (len(x) - 1), self.momentum)
            self.num_batches_tracked += 1
        return _NormSilu.apply(x, self.weight, self.bias, mean, (var + self.eps).rsqrt())

    def _running(self) -> tuple[Tensor, Tensor]:
        scale = (self.running_var + self.eps).rsqrt() * self.weight
        return scale, self.bias - self.running_mean * scale


class _NormSilu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, mean, rstd):
        ctx.save_for_backward(x, weight, bias, mean, rstd)
        scale = weight * rstd
        return F.silu(torch.addcmul(bias - mean * scale, x, scale), inplace=True)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, down):
        x, weight, bias, mean, rstd = ctx.saved_tensors
        scale = weight * rstd
        slope = torch.ops.aten.silu_backward(down, torch.addcmul(bias - mean * scale, x, scale))
        unit = x.sub(mean).mul_(rstd)
        to_bias, to_weight = slope.sum(0), (slope * unit).sum(0)
        slope.sub_(to_bias / len(x)).sub_(unit.mul_(to_weight / len(x))).mul_(scale)
        return slope, to_weight, to_bias, None, None


class Dense(nn.Module):
    """Linear map without bias (the normalisation has one), batch normalisation, SiLU."""

    def __init__(self, rng: torch.Generator, fan_in: int, fan_out: int):
        super().__init__()
        self.map, self.norm = linear(rng, fan_in, fan_out, bias=False), BatchNorm(fan_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm.silu(self.map(x))
