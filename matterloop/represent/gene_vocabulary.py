"""Wyckoff genes as numbers: every position of every space group has a place in one vocabulary, with what a network should know of it and of its group.

A gene is written as (space group, ((place, atomic number), ...)): `place` 0..1730 counts the positions of all groups, in the order of the shipped table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from ..base.elements import MAX_Z
from ..base.errors import BadInput
from ..crystal.space_groups import GRID, LETTERS, SYSTEMS, crystal_system, lattice_points, point_group, table
from .wyckoff_gene import Gene, relabellings

GROUPS = 230
SLOTS = len(LETTERS)  # most positions of one group


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Arrays over the 1,731 positions ("places") and 230 groups.

    group (places,), letter (places,)  number of the space group and index of the letter
    atoms (places,)     atoms in the primitive cell
    dof (places,)       free parameters, 0 to 3; `once` where 0: at most one orbit
    symmetry (places,)  index of the oriented site symmetry ("4mm.", "-3m", ...) in `symmetries`
    slots (231, 27)     place of each letter of a group, -1 beyond its last; row 0 is empty
    system (231,)       index of the crystal system in SYSTEMS
    points (231,)       lattice points of the conventional cell
    """

    group: np.ndarray
    letter: np.ndarray
    atoms: np.ndarray
    dof: np.ndarray
    once: np.ndarray
    symmetry: np.ndarray
    symmetries: tuple[str, ...]
    slots: np.ndarray
    system: np.ndarray
    points: np.ndarray

    def __len__(self) -> int:
        return len(self.group)

    def place(self, space_group: int, letter: str) -> int:
        """Place of a letter of a group; BadInput where the group has no such letter."""
        index = LETTERS.find(letter) if len(letter) == 1 else -1
        found = int(self.slots[space_group, index]) if index >= 0 else -1
        if found < 0:
            raise BadInput(f"group {space_group} has no Wyckoff position {letter!r}", "gene")
        return found


@cache
def vocabulary() -> Vocabulary:
    """The vocabulary of the shipped table of Wyckoff positions."""
    t = table()
    group, sizes = t.group.astype(np.int64), np.diff(np.append(t.start, len(t.group)))
    points = np.array([1, *(lattice_points(g) for g in range(1, GROUPS + 1))])
    letter = np.arange(len(group)) - t.start[group - 1]
    dof = np.array([int(t.linear[a].any(0).sum()) for a in t.map_start[:-1]])
    symmetries = tuple(sorted(set(t.site_symmetry)))
    index = {s: i for i, s in enumerate(symmetries)}
    slots = np.full((GROUPS + 1, SLOTS), -1)
    for g in range(1, GROUPS + 1):
        slots[g, : sizes[g - 1]] = np.arange(t.start[g - 1], t.start[g - 1] + sizes[g - 1])
    system = np.array([0, *(SYSTEMS.index(crystal_system(g)) for g in range(1, GROUPS + 1))])
    found = Vocabulary(group, letter, t.multiplicity.astype(np.int64) // points[group], dof, dof == 0, np.array([index[s] for s in t.site_symmetry]),
                       symmetries, slots, system, points)
    for array in vars(found).values():
        if isinstance(array, np.ndarray):
            array.setflags(write=False)
    return found


@cache
def relabelled(space_group: int) -> np.ndarray:
    """(settings, 27) places that the letters of a group take in each of its equivalent settings, the given one first; -1 beyond the last letter."""
    slots = vocabulary().slots[space_group]
    count = int((slots >= 0).sum())
    rows = np.array(sorted(relabellings(space_group), key=lambda p: p != tuple(range(count))))
    return np.concatenate([slots[rows], np.full((len(rows), SLOTS - count), -1)], axis=1)


def equivalents(space_group: int, letter: Sequence[int], element: Sequence[int], most: int) -> np.ndarray:
    """(settings, sites) places of sites on letters (by index) in the distinct equivalent settings, whatever the given one, ordered; the first `most` of them.

    Settings that differ by exchanging sites of one element are one. More than 48 there are in P-1 alone.
    """
    rows = relabelled(space_group)[:, np.asarray(letter, dtype=np.int64)]
    codes = np.sort(rows * (MAX_Z + 1) + np.asarray(element, dtype=np.int64), axis=1)
    return rows[np.unique(codes, axis=0, return_index=True)[1][:most]]


# as features of networks


@cache
def position_table() -> np.ndarray:
    """(1731, columns) of every place: site symmetry, free parameters, ln of the atoms in the primitive cell, and the map of its first point (sines and
    cosines of the shift, matrix elements). Read-only."""
    t = table()
    first = t.map_start[:-1]
    symmetry = [s.replace(".", "") for s in t.site_symmetry]
    names = sorted(set(symmetry))
    linear_part, angle = t.linear[first].reshape(-1, 9), 2 * np.pi * t.shift[first] / GRID
    dof = t.linear[first].any(1).sum(1)
    out = np.column_stack([np.eye(len(names))[[names.index(s) for s in symmetry]], np.eye(4)[dof], np.log(vocabulary().atoms), np.sin(angle), np.cos(angle),
                           linear_part]).astype(np.float32)
    out.setflags(write=False)
    return out


@cache
def group_table() -> np.ndarray:
    """(231, columns) of every space group by number: crystal system, point group, lattice points. Row 0 is zero. Read-only."""
    groups = range(1, GROUPS + 1)
    points = sorted({point_group(g) for g in groups})
    out = np.zeros((GROUPS + 1, len(SYSTEMS) + len(points) + 4), dtype=np.float32)
    out[1:] = np.column_stack([
        np.eye(len(SYSTEMS))[[SYSTEMS.index(crystal_system(g)) for g in groups]], np.eye(len(points))[[points.index(point_group(g)) for g in groups]],
        np.eye(4)[[lattice_points(g) - 1 for g in groups]]])
    out.setflags(write=False)
    return out


@dataclass(frozen=True, eq=False)
class Encoded:
    """Genes as arrays: `group` (genes,), sites of all genes one after the other in `place` and `element` (sites,), bounds in `offsets` (genes + 1,)."""

    group: np.ndarray
    place: np.ndarray
    element: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.group)

    @property
    def counts(self) -> np.ndarray:
        """(genes,) number of sites."""
        return np.diff(self.offsets)

    def composition(self, width: int = MAX_Z + 1) -> np.ndarray:
        """(genes, width) atoms of each element in the primitive cell."""
        owner = np.repeat(np.arange(len(self)), self.counts)
        return np.bincount(owner * width + self.element, vocabulary().atoms[self.place], minlength=len(self) * width).reshape(len(self), width)

    def take(self, rows: Sequence[int]) -> Encoded:
        """Some genes, in the given order."""
        rows = np.asarray(rows)
        counts = self.counts[rows]
        offsets = np.concatenate([[0], np.cumsum(counts)])
        at = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - self.offsets[rows], counts)
        return Encoded(self.group[rows], self.place[at], self.element[at], offsets)


def encode(genes: Sequence[Gene]) -> Encoded:
    """Genes in the setting that they are written in."""
    slots = vocabulary().slots
    group = np.array([g.space_group for g in genes], dtype=np.int64)
    counts = np.array([len(g.sites) for g in genes], dtype=np.int64)
    letter = np.array([LETTERS.index(letter) for g in genes for letter, _ in g.sites], dtype=np.int64)
    element = np.array([z for g in genes for _, z in g.sites], dtype=np.int64)
    place = slots[np.repeat(group, counts), letter] if len(letter) else letter
    return Encoded(group, place, element, np.concatenate([[0], np.cumsum(counts)]))


def decode(group: int, sites: Sequence[tuple[int, int]]) -> Gene:
    """The canonical gene of (place, atomic number) pairs."""
    letter = vocabulary().letter
    return Gene.of(int(group), [(LETTERS[letter[p]], int(z)) for p, z in sites]).canonical
