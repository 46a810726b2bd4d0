"""One linear map of [centre, neighbour, edge] for every edge, without writing the concatenation out."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..crystal.segments import Bins
from .parts import linear


class PairLinear(nn.Module):
    """W [x_centre, x_neighbour, e] + b of edges: the columns of W that meet atoms are applied to atoms, once each, and only their results are gathered.

    width  features of an atom;  extra  features of an edge;  out  outputs
    """

    def __init__(self, rng: torch.Generator, width: int, extra: int, out: int):
        super().__init__()
        self.width, self.joint = width, linear(rng, 2 * width + extra, out)

    def forward(self, x: Tensor, edge: Tensor, here: Bins, there: Bins, which: Bins | None = None) -> Tensor:
        """x (atoms, width), edge (edges, extra), bins of the edges by centre and by neighbour: (edges, out).

        With `which`, rows of `edge` serve several edges each, these being the bins of the edges by their row.
        """
        centre, neighbour, own = self.joint.weight.split([self.width, self.width, edge.shape[1]], 1)
        y = F.linear(edge, own)
        return here.take(F.linear(x, centre, self.joint.bias)) + there.take(F.linear(x, neighbour)) + (y if which is None else which.take(y))
