"""Edges that point the other way."""

from __future__ import annotations

import torch
from torch import Tensor

from ..base.errors import BadInput
from .graph import Graph


def _keys(graph: Graph, turned: bool) -> Tensor:
    """(edges,) whole numbers that order edges by receiver, sender, shift; of the reversed edges if `turned`."""
    if not len(graph):
        return graph.receivers
    one, two, shift = (graph.senders, graph.receivers, -graph.shift) if turned else (graph.receivers, graph.senders, graph.shift)
    reach, atoms = int(shift.abs().max()), int(torch.maximum(one.max(), two.max())) + 1
    key = one * atoms + two
    for axis in range(3):
        key = key * (2 * reach + 1) + shift[:, axis] + reach
    return key


def reverse_of(graph: Graph) -> Tensor:
    """(edges,) the edge between the same two images in the other direction; BadInput where one is missing."""
    here, there = torch.sort(_keys(graph, False)), torch.sort(_keys(graph, True))
    if not torch.equal(here.values, there.values):
        raise BadInput("some edge has no edge in the other direction", "graph")
    return torch.empty_like(here.indices).index_copy_(0, there.indices, here.indices)


def undirected(graph: Graph) -> Graph:
    """Every edge in both directions, once each, by receiver; edge data are dropped."""
    both = Graph(
        torch.cat([graph.senders, graph.receivers]), torch.cat([graph.receivers, graph.senders]), torch.cat([graph.shift, -graph.shift]))
    key, order = torch.sort(_keys(both, False), stable=True)
    fresh = torch.ones_like(key, dtype=torch.bool)
    fresh[1:] = key[1:] != key[:-1]
    return both.pick(order[fresh])
