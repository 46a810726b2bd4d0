"""Samples with their graphs, searched once, and the batches that are cut from them in every epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..base.errors import BadInput
from ..base.seeds import torch_stream
from ..crystal.graph import Graph
from ..crystal.segments import offsets_of, runs
from ..crystal.state import Crystals

SEARCHED_TOGETHER = 20_000  # atoms of one neighbour search


@dataclass(frozen=True)
class Batch:
    """What a model is trained on at once.

    crystals  with the labels as fields
    graph     of the encoder for these crystals, None: the model makes its own
    rows      (crystals,) their places in the samples
    """

    crystals: Crystals
    graph: Graph | None = None
    rows: Tensor | None = None

    def __len__(self) -> int:
        return len(self.crystals)


class Samples:
    """Crystals (or another batched state with `counts`, `offsets` and indexing) and the graph of all of them, held in memory.

    Cutting a batch copies what it needs and searches nothing. `edges` (crystals + 1,) are the places where each crystal's edges begin.
    """

    def __init__(self, crystals: Crystals, graph: Graph | None = None):
        self.crystals, self.graph = crystals, graph
        if graph is not None:
            owner = crystals.owner[graph.receivers]
            if len(owner) and bool((owner.diff() < 0).any()):
                raise BadInput("edges are not sorted by the crystal of their receiver", "Samples")
            self.edges = offsets_of(torch.bincount(owner, minlength=len(crystals)))

    @classmethod
    def of(cls, crystals: Crystals, builder: Callable[[Crystals], Graph], on_progress: Callable[[int, int], None] | None = None) -> Samples:
        """Samples with the graph that `builder` gives, searched in parts; errors of the builder name the crystal's place in the whole.

        on_progress  called with the crystals done and their number
        """
        parts, done = [], 0
        for piece in crystals.split(SEARCHED_TOGETHER):
            try:
                graph = builder(piece)
            except BadInput as error:
                raise error.renumbered(lambda i: i + done) from None
            first = int(crystals.offsets[done])
            parts.append(_moved(graph, first, None if graph.alike is None else graph.alike + first))
            done += len(piece)
            if on_progress:
                on_progress(done, len(crystals))
        return cls(crystals, joined(parts))

    def __len__(self) -> int:
        return len(self.crystals)

    def batch(self, rows: Tensor | Sequence[int]) -> Batch:
        """The crystals at `rows`, in that order, with their edges."""
        rows = torch.as_tensor(rows, dtype=torch.long).reshape(-1)
        part = self.crystals[rows]
        if self.graph is None:
            return Batch(part, None, rows)
        many = self.edges.diff()[rows]
        edges = self.graph.pick(runs(self.edges[:-1][rows], many))
        shift, alike = part.offsets[:-1] - self.crystals.offsets[:-1][rows], self.graph.alike
        if alike is not None:
            alike = alike[runs(self.crystals.offsets[:-1][rows], part.counts)] + shift.repeat_interleave(part.counts)
        return Batch(part, _moved(edges, shift.repeat_interleave(many), alike), rows)


def _moved(graph: Graph, by: int | Tensor, alike: Tensor | None) -> Graph:
    """The same edges between atoms whose numbers are larger `by` that much."""
    return Graph(graph.senders + by, graph.receivers + by, graph.shift, graph.edge, alike)


def joined(graphs: Sequence[Graph]) -> Graph:
    """One graph of graphs whose atoms are numbered already; they must carry the same edge data, and all of them `alike` or none."""
    if len(graphs) == 1:
        return graphs[0]
    if any(g.edge.keys() != graphs[0].edge.keys() or (g.alike is None) != (graphs[0].alike is None) for g in graphs):
        raise BadInput("graphs carry different edge data", "joined")
    edge = {name: torch.cat([g.edge[name] for g in graphs]) for name in graphs[0].edge}
    alike = None if graphs[0].alike is None else torch.cat([g.alike for g in graphs])
    return Graph(*(torch.cat([getattr(g, name) for g in graphs]) for name in ("senders", "receivers", "shift")), edge, alike)


@dataclass(frozen=True)
class Batches:
    """Batches of `size` crystals cut from `rows` of the samples, in an order of its own in every epoch.

    seed      of the order; None keeps the order of `rows`
    drop_last leave out a last batch smaller than the others
    """

    samples: Samples
    rows: Tensor
    size: int = 64
    seed: int | None = 0
    drop_last: bool = False

    def __post_init__(self):
        if self.size < 1 or not len(self.rows):
            raise BadInput(f"{len(self.rows)} rows in batches of {self.size}; both must be at least 1", "Batches")

    def __len__(self) -> int:
        return max(len(self.rows) // self.size, 1) if self.drop_last else -(-len(self.rows) // self.size)

    def epoch(self, number: int, first: int = 0) -> Iterator[Batch]:
        """The batches of epoch `number` from the batch `first` on; the same number gives the same order."""
        rows = self.rows
        if self.seed is not None:
            rows = rows[torch.randperm(len(rows), generator=torch_stream(self.seed, "order", str(number)))]
        for i in range(first, len(self)):
            yield self.samples.batch(rows[i * self.size : (i + 1) * self.size])
