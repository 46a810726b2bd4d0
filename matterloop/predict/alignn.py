"""ALIGNN: convolution on the graph of bonds and on its line graph in turn, whose nodes are bonds and whose edges are angles.

K. Choudhary, B. DeCost, "Atomistic line graph neural network for improved materials property predictions", npj Computational Materials 7, 185 (2021),
doi:10.1038/s41524-021-00650-1, eq. 1 to 5.

    x, m = EdgeGated(bonds; x, y)                   y_ij of a bond
    y, z = EdgeGated(line graph; m, z)              z_kji of two bonds k -> j -> i that follow each other
four times, then four times EdgeGated on bonds alone; crystals are the mean of their atoms.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..base.errors import BadInput
from ..base.registry import Card
from ..base.seeds import torch_stream
from ..crystal.alike_edges import AlikeEdges, kinds_of, meeting
from ..crystal.graph import Graph, Nearest
from ..crystal.reverse import undirected
from ..crystal.state import Crystals
from ..layers.edge_gated import EdgeGated, Ends
from ..layers.elements import ElementLinear
from ..layers.normal import BatchNorm, Dense, Often
from ..layers.parts import Gaussians, linear
from ..learn.targets import Features

CARD = Card(
    name="alignn",
    build="ALIGNN",
    role="encoder",
    paper="10.1038/s41524-021-00650-1",
    year=2021,
    summary="edge-gated convolution on bonds and on the line graph of bonds and angles in turn",
    capabilities=("seed",),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    waives={"smooth": "the set of the 12 nearest neighbours changes by jumps, as in the paper"},
    presets={"small": {"width": 64, "layers": 2, "plain": 2}},
    reference=1.2093531123338872,
    small={"width": 16, "inner": 8, "layers": 2, "plain": 2, "lengths": 20, "angles": 10},
    differs=(
        "the angle update of the last line-graph layer and the bond update of the last layer, which nothing reads in the original, are left out",
        "biases that another bias or a normalisation makes idle are left out",
        "an image of the atom itself is one bond in each direction; the original has it twice",
        "an atom with fewer than 12 neighbours within 8 Å keeps those it has; the original searches farther",
        "the bins of element properties are filled from the tables of Magpie: those of groups, periods, blocks, ionisation energies and nearly all valence "
        "electrons agree with CGCNN's table, electronegativity, electron affinity and volume for four elements of five, radii (Cordero's) for two of five",
        "an atom, bond or angle that symmetry repeats is computed once and counted as often as it occurs: the same numbers, less work",
    ),
)


@dataclass(frozen=True)
class Bonds:
    """Builder of the undirected graph of the `count` nearest neighbours of every atom within `radius` (Å), with all that are as near as the last."""

    count: int
    radius: float

    def __call__(self, crystals: Crystals) -> Graph:
        return undirected(Nearest(self.count, self.radius, fewer=True)(crystals))


class Expanded(nn.Sequential):
    """Gaussians of numbers and two dense layers; `often`: how often each number occurs."""

    def forward(self, x: Tensor, often: Often | None) -> Tensor:
        expand, inner, outer = self
        return outer(inner(expand(x), often), often)


class ALIGNN(nn.Module):
    """Encoder: (atoms, width) features.

    width      of atoms, bonds and angles; `inner` of the first of the two dense layers that bring lengths and angles to it
    layers     on bonds and angles, `plain` ones on bonds alone after them
    neighbours within `radius` Å, which the Gaussians reach too
    lengths    Gaussians of a bond length, `angles` of the cosine of an angle
    elements   > 0: so many learnt numbers of each element take the place of the fixed ones; `set_element_embeddings` begins with others' (layers/elements.py)
    """

    def __init__(self, width: int = 256, inner: int = 64, layers: int = 4, plain: int = 4, neighbours: int = 12, radius: float = 8.0, lengths: int = 80,
                 angles: int = 40, elements: int = 0, seed: int = 0):
        super().__init__()
        if plain < 1:
            raise BadInput(f"plain is {plain}, wanted at least 1: nothing would read the last bonds", "ALIGNN")
        rng = torch_stream(seed, "alignn")
        self.width, self.graph = width, AlikeEdges(Bonds(neighbours, radius))
        self.embed, self.atom_norm = ElementLinear(rng, width, bias=False, numbers=elements), BatchNorm(width)
        self.set_element_embeddings = self.embed.set_element_embeddings
        gaussians = lambda low, high, count: Gaussians(low, high, count, (count - 1) / (high - low))
        self.bond = Expanded(gaussians(0.0, radius, lengths), Dense(rng, lengths, inner), Dense(rng, inner, width))
        self.angle = Expanded(gaussians(-1.0, 1.0, angles), Dense(rng, angles, inner), Dense(rng, inner, width)) if layers else None
        self.on_bonds = nn.ModuleList(EdgeGated(rng, width, edges=i + 1 < layers + plain) for i in range(layers + plain))
        self.on_angles = nn.ModuleList(EdgeGated(rng, width, edges=i + 1 < layers) for i in range(layers))

    def forward(self, crystals: Crystals, graph: Graph) -> Features:
        """Features in the dtype of the weights; lengths and angles are taken in the dtype of the crystals."""
        kinds, step, dtype = kinds_of(graph, crystals), graph.vectors(crystals), self.embed.vectors.dtype
        nodes, length = kinds.nodes, step.norm(dim=-1)
        atoms, bonds = (Often.of(count, dtype) if kinds.folded else None for count in (nodes.copies, kinds.many))
        times = lambda count: count.to(dtype)[:, None] if kinds.folded else None
        along = Ends(nodes.senders, nodes.receivers, times(kinds.count), atoms, bonds)
        x = self.atom_norm.silu(self.embed(crystals.species[nodes.first]), often=atoms)
        y = self.bond(kinds.mean(length).to(dtype), bonds)
        if self.on_angles:
            first, second, cosine, count = meeting(kinds, graph, step / length[:, None])
            angles = Often.of(count * kinds.many[second], dtype) if kinds.folded else None
            around, z = Ends(first, second, times(count), bonds, angles), self.angle(cosine.to(dtype), angles)
        for i, layer in enumerate(self.on_bonds):
            x, y = layer(x, y, along)
            if i < len(self.on_angles):
                y, z = self.on_angles[i](y, z, around)
        return Features(x[nodes.of_atom])

    def head(self, rng: torch.Generator, outputs: int) -> nn.Module:
        """The last layer of the paper: (rows, width) to (rows, outputs)."""
        return linear(rng, self.width, outputs)
