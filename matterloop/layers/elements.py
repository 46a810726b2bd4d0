"""Elements as linear maps of what is known of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..represent.element_bins import element_bins
from .parts import linear


class ElementLinear(nn.Module):
    """Atomic numbers (atoms,) to (atoms, width): one linear map of the 92 fixed numbers of `represent/element_bins.py`, which are saved with the weights."""

    def __init__(self, rng: torch.Generator, width: int, bias: bool = True):
        super().__init__()
        vectors = torch.tensor(element_bins())
        self.register_buffer("vectors", vectors)
        self.map = linear(rng, vectors.shape[1], width, bias)

    def forward(self, species: Tensor) -> Tensor:
        return self.map(self.vectors.index_select(0, species))
