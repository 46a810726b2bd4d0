"""What bonds add to a network's answer: by how much it changes when all edges of one pair of elements and about one length are taken away.

Occlusion (M. D. Zeiler, R. Fergus, ECCV 2014, arXiv:1311.2901) of edges: f(all) - f(without the shell), for any encoder whose graph may lose edges.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..base.elements import MAX_Z, symbol
from ..base.errors import BadInput
from ..crystal.alike import nodes_of
from ..crystal.graph import Graph
from ..crystal.segments import offsets_of, runs, segment_count, segment_mean, segment_sum
from ..crystal.state import Crystals
from .attribution import parts_of
from .data import Samples
from .explanation import Reading

GAP = 0.05  # Å between lengths of two shells


@dataclass(frozen=True)
class Shell:
    """Edges between two elements of about one length, and what the answer would lose without them.

    pair    symbols; length mean in Å; bonds pairs of atoms in the cell
    value   in the unit of the reading
    """

    crystal: int
    pair: tuple[str, str]
    length: float
    bonds: float
    value: float


@torch.no_grad()
def bonds(reading: Reading, crystals: Crystals, most: int = 12) -> list[Shell]:
    """The nearest `most` shells of each crystal, by crystal and length; all edges of a shell go at once, so that symmetry and supercells are respected.

    BadInput for encoders without edges between atoms.
    """
    graph = reading.graph(crystals)
    length = graph.edge["length"] if "length" in graph.edge else graph.vectors(crystals).norm(dim=-1)
    ends = torch.stack([crystals.species[graph.senders], crystals.species[graph.receivers]])
    kind = graph.owner(crystals) * (MAX_Z + 1) ** 2 + ends.amin(0) * (MAX_Z + 1) + ends.amax(0)
    near = length > 1e-6
    if "infinite" in graph.edge:  # edges that stand for all images of an atom have no length of their own
        near &= ~graph.edge["infinite"]
    seen = near.nonzero()[:, 0]
    if not len(seen):
        raise BadInput("this encoder has no edges between atoms", "bonds")
    order = seen[torch.argsort(length[seen], stable=True)]
    order = order[torch.argsort(kind[order], stable=True)]
    new = torch.ones(len(order), dtype=torch.long)
    new[1:] = ((length[order].diff() > GAP) | (kind[order].diff() != 0)).long()
    shell = torch.full((len(graph),), -1).index_copy(0, order, new.cumsum(0) - 1)
    size, of = int(new.sum()), shell[seen]
    mean = segment_mean(length[seen], of, size)
    owner = torch.zeros(size, dtype=torch.long).index_copy(0, of, graph.owner(crystals)[seen])
    rank = torch.argsort(mean, stable=True)
    rank = rank[torch.argsort(owner[rank], stable=True)]
    place = torch.arange(size) - offsets_of(segment_count(owner, len(crystals)))[:-1][owner[rank]]
    rank = rank[place < most]
    copies = graph.edge.get("count", torch.ones(len(graph), dtype=torch.long)).to(torch.float64)
    if graph.alike is not None:
        nodes = nodes_of(graph, crystals.atoms)
        copies = copies * nodes.copies[nodes.of_atom[graph.receivers]]
    many = segment_sum(copies[seen], of, size)
    full = reading(crystals, graph)
    without = torch.cat([part for part in _without(reading, crystals, graph, shell, owner[rank], rank)])
    value = full[owner[rank]] - without
    z = torch.zeros(size, 2, dtype=torch.long).index_copy(0, of, torch.stack([ends.amin(0), ends.amax(0)], -1)[seen])
    return [Shell(int(owner[s]), (symbol(int(z[s, 0])), symbol(int(z[s, 1]))), float(mean[s]), float(many[s]) / 2, float(v)) for s, v in zip(rank.tolist(), value, strict=True)]


def _without(reading: Reading, crystals: Crystals, graph: Graph, shell: Tensor, rows: Tensor, missing: Tensor) -> Iterator[Tensor]:
    samples = Samples(crystals, graph)
    for begin, end in parts_of(crystals.counts[rows]):
        some = rows[begin:end]
        batch, many = samples.batch(some), samples.edges.diff()[some]
        edge = runs(samples.edges[:-1][some], many)
        kept = shell[edge] != missing[begin:end].repeat_interleave(many)
        yield reading(batch.crystals, batch.graph.pick(kept))
