"""Known crystals by their Wyckoff pattern: which of them hold the sites of a gene, elements aside, and which resemble it most?

The pattern of a crystal is its space group and the letters that each of its elements occupies. Two patterns agree when a change of setting
(`wyckoff_gene.relabellings`) and an exchange of element roles turn one into the other. A gene is then written in the setting of the known crystal, whose
lattice and free coordinates it takes as they stand: no coordinates have to be carried from one setting to another. Where no known crystal has
the pattern, those that occupy the same positions with another division among elements are looked at (A2BX4 beside ABCX4).
Likelihood of swaps: similarity.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from ..base.elements import number as element_number
from ..base.errors import BadInput
from ..crystal.composition import reduced
from ..crystal.lattice import from_free
from ..crystal.space_groups import ENANTIOMORPHS, LETTERS, crystal_system
from ..crystal.wyckoff import Parameters, free_parameters, from_parameters, position
from ..represent.wyckoff_gene import Gene, relabellings

REGROUPED_LOOKED_AT = 400  # known crystals of other roles that are mapped one by one

Pattern = tuple[int, tuple[tuple[int, ...], ...]]  # space group, letter indices of each element, both sorted


@dataclass(frozen=True)
class Match:
    """A known crystal with the elements of a gene in it.

    parameters  as known, elements exchanged: `gene_of(parameters).key` is the key of the gene asked for
    parent      name of the known crystal; `known` its parameters
    score       mean ln of observed over expected swaps, over the sites (of one label each, see similarity.py); higher is more alike
    regrouped   whether elements share sites otherwise in the known crystal
    """

    parameters: Parameters
    parent: str
    known: Parameters
    score: float
    regrouped: bool = False


def gene_of(parameters: Parameters) -> Gene:
    """The gene in the setting that the parameters are written in, not made canonical."""
    return Gene.of(parameters.space_group, [(letter, z) for letter, z, _ in parameters.sites])


def atoms_of(parameters: Parameters) -> int:
    """Atoms in the conventional cell."""
    return sum(position(parameters.space_group, letter).multiplicity for letter, _, _ in parameters.sites)


def volume_of(parameters: Parameters) -> float:
    """Volume in Å^3 per atom."""
    cell = from_free(torch.tensor(parameters.lattice, dtype=torch.float64), crystal_system(parameters.space_group))
    return float(torch.linalg.det(cell)) / atoms_of(parameters)


def mirrored(parameters: Parameters) -> Parameters:
    """The mirror image in the standard setting of its own space group. BadInput where its symmetry cannot be found again within 0.01 Å."""
    crystal = from_parameters(parameters)
    image = crystal.put(frac=-crystal.frac).wrapped()
    (found,) = free_parameters(image, 0.01)
    wanted = {**ENANTIOMORPHS, **{b: a for a, b in ENANTIOMORPHS.items()}}.get(parameters.space_group, parameters.space_group)
    if found.space_group != wanted:
        raise BadInput(f"the mirror image has the group {found.space_group}, not {wanted}", "mirrored")
    return found


class Library:
    """Known crystals as free parameters in standard settings, found by the pattern of a gene.

    parameters  one for each crystal; those of the higher of two enantiomorphic groups are kept as their mirror image in the lower one
    names       names told in a start's `parent`; numbers if absent
    """

    def __init__(self, parameters: Sequence[Parameters], names: Sequence[str] | None = None):
        self.parameters: Sequence[Parameters] = parameters if isinstance(parameters, Rows) else Rows.of(parameters)
        self.names = list(names) if names is not None else [str(i) for i in range(len(parameters))]
        if len(self.names) != len(parameters):
            raise BadInput(f"got {len(parameters)} crystals and {len(self.names)} names", "library")
        self._patterns: dict[Pattern, list[int]] = defaultdict(list)
        self._elements: dict[int, tuple[int, ...]] = {}
        for i, group in enumerate(self.parameters.space_groups):
            if group in ENANTIOMORPHS:
                try:
                    self.parameters.replace(i, mirrored(self.parameters[i]))
                except BadInput:
                    continue  # its own symmetry is higher than it says: no prototype for this group
            pattern, elements = _pattern(*self.parameters.sites(i))
            self._patterns[pattern].append(i)
            self._elements[i] = elements
        self._tables: dict[Pattern, tuple[np.ndarray, np.ndarray]] = {}
        self._coarse: dict[tuple, list[Pattern]] = defaultdict(list)
        self._blind: dict[tuple, list[Pattern]] = defaultdict(list)
        for pattern in self._patterns:
            self._coarse[_coarse(pattern)].append(pattern)
            self._blind[_coarse(_without_elements(pattern))].append(pattern)

    def __len__(self) -> int:
        return len(self._elements)

    @cached_property
    def _formulas(self) -> dict[int, tuple[tuple[int, int], ...]]:
        return {i: reduced(gene_of(self.parameters[i]).composition) for i in self._elements}

    def matches(self, gene: Gene, similarity: np.ndarray, own_formula: bool = True, most: int | None = None) -> list[Match]:
        """Known crystals of the pattern of `gene` with its elements in them, most alike first; empty where the pattern is unknown.

        similarity   (119, 119) ln of observed over expected swaps
        own_formula  whether crystals of the gene's own reduced formula count
        most         how many at most
        """
        gene = Gene.parse(gene.key)
        pattern, elements = pattern_of(gene)
        own = None if own_formula else reduced(gene.composition)
        rows, species, scores = [], [], []
        for known in self._coarse.get(_coarse(pattern), ()):
            held, old = self._members(known)
            if own is not None:
                other = np.array([self._formulas[i] != own for i in held.tolist()], dtype=bool)
                held, old = held[other], old[other]
            sites = np.array([len(letters) for letters in known[1]], dtype=float)
            for order in roles(known, pattern) if len(held) else ():
                new = np.array([elements[k] for k in order])
                rows.append(held)
                species.append(np.broadcast_to(new, (len(held), len(new))))
                scores.append(similarity[old, new] @ sites / sites.sum())
        if not rows:
            return []
        row, new, score = np.concatenate(rows), np.concatenate(species), np.concatenate(scores)
        best = np.lexsort((*new.T[::-1], row, -score))[:most]
        return [Match(_exchanged(self.parameters[i], dict(zip(self._elements[i], change, strict=True))), self.names[i], self.parameters[i], s)
                for s, i, change in zip(score[best].tolist(), row[best].tolist(), map(tuple, new[best].tolist()), strict=True)]

    def knows(self, gene: Gene) -> bool:
        """Whether a crystal of the gene's pattern is held."""
        pattern, _ = pattern_of(Gene.parse(gene.key))
        return any(roles(known, pattern) for known in self._coarse.get(_coarse(pattern), ()))

    def _members(self, known: Pattern) -> tuple[np.ndarray, np.ndarray]:
        """Rows of a pattern (members,) and their elements (members, places)."""
        if known not in self._tables:
            rows = self._patterns[known]
            self._tables[known] = np.array(rows), np.array([self._elements[i] for i in rows])
        return self._tables[known]

    def regrouped(self, gene: Gene, similarity: np.ndarray, own_formula: bool = True) -> Iterator[Match]:
        """Known crystals on the positions of `gene` whose elements share them otherwise, most alike first."""
        gene = Gene.parse(gene.key)
        pattern, _ = pattern_of(gene)
        own = None if own_formula else reduced(gene.composition)
        blind, found = _without_elements(pattern), []
        wanted: dict[int, list[int]] = defaultdict(list)
        for letter, z in gene.sites:
            wanted[LETTERS.index(letter)].append(z)
        for known in self._blind.get(_coarse(blind), ()):
            if known[1] == pattern[1]:
                continue
            rows = [i for i in self._patterns[known] if own is None or self._formulas[i] != own]
            for change in settings(_without_elements(known), blind) if rows else ():
                for i in rows[: max(1, REGROUPED_LOOKED_AT - len(found))]:
                    found.append(self._assigned(i, change, wanted, similarity))
        found.sort(key=lambda f: (-f[0], f[1]))
        for score, i, species in found:
            p = self.parameters[i]
            sites = tuple((letter, z, values) for (letter, _, values), z in zip(p.sites, species, strict=True))
            yield Match(Parameters(p.space_group, p.lattice, sites), self.names[i], p, score, regrouped=True)

    def _assigned(self, i: int, change: tuple[int, ...], wanted: dict[int, list[int]], similarity: np.ndarray) -> tuple[float, int, tuple[int, ...]]:
        """(mean similarity, i, element of each site) where sites of one letter are given the elements that suit them best."""
        sites, species, total = self.parameters[i].sites, [0] * len(self.parameters[i].sites), 0.0
        held: dict[int, list[int]] = defaultdict(list)
        for k, (letter, _, _) in enumerate(sites):
            held[change[LETTERS.index(letter)]].append(k)
        for letter, rows in held.items():
            gain = similarity[np.ix_([sites[k][1] for k in rows], wanted[letter])]
            for a, b in zip(*linear_sum_assignment(-gain), strict=True):
                species[rows[a]] = wanted[letter][b]
                total += float(gain[a, b])
        return total / len(sites), i, tuple(species)


def _exchanged(p: Parameters, change: dict[int, int]) -> Parameters:
    return Parameters(p.space_group, p.lattice, tuple((letter, change[z], values) for letter, z, values in p.sites))


# patterns


def pattern_of(gene: Gene) -> tuple[Pattern, tuple[int, ...]]:
    """The pattern of a gene as it is written, and its elements in the same order."""
    return _pattern(gene.space_group, [(LETTERS.index(letter), z) for letter, z in gene.sites])


def _pattern(space_group: int, sites: Iterable[tuple[int, int]]) -> tuple[Pattern, tuple[int, ...]]:
    held: dict[int, list[int]] = {}
    for letter, z in sites:
        held.setdefault(z, []).append(letter)
    listed = sorted((tuple(sorted(letters)), z) for z, letters in held.items())
    return (space_group, tuple(letters for letters, _ in listed)), tuple(z for _, z in listed)


@cache
def _classes(space_group: int) -> tuple[int, ...]:
    """For each letter index the smallest that a change of setting turns it into."""
    return tuple(np.array(relabellings(space_group)).min(0).tolist())


def _coarse(pattern: Pattern) -> tuple:
    """Equal for patterns that agree (and for some that do not)."""
    group, letters = pattern
    smallest = _classes(group)
    return group, tuple(sorted(tuple(sorted(smallest[i] for i in held)) for held in letters))


def _without_elements(pattern: Pattern) -> Pattern:
    return pattern[0], (tuple(sorted(i for held in pattern[1] for i in held)),)


@cache
def settings(known: Pattern, wanted: Pattern) -> tuple[tuple[int, ...], ...]:
    """Changes of setting (letter i becomes p[i]) that turn the letters of one pattern without elements into those of another, one of each effect."""
    used, found = sorted(set(known[1][0])), {}
    for p in relabellings(known[0]):
        if tuple(sorted(p[i] for i in known[1][0])) == wanted[1][0]:
            found.setdefault(tuple(p[i] for i in used), p)
    return tuple(found.values())


@cache
def roles(known: Pattern, wanted: Pattern) -> tuple[tuple[int, ...], ...]:
    """Every order with which place i of `known` takes the part of place order[i] of `wanted` in some setting; empty where the patterns differ."""
    letters, target = known[1], wanted[1]
    found: set[tuple[int, ...]] = set()
    goal = sorted(target)
    for p in relabellings(known[0]):
        told = [tuple(sorted(p[i] for i in held)) for held in letters]
        if sorted(told) == goal:
            found.update(_orders(told, target))
    return tuple(sorted(found))


def _orders(told: Sequence[tuple[int, ...]], target: Sequence[tuple[int, ...]]) -> Iterator[tuple[int, ...]]:
    """All permutations with told[i] == target[order[i]]."""
    def extend(chosen: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if len(chosen) == len(told):
            yield chosen
            return
        for k, held in enumerate(target):
            if k not in chosen and held == told[len(chosen)]:
                yield from extend((*chosen, k))

    return extend(())


# tables of parameters


@cache
def _site(text: str) -> tuple[int, int]:
    """(letter index, atomic number) of 'Na_a'."""
    element, letter = text.split("_")
    return LETTERS.index(letter), element_number(element)


class Rows(Sequence[Parameters]):
    """Parameters that are made of table columns when they are asked for: most rows of a large table never are.

    space_groups  numbers;  texts of sites as 'Na_a.Cl_b';  lattices in the order of `lattice.FREE`;  values of all sites in order
    """

    def __init__(self, space_groups: Iterable[int], texts: Iterable[str], lattices: Sequence, values: Sequence):
        self.space_groups = [int(g) for g in space_groups]
        self._texts, self._lattices, self._values = list(texts), lattices, values
        self._made: dict[int, Parameters] = {}

    @classmethod
    def of(cls, parameters: Sequence[Parameters]) -> Rows:
        """Of parameters as they are."""
        rows = cls([p.space_group for p in parameters], [""] * len(parameters), (), ())
        rows._made = dict(enumerate(parameters))
        return rows

    def __len__(self) -> int:
        return len(self.space_groups)

    def __getitem__(self, i: int) -> Parameters:
        if i in self._made:
            return self._made[i]
        listed, start, flat = [], 0, self._values[i]
        for part in self._texts[i].split("."):
            letter, z = _site(part)
            stop = start + position(self.space_groups[i], LETTERS[letter]).dof
            listed.append((LETTERS[letter], z, tuple(float(v) for v in flat[start:stop])))
            start = stop
        return Parameters(self.space_groups[i], tuple(float(v) for v in self._lattices[i]), tuple(listed))

    def sites(self, i: int) -> tuple[int, list[tuple[int, int]]]:
        """Space group and (letter index, atomic number) of each site."""
        if i in self._made:
            return self.space_groups[i], [(LETTERS.index(letter), z) for letter, z, _ in self._made[i].sites]
        return self.space_groups[i], [_site(part) for part in self._texts[i].split(".")]

    def replace(self, i: int, other: Parameters) -> None:
        """Put other parameters in the place of row i."""
        self._made[i], self.space_groups[i] = other, other.space_group


def parameters_of_rows(space_groups, sites, lattices, values) -> list[Parameters]:
    """Free parameters from table columns, see `Rows`."""
    return list(Rows(space_groups, sites, list(lattices), list(values)))


@cache
def shipped_library() -> Library:
    """The published crystals of the shipped tables as our engine has relaxed them; own random and substituted ones are no prototypes."""
    from ..archive.shipped import list_shipped, read_table

    frame = read_table("compounds_chgnet", columns=["material_id", "relaxed_space_group", "sites", "lattice", "parameters"])
    frame = frame[frame.lattice.notna() & (frame.relaxed_space_group > 0)]
    columns = [frame[name].tolist() for name in ("relaxed_space_group", "sites", "lattice", "parameters", "material_id")]
    if "genes_chgnet" in list_shipped():
        more = read_table("genes_chgnet", columns=["id", "source", "status", "space_group", "sites", "lattice", "parameters"])
        more = more[(more.status == "converged") & ~more.source.astype(str).str.startswith("own")]
        columns = [held + more[name].tolist() for held, name in zip(columns, ("space_group", "sites", "lattice", "parameters", "id"), strict=True)]
    *rows, names = columns
    return Library(Rows(*rows), names)
