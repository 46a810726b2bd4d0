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
from typing import Literal

import numpy as np
import torch

from ..base.elements import symbol
from ..base.errors import BadInput
from ..base.seeds import numpy_stream
from ..crystal.composition import reduced_formula
from ..crystal.lattice import free_parameters as lattice_values
from ..crystal.space_groups import ENANTIOMORPHS, crystal_system, lattice_points
from ..crystal.wyckoff import Parameters, from_parameters, position
from ..represent.wyckoff_gene import Gene
from . import volume as shipped_volume
from .declash import Contacts, Declashed, Moving, contact_of_pairs, declash, neighbours, overlap, pushed, scaled, tightness_of
from .placement_network import REACH, PlacementNetwork, shipped_network
from .random_search import random_cell
from .retrieval import Library, Match, atoms_of, gene_of, mirrored, shipped_library, volume_of
from .similarity import similarity as shipped_similarity

HOW = ("prototype", "coordinates", "declash")
LOOKED_AT = 24  # known crystals of one pattern that are compared in geometry
REGROUPED = 8
ALIKE = 0.05  # of (V/N)^(1/3): two geometries whose mean neighbour distances differ by less are one
NEIGHBOURS = 12  # whose distances are compared
REFINED = 6  # drawn placements of a round that are pushed
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
        self.network = shipped_network() if isinstance(network, str) and "coordinates" in ways else None if isinstance(network, str) else network

    def place(self, genes: Sequence[Gene], seed: int, starts: Callable[[Gene], int] | None = None) -> list[list[Start]]:
        """At most starts(gene) (default `starts_by_dof`) placements of each gene, best first; fewer or none where nothing sensible was found (see `place_one`).

        What a gene gets depends on the gene and the seed alone; fewer starts are the first of more.
        """
        wanted = starts_by_dof if starts is None else starts
        return [list(self.place_one(g, seed, wanted(g)).starts) for g in genes]

    def place_one(self, gene: Gene, seed: int, count: int) -> Placed:
        """At most `count` placements of a gene, with the reason where there are fewer."""
        if max(z for _, z in gene.sites) > shipped_volume.MAX_Z and self.volume is predicted_volume:
            return Placed((), f"the volume of crystals with {symbol(max(z for _, z in gene.sites))} is not known")
        failed: list[str] = []
        found = list(itertools.islice(self._handed(gene, self._starts(gene, seed, failed)), max(count, 0)))
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
        """Placements of distinct geometry without end in sight: prototypes, then drawn ones."""
        gene, known = Gene.parse(gene.key), []
        for start in itertools.chain(self._prototypes(gene, failed), self._drawn(gene, seed, failed)):
            shape = fingerprint(start.parameters)
            if all(len(shape) != len(other) or np.abs(shape - other).max() > ALIKE for other in known):
                known.append(shape)
                yield start

    # known crystals

    def _prototypes(self, gene: Gene, failed: list[str]) -> Iterator[Start]:
        if "prototype" not in self.ways:
            return
        matches = self.library.matches(gene, self.similarity, self.own_formula)[:LOOKED_AT]
        more = itertools.islice(self.library.regrouped(gene, self.similarity, self.own_formula), REGROUPED) if not matches else ()
        for match in itertools.chain(matches, more):
            settled = self._settled(gene, match)
            if settled.reason:
                failed.append(f"{match.parent}: {settled.reason}")
            else:
                yield Start(settled.parameters, "prototype", f"{match.parent} ({reduced_formula(gene_of(match.known).composition)})", match.score)

    def _settled(self, gene: Gene, match: Match) -> Declashed:
        """The known crystal at the volume of the gene, pushed where atoms are too near."""
        p = scaled(match.parameters, self.volume(gene, match.known) / volume_of(match.known))
        tight = tightness_of([p], self.contacts)[0]
        return Declashed(p, tight, 0, "") if tight >= 0.80 else declash([p], self.contacts, growths=2)[0]

    # drawn placements

    def _drawn(self, gene: Gene, seed: int, failed: list[str]) -> Iterator[Start]:
        if not {"coordinates", "declash"} & set(self.ways):
            return
        for number in range(ROUNDS):
            rng = numpy_stream(seed, "placement", gene.key, number)
            learnt = self.network is not None and "coordinates" in self.ways
            drawn = self._by_network(gene, rng) if learnt else [self._at_random(gene, rng) for _ in range(max(self.samples // 4, 1))]
            scores = self._scores(drawn, learnt)
            best = [drawn[i] for i in np.argsort(scores, kind="stable")[:REFINED].tolist()]
            if learnt:
                best = pushed(best, self.contacts, field=self._field, field_reach=REACH)
            settled = declash(best, self.contacts)
            good = [s.parameters for s in settled if not s.reason]
            failed += [s.reason for s in settled if s.reason]
            ranked = self._scores(good, learnt)
            for i in np.argsort(ranked, kind="stable").tolist():
                yield Start(good[i], "coordinates" if learnt else "declash", "", -float(ranked[i]))

    def _by_network(self, gene: Gene, rng: np.random.Generator) -> list[Parameters]:
        """Samples in up to four of the settings in which the gene can be written, sites in random order."""
        told = gene.equivalents
        chosen = [told[i] for i in rng.choice(len(told), size=min(4, len(told)), replace=False).tolist()]
        prior, found = math.log(self.volume(gene, None)), []
        for k, one in enumerate(chosen):
            sites = [one.sites[i] for i in rng.permutation(len(one.sites)).tolist()]
            count = self.samples // len(chosen) + (k < self.samples % len(chosen))
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


def fingerprint(parameters: Parameters) -> np.ndarray:
    """(elements * NEIGHBOURS,) mean distances to the nearest neighbours of the atoms of each element, over (V/N)^(1/3): equal in every setting."""
    moving = Moving.of([parameters])
    orbits = moving.orbits
    frac, cell = moving.geometry(moving.values, torch.zeros_like(moving.lattice))
    unit, factor = volume_of(parameters) ** (1 / 3), 1.7
    while True:
        pairs = neighbours(orbits, frac, cell, factor * unit)
        if int(torch.bincount(pairs.orbit, minlength=len(orbits.first)).min()) >= NEIGHBOURS or factor > 6:
            break
        factor *= 1.3
    distance = pairs.distances(orbits, frac, cell).numpy() / unit
    species, weight = orbits.layout.species[orbits.first].numpy(), orbits.weight.numpy()
    nearest = np.full((len(species), NEIGHBOURS), factor)
    for k in range(len(species)):
        found = np.sort(distance[pairs.orbit.numpy() == k])[:NEIGHBOURS]
        nearest[k, : len(found)] = found
    rows = [np.average(nearest[species == z], axis=0, weights=weight[species == z]) for z in np.unique(species)]
    return np.concatenate(rows)


def crystals_of(starts: Sequence[Start]):
    """The starts as a batch of crystals in conventional cells."""
    return from_parameters([s.parameters for s in starts])
