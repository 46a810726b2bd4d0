"""Wyckoff gene of a crystal: its space group and which element sits on which Wyckoff position, free of the choice of origin and axes.

The same crystal can be described in several settings that the normaliser of its space group turns into each other; letters then change places (rock salt
is Na on a, Cl on b, or the reverse). All are merged: the gene is the smallest of them. Mirror images are merged too, as
they have the same energy and StructureMatcher calls them the same: the key of a crystal in P4_3 is written in P4_1, and so for the 11 enantiomorphic
pairs. Sources: International Tables for Crystallography A, chapter 3.5 (normalisers); D. Hicks et al., npj Comput. Mater. 7, 30 (2021), labels of prototypes;
N. Kazeev et al., ICML 2025, arXiv:2503.02407 (Wyckoff representation over equivalent settings).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Literal

import numpy as np

from ..base.elements import number as element_number, symbol as element_symbol
from ..base.errors import BadInput
from ..base.registry import Card
from ..crystal.space_groups import LETTERS, checked, lattice_points, table
from ..crystal.state import Crystals
from ..crystal.symmetry import Symmetry, analyse
from ..crystal.wyckoff import position

CARD = Card(
    name="wyckoff_gene",
    build="WyckoffGene",
    role="descriptor",
    paper="arXiv:2503.02407",
    year=2025,
    capabilities=("key", "round_trip"),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    dtype="float64",
    tolerance=0.0,
    tolerance_reason="a key is equal or it is not",
    presets={"rough": {"symprec": 0.1}},
    small={"symprec": 0.01},
    differs=(
        "letters instead of site symmetry and enumeration: with the space group given they say the same",
        "enantiomorphic space groups share one key",
    ),
    summary="space group and occupied Wyckoff positions, merged over equivalent settings",
)

_SITE = re.compile(r"([A-Z][a-z]?)_([a-zA-Z])")


@dataclass(frozen=True)
class Gene:
    """Space group and sites ((letter, atomic number), ...), sorted; made canonical by `canonical` (which `gene` has done).

    Parsed from text by `Gene.parse`, checked by `Gene.of`.
    """

    space_group: int
    sites: tuple[tuple[str, int], ...]

    @staticmethod
    def of(space_group: int, sites: Iterable[tuple]) -> Gene:
        """From (letter, element) pairs, element by number or symbol, sorted but not made canonical.

        Missing for unknown letters or elements, BadInput where a position without free parameters is used twice.
        """
        group, out = checked(space_group), []
        for letter, element, *_ in sites:
            out.append((position(group, letter).letter, element_number(element) if isinstance(element, str) else int(element)))
        _refuse_twice(group, [letter for letter, _ in out])
        return Gene(group, _sorted(out))

    @staticmethod
    def parse(key: str) -> Gene:
        """The gene of a text such as '225:Na_a.Cl_b', as its `key` or `text` gives it; BadInput naming the part that is wrong."""
        head, colon, tail = key.strip().partition(":")
        if not colon or not head.isdigit():
            raise BadInput(f"{key!r} does not begin with a space-group number and a colon, as '225:Na_a.Cl_b' does", "gene")
        sites = []
        for part in tail.split("."):
            match = _SITE.fullmatch(part)
            if match is None:
                raise BadInput(f"{part!r} is not an element and a Wyckoff letter, as 'Na_a' is", f"gene {key!r}")
            sites.append((match[2], match[1]))
        return Gene.of(int(head), sites)

    @property
    def text(self) -> str:
        """These sites as they stand: '225:Na_a.Cl_b'."""
        return f"{self.space_group}:" + ".".join(f"{element_symbol(z)}_{letter}" for letter, z in self.sites)

    @property
    def canonical(self) -> Gene:
        """The smallest of the equivalent genes within this space group."""
        return Gene(self.space_group, _smallest(self.space_group, self.sites))

    @cached_property
    def key(self) -> str:
        """Text equal for two genes exactly if a change of setting, or a mirror, turns one into the other."""
        group, sites = _unhanded(self.space_group, self.sites)
        return Gene(group, _smallest(group, sites)).text

    @cached_property
    def anonymous(self) -> str:
        """As `key` with elements replaced by A, B, ...: equal also where elements are exchanged one for one."""
        group, sites = _unhanded(self.space_group, self.sites)
        return f"{group}:" + ".".join(f"{_name(k)}_{letter}" for letter, k in _smallest_anonymous(group, sites))

    @property
    def equivalents(self) -> tuple[Gene, ...]:
        """Every gene of the same space group that another choice of setting (or the mirror image) gives, this one included, sorted."""
        group = self.space_group
        found = {_sorted((LETTERS[p[LETTERS.index(letter)]], z) for letter, z in self.sites) for p in relabellings(group)}
        return tuple(Gene(group, sites) for sites in sorted(found, key=_order))

    @property
    def atoms(self) -> int:
        """Atoms in the primitive cell."""
        return sum(self.composition.values())

    @property
    def composition(self) -> dict[int, int]:
        """{atomic number: atoms in the primitive cell}, ascending."""
        share, out = lattice_points(self.space_group), {}
        for letter, z in self.sites:
            out[z] = out.get(z, 0) + position(self.space_group, letter).multiplicity // share
        return dict(sorted(out.items()))

    @property
    def dof(self) -> int:
        """Free site parameters."""
        return sum(position(self.space_group, letter).dof for letter, _ in self.sites)

    def substituted(self, change: dict[int, int]) -> Gene:
        """With atomic numbers exchanged by `change` {old: new}; canonical."""
        return Gene(self.space_group, _sorted((letter, change.get(z, z)) for letter, z in self.sites)).canonical


def _refuse_twice(group: int, letters: Sequence[str]) -> None:
    for letter in set(letters):
        if letters.count(letter) > 1 and position(group, letter).once:
            raise BadInput(f"position {letter} of group {group} has no free parameter and is used twice", "gene")


def _order(sites) -> tuple:
    return tuple((LETTERS.index(letter), z) for letter, z in sites)


def _sorted(sites) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(sites, key=lambda s: (LETTERS.index(s[0]), s[1])))


def _name(k: int) -> str:
    """A, B, ..., Z, Aa, Ab, ..."""
    return chr(65 + k) if k < 26 else chr(65 + k // 26 - 1) + chr(97 + k % 26)


@cache
def relabellings(space_group: int) -> tuple[tuple[int, ...], ...]:
    """Permutations of letter indices that changes of setting induce, the identity among them: letter i is called p[i] after the change."""
    t, group, count = table(), checked(space_group), len(_letters(space_group))
    rows = t.relabel[t.relabel_start[group - 1] : t.relabel_start[group], :count]
    return tuple(map(tuple, rows.tolist()))


def _letters(space_group: int) -> str:
    t = table()
    return LETTERS[: int(t.start[space_group] - t.start[space_group - 1])]


def _unhanded(group: int, sites) -> tuple[int, tuple[tuple[str, int], ...]]:
    """The same crystal or its mirror image in the lower of two enantiomorphic groups."""
    if group not in table().mirror:
        return group, sites
    other, letters = table().mirror[group]
    return other, _sorted((LETTERS[letters[LETTERS.index(letter)]], z) for letter, z in sites)


@cache
def _permutations(group: int) -> np.ndarray:
    return np.array(relabellings(group), dtype=np.int64)


def _smallest(group: int, sites) -> tuple[tuple[str, int], ...]:
    """The sites under the relabelling that comes first in the order of (letter, atomic number) pairs."""
    p = _permutations(group)
    if len(p) == 1:
        return _sorted(sites)
    letters, z = np.array([LETTERS.index(letter) for letter, _ in sites]), np.array([z for _, z in sites])
    codes = np.sort(p[:, letters] * 256 + z, axis=1)
    best = codes[np.lexsort(codes.T[::-1])[0]] if codes.shape[1] else codes[0]
    return tuple((LETTERS[c // 256], int(c % 256)) for c in best.tolist())


def _smallest_anonymous(group: int, sites) -> tuple[tuple[str, int], ...]:
    """Sites (letter, rank of the element) where elements are ranked by their sorted letters, under the relabelling that gives the smallest ranks."""
    elements = sorted({z for _, z in sites})
    held = [[LETTERS.index(letter) for letter, z in sites if z == e] for e in elements]
    best = min(tuple(sorted(tuple(sorted(p[i] for i in letters)) for letters in held)) for p in relabellings(group))
    return _sorted((LETTERS[i], rank) for rank, letters in enumerate(best) for i in letters)


def from_symmetry(symmetry: Symmetry) -> Gene:
    """The canonical gene of a crystal whose symmetry is known."""
    sites = [(symmetry.letters[i], int(symmetry.species[i])) for i in symmetry.representatives.tolist()]
    return Gene(symmetry.number, _smallest(symmetry.number, _sorted(sites)))


def gene(crystals: Crystals, symprec: float = 0.01, on_error: Literal["raise", "keep"] = "raise") -> list[Gene]:
    """The canonical gene of every crystal within `symprec` Å; crystals without a space group as in `symmetry.analyse`."""
    return [s if isinstance(s, BadInput) else from_symmetry(s) for s in analyse(crystals, symprec, on_error)]


@dataclass(frozen=True)
class WyckoffGene:
    """The descriptor as an object: called with crystals it returns the list of keys."""

    symprec: float = 0.01

    def __call__(self, crystals: Crystals) -> list[str]:
        return [g.key for g in gene(crystals, self.symprec)]

    @staticmethod
    def decode(text: str) -> Gene:
        """What a key says; BadInput or Missing naming the part that is wrong."""
        return Gene.parse(text)

    @staticmethod
    def encode(gene: Gene) -> str:
        """The key of a gene."""
        return gene.key
