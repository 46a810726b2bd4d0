"""Crystals that are swollen or shrunk a little in every step of training, with a second head that says by how much.

A network that is to tell a strained crystal from one at rest learns what bonds like to be, which small data alone do not teach; and it cannot learn lengths by heart.
The idea is that of noisy nodes (J. Godwin et al., ICLR 2022, arXiv:2106.07971) and of pre-training by denoising (S. Zaidi et al., ICLR 2023, arXiv:2206.00133),
here with a noise that keeps every symmetry of the crystal, so that equal atoms are still computed once.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from ..base.errors import BadInput
from ..base.seeds import torch_stream
from ..crystal.graph import Graph
from ..crystal.state import Crystals
from .data import Batch
from .targets import Predictor

LENGTHS = ("length", "vectors")  # data of edges that grow with the crystal
SCALE_FREE = ("share", "place", "summed", "seen", "unit", "turn", "turns", "squares")  # data of edges that are no whole numbers and stay as they are when a crystal is scaled


class Strained(nn.Module):
    """A predictor that learns its labels from crystals scaled at random, and how much they were.

    spread  standard deviation of the factor on all lengths about 1
    share   weight of the mean absolute error of the second head, which gives (factor - 1) / spread, beside the loss of the labels
    """

    def __init__(self, predictor: Predictor, spread: float, share: float = 0.1, seed: int = 0):
        super().__init__()
        if not 0 < spread <= 0.2 or not share >= 0:
            raise BadInput(f"the spread of the strain is {spread}, allowed are numbers from 0 to 0.2; its share {share}, allowed are numbers from 0", "Strained")
        self.predictor, self.spread, self.share = predictor, spread, share
        self.second = predictor.number_head(torch_stream(seed, "strained"), 1)

    def loss(self, batch: Batch, rng: torch.Generator | None = None, error: str = "l1") -> tuple[Tensor, dict[str, Tensor]]:
        """The predictor's loss on strained crystals plus `share` times the error of the strain, and the parts; `rng` draws the strains."""
        size = torch.randn(len(batch), generator=rng, dtype=torch.float64).to(batch.crystals.cell.device)
        graph = self.predictor.encoder.graph(batch.crystals) if batch.graph is None else batch.graph
        crystals, graph = scaled(batch.crystals, graph, 1 + self.spread * size)
        found = self.predictor.encoder(crystals, graph)
        own, parts = self.predictor.loss(replace(batch, crystals=crystals, graph=graph), rng, error, found)
        told = self.second(found.of_crystals(crystals))[:, 0]
        strain = (told - size.to(told)).abs().mean()
        return own + self.share * strain, {**parts, "strain": strain}


def scaled(crystals: Crystals, graph: Graph, factor: Tensor) -> tuple[Crystals, Graph]:
    """Crystals and their graph with all lengths times `factor` (crystals,); labels stay. BadInput where there are no lengths, or a graph keeps what it cannot follow."""
    if not isinstance(crystals, Crystals):
        raise BadInput("looks at structures, and only compositions are given", "strain")
    edge = dict(graph.edge)
    for name, values in edge.items():
        if name in LENGTHS:
            edge[name] = values * factor[graph.owner(crystals)].to(values).view(-1, *[1] * (values.dim() - 1))
        elif values.is_floating_point() and name not in SCALE_FREE:
            raise BadInput(f"its graph keeps {name!r}, which changes with lengths in a way of its own; train it without", "strain")
    return crystals.put(cell=crystals.cell * factor.to(crystals.cell)[:, None, None]), replace(graph, edge=edge)
