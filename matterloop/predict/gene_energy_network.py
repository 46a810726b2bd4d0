"""From a Wyckoff gene, without coordinates, to the mean and the width of an energy: attention between the occupied positions, weighted by their atoms.

R. E. A. Goodall, A. S. Parackal, F. A. Faber, R. Armiento, A. A. Lee, "Rapid discovery of stable materials by coordinate-free coarse graining", Science
Advances 8, eabn4117 (2022), doi:10.1126/sciadv.abn4117 (Wren: fully connected weighted attention between Wyckoff positions, averaged over equivalent settings,
Laplace likelihood). Departures: dot products instead of perceptrons of pairs, positions described by their maps, and a row stands for all orbits of one element
on one position, which changes nothing as attention counts atoms:

    a_ij = w_j exp(q_i k_j / sqrt(d)) / sum_l w_l exp(q_i k_l / sqrt(d)),  w_j = share of the atoms that row j stands for
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..archive.shipped import read_arrays
from ..base import elements as classes
from ..base.elements import symbol
from ..base.errors import BadInput
from ..base.seeds import torch_stream
from ..crystal.composition import ELECTRONEGATIVITY, MASS
from ..crystal.space_groups import LETTERS, table
from ..layers.parts import linear, perceptron
from ..represent.gene_vocabulary import group_table, position_table, vocabulary
from ..represent.wyckoff_gene import Gene

MAX_Z = 94
SIMILARITIES = 16  # leading eigenvectors of the table of element similarities
_MADELUNG = "1s 2s 2p 3s 3p 4s 3d 4p 5s 4d 5p 6s 4f 5d 6p 7s 5f 6d 7p".split()
_ROOM = {"s": 2, "p": 6, "d": 10, "f": 14}
_NOBLE = (0, 2, 10, 18, 36, 54, 86)
_CLASSES = ("ALKALI_METALS", "ALKALINE_EARTH_METALS", "TRANSITION_METALS", "LANTHANOIDS", "ACTINOIDS", "POST_TRANSITION_METALS", "METALLOIDS", "HALOGENS",
            "CHALCOGENS", "PNICTOGENS", "NOBLE_GASES", "NON_METALS")


# tables


def valence(z: int) -> tuple[int, int, int, int]:
    """Electrons (s, p, d, f) beyond the last noble gas, subshells filled in Madelung's order."""
    left, found = z, dict.fromkeys("spdf", 0)
    core = max(n for n in _NOBLE if n < z)
    for shell in _MADELUNG:
        inside = min(left, _ROOM[shell[1]])
        if z - left >= core:
            found[shell[1]] += inside
        left -= inside
    return tuple(found.values())


@cache
def element_table() -> np.ndarray:
    """(95, columns) properties of the elements 1..94, each column of mean 0 and spread 1; row 0 is zero. Read-only.

    Electronegativity (Pauling; the mean where there is none, and a flag), ln mass, period, valence electrons s, p, d, f, volume in compounds (Å^3, cube
    root), classes of the periodic table, and what separates elements that swap seldom: eigenvectors of the shipped similarity.
    """
    numbers = range(1, MAX_Z + 1)
    pauling = np.array([ELECTRONEGATIVITY[z] for z in numbers])
    mined = read_arrays("element_similarity")["log_ratio"][1 : MAX_Z + 1, 1 : MAX_Z + 1].astype(np.float64)
    values, vectors = np.linalg.eigh(mined)
    leading = np.argsort(-np.abs(values), kind="stable")[:SIMILARITIES]
    columns = np.column_stack([
        np.where(np.isnan(pauling), np.nanmean(pauling), pauling), np.isnan(pauling), np.log([MASS[z] for z in numbers]),
        [sum(n < z for n in _NOBLE) for z in numbers], [valence(z) for z in numbers], np.cbrt(read_arrays("element_volumes")["element"][1 : MAX_Z + 1]),
        [[z in getattr(classes, name) for name in _CLASSES] for z in numbers], vectors[:, leading]])
    out = np.zeros((MAX_Z + 1, columns.shape[1]), dtype=np.float32)
    out[1:] = (columns - columns.mean(0)) / columns.std(0)
    out.setflags(write=False)
    return out


# genes as arrays


@dataclass(frozen=True, eq=False)
class Sites:
    """Genes as arrays, in the canonical setting of the lower of two enantiomorphic groups; made by `sites_of`.

    group    (genes,) space-group numbers
    offsets  (genes + 1,) rows of each gene
    letter   (rows,) index of the Wyckoff letter; a row stands for all orbits of one element on one position
    species  (rows,) atomic numbers
    atoms    (rows,) atoms in the primitive cell
    """

    group: np.ndarray
    offsets: np.ndarray
    letter: np.ndarray
    species: np.ndarray
    atoms: np.ndarray

    def __len__(self) -> int:
        return len(self.group)

    @property
    def counts(self) -> np.ndarray:
        """(genes,) number of rows."""
        return np.diff(self.offsets)

    @property
    def owner(self) -> np.ndarray:
        """(rows,) gene of each row."""
        return np.repeat(np.arange(len(self)), self.counts)

    def take(self, genes) -> Sites:
        """Some genes, in the given order."""
        genes = np.asarray(genes, dtype=np.int64)
        counts = self.counts[genes]
        offsets = np.concatenate([[0], np.cumsum(counts)])
        at = np.arange(offsets[-1]) + np.repeat(self.offsets[genes] - offsets[:-1], counts)
        return Sites(self.group[genes], offsets, self.letter[at], self.species[at], self.atoms[at])

    def settings(self) -> np.ndarray:
        """(genes,) how many equivalent settings each gene can be written in."""
        start = table().relabel_start
        return np.diff(start)[self.group - 1]

    def positions(self, setting: np.ndarray) -> np.ndarray:
        """(rows,) rows of the table of Wyckoff positions in the `setting` (genes,) of each gene, 0 <= setting < settings()."""
        t = table()
        relabelling = (t.relabel_start[self.group - 1] + setting)[self.owner]
        return t.start[self.group - 1][self.owner] + t.relabel[relabelling, self.letter]


def sites_of(genes: Sequence[Gene]) -> Sites:
    """Genes as arrays. BadInput naming the gene that is empty or holds an element outside 1..94."""
    mirror, index = table().mirror, {letter: i for i, letter in enumerate(LETTERS)}
    group, counts, letters, species, orbits = np.empty(len(genes), dtype=np.int64), [], [], [], []
    for i, gene in enumerate(genes):
        if not gene.sites:
            raise BadInput("the gene has no site", f"gene {i}")
        if gene.space_group in mirror:
            other, change = mirror[gene.space_group]
            gene = Gene(other, tuple((LETTERS[change[index[letter]]], z) for letter, z in gene.sites))
        rows = Counter(gene.canonical.sites)
        group[i] = gene.space_group
        counts.append(len(rows))
        for (letter, z), n in rows.items():
            if not 1 <= z <= MAX_Z:
                raise BadInput(f"{symbol(z)} (atomic number {z}) is not among the elements 1..{MAX_Z} that energies were learnt for", f"gene {i} ({gene.text})")
            letters.append(index[letter])
            species.append(z)
            orbits.append(n)
    offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)
    letter = np.array(letters, dtype=np.int64)
    row = np.repeat(table().start[group - 1], np.diff(offsets)) + letter
    return Sites(group, offsets, letter, np.array(species, dtype=np.int64), np.array(orbits, dtype=np.int64) * vocabulary().atoms[row])


@dataclass(frozen=True, eq=False)
class Batch:
    """What the network reads: `group` (genes,), and rows filled up to the longest gene: `position`, `species`, `atoms` (genes, rows), atoms 0 where filled."""

    group: Tensor
    position: Tensor
    species: Tensor
    atoms: Tensor


def batch_of(sites: Sites, setting: np.ndarray) -> Batch:
    """A batch with every gene in its `setting` (genes,)."""
    longest = int(sites.counts.max(initial=1))
    owner = sites.owner
    column = np.arange(len(owner)) - sites.offsets[owner]
    arrays = []
    for values in (sites.positions(setting), sites.species, sites.atoms):
        filled = np.zeros((len(sites), longest), dtype=np.int64)
        filled[owner, column] = values
        arrays.append(torch.from_numpy(filled))
    return Batch(torch.from_numpy(sites.group), *arrays)


# the network


class Block(nn.Module):
    """Attention between the rows of a gene, weighted by atoms, and a perceptron per row; both on normalised rows, added to them."""

    def __init__(self, rng: torch.Generator, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.ask = linear(rng, width, 3 * width)
        self.answer = linear(rng, width, width)
        self.feed = perceptron(rng, width, 2 * width, width, activation=nn.SiLU)

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """x (genes, rows, width), weight (genes, 1, 1, rows): ln of the share of atoms, -inf where filled up."""
        q, k, v = self.ask(self.before(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        heard = F.scaled_dot_product_attention(q, k, v, attn_mask=weight)
        x = x + self.answer(heard.transpose(1, 2).flatten(2))
        return x + self.feed(self.between(x))


class GeneNetwork(nn.Module):
    """(genes, 2): mean and ln of the width of a Laplace distribution, in units of the spread of the labels.

    width   features of a row; `heads` of attention, `blocks` one after another
    seed    of the first weights
    """

    def __init__(self, width: int = 64, heads: int = 4, blocks: int = 3, seed: int = 0):
        super().__init__()
        rng = torch_stream(seed, "gene_energy")
        for name, values in (("elements", element_table()), ("places", position_table()), ("groups", group_table())):
            self.register_buffer(name, torch.from_numpy(values.copy()), persistent=name == "elements")
        own = 16
        self.element, self.place, self.group = (linear(rng, t.shape[1], width) for t in (self.elements, self.places, self.groups))
        self.own_element, self.own_place, self.own_group = (nn.Parameter(torch.zeros(n, w)) for n, w in (
            (len(self.elements), width), (len(self.places), own), (len(self.groups), own)))
        self.from_place, self.from_group = linear(rng, own, width, bias=False), linear(rng, own, width, bias=False)
        self.join = perceptron(rng, 2 * width + 2, 2 * width, width, activation=nn.SiLU)
        self.blocks = nn.ModuleList(Block(rng, width, heads) for _ in range(blocks))
        self.last = nn.LayerNorm(width)
        self.read = perceptron(rng, 3 * width + 2, width, width, 2, activation=nn.SiLU)

    def forward(self, batch: Batch) -> Tensor:
        """(genes, 2)."""
        atoms = batch.atoms.to(self.elements.dtype)
        total = atoms.sum(1, keepdim=True)
        share = (atoms / total)[..., None]
        weight = share.squeeze(-1).log()[:, None, None]
        element = (self.element(self.elements) + self.own_element)[batch.species]
        place = (self.place(self.places) + self.from_place(self.own_place))[batch.position]
        group = (self.group(self.groups) + self.from_group(self.own_group))[batch.group]
        x = self.join(torch.cat([element, place + group[:, None], share, atoms.clamp(min=1)[..., None].log()], -1))
        for block in self.blocks:
            x = block(x, weight)
        pooled = (share * self.last(x)).sum(1)
        average = (share * element).sum(1)
        spread = (share * (element - average[:, None]) ** 2).sum(1)
        return self.read(torch.cat([pooled, spread, group, total.log(), (batch.atoms > 0).sum(1, keepdim=True).to(total).log()], -1))
