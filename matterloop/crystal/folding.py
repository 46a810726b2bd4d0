"""Graphs folded by symmetry: of atoms that see the same, one is kept, and of its equally far neighbours of one kind, one with their number.

A network whose messages depend on species and distances alone cannot tell such atoms apart, so their features are equal and need computing once. Which
atoms see the same is found by colour refinement (B. Weisfeiler, A. Leman, Nauchno-Technicheskaya Informatsia 2 (9), 12 (1968)): colours are species
first, then hashes of the own colour and of the colours and distances of all neighbours, until their number grows no more.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..base.errors import BadInput
from .graph import Graph
from .segments import segment_min, segment_sum
from .state import Crystals

SLACK = 1e-4  # Å between neighbouring distances of a crystal that count as one
_ODD = (0x1E3779B97F4A7C15, 0x3F58476D1CE4E5B9, 0x14D049BB133111EB)


def _mixed(x: Tensor) -> Tensor:
    """A permutation of 64-bit integers whose outputs look random (S. Vigna's splitmix64; products wrap)."""
    x = (x ^ (x >> 30)) * _ODD[1]
    x = (x ^ (x >> 27)) * _ODD[2]
    return x ^ (x >> 31)


def _kinds(length: Tensor, owner: Tensor) -> Tensor:
    """(edges,) number of the group of equal distances, different for every crystal."""
    order = torch.argsort(length, stable=True)
    order = order[torch.argsort(owner[order], stable=True)]
    new = (length[order].diff() > SLACK) | (owner[order].diff() != 0)
    kind = torch.empty_like(owner)
    kind[order] = torch.cat([new.new_zeros(min(len(new) + 1, len(owner), 1)), new]).cumsum(0)
    return kind


def alike(crystals: Crystals, graph: Graph, kind: Tensor) -> Tensor:
    """(atoms,) first atom of the crystal that sees the same as each; `kind` (edges,) numbers of distances."""
    colour, found = _mixed(crystals.species), 0
    while True:
        sides, group = torch.unique(torch.stack([crystals.owner, colour], 1), dim=0, return_inverse=True)
        if len(sides) == found:
            return segment_min(torch.arange(crystals.atoms, device=kind.device), group, found, crystals.atoms)[group]
        found = len(sides)
        seen = _mixed(_mixed(colour)[graph.senders] + kind * _ODD[0])
        colour = _mixed(_mixed(colour) + segment_sum(seen, graph.receivers, crystals.atoms))


@torch.no_grad()
def folded(crystals: Crystals, graph: Graph) -> Graph:
    """The graph with edges between representatives only, carrying `length` (edges,) in Å and `count` (edges,): how many edges each stands for.

    Every atom has one more edge of count 0, whose sender is its representative: `unfolded` reads them. Shifts are 0 and say nothing.
    """
    n = crystals.atoms
    length = graph.vectors(crystals).norm(dim=-1)
    kind = _kinds(length, crystals.owner[graph.receivers])
    first = alike(crystals, graph, kind)
    own = torch.arange(n, device=first.device)
    kept = (first == own)[graph.receivers]
    key = (graph.receivers[kept] * n + first[graph.senders[kept]]) * (int(kind.max()) + 1 if len(kind) else 1) + kind[kept]
    key, group, count = torch.unique(key, return_inverse=True, return_counts=True)
    mean = segment_sum(length[kept], group, len(key)) / count
    pair = key // (int(kind.max()) + 1 if len(kind) else 1)
    receivers, order = torch.sort(torch.cat([own, pair // max(n, 1)]), stable=True)
    senders = torch.cat([first, pair % max(n, 1)])[order]
    edge = {"length": torch.cat([mean.new_zeros(n), mean])[order], "count": torch.cat([count.new_zeros(n), count])[order].to(torch.int32)}
    return Graph(senders, receivers, graph.shift.new_zeros(len(order), 3), edge)


def unfolded(crystals: Crystals, graph: Graph) -> tuple[Graph, Tensor, Tensor]:
    """Of a folded graph: its edges between representatives numbered from 0, (representatives,) their atoms, (atoms,) number of each atom's representative.

    BadInput where gradients by coordinates or cells are wanted: a folded graph has none.
    """
    if crystals.frac.requires_grad or crystals.cell.requires_grad:
        raise BadInput("a graph folded by symmetry has no gradients by coordinates or cells; build the encoder with fold=False", "folding")
    mark = graph.edge["count"] == 0
    first = graph.senders[mark]
    atoms, number = torch.unique(first, return_inverse=True)
    edges = graph.pick(~mark)
    return Graph(number[edges.senders], number[edges.receivers], edges.shift, edges.edge), atoms, number
