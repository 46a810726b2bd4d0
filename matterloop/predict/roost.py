"""Roost: messages between the elements of a composition, weighted by how much of each there is.

R. E. A. Goodall, A. A. Lee, "Predicting materials properties without crystal structure: deep representation learning from stoichiometry", Nature
Communications 11, 6280 (2020), doi:10.1038/s41467-020-19964-7.

    x_i = L e(z_i) next to w_i                                   what is known of the element, and its share of the atoms
    x_i <- x_i + mean over heads of sum_j a_ij m(x_i, x_j)       three times, a_ij by attention that counts w_j, eqs. 2 to 4
    c = mean over heads of sum_i a_i m(x_i)                      the composition
    y = residual network of c                                    widths 1024, 512, 256, 128, 64
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..base.registry import Card
from ..base.seeds import torch_stream
from ..crystal.compositions import Compositions, Elements
from ..crystal.graph import Graph
from ..crystal.state import Crystals
from ..layers.weighted_sets import ElementInput, ResidualPerceptron, SetNetwork
from ..learn.targets import Features

CARD = Card(
    name="roost",
    build="Roost",
    role="encoder",
    paper="10.1038/s41467-020-19964-7",
    year=2020,
    summary="messages between the elements of a composition, weighted by their amounts",
    capabilities=("seed", "whole", "composition"),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    waives={"far_atoms": "two compositions put together are a third one: the answer is not the sum of theirs"},
    reference=-6.46746345123317,
    small={"width": 16, "hidden": 24, "layers": 2, "out": (32, 24, 16)},
    differs=(
        "elements enter by tabulated properties and a learnt vector of each; the paper takes 200 numbers learnt from abstracts (matscholar), which are data of others",
        "the score's last bias is left out: a softmax does not feel it; the last maps of messages of all heads are one map, which is the same function",
        "weights begin by Glorot's rule",
    ),
)


class Roost(nn.Module):
    """Encoder of compositions, or of crystals by theirs: (crystals, width).

    width   features of an element; `hidden` of its scores and messages, `heads` side by side
    layers  of messages
    out     widths of the residual network that every target has of its own
    seed    of the first weights
    """

    def __init__(self, width: int = 64, layers: int = 3, heads: int = 3, hidden: int = 256, out: tuple[int, ...] = (1024, 512, 256, 128, 64), seed: int = 0):
        super().__init__()
        rng = torch_stream(seed, "roost")
        self.width, self.out, self.graph = width, tuple(out), Elements()
        self.elements = ElementInput(rng, width - 1)
        self.network = SetNetwork(rng, width, layers, heads, hidden)

    def head(self, rng: torch.Generator, outputs: int) -> nn.Module:
        """The output network of a target."""
        return ResidualPerceptron(rng, (self.width, *self.out), outputs)

    def forward(self, state: Crystals | Compositions, graph: Graph) -> Features:
        """Features of compositions alone."""
        dtype = self.elements.read.weight.dtype
        share, owner = graph.edge["share"].to(dtype), graph.owner(state)
        x: Tensor = torch.cat([self.elements(state.species[graph.receivers]), share[:, None]], -1)
        return Features(None, whole=self.network(x, share, owner, len(state)))
