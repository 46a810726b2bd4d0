"""From a Wyckoff gene to crystals: lattice and free coordinates for a space group and the elements on its positions.

Where a known crystal has the pattern of the gene its lattice shape and coordinates serve, elements exchanged (retrieval.py), scaled to the predicted volume.
Elsewhere a network draws many placements (placement_network.py), or, without one, cells and coordinates are random; the best of them by the network's
closeness and by overlap are pushed apart (declash.py) and ranked. No energy of any potential enters. Recipe: facts of N. Kazeev et al., ICML 2025,
arXiv:2503.02407 and its code (start structures from prototypes; one to three starts by degrees of freedom).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch

from ..archive.shipped import list_shipped
from ..base.elements import symbol
from ..base.errors import BadInput
from ..base.seeds import numpy_stream
from ..crystal.composition import reduced_formula
from ..crystal.lattice import free_parameters as lattice_values
from ..crystal.space_groups import ENANTIOMORPHS, crystal_system, lattice_points
from ..crystal.wyckoff import Parameters, from_parameters, position
from ..represent.wyckoff_gene import Gene
from . import volume as shipped_volume
from .declash import TIGHTEST, Contacts, Moving, contact_of_pairs, declash, neighbours, overlap, pushed, scaled, tightness_of
from .placement_network import REACH, PlacementNetwork, shipped_network
from .random_search import random_cell
from .retrieval import Library, Match, atoms_of, gene_of, mirrored, shipped_library, volume_of
from .similarity import similarity as shipped_similarity

HOW = ("prototype", "coordinates", "declash")
LOOKED_AT = 24  # known crystals of one pattern that are compared in geometry
REGROUPED = 8
GROWTHS = 2  # of a known crystal's cell whose new atoms are too near
ALIKE = 0.05  # of (V/N)^(1/3): two geometries whose mean neighbour distances differ by less are one
NEIGHBOURS = 12  # whose distances are compared
REACHED = 2.0  # (V/N)^(1/3) within which they are looked for
CHUNK = 6  # known crystals looked at together
REFINED = 6  # drawn placements of a round that are pushed
FIELD_STEPS = 40  # along closeness and overlap
ROUNDS = 3  # of drawing; each may give REFINED starts

Volume = Callable[[Gene, Parameters | None], float]


@dataclass(frozen=True)
class Start:
    """A placement: its free parameters, how they came about ("prototype", "coordinates" or "declash") and of which known crystal ("" without).

    The gene of `parameters` is the one asked for, in some setting of its space group. score: of a prototype the mean ln of observed over expected swaps, else
    minus closeness per atom (of "declash" minus the overlap).
    """

    parameters: Parameters
    how: str
    parent: str = ""
    score: float = 0.0


@dataclass(frozen=True)
class Placed:
    """Starts of one gene, best first, and why there are fewer than wanted ("" where there are not)."""

    starts: tuple[Start, ...]
    reason: str = ""


def starts_by_dof(gene: Gene) -> int:
    """1 start without free coordinate, 2 with one or two, 3 with more."""
    return 1 if gene.dof == 0 else 2 if gene.dof <= 2 else 3


def predicted_volume(gene: Gene, parent: Parameters | None) -> float:
    """Å^3 per atom by the shipped volume model, corrected by the structure type's or else the parent's packing."""
    composition = gene.composition
    if (excess := shipped_volume.type_excess(gene.anonymous)) is not None:
        return shipped_volume.volume_per_atom(composition) * math.exp(excess)
    if parent is None:
        return shipped_volume.volume_per_atom(composition)
    return shipped_volume.volume_from_parent(composition, gene_of(parent).composition, volume_of(parent))


class Placer:
    """Places genes; made once, used for many.

    library      known crystals: a Library, a list of Parameters, or "shipped" (the relaxed crystals of the shipped reference)
    similarity   (119, 119) ln of observed over expected swaps of elements; the shipped table if absent
    volume       (gene, parameters of the known crystal or None) to Å^3 per atom
    contacts     (n,) atomic numbers to (n, n) usual shortest distances in Å
    network      "shipped", an own PlacementNetwork, or None: random cells and coordinates in its place
    samples      placements drawn of a gene in each round
    own_formula  False: known crystals of the gene's own reduced formula do not count (for measurements)
    ways         which of HOW may be used; "declash" is what is left where there is no network
    """

    def __init__(
        self, library: Library | Sequence[Parameters] | Literal["shipped"] = "shipped", *, similarity: np.ndarray | None = None, volume: Volume = predicted_volume,
        contacts: Contacts = shipped_volume.contacts, network: PlacementNetwork | Literal["shipped"] | None = "shipped", samples: int = 48,
        own_formula: bool = True, ways: Sequence[str] = HOW,
    ):
        if unknown := set(ways) - set(HOW):
            raise BadInput(f"got {', '.join(sorted(unknown))}; allowed are {', '.join(HOW)}", "ways")
        if samples < 1:
            raise BadInput(f"samples is {samples}, at least 1 is needed", "placement")
        self.library = shipped_library() if isinstance(library, str) else library if isinstance(library, Library) else Library(library)
        self.similarity = shipped_similarity() if similarity is None else similarity
        self.volume, self.contacts, self.samples, self.own_formula, self.ways = volume, contacts, samples, own_formula, tuple(ways)
        self._network = network

    @cached_property
    def network(self) -> PlacementNetwork | None:
        """The network that draws, read when first needed."""
        if self._network == "shipped":
            return shipped_network() if "placement" in list_shipped() else None
        return self._network

    def place(self, genes: Sequence[Gene], seed: int, starts: Callable[[Gene], int] | None = None) -> list[list[Start]]:
        """At most starts(gene) (default `starts_by_dof`) placements of each gene, best first; fewer or none where nothing sensible was found (see `place_one`).

        What a gene gets depends on the gene and the seed alone; fewer starts are the first of more.
        """
        wanted = [(starts_by_dof if starts is None else starts)(g) for g in genes]
        single = [i for i, n in enumerate(wanted) if n == 1]
        quick = dict(zip(single, self._nearest([genes[i] for i in single]), strict=True)) if "prototype" in self.ways else {}
        return [[quick[i]] if quick.get(i) is not None else list(self.place_one(g, seed, n).starts) for i, (g, n) in enumerate(zip(genes, wanted, strict=True))]

    def _nearest(self, genes: Sequence[Gene]) -> list[Start | None]:
        """The first start of each gene, all at once, where it is the nearest known crystal, pushed apart where atoms are too near; None elsewhere."""
        found: list[Start | None] = [None] * len(genes)
        rows, sized, matches = [], [], []
        for i, given in enumerate(genes):
            if max(z for _, z in given.sites) > shipped_volume.MAX_Z and self.volume is predicted_volume:
                continue
            gene = Gene.parse(given.key)
            for match in self.library.matches(gene, self.similarity, self.own_formula, 1):
                rows.append(i)
                sized.append(scaled(match.parameters, self.volume(gene, match.known) / volume_of(match.known)))
                matches.append(match)
        try:
            tight = tightness_of(sized, self.contacts)
            narrow = [k for k, t in enumerate(tight) if t < TIGHTEST]
            apart = dict(zip(narrow, declash([sized[k] for k in narrow], self.contacts, growths=GROWTHS), strict=True))
        except BadInput:  # one cell among them is too flat: each for itself
            return found
        for k, (i, p, match) in enumerate(zip(rows, sized, matches, strict=True)):
            if k not in apart or not apart[k].reason:
                p = apart[k].parameters if k in apart else p
                (found[i],) = self._handed(genes[i], iter((self._of_prototype(p, match),)))
        return found

    def place_one(self, gene: Gene, seed: int, count: int) -> Placed:
        """At most `count` placements of a gene, with the reason where there are fewer."""
        if max(z for _, z in gene.sites) > shipped_volume.MAX_Z and self.volume is predicted_volume:
            return Placed((), f"the volume of crystals with {symbol(max(z for _, z in gene.sites))} is not known")
        failed: list[str] = []
        found: list[Start] = []
        try:
            for start in itertools.islice(self._handed(gene, self._starts(gene, seed, failed)), max(count, 0)):
                found.append(start)
        except BadInput as error:  # a cell too flat to list its neighbours
            failed.append(str(error))
        return Placed(tuple(found), "" if len(found) >= count else failed[-1] if failed else "no further placement that differs")

    def _handed(self, gene: Gene, starts: Iterator[Start]) -> Iterator[Start]:
        """Starts in the space group of the gene: mirror images where it is the higher of two enantiomorphic groups."""
        for start in starts:
            if gene.space_group in ENANTIOMORPHS and start.parameters.space_group != gene.space_group:
                try:
                    start = Start(mirrored(start.parameters), start.how, start.parent, start.score)
                except BadInput:
                    pass  # its symmetry is higher than the gene's: the image is as good
            yield start

    def _starts(self, gene: Gene, seed: int, failed: list[str]) -> Iterator[Start]:
        """Placements of distinct geometry: prototypes, then drawn ones."""
        gene, seen = Gene.parse(gene.key), _Seen()
        yield from self._prototypes(gene, seen, failed)
        yield from self._drawn(gene, seed, seen, failed)

    # known crystals

    def _prototypes(self, gene: Gene, seen: _Seen, failed: list[str]) -> Iterator[Start]:
        if "prototype" not in self.ways:
            return
        matches = self.library.matches(gene, self.similarity, self.own_formula, LOOKED_AT)
        if not matches:
            matches = list(itertools.islice(self.library.regrouped(gene, self.similarity, self.own_formula), REGROUPED))
        first, size = 0, 1  # mostly the first one serves: looked at alone, then more at once
        while first < len(matches):
            chunk = matches[first : first + size]
            first, size = first + size, min(3 * size, CHUNK)
            sized = [scaled(m.parameters, self.volume(gene, m.known) / volume_of(m.known)) for m in chunk]
            for match, p, shape, tight in zip(chunk, sized, fingerprints(sized), tightness_of(sized, self.contacts), strict=True):
                if seen.knows(shape):
                    continue
                if tight < TIGHTEST:
                    pushed_apart = declash([p], self.contacts, growths=GROWTHS)[0]
                    if pushed_apart.reason:
                        failed.append(f"{match.parent}: {pushed_apart.reason}")
                        continue
                    p = pushed_apart.parameters
                seen.add(shape)
                yield self._of_prototype(p, match)

    @staticmethod
    def _of_prototype(p: Parameters, match: Match) -> Start:
        return Start(p, "prototype", f"{match.parent} ({reduced_formula(gene_of(match.known).composition)})", match.score)

    # drawn placements

    def _drawn(self, gene: Gene, seed: int, seen: _Seen, failed: list[str]) -> Iterator[Start]:
        if not {"coordinates", "declash"} & set(self.ways):
            return
        fixed = gene.dof == 0 and crystal_system(gene.space_group) == "cubic"
        samples = 1 if fixed else self.samples
        for number in range(1 if fixed else ROUNDS):
            rng, fresh = numpy_stream(seed, "placement", gene.key, number), False
            learnt = "coordinates" in self.ways and self.network is not None
            if not learnt and "declash" not in self.ways:
                return
            drawn = self._by_network(gene, samples, rng) if learnt else [self._at_random(gene, rng) for _ in range(max(samples // 4, 1))]
            scores = self._scores(drawn, learnt)
            best = [drawn[i] for i in np.argsort(scores, kind="stable")[:REFINED].tolist()]
            if learnt:
                best = pushed(best, self.contacts, steps=FIELD_STEPS, field=self._field, field_reach=REACH)
            settled = declash(best, self.contacts)
            good = [s.parameters for s in settled if not s.reason]
            failed += [s.reason for s in settled if s.reason]
            ranked = self._scores(good, learnt)
            shapes = fingerprints(good)
            for i in np.argsort(ranked, kind="stable").tolist():
                if seen.knows(shapes[i]):
                    continue
                seen.add(shapes[i])
                fresh = True
                yield Start(good[i], "coordinates" if learnt else "declash", "", -float(ranked[i]))
            if good and not fresh:
                return

    def _by_network(self, gene: Gene, samples: int, rng: np.random.Generator) -> list[Parameters]:
        """Samples in up to four of the settings in which the gene can be written, sites in random order."""
        told = gene.equivalents
        chosen = [told[i] for i in rng.choice(len(told), size=min(4, len(told)), replace=False).tolist()]
        prior, found = math.log(self.volume(gene, None)), []
        for k, one in enumerate(chosen):
            sites = [one.sites[i] for i in rng.permutation(len(one.sites)).tolist()]
            count = samples // len(chosen) + (k < samples % len(chosen))
            if count:
                found += self.network.sample(one.space_group, sites, prior, count, rng)
        return [Parameters(p.space_group, p.lattice, tuple(sorted(p.sites))) for p in found]

    def _at_random(self, gene: Gene, rng: np.random.Generator) -> Parameters:
        atoms = gene.atoms * lattice_points(gene.space_group)
        cell = torch.from_numpy(random_cell(gene.space_group, self.volume(gene, None) * atoms * math.exp(0.05 * rng.normal()), rng))
        lattice = tuple(lattice_values(cell, crystal_system(gene.space_group)).tolist())
        return Parameters(gene.space_group, lattice, tuple((letter, z, tuple(rng.random(position(gene.space_group, letter).dof).tolist())) for letter, z in gene.sites))

    def _field(self, orbits, pairs, distance, cell) -> torch.Tensor:
        return 0.3 * self.network.closeness(orbits, pairs, distance, cell)

    @torch.no_grad()
    def _scores(self, parameters: Sequence[Parameters], learnt: bool) -> np.ndarray:
        """(n,) lower is better: overlap, and with a network closeness, per atom of the primitive cell."""
        if not parameters:
            return np.zeros(0)
        moving = Moving.of(parameters)
        frac, cell = moving.geometry(moving.values, torch.zeros_like(moving.lattice))
        pairs = neighbours(moving.orbits, frac, cell, REACH)
        distance = pairs.distances(moving.orbits, frac, cell)
        total = overlap(moving.orbits, pairs, distance, contact_of_pairs(moving.orbits, pairs, self.contacts))
        if learnt:
            total = 3.0 * total + self.network.closeness(moving.orbits, pairs, distance, cell)
        return total.numpy() / np.array([atoms_of(p) / lattice_points(p.space_group) for p in parameters])


class _Seen:
    """Geometries of one gene that have been handed out."""

    def __init__(self):
        self._shapes: list[np.ndarray] = []

    def knows(self, shape: np.ndarray) -> bool:
        return any(np.abs(shape - other).max() < ALIKE for other in self._shapes)

    def add(self, shape: np.ndarray) -> None:
        self._shapes.append(shape)


def fingerprints(parameters: Sequence[Parameters]) -> list[np.ndarray]:
    """(elements * NEIGHBOURS,) of each crystal: mean distances to the nearest neighbours of the atoms of each element, over (V/N)^(1/3), none above REACHED.

    Equal in every setting and at every volume.
    """
    if not parameters:
        return []
    moving = Moving.of(parameters)
    orbits = moving.orbits
    frac, cell = moving.geometry(moving.values, torch.zeros_like(moving.lattice))
    unit = (torch.linalg.det(cell) / orbits.layout.offsets.diff()) ** (1 / 3)
    pairs = neighbours(orbits, frac, cell, REACHED * unit)
    distance = (pairs.distances(orbits, frac, cell) / unit[orbits.owner[pairs.orbit]]).numpy()
    orbit, owner = pairs.orbit.numpy(), orbits.owner.numpy()
    order = np.lexsort((distance, orbit))
    start = np.searchsorted(orbit[order], np.arange(len(owner)))
    rank = np.arange(len(order)) - start[orbit[order]]
    nearest = np.full((len(owner), NEIGHBOURS), REACHED)
    kept = rank < NEIGHBOURS
    nearest[orbit[order][kept], rank[kept]] = distance[order][kept]
    species, weight, out = orbits.layout.species[orbits.first].numpy(), orbits.weight.numpy(), []
    for i in range(len(parameters)):
        rows = owner == i
        z, w, d = species[rows], weight[rows], nearest[rows]
        out.append(np.concatenate([w[z == e] @ d[z == e] / w[z == e].sum() for e in np.unique(z)]))
    return out


def crystals_of(starts: Sequence[Start]):
    """The starts as a batch of crystals in conventional cells."""
    return from_parameters([s.parameters for s in starts])
