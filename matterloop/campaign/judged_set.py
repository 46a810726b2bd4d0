"""A set of crystals from any generator judged as generators are compared: valid, unique, novel, (meta)stable, each on the survivors of the one before.

C. Zeni and others, MatterGen, Nature 639, 624 (2025): stable, unique, novel. All shares are of all structures given; the order of the set is the order in
which duplicates are decided. Energies are those of one potential on its own hull, which holds none of the set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..archive.records import Reason
from ..base.errors import BadInput
from ..crystal.composition import compositions, reduced_formula
from ..crystal.state import Crystals
from ..crystal.symmetry import analyse
from ..learn.intervals import share_interval
from ..judge.statistics import SYMPREC
from ..judge.sun import describe
from ..measure.corrections import for_hull
from .judging import Judges
from .relaxed_set import Ends

METASTABLE, STABLE = 0.1, 0.0  # eV/atom above the hull
GATES = ("valid", "unique", "novel", "metasun", "sun")  # each on the survivors of the one before; p1 is of all crystals


@dataclass
class Judged:
    """One crystal of the set; None where a gate before it was not passed, or there is nothing to say.

    crystal            relaxed, or as given
    reasons            of the checks that it came to
    energy_above_hull  eV/atom, signed distance to the hull without the set
    """

    name: str
    crystal: Crystals
    valid: bool = False
    unique: bool | None = None
    novel: bool | None = None
    metasun: bool | None = None
    sun: bool | None = None
    p1: bool | None = None
    space_group: int | None = None
    energy_per_atom: float | None = None
    energy_above_hull: float | None = None
    reasons: list[Reason] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        """As plain values."""
        reasons = [{"check": r.check, "value": r.value, "limit": r.limit, "unit": r.unit, "passed": r.passed, "note": r.note} for r in self.reasons]
        return {"file": self.name, "formula": reduced_formula(compositions(self.crystal)[0]), "atoms": self.crystal.atoms,
                **{k: getattr(self, k) for k in (*GATES, "p1", "space_group", "energy_per_atom", "energy_above_hull")}, "reasons": reasons}


def judge_set(crystals: Crystals, names: Sequence[str], judges: Judges, *, ends: Ends | None = None, relaxed: bool = True, fmax: float = 0.05, novelty: bool = True,
              advance: Callable[[int], None] = lambda done: None) -> list[Judged]:
    """Judge every crystal of a set, in its order.

    ends     what became of them (`relaxed_set.relax_set`); None: there are no energies, and nothing is said of stability
    relaxed  whether the ends are relaxed; then one that did not converge is not valid, and symmetry is that of the end
    novelty  whether known phases count; without it nothing is said of stability either, which is gated by it
    """
    if len(names) != len(crystals):
        raise BadInput(f"{len(crystals)} crystals and {len(names)} names", "judge")
    found = [Judged(name, one) for name, one in zip(names, crystals.bare(), strict=True)]
    if ends is not None:
        for one, end, content in zip(found, ends.crystals, ends.contents, strict=True):
            _take_end(one, end, content, relaxed, fmax)
    whole = Crystals.join([one.crystal for one in found]) if found else crystals
    for one, sense in zip(found, judges.sense.judge(whole), strict=True):
        one.reasons += sense
        one.valid = all(r.passed for r in one.reasons)
    for one, symmetry in zip(found, analyse(whole, SYMPREC, on_error="keep"), strict=True):
        if not isinstance(symmetry, BadInput):
            one.space_group, one.p1 = symmetry.number, symmetry.number == 1
    _compare([one for one in found if one.valid], judges, novelty, advance)
    if ends is not None:
        _measure([one for one in found if one.energy_per_atom is not None], judges, novelty)
    return found


def _take_end(one: Judged, end: Crystals | None, content: Mapping[str, Any] | None, relaxed: bool, fmax: float) -> None:
    if end is None:
        one.reasons.append(Reason("relaxation", float("nan"), fmax, "eV/Å", False, note="not reached" if content is None else content["reason"] or "failed"))
        return
    one.energy_per_atom = content["energy"] / end.atoms
    if relaxed:
        one.crystal = end
        one.reasons.append(Reason("relaxation", content["fmax"], fmax, "eV/Å", bool(content["converged"]), note=content["reason"]))


def _compare(valid: list[Judged], judges: Judges, novelty: bool, advance: Callable[[int], None]) -> None:
    """Unique, greedy in the given order, and novel."""
    if not valid:
        return
    described = describe(Crystals.join([one.crystal for one in valid]), [one.name for one in valid], judges.sun.symprec)
    for done, (one, what, unique) in enumerate(zip(valid, described, judges.sun.uniques(described), strict=True), 1):
        one.unique = unique.passed
        one.reasons.append(unique)
        if novelty and unique.passed:
            novel = judges.sun.novel(what, judges.reference)
            one.novel = novel.passed
            one.reasons.append(novel)
        advance(done)


def _measure(found: list[Judged], judges: Judges, novelty: bool) -> None:
    """Distances to the hull; what is unique and novel becomes (meta)stable by them."""
    if not found:
        return
    batch = Crystals.join([one.crystal for one in found])
    whole, _ = for_hull(judges.scheme, batch, [one.energy_per_atom * one.crystal.atoms for one in found])
    answer = judges.hull.energy_above(compositions(batch), (whole / batch.counts).numpy(), scheme=judges.hull.scheme, missing="report")
    for one, above, why in zip(found, answer.above.tolist(), answer.reasons, strict=True):
        known = above == above
        one.energy_above_hull = above if known else None
        one.reasons.append(Reason("energy_above_hull", above, METASTABLE, "eV/atom", known and above <= METASTABLE, note=why))
        if novelty and one.novel:
            one.metasun, one.sun = known and above <= METASTABLE, known and above <= STABLE


def shares(found: Sequence[Judged], given: int, gates: Sequence[str] = GATES) -> dict[str, Any]:
    """Counts, shares of all given, and 95 % bootstrap intervals: `valid`, `valid_interval` and so on, with `p1_share` beside the gates."""
    counts = {gate: sum(bool(getattr(one, gate)) for one in found) for gate in gates} | {"p1_share": sum(bool(one.p1) for one in found)}
    intervals = {name: list(share_interval(n, given)) for name, n in counts.items()}
    return {"counts": counts, **{name: n / given if given else float("nan") for name, n in counts.items()}, **{f"{name}_interval": x for name, x in intervals.items()},
            "intervals": intervals}

