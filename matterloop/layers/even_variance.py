"""Dense layers that keep the variance of what passes through them: scaled SiLU, orthogonal first weights, and factors that are fitted to these once.

J. Gasteiger, F. Becker, S. Günnemann, "GemNet: Universal directional graph neural networks for molecules", NeurIPS 2021, arXiv:2106.08903, section 6.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..crystal.segments import Bins
from .pair_linear import PairLinear

HALF = math.sqrt(0.5)
GAIN = 1 / 0.6  # gives silu of a standard normal number a mean square of about one


def scaled_silu(x: Tensor) -> Tensor:
    return F.silu(x) * GAIN


class Dense(nn.Module):
    """A linear map without bias; rows of the first weights are orthogonal, of mean 0 and variance 1 / fan_in. `factor` is 1 until `fit_factors`."""

    def __init__(self, rng: torch.Generator, fan_in: int, fan_out: int, fitted: bool = False):
        super().__init__()
        weight = nn.init.orthogonal_(torch.empty(fan_out, fan_in, dtype=torch.float64), generator=rng)
        spread, mean = torch.var_mean(weight, 1, keepdim=True)
        self.weight = nn.Parameter(((weight - mean) / torch.sqrt((spread + 1e-6) * fan_in)).to(torch.float32))
        self.fits = False  # while `fit_factors` runs
        self.register_buffer("factor", torch.ones(()) if fitted else None)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight if self.factor is None else self.weight * self.factor)

    def fit(self, like: Tensor, made: Tensor) -> Tensor:
        """What was `made` (rows, width) in proportion to this map; where factors are fitted, with the variance of `like` (rows, width)."""
        if not self.fits:
            return made
        self.factor.copy_(torch.sqrt(like.var(0).mean() / made.var(0).mean()))
        return made * self.factor


class Layer(Dense):
    """Dense, then scaled_silu."""

    def forward(self, x: Tensor) -> Tensor:
        return scaled_silu(super().forward(x))


class Pairs(PairLinear):
    """scaled_silu of one map of [centre, neighbour, edge], as Layer."""

    def __init__(self, rng: torch.Generator, width: int, extra: int, out: int):
        nn.Module.__init__(self)
        self.width, self.joint = width, Dense(rng, 2 * width + extra, out)
        self.joint.bias = None

    def forward(self, x: Tensor, edge: Tensor, here: Bins, there: Bins) -> Tensor:
        return scaled_silu(super().forward(x, edge, here, there))


class Residual(nn.Module):
    """(x + two layers of x) / sqrt 2."""

    def __init__(self, rng: torch.Generator, width: int):
        super().__init__()
        self.layers = nn.Sequential(Layer(rng, width, width), Layer(rng, width, width))

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.layers(x)) * HALF


@torch.no_grad()
def fit_factors(module: nn.Module, run: Callable[[nn.Module], object]) -> None:
    """Give the factors inside `module` the values that keep variances in one `run` of it, each with those before it in place.

    A copy in float64 is run, so that the factors do not depend on how a machine rounds.
    """
    copy = deepcopy(module).to(torch.float64)
    for part in copy.modules():
        if isinstance(part, Dense):
            part.fits = part.factor is not None
    run(copy)
    for part, its in zip(module.modules(), copy.modules(), strict=True):
        if isinstance(part, Dense) and part.factor is not None:
            part.factor.copy_(its.factor)
