"""Rows of bins laid side by side, so that products within bins are batched matrix products."""

from __future__ import annotations

import torch
from torch import Tensor

from ..crystal.segments import Bins


class Padded:
    """Where each row of `bins` stands in a table (bins, most rows of a bin)."""

    def __init__(self, bins: Bins):
        degree = bins.offsets.diff()
        self.size, self.most = bins.size, int(degree.max()) if bins.size else 0
        rank = torch.arange(len(bins.order), device=degree.device) - bins.offsets[:-1].repeat_interleave(degree)
        self.place = bins.index * self.most + torch.empty_like(rank).index_copy(0, bins.order, rank)

    def lay(self, rows: Tensor) -> Tensor:
        """(rows, width) to (bins, most, width), 0 where a bin has fewer."""
        return rows.new_zeros(self.size * self.most, rows.shape[1]).index_copy(0, self.place, rows).view(self.size, self.most, rows.shape[1])

    def pick(self, table: Tensor) -> Tensor:
        """(bins, most, width) back to (rows, width)."""
        return table.flatten(0, 1).index_select(0, self.place)
