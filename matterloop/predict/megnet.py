"""MEGNet: bonds, atoms and the state of the whole crystal update each other in turn; two sets and the state are read out.

C. Chen, W. Ye, Y. Zuo, C. Zheng, S. P. Ong, "Graph networks as a universal machine learning framework for molecules and crystals", Chemistry of Materials
31, 3564 (2019), doi:10.1021/acs.chemmater.9b01294, eq. 1 to 7 and figure 2.

    e'_k = phi_e([v_i, v_j, e_k, u])          bond k of the centre i and its neighbour j
    v'_i = phi_v([mean_k of i  e'_k, v_i, u])
    u'   = phi_u([mean_k e'_k, mean_i v'_i, u])
with dense layers before every block and a skip around both; phi are three dense layers of shifted softplus.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..base.elements import MAX_Z
from ..base.errors import BadInput
from ..base.registry import Card
from ..base.seeds import torch_stream
from ..crystal.alike import Alike, Nodes, lengths_of, nodes_of
from ..crystal.graph import Graph, Within
from ..crystal.segments import segment_sum
from ..crystal.state import Crystals
from ..layers.parts import Gaussians, ShiftedSoftplus, embedding, linear, perceptron
from ..layers.set2set import SetToVector
from ..learn.targets import Features

CARD = Card(
    name="megnet",
    build="MEGNet",
    role="encoder",
    paper="10.1021/acs.chemmater.9b01294",
    year=2019,
    summary="bonds, atoms and a global state in turn, set2set readout, element embeddings that can be transferred",
    capabilities=("seed", "whole"),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    waives={
        "smooth": "bonds are cut at the radius and averaged, as in the paper: the prediction jumps when a bond appears",
        "far_atoms": "the global state joins all atoms of a structure, however far apart, as the paper intends",
    },
    reference=0.37316872035665133,
    small={"wide": 16, "width": 8, "hidden": 4, "blocks": 2, "bins": 20},
    differs=(
        "without state inputs, and for each label, the state begins as a learned vector; the original sends zeros or an embedding through two dense layers, which "
        "can give the same vectors",
        "the cell of the set2set memory is carried from step to step as its paper says, the original code forgets it; its gates are sigmoids, there they are "
        "straight lines between 0 and 1",
        "an atom or bond that symmetry repeats is computed once and counted as often as it occurs: the same numbers, less work",
    ),
)


class Places(NamedTuple):
    """Which rows meet, and their shares in means: of a bond among those of its atom and of its crystal, of an atom in its crystal; (rows, 1) each."""

    nodes: Nodes
    owner: Tensor
    bond_owner: Tensor
    of_atom: Tensor
    of_crystal: Tensor
    atom_of_crystal: Tensor


class Block(nn.Module):
    """Bonds, then atoms, then the state; all of `width`."""

    def __init__(self, rng: torch.Generator, wide: int, width: int):
        super().__init__()
        self.width = width
        self.ends = linear(rng, 4 * width, wide)
        self.bond = nn.Sequential(ShiftedSoftplus(), perceptron(rng, wide, wide, width, last=True))
        self.atom = perceptron(rng, 3 * width, wide, wide, width, last=True)
        self.state = perceptron(rng, 3 * width, wide, wide, width, last=True)

    def forward(self, v: Tensor, e: Tensor, u: Tensor, at: Places) -> tuple[Tensor, Tensor, Tensor]:
        """v (atoms, width), e (edges, width), u (crystals, width)."""
        centre, neighbour, bond, state = self.ends.weight.split(self.width, 1)  # the map of a concatenation, part by part before rows are repeated
        here = F.linear(v, centre, self.ends.bias) + F.linear(u, state).index_select(0, at.owner)
        mixed = here.index_select(0, at.nodes.receivers) + F.linear(v, neighbour).index_select(0, at.nodes.senders) + F.linear(e, bond)
        e = self.bond(mixed)
        v = self.atom(torch.cat([segment_sum(e * at.of_atom, at.nodes.receivers, len(v)), v, u.index_select(0, at.owner)], -1))
        u = self.state(torch.cat([segment_sum(e * at.of_crystal, at.bond_owner, len(u)), segment_sum(v * at.atom_of_crystal, at.owner, len(u)), u], -1))
        return v, e, u


class MEGNet(nn.Module):
    """Encoder: (atoms, width) and (crystals, width) features.

    wide, width  units of the inner and of the last dense layers (n1, n2 of the paper), `hidden` of the set2set readouts (n3)
    blocks       of the paper's figure 2; `steps` of set2set
    radius       cutoff of bonds in Å; `bins` Gaussians from 0 to `reach` Å of width `sharp` Å
    state        names of per-crystal fields (a number each) that the state begins with, as temperature or pressure; Missing where crystals lack one
    levels       > 0: the one field of `state` is a label 0 .. levels - 1, as the fidelity of the data, with a learned vector each; BadInput for another label
    elements     width of the element embedding
    """

    def __init__(self, wide: int = 64, width: int = 32, hidden: int = 16, blocks: int = 3, steps: int = 3, radius: float = 4.0, bins: int = 100, reach: float = 5.0,
                 sharp: float = 0.5, state: Sequence[str] = (), levels: int = 0, elements: int = 16, seed: int = 0):
        super().__init__()
        if levels and len(state) != 1:
            raise BadInput(f"levels wants one field in `state`, got {len(state)}", "MEGNet")
        rng = torch_stream(seed, "megnet")
        self.width, self.fields, self.levels, self.last = width, tuple(state), levels, hidden
        self.reads = self.fields
        self.graph = Alike(Within(radius))
        self.embed, self.expand = embedding(rng, MAX_Z + 1, elements), Gaussians(0.0, reach, bins, 1 / sharp**2)
        dense = lambda fan_in: perceptron(rng, fan_in, wide, width, last=True)
        self.atom, self.bond = nn.ModuleList([dense(elements)]), nn.ModuleList([dense(bins)])
        self.state = nn.ModuleList([dense(len(self.fields)) if self.fields and not levels else embedding(rng, max(levels, 1), width)])
        for part in (self.atom, self.bond, self.state):
            part.extend(dense(width) for _ in range(blocks - 1))
        self.blocks = nn.ModuleList(Block(rng, wide, width) for _ in range(blocks))
        self.atoms_read, self.bonds_read = SetToVector(rng, width, hidden, steps), SetToVector(rng, width, hidden, steps)
        self.read = perceptron(rng, 4 * hidden + width, width, last=True)

    def forward(self, crystals: Crystals, graph: Graph) -> Features:
        """Features in the dtype of the weights; lengths are taken in the dtype of the crystals."""
        dtype, nodes, many = self.embed.weight.dtype, nodes_of(graph, crystals.atoms), len(crystals)
        length, count = lengths_of(graph, crystals)
        owner = crystals.owner[nodes.first]
        bond_owner, often = owner[nodes.receivers], count * nodes.copies[nodes.receivers]
        at = Places(
            nodes, owner, bond_owner, *(_shares(x, index, size, dtype) for x, index, size in (
                (count, nodes.receivers, len(nodes)), (often, bond_owner, many), (nodes.copies, owner, many))))
        v, e, u = self.embed(crystals.species[nodes.first]), self.expand(length.to(dtype)), self._state(crystals, dtype)
        for i, block in enumerate(self.blocks):
            begin = v, e, u  # the skip goes around the dense layers too, but not around those that first bring all to one width
            v, e, u = (part[i](x) for part, x in zip((self.atom, self.bond, self.state), begin, strict=True))
            skip = begin if i else (v, e, u)
            v, e, u = (a + b for a, b in zip(skip, block(v, e, u, at), strict=True))
        whole = torch.cat([self.atoms_read(v, owner, many, nodes.copies), self.bonds_read(e, bond_owner, many, often), u], -1)
        return Features(v[nodes.of_atom], whole=self.read(whole))

    def head(self, rng: torch.Generator, outputs: int) -> nn.Module:
        """The last layers of the paper: (rows, width) to (rows, outputs)."""
        return perceptron(rng, self.width, self.last, outputs)

    def _state(self, crystals: Crystals, dtype: torch.dtype) -> Tensor:
        """(crystals, state inputs), or (crystals,) which learned state it is."""
        if not self.fields:
            return crystals.species.new_zeros(len(crystals))
        state = torch.stack([crystals.get(name).reshape(len(crystals)) for name in self.fields], -1)
        if not self.levels:
            return state.to(dtype)
        label = state[:, 0].long()
        if bool(((label < 0) | (label >= self.levels) | (label != state[:, 0])).any()):
            raise BadInput(f"a label is not one of 0 .. {self.levels - 1}", f"field {self.fields[0]!r}")
        return label

    def element_embeddings(self) -> Tensor:
        """(119, elements) copy of the embedding, row = atomic number: what another model may start from."""
        return self.embed.weight.detach().clone()

    def set_element_embeddings(self, table: Tensor, frozen: bool = True) -> None:
        """Start from the rows of `table` (119, elements), and keep them as they are if `frozen`; BadInput for another shape."""
        if table.shape != self.embed.weight.shape:
            raise BadInput(f"the table is {tuple(table.shape)}, wanted {tuple(self.embed.weight.shape)}; build the model with elements={table.shape[-1]}", "MEGNet")
        with torch.no_grad():
            self.embed.weight.copy_(table)
        self.embed.weight.requires_grad_(not frozen)


def _shares(times: Tensor, index: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    """(rows, 1) share of each row in the sum of `times` (rows,) over its bin."""
    times = times.to(dtype)
    return (times / segment_sum(times, index, size)[index])[:, None]
