"""Known crystals as analogues of a composition: those with as many atoms of as many elements, every element in every role that its count allows.

The elements of a primitive cell, sorted by their count, fill its slots; crystals with equal sorted counts share a pattern. An analogue is a crystal of
the pattern with one of the orders of equal counts. Geometry is told apart by distances from each slot to each other: the mean over atoms of the sorted
distances to the nearest atoms, in units of (V/N)^(1/3), an invariant of the crystal that changes continuously with it.
Source of the invariant: D. Widdowson et al., MATCH Commun. Math. Comput. Chem. 87, 529 (2022), arXiv:2009.02488 (average minimum distances), here by pairs of slots.
"""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..base.errors import BadInput
from ..crystal.composition import reduced
from ..crystal.lattice import niggli_reduce
from ..crystal.state import Crystals
from ..crystal.symmetry import Symmetry, analyse
from ..represent.wyckoff_gene import Gene, from_symmetry

NEAREST = 8  # distances from a slot to a slot
REACH = 4.0  # (V/N)^(1/3), at which distances end
SYMPRECS = (0.1, 0.01, 0.001)  # Å; the first that leaves the primitive cell as large as given

Pattern = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Member:
    """A known crystal in its primitive cell.

    species     atomic number of each slot; slots by rising count, then atomic number
    cell (3, 3) rows in Å, frac (atoms, 3), slot (atoms,), orbit (atoms,) int
    gene        key of its Wyckoff gene with slot i as the element of number i + 1; "" where not looked for
    change      how it came about: "" as published, else what was made of a known crystal
    """

    name: str
    species: tuple[int, ...]
    cell: np.ndarray
    frac: np.ndarray
    slot: np.ndarray
    orbit: np.ndarray
    gene: str
    change: str = ""

    @cached_property
    def counts(self) -> Pattern:
        """Atoms of each slot."""
        return tuple(int(n) for n in np.bincount(self.slot, minlength=len(self.species)))

    @property
    def formula(self) -> tuple[tuple[int, int], ...]:
        """((atomic number, count), ...) without common divisor."""
        return reduced(dict(zip(self.species, self.counts, strict=True)))

    @cached_property
    def volume(self) -> float:
        """Å^3 per atom."""
        return float(abs(np.linalg.det(self.cell))) / len(self.slot)

    @cached_property
    def distances(self) -> np.ndarray:
        """(slots, slots, NEAREST) mean sorted distances, see `slot_distances`."""
        return slot_distances(self.cell, self.frac, self.slot, len(self.species))

    def filled(self, species: Sequence[int], volume: float) -> Crystals:
        """A batch of one with other elements on the slots, scaled to `volume` Å^3 per atom."""
        return Crystals.of(self.frac, np.asarray(species)[self.slot], self.cell * (volume / self.volume) ** (1 / 3))


def slots(composition: dict[int, int]) -> tuple[tuple[int, ...], Pattern]:
    """Elements and counts of {atomic number: atoms in the primitive cell}, by rising count, then atomic number."""
    order = sorted(composition, key=lambda z: (composition[z], z))
    return tuple(order), tuple(composition[z] for z in order)


def slot_distances(cell: np.ndarray, frac: np.ndarray, slot: np.ndarray, count: int) -> np.ndarray:
    """(slots, slots, NEAREST) mean over the atoms of slot i of the sorted distances to atoms of slot j, own images included, over (V/N)^(1/3).

    Distances beyond REACH count as REACH.
    """
    unit = (abs(np.linalg.det(cell)) / len(slot)) ** (1 / 3)
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0) / unit
    images = np.array(list(itertools.product(*(range(-n, n + 1) for n in np.ceil(REACH / heights + 0.5).astype(int)))), dtype=float) @ cell / unit
    images = images[np.linalg.norm(images, axis=1) < REACH + 0.9 * np.linalg.norm(cell, axis=1).sum() / unit]
    difference = frac[:, None] - frac
    vectors = (difference - np.round(difference)) @ cell / unit
    square = ((vectors[:, :, None] + images) ** 2).sum(-1)
    square[square < 1e-8] = np.inf
    out = np.empty((count, count, NEAREST))
    for j in range(count):
        rows = np.sort(square[:, slot == j].reshape(len(slot), -1), axis=1)[:, :NEAREST]
        if rows.shape[1] < NEAREST:
            rows = np.pad(rows, ((0, 0), (0, NEAREST - rows.shape[1])), constant_values=np.inf)
        near = np.minimum(np.sqrt(rows), REACH)
        for i in range(count):
            out[i, j] = near[slot == i].mean(0)
    return out


def member(name: str, crystal: Crystals, known: Symmetry | None = None) -> Member:
    """The member that a crystal is, in its symmetrised primitive cell; as it stands, without symmetry, where that would change the number of atoms."""
    species, counts = slots({int(z): int(n) for z, n in zip(*np.unique(crystal.species.numpy(), return_counts=True), strict=True)})
    number = {z: i for i, z in enumerate(species)}
    for symprec in SYMPRECS:
        found = known if known is not None and symprec == SYMPRECS[0] else analyse(crystal, symprec, on_error="keep")[0]
        if isinstance(found, Symmetry) and found.primitive.atoms == crystal.atoms:
            one = found.primitive
            orbit = np.zeros(one.atoms, dtype=int)
            orbit[found.mapping.numpy()] = found.orbits.numpy()
            gene = from_symmetry(found)
            break
    else:
        one, orbit = crystal, np.arange(crystal.atoms)
        gene = Gene.of(1, [("a", int(z)) for z in crystal.species])
    cell = niggli_reduce(one.cell.numpy() if np.linalg.det(one.cell[0]) > 0 else -one.cell.numpy())
    frac = (one.frac.numpy() if np.linalg.det(one.cell[0]) > 0 else -one.frac.numpy()) @ np.linalg.inv(cell[1][0].numpy())
    return Member(name, species, cell[0][0].numpy(), frac % 1.0, np.array([number[int(z)] for z in one.species]), np.unique(orbit, return_inverse=True)[1],
                  gene.substituted({z: i + 1 for z, i in number.items()}).key)


def members(names: Sequence[str], crystals: Iterable[Crystals]) -> list[Member]:
    """A member for each crystal (batches of one)."""
    return [member(name, one) for name, one in zip(names, crystals, strict=True)]


def save(path: Path, held: Sequence[Member]) -> None:
    """Write members to a .npz file, read back by `load`."""
    text = json.dumps([[m.name, list(m.species), m.gene, m.change] for m in held])
    by_size: dict[int, list[int]] = defaultdict(list)
    for i, m in enumerate(held):
        by_size[len(m.species)].append(i)
    distances = {f"distances{k}": np.array([held[i].distances for i in rows], dtype=np.float32) for k, rows in by_size.items()}
    np.savez(path, text=np.frombuffer(text.encode(), dtype=np.uint8), atoms=np.array([len(m.slot) for m in held]), cell=np.array([m.cell for m in held]),
             frac=np.concatenate([m.frac for m in held]), slot=np.concatenate([m.slot for m in held]), orbit=np.concatenate([m.orbit for m in held]), **distances)


def load(path: Path) -> list[Member]:
    """Members of a file that `save` wrote; BadInput where it is none."""
    with np.load(path, allow_pickle=False) as file:
        try:
            rows = json.loads(file["text"].tobytes().decode())
            ends = np.concatenate([[0], np.cumsum(file["atoms"])])
            cell, frac, slot, orbit = (file[k] for k in ("cell", "frac", "slot", "orbit"))
            distances = {int(k.removeprefix("distances")): iter(file[k].astype(np.float64)) for k in file.files if k.startswith("distances")}
        except (KeyError, ValueError) as error:
            raise BadInput(f"cannot be read ({error}); it was not written by this benchmark", str(path)) from None
    out = []
    for i, (name, species, gene, change) in enumerate(rows):
        part = slice(ends[i], ends[i + 1])
        one = Member(name, tuple(species), cell[i], frac[part], slot[part], orbit[part], gene, change)
        one.__dict__["distances"] = next(distances[len(species)])
        out.append(one)
    return out


@dataclass(frozen=True, eq=False)
class Analogues:
    """All analogues of one pattern: every member in every order of its slots of equal count (E of them, k slots).

    member (E,)          index into `members`
    orders (E, k)        slot of the member that takes the role of each slot
    species (E, k)       the member's element in each role
    kind (E,)            equal for equal genes (slots as elements); a number of its own where no gene is told
    geometry (E, D)      distances by pairs of slots, weighed so that the Euclidean distance is a root mean square over atoms
    """

    pattern: Pattern
    members: tuple[Member, ...]
    member: np.ndarray = field(repr=False)
    orders: np.ndarray = field(repr=False)
    species: np.ndarray = field(repr=False)
    kind: np.ndarray = field(repr=False)
    geometry: np.ndarray = field(repr=False)

    @cached_property
    def formulas(self) -> list[tuple[tuple[int, int], ...]]:
        """Reduced composition of each member."""
        return [m.formula for m in self.members]

    @property
    def identity(self) -> np.ndarray:
        """(members,) the analogue that is the member as it stands."""
        return np.flatnonzero((self.orders == np.arange(len(self.pattern))).all(1))


def orders_of(pattern: Pattern) -> list[tuple[int, ...]]:
    """Every order of the slots that leaves the counts as they are, the given one first."""
    groups = [list(g) for _, g in itertools.groupby(range(len(pattern)), key=lambda i: pattern[i])]
    return [tuple(itertools.chain.from_iterable(choice)) for choice in itertools.product(*(itertools.permutations(g) for g in groups))]


def analogues(pattern: Pattern, held: Sequence[Member]) -> Analogues:
    """The analogues among `held`, whose counts are all `pattern`."""
    orders, k = orders_of(pattern), len(pattern)
    named: dict[tuple[str, tuple[int, ...]], str] = {}
    keys: list[int] = []
    numbers: dict[Any, int] = {}
    weight = np.sqrt(np.array(pattern) / sum(pattern) / (k * NEAREST))[:, None, None]
    rows = [(i, o) for i in range(len(held)) for o in orders]
    for i, o in rows:
        text = held[i].gene
        if text and (text, o) not in named:
            named[text, o] = Gene.parse(text).substituted({s + 1: role + 1 for role, s in enumerate(o)}).key
        keys.append(numbers.setdefault(named[text, o] if text else (i, o), len(numbers)))
    geometry = np.array([(held[i].distances[np.ix_(o, o)] * weight).reshape(-1) for i, o in rows], dtype=np.float32).reshape(len(rows), k * k * NEAREST)
    return Analogues(pattern, tuple(held), np.array([i for i, _ in rows]), np.array([o for _, o in rows]).reshape(-1, k),
                     np.array([[held[i].species[s] for s in o] for i, o in rows]).reshape(-1, k), np.array(keys), geometry)


def by_pattern(held: Iterable[Member]) -> dict[Pattern, list[Member]]:
    """{pattern: its members}."""
    found: dict[Pattern, list[Member]] = defaultdict(list)
    for m in held:
        found[m.counts].append(m)
    return dict(found)


def recoloured(pattern: Pattern, held: Sequence[Member], most: int = 6) -> list[Member]:
    """Members of other patterns with as many atoms, made to fit: two slots merged into one, or whole orbits of a slot split off into a slot of their own.

    A merged slot counts as its element of more atoms; both parts of a split one as the element that was there. Their genes are not looked for. At most
    `most` splits of one member.
    """
    found = []
    for m in held:
        if len(m.slot) != sum(pattern) or m.counts == pattern:
            continue
        if len(m.counts) == len(pattern) + 1:
            for a, b in itertools.combinations(range(len(m.counts)), 2):
                rest = [n for i, n in enumerate(m.counts) if i not in (a, b)]
                if tuple(sorted([*rest, m.counts[a] + m.counts[b]])) == pattern:
                    found.append(_relabelled(m, np.where(m.slot == a, b, m.slot), m.species, f"{m.name} merged"))
        elif len(m.counts) == len(pattern) - 1:
            for s, n in enumerate(m.counts):
                rest = sorted(c for i, c in enumerate(m.counts) if i != s)
                part = sorted(pattern)
                for c in rest:
                    if c in part:
                        part.remove(c)
                if len(part) != 2 or sum(part) != n or sorted([*rest, *part]) != sorted(pattern):
                    continue
                found += [_relabelled(m, label, (*m.species, m.species[s]), f"{m.name} split") for label in itertools.islice(_splits(m, s, part[0]), most)]
    return found


def _splits(m: Member, slot: int, size: int) -> Iterable[np.ndarray]:
    """Labels in which orbits of `slot` with `size` atoms together become the last slot."""
    orbits = np.unique(m.orbit[m.slot == slot])
    sizes = [int((m.orbit == o).sum()) for o in orbits]
    if len(orbits) > 12:
        return
    for r in range(1, len(orbits)):
        for chosen in itertools.combinations(range(len(orbits)), r):
            if sum(sizes[i] for i in chosen) == size:
                yield np.where(np.isin(m.orbit, orbits[list(chosen)]), len(m.species), m.slot)


def _relabelled(m: Member, label: np.ndarray, species: Sequence[int], change: str) -> Member:
    """The member with new labels, brought into the order of slots; a merged label takes the element that more of its atoms had."""
    kept = np.unique(label)
    counts = {int(s): int((label == s).sum()) for s in kept}
    main = {s: int(np.bincount(np.array([m.species[i] for i in m.slot[label == s]])).argmax()) for s in counts}
    order = sorted(counts, key=lambda s: (counts[s], main[s], s))
    slot = np.array([order.index(int(s)) for s in label])
    orbit = np.unique(m.orbit * len(order) + slot, return_inverse=True)[1]
    return Member(m.name, tuple(main[s] for s in order), m.cell, m.frac, slot, orbit, "", change)
