"""From features of atoms back to what they were made from: which atoms are connected how often, read by a bilinear form."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..crystal.graph import Graph
from ..crystal.segments import Bins, offsets_of
from ..crystal.state import Crystals
from .padded import Padded
from .parts import linear


def connections(crystals: Crystals, graph: Graph) -> Tensor:
    """(pairs,) int64 number of edges from each atom to each atom of its crystal: crystal by crystal, centres first, neighbours second."""
    sizes = crystals.counts[crystals.owner]
    starts = offsets_of(sizes)  # of the pairs of each centre
    place = starts[graph.receivers] + graph.senders - crystals.offsets[crystals.owner[graph.senders]]
    return torch.bincount(place, minlength=int(starts[-1]))


class PairClasses(nn.Module):
    """Scores (pairs, classes) of all ordered pairs of atoms of a crystal, x_i W_k x_j for each class k and a linear map of these; pairs in the order of `connections`."""

    def __init__(self, rng: torch.Generator, width: int, classes: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, width, width).uniform_(-(width**-0.5), width**-0.5, generator=rng))
        self.read = linear(rng, classes, classes)

    def forward(self, x: Tensor, crystals: Crystals) -> Tensor:
        """x (atoms, width)."""
        laid = Padded(Bins(crystals.owner, len(crystals))).lay(x)  # (crystals, most, width)
        classes, width = self.weight.shape[:2]
        forms = laid @ self.weight.permute(1, 0, 2).reshape(width, classes * width)
        forms = forms.view(*laid.shape[:2], classes, width).permute(0, 2, 1, 3) @ laid[:, None].transpose(-1, -2)  # (crystals, classes, most, most)
        there = torch.arange(laid.shape[1]) < crystals.counts[:, None]
        return self.read(forms.permute(0, 2, 3, 1)[there[:, :, None] & there[:, None, :]])
