"""Symmetric random structures: a space group, Wyckoff positions that hold the formula, a sensible cell, atoms at random but not too near.

Pickard and Needs, J. Phys.: Condens. Matter 23, 053201 (2011), 10.1088/0953-8984/23/5/053201 (ab initio random structure searching: sensible volumes, minimum
separations, symmetry).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from ..archive.records import Ask, Candidate, Verdict
from ..archive.shipped import read_arrays
from ..base.errors import BadInput
from ..base.registry import Card
from ..base.seeds import numpy_stream
from ..crystal.composition import reduced, reduced_formula
from ..crystal.space_groups import crystal_system, lattice_points, symbol
from ..crystal.state import Crystals
from ..crystal.symmetry import Symmetry, analyse
from ..crystal.wyckoff import WyckoffPosition, positions
from ..represent.wyckoff_gene import Gene
from .proposal import check_ask
from .substitution import Draft, Substitution
from .volume import contacts, volume_per_atom

CARD = Card(
    name="random_search",
    build="RandomSearch",
    role="search",
    paper="10.1088/0953-8984/23/5/053201",
    year=2011,
    capabilities=("elements", "formula", "anonymous", "atoms", "space_group", "prototype"),
    small={"shapes": 2},
    differs=(
        "only proposes: the campaign relaxes, so a search step is propose, relax, observe",
        "compositions of an open ask come from substituted known formulas, not from a range of stoichiometries",
        "space groups, cell shapes and volumes follow Materials Project crystals instead of being uniform",
    ),
    summary="symmetric random structures with exact sampling of Wyckoff combinations",
)

BRAVAIS = ("aP", "mP", "mC", "oP", "oC", "oF", "oI", "tP", "tI", "hR", "hP", "cP", "cF", "cI")
TIGHTEST = 0.80  # of the usual shortest distance of a pair of elements
SITE_COST = 0.7  # ln units that each free site parameter costs: known crystals prefer special positions


def bravais(space_group: int) -> str:
    """Pearson letters of the lattice: 'cF'."""
    system, centring = crystal_system(space_group), symbol(space_group)[0]
    family = {"triclinic": "a", "monoclinic": "m", "orthorhombic": "o", "tetragonal": "t", "trigonal": "h", "hexagonal": "h", "cubic": "c"}[system]
    return family + ("C" if centring in "AB" else centring)


@cache
def _priors() -> dict[str, np.ndarray]:
    return read_arrays("random_priors")


# which positions hold which elements


@dataclass(frozen=True, eq=False)
class Filling:
    """All ways to put `counts` (elements,) atoms of a primitive cell on the Wyckoff positions of a group, weighed, ready to be sampled.

    items    (position, element) in order; a position with free parameters may be used again, one without holds a single orbit of one element
    tables   tables[i][r] = sum of weights of all ways to place what remains, r atoms of each element, with the items from i on
    """

    positions: tuple[WyckoffPosition, ...]
    sizes: tuple[int, ...]
    items: tuple[tuple[int, tuple[int, ...]], ...]
    tables: tuple[np.ndarray, ...]

    @property
    def total(self) -> float:
        """Sum of the weights; 0 means that the counts do not fit."""
        return float(self.tables[0][tuple(n - 1 for n in self.tables[0].shape)])

    def sample(self, rng: np.random.Generator) -> list[tuple[WyckoffPosition, int]]:
        """One way as [(position, element index), ...], with probability weight / total."""
        rest = [n - 1 for n in self.tables[0].shape]
        found = []
        for i, (place, elements) in enumerate(self.items):
            position, size = self.positions[place], self.sizes[place]
            again = True
            while again:
                choices = [(None, float(self.tables[i + 1][tuple(rest)]))]
                for e in elements:
                    if rest[e] >= size:
                        after = [n - size * (e == k) for k, n in enumerate(rest)]
                        choices.append((e, _weight(position) * float(self.tables[i + 1 if position.once else i][tuple(after)])))
                at = rng.random() * sum(w for _, w in choices)
                chosen = None
                for e, w in choices:
                    at -= w
                    if w > 0:
                        chosen = e
                        if at < 0:
                            break
                if chosen is None:
                    break
                rest[chosen] -= size
                found.append((position, chosen))
                again = not position.once
        return found


def _weight(position: WyckoffPosition) -> float:
    return math.exp(-SITE_COST * position.dof)


@cache
def filling(space_group: int, counts: tuple[int, ...]) -> Filling:
    """The weighed ways to place `counts` (elements,) atoms per primitive cell, by dynamic programming over positions.

    ways_i(r) = ways_(i+1)(r) + w_i sum_e ways_j(r - m_i e), with m_i atoms on position i, w_i its weight, and j = i + 1 for a position without free
    parameters (used once, by one element e), else j = i with one item per element.
    """
    share = lattice_points(space_group)
    places = tuple(p for p in positions(space_group) if p.multiplicity // share <= max(counts))
    sizes = tuple(p.multiplicity // share for p in places)
    every = tuple(range(len(counts)))
    items = tuple(itertools.chain.from_iterable([(i, every)] if p.once else [(i, (e,)) for e in every] for i, p in enumerate(places)))
    last = np.zeros(tuple(n + 1 for n in counts))
    last[(0,) * len(counts)] = 1.0
    tables = [last]
    for place, elements in reversed(items):
        position, size, after = places[place], sizes[place], tables[0]
        table, weight = after.copy(), _weight(position)
        for e in elements:
            if position.once:
                table[_from(e, size, len(counts))] += weight * after[_until(e, size, len(counts))]
            else:
                for n in range(size, counts[e] + 1):
                    here = (slice(None),) * e + (n,)
                    table[here] += weight * table[(slice(None),) * e + (n - size,)]
        tables.insert(0, table)
    return Filling(places, sizes, items, tuple(tables))


def _from(axis: int, size: int, axes: int) -> tuple:
    return tuple(slice(size, None) if k == axis else slice(None) for k in range(axes))


def _until(axis: int, size: int, axes: int) -> tuple:
    return tuple(slice(None, -size) if k == axis else slice(None) for k in range(axes))


# cells and coordinates


def random_cell(space_group: int, volume: float, rng: np.random.Generator) -> np.ndarray:
    """Conventional cell (3, 3) of `volume` Å^3 with a shape as known crystals of the Bravais type have it."""
    kind, system = bravais(space_group), crystal_system(space_group)
    middle, spread = _priors()["shape"][BRAVAIS.index(kind)]
    ln_b, ln_c, alpha, beta, gamma = middle + np.minimum(spread, [0.6, 0.6, 15, 15, 15]) * np.clip(rng.normal(size=5), -2, 2)
    if system in ("tetragonal", "trigonal", "hexagonal", "cubic"):
        ln_b = 0.0
    if system == "cubic":
        ln_c = 0.0
    angles = np.array([alpha, beta, gamma])
    if system == "monoclinic":
        angles[[0, 2]] = 90.0
    elif system != "triclinic":
        angles[:] = 90.0, 90.0, 120.0 if system in ("trigonal", "hexagonal") else 90.0
    ca, cb, cg = np.cos(np.radians(np.clip(angles, 55.0, 125.0)))
    while 1 - ca**2 - cb**2 - cg**2 + 2 * ca * cb * cg < 0.1:  # a flat corner: pull the angles towards 90 degrees
        ca, cb, cg = 0.8 * ca, 0.8 * cb, 0.8 * cg
    sg = math.sqrt(1 - cg**2)
    height = math.sqrt(1 - ca**2 - cb**2 - cg**2 + 2 * ca * cb * cg) / sg
    lengths = np.exp([0.0, ln_b, ln_c])
    cell = np.array([[1, 0, 0], [cg, sg, 0], [cb, (ca - cb * cg) / sg, height]]) * lengths[:, None]
    return cell * (volume / np.linalg.det(cell)) ** (1 / 3)


class Placement:
    """Atoms of chosen sites in a conventional cell as a function of the free parameters, and how much they overlap.

    Overlap E = sum over orbits i (one atom each, times its multiplicity), atoms j and cells n of max(0, 1 - d/r)^2, own images included;
    r = `slack` times the usual shortest distance of the pair.
    """

    def __init__(self, sites: Sequence[tuple[WyckoffPosition, int]], cell: np.ndarray, slack: float = 0.9):
        self.sites, self.cell = list(sites), cell
        self.linear = np.concatenate([p.linear for p, _ in sites]).astype(float)
        self.shift = np.concatenate([p.shift for p, _ in sites]).astype(float)
        times = [p.multiplicity for p, _ in sites]
        self.site = np.repeat(np.arange(len(sites)), times)
        self.first = np.concatenate([[0], np.cumsum(times)[:-1]]).astype(int)
        self.species = np.array([z for _, z in sites])[self.site]
        self.free = np.array([[k in p.free for k in range(3)] for p, _ in sites], bool)
        self.wanted = slack * contacts(self.species)[self.first]
        reach = float(self.wanted.max())
        heights = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
        counts = np.minimum(np.ceil(reach / heights).astype(int), 3)
        self.images = np.array(list(itertools.product(*(range(-n, n + 1) for n in counts))), float)
        self.multiplicity = np.array(times, float)

    @property
    def dof(self) -> int:
        """Number of free parameters."""
        return int(self.free.sum())

    def frac(self, values: np.ndarray) -> np.ndarray:
        """(atoms, 3) fractional coordinates of the free parameters (dof,)."""
        xyz = np.zeros(self.free.shape)
        xyz[self.free] = values
        return np.einsum("aij,aj->ai", self.linear, xyz[self.site]) + self.shift

    def _vectors(self, frac: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        difference = frac[None] - frac[self.first][:, None]
        difference = difference - np.round(difference)
        vectors = (difference[:, :, None] + self.images) @ self.cell
        distance = np.sqrt((vectors**2).sum(-1) + 1e-12)
        own = (np.arange(len(frac))[None] == self.first[:, None])[:, :, None] & (np.abs(self.images).sum(-1) == 0)
        return vectors, np.where(own, np.inf, distance)

    def tightness(self, values: np.ndarray) -> float:
        """Smallest ratio of a distance to the usual shortest one of its pair."""
        _, distance = self._vectors(self.frac(values))
        return float((distance.min(-1) / self.wanted).min()) * 0.9

    def overlap(self, values: np.ndarray) -> tuple[float, np.ndarray]:
        """E and its gradient (dof,)."""
        vectors, distance = self._vectors(self.frac(values))
        depth = np.maximum(0.0, 1.0 - distance / self.wanted[:, :, None]) * 1.0
        energy = float((self.multiplicity[:, None, None] * depth**2).sum())
        finite = np.where(np.isfinite(distance), distance, 1.0)
        pull = -2.0 * self.multiplicity[:, None, None] * depth / (self.wanted[:, :, None] * finite)
        force = np.einsum("oan,oanj->oaj", pull, vectors) @ self.cell.T  # dE / d(difference)
        gradient = np.zeros(self.free.shape)
        np.add.at(gradient, self.site, np.einsum("oaj,ajk->ak", force, self.linear))
        gradient -= np.einsum("oj,ojk->ok", force.sum(1), self.linear[self.first])
        return energy, gradient[self.free]

    def settled(self, rng: np.random.Generator, starts: int = 12, steps: int = 60) -> tuple[np.ndarray, float]:
        """Free parameters without overlap as far as found, and their tightness: the best of `starts` random ones, then L-BFGS on the overlap."""
        from scipy.optimize import minimize

        if not self.dof:
            return np.zeros(0), self.tightness(np.zeros(0))
        trials = [rng.random(self.dof) for _ in range(starts)]
        best = min(trials, key=lambda v: self.overlap(v)[0])
        if self.overlap(best)[0] > 0:
            best = minimize(self.overlap, best, jac=True, method="L-BFGS-B", options={"maxiter": steps, "ftol": 1e-10}).x
        return best % 1.0, self.tightness(best)

    def crystal(self, values: np.ndarray, volume_factor: float = 1.0) -> Crystals:
        """The conventional cell as a batch of one."""
        frac = self.frac(values) % 1.0
        return Crystals.of(np.where(frac >= 1.0, 0.0, frac), self.species, self.cell * volume_factor ** (1 / 3))


def place(space_group: int, sites: Sequence[tuple[WyckoffPosition, int]], rng: np.random.Generator, *, shapes: int = 4,
          growth: float = 1.15) -> tuple[Symmetry, float] | None:
    """Symmetry of a crystal with these sites and no short distance, and its volume over the predicted one; None when `shapes` cells do not do.

    Each new cell is `growth` larger than the last beyond the second: fails after a bounded number of steps, never hangs.
    """
    atoms: dict[int, int] = {}
    for p, z in sites:
        atoms[z] = atoms.get(z, 0) + p.multiplicity
    predicted = volume_per_atom(atoms) * sum(atoms.values())
    factor = 1.0
    for trial in range(shapes):
        if trial > 1:
            factor *= growth
        placement = Placement(sites, random_cell(space_group, predicted * factor * math.exp(0.05 * rng.normal()), rng))
        values, tight = placement.settled(rng)
        if tight >= TIGHTEST:
            found = analyse(placement.crystal(values), 0.01, on_error="keep")[0]
            if isinstance(found, Symmetry):
                return found, factor
    return None


# the generator


class RandomSearch:
    """Generator of symmetric random structures; see the card.

    shapes    cells tried for one Wyckoff combination before it is given up
    patience  failed placements in a row, per candidate still wanted, before a proposal ends short
    """

    name = "random_search"

    def __init__(self, shapes: int = 4, patience: int = 12):
        self.shapes, self.patience = shapes, patience
        self.failed = 0  # placements given up in the last proposal

    def observe(self, verdicts: list[Verdict]) -> None:
        """Verdicts change nothing: random search does not learn."""

    def propose(self, ask: Ask, count: int, seed: int) -> list[Candidate]:
        """At most `count` random structures that honour the ask; fewer when placements keep failing, BadInput for an ask that nothing can fulfil."""
        check_ask(ask)
        rng = numpy_stream(seed, self.name)
        self.failed, idle, found, keys = 0, 0, [], set()
        plans = self._plans(ask, rng)
        while len(found) < count and idle < 20 + self.patience:
            plan = next(plans, None)
            if plan is None:
                if ask.formula is not None and not ask.prototypes and not found:
                    raise BadInput(_no_room(ask), "ask")
                break
            group, sites = plan
            placed = place(group, sites, rng, shapes=self.shapes)
            gene = None if placed is None else _gene(placed[0])
            if placed is None or not self._honours(ask, placed[0], group) or gene in keys and idle < 10:
                self.failed += placed is None
                idle += 1
                continue
            idle = 0
            keys.add(gene)
            found.append(self._candidate(placed, group, gene, seed, len(found)))
        return found

    def _candidate(self, placed: tuple[Symmetry, float], group: int, gene: str, seed: int, place_: int) -> Candidate:
        symmetry, factor = placed
        crystal = symmetry.primitive
        return Candidate(f"{self.name}-{seed}-{place_}", crystal, self.name, (), seed, {
            "space_group": symmetry.number, "drawn_space_group": group, "gene": gene, "formula": reduced_formula(crystal.species),
            "volume_over_predicted": round(factor, 4), "predicted_volume_per_atom": round(float(crystal.volume[0]) / crystal.atoms / factor, 3)})

    @staticmethod
    def _honours(ask: Ask, symmetry: Symmetry, group: int) -> bool:
        if ask.prototypes and symmetry.number != group:
            return False
        return (not ask.space_groups or symmetry.number in ask.space_groups) and ask.atoms[0] <= symmetry.primitive.atoms <= ask.atoms[1]

    def _plans(self, ask: Ask, rng: np.random.Generator):
        """(space group, [(position, element), ...]) without end, or an empty stream where no combination fits."""
        if ask.prototypes:
            yield from self._prototype_plans(ask, rng)
            return
        weight = _group_weights(ask)
        usable = []
        for formula in formula_stream(ask, rng):
            options = self._options(formula, ask, weight, rng)
            if options is not None:
                usable.append(formula)
                yield self._drawn(options, rng)
        for formula in itertools.cycle(usable):
            options = self._options(formula, ask, weight, rng)
            if options is not None:
                yield self._drawn(options, rng)

    @staticmethod
    def _drawn(options: tuple[int, list[int], Filling], rng: np.random.Generator) -> tuple[int, list[tuple[WyckoffPosition, int]]]:
        group, elements, fill = options
        return group, [(p, elements[e]) for p, e in fill.sample(rng)]

    @staticmethod
    def _options(formula: tuple[tuple[int, int], ...], ask: Ask, weight: np.ndarray, rng) -> tuple[int, list[int], Filling] | None:
        """A group and a number of formula units that fit, drawn by the frequency of the group; None when nothing fits."""
        elements, unit = [z for z, _ in formula], sum(n for _, n in formula)
        units = [k for k in range(1, ask.atoms[1] // unit + 1) if k * unit >= ask.atoms[0]]
        if not units:
            return None
        chance = np.array([math.exp(-0.5 * (k - units[0])) for k in units])
        tried = np.flatnonzero(weight > 0)
        order = rng.choice(tried, size=len(tried), replace=False, p=weight[tried] / weight[tried].sum())
        for group in order.tolist():
            for k in rng.choice(units, size=len(units), replace=False, p=chance / chance.sum()).tolist():
                fill = filling(group, tuple(k * n for _, n in formula))
                if fill.total > 0:
                    return group, elements, fill
        return None

    @staticmethod
    def _prototype_plans(ask: Ask, rng: np.random.Generator):
        """Genes of the wanted structure types with elements that suit: random cells and coordinates only."""
        drafts = []
        for ranked in Substitution(temperature=1.5, partial=False).drafts(ask, rng):
            drafts += ranked
            yield from (_sites(d) for d in ranked)
        yield from (_sites(d) for d in itertools.cycle(drafts))


def _sites(draft: Draft) -> tuple[int, list[tuple[WyckoffPosition, int]]]:
    gene = draft.template.gene.substituted({i + 1: z for i, z in enumerate(draft.species)})
    by_letter = {p.letter: p for p in positions(gene.space_group)}
    return gene.space_group, [(by_letter[letter], z) for letter, z in gene.sites]


def _gene(symmetry: Symmetry) -> str:
    return Gene(symmetry.number, tuple(sorted((letter, z) for letter, z, _ in symmetry.standard_sites))).key


def _no_room(ask: Ask) -> str:
    groups = f" in the space groups {sorted(ask.space_groups)[:8]}" if ask.space_groups else ""
    return f"no Wyckoff positions hold {reduced_formula(dict(ask.formula))} with {ask.atoms[0]} to {ask.atoms[1]} atoms{groups}"


def _group_weights(ask: Ask) -> np.ndarray:
    """(231,) weight of each space group: its frequency among known crystals plus one, zero where not wanted."""
    weight = np.sqrt(_priors()["groups"].astype(float)) + 0.5
    weight[0] = 0.0
    if ask.space_groups:
        weight[[g for g in range(231) if g not in ask.space_groups]] = 0.0
    return weight


def formula_stream(ask: Ask, rng: np.random.Generator) -> Iterator[tuple[tuple[int, int], ...]]:
    """Distinct reduced formulas that fulfil the ask, chemically alike to known ones, charge-balanced ones first among each few dozen."""
    if ask.formula is not None:
        yield ask.formula
        return
    open_ask = replace(ask, space_groups=frozenset(), prototypes=(), atoms=(1, max(ask.atoms[1], 40)))
    seen: set[tuple] = set()
    for drafts in Substitution(temperature=1.5, partial=False).drafts(open_ask, rng):
        for draft in drafts[:40]:
            formula = reduced(draft.template.composition(draft.species))
            if formula not in seen and sum(n for _, n in formula) <= ask.atoms[1]:
                seen.add(formula)
                yield formula
