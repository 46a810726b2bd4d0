"""What relaxed proposals are judged against, and the verdict on each: valid, unique, novel twice, and its distance to frozen hulls that hold no candidate.

Everything is decided on relaxed structures, in the order of proposal. StructureMatcher(0.2, 0.3, 5, primitive, scale) as in judge/sun.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch

from ..base.elements import symbol
from ..crystal.composition import compositions, reduced, reduced_formula
from ..crystal.gate import Limits, problems
from ..crystal.state import Crystals
from ..crystal.symmetry import analyse
from ..crystal.wyckoff import Parameters, from_parameters
from ..judge.chemistry_sense import ChemistrySense
from ..judge.sun import Described, Reference, Sun, describe
from ..measure import reference as phases
from ..measure.hull import Hull
from ..measure.published_hull import PublishedTable, element_references, formation_energies, published_hull, published_table
from ..represent.wyckoff_gene import Gene
from .generating_figures import PUBLISHED

WIDE = 0.1  # Å: symmetry of relaxed crystals for P1, space-group shares and the second novelty, as the Materials Project looks for it

Energies = Callable[[Sequence[Mapping[int, int]], Sequence[float]], Sequence[float]]


@dataclass(frozen=True, eq=False)
class Yardsticks:
    """What every generator's relaxed proposals are measured against.

    reference  known phases for novelty
    hulls      {name: (hull, function from (compositions, energies of the relaxing potential in eV/atom) to energies on that hull)}
    published  the table of the second novelty; None: that test passes everything
    coverage   composition -> (share of expected phases that the first hull holds, names of those missing); None: 1
    """

    reference: Reference
    hulls: Mapping[str, tuple[Hull, Energies]]
    published: PublishedTable | None = None
    coverage: Callable[[Mapping[int, int]], tuple[float, Sequence[str]]] | None = None
    sense: ChemistrySense = field(default_factory=ChemistrySense)
    sun: Sun = field(default_factory=Sun)

    @staticmethod
    def of(potential: str = "chgnet", published: bool = True, data_dir: str | Path | None = None) -> Yardsticks:
        """The shipped reference of `potential` and, if `published`, the converted published hull with the second novelty.

        NotHere with what to do where the published data are missing.
        """
        hull = phases.reference_hull(potential)
        hulls: dict[str, tuple[Hull, Energies]] = {potential: (hull, lambda compositions, energies: energies)}
        table = None
        if published:
            table, zero = published_table(data_dir), element_references(data_dir)
            hulls[PUBLISHED] = (published_hull(data_dir), lambda compositions, energies: formation_energies(compositions, energies, zero))
        return Yardsticks(known_to(potential), hulls, table, lambda c: phases.coverage(c, potential=potential))

    def about(self) -> dict[str, Any]:
        """What the record says of them."""
        return {"novelty": self.reference.name, "genes": len(self.reference.genes), "hulls": {
            name: {"phases": len(hull), "scheme": hull.scheme, **{k: v for k, v in hull.about.items() if k in ("tables", "constants", "table", "relaxed", "compounds")}}
            for name, (hull, _) in self.hulls.items()}}


@cache
def known_to(potential: str = "chgnet") -> Reference:
    """Known phases: the reference of `potential` and every shipped structure that generators and predictors train on, this package's own candidates among them.

    One for all generators, so that none is asked for less than another.
    """
    from ..campaign.judging import known_phases
    from ..measure.labelled_genes import shipped_genes

    table = shipped_genes()
    return with_structures(known_phases(potential), table.ids, table.parameters, f"the reference and the {len(table)} structures trained on")


def with_structures(known: Reference, ids: Sequence[str], parameters: Sequence[Parameters], name: str = "") -> Reference:
    """A reference with more structures at hand; those whose id a gene of `known` bears are in it already."""
    held = {i for ids_ in known.genes.values() for i in ids_}
    rows: dict[tuple[tuple[int, int], ...], list[int]] = {}
    for i, (one, p) in enumerate(zip(ids, parameters, strict=True)):
        if one not in held:
            rows.setdefault(reduced(Gene(p.space_group, tuple(site[:2] for site in p.sites)).composition), []).append(i)

    @cache
    def at_hand(composition: tuple[tuple[int, int], ...]) -> list[Described]:
        more = rows.get(composition, [])
        return [*known.crystals(composition), *(describe(from_parameters([parameters[i] for i in more]), [ids[i] for i in more]) if more else [])]

    return Reference(known.genes, at_hand, known.complete, name or known.name)


def relaxed_crystals(proposed: Crystals, ends: Sequence[Mapping[str, Any]]) -> list[Crystals | None]:
    """The crystal that each end describes, None where the relaxation failed; `ends` hold frac, cell and status, one for each proposal."""
    out = []
    for k, end in enumerate(ends):
        frac, cell = (torch.tensor(x, dtype=torch.float64) for x in (end["frac"], [end["cell"]])) if end["status"] != "failed" else (None, None)
        out.append(None if frac is None else proposed[k].bare().put(frac=frac, cell=cell))
    return out


def judged(keys: Sequence[str], proposed: Crystals, ends: Sequence[Mapping[str, Any]], yardsticks: Yardsticks) -> list[dict[str, Any]]:
    """A row of plain values for each proposal, in order.

    ends  what the relaxation left of each: status, energy (eV), seconds, frac, cell

    valid         the relaxation converged, distances and volume make a structure, and crystal/gate.py lets it through
    unique        greedy: no earlier crystal that is valid and unique itself is the same; asked of valid ones only
    novel         neither the reference nor what was trained on holds it; asked of valid and unique ones only
    second_novel  its formula is in the published table in none of its space groups (within 0.01 and 0.1 Å)
    above         {hull: signed eV/atom}, nan where there is none
    """
    relaxed = relaxed_crystals(proposed, ends)
    rows = [_before(key, one, end) for key, one, end in zip(keys, proposed, ends, strict=True)]
    for row, reasons in zip(rows, yardsticks.sense.judge(proposed.bare()), strict=True):
        passed = {r.check: r.passed for r in reasons}
        row["structural_as_proposed"], row["charge_balanced"] = passed["volume_per_atom"] and passed["shortest_distance"], passed["charge_balance"]
    some = [i for i, one in enumerate(relaxed) if one is not None]
    if not some:
        return rows
    batch = Crystals.join([relaxed[i] for i in some])
    _structures(rows, some, proposed, batch, yardsticks)
    _energies(rows, some, batch, ends, yardsticks)
    good = [(i, k) for k, i in enumerate(some) if rows[i]["valid"]]
    if not good:
        return rows
    described = describe(batch[[k for _, k in good]], [keys[i] for i, _ in good], yardsticks.sun.symprec)
    for (i, _), one, unique in zip(good, described, yardsticks.sun.uniques(described), strict=True):
        row = rows[i]
        row["unique"], row["repeats"] = unique.passed, unique.note
        if not unique.passed:
            continue
        novel = yardsticks.sun.novel(one, yardsticks.reference)
        row["novel"], row["known_as"] = novel.passed, "" if novel.passed else novel.note
        groups = {row["space_group"], one.symmetry.number if one.symmetry is not None else 0} - {0}
        row["second_novel"] = yardsticks.published is None or not yardsticks.published.holds(dict(one.prepared.composition), groups)
    return rows


def _before(key: str, crystal: Crystals, end: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of a proposal whatever became of it."""
    composition = compositions(crystal)[0]
    found = analyse(crystal, WIDE, on_error="keep")[0]
    return {
        "key": key, "formula": reduced_formula(composition), "system": "-".join(sorted(map(symbol, composition))), "atoms": crystal.atoms, "status": end["status"],
        "reason": end.get("reason", ""), "seconds": end["seconds"], "converged": end["status"] == "converged", "proposed_group": getattr(found, "number", 0), "space_group": 0,
        "structural": False, "structural_as_proposed": False, "charge_balanced": False, "kept_space_group": False, "covered": False, "rmsd": math.nan, "volume_ratio": math.nan,
        "valid": False, "unique": False, "novel": False, "second_novel": False, "repeats": "", "known_as": "", "above": {}}


def _structures(rows: list[dict], some: Sequence[int], proposed: Crystals, batch: Crystals, yardsticks: Yardsticks) -> None:
    """Fill in what the relaxed structures `batch` of the proposals `some` are."""
    refused = problems(batch, Limits())
    for k, (i, one, reasons, found) in enumerate(zip(some, batch, yardsticks.sense.judge(batch), analyse(batch, WIDE, on_error="keep"), strict=True)):
        row, passed = rows[i], {r.check: r.passed for r in reasons}
        row["structural"] = passed["volume_per_atom"] and passed["shortest_distance"]
        row["valid"] = row["converged"] and row["structural"] and k not in refused
        row["space_group"] = getattr(found, "number", 0)
        row["kept_space_group"] = row["space_group"] == row["proposed_group"] != 0
        row["rmsd"], row["volume_ratio"] = moved(proposed[i], one), float(one.volume[0] / proposed[i].volume[0])


def _energies(rows: list[dict], some: Sequence[int], batch: Crystals, ends: Sequence[Mapping[str, Any]], yardsticks: Yardsticks) -> None:
    """Fill in the distances to every hull and the coverage of the first."""
    listed = compositions(batch)
    energies = [ends[i]["energy"] / rows[i]["atoms"] for i in some]
    for name, (hull, onto) in yardsticks.hulls.items():
        above = hull.energy_above(listed, onto(listed, energies), missing="report").above
        for i, value in zip(some, above.tolist(), strict=True):
            rows[i]["above"][name] = value
    for i, composition in zip(some, listed, strict=True):
        rows[i]["covered"] = yardsticks.coverage is None or yardsticks.coverage(composition)[0] >= 1


def moved(before: Crystals, after: Crystals) -> float:
    """Root mean square distance in Å by which the atoms of a crystal moved within the cell: differences of fractional coordinates to the nearest image, their
    mean taken out (a shift of the whole crystal is no move), measured in the cell `after`. Strain of the cell does not count."""
    step = after.frac - before.frac
    step = step - step.round()
    step = step - step.mean(0)
    step = step - step.round()
    return float((step @ after.cell[0]).square().sum(-1).mean().sqrt())
