"""The default generator: a transformer writes Wyckoff genes, screens choose among them, known and learnt geometry turns them into crystals.

Genes cost a millisecond and relaxations a hundred times that, so that many more are drawn than leave: duplicates, known genes and those with a poor
predicted energy stay behind. After N. Kazeev et al., Wyckoff Transformer, ICML 2025, arXiv:2503.02407, and the energy-conditioned, guided use of it in its code.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from ..archive.records import Ask, Candidate, Verdict
from ..base.elements import MAX_Z
from ..base.errors import BadInput
from ..base.registry import Card
from ..base.seeds import derive, numpy_stream, torch_stream
from ..crystal.composition import composition_of, is_charge_neutral
from ..crystal.prototypes import ROLES, Prototype, named
from ..crystal.wyckoff import from_parameters
from ..crystal.symmetry import Symmetry, analyse
from ..represent.gene_vocabulary import vocabulary
from ..represent.wyckoff_gene import Gene, gene as gene_of_crystal
from .gene_constraints import Rules, fits
from .gene_learning import Learner, Lesson, reward_of
from .gene_network import Conditions, GeneNetwork
from .gene_sampling import Outline, sample
from .gene_weights import shipped_network
from .proposal import anonymous_counts, check_ask

if TYPE_CHECKING:
    from ..crystal.state import Crystals
    from .gene_screens import Screen
    from .placement import Placer, Start

CARD = Card(
    name="wyckoff_transformer",
    build="WyckoffTransformer",
    role="generator",
    paper="arXiv:2503.02407",
    year=2025,
    capabilities=("elements", "formula", "anonymous", "atoms", "space_group", "prototype"),
    presets={"learning": {"learn": "policy"}, "known": {"novel": False}, "known_learning": {"learn": "policy", "novel": False},
             "unconditional": {"above_hull": None, "guidance": 1.0, "share": 1.0, "novel": False}, "open": {"neutral": False}},
    small={"share": 1.0, "block": 24, "novel": False, "network": "small"},
    differs=(
        "positions are scored by site symmetry, multiplicity and freedom, and sites written as position, then element; the paper predicts symmetry, then enumeration",
        "exact stoichiometry, atom counts and elements by hard rules while writing; the paper filters afterwards",
        "geometry from known crystals of the same pattern or a learnt head; the paper starts from random placements",
    ),
    summary="Wyckoff genes from a transformer, screened before they are placed; structures of a wanted composition too",
)
GUIDED = 3.0  # guidance towards a formation energy or band gap
PATIENCE = 4  # blocks in a row without anything new before a proposal ends short
WITHOUT_PATTERN = 0.45  # share of the hits of genes with a known pattern that those without one have (benchmarks/placement.py, and pilot runs)
FEWEST_TOGETHER = 8  # genes that are placed at once, though fewer candidates are still wanted
ORDERS, EACH = 64, 4  # genes drawn of a formula, and of a chemical system, in one block


class WyckoffTransformer:
    """Generator; see the card.

    above_hull   eV/atom asked of the network, None: not asked (an ask's own limits come first)
    guidance     1: as trained; more exaggerates what the energies change (see gene_sampling). None: GUIDED where an ask limits formation energy or band gap, else 1:
                 low energies above the hull are found more cheaply by the predictor (docs/trade_off.svg)
    temperature  of every choice
    share        of each block's new genes, the likeliest to lie within `limit` eV/atom of the hull; 1 asks no predictor
    novel        genes of the reference and the training set stay behind, and formulas that the Materials Project holds in the same space group
    neutral      oxidation states must be able to balance
    starts       geometries proposed of one gene at most, best first
    learn        "policy" or "imitation": verdicts change the network from round to round (gene_learning.py); "": they do not
    block        genes drawn together, each block from a stream of its own, so that a longer proposal begins with the shorter one
    network      "shipped", "small" (untrained, for tests) or a network; placer, screens: other parts than the shipped ones

    `report` tells of the last proposal: genes drawn, dead ends, {screen: removed}, {screen: CPU seconds}, genes without a placement.
    """

    name = "wyckoff_transformer"

    def __init__(
        self, above_hull: float | None = 0.0, guidance: float | None = None, temperature: float = 1.0, share: float = 0.3, limit: float = 0.1, novel: bool = True,
        neutral: bool = True, starts: int = 1, learn: Literal["", "policy", "imitation"] = "", block: int = 512, network: GeneNetwork | Literal["shipped", "small"] = "shipped",
        placer: Placer | None = None, screens: Sequence[Screen] | None = None,
    ):
        for word, value in (("above_hull", above_hull), ("guidance", guidance), ("temperature", temperature), ("share", share), ("limit", limit)):
            if not isinstance(value, (int, float)) and not (word in ("above_hull", "guidance") and value is None):
                raise BadInput(f"{word} is {value!r}, a number is wanted", self.name)
        if not 0 < share <= 1 or block < 1 or starts < 1:
            raise BadInput(f"share {share}, block {block}, starts {starts}: wanted are a share above 0 and at most 1, the others at least 1", self.name)
        self.above_hull, self.guidance, self.temperature, self.share, self.limit = above_hull, guidance, temperature, share, limit
        self.novel, self.neutral, self.starts, self.block = novel, neutral, starts, block
        self._network, self._placer, self._screens, self.learn = network, placer, screens, learn
        self._stream, self._told = None, []
        self._genes: dict[str, Gene] = {}
        self.lessons: list[Lesson] = []
        self.report: dict[str, Any] = {}

    @property
    def network(self) -> GeneNetwork:
        """The network that writes: as trained, or as far as it has learnt."""
        return self._learner.network if self.learn else self._trained

    @cached_property
    def _trained(self) -> GeneNetwork:
        if self._network == "small":
            return GeneNetwork(32, 2, 2, dropout=0.0)
        return shipped_network() if self._network == "shipped" else self._network

    @cached_property
    def _learner(self) -> Learner:
        return Learner(self._trained, self.learn)

    @cached_property
    def placer(self) -> Placer:
        """What turns genes into crystals."""
        from .placement import Placer

        return self._placer if self._placer is not None else Placer()

    def recall(self, candidates: list[Candidate]) -> None:
        """Hear which genes the keys of coming verdicts stand for; needed for candidates of an earlier session only."""
        if self.learn:
            self._genes |= {c.key: Gene.parse(c.about["gene"]) for c in candidates if c.source == self.name}

    def observe(self, verdicts: list[Verdict]) -> None:
        """With `learn` a lesson on the genes of these verdicts: reward by the energy above the hull, none for what fails another check; else nothing."""
        if not self.learn:
            return
        heard = [v for v in verdicts if v.key in self._genes]
        if heard:
            conditions = self._conditions(Ask(), 1)
            self.lessons.append(self._learner.hear([self._genes[v.key] for v in heard], [_reward(v) for v in heard], conditions))

    def propose(self, ask: Ask, count: int, seed: int) -> list[Candidate]:
        """At most `count` candidates of distinct genes and geometries; fewer when nothing new comes. BadInput for an ask that nothing can fulfil."""
        check_ask(ask)
        found: list[Candidate] = []
        self.report = {"drawn": 0, "dead_ends": 0, "screened_out": {}, "screen_seconds": {}, "not_placed": 0}
        if count <= 0:
            return found
        for block in self.genes(ask, seed):
            at = 0
            while at < len(block):
                part = block[at : at + max(FEWEST_TOGETHER, count - len(found))]
                at += len(part)
                for one, chance, start, crystal in self._placed(ask, part, seed):
                    about = {"gene": one.key, "space_group": one.space_group, "placed_by": start.how, "parent": start.parent,
                             "charge_neutral": is_charge_neutral(composition_of(crystal.species))}
                    if chance is not None:
                        about["chance_near_hull"] = round(chance, 4)
                    made = Candidate(f"{self.name}-{seed}-{len(found)}", crystal, self.name, (start.parent,) if start.parent else (), seed, about)
                    found.append(made)
                    if self.learn:
                        self._genes[made.key] = one
                    if len(found) >= count:
                        return found
        return found

    def genes(self, ask: Ask, seed: int) -> Iterator[list[tuple[Gene, float | None]]]:
        """Blocks of genes that passed the screens, each ranked by the chance of being near the hull, without end until nothing new comes."""
        screens = self._own_screens()
        idle = 0
        for number in range(1_000_000):
            drawn = self._block(ask, seed, number)
            if drawn is None:
                return
            fresh = self._screened(drawn, screens)
            idle = 0 if fresh else idle + 1
            if idle >= PATIENCE:
                return
            yield fresh

    # drawing

    def _block(self, ask: Ask, seed: int, number: int) -> list[Gene] | None:
        """The genes of block `number`, None where there can be no further one."""
        rng, choice = torch_stream(seed, self.name, number), numpy_stream(seed, self.name, "plan", number)
        if ask.prototypes:
            outlines = _outlines(ask, self.block, choice)
            rules, conditions = Rules.of(ask, neutral=False), self._conditions(ask, len(outlines))
            return self._sample(rules, conditions, rng, outlines)
        if ask.formula is not None:
            return self._of_formulas(ask, [ask.formula], rng, choice)
        if ask.anonymous:
            return self._of_formulas(ask, self._formulas(ask, seed, number, max(1, self.block // ORDERS)), rng, choice)
        if ask.required or ask.any_of or ask.allowed is not None:
            return self._of_systems(ask, seed, number, rng)
        return self._sample(Rules.of(ask, neutral=self.neutral), self._conditions(ask, self.block), rng)

    def _of_systems(self, ask: Ask, seed: int, number: int, rng: torch.Generator) -> list[Gene]:
        """Genes of chemical systems that hold what is wanted, each told to the network: without being told it would add what is missing at the end."""
        if ask.allowed is not None and ask.required == ask.allowed:
            systems = [tuple(sorted(ask.required))]
        else:
            systems = [tuple(z for z, _ in formula) for formula in self._formulas(ask, seed, number, max(1, self.block // EACH))]
        if not systems:
            return []
        systems = [systems[i % len(systems)] for i in range(self.block)]
        asked = torch.zeros(self.block, MAX_Z + 1)
        for row, system in zip(asked, systems):
            row[list(system)] = 1.0
        return self._sample(Rules.of(ask, neutral=self.neutral, systems=systems), replace(self._conditions(ask, self.block), elements=asked), rng)

    def _sample(self, rules: Rules, conditions: Conditions, rng: torch.Generator, outlines: Sequence[Outline] | None = None) -> list[Gene]:
        guidance = self.guidance
        if guidance is None:
            guidance = 1.0 if bool((conditions.formation_energy.isnan() & conditions.band_gap.isnan()).all()) else GUIDED
        drawn = sample(self.network, rules, conditions, rng, temperature=self.temperature, guidance=guidance, outlines=outlines)
        self.report["drawn"] += drawn.rows
        self.report["dead_ends"] += drawn.rows - len(drawn.finished)
        return drawn.finished

    def _of_formulas(self, ask: Ask, formulas: Sequence[tuple[tuple[int, int], ...]], rng: torch.Generator, choice: np.random.Generator) -> list[Gene]:
        """Genes of exact compositions, every number of formula units that the ask's atoms allow, small cells first."""
        plans: list[dict[int, int]] = []
        for formula in map(dict, formulas):
            unit = sum(formula.values())
            times = [k for k in range(1, ask.atoms[1] // unit + 1) if k * unit >= ask.atoms[0]]
            plans += [{z: k * n for z, n in formula.items()} for k in times]
        groups = sorted(ask.space_groups) or range(1, 231)
        plans = [p for p in plans if any(fits(g, list(p.values())) for g in groups)]
        if not plans:
            if ask.formula is not None:
                raise BadInput(f"no Wyckoff positions of the wanted space groups hold the formula with {ask.atoms[0]} to {ask.atoms[1]} atoms", "ask")
            return []
        weight = np.array([1.0 / (1 + math.log(sum(p.values()))) for p in plans])
        shares = choice.multinomial(max(self.block, len(plans)), weight / weight.sum())
        out = []
        for plan, rows in zip(plans, shares.tolist()):
            if rows:
                out += self._sample(Rules.of(ask, plan, self.neutral and is_charge_neutral(plan)), self._conditions(ask, rows, plan), rng)
        return out

    def _formulas(self, ask: Ask, seed: int, number: int, few: int) -> list[tuple[tuple[int, int], ...]]:
        """Reduced formulas that the ask permits, from substituted known ones: another `few` for each block, from the first again when there are no more."""
        from .random_search import formula_stream

        if number == 0 or self._stream is None:
            self._stream, self._told = formula_stream(ask, numpy_stream(seed, self.name, "formulas")), []
        self._told += itertools.islice(self._stream, max(0, (number + 1) * few - len(self._told)))
        return [self._told[k % len(self._told)] for k in range(number * few, (number + 1) * few)] if self._told else []

    def _conditions(self, ask: Ask, rows: int, composition: Mapping[int, int] | None = None) -> Conditions:
        """What the network is told; what it is not told the rules see to."""
        open_ = Conditions.none(rows)
        wanted = {name: getattr(open_, name) for name in ("above_hull", "formation_energy", "band_gap")}
        if self.above_hull is not None:
            wanted["above_hull"] = torch.full((rows,), float(self.above_hull))
        for limit in ask.limits:
            value = _middle(limit.low, limit.high)
            if limit.name == "energy_above_hull" and limit.high is not None and self.above_hull is not None:
                value = min(self.above_hull, limit.high)
            name = {"energy_above_hull": "above_hull", "formation_energy_per_atom": "formation_energy", "band_gap": "band_gap"}.get(limit.name)
            if name is not None and value is not None:
                wanted[name] = torch.full((rows,), float(value))
        more: dict[str, torch.Tensor] = {}
        if composition is not None:
            amounts = torch.zeros(MAX_Z + 1)
            for z, n in composition.items():
                amounts[z] = n
            more = {"composition": amounts.expand(rows, -1), "elements": (amounts > 0).float().expand(rows, -1),
                    "atoms": torch.full((rows,), int(amounts.sum()))}
        elif ask.n_elements[0] == ask.n_elements[1]:
            more = {"n_elements": torch.full((rows,), ask.n_elements[0])}
        if ask.space_groups and len(systems := set(vocabulary().system[sorted(ask.space_groups)].tolist())) == 1:
            more["system"] = torch.full((rows,), systems.pop() + 1)
        return replace(open_, **wanted, **more)

    # screening and placing

    def _own_screens(self) -> list[Screen]:
        from .gene_screens import Distinct, NearHull, gene_energy, known_formulas, usual
        from .screened import known_gene_keys

        if self._screens is not None:
            return list(self._screens)
        screens = usual(known_gene_keys(), known_formulas()) if self.novel else [Distinct()]
        return screens + [NearHull(gene_energy(), self.limit, self.share, factor=self._placeable)] if self.share < 1 else screens

    def _placeable(self, genes: Sequence[Gene]) -> np.ndarray:
        """How likely the crystal meant is found: less so where no known crystal lends its geometry."""
        return np.array([1.0 if self.placer.library.knows(g) else WITHOUT_PATTERN for g in genes])

    def _screened(self, genes: list[Gene], screens: Sequence[Screen]) -> list[tuple[Gene, float | None]]:
        from .gene_screens import NearHull, screened

        answer = screened(genes, screens)
        for one in answer.removed:
            for what, value in (("screened_out", one.removed), ("screen_seconds", one.seconds)):
                self.report[what][one.name] = self.report[what].get(one.name, 0) + value
        kept = [genes[i] for i in answer.kept]
        near = next((s for s in screens if isinstance(s, NearHull)), None)
        if near is None or not kept:
            return [(g, None) for g in kept]
        chance = near.chances(kept)
        return [(kept[i], float(chance[i])) for i in np.argsort(-chance, kind="stable")]

    def _placed(self, ask: Ask, genes: Sequence[tuple[Gene, float | None]], seed: int) -> Iterator[tuple[Gene, float | None, Start, Crystals]]:
        """Each gene with its chance, its starts and their primitive cells; none where the symmetry turned out to be another one than is asked."""
        placed = self.placer.place([one for one, _ in genes], derive(seed, self.name) % 2**31, lambda g: self.starts)
        rows = [(one, chance, start) for (one, chance), starts in zip(genes, placed, strict=True) for start in starts]
        self.report["not_placed"] += sum(not starts for starts in placed)
        found = analyse(from_parameters([start.parameters for _, _, start in rows]), 0.01, on_error="keep") if rows else []
        for row, symmetry in zip(rows, found, strict=True):
            if not isinstance(symmetry, Symmetry) or ask.space_groups and symmetry.number not in ask.space_groups:
                continue
            if ask.atoms[0] <= (crystal := symmetry.primitive).atoms <= ask.atoms[1]:
                yield *row, crystal


def _reward(verdict: Verdict) -> float:
    if any(not r.passed for r in verdict.reasons if r.check != "energy_above_hull"):
        return 0.0
    above = verdict.reason("energy_above_hull")
    return float(reward_of(np.array([float("nan") if above is None else above.value]))[0])


def _middle(low: float | None, high: float | None) -> float | None:
    """A value to aim at within a range; an open side is a quarter further, at least 0.1."""
    if low is None and high is None:
        return None
    if low is None:
        return high - max(0.1, 0.25 * abs(high))
    if high is None:
        return low + max(0.1, 0.25 * abs(low))
    return 0.5 * (low + high)


def _outlines(ask: Ask, count: int, choice: np.random.Generator) -> list[Outline]:
    """Positions of the wanted structure types, elements left to the network."""
    v = vocabulary()
    types = [p for name in ask.prototypes for p in named(name)]
    types = [p for p in types if ask.atoms[0] <= p.atoms <= ask.atoms[1] and ask.n_elements[0] <= len(p.counts) <= ask.n_elements[1]
             and (not ask.space_groups or p.space_group in ask.space_groups) and len(p.counts) >= len(ask.required) and _pattern(p, ask)]
    if not types:
        raise BadInput(f"no structure of the type {' or '.join(ask.prototypes)} has the wanted atoms, elements and space groups", "ask")
    made = [_labelled(p) for p in types]
    out = []
    for i in choice.integers(0, len(types), count).tolist():
        p, one = types[i], made[i]
        sites = [(v.place(one.space_group, letter), z - 1) for letter, z in one.sites]
        out.append(Outline(one.space_group, tuple(sites[k] for k in choice.permutation(len(sites)).tolist()), _roles(p, ask)))
    return out


def _roles(p: Prototype, ask: Ask) -> tuple[frozenset[int], ...]:
    """Elements for each label of a type: those of its role, and of a wanted formula those with the label's amount."""
    factor = math.gcd(*p.counts)
    amounts = {} if ask.formula is None else dict(ask.formula)
    return tuple(frozenset(z for z in ROLES[r] if not amounts or amounts.get(z) == n // factor) for r, n in zip(p.roles, p.counts))


def _labelled(p: Prototype) -> Gene:
    """The gene of a type with its label i as the element of atomic number i + 1."""
    return gene_of_crystal(p.filled(range(1, len(p.counts) + 1)), 0.01)[0]


def _pattern(p: Prototype, ask: Ask) -> bool:
    factor = math.gcd(*p.counts)
    counts = sorted(n // factor for n in p.counts)
    if ask.anonymous and counts != anonymous_counts(ask.anonymous):
        return False
    return ask.formula is None or counts == sorted(n for _, n in ask.formula)
