"""What a campaign found, as plain data: the table, the funnel, the hulls and what was not checked. Figures and pages are drawn from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..archive.database import Archive
from ..archive.records import Candidate, Reason, Verdict
from ..base.elements import symbol
from ..base.errors import BadInput
from ..crystal.composition import compositions, density, reduced_formula
from ..crystal.state import Crystals
from ..crystal.symmetry import analyse
from .cost import relax_seconds
from .lexicon import PROPERTIES
from .second_opinion import columns_of
from .state import State

WANTED = tuple(sorted(set(PROPERTIES) - {"energy_above_hull", "formation_energy_per_atom", "volume_per_atom"}))  # every candidate has these three
FUNNEL = (  # stages in order; a candidate counts in a stage if it passed every check named up to it
    ("proposed", ()),
    ("makes sense", ("volume_per_atom", "shortest_distance", "charge_balance")),
    ("fulfils the wish", ("ask", "has_hull")),
    ("not seen before", ("repeated",)),
    ("relaxed", ("relaxation",)),
    ("unique", ("unique",)),
    ("novel", ("novel",)),
    ("near enough to the hull", ("energy_above_hull",)),
    ("of the wanted properties", WANTED),
    ("by both potentials", ("second_opinion",)),
)


@dataclass(frozen=True)
class Row:
    """One candidate as a person reads it; energies in eV/atom, NaN where not measured."""

    rank: int
    key: str
    kept: bool
    formula: str
    space_group: int
    space_group_symbol: str
    crystal_system: str
    atoms: int
    energy: float
    energy_above_hull: float
    formation_energy: float
    probability: float
    coverage: float
    borderline: bool
    volume_per_atom: float
    density: float
    moment: float
    fmax: float
    steps: int
    source: str
    parents: tuple[str, ...]
    about: Mapping[str, Any]
    reasons: tuple[Reason, ...]
    crystal: Crystals
    relaxed: bool
    evaluations: int = 0  # of its relaxation
    relax_cpu_seconds: float = float("nan")
    second: Mapping[str, Any] | None = None  # opinion of a second potential, {} where it was not asked about this one; None: no second potential

    @property
    def why(self) -> str:
        """The checks that turned it away, or that it passed them all."""
        return "; ".join(map(said, (r for r in self.reasons if not r.passed))) or "passed every check"


def said(reason: Reason) -> str:
    """A reason in words: 'energy above hull 0.19 eV/atom, limit 0.05: against ...'; counts of unmet things say only what they are."""
    name = reason.check.replace("_", " ")
    if not reason.unit or reason.unit in ("matches", "unmet", "elements") or reason.value != reason.value:
        return f"{name}: {reason.note}" if reason.note else name
    return f"{name} {reason.value:.3g} {reason.unit}, limit {reason.limit:.3g}" + (f": {reason.note}" if reason.note else "")


@dataclass(frozen=True)
class Outcome:
    """The whole answer to a wish.

    wish         lines of the wish as understood, and of what was not
    settings     full configuration; `run` versions, hardware, timings
    funnel       (stage, candidates that came so far), from proposed to kept
    rows         every candidate, kept ones first by rank
    hulls        chemical system -> data for its hull plot (phases, candidates, facets)
    not_checked  sentences: what a reader might believe was checked and was not
    looked_up    sentences: what public databases hold of the best candidates' formulas
    second       what a second potential says of the kept candidates, see campaign.second_opinion.compared, with `asked`: whose opinion; {} without one
    cost         seconds, evaluations and memory by stage and per candidate, see campaign.cost.budget
    """

    wish: tuple[str, ...]
    not_understood: tuple[str, ...]
    settings: Mapping[str, Any]
    run: Mapping[str, Any]
    funnel: tuple[tuple[str, int], ...]
    rows: tuple[Row, ...]
    hulls: Mapping[str, Any] = field(default_factory=dict)
    mask: tuple[str, ...] = ()
    not_checked: tuple[str, ...] = ()
    looked_up: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    finished: bool = True
    cost: Mapping[str, Any] = field(default_factory=dict)
    second: Mapping[str, Any] = field(default_factory=dict)
    stopped: str = ""  # why it is not finished: "time", "asked to stop", or empty after a kill

    @property
    def kept(self) -> tuple[Row, ...]:
        """Candidates that passed every check, best first."""
        return tuple(r for r in self.rows if r.kept)


def funnel_of(verdicts: Mapping[str, Verdict], proposed: int) -> tuple[tuple[str, int], ...]:
    """How many candidates came through each stage; a check that was not reached counts as not passed, one never made is left out."""
    made = {r.check for v in verdicts.values() for r in v.reasons}
    alive, out = list(verdicts.values()), [("proposed", proposed)]
    for name, checks in FUNNEL[1:]:
        wanted = [c for c in checks if c in made]
        if checks in (WANTED, ("second_opinion",)) and not wanted:
            continue  # asked for by few
        alive = [v for v in alive if all((r := v.reason(c)) is not None and r.passed for c in wanted)]
        out.append((name, len(alive)))
    return (*out, ("kept", sum(v.passed and v.reason("energy_above_hull") is not None for v in verdicts.values())))


def rows_of(archive: Archive, campaign: str, state: State, verdicts: Mapping[str, Verdict]) -> tuple[Row, ...]:
    """Every proposed candidate with its verdict: kept ones by score, those whose hull holds every phase known at their composition first; then
    those measured by score, then the rest in order of proposal."""
    keys = [k for turn in sorted(state.rounds) for k in state.rounds[turn]]
    if not keys:
        return ()
    candidates = archive.candidates(campaign, keys)
    names = [state.relaxed[k]["crystals"][0] for k in keys if k in state.relaxed]
    relaxed = dict(zip([k for k in keys if k in state.relaxed], archive.get_crystals(names, bare=True) if names else (), strict=True))
    crystals = Crystals.join([relaxed.get(c.key, c.crystal.bare()) for c in candidates])
    groups = _symmetry(crystals)
    table = list(zip(candidates, crystals, compositions(crystals), density(crystals).tolist(), groups, strict=True))
    place = {c.key: i for i, c in enumerate(candidates)}
    seconds = relax_seconds(state)

    def order(entry) -> tuple:
        verdict = verdicts.get(entry[0].key)
        good = verdict is not None and verdict.passed and verdict.reason("energy_above_hull") is not None
        covered = verdict.reason("coverage") if verdict is not None else None
        partly = covered is not None and covered.value < 1
        return (not good, good and partly, verdict.score if verdict is not None else float("inf"), place[entry[0].key])

    return tuple(_row(i + 1, entry, state, verdicts.get(entry[0].key), seconds.get(entry[0].key, float("nan"))) for i, entry in enumerate(sorted(table, key=order)))


def _symmetry(crystals: Crystals) -> list[tuple[int, str, str]]:
    """(number, symbol, system) of every crystal at 0.01 Å; (0, "?", "?") where the search fails."""
    return [(0, "?", "?") if isinstance(s, BadInput) else (s.number, s.symbol, s.crystal_system) for s in analyse(crystals, 0.01, on_error="keep")]


def _row(rank: int, entry: tuple[Candidate, Crystals, dict[int, int], float, tuple[int, str, str]], state: State, verdict: Verdict | None, seconds: float) -> Row:
    candidate, crystal, composition, rho, (number, hm, system) = entry
    record = state.relaxed.get(candidate.key)
    reasons = verdict.reasons if verdict is not None else state.screened.get(candidate.key, ())
    by_name = {r.check: r for r in reasons}
    value = lambda check: by_name[check].value if check in by_name else float("nan")
    hull = by_name.get("energy_above_hull")
    chance = float("nan") if hull is None or hull.confidence is None else hull.confidence if hull.passed else 1 - hull.confidence
    return Row(
        rank=rank, key=candidate.key, kept=verdict is not None and verdict.passed and hull is not None, formula=reduced_formula(composition),
        space_group=number, space_group_symbol=hm, crystal_system=system, atoms=crystal.atoms,
        energy=record["energy"] / crystal.atoms if record else float("nan"), energy_above_hull=value("energy_above_hull"),
        formation_energy=value("formation_energy"), probability=chance, coverage=value("coverage"), borderline=any(r.borderline for r in reasons),
        volume_per_atom=float(crystal.volume[0]) / crystal.atoms, density=rho,
        moment=float("nan") if not record or record.get("moment") is None else record["moment"], fmax=record["fmax"] if record else float("nan"),
        steps=record["steps"] if record else 0, source=candidate.source, parents=candidate.parents, about=candidate.about, reasons=reasons,
        crystal=crystal, relaxed=record is not None, evaluations=(record or state.failed.get(candidate.key, {})).get("evaluations", 0), relax_cpu_seconds=seconds,
        second=state.second.get(candidate.key, {}) if state.second_asked else None)


def flat(row: Row) -> dict[str, Any]:
    """A row as one line of candidates.csv: what the same seed gives again, so no seconds."""
    second = {} if row.second is None else columns_of(row.second)
    return {
        "rank": row.rank, "key": row.key, "kept": row.kept, "formula": row.formula, "space_group": row.space_group, "symbol": row.space_group_symbol,
        "crystal_system": row.crystal_system, "atoms": row.atoms, "energy_per_atom": row.energy, "energy_above_hull": row.energy_above_hull,
        "formation_energy": row.formation_energy, "probability_within_limit": row.probability, "coverage": row.coverage, "borderline": row.borderline,
        "volume_per_atom": row.volume_per_atom, "density": row.density, "moment": row.moment, "fmax": row.fmax, "steps": row.steps,
        "evaluations": row.evaluations,
        "relaxed": row.relaxed, "source": row.source, "parents": " ".join(row.parents), "prototype": str(row.about.get("prototype", "")),
        "gene": str(row.about.get("gene", "")), "file": f"structures/{row.key}.cif" if row.relaxed else "", "why": row.why, **second,
    }


def heat(rows: tuple[Row, ...]) -> dict[str, tuple[int, int, float]]:
    """Element -> (proposed with it, kept with it, lowest energy above hull with it)."""
    found: dict[str, list] = {}
    for row in rows:
        for z in set(row.crystal.species.tolist()):
            cell = found.setdefault(symbol(z), [0, 0, float("nan")])
            cell[0] += 1
            cell[1] += row.kept
            if row.energy_above_hull == row.energy_above_hull:
                cell[2] = row.energy_above_hull if cell[2] != cell[2] else min(cell[2], row.energy_above_hull)
    return {k: (a, b, c) for k, (a, b, c) in found.items()}
