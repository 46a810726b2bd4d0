"""Wren: messages between the occupied Wyckoff positions of a crystal, weighted by their atoms, averaged over the equivalent settings of its space group.

R. E. A. Goodall, A. S. Parackal, F. A. Faber, R. Armiento, A. A. Lee, "Rapid discovery of stable materials by coordinate-free coarse graining", Science
Advances 8, eabn4117 (2022), doi:10.1126/sciadv.abn4117.

    x_i = L e(z_i) next to L (p_i, w_i)                          the element, the position with its group, and its share w_i of the atoms
    x_i <- x_i + sum_j a_ij m(x_i, x_j)                          three times, as in Roost (predict/roost.py)
    c = mean over settings of sum_i a_i m(x_i)                   the letters of a setting in all ways that changes of origin and axes allow
    y = residual network of c                                    widths 1024, 512, 256, 128, 64
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..base.registry import Card
from ..base.seeds import torch_stream
from ..crystal.graph import Graph
from ..crystal.segments import segment_mean
from ..crystal.space_groups import LETTERS, table
from ..crystal.state import Crystals
from ..crystal.symmetry import analyse
from ..layers.parts import linear
from ..layers.weighted_sets import ElementInput, ResidualPerceptron, SetNetwork
from ..learn.targets import Features
from ..represent.gene_vocabulary import equivalents, group_table, position_table, vocabulary

CARD = Card(
    name="wren",
    build="Wren",
    role="encoder",
    paper="10.1126/sciadv.abn4117",
    year=2022,
    summary="messages between the occupied Wyckoff positions, without coordinates",
    capabilities=("seed", "whole", "symmetry"),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    waives={"far_atoms": "molecules have no space group: they are refused"},
    reference=10.17630274889582,
    small={"element": 12, "place": 12, "hidden": 24, "layers": 2, "out": (32, 24, 16)},
    differs=(
        "elements enter by tabulated properties and a learnt vector of each; the paper takes 200 numbers learnt from abstracts (matscholar), which are data of others",
        "positions enter by site symmetry, free parameters and the map of their first point, groups by system, point group and lattice points; the paper writes the "
        "Bravais lattice and the position's map as one-hot vectors",
        "of more than 48 equivalent settings, which occur in P-1 alone, the first 48 in canonical order are averaged",
        "mirror images share one description",
        "symmetry jumps: an arbitrarily small displacement of an atom may change the answer, and within a symmetry no strain or displacement does",
        "the score's last bias is left out: a softmax does not feel it",
    ),
)


@dataclass(frozen=True)
class Orbits:
    """Graph of what sees occupied positions alone: one loop per setting, place and element, on the first atom there, sorted by crystal and setting.

    edge: `place` in the vocabulary of positions, `setting` counted from 0 in each crystal, `count` of the orbits, `share` of the atoms in one of them.
    symprec  Å, of the search for symmetry; `most` settings of one crystal
    """

    symprec: float = 0.01
    most: int = 48

    @torch.no_grad()
    def __call__(self, crystals: Crystals) -> Graph:
        """BadInput naming a crystal without a space group."""
        mirror, slots, atoms = table().mirror, vocabulary().slots, vocabulary().atoms
        rows, places, settings, counts, shares = [], [], [], [], []
        for first, found in zip(crystals.offsets.tolist(), analyse(crystals, self.symprec), strict=False):
            group, at = found.number, found.representatives
            letter = np.array([LETTERS.index(found.letters[i]) for i in at.tolist()])
            if group in mirror:
                group, change = mirror[group]
                letter = np.array(change)[letter]
            species = found.species[at].numpy()
            ways = equivalents(group, letter, species, self.most)
            codes = np.stack([np.repeat(np.arange(len(ways)), len(at)), ways.reshape(-1), np.tile(species, len(ways))])
            (setting, place, _), one, count = np.unique(codes, axis=1, return_index=True, return_counts=True)
            rows.append(at.numpy()[one % len(at)] + first)
            places.append(place)
            settings.append(setting)
            counts.append(count)
            shares.append(atoms[place] / atoms[slots[group, letter]].sum())
        flat = lambda parts: torch.from_numpy(np.concatenate(parts)) if parts else torch.zeros(0, dtype=torch.long)
        row = flat(rows)
        edge = {"place": flat(places), "setting": flat(settings), "count": flat(counts), "share": flat(shares).to(torch.float64)}
        return Graph(row, row, row.new_zeros(len(row), 3), edge)


class Wren(nn.Module):
    """Encoder of crystals that repeat along three axes, by their symmetry: (crystals, element + place).

    element, place  features of the element and of the position
    layers          of messages; `heads` of attention, `hidden` width of their scores and messages
    out             widths of the residual network that every target has of its own
    symprec         Å, of the search for symmetry
    seed            of the first weights
    """

    def __init__(self, element: int = 32, place: int = 32, layers: int = 3, heads: int = 1, hidden: int = 256,
                 out: tuple[int, ...] = (1024, 512, 256, 128, 64), symprec: float = 0.01, seed: int = 0):
        super().__init__()
        rng = torch_stream(seed, "wren")
        self.width, self.out, self.graph = element + place, tuple(out), Orbits(symprec)
        known = np.concatenate([position_table(), group_table()[vocabulary().group]], axis=1)
        self.register_buffer("places", torch.from_numpy(known), persistent=False)  # follows from the shipped table of positions
        self.elements = ElementInput(rng, element)
        self.position = linear(rng, known.shape[1] + 1, place)
        self.network = SetNetwork(rng, self.width, layers, heads, hidden)

    def head(self, rng: torch.Generator, outputs: int) -> nn.Module:
        """The output network of a target."""
        return ResidualPerceptron(rng, (self.width, *self.out), outputs)

    def forward(self, crystals: Crystals, graph: Graph) -> Features:
        """Features of whole crystals alone."""
        share, count, owner = graph.edge["share"].to(self.places.dtype), graph.edge["count"].to(self.places.dtype), graph.owner(crystals)
        setting = graph.edge["setting"]
        begins = torch.ones_like(setting, dtype=torch.bool)  # of a set: another crystal or another setting
        begins[1:] = (owner[1:] != owner[:-1]) | (setting[1:] != setting[:-1])
        which, of = begins.long().cumsum(0) - 1, owner[begins]
        position = self.position(torch.cat([self.places[graph.edge["place"]], share[:, None]], -1))
        x: Tensor = torch.cat([self.elements(crystals.species[graph.receivers]), position], -1)
        return Features(None, whole=segment_mean(self.network(x, share, which, len(of), count), of, len(crystals)))
