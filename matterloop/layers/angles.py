"""Pairs of edges that follow each other, and the edges that point the other way: what angles are made of."""

from __future__ import annotations

import torch
from torch import Tensor

from ..base.errors import BadInput
from ..crystal.graph import Graph, line_graph
from ..crystal.segments import offsets_of, runs


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


def following(graph: Graph, reverse: Tensor, back: bool = True) -> tuple[Tensor, Tensor]:
    """Edges (first, second) with first k -> j and second j -> i, one pair per angle k, j, i at j; with `back` also those that return to where they came from.

    Edges point from sender to receiver here, as messages do. `reverse` is `reverse_of(graph)`. Sorted by the second edge.
    """
    first, other = line_graph(graph)  # both end at j, so the reverse of the second begins there
    if back:
        own = torch.arange(len(graph), device=first.device)
        first, other = torch.cat([first, own]), torch.cat([other, own])
    second, order = torch.sort(reverse[other], stable=True)
    return first[order], second


def cosines(step: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """(angles,) cosine of the angle at j between the edges of `following`; `step` (edges, 3) from receiver to sender."""
    unit = step / step.norm(dim=-1, keepdim=True)
    return -(unit.index_select(0, first) * unit.index_select(0, second)).sum(-1)


def beside(graph: Graph, near: Tensor) -> tuple[Tensor, Tensor]:
    """Edges (one, other) with the same centre, the other one of `near` (indices of edges, ascending): one pair per angle, no edge with itself."""
    count = torch.bincount(graph.receivers[near], minlength=int(graph.receivers[-1]) + 1 if len(graph) else 0)
    each = count[graph.receivers]
    one = torch.arange(len(graph), device=near.device).repeat_interleave(each)
    other = near[runs(offsets_of(count)[:-1][graph.receivers], each)]
    keep = one != other
    return one[keep], other[keep]
