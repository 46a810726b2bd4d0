"""Elements as linear maps of what is known of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..base.elements import MAX_Z
from ..base.errors import BadInput
from ..represent.element_bins import element_bins
from .parts import linear


class ElementLinear(nn.Module):
    """Atomic numbers (atoms,) to (atoms, width): one linear map of the 92 fixed numbers of `represent/element_bins.py`, which are saved with the weights.

    numbers  > 0: so many learnt numbers of each element in their place
    """

    def __init__(self, rng: torch.Generator, width: int, bias: bool = True, numbers: int = 0):
        super().__init__()
        if numbers:
            self.vectors = nn.Parameter(torch.randn(MAX_Z + 1, numbers, generator=rng))
        else:
            self.register_buffer("vectors", torch.tensor(element_bins()))
        self.map = linear(rng, self.vectors.shape[1], width, bias)

    def forward(self, species: Tensor) -> Tensor:
        return self.map(self.vectors.index_select(0, species))

    def set_element_embeddings(self, table: Tensor, frozen: bool = True) -> None:
        """Begin with the rows of `table` (119, numbers), and keep them as they are if `frozen`; BadInput for another width."""
        if not isinstance(self.vectors, nn.Parameter) or table.shape != self.vectors.shape:
            raise BadInput(f"the table is {tuple(table.shape)}; build the model with elements={table.shape[-1]}", "elements")
        with torch.no_grad():
            self.vectors.copy_(table)
        self.vectors.requires_grad_(not frozen)
