"""What may come next in a gene that is being written: hard rules, so that no gene has to be thrown away for its atoms, elements or stoichiometry.

A composition is exact: a position may hold an element only if the rest of the atoms can still be placed on what is left of the group's positions
(`placeable`, dynamic programming over multiplicities; positions without free parameters hold one orbit each). Without a composition the rules bound what
the atoms that are left can still bring in.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from itertools import product

import numpy as np

from ..archive.records import Ask
from ..base.elements import MAX_Z
from ..base.errors import BadInput
from ..crystal.composition import is_charge_neutral, oxidation_states, reduced, reduced_formula
from ..represent.gene_vocabulary import GROUPS, SLOTS, vocabulary

WIDTH = MAX_Z + 1
MOST = 400  # atoms in a primitive cell
END = SLOTS  # the answer "no further site"


# which amounts fit on the positions of a group


@cache
def _sums(sizes: tuple[int, ...]) -> np.ndarray:
    """(MOST + 1,) True for the numbers that portions of `sizes`, each as often as wanted, add up to."""
    sums = np.zeros(MOST + 1, bool)
    sums[0] = True
    for size in sizes:
        for n in range(size, MOST + 1):
            sums[n] |= sums[n - size]
    return sums


@cache
def _free_sums(space_group: int) -> np.ndarray:
    """(MOST + 1,) True for the numbers of atoms that positions with free parameters alone can hold."""
    v = vocabulary()
    places = v.slots[space_group][v.slots[space_group] >= 0]
    return _sums(tuple(sorted(set(v.atoms[places[~v.once[places]]].tolist()))))


@cache
def fixed_sizes(space_group: int) -> tuple[tuple[int, int], ...]:
    """((atoms, positions), ...) of the positions without free parameters, by their atoms in the primitive cell."""
    v = vocabulary()
    places = v.slots[space_group][v.slots[space_group] >= 0]
    sizes, counts = np.unique(v.atoms[places[v.once[places]]], return_counts=True)
    return tuple(zip(sizes.tolist(), counts.tolist()))


@lru_cache(maxsize=400_000)
def placeable(space_group: int, left: tuple[int, ...], rest: tuple[int, ...]) -> bool:
    """Whether amounts `rest` of different elements fit exactly; left[k] positions of the k-th size of `fixed_sizes` are still empty.

    rest is sorted and without zeros. Amounts that positions with free parameters can hold by themselves do not compete for the others and drop out.
    """
    free = _free_sums(space_group)
    rest = tuple(n for n in rest if n > MOST or not free[n])
    if not rest:
        return True
    if rest[-1] > MOST:
        return False
    first, others = rest[0], rest[1:]
    sizes = [s for s, _ in fixed_sizes(space_group)]
    for taken in product(*(range(n + 1) for n in left)):
        held = sum(t * s for t, s in zip(taken, sizes))
        if 0 < held <= first and free[first - held] and placeable(space_group, tuple(n - t for n, t in zip(left, taken)), others):
            return True
    return False


def fits(space_group: int, composition: Sequence[int]) -> bool:
    """Whether positions of the group can hold exactly these amounts (atoms per primitive cell)."""
    return placeable(space_group, tuple(n for _, n in fixed_sizes(space_group)), tuple(sorted(n for n in composition if n)))


MOST_SITES_NEEDED = 8


def smallest_cells(size: np.ndarray, once: np.ndarray) -> np.ndarray:
    """(rows, 9) fewest atoms on 0, 1, ... 8 further sites, for positions of `size` (rows, positions); those with `once` hold one site."""
    free = np.where(once, MOST, size).min(1, keepdims=True)
    sizes = np.sort(np.concatenate([np.where(once, size, MOST), np.repeat(free, MOST_SITES_NEEDED, 1)], 1), 1)[:, :MOST_SITES_NEEDED]
    return np.concatenate([np.zeros((len(size), 1), dtype=np.int64), np.cumsum(sizes, 1)], 1)


# rules


@dataclass(frozen=True, eq=False)
class Rules:
    """What every gene must obey.

    allowed (119,), groups (231,)  elements and space groups that may occur
    required, any_of               elements that must occur, one of each set
    n_elements, atoms              fewest and most distinct elements, atoms in the primitive cell
    composition (119,)             exact atoms of each element in the primitive cell, or None
    systems (rows, 119)            exactly these elements in each row, or None
    neutral                        oxidation states must be able to balance (compositions of metals only always do)
    """

    allowed: np.ndarray
    groups: np.ndarray
    required: frozenset[int] = frozenset()
    any_of: tuple[frozenset[int], ...] = ()
    n_elements: tuple[int, int] = (1, 6)
    atoms: tuple[int, int] = (1, 40)
    composition: np.ndarray | None = None
    systems: np.ndarray | None = None
    neutral: bool = False

    @property
    def fewest(self) -> int:
        """A lower bound of the distinct elements that are needed."""
        apart = len(self.required) + any(not g & self.required for g in self.any_of)
        return min(max(self.n_elements[0], apart), MOST_SITES_NEEDED)

    @staticmethod
    def of(ask: Ask, composition: dict[int, int] | None = None, neutral: bool = False, systems: Sequence[Collection[int]] | None = None) -> Rules:
        """The rules of an ask, with the amounts of one of its compositions where a formula is wanted, or a chemical system for each row; BadInput where no
        group can hold them."""
        allowed, groups = np.zeros(WIDTH, bool), np.zeros(GROUPS + 1, bool)
        allowed[[z for z in ask.palette if z < WIDTH]] = True
        groups[list(ask.space_groups) or range(1, GROUPS + 1)] = True
        amounts = None
        if composition is not None:
            amounts = np.zeros(WIDTH, dtype=np.int64)
            amounts[list(composition)] = list(composition.values())
        chosen = None
        if systems is not None:
            chosen = np.zeros((len(systems), WIDTH), bool)
            for row, system in zip(chosen, systems):
                row[list(system)] = True
        return Rules(allowed, groups, ask.required, ask.any_of, ask.n_elements, ask.atoms, amounts, chosen, neutral).checked()

    def checked(self) -> Rules:
        """Itself, groups that cannot hold anything wanted taken out; BadInput where none is left."""
        v, groups = vocabulary(), self.groups.copy()
        groups[0] = False
        for g in np.flatnonzero(groups).tolist():
            if self.composition is not None:
                groups[g] = fits(g, self.composition[self.composition > 0].tolist())
            else:
                places = v.slots[g][v.slots[g] >= 0]
                groups[g] = smallest_cells(v.atoms[places][None], v.once[places][None])[0, self.fewest] <= self.atoms[1]
        if not groups.any():
            what = "no wanted space group"
            if self.composition is not None:
                what += f" can hold {reduced_formula({z: int(self.composition[z]) for z in np.flatnonzero(self.composition)})} with {self.composition.sum()} atoms"
            raise BadInput(what if self.composition is not None else f"{what} has a cell of at most {self.atoms[1]} atoms", "ask")
        return replace(self, groups=groups)


class Writing:
    """Genes being written under rules, all rows at once.

    group (rows,), used (rows, 119) atoms placed, taken (rows, 27) letters without free parameters that are full
    """

    def __init__(self, rules: Rules, group: np.ndarray, rows: np.ndarray | None = None):
        """`rows`: which of the rules' rows these are, all if absent."""
        self.system = rules.systems if rows is None or rules.systems is None else rules.systems[rows]
        v, rows = vocabulary(), len(group)
        self.rules, self.group = rules, group
        self.used = np.zeros((rows, WIDTH), dtype=np.int64)
        self.taken = np.zeros((rows, SLOTS), bool)
        self.slots = v.slots[group]
        self.real = self.slots >= 0
        self.size = np.where(self.real, v.atoms[self.slots], MOST)
        self.once = self.real & v.once[self.slots]
        self.sites: list[list[tuple[int, int]]] = [[] for _ in range(rows)]

    def keep(self, rows: np.ndarray) -> None:
        """Forget all but some rows."""
        for name in ("group", "used", "taken", "slots", "real", "size", "once"):
            setattr(self, name, getattr(self, name)[rows])
        self.system = None if self.system is None else self.system[rows]
        self.sites = [self.sites[i] for i in rows.tolist()]

    def room(self) -> np.ndarray:
        """(rows, 9) fewest atoms on 0 to 8 further sites."""
        gone = ~self.real | (self.taken & self.once)
        return smallest_cells(np.where(gone, MOST, self.size), self.once | ~self.real)

    def wanting(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Lower bound of the elements that must still come in (rows,), those that asks name (rows, 119), and how many of these at least (rows,).

        Of several classes that must be met (`any_of`) all unmet ones are named, and counted as one.
        """
        there = self.used > 0
        if self.system is not None:
            named = self.system & ~there
            return named.sum(1), named, named.sum(1)
        named = np.zeros_like(there)
        asked = sorted(self.rules.required)
        named[:, asked] = ~there[:, asked]
        short = named.sum(1)
        unmet = np.zeros(len(there), bool)
        for group in self.rules.any_of:
            members = sorted(group)
            lacks = ~(there | named)[:, members].any(1)  # a required member that is still to come meets it
            named[np.ix_(lacks, members)] = True
            unmet |= lacks
        short = short + unmet
        return np.maximum(short, self.rules.n_elements[0] - there.sum(1)), named & self.rules.allowed, short

    def places(self) -> np.ndarray:
        """(rows, 28) letters that may come next, and last whether the gene may end (charges apart, see `balanced`)."""
        legal = self.real & ~(self.taken & self.once)
        if self.rules.composition is not None:
            rest = self.rules.composition - self.used
            done = ~rest.any(1)
            for i in range(len(legal)):
                options = {size_once: self._fits(i, *size_once) for size_once in {(int(s), bool(o)) for s, o in zip(self.size[i][legal[i]], self.once[i][legal[i]])}}
                legal[i] = [bool(ok) and bool(options[int(s), bool(o)]) for ok, s, o in zip(legal[i], self.size[i], self.once[i])]
            return np.concatenate([legal, done[:, None]], 1)
        total = self.used.sum(1)
        needs, _, short = self.wanting()
        rows = np.arange(len(total))
        cells = self.room()
        more = np.clip(needs - 1, 0, MOST_SITES_NEEDED - 1)
        after, one_more = cells[rows, more][:, None], cells[rows, more + 1][:, None]
        largest = one_more - after  # the next larger one: a position that is used up by this site gives way to it
        least = np.where(self.once & (self.size <= largest), one_more - self.size, after)
        legal &= self.rules.atoms[1] - total[:, None] - self.size >= np.where(needs[:, None] > 1, least, 0)
        return np.concatenate([legal, ((needs <= 0) & (short == 0) & (total >= self.rules.atoms[0]) & (total > 0))[:, None]], 1)

    def _fits(self, row: int, size: int, once: bool) -> list[int]:
        """Elements of the wanted composition that `size` atoms on a position may be, so that the rest still fits."""
        group = int(self.group[row])
        rest = {int(z): int(self.rules.composition[z] - self.used[row, z]) for z in np.flatnonzero(self.rules.composition)}
        left = dict(fixed_sizes(group))
        for s in self.size[row][self.taken[row] & self.once[row]].tolist():
            left[s] -= 1
        if once:
            left[size] -= 1
        left = tuple(left.values())
        return [z for z, n in rest.items() if n >= size and placeable(group, left, tuple(sorted(m for m in (n - size, *(k for y, k in rest.items() if y != z)) if m)))]

    def elements(self, slot: np.ndarray) -> np.ndarray:
        """(rows, 119) elements that may sit on the letters `slot` (rows,)."""
        rows = np.arange(len(slot))
        if self.rules.composition is not None:
            legal = np.zeros((len(slot), WIDTH), bool)
            for i in rows.tolist():
                legal[i, self._fits(i, int(self.size[i, slot[i]]), bool(self.once[i, slot[i]]))] = True
            return legal
        legal = np.broadcast_to(self.rules.allowed, (len(slot), WIDTH)).copy() if self.system is None else self.system & self.rules.allowed
        there = self.used > 0
        needs, named, short = self.wanting()
        full = there.sum(1) + short >= self.rules.n_elements[1]
        legal[full] &= (there | named)[full]
        before = self.taken
        self.taken = before.copy()
        self.taken[rows, slot] = True
        after = self.rules.atoms[1] - self.used.sum(1) - self.size[rows, slot]
        must = (needs > 0) & (after < self.room()[rows, np.clip(needs, 0, MOST_SITES_NEEDED)])  # no room for another site of an element that is there
        self.taken = before
        legal[must] &= np.where((short > 0)[:, None], named, ~there)[must]
        return legal

    def add(self, slot: np.ndarray, element: np.ndarray) -> None:
        """A site on each row."""
        rows = np.arange(len(slot))
        self.used[rows, element] += self.size[rows, slot]
        self.taken[rows, slot] = True
        for sites, place, z in zip(self.sites, self.slots[rows, slot].tolist(), element.tolist()):
            sites.append((place, z))

    def balanced(self, rows: np.ndarray) -> np.ndarray:
        """Of some rows, whether their charges can balance as they stand; True where no rule asks."""
        if not self.rules.neutral:
            return np.ones(len(rows), bool)
        return np.array([_neutral(reduced({int(z): int(n) for z, n in zip(np.flatnonzero(u), u[u > 0])})) for u in self.used[rows]], bool)

    def can_balance(self, slot: np.ndarray, legal: np.ndarray) -> np.ndarray:
        """`legal` (rows, 119) without elements after which no balance can be reached any more, where the distinct elements are complete.

        Reached by atoms in the group's multiplicities up to the most atoms, one state for each element.
        """
        if not self.rules.neutral or self.rules.composition is not None:
            return legal
        rows, out = np.arange(len(slot)), legal.copy()
        size, total = self.size[rows, slot], self.used.sum(1)
        distinct = (self.used > 0).sum(1)
        for i in np.flatnonzero(distinct >= self.rules.n_elements[1] - 1).tolist():
            counts = {int(z): int(self.used[i, z]) for z in np.flatnonzero(self.used[i])}
            sizes = tuple(sorted(set(self.size[i][self.real[i]].tolist())))
            for z in np.flatnonzero(legal[i]).tolist():
                after = dict(counts)
                after[z] = after.get(z, 0) + int(size[i])
                if len(after) == self.rules.n_elements[1]:
                    out[i, z] = balance_reachable(tuple(sorted(after.items())), self.rules.atoms[1] - int(total[i]) - int(size[i]), sizes)
        empty = ~out.any(1)
        out[empty] = legal[empty]
        return out


@lru_cache(maxsize=200_000)
def _neutral(formula: tuple[tuple[int, int], ...]) -> bool:
    return is_charge_neutral(dict(formula))


@lru_cache(maxsize=200_000)
def balance_reachable(counts: tuple[tuple[int, int], ...], more: int, sizes: tuple[int, ...]) -> bool:
    """Whether some further atoms of the same elements, at most `more`, in portions of `sizes`, let the charges balance (one state per element)."""
    if _neutral(reduced(dict(counts))):
        return True
    if more < sizes[0]:
        return False
    added = np.flatnonzero(_sums(sizes)[: more + 1]).tolist()
    states = [tuple(oxidation_states(z)) for z, _ in counts]
    for choice in product(*states):
        if min(choice, default=0) >= 0 or max(choice) <= 0:
            continue
        reached = {0: 0}  # charge -> fewest atoms added
        for (_, n), q in zip(counts, choice):
            after: dict[int, int] = {}
            for charge, spent in reached.items():
                for extra in added:
                    if spent + extra > more:
                        break
                    key = charge + q * (n + extra)
                    if spent + extra < after.get(key, more + 1):
                        after[key] = spent + extra
            reached = after
        if 0 in reached:
            return True
    return False
