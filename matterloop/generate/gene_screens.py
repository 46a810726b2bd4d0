"""Screens on Wyckoff genes before anything is built or relaxed: duplicates, known genes, known formulas, charges, predicted energy. None asks an oracle.

A screen has a name and says which genes may pass; `screened` runs several, each on what the ones before let through, and counts what every one removed and
how long it took, so that a protocol can print it. Cheap ones first: order them as `usual` does. Charge as in W. Sun et al., Sci. Adv. 2, e1600225 (2016) is left to
crystal/composition.py, SMACT's test to judge/chemistry_sense.py (D. W. Davies et al., Chem 1, 617 (2016)); screening many genes for each relaxed one: N. Kazeev
et al., arXiv:2503.02407.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple, Protocol

import numpy as np

from ..archive.shipped import read_table
from ..base.errors import BadInput
from ..crystal.composition import is_charge_neutral, reduced, reduced_formula
from ..crystal.space_groups import ENANTIOMORPHS
from ..judge.chemistry_sense import charge_balanced
from ..measure.hull import Hull
from ..measure.reference import reference_hull
from ..predict.gene_energy import Floor, GeneEnergy
from ..represent.wyckoff_gene import Gene


class Screen(Protocol):
    """A name for tables, and a call: genes to (genes,) booleans, True where the gene passes."""

    name: str

    def __call__(self, genes: Sequence[Gene]) -> np.ndarray: ...


@dataclass(frozen=True)
class Distinct:
    """The first of every key passes; of keys in `seen` none does, and what passes joins them, so that one screen serves a stream of batches."""

    seen: set[str] = field(default_factory=set)
    name: str = "duplicate gene"

    def __call__(self, genes: Sequence[Gene]) -> np.ndarray:
        out = np.zeros(len(genes), bool)
        for i, gene in enumerate(genes):
            if gene.key not in self.seen:
                self.seen.add(gene.key)
                out[i] = True
        return out


@dataclass(frozen=True)
class NovelGene:
    """Keys of known genes (reference, training set, earlier rounds) do not pass."""

    known: Collection[str]
    name: str = "known gene"

    def __call__(self, genes: Sequence[Gene]) -> np.ndarray:
        return np.array([g.key not in self.known for g in genes], bool)


@dataclass(frozen=True)
class NovelFormula:
    """A reduced formula in a space group that is listed does not pass; two enantiomorphic groups count as one. Made by `novel_formula`."""

    known: Collection[tuple[str, int]]
    name: str = "known formula in its space group"

    def __call__(self, genes: Sequence[Gene]) -> np.ndarray:
        return np.array([(reduced_formula(g.composition), _unhanded(g.space_group)) not in self.known for g in genes], bool)


def novel_formula(formulas: Iterable[str], space_groups: Iterable[int]) -> NovelFormula:
    """The screen against rows of (reduced formula as `reduced_formula` writes it, space-group number); rows with the number 0 count for no group."""
    return NovelFormula(frozenset((f, _unhanded(int(g))) for f, g in zip(formulas, space_groups, strict=True) if g))


@cache
def known_formulas() -> NovelFormula:
    """The screen against the formulas and space groups that the Materials Project held in 2019 (shipped names without structures)."""
    frame = read_table("known_formulas")
    return novel_formula(np.repeat(frame.formula.to_numpy(), frame.space_groups.map(len)), np.concatenate(frame.space_groups.to_list()))


def _unhanded(space_group: int) -> int:
    return ENANTIOMORPHS.get(space_group, space_group)


@dataclass(frozen=True)
class ChargeNeutral:
    """Common oxidation states can balance, see `crystal.composition.is_charge_neutral`."""

    mixed_valence: bool = True
    name: str = "charges do not balance"

    def __call__(self, genes: Sequence[Gene]) -> np.ndarray:
        return _by_composition(genes, lambda c: is_charge_neutral(dict(c), mixed_valence=self.mixed_valence))


@dataclass(frozen=True)
class ChemicalSense:
    """SMACT's validity (charges and electronegativities), see `judge.chemistry_sense.charge_balanced`."""

    name: str = "not valid by SMACT"

    def __call__(self, genes: Sequence[Gene]) -> np.ndarray:
        return _by_composition(genes, charge_balanced)


def _by_composition(genes: Sequence[Gene], passes: Callable[[tuple[tuple[int, int], ...]], bool]) -> np.ndarray:
    """Ask once for each reduced composition."""
    known: dict[tuple[tuple[int, int], ...], bool] = {}
    out = np.zeros(len(genes), bool)
    for i, gene in enumerate(genes):
        composition = reduced(gene.composition)
        if composition not in known:
            known[composition] = passes(composition)
        out[i] = known[composition]
    return out


@dataclass(frozen=True)
class NearHull:
    """Chance of lying at most `limit` eV/atom above the hull, by a gene-energy predictor: the best `share` pass, or those with at least `chance`.

    predictor  with a floor, as `gene_energy()` gives it
    share      of the genes at hand, 0 to 1, ties in their order; the batch decides, so give many at once
    chance     smallest chance that passes; both: both must hold. Genes without a hull do not pass
    factor     (genes,) by which the predicted chance is multiplied: how likely it is that the crystal meant is found at all
    told       chances by the key of their gene, of the genes seen last
    """

    predictor: GeneEnergy
    limit: float = 0.1
    share: float = 1.0
    chance: float = 0.0
    factor: Callable[[Sequence[Gene]], np.ndarray] | None = None
    name: str = "energy predicted too high"
    told: dict[str, float] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self):
        if not 0 < self.share <= 1 or not 0 <= self.chance < 1:
            raise BadInput(f"share is {self.share} and chance {self.chance}; allowed are 0 < share <= 1 and 0 <= chance < 1", self.name)

    def __call__(self, genes: Sequence[Gene]) -> np.ndarray:
        if not len(genes):
            return np.zeros(0, bool)
        found = self.chances(genes)
        ranked = np.argsort(-np.nan_to_num(found, nan=-1.0), kind="stable")
        out = np.zeros(len(genes), bool)
        out[ranked[: max(1, round(self.share * len(genes)))]] = True
        return out & (found >= self.chance)

    def chances(self, genes: Sequence[Gene]) -> np.ndarray:
        """(genes,) what they are ranked by."""
        if any(g.key not in self.told for g in genes):
            found = self.predictor.predict(genes).probability(self.limit)
            found = found if self.factor is None else found * self.factor(genes)
            self.told.clear()
            self.told.update(zip((g.key for g in genes), found.tolist(), strict=True))
        return np.array([self.told[g.key] for g in genes])


class Removed(NamedTuple):
    """One screen's share of the work: genes it was given, genes it removed, seconds of CPU time."""

    name: str
    given: int
    removed: int
    seconds: float


@dataclass(frozen=True)
class Screened:
    """`kept`: numbers of the genes that passed every screen, ascending; `removed`: one entry per screen, in order."""

    kept: tuple[int, ...]
    removed: tuple[Removed, ...]


def screened(genes: Sequence[Gene], screens: Sequence[Screen]) -> Screened:
    """Run the screens in their order, each on what the ones before let through."""
    kept, removed = np.arange(len(genes)), []
    for screen in screens:
        begun, given = time.process_time(), len(kept)
        kept = kept[screen([genes[i] for i in kept])]
        removed.append(Removed(screen.name, given, given - len(kept), time.process_time() - begun))
    return Screened(tuple(kept.tolist()), tuple(removed))


def usual(known: Collection[str], formulas: NovelFormula | None = None, predictor: GeneEnergy | None = None, *, limit: float = 0.1, share: float = 0.3,
          sense: bool = False) -> list[Screen]:
    """Duplicates, known genes, known formulas, SMACT if `sense`, predicted energy: cheapest first. Absent parts are left out."""
    return [Distinct(), NovelGene(known), *([formulas] if formulas else []), *([ChemicalSense()] if sense else []),
            *([NearHull(predictor, limit, share)] if predictor else [])]


# the predictor with a hull


def hull_floor(hull: Hull) -> Floor:
    """Formation energy of a hull at compositions, eV/atom: what a crystal must reach to be stable; nan where a chemical system has no hull."""

    def floor(compositions) -> np.ndarray:
        distinct: dict[tuple, int] = {}
        which = [distinct.setdefault(reduced(c), len(distinct)) for c in compositions]
        asked = [dict(c) for c in distinct]
        lowest = -hull.energy_above(asked, np.zeros(len(asked)), missing="report").above
        return hull.formation_energy(asked, lowest)[which] if asked else np.zeros(0)

    return floor


def gene_energy(potential: str = "chgnet", hull: Hull | None = None) -> GeneEnergy:
    """The shipped predictor for `potential` over its shipped reference hull, or over `hull`; Missing where no weights ship."""
    return GeneEnergy.load(f"gene_energy_{potential}", hull_floor(hull or reference_hull(potential)))
