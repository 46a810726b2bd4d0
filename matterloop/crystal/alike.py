"""Atoms that no network of distances can tell apart, computed once: crystals are symmetric, and equal surroundings give equal features.

Colours of atoms begin as elements and are refined by the multisets of (distance, colour) of their neighbours until nothing splits (B. Weisfeiler, A. Leman,
Nauchno-Technicheskaya Informatsia 2 (9), 12 (1968)). The partition is equitable, so message passing over distances of any depth gives all atoms of a
colour the same features; one atom stands for them, one edge for all edges to the same colour at the same distance. On MP-20 a graph of 12 neighbours keeps
half of the atoms and a quarter of the edges.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .graph import Graph
from .segments import segment_mean, segment_min
from .state import Crystals


@dataclass(frozen=True)
class Alike:
    """The graph of `builder` with one atom for all alike and one edge for all alike.

    slack  Å; sorted distances of a crystal with gaps below it count as equal; of edges that one stands for it has the mean length: an error of second order

    The graph holds edge data `length` (edges,) float64 in Å and `count` (edges,) int64 for how many edges of the atom each stands, and `alike`. Only for networks
    that see elements, lengths and who is connected, nothing else. Where positions or cell require gradients the edges and atoms are left as they are,
    with their lengths and counts of 1: equal lengths change differently.
    """

    builder: Callable[[Crystals], Graph]
    slack: float = 1e-5

    def __call__(self, crystals: Crystals) -> Graph:
        """Errors as `builder`."""
        return folded(crystals, self.builder(crystals), slack=self.slack)


def folded(crystals: Crystals, graph: Graph, mark: Tensor | None = None, length: Tensor | None = None, also: Tensor | None = None, slack: float = 1e-5) -> Graph:
    """`graph` as `Alike` gives it, for networks that may know more of an edge than its length; data of edges are those of the first of all alike.

    mark    (edges,) whole numbers, not negative: edges of a crystal with different ones are never alike. What they tell must not depend on how the crystal lies
    length  (edges,) in Å if it is not that of the edges' vectors
    also    (edges,) bool: edges of atoms that stand for others which the graph keeps in any case, with a count of 0 where another stands for them
    """
    if length is None:
        length = graph.vectors(crystals.bare().to(torch.float64)).norm(dim=-1)
    data = {**graph.edge, "length": length, "count": torch.ones_like(graph.senders)}
    if length.requires_grad or crystals.frac.requires_grad or crystals.cell.requires_grad:
        return Graph(graph.senders, graph.receivers, graph.shift, data)
    colour = _compact(_pair(crystals.owner, crystals.species))
    if not len(graph):
        return Graph(graph.senders, graph.receivers, graph.shift, data, _first(colour))
    step = _steps(length, graph.owner(crystals), slack)
    if mark is not None:
        step = _compact(_pair(step, _compact(mark)))
    colour = _refined(graph, colour, step)
    alike = _first(colour)
    own = (alike[graph.receivers] == graph.receivers).nonzero()[:, 0]
    which = _compact(_pair(graph.receivers[own], _compact(_pair(colour[graph.senders[own]], step[own]))))
    _, place, many = _leaders(which)
    kept = own[place]
    data["length"], data["count"] = length.index_copy(0, kept, segment_mean(length[own], which, len(many))), torch.zeros_like(graph.senders).index_copy(0, kept, many)
    if also is not None:
        own = own[also[own] | (data["count"][own] > 0)]
    return Graph(graph.senders, graph.receivers, graph.shift, data, alike).pick(kept if also is None else own)


def multisets(which: Tensor, token: Tensor, size: int) -> Tensor:
    """(size,) whole numbers that are equal where the multisets of tokens (rows,) of their rows `which` (rows,) are; not negative."""
    return torch.zeros(size, dtype=torch.long, device=which.device).index_add(0, which, _mixed(token)) & 0x7FFFFFFFFFFFFFFF


def _steps(length: Tensor, owner: Tensor, slack: float) -> Tensor:
    """(edges,) number of the group of equal lengths of its crystal that each edge belongs to."""
    order = torch.argsort(length)
    order = order[torch.argsort(owner[order], stable=True)]
    ranked, whose = length[order], owner[order]
    new = torch.ones_like(whose)
    new[1:] = (ranked.diff() > slack) | (whose.diff() != 0)
    return torch.empty_like(order).index_copy(0, order, new.cumsum(0) - 1)


@dataclass(frozen=True)
class Nodes:
    """What a network works on: the atoms that stand for others, numbered one after the other.

    first     (nodes,) the atom that each node is
    of_atom   (atoms,) node of each atom: features (nodes, width)[of_atom] are those of atoms
    copies    (nodes,) atoms that each node stands for
    senders, receivers (edges,) nodes; receivers ascending
    """

    first: Tensor
    of_atom: Tensor
    copies: Tensor
    senders: Tensor
    receivers: Tensor

    def __len__(self) -> int:
        return len(self.first)


def nodes_of(graph: Graph, atoms: int) -> Nodes:
    """The nodes of a graph over `atoms` atoms; where it has no `alike`, the atoms themselves."""
    if graph.alike is None:
        every = torch.arange(atoms, device=graph.senders.device)
        return Nodes(every, every, torch.ones_like(every), graph.senders, graph.receivers)
    first = (graph.alike == torch.arange(atoms, device=graph.alike.device)).nonzero()[:, 0]
    number = torch.empty_like(graph.alike).index_copy(0, first, torch.arange(len(first), device=first.device))
    of_atom = number[graph.alike]
    return Nodes(first, of_atom, torch.bincount(of_atom, minlength=len(first)), of_atom[graph.senders], of_atom[graph.receivers])


def lengths_of(graph: Graph, crystals: Crystals) -> tuple[Tensor, Tensor]:
    """(edges,) length of every edge in Å, and for how many edges of its atom it stands; of any graph."""
    if "length" in graph.edge:
        return graph.edge["length"], graph.edge["count"]
    return graph.vectors(crystals).norm(dim=-1), torch.ones_like(graph.senders)


def _refined(graph: Graph, colour: Tensor, step: Tensor) -> Tensor:
    """The coarsest equitable colouring finer than `colour` (atoms,); sums of 64-bit mixes stand for multisets."""
    count, distance = int(colour.max()) + 1, _mixed(step)
    while True:
        seen = torch.zeros_like(colour).index_add(0, graph.receivers, _mixed(_mixed(colour)[graph.senders] ^ distance))
        colour = _compact(_mixed(seen) ^ _mixed(~colour))
        if int(colour.max()) + 1 == count:
            return colour
        count = int(colour.max()) + 1


def _mixed(x: Tensor) -> Tensor:
    """A one-to-one scrambling of 64-bit integers (the finaliser of splitmix64, G. L. Steele, D. Lea, C. H. Flood, OOPSLA 2014)."""
    x = x + -7046029254386353131
    x = (x ^ ((x >> 30) & 0x3FFFFFFFF)) * -4658895280553007687
    x = (x ^ ((x >> 27) & 0x1FFFFFFFFF)) * -7723592293110705685
    return x ^ ((x >> 31) & 0x1FFFFFFFF)


def _pair(a: Tensor, b: Tensor) -> Tensor:
    """One number for two, neither negative."""
    return a * (int(b.max()) + 1 if len(b) else 1) + b


def _compact(x: Tensor) -> Tensor:
    """Values by their rank among the different ones."""
    return torch.unique(x, return_inverse=True)[1]


def _leaders(which: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of compact numbers `which` (rows,): themselves, the first row of each, and how many rows each has."""
    size = int(which.max()) + 1 if len(which) else 0
    return which, segment_min(torch.arange(len(which), device=which.device).to(torch.float64), which, size).long(), torch.bincount(which, minlength=size)


def _first(colour: Tensor) -> Tensor:
    """(atoms,) the first atom of each atom's colour."""
    which, place, _ = _leaders(colour)
    return place[which]
