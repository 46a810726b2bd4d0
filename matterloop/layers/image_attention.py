"""Attention of atoms to all periodic images of all atoms, whose weights fall off as Gaussians of distance.

For queries q_i, keys k_j, values v_j and images n of atom j at distances r_jn from atom i (itself at 0 among them), per head:

    w_jn = exp(q_i k_j / sqrt(d) - gamma_i r_jn^2) c(r_jn)
    y_i = sum_jn w_jn (v_j + W b(r_jn)) / sum_jn w_jn

which is softmax attention over pairs (i, j) with the logarithm of summed Gaussians added to the scores, and averages of radial functions b added to the
values (T. Taniai et al., arXiv:2403.11686, eqs. 5 to 9, who let the sums run over all images; here a function c ends them smoothly). Pairs carry
what does not depend on the image, and different distances what depends on them alone, so that an image costs one exponential per head and a sum of rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..crystal.alike import Nodes
from ..crystal.graph import Graph, Within
from ..crystal.segments import Bins, offsets_of, runs, segment_max, segment_min
from ..crystal.state import Crystals
from .parts import linear


@dataclass(frozen=True)
class WithinAndSelf:
    """All images closer than `radius` (Å), and every atom itself."""

    radius: float

    def __call__(self, crystals: Crystals) -> Graph:
        """Errors as `Within`."""
        graph, own = Within(self.radius)(crystals), torch.arange(crystals.atoms, device=crystals.cell.device)
        receivers, order = torch.sort(torch.cat([graph.receivers, own]), stable=True)
        return Graph(torch.cat([graph.senders, own])[order], receivers, torch.cat([graph.shift, graph.shift.new_zeros(len(own), 3)])[order])


class Images:
    """What the images of a batch have in common for all layers: pairs of atoms, squared distances, radial functions of the different distances.

    square   (edges, 1) r^2 in Å^2;  nearest (pairs, 1) the least of each pair, infinite without an image
    factor   (edges, 1) of the weights
    radial   (kinds, functions) of the different lengths
    """

    def __init__(self, owner: Tensor, edges: Nodes | Graph, length: Tensor, factor: Tensor, radial: Tensor, kind: Tensor):
        """owner (atoms,) crystal of each atom, ascending; edges by receiver, `length` and `factor` (edges,); `radial` (kinds, functions), `kind` (edges,)."""
        n, many = len(owner), torch.bincount(owner)
        counts, begin = many[owner], offsets_of(many)[:-1][owner]
        first = offsets_of(counts)
        self.receivers = torch.arange(n, device=owner.device).repeat_interleave(counts, output_size=int(first[-1]))
        self.at_receivers, self.at_senders = Bins(self.receivers, n), Bins(runs(begin, counts), n)
        self.of_pair = Bins(first[:-1][edges.receivers] + edges.senders - begin[edges.receivers], len(self.receivers))
        self.of_atom = Bins(edges.receivers, n)
        self.square, self.factor = length.square()[:, None], factor[:, None]
        self.nearest = segment_min(length.detach().square(), self.of_pair.index, len(self.receivers))[:, None]
        self.radial, self.of_length = radial, Bins(kind, len(radial))


class ImageAttention(nn.Module):
    """(atoms, width) from (atoms, width).

    functions  number of radial functions
    gain       of the first weights of values and output
    spread     expected of the projections of queries that set gamma
    usual      gamma of a query without preference, 1/Å^2; half of it is the least
    """

    def __init__(self, rng: torch.Generator, width: int, heads: int, functions: int, gain: float, spread: float, usual: float):
        super().__init__()
        self.heads, self.spread, self.usual = heads, spread, usual
        self.query, self.key, self.value, self.out = (linear(rng, width, width, bias=k != 1) for k in range(4))
        with torch.no_grad():
            self.value.weight.mul_(gain)
            self.out.weight.mul_(gain)
        share = width // heads
        self.sharpness = nn.Parameter(torch.randn(heads, share, generator=rng) / math.sqrt(share))
        reach = math.sqrt(6 / (width + functions)) / math.sqrt(functions)
        self.radial = nn.Parameter((2 * torch.rand(heads, share, functions, generator=rng) - 1) * reach)

    def gamma(self, query: Tensor) -> Tensor:
        """(atoms, heads) in 1/Å^2, between half of `usual` and infinity, of queries (atoms, heads, width / heads)."""
        preference = (query * self.sharpness).sum(-1) / self.spread
        return self.usual * (1 + 0.5 * nn.functional.elu(0.2 * preference))

    def forward(self, x: Tensor, images: Images) -> Tensor:
        n, heads = len(x), self.heads
        query = self.query(x)
        key, value = images.at_senders.take(self.key(x)), images.at_senders.take(self.value(x))
        score = (images.at_receivers.take(query) * key).unflatten(1, (heads, -1)).sum(-1) / math.sqrt(x.shape[1] // heads)
        gamma = self.gamma(query.unflatten(1, (heads, -1)))
        highest = score.detach() - images.at_receivers.take(gamma.detach()) * images.nearest  # of each pair; the sum below holds one term near 1
        score = score - segment_max(highest, images.receivers, n)[images.receivers]
        weight = torch.exp(images.of_pair.take(score) - images.of_atom.take(gamma) * images.square) * images.factor
        pair = images.of_pair.sum(weight)
        total = images.at_receivers.sum(pair)
        plain = images.at_receivers.sum((pair[..., None] * value.unflatten(1, (heads, -1))).flatten(1)).unflatten(1, (heads, -1))
        placed = images.of_length.take(images.radial @ self.radial.flatten(0, 1).T).unflatten(1, (heads, -1)) * weight[..., None]
        placed = images.of_atom.sum(placed.flatten(1)).unflatten(1, (heads, -1))
        return self.out(((plain + placed) / total[..., None]).flatten(1))
