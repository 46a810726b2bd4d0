"""Ranked structures for a composition and a number of atoms: known crystals whose elements it exchanges, chosen so that few guesses cover many possibilities.

A learnt metric says how likely the composition takes after each analogue e, p(e) (swap_metric.py), and M(e, g) how likely a guess g matches a crystal with the
geometry of e. Guesses are chosen one by one, each the one that adds most to the chance that any matches:

    gain(g) = sum_e p(e) M(e, g) prod_(chosen h) (1 - M(e, h))

which is greedy maximisation of a submodular function (G. L. Nemhauser, L. A. Wolsey, M. L. Fisher, Math. Program. 14, 265 (1978)). Where a known crystal has the
composition itself, its geometry is less likely: p(e) falls by `known` M(e, that crystal), since data sets list each crystal once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..base.errors import BadInput
from ..crystal.composition import reduced
from ..crystal.state import Crystals
from .analogues import Analogues, Member, Pattern, analogues, by_pattern, recoloured, slots
from .swap_metric import MatchChance, SwapMetric

LOOKED_AT = 300  # likeliest analogues that are weighed against each other
ENOUGH = 40  # members of a pattern beyond which no recoloured ones are added


@dataclass(frozen=True, eq=False)
class Guess:
    """One ranked guess: a known crystal, which of its slots each element takes, and the chance that it adds (gain)."""

    member: Member
    order: tuple[int, ...]
    elements: tuple[int, ...]
    gain: float

    def crystal(self, volume: float) -> Crystals:
        """The primitive cell with the elements of the composition, scaled to `volume` Å^3 per atom."""
        species = np.empty(len(self.order), dtype=int)
        species[list(self.order)] = self.elements
        return self.member.filled(species, volume)


@dataclass(frozen=True)
class Settings:
    """sharpness: exponent of p(e); known: see above; changed: ln units that an analogue loses for being recoloured."""

    sharpness: float = 1.0
    known: float = 0.5
    changed: float = 3.0


class Ranker:
    """Ranks analogues among `members`; analogues of a pattern are made when first needed."""

    def __init__(self, members: Sequence[Member], metric: SwapMetric, chance: MatchChance, settings: Settings = Settings()):
        self.members, self.metric, self.chance, self.settings = tuple(members), metric, chance, settings
        self._patterns = by_pattern(members)
        self._by_atoms: dict[int, list[Member]] = {}
        for m in members:
            self._by_atoms.setdefault(len(m.slot), []).append(m)
        self._known: dict[Pattern, Analogues] = {}

    def analogues(self, pattern: Pattern) -> Analogues:
        """Analogues of a pattern: published ones, and recoloured ones where those are few."""
        if pattern not in self._known:
            own = self._patterns.get(pattern, [])
            more = recoloured(pattern, self._by_atoms.get(sum(pattern), ())) if len(own) < ENOUGH else []
            self._known[pattern] = analogues(pattern, [*own, *more])
        return self._known[pattern]

    def likelihood(self, elements: Sequence[int], pattern: Pattern, without: Collection[str] = ()) -> tuple[Analogues, np.ndarray, np.ndarray]:
        """The analogues (E of them), p(e) (E,), and which of them have the composition itself (E,); members named in `without` have p = 0."""
        a = self.analogues(pattern)
        if not len(a.member):
            return a, np.zeros(0), np.zeros(0, dtype=bool)
        formula = slots_formula(elements, pattern)
        alike = np.array([f == formula and not m.change for f, m in zip(a.formulas, a.members, strict=True)])[a.member]
        changed = np.array([bool(m.change) for m in a.members])[a.member]
        with torch.no_grad():
            logits = self.metric.closeness(torch.tensor([list(elements)]), torch.tensor(pattern, dtype=torch.float32), torch.from_numpy(a.species))[0].double().numpy()
        logits = self.settings.sharpness * logits + float(self.metric.own_formula) * alike - self.settings.changed * changed
        if without:
            logits[np.array([m.name in without for m in a.members])[a.member]] = -np.inf
        if not np.isfinite(logits).any():
            return a, np.zeros(len(logits)), alike
        p = np.exp(logits - logits.max())
        return a, p / p.sum(), alike & np.isfinite(logits)

    def rank(self, composition: Mapping[int, int], count: int = 20, without: Collection[str] = ()) -> list[Guess]:
        """At most `count` guesses for {atomic number: atoms in the primitive cell}, best first; empty where no analogue exists. BadInput for no atoms."""
        if not composition or min(composition.values()) < 1:
            raise BadInput(f"got {dict(composition)}, wanted at least one atom of each element", "composition")
        elements, pattern = slots(dict(composition))
        a, p, alike = self.likelihood(elements, pattern, without)
        top = np.argsort(-p, kind="stable")[:LOOKED_AT]
        top = top[p[top] > 0]
        if not len(top):
            return []
        match = self.chance(a.geometry[top], a.kind[top], a.geometry[top], a.kind[top])
        left = p[top] / p[top].sum()
        if (known := np.flatnonzero(alike)).size:
            left = left * (1 - self.settings.known * self.chance(a.geometry[top], a.kind[top], a.geometry[known], a.kind[known]).max(1))
        chosen: list[Guess] = []
        for _ in range(min(count, len(top))):
            gain = left @ match
            best = int(np.argmax(gain))
            e = int(top[best])
            chosen.append(Guess(a.members[a.member[e]], tuple(a.orders[e].tolist()), elements, float(gain[best])))
            left = left * (1 - match[:, best])
        return chosen


def slots_formula(elements: Sequence[int], pattern: Pattern) -> tuple[tuple[int, int], ...]:
    """Reduced composition of elements with these counts."""
    return reduced(dict(zip(elements, pattern, strict=True)))


def rank_by_swaps(a: Analogues, elements: Sequence[int], table: np.ndarray, count: int = 20) -> list[Guess]:
    """The baseline, as generate/template.py ranks: genes by the summed likelihood of swaps from all their members, each as its best member has it.

    table  (95, 95) ln of observed over expected swaps by atomic number
    """
    published = np.array([not m.change for m in a.members])[a.member] if len(a.member) else np.zeros(0, dtype=bool)
    rows = np.flatnonzero(published)
    if not len(rows):
        return []
    score = table[a.species[rows], np.minimum(elements, len(table) - 1)].sum(1)
    share: dict[int, float] = {}
    best: dict[int, tuple[int, float]] = {}
    for e, s in zip(rows.tolist(), score.tolist(), strict=True):
        kind = int(a.kind[e])
        share[kind] = float(np.logaddexp(share.get(kind, -np.inf), s))
        if kind not in best or s > best[kind][1]:
            best[kind] = (e, s)
    total = np.logaddexp.reduce(list(share.values()))
    order = sorted(share, key=lambda k: -share[k])[:count]
    return [Guess(a.members[a.member[best[k][0]]], tuple(a.orders[best[k][0]].tolist()), tuple(elements), float(np.exp(share[k] - total))) for k in order]
