"""Pairs of edges at an atom: what angles are made of."""

from __future__ import annotations

import torch
from torch import Tensor

from ..crystal.graph import Graph
from ..crystal.segments import offsets_of, runs


def beside(graph: Graph, near: Tensor) -> tuple[Tensor, Tensor]:
    """Edges (one, other) with the same centre, the other one of `near` (indices of edges, ascending): one pair per angle, no edge with itself."""
    count = torch.bincount(graph.receivers[near], minlength=int(graph.receivers[-1]) + 1 if len(graph) else 0)
    each = count[graph.receivers]
    one = torch.arange(len(graph), device=near.device).repeat_interleave(each)
    other = near[runs(offsets_of(count)[:-1][graph.receivers], each)]
    keep = one != other
    return one[keep], other[keep]
