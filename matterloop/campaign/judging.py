"""All judges of a campaign together: what each candidate is measured against, before and after its relaxation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from ..archive.records import Ask, Candidate, Limit, Reason
from ..base.elements import symbol
from ..crystal.composition import compositions, density, reduced
from ..crystal.state import Crystals
from ..generate.proposal import fulfils
from ..judge.chemistry_sense import ChemistrySense
from ..judge.stability import HullError, measured_error, stability
from ..judge.sun import Described, Reference, Sun, describe
from ..measure.corrections import for_hull, hull_scheme, refuse_other
from ..measure.hull import Hull
from ..potential.oracle import Oracle
from .predicted import Predictors

STABLE = 0.0  # eV/atom: limit on the hull distance where the ask names none and asks for stable crystals
SAID_AS = {"formation_energy_per_atom": "formation_energy"}  # check of a reason that is not called as the limit of a wish
DEFAULT_LIMIT = 0.1  # eV/atom: where the ask says nothing of stability


@cache
def known_phases(potential: str = "chgnet") -> Reference:
    """The shipped phases as a reference for novelty: genes of all, geometries of those that our engine relaxed."""
    from ..measure.reference import known_genes, reference_crystals

    @cache
    def at_hand(composition: tuple[tuple[int, int], ...]) -> list[Described]:
        crystals, names = reference_crystals(dict(composition), potential)
        return describe(crystals, names) if names else []

    return Reference(known_genes(potential), at_hand, name="the Materials Project part of the reference")


def _same_compositions(earlier: Sequence[Crystals], keys: Sequence[str], batch: Crystals) -> tuple[Crystals | None, list[str]]:
    """Those of `earlier` (single crystals) whose reduced composition occurs in the batch, with their keys, in order; None for none."""
    if not earlier:
        return None, []
    wanted = {reduced(c) for c in compositions(batch)}
    joined = Crystals.join(list(earlier))
    rows = [i for i, c in enumerate(compositions(joined)) if reduced(c) in wanted]
    return (joined[rows] if rows else None), [keys[i] for i in rows]


def against_limit(name: str, value: float, unit: str, wanted: Limit | None) -> Reason:
    """Reason for a number against the side of a wanted range that it breaks (the upper one if none); without a range it passes."""
    if wanted is None or (wanted.low is None and wanted.high is None):
        return Reason(name, value, float("inf"), unit, True)
    bound = wanted.high if wanted.high is not None and (value > wanted.high or wanted.low is None) else wanted.low
    return Reason(name, value, float(bound), unit, wanted.holds(value))


@dataclass(frozen=True, eq=False)
class Judges:
    """The hull, the known phases and the checks that give a verdict.

    hull       convex hull of the same potential and scheme as the oracle
    reference  known phases for novelty
    coverage   composition {z: n} -> (share of expected phases that the hull holds, names of those missing), None where nothing says
    scheme     of the energies that are judged, as the oracle gives them; raw ones get their corrections before the hull
    predictors of properties that a wish may limit; asked about crystals that passed everything else
    """

    hull: Hull
    reference: Reference = field(default_factory=Reference)
    coverage: Any = None
    error: HullError | None = None
    sense: ChemistrySense = field(default_factory=ChemistrySense)
    sun: Sun = field(default_factory=Sun)
    scheme: str = ""
    predictors: Predictors = field(default_factory=Predictors)

    @staticmethod
    def of(potential: str, reference: str, oracle: Oracle) -> Judges:
        """Judges for an oracle: its shipped hull, or the user's own phases from the file `reference`."""
        from ..measure import reference as phases
        from ..measure.own_reference import user_reference

        if reference:
            hull = user_reference(reference, scheme=hull_scheme(oracle.energy_scheme), potential=oracle.name)
            return Judges(hull, Reference(name=reference), None, measured_error(potential), scheme=oracle.energy_scheme, predictors=Predictors.shipped())
        hull = phases.reference_hull(potential)
        refuse_other(hull, oracle)
        return Judges(hull, known_phases(potential), lambda c: phases.coverage(c, potential=potential), measured_error(potential), scheme=oracle.energy_scheme,
                      predictors=Predictors.shipped())

    # checks that need no energy

    def _ask(self, ask: Ask, crystal: Crystals) -> Reason:
        unmet = fulfils(ask, crystal)
        return Reason("ask", float(len(unmet)), 0.0, "unmet", not unmet, note="; ".join(unmet))

    def _system(self, crystal: Crystals) -> Reason:
        lacking = self.hull.missing(compositions(crystal)[0])
        note = f"no hull: the reference lacks {', '.join(map(symbol, lacking))}" if lacking else ""
        return Reason("has_hull", float(len(lacking)), 0.0, "elements", not lacking, note=note)

    def screen(self, candidates: Sequence[Candidate], ask: Ask, novel: bool, earlier: Sequence[Candidate]) -> dict[str, tuple[Reason, ...]]:
        """Reasons of every candidate before relaxation, by key: what repeats an earlier proposal as it stands, or is known, is not relaxed.

        A gene alone turns nothing away but what shares it with a phase whose geometry is not at hand: two crystals of one gene with
        other free parameters are two starts.
        """
        batch = Crystals.join([c.crystal.bare() for c in candidates])
        senses = self.sense.judge(batch)
        before, before_keys = _same_compositions([c.crystal.bare() for c in earlier], [c.key for c in earlier], batch)
        first = describe(before, before_keys, self.sun.symprec) if before is not None else []
        described = describe(batch, [c.key for c in candidates], self.sun.symprec)
        repeats = self.sun.uniques([*first, *described], fixed=len(first))
        found = {}
        for one, crystal, sense, repeat in zip(described, batch, senses, repeats, strict=True):
            reasons = [*sense, self._ask(ask, crystal), self._system(crystal), replace(repeat, check="repeated")]
            if novel and all(r.passed for r in reasons):
                reasons.append(self.sun.novel(one, self.reference))
            found[one.key] = tuple(reasons)
        if self.predictors.screens(ask):
            asked = [i for i, c in enumerate(candidates) if all(r.passed for r in found[c.key])]
            for i, reasons in zip(asked, self.predictors.reasons(ask, batch[asked], before=True), strict=True):
                found[candidates[i].key] += tuple(reasons)
        return found

    # checks of the relaxed crystal

    def limit(self, ask: Ask) -> float:
        """Largest hull distance in eV/atom that the ask allows."""
        wanted = ask.limit("energy_above_hull")
        return DEFAULT_LIMIT if wanted is None or wanted.high is None else wanted.high

    def judge(self, keys: Sequence[str], crystals: Crystals, records: Sequence[Mapping[str, Any]], ask: Ask, novel: bool, fmax: float,
              before_keys: Sequence[str], before: Crystals | None) -> dict[str, tuple[Reason, ...]]:
        """Reasons of every relaxed candidate by key; `before` are the campaign's earlier crystals whose relaxation converged, for uniqueness."""
        described = describe(crystals, keys, self.sun.symprec)
        whole, added = for_hull(self.scheme, crystals, [r["energy"] for r in records])
        energies, added = (whole / crystals.counts).tolist(), (added / crystals.counts).tolist()
        formulas = [dict(d.prepared.composition) for d in described]
        distances = self.hull.energy_above(formulas, energies, missing="report")
        found: dict[str, list[Reason]] = {}
        for one, crystal, sense, record in zip(described, crystals, self.sense.judge(crystals), records, strict=True):
            converged = Reason("relaxation", record["fmax"], fmax, "eV/Å", bool(record["converged"]), note=record.get("reason", ""))
            found[one.key] = [converged, *sense, self._ask(ask, crystal)]
        sound = [all(r.passed for r in found[key]) for key in keys]
        for i, (one, crystal, record) in enumerate(zip(described, crystals, records, strict=True)):
            found[one.key] += self._stability(formulas[i], energies[i], float(distances.above[i]), distances.decompositions[i] or distances.reasons[i], ask, added[i])
            found[one.key] += self._limits(ask, crystal, record)
        uniques = self._uniques(described, sound, crystals, before_keys, before)
        for one, unique in zip(described, uniques, strict=True):
            found[one.key] += [unique, self.sun.novel(one, self.reference, required=novel)]
        asked = [i for i, key in enumerate(keys) if all(r.passed for r in found[key])]
        for i, reasons in zip(asked, self.predictors.reasons(ask, crystals[asked]), strict=True):
            found[keys[i]] += reasons
        return {key: tuple(reasons) for key, reasons in found.items()}

    def _uniques(self, described: Sequence[Described], sound: Sequence[bool], crystals: Crystals, before_keys: Sequence[str], before: Crystals | None) -> list[Reason]:
        """Greedy in the order of proposal: only crystals that are sound, and unique themselves, stand in the way of later ones."""
        former, keys = _same_compositions(list(before) if before is not None else [], before_keys, crystals)
        if former is None:
            return self.sun.uniques(described, sound)
        valid = [all(r.passed for r in reasons) for reasons in self.sense.judge(former)]
        first = describe(former, keys, self.sun.symprec)
        return self.sun.uniques([*first, *described], [*valid, *sound], fixed=len(first))

    def _stability(self, composition: dict[int, int], energy: float, above: float, decay: tuple[tuple[str, float], ...] | str, ask: Ask,
                   added: float = 0.0) -> list[Reason]:
        if above != above:
            return [Reason("energy_above_hull", above, self.limit(ask), "eV/atom", False, note=str(decay))]
        share, missing = self.coverage(composition) if self.coverage is not None else (1.0, ())
        against = ", ".join(f"{x:.2f} {name}" for name, x in decay)
        lacks = f"the reference lacks {', '.join(missing[:3])}{' ...' if len(missing) > 3 else ''}"
        known = "" if share >= 1 else f"; stable as far as known, {lacks}" if above <= self.limit(ask) else f"; {lacks}"
        known += f"; with {added:+.3f} eV/atom of corrections" if added else ""
        formation = float(self.hull.formation_energy([composition], [energy])[0])
        return [
            stability(above, self.limit(ask), self.error, f"against {against}{known}"),
            Reason("coverage", share, 0.0, "share", True, note=f"missing: {', '.join(missing)}" if missing else ""),
            against_limit("formation_energy", formation, "eV/atom", ask.limit("formation_energy_per_atom")),
        ]

    def _limits(self, ask: Ask, crystal: Crystals, record: Mapping[str, Any]) -> list[Reason]:
        moment = record.get("moment")
        values = {
            "density": (float(density(crystal)[0]), "g/cm^3"),
            "volume_per_atom": (float(crystal.volume[0]) / crystal.atoms, "Å^3"),
            "magnetic_moment": (moment, "muB"),
            "magnetic_moment_per_atom": (None if moment is None else moment / crystal.atoms, "muB/atom"),
        }
        reasons = []
        for wanted in ask.limits:
            value, unit = values.get(wanted.name, (None, ""))
            if value is not None:
                reasons.append(against_limit(wanted.name, value, unit, wanted))
        return reasons
