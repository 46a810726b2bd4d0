"""Numbers that symmetry makes equal up to rounding, found so that what follows from them is computed once."""

from __future__ import annotations

import torch
from torch import Tensor

from ..crystal.segments import segment_mean

APART = 1024.0  # between crystals; far above any number, and exact in binary


def merged(x: Tensor, owner: Tensor, slack: float = 1e-6) -> tuple[Tensor, Tensor]:
    """Means of numbers x (rows,) of the same crystal `owner` (rows,) without gaps above `slack` when sorted, and (rows,) which of them stands for each.

    Numbers below 512 in size. Where slopes are wanted all stay as they are: equal numbers may change differently.
    """
    if x.requires_grad:
        return x, torch.arange(len(x), device=x.device)
    away = x + APART * owner
    order = torch.argsort(away)
    ranked = away[order]
    new = (ranked.diff(prepend=ranked[:1]) > slack).cumsum(0)
    kind = torch.empty_like(order).index_copy(0, order, new)
    return segment_mean(x, kind, int(new[-1]) + 1 if len(new) else 0), kind
