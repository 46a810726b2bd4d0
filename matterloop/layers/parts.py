"""Trainable parts that know nothing of papers, targets or training; weights are drawn from a generator passed in, never the global one."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def linear(rng: torch.Generator, fan_in: int, fan_out: int, bias: bool = True) -> nn.Linear:
    """A linear map with weights uniform in +-sqrt(6 / (fan_in + fan_out)) and zero bias (X. Glorot, Y. Bengio, AISTATS 2010, eq. 16)."""
    layer = nn.Linear.__new__(nn.Linear)  # its own __init__ would draw from the global generator
    nn.Module.__init__(layer)
    layer.in_features, layer.out_features = fan_in, fan_out
    reach = math.sqrt(6 / (fan_in + fan_out))
    layer.weight = nn.Parameter(torch.empty(fan_out, fan_in).uniform_(-reach, reach, generator=rng))
    layer.register_parameter("bias", nn.Parameter(torch.zeros(fan_out)) if bias else None)
    return layer


def embedding(rng: torch.Generator, count: int, width: int) -> nn.Embedding:
    """(count, width) table of standard normal numbers."""
    return nn.Embedding(count, width, _weight=torch.randn(count, width, generator=rng))


class ShiftedSoftplus(nn.Module):
    """ln(e^x / 2 + 1/2): softplus through the origin, smooth to all orders."""

    def forward(self, x: Tensor) -> Tensor:
        return F.softplus(x).sub_(math.log(2))  # in place: one table less to write


def perceptron(rng: torch.Generator, *widths: int, activation: type[nn.Module] = ShiftedSoftplus, last: bool = False) -> nn.Sequential:
    """Linear maps from width to width with the activation between them, and after the last if `last`."""
    layers = [m for a, b in zip(widths, widths[1:], strict=False) for m in (linear(rng, a, b), activation())]
    return nn.Sequential(*(layers if last else layers[:-1]))


class Gaussians(nn.Module):
    """exp(-gamma (r - mu_k)^2) of lengths r (...) in Å: (..., count), centres mu evenly from `low` to `high`, gamma in 1/Å^2.

    `gamma` is 1 / (2 spacing^2) if absent.
    """

    def __init__(self, low: float, high: float, count: int, gamma: float | None = None):
        super().__init__()
        self.register_buffer("centres", torch.linspace(low, high, count))
        spacing = (high - low) / max(count - 1, 1)
        self.gamma = gamma if gamma is not None else 1 / (2 * spacing**2)

    def forward(self, length: Tensor) -> Tensor:
        return torch.exp(-self.gamma * (length[..., None] - self.centres) ** 2)


def cosine_cutoff(length: Tensor, radius: float) -> Tensor:
    """(cos(pi r / radius) + 1) / 2: 1 at zero, 0 with zero slope at `radius` and beyond."""
    return torch.where(length < radius, 0.5 * (torch.cos(math.pi / radius * length) + 1), torch.zeros_like(length))
