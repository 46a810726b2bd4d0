"""Edges that no network of lengths and angles can tell apart, computed once: what crystal/alike.py is for atoms, for networks whose messages see messages.

Colours of directed edges begin as those of their ends and their length, and are refined by the multiset of (angle, colour) of the edges that meet them, by the
colour of the edge in the other direction and by all edges at both ends, until nothing splits (B. Weisfeiler, A. Leman, Nauchno-Technicheskaya Informatsia
2 (9), 12 (1968), on the line graph). Edges that an operation of the space group maps on each other have one colour; where torsions are seen, that is so for
proper operations, and for improper ones where the surroundings are their own mirror images. On MP-20 a fifth of the edges is kept, and a sixth of the angles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .alike import Nodes, nodes_of
from .alike import _compact as compact
from .alike import _first as first_of
from .alike import _mixed as mixed
from .alike import _pair as pair
from .alike import _refined as refined
from .graph import Graph, line_graph
from .reverse import reverse_of
from .segments import offsets_of, runs, segment_mean, segment_sum
from .state import Crystals

TOGETHER = 2_000_000  # angles looked at together
APART = 1024.0  # between groups of numbers; above any length, cosine and torsion


@dataclass(frozen=True)
class AlikeEdges:
    """The graph of `builder`, which holds every edge in both directions, with the edges of one atom for all alike.

    slack    Å; sorted lengths of a crystal with gaps below it count as equal, and so do cosines and torsions of edges that are else equal. On MP-20, whose
             positions are symmetric to about this, features of networks differ from those of all edges by 2e-6 at most, three times the rounding of float32
    torsion  (graph, unit (edges, 3), left, right) -> (angles,) what a network sees of two edges at an atom beside their angle; None: nothing

    The graph holds edge data `kind` (edges,) int64, which edges are equal, numbered within each crystal, and `back` (edges,) the kind of the edge in the other
    direction, and `alike`; `kinds_of` reads them. Where positions or cell require gradients edges and atoms are left as they are.
    """

    builder: Callable[[Crystals], Graph]
    slack: float = 1e-4
    torsion: Callable[[Graph, Tensor, Tensor, Tensor], Tensor] | None = None

    def __call__(self, crystals: Crystals) -> Graph:
        """Errors as `builder`; BadInput where an edge has none in the other direction."""
        graph = self.builder(crystals)
        if crystals.frac.requires_grad or crystals.cell.requires_grad:
            return Graph(graph.senders, graph.receivers, graph.shift)
        with torch.no_grad():
            parts = [self._folded(some, edges, first) for some, edges, first in _pieces(crystals.bare().to(torch.float64), graph)]
        data = {name: torch.cat([p.edge[name] for p in parts]) for name in ("kind", "back")}
        return Graph(*(torch.cat([getattr(p, name) for p in parts]) for name in ("senders", "receivers", "shift")), data, torch.cat([p.alike for p in parts]))

    def _folded(self, crystals: Crystals, graph: Graph, first: int) -> Graph:
        """Of a piece; its atoms count from `first` on in the answer."""
        elements = compact(pair(crystals.owner, crystals.species))
        if not len(graph):
            return Graph(graph.senders, graph.receivers, graph.shift, {"kind": graph.senders, "back": graph.senders}, first_of(elements) + first)
        back, step = reverse_of(graph), graph.vectors(crystals)
        length, owner = step.norm(dim=-1), graph.owner(crystals)
        same = levels(length, owner, self.slack)
        atom = refined(graph, elements, same)
        edge = compact(pair(pair(atom[graph.receivers], atom[graph.senders]), same))
        left, right = line_graph(graph)
        unit = step / length[:, None]
        seen = levels((unit.index_select(0, left) * unit.index_select(0, right)).sum(-1), compact(pair(edge[left], edge[right])), self.slack)
        if self.torsion is not None:
            seen = levels(self.torsion(graph, unit, left, right), seen, self.slack)
        edge, met = _refined_edges(graph, back, edge, torch.zeros_like(elements), left, right, mixed(seen))
        alike = first_of(compact(pair(elements, met)))
        kept, count = (alike[graph.receivers] == graph.receivers).nonzero()[:, 0], int(edge.max()) + 1
        order = torch.arange(len(kept), device=edge.device)
        start = torch.full((count,), len(kept), device=edge.device).scatter_reduce(0, edge[kept], order, "amin")
        number = torch.empty_like(start).index_copy_(0, torch.argsort(start), torch.arange(count, device=edge.device))  # by their first edge
        base = torch.full((len(crystals),), count, device=edge.device).scatter_reduce(0, owner[kept], number[edge[kept]], "amin")[owner[kept]]
        data = {"kind": number[edge[kept]] - base, "back": number[edge[back[kept]]] - base}
        return Graph(graph.senders[kept] + first, graph.receivers[kept] + first, graph.shift[kept], data, alike + first)


def _refined_edges(graph: Graph, back: Tensor, edge: Tensor, none: Tensor, left: Tensor, right: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """The coarsest equitable colouring of edges finer than `edge`, and of atoms by all edges at each; `none` (atoms,) zeros; left, right, label of pairs at an atom."""
    count = int(edge.max()) + 1
    while True:
        around = torch.zeros_like(edge).index_add_(0, left, mixed(mixed(edge)[right] ^ label))
        met = mixed(none.index_add(0, graph.receivers, mixed(edge)))
        here = mixed(mixed(~edge) + mixed(around))
        edge = compact(mixed(here + mixed(~here[back])) + mixed(met[graph.receivers] + mixed(~met[graph.senders])))
        if int(edge.max()) + 1 == count:
            return edge, compact(met)
        count = int(edge.max()) + 1


def _pieces(crystals: Crystals, graph: Graph) -> Iterator[tuple[Crystals, Graph, int]]:
    """Some crystals, their edges, and their first atom, so that there are about TOGETHER angles at a time."""
    degree = torch.bincount(graph.receivers, minlength=crystals.atoms)
    edges = offsets_of(degree)[crystals.offsets]
    angles = offsets_of(degree.square())[crystals.offsets]
    begin = 0
    while True:
        end = min(max(int(torch.searchsorted(angles, angles[begin] + TOGETHER, right=True)) - 1, begin + 1), len(crystals))
        part, first = graph.pick(torch.arange(int(edges[begin]), int(edges[end]), device=edges.device)), int(crystals.offsets[begin])
        yield crystals[begin:end], Graph(part.senders - first, part.receivers - first, part.shift), first
        if (begin := end) >= len(crystals):
            return


def levels(value: Tensor, group: Tensor, slack: float) -> Tensor:
    """(rows,) number of the run of values of the same `group` (rows,) without gaps above `slack` when sorted; values below 512 in size, in float64."""
    away = value.detach().to(torch.float64) + APART * group
    order = torch.argsort(away)
    new = (away[order].diff() > slack).long().cumsum(0)
    return torch.zeros_like(order).index_copy_(0, order[1:], new)


@dataclass(frozen=True)
class Kinds:
    """What a network works on: kinds of edges, numbered by their receiver.

    nodes   atoms that stand for others; its senders and receivers (kinds,) are those of kinds
    row     (kinds,) the edge of the graph that each kind is, at the atom of its receiver
    of_row  (edges,) kind of each edge
    back    (kinds,) kind of the edges in the other direction; row[back] is, turned round, an edge of the kind that leaves the atom of its sender
    count   (kinds,) edges of the kind that each atom has;  many (kinds,) edges of the batch that it stands for
    folded  whether any may stand for several
    """

    nodes: Nodes
    row: Tensor
    of_row: Tensor
    back: Tensor
    count: Tensor
    folded: bool

    def __len__(self) -> int:
        return len(self.row)

    @property
    def many(self) -> Tensor:
        return self.count * self.nodes.copies[self.nodes.receivers]

    def mean(self, values: Tensor) -> Tensor:
        """(edges, ...) to (kinds, ...)."""
        return segment_mean(values, self.of_row, len(self)) if self.folded else values

    def sum(self, values: Tensor) -> Tensor:
        """(edges, ...) to (kinds, ...): over the edges that each atom has."""
        return segment_sum(values, self.of_row, len(self)) if self.folded else values


def kinds_of(graph: Graph, crystals: Crystals) -> Kinds:
    """The kinds of a graph's edges; where it has none, the edges themselves."""
    if "kind" not in graph.edge:
        every = torch.arange(len(graph), device=graph.senders.device)
        return Kinds(nodes_of(graph, crystals.atoms), every, every, reverse_of(graph), torch.ones_like(every), False)
    size = int(graph.edge["kind"].max()) + 1 if len(graph) else 1
    begin = graph.owner(crystals) * size
    seen, of_row = torch.unique(begin + graph.edge["kind"], return_inverse=True)
    row = torch.full((len(seen),), len(graph), device=seen.device).scatter_reduce(0, of_row, torch.arange(len(graph), device=seen.device), "amin")
    back = torch.searchsorted(seen, (begin + graph.edge["back"])[row])
    return Kinds(nodes_of(graph.pick(row), crystals.atoms), row, of_row, back, torch.bincount(of_row, minlength=len(seen)), True)


def meeting(kinds: Kinds, graph: Graph, unit: Tensor, slack: float = 1e-4, back: bool = True) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What enters each kind of edge j -> i: (first, second, cosine, count), (angles,) each: kinds k -> j and j -> i, the cosine at j, and how many such k there are.

    unit   (edges, 3) directions from the centre;  slack: cosines of the same two kinds with gaps below it are one, of their mean
    back   whether k may be i
    Sorted by the second.
    """
    degree = torch.bincount(graph.receivers, minlength=int(graph.receivers[-1]) + 1 if len(graph) else 0)
    axis = kinds.row[kinds.back]
    at = graph.receivers[axis]
    second = torch.arange(len(kinds), device=at.device).repeat_interleave(degree[at])
    other = runs(offsets_of(degree)[:-1][at], degree[at])
    if not back:
        keep = (other != axis[second]).nonzero()[:, 0]
        second, other = second[keep], other[keep]
    cosine = (unit.index_select(0, axis[second]) * unit.index_select(0, other)).sum(-1)
    first = kinds.of_row[other]
    if not kinds.folded:
        return first, second, cosine, torch.ones_like(first)
    same = levels(cosine, compact(pair(second, first)), slack)
    size = int(same.max()) + 1 if len(same) else 0
    one = torch.empty(size, dtype=torch.long, device=same.device).index_copy_(0, same, torch.arange(len(same), device=same.device))
    return first[one], second[one], segment_mean(cosine, same, size), torch.bincount(same, minlength=size)
