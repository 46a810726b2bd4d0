"""Symmetry-aware substitution: elements of known structures give way to similar ones, whole or orbit by orbit.

Merchant et al., Nature 624, 80 (2023), 10.1038/s41586-023-06735-9 (symmetry-aware partial substitution); Hautier et al., Inorg. Chem. 50, 656 (2011) and
Glawe et al., New J. Phys. 18, 093011 (2016) (data-mined likelihood of a substitution).
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..archive.records import Ask, Candidate, Verdict
from ..base.registry import Card
from ..base.seeds import numpy_stream
from ..crystal.composition import is_charge_neutral, reduced, reduced_formula
from ..crystal.prototypes import ROLES, named
from .library import Template, built_in, describe, shipped, template_of, with_splits
from .proposal import check_ask
from .similarity import similarity

CARD = Card(
    name="substitution",
    build="Substitution",
    role="generator",
    paper="10.1038/s41586-023-06735-9",
    year=2023,
    capabilities=("elements", "formula", "anonymous", "atoms", "space_group", "prototype"),
    small={"templates": "built_in"},
    differs=(
        "partial substitution gives a whole Wyckoff orbit of the primitive cell to another element; the paper also splits orbits in supercells",
        "swap likelihoods are mined per element, not per ion, from 12,700 Materials Project crystals; charge balance is a separate bonus",
        "no filter by a trained energy model: the campaign relaxes and judges",
    ),
    summary="element swaps in known structure types, ranked by how often such swaps occur, scaled to a predicted volume",
)

NEUTRAL_BONUS = 3.0  # ln units by which a charge-balanced formula is preferred
STAY = 2.5  # ln units by which an element stays on its site when elements are drawn
UNBALANCED_KEPT = 0.3  # share of the unbalanced drafts that are looked at
TIGHTEST = 0.80  # a proposal whose shortest distance is below this share of the usual shortest one of its pair is dropped
MAX_SAME_FORMULA = 3
CHUNK = 160  # drafts ranked together
CHUNK_TAKEN = 40  # of which the first are proposed, the rest when nothing new comes
MAX_MAPPINGS = 200_000  # of a formula onto templates


@dataclass(frozen=True, eq=False)
class Draft:
    """A template with elements chosen, not yet a crystal."""

    template: Template
    species: tuple[int, ...]
    score: float
    neutral: bool

    @cached_property
    def gene(self) -> str:
        """Key of the Wyckoff gene: equal keys are the same proposal up to free parameters."""
        return self.template.gene.substituted({i + 1: z for i, z in enumerate(self.species)}).key

    @property
    def formula(self) -> str:
        """Reduced formula."""
        return reduced_formula(self.template.composition(self.species))


class Substitution:
    """Generator of substituted prototypes; see the card.

    temperature  of the choice of elements: 0.5 stays close to known compounds, 2 wanders
    partial      also substitute single orbits
    templates    "shipped" (built-in types and the reference), "built_in", or own templates
    """

    name = "substitution"

    def __init__(self, temperature: float = 1.0, partial: bool = True, templates: str | Sequence[Template] = "shipped"):
        self.temperature, self.partial = temperature, partial
        self._given = templates
        self._all: tuple[Template, ...] | None = None
        self._patterns: dict[tuple[int, ...], list[Template]] = {}

    def observe(self, verdicts: list[Verdict]) -> None:
        """Verdicts change nothing: substitution does not learn."""

    def propose(self, ask: Ask, count: int, seed: int) -> list[Candidate]:
        """At most `count` candidates with distinct Wyckoff genes; BadInput for an ask that nothing can fulfil, Missing for an unknown structure type."""
        chosen: list[Candidate] = []
        late: list[Draft] = []
        formulas: Counter = Counter()
        for ranked in self.drafts(ask, numpy_stream(seed, self.name)):
            taken = 0
            for draft in ranked:
                if len(chosen) >= count:
                    return chosen
                if taken >= CHUNK_TAKEN or ask.formula is None and formulas[draft.formula] >= MAX_SAME_FORMULA:
                    late.append(draft)
                elif (made := self.candidate(draft, seed, len(chosen))) is not None:
                    formulas[draft.formula] += 1
                    taken += ask.formula is None
                    chosen.append(made)
        for draft in sorted(late, key=lambda d: -d.score):
            if len(chosen) >= count:
                break
            if (made := self.candidate(draft, seed, len(chosen))) is not None:
                chosen.append(made)
        return chosen[: max(count, 0)]

    def drafts(self, ask: Ask, rng: np.random.Generator) -> Iterator[list[Draft]]:
        """Lists of templates with elements, best first, of distinct genes: one list for a wanted formula, else samples until nothing new appears.

        Errors as `propose`. What a list holds does not depend on how many are read: a longer proposal begins with the shorter one.
        """
        check_ask(ask)
        if ask.formula is not None:
            best: dict[str, Draft] = {}
            for draft in sorted(self.mapped(ask), key=lambda d: -d.score):
                best.setdefault(draft.gene, draft)
            return iter([list(best.values())])
        usable = self._usable(ask)
        return self._sampled(ask, usable, rng) if usable else iter(())

    # templates

    def _templates(self) -> tuple[Template, ...]:
        if self._all is None:
            base = {"built_in": built_in, "shipped": shipped}[self._given]() if isinstance(self._given, str) else tuple(self._given)
            self._all = with_splits(base) if self.partial else base
            for t in self._all:
                self._patterns.setdefault(t.pattern, []).append(t)
        return self._all

    def _of_pattern(self, pattern: tuple[int, ...]) -> list[Template]:
        self._templates()
        return self._patterns.get(pattern, [])

    def _usable(self, ask: Ask) -> list[Template]:
        types = {p.name: p for name in ask.prototypes for p in named(name)}
        genes = {template_of(p).anonymous: p for p in types.values()}
        pattern = None if ask.formula is None else tuple(sorted(n for _, n in ask.formula))
        found = []
        for t in self._templates() if pattern is None else self._of_pattern(pattern):
            p = t.prototype
            if not ask.atoms[0] <= p.atoms <= ask.atoms[1] or not ask.n_elements[0] <= len(p.counts) <= ask.n_elements[1]:
                continue
            if ask.space_groups and p.space_group not in ask.space_groups or ask.anonymous and p.anonymous != ask.anonymous:
                continue
            if len(ask.required) > len(p.counts):
                continue
            if ask.prototypes:
                if p.name not in types and (p.derived or p.source == "type" or t.anonymous not in genes):
                    continue
                t = t if p.name in types else t.with_roles_of(genes[t.anonymous])
            found.append(t)
        return found

    # drafts

    def mapped(self, ask: Ask) -> list[Draft]:
        """Every way to place the elements of the wanted formula on the sites of a template, the same gene from several members included."""
        counts, found = dict(ask.formula), []
        neutral = is_charge_neutral(counts)
        for t in self._usable(ask):
            found += [Draft(t, x, t.score(x) + math.log(t.weight), neutral) for x in _placements(counts, t.ratios) if _roles_hold(t, x)]
            if len(found) > MAX_MAPPINGS:
                break
        return found

    def _sampled(self, ask: Ask, usable: Sequence[Template], rng: np.random.Generator) -> Iterator[list[Draft]]:
        """Ranked samples of up to CHUNK drafts whose genes have not come before, until hardly any new ones appear."""
        weight = np.array([t.weight for t in usable])
        chance = weight / weight.sum()
        chooser = _Chooser(ask, self.temperature)
        seen: set[str] = set()
        found: dict[str, Draft] = {}
        idle, patience = 0, 400 + 10 * len(usable)
        while idle < patience:
            for i in rng.choice(len(usable), size=64, p=chance).tolist():
                t = usable[i]
                species = chooser.fill(t, rng)
                idle += 1
                if species is None or species == t.parents:
                    continue
                neutral = is_charge_neutral(t.composition(species))
                if not neutral and rng.random() > UNBALANCED_KEPT:
                    continue
                draft = Draft(t, species, t.score(species) / len(species) + NEUTRAL_BONUS * neutral, neutral)
                if draft.gene in seen:
                    continue
                if draft.gene not in found:
                    idle = 0
                if draft.gene not in found or draft.score > found[draft.gene].score:
                    found[draft.gene] = draft
            if len(found) >= CHUNK:
                yield self._ranked(found, rng)
                seen |= found.keys()
                found = {}
        if found:
            yield self._ranked(found, rng)

    def _ranked(self, found: dict[str, Draft], rng: np.random.Generator) -> list[Draft]:
        """Drafts by score with noise: mostly the likely ones, not always the same kind."""
        noise = dict(zip(found, 0.5 * self.temperature * rng.gumbel(size=len(found))))
        return sorted(found.values(), key=lambda d: -(d.score + noise[d.gene]))

    # crystals

    def candidate(self, draft: Draft, seed: int, place: int, name: str = "", more: Mapping | None = None) -> Candidate | None:
        """The crystal of a draft as a candidate of generator `name` (this one), or None where atoms would be too near."""
        volume = _sensible_volume(draft)
        if volume is None:
            return None
        t, name = draft.template, name or self.name
        return Candidate(
            f"{name}-{seed}-{place}", t.prototype.filled(draft.species, volume * t.prototype.atoms), name, (f"{t.prototype.name} ({t.parent_formula})",), seed,
            {"prototype": t.prototype.name, "parent": t.parent_formula, "swaps": describe(t, draft.species), "gene": draft.gene,
             "space_group": t.prototype.space_group, "score": round(draft.score, 4), "charge_neutral": draft.neutral,
             "predicted_volume_per_atom": round(volume, 3), "partial": t.prototype.derived, **(more or {})})


class _Chooser:
    """Fills the labels of a template with elements that an ask permits, by swap likelihood."""

    def __init__(self, ask: Ask, temperature: float):
        self.ask = ask
        self.palette = np.zeros(119, bool)
        self.palette[[z for z in ask.palette if z < 119]] = True
        table = similarity().copy()
        np.fill_diagonal(table, STAY)
        self.likelihood = np.exp(table / temperature)
        self.roles = {name: np.isin(np.arange(119), list(members)) for name, members in ROLES.items()}
        self.groups = [np.isin(np.arange(119), list(g & ask.palette)) for g in ask.any_of]

    def fill(self, template: Template, rng: np.random.Generator) -> tuple[int, ...] | None:
        """An element for each label, or None where the ask cannot be met here."""
        k = len(template.parents)
        weight = self.likelihood[list(template.parents)] * self.palette
        weight = weight * np.stack([self.roles[r] for r in template.prototype.roles])
        chosen = [0] * k
        for z in rng.permutation(sorted(self.ask.required)).tolist():
            if not self._put(weight, chosen, z, rng):
                return None
        for group in (self.groups[i] for i in rng.permutation(len(self.groups))):
            if not any(z and group[z] for z in chosen) and not self._put(weight, chosen, None, rng, group):
                return None
        for _ in range(chosen.count(0)):
            label = next(i for i, z in enumerate(chosen) if not z)
            if not self._pick(weight, chosen, np.array([label]), None, rng):
                return None
        return tuple(chosen) if self.ask.permits(set(chosen)) else None

    def _put(self, weight, chosen, z, rng, group=None) -> bool:
        free = np.array([i for i, c in enumerate(chosen) if not c], dtype=int)
        return len(free) > 0 and self._pick(weight, chosen, free, np.arange(119) == z if group is None else group, rng)

    @staticmethod
    def _pick(weight, chosen, labels, allowed, rng) -> bool:
        part = weight[labels] if allowed is None else weight[labels] * allowed
        total = np.cumsum(part)
        if total[-1] <= 0:
            return False
        at = int(np.searchsorted(total, rng.random() * total[-1], side="right"))
        label, z = int(labels[at // 119]), at % 119
        chosen[label] = z
        weight[:, z] = 0.0
        return True


def _sensible_volume(draft: Draft) -> float | None:
    """Predicted volume in Å^3 per atom, at most a fifth more where atoms would be too near; None where that is not enough."""
    volume = draft.template.volume(draft.species)
    tight = draft.template.tightness(draft.species, volume)
    if tight >= TIGHTEST:
        return volume
    return volume * (TIGHTEST / tight) ** 3 if tight >= TIGHTEST / 1.2 ** (1 / 3) else None


def _placements(counts: dict[int, int], ratios: tuple[int, ...]):
    """Every tuple of the elements of `counts` whose counts are `ratios`, label by label."""
    by_count: dict[int, list[int]] = {}
    for z, n in counts.items():
        by_count.setdefault(n, []).append(z)
    labels = {n: [i for i, r in enumerate(ratios) if r == n] for n in by_count}
    for choice in itertools.product(*(itertools.permutations(by_count[n]) for n in by_count)):
        species = [0] * len(ratios)
        for n, elements in zip(by_count, choice):
            for i, z in zip(labels[n], elements, strict=True):
                species[i] = z
        yield tuple(species)


def _roles_hold(template: Template, species: Sequence[int]) -> bool:
    return all(z in ROLES[r] for z, r in zip(species, template.prototype.roles, strict=True))


def formula_of(text: str) -> tuple[tuple[int, int], ...]:
    """The form of a formula that an Ask takes: ((atomic number, count), ...) reduced and sorted."""
    return reduced(text)
