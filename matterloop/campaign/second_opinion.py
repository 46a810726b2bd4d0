"""A second potential's opinion of what a campaign kept: relaxed and judged on that potential's own hull, in its own energy scheme, beside the first.

Agreement between independent potentials as a sign of what can be believed, and disagreement as a warning to be shown: J. Riebesell and others, "A framework
to evaluate machine learning crystal stability predictions", Nat. Mach. Intell. 7, 836 (2025), doi:10.1038/s42256-025-01055-1. Numbers of the two are never
averaged, and no hull holds phases of both.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ..archive.records import Reason, Verdict
from ..base.errors import BadInput, Missing
from ..base.registry import load
from ..crystal.composition import compositions
from ..crystal.state import Crystals
from ..measure import reference as phases
from ..measure.corrections import RAW, hull_scheme, mp2020, refuse_other, run_type
from ..measure.flight import RelaxedOne
from ..measure.hull import Hull
from ..measure.own_reference import user_reference
from ..potential.oracle import Oracle, steady
from .cost import share_interval
from .tasks import Protocol

CHECK = "second_opinion"  # name of the reason that `agreed` adds


@dataclass(frozen=True)
class Asked:
    """Whose second opinion, and what it is for.

    potential  name of a potential with a hull of its own
    reference  file of phases of that potential instead of the shipped ones
    both       keep only what both potentials put within the limit; otherwise the first one's verdict stays
    """

    potential: str
    reference: str = ""
    both: bool = False


@dataclass(frozen=True, eq=False)
class SecondOpinion:
    """A potential with its own hull.

    coverage  composition -> (share of expected phases that the hull holds, names of those missing), None where nothing says
    single    names of the hull's phases whose energy is a single point: not relaxed by this potential, so a little too high
    """

    asked: Asked
    oracle: Oracle
    hull: Hull
    coverage: Callable[[Mapping[int, int]], tuple[float, tuple[str, ...]]] | None = None
    single: frozenset[str] = frozenset()

    @staticmethod
    def of(asked: Asked, first: str = "") -> SecondOpinion:
        """The potential and its hull, found before anything is computed.

        first  name of the potential whose verdicts are to be compared; BadInput if it is the same one. Missing, with the nearest names, for an unknown
        potential and for one without a hull of its own; NeedsPackage where its package is not installed.
        """
        if not asked.reference:
            try:
                phases.reference_name(asked.potential)  # no weights need be loaded to know that it has none
            except Missing:
                raise Missing("potential with a hull of its own (give a file of its phases to do without)", asked.potential, phases.with_reference()) from None
        oracle = steady(load(asked.potential, role="potential"))
        if first and oracle.name == first:
            raise BadInput(f"the candidates are judged by {first!r} already; name another potential", "second opinion")
        if asked.reference:
            hull = user_reference(asked.reference, scheme=hull_scheme(oracle.energy_scheme), potential=oracle.name)
            refuse_other(hull, oracle)
            return SecondOpinion(asked, oracle, hull)
        hull = phases.reference_hull(asked.potential)
        refuse_other(hull, oracle)
        listed = phases.phases(asked.potential)
        single = frozenset(n for n, p in zip(listed.labels, listed.protocols, strict=True) if p in (phases.PUBLISHED, phases.ELSEWHERE))
        return SecondOpinion(asked, oracle, hull, lambda c: phases.coverage(c, potential=asked.potential), single)

    def about(self) -> dict[str, Any]:
        """What the log and the report say of it: the question, the oracle, its scheme, and what its hull is made of."""
        plain = json.loads(json.dumps({k: v for k, v in self.hull.about.items() if k != "errors"}))  # as it reads in the log
        return {**asdict(self.asked), "oracle": self.oracle.name, "raw_scheme": self.oracle.energy_scheme, "scheme": self.hull.scheme, "phases": len(self.hull), "hull": plain}

    def opinion(self, one: RelaxedOne, limit: float) -> dict[str, Any]:
        """The judgement of one crystal that this potential relaxed, as plain values; `energy` is as the potential gave it, in eV for the whole cell.

        `within` says whether the distance is within `limit` eV/atom; None, with the reason, where the relaxation did not converge or there is no hull.
        """
        content = {"steps": one.steps, "evaluations": len(one.energies), "atoms": one.crystal.atoms, "converged": one.converged, "limit": limit, "within": None, "reason": one.reason}
        if one.failed:
            return content
        crystal = one.crystal.bare()
        composition = compositions(crystal)[0]
        added = mp2020(crystal) if self.oracle.energy_scheme == RAW else None
        correction = float(added.total[0]) if added is not None else 0.0
        energy = (one.energy + correction) / crystal.atoms
        found = self.hull.energy_above([composition], [energy], scheme=self.hull.scheme, missing="report")
        content |= {"energy": one.energy, "correction": correction, "parts": added.parts[0] if added is not None else {}, "run_type": run_type(composition) if added is not None else "",
                    "energy_per_atom": energy, "uncorrected_energy_per_atom": one.energy_per_atom, "fmax": one.fmax, "smax": one.smax,
                    "volume_per_atom": float(crystal.volume[0]) / crystal.atoms}
        if found.reasons[0]:
            return content | {"reason": found.reasons[0]}
        above = float(found.above[0])
        share, missing = self.coverage(composition) if self.coverage is not None else (1.0, ())
        return content | {
            "energy_above_hull": above, "formation_energy": float(self.hull.formation_energy([composition], [energy])[0]), "decomposition": [list(x) for x in found.decompositions[0]],
            "single_points": [name for name, _ in found.decompositions[0] if name in self.single], "coverage": share, "missing": list(missing),
            "within": above <= limit if one.converged else None}

    def relax(self, keys: Sequence[str], crystals: Crystals, protocol: Protocol, limit: float, write: Callable[[dict[str, Any], Crystals | None], None],
              should_stop: Callable[[], bool] | None = None) -> None:
        """Relax crystals from where the first potential left them; `write` gets the opinion of each, with its crystal, as soon as it is done.

        What is stopped is not written. A crystal that the potential cannot label gets an opinion without numbers.
        """
        def done(index: int, one: RelaxedOne) -> None:
            if one.status != "stopped":
                write({"key": keys[index], **self.opinion(one, limit)}, None if one.failed else one.crystal.bare())

        replace(protocol, potential=self.asked.potential).relax(crystals, self.oracle, on_done=done, **({} if should_stop is None else {"should_stop": should_stop}))


def agreed(verdicts: Mapping[str, Verdict], opinions: Mapping[str, Mapping[str, Any]], potential: str) -> dict[str, Verdict]:
    """Verdicts with the second opinion as one more check of every candidate that passed all others: no opinion counts as not passed."""
    out = dict(verdicts)
    for key, verdict in verdicts.items():
        if verdict.passed and verdict.reason("energy_above_hull") is not None:
            out[key] = replace(verdict, reasons=(*verdict.reasons, reason_of(opinions.get(key), potential)))
    return out


def reason_of(opinion: Mapping[str, Any] | None, potential: str) -> Reason:
    """A second opinion as a reason: its distance against the limit."""
    if opinion is None or opinion["within"] is None:
        why = "not asked yet" if opinion is None else opinion["reason"] or "the relaxation did not converge"
        return Reason(CHECK, float("nan"), float("nan") if opinion is None else opinion["limit"], "eV/atom", False, note=f"{potential} has none: {why}")
    return Reason(CHECK, opinion["energy_above_hull"], opinion["limit"], "eV/atom", bool(opinion["within"]), note=f"by {potential}")


def columns_of(opinion: Mapping[str, Any]) -> dict[str, Any]:
    """An opinion as columns of a table; NaN and "" where there is none."""
    number = lambda name: opinion.get(name, float("nan"))
    return {
        "second_energy_above_hull": number("energy_above_hull"), "second_within_limit": {True: "yes", False: "no"}.get(opinion.get("within"), ""),
        "second_energy_per_atom": number("energy_per_atom"), "second_uncorrected_energy_per_atom": number("uncorrected_energy_per_atom"),
        "second_formation_energy": number("formation_energy"), "second_coverage": number("coverage"), "second_reason": opinion.get("reason", "")}


def compared(first: Mapping[str, float], opinions: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What two potentials say of the same candidates, {key: eV/atom above the hull of the first} of those that the first put within the limit.

    `candidates`, `judged`: how many; `agree`, `disagree`: keys that the second puts within the limit, or not; `none`: {key: why it says nothing}; `waiting`: keys
    not asked about yet; `partial`: keys at whose composition the second hull lacks known phases, so that its distance may be too small; `share` agreeing of those it judged, with its 95 % interval; `difference`: median and mean absolute of second minus first in eV/atom.
    """
    said = {k: opinions[k] for k in first if k in opinions and opinions[k]["within"] is not None}
    agree = [k for k, x in said.items() if x["within"]]
    apart = np.array([x["energy_above_hull"] - first[k] for k, x in said.items()])
    low, high = share_interval(len(agree), len(said)) if said else (0.0, 1.0)
    return {
        "candidates": len(first), "judged": len(said), "agree": agree, "disagree": [k for k in said if k not in set(agree)],
        "none": {k: opinions[k]["reason"] or "the relaxation did not converge" for k in first if k in opinions and k not in said}, "waiting": [k for k in first if k not in opinions],
        "partial": [k for k, x in said.items() if x["coverage"] < 1],
        "share": len(agree) / len(said) if said else float("nan"), "interval": [low, high],
        "difference": {"median": float(np.median(apart)), "mean_absolute": float(np.abs(apart).mean())} if len(apart) else {}}
