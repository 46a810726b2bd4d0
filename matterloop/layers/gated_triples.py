"""Messages of three vectors through a gate that a query and three other vectors open, feature by feature.

Attention without a softmax (K. Yan, Y. Liu, Y. Lin, S. Ji, arXiv:2209.11807, eqs. 3 and 4). Vectors of nodes go through their part of the first layers once per
node, before they meet in rows.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .gated_convolution import WeightedNorm
from .parts import perceptron


class Gate(nn.Module):
    """M(v1, v2, v3) * sigmoid(BN(q * K(k1, k2, k3) / sqrt(width))), the three vectors given by what each gives to the first layers of K and M.

    Rows may stand for several each.
    """

    def __init__(self, rng, width: int):
        super().__init__()
        self.keys, self.values = (perceptron(rng, 3 * width, width, width, activation=nn.SiLU) for _ in range(2))
        self.norm = WeightedNorm(width)

    def part(self, n: int, key: Tensor, value: Tensor) -> Tensor:
        """(rows, 2 width) of the n-th vectors `key` and `value` (rows, width)."""
        cut = slice(n * key.shape[1], (n + 1) * key.shape[1])
        return torch.cat([F.linear(t, m[0].weight[:, cut], None if n else m[0].bias) for m, t in ((self.keys, key), (self.values, value))], -1)

    def last(self, layer: nn.Linear, e: Tensor) -> Tensor:
        """(rows, 2 width) of the third vectors layer(e), without making them."""
        both = torch.cat([m[0].weight[:, 2 * layer.out_features :] for m in (self.keys, self.values)])
        return F.linear(e, both @ layer.weight, None if layer.bias is None else both @ layer.bias)

    def forward(self, query: Tensor, total: Tensor, share: Tensor, many: float) -> Tensor:
        """query (rows, width), sum of the parts (rows, 2 width), share (rows,) of each row of the `many` that they stand for: messages (rows, width)."""
        key, value = F.silu(total).chunk(2, 1)
        return self.values[2](value) * torch.sigmoid(self.norm(query * self.keys[2](key) / math.sqrt(query.shape[1]), share, many))
