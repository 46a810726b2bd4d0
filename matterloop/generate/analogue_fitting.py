"""Everything that ranking analogues needs, fitted to one set of known crystals: swap metric, match chance, similarity, volumes.

The crystals given are the only source: no shipped table is read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ..base.errors import BadInput
from ..base.seeds import numpy_stream
from ..crystal.matching import Tolerance, prepare
from ..crystal.matching_distance import reduced_rms
from ..represent.wyckoff_gene import Gene
from . import swap_metric
from .analogue_ranking import Guess
from .analogues import Analogues, Member, analogues, by_pattern, load, save
from .fitting import MAX, modelled, packing, similarity, volumes
from .swap_metric import MatchChance, SwapMetric

PARENT_WEIGHT = 0.4  # share of the parent's deviation (ln) from the volume model that its daughters inherit
TOLERANCE = Tolerance(length=0.3, site=0.5, angle=10.0)
COMPARED = 600  # pairs of known crystals that the match chance is fitted to
FURTHEST = 0.5  # distance of geometries up to which pairs are drawn
EPOCHS = 12  # of the metric; held-out formulas gain less than 0.3 % from four more


def element_swaps(found: Sequence[Analogues]) -> np.ndarray:
    """(95, 95) in how many genes two compounds differ by these two elements on one slot, the other elements equal."""
    counts = np.zeros((MAX + 1, MAX + 1))
    for a in found:
        groups: dict[tuple, set[int]] = {}
        for kind, species in zip(a.kind.tolist(), a.species.tolist(), strict=True):
            if len(species) < 2 or max(species) > MAX:
                continue
            for i, z in enumerate(species):
                groups.setdefault((kind, i, tuple(species[:i] + species[i + 1 :])), set()).add(z)
        orders = len(a.member) / max(1, len(a.members))  # every group stands there once for each order of equal counts
        for elements in groups.values():
            listed = sorted(elements)
            for n, z in enumerate(listed):
                for w in listed[n + 1 :]:
                    counts[z, w] += 1 / orders
                    counts[w, z] += 1 / orders
    return counts


def match_chance(found: Sequence[Analogues], *, seed: int = 0, pairs: int = COMPARED) -> MatchChance:
    """Logistic regression of whether StructureMatcher matches two known crystals of one pattern, elements slot by slot alike, on the distance of their geometries.

    Pairs are drawn evenly over distances up to FURTHEST. The default chance where there are fewer than 30 pairs to compare.
    """
    from sklearn.linear_model import LogisticRegression

    usable = [a for a in found if len(a.members) > 1]
    if not usable:
        return MatchChance()
    rng = numpy_stream(seed, "match chance")
    weight = np.array([len(a.members) for a in usable], dtype=float)
    rows, told = [], []
    for _ in range(pairs):
        a = usable[rng.choice(len(usable), p=weight / weight.sum())]
        i = int(rng.choice(a.identity))
        others = np.flatnonzero(a.member != a.member[i])
        distance = np.linalg.norm(a.geometry[others] - a.geometry[i], axis=1)
        e = others[np.argmin(np.abs(distance - rng.uniform(0, FURTHEST)))]
        one, other = _anonymous(a, i), _anonymous(a, int(e))
        try:
            matched = reduced_rms(one, other) is not None
        except BadInput:
            continue
        rows.append([np.log(np.linalg.norm(a.geometry[e] - a.geometry[i]) + 0.01), float(a.kind[e] == a.kind[i])])
        told.append(matched)
    if len(rows) < 30 or len(set(told)) < 2:
        return MatchChance()
    model = LogisticRegression(C=10.0).fit(rows, told)
    return MatchChance(float(model.intercept_[0]), float(model.coef_[0, 0]), float(model.coef_[0, 1]))


def _anonymous(a: Analogues, e: int):
    """The analogue with lithium, beryllium, ... on its slots and 10 Å^3 per atom, ready for the matcher."""
    species = np.empty(len(a.pattern), dtype=int)
    species[a.orders[e]] = np.arange(len(a.pattern)) + 3
    return prepare(a.members[a.member[e]].filled(species, 10.0), TOLERANCE)[0]


@dataclass(frozen=True, eq=False)
class Fitted:
    """What was fitted to `members`.

    similarity  (95, 95) ln of observed over expected swaps
    element, pair  (95,) and (95, 95) Å^3 of the volume model; excess {anonymous gene: ln of its usual volume over the model}
    """

    members: tuple[Member, ...]
    metric: SwapMetric
    chance: MatchChance
    similarity: np.ndarray
    element: np.ndarray
    pair: np.ndarray
    excess: dict[str, float]

    @staticmethod
    def to(members: Sequence[Member], *, seed: int = 0, epochs: int = EPOCHS, pairs: int = COMPARED, note: Callable[[str], None] = lambda text: None) -> Fitted:
        """Fit all tables; minutes for some thousand members. BadInput for no members."""
        if not members:
            raise BadInput("there are no crystals to learn from", "structure prediction")
        found = [analogues(pattern, held) for pattern, held in sorted(by_pattern(members).items())]
        note(f"{len(members)} known crystals of {len(found)} patterns; comparing pairs")
        chance = match_chance(found, seed=seed, pairs=pairs)
        metric = swap_metric.fit(found, chance, seed=seed, epochs=epochs, note=note)
        light = [m for m in members if max(m.species) <= MAX]
        fractions = [{z: n / len(m.slot) for z, n in zip(m.species, m.counts, strict=True)} for m in light]
        per_atom = np.array([m.volume for m in light])
        element, pair = volumes(fractions, per_atom)
        loose = np.log(per_atom / [modelled(x, element, pair) for x in fractions])
        names, excess = packing([Gene.parse(m.gene).anonymous for m in light], loose)
        return Fitted(tuple(members), metric, chance, similarity(element_swaps(found)), element, pair, dict(zip(names.tolist(), excess.tolist(), strict=True)))

    @cached_property
    def _anonymous_genes(self) -> dict[str, str]:
        return {}

    def modelled(self, composition: dict[int, float]) -> float:
        """Volume in Å^3 per atom of a composition by the model alone, at least 3."""
        total = sum(composition.values())
        return max(modelled({min(z, MAX): n / total for z, n in composition.items()}, self.element, self.pair), 3.0)

    def volume(self, guess: Guess) -> float:
        """Å^3 per atom of a guess: the model of its composition, corrected by the usual packing of its gene or else by its parent's."""
        m = guess.member
        new = self.modelled(dict(zip(guess.elements, (m.counts[s] for s in guess.order), strict=True)))
        if m.gene:
            if m.gene not in self._anonymous_genes:
                self._anonymous_genes[m.gene] = Gene.parse(m.gene).anonymous
            if (excess := self.excess.get(self._anonymous_genes[m.gene])) is not None:
                return new * math.exp(excess)
        parent = self.modelled(dict(m.formula))
        return new * math.exp(PARENT_WEIGHT * float(np.clip(math.log(m.volume / parent), -0.4, 0.4)))

    @staticmethod
    def stands_in(folder: Path) -> bool:
        """Whether the folder holds a finished fit."""
        return (folder / "fitted.json").exists()

    def save(self, folder: Path) -> None:
        """Write members.npz, metric.npz, tables.npz and, last, fitted.json."""
        save(folder / "members.npz", self.members)
        self.metric.save(folder / "metric.npz")
        np.savez(folder / "tables.npz", similarity=self.similarity, element=self.element, pair=self.pair, types=np.array(list(self.excess)), excess=np.array(list(self.excess.values())))
        (folder / "fitted.json").write_text(json.dumps({"crystals": len(self.members), "match_chance": asdict(self.chance)}), encoding="utf-8")

    @staticmethod
    def load(folder: Path) -> Fitted:
        """Read what `save` wrote."""
        about = json.loads((folder / "fitted.json").read_text(encoding="utf-8"))
        with np.load(folder / "tables.npz", allow_pickle=False) as file:
            tables = {name: file[name] for name in file.files}
        return Fitted(tuple(load(folder / "members.npz")), SwapMetric.load(folder / "metric.npz"), MatchChance(**about["match_chance"]), tables["similarity"], tables["element"],
                      tables["pair"], dict(zip(tables["types"].tolist(), tables["excess"].tolist(), strict=True)))
