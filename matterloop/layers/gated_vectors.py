"""Features that have no direction and features that have one, mixed so that both stay what they are.

Gated equivariant block of K. T. Schütt, O. T. Unke, M. Gastegger, ICML 2021, arXiv:2102.03150, figure 3; gates as in M. Weiler et al., NeurIPS 2018.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .parts import linear, perceptron

SOFT = 1e-6  # added under the root of a squared length, so that the slope at a vector of length zero is zero and not undefined


def soft_norm(v: Tensor) -> Tensor:
    """Lengths (atoms, width) of vectors (atoms, 3, width), smooth and 0 where the vector vanishes: sqrt(|v|^2 + SOFT) - sqrt(SOFT)."""
    return (v.square().sum(1) + SOFT).sqrt() - SOFT**0.5


class GatedVectors(nn.Module):
    """x' = f(x, |U v|), v' = g(x, |U v|) V v with f and g the halves of one perceptron.

    wide, out  features of an atom, numbers and vectors alike, before and after
    vectors    whether there is a v'
    """

    def __init__(self, rng: torch.Generator, wide: int, out: int, vectors: bool = True):
        super().__init__()
        self.out = out
        self.measured = linear(rng, wide, wide, bias=False)
        self.carried = linear(rng, wide, out, bias=False) if vectors else None
        self.update = perceptron(rng, 2 * wide, wide, 2 * out if vectors else out, activation=nn.SiLU)

    def forward(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor | None]:
        """x (atoms, wide), v (atoms, 3, wide): (atoms, out) and (atoms, 3, out) or None."""
        y = self.update(torch.cat([x, soft_norm(self.measured(v))], -1))
        if self.carried is None:
            return y, None
        return y[:, : self.out], y[:, None, self.out :] * self.carried(v)
