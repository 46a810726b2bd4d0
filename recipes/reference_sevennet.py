"""SevenNet-0 energies of the reference phases, as shipped/reference_sevennet-0.parquet with its card: a second potential's own hull.

    python recipes/reference_sevennet.py start singles relax write [--seconds S] [--within E] [--work runs/sevennet] [--data-dir DIR]

start     phases and geometries of shipped/elements_chgnet.parquet and compounds_chgnet.parquet, primitive cells: those that CHGNet relaxed from the tables,
          the others as published
singles   energy of every geometry as it stands: elements, then phases near CHGNet's hull, small ones first
relax     full relaxation of phases within E eV/atom of CHGNet's hull (0.1 if absent): elements, then nearest and smallest first
Each stage resumes from its lines in the work folder and may be stopped at any time. Energies are those of the potential; corrections stand beside them.
"""

from __future__ import annotations

import argparse
import json
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from reference_common import PROTOCOL, append, append_many, find_folder, read_lines, write_table
from reference_compounds import chunks, finished, one_by_one
from reference_elements import PROTOCOL as ELEMENT_PROTOCOL
from reference_elements import VOLUME_RATIO, mp_references
from reference_structures import CREDIT, crystals_of, read, structures
from reference_table import good, kind_of, relaxed_columns

from matterloop.archive.shipped import read_table
from matterloop.base import registry
from matterloop.base.elements import number, symbol
from matterloop.base.errors import BadInput
from matterloop.crystal.composition import compositions, reduced_formula
from matterloop.crystal.state import Crystals
from matterloop.crystal.symmetry import analyse
from matterloop.crystal.wyckoff import Parameters, from_parameters
from matterloop.measure.corrections import CORRECTED, RAW, TESTED, mp2020, oxide_types
from matterloop.measure.reference import ELSEWHERE, RELAXED
from matterloop.measure.reference import PUBLISHED as SINGLE
from matterloop.measure.reference import _parameters, reference_hull
from matterloop.measure.relax import RelaxedOne
from matterloop.measure.relax import relax as minimise
from matterloop.potential.sevennet import WEIGHTS

POTENTIAL, MODEL = "sevennet", "sevennet-0"
SYMPREC = 0.01  # Å
WITHIN = 0.1  # eV/atom above CHGNet's hull
ELEMENTS = {**ELEMENT_PROTOCOL, "keep_symmetry": True}
CHGNET, PUBLISHED = "relaxed by CHGNet", "published"  # geometries to start from


def start(work: Path, data_dir: Path | None) -> None:
    """Geometries and CHGNet's hull distances of all compounds, frozen in the work folder: a later change of the shipped table changes nothing here."""
    import pandas as pd

    path = work / "start.parquet"
    if path.exists():
        return
    if data_dir is None:
        raise BadInput("the data sets are not found; give --data-dir or set MATTERLOOP_DATA", "start")
    read(work, data_dir)
    table, published = read_table("compounds_chgnet"), structures(work).set_index("material_id")
    best = np.where(np.isfinite(table.relaxed_energy_per_atom), table.relaxed_energy_per_atom, table.energy_per_atom)
    listed = [dict(zip(z.tolist(), n.tolist(), strict=True)) for z, n in zip(table.elements, table.counts, strict=True)]
    above = reference_hull("chgnet").energy_above(listed, best, missing="report").above
    rows = []
    ours = [i for i in range(len(table)) if table.lattice.iat[i] is not None]
    for begin in range(0, len(ours), 500):
        part = ours[begin : begin + 500]
        cells = from_parameters([_parameters(table.iloc[i]) for i in part])
        for i, cell, symmetry in zip(part, cells, analyse(cells, SYMPREC, on_error="keep"), strict=True):
            one = cell if isinstance(symmetry, BadInput) else symmetry.primitive
            rows.append({"material_id": table.material_id.iat[i], "geometry": CHGNET, "species": one.species.numpy().astype(np.int16), "cell": one.cell.flatten().numpy(),
                         "frac": one.frac.flatten().numpy(), "above": above[i]})
    for i in sorted(set(range(len(table))) - set(ours)):
        one = published.loc[table.material_id.iat[i]]
        rows.append({"material_id": table.material_id.iat[i], "geometry": PUBLISHED, "species": one.species, "cell": one.cell, "frac": one.frac, "above": above[i]})
    frame = pd.DataFrame([*element_rows(), *rows])
    frame["atoms"] = frame.species.map(len)
    frame.to_parquet(work / "start.new", index=False)
    (work / "start.new").replace(path)
    near = frame.above <= WITHIN
    print(f"{len(frame)} phases, {frame.atoms.sum()} atoms; {int(near.sum())} within {WITHIN} eV/atom of the hull with {frame.atoms[near].sum()} atoms", flush=True)


def element_rows() -> list[dict]:
    """Every sound structure of the elements, above its element's lowest; called 'Fe bcc' as in the reference."""
    table = read_table("elements_chgnet")
    lowest = table[table.lowest].set_index("element").energy_per_atom
    return [{"material_id": f"{r.element} {r.prototype}", "geometry": CHGNET, "species": np.full(r.n_atoms, number(r.element), dtype=np.int16), "cell": r.cell, "frac": r.frac,
             "above": r.energy_per_atom - lowest[r.element]} for r in table[table.sound].itertuples()]


def started(work: Path):
    """The frozen phases: elements, then near CHGNet's hull and small ones first; a phase without a hull counts as near."""
    import pandas as pd

    frame = pd.read_parquet(work / "start.parquet")
    frame = frame.assign(near=~(frame.above > WITHIN), element=frame.material_id.str.contains(" "))
    return frame.sort_values(["element", "near", "atoms", "material_id"], ascending=[False, False, True, True], ignore_index=True)


def singles(work: Path, until: float, within: float) -> None:
    """Energies of the starting geometries; with `within` only of phases that near to CHGNet's hull."""
    path, oracle, begin, count, atoms, said = work / "singles.jsonl", registry.load(POTENTIAL, role="potential"), time.monotonic(), 0, 0, 0.0
    frame = started(work)
    done = {x["material_id"] for x in read_lines(path)}
    rest = frame[~frame.material_id.isin(done) & ~(frame.above > within)]

    def compute(part) -> list[dict]:
        crystals = crystals_of(part)
        energies = oracle.label(crystals, forces=False).energy / crystals.counts
        return [{"material_id": m, "geometry": g, "energy_per_atom": float(e)} for m, g, e in zip(part.material_id, part.geometry, energies, strict=True)]

    for part in chunks(rest, 300):
        if time.monotonic() > until:
            break
        append_many(path, one_by_one(part, compute))
        count, atoms, spent = count + len(part), atoms + int(part.atoms.sum()), time.monotonic() - begin
        if spent - said > 60:
            said = spent
            print(f"singles: {count} of {len(rest)}, {count / spent:.1f} structures and {atoms / spent:.0f} atoms a second, now of {part.atoms.max()} atoms", flush=True)
    print(f"singles: {len(done)} before, {count} now in {time.monotonic() - begin:.0f} s, {len(rest) - count} left", flush=True)


def queue(work: Path, within: float):
    """Phases to relax: elements, then near CHGNet's hull, cheap ones first; a phase 0.05 eV/atom up waits as long as one on the hull with twice the atoms."""
    frame, done = started(work), {x["material_id"] for x in read_lines(work / "relaxed.jsonl")}
    single = {x["material_id"] for x in read_lines(work / "singles.jsonl") if "failed" not in x}
    frame = frame[(frame.above <= within) & frame.material_id.isin(single) & ~frame.material_id.isin(done)]
    cost = frame.atoms * (1 + frame.above.clip(lower=0) / 0.05)
    return frame.assign(cost=cost).sort_values(["element", "cost", "material_id"], ascending=[False, True, True], ignore_index=True)


def relax(work: Path, until: float, within: float, batch: int = 100) -> None:
    """Relax with the symmetry kept, cell free; each crystal is one line as soon as it is done."""
    path, oracle, begin, count = work / "relaxed.jsonl", registry.load(POTENTIAL, role="potential"), time.monotonic(), 0
    rest = queue(work, within)

    def finish(names: list[str], i: int, one: RelaxedOne) -> None:
        if one.status != "stopped":
            append(path, {"material_id": names[i], **finished(one)})

    parts = [kind.iloc[first : first + batch] for _, kind in rest.groupby("element", sort=False) for first in range(0, len(kind), batch)]
    for part in parts:
        if time.monotonic() > until:
            break
        minimise(crystals_of(part), oracle, **(ELEMENTS if part.element.iloc[0] else PROTOCOL), symprec=SYMPREC, batch_atoms=200, on_done=lambda i, one, names=part.material_id.to_list(): finish(names, i, one),
                 should_stop=lambda: time.monotonic() > until)
        count += len(part)
        print(f"relax: {count} of {len(rest)} in {time.monotonic() - begin:.0f} s, now of {part.atoms.max()} atoms", flush=True)


# the table


def ending(x: dict | None, single: float, atoms_volume: float) -> str:
    """"" if a relaxation may stand in the table, "untried", or why not; an element must keep about its volume per atom."""
    if x is None:
        return "untried"
    if why := good(x, single):
        return why
    return "" if not atoms_volume or VOLUME_RATIO[0] <= volume_per_atom(x) / atoms_volume <= VOLUME_RATIO[1] else "the element drifted apart or collapsed"


def volume_per_atom(x: dict) -> float:
    """Å^3 per atom of a relaxed record."""
    crystal = rebuilt([x])
    return float(crystal.volume[0]) / crystal.atoms


def rebuilt(records: list[dict]) -> Crystals:
    """Relaxed crystals from their records, in conventional cells."""
    return from_parameters([Parameters(x["space_group"], tuple(x["lattice"]), tuple((letter, z, tuple(v)) for letter, z, v in x["sites"])) for x in records])


def write(work: Path, data_dir: Path | None) -> None:
    """Join what the work files hold into the shipped table."""
    import pandas as pd

    frame = started(work).sort_values(["element", "material_id"], ascending=[False, True], ignore_index=True)
    single = {x["material_id"]: x for x in read_lines(work / "singles.jsonl")}
    relaxed = {x["material_id"]: x for x in read_lines(work / "relaxed.jsonl")}
    groups = {**{f"{r.element} {r.prototype}": r.space_group for r in read_table("elements_chgnet").itertuples()},
              **dict(zip((c := read_table("compounds_chgnet", columns=["material_id", "space_group", "relaxed_space_group"])).material_id, np.where(c.space_group > 0, c.space_group, c.relaxed_space_group), strict=True))}
    left_out = {m: single[m]["failed"] for m in frame.material_id if "failed" in single.get(m, {})}
    todo = int((~frame.material_id.isin(single)).sum())
    frame = frame[[m in single and m not in left_out for m in frame.material_id]].reset_index(drop=True)
    rows, unfit = [], {}
    for begin in range(0, len(frame), 500):
        part = frame.iloc[begin : begin + 500]
        crystals = crystals_of(part)
        ends = [ending(relaxed.get(m), single[m]["energy_per_atom"], float(v) / n if e else 0.0)
                for m, v, n, e in zip(part.material_id, crystals.volume, part.atoms, part.element, strict=True)]
        unfit |= {m: why for m, why in zip(part.material_id, ends, strict=True) if why not in ("", "untried")}
        done = [k for k, why in enumerate(ends) if not why]
        fresh = dict(zip(done, rebuilt([relaxed[part.material_id.iat[k]] for k in done]), strict=True)) if done else {}
        final = Crystals.join([fresh.get(k, one) for k, one in enumerate(crystals)])
        added, kinds = mp2020(final).total / final.counts, oxide_types(final)
        for k, (r, composition, correction, kind) in enumerate(zip(part.itertuples(), compositions(crystals), added.tolist(), kinds, strict=True)):
            protocol = RELAXED if k in fresh else ELSEWHERE if r.geometry == CHGNET else SINGLE
            rows.append({"material_id": r.material_id, "formula": symbol(next(iter(composition))) if r.element else reduced_formula(composition), "space_group": groups.get(r.material_id, 0),
                         "energy_per_atom": single[r.material_id]["energy_per_atom"], "relaxed_energy_per_atom": np.nan, "correction_per_atom": correction, "oxygen": kind if kind != "oxide" else "",
                         "protocol": protocol, "relaxed_space_group": 0, "sites": "", "lattice": None, "parameters": None}
                        | ({k: v for k, v in relaxed_columns(relaxed[r.material_id]).items() if k != "relaxed_gene"} if k in fresh else {}))
    table = pd.DataFrame(rows).astype({"space_group": np.int16, "relaxed_space_group": np.int16, "protocol": "category", "oxygen": "category"})
    fall = (table.energy_per_atom - table.relaxed_energy_per_atom).dropna()
    oracle = registry.load(POTENTIAL, role="potential")
    facts = {
        "phases": len(table), "elements": int(table.material_id.str.contains(" ").sum()), "protocols": {str(k): int(v) for k, v in table.protocol.value_counts().items()},
        "not_computed_yet": todo, "left_out": left_out, "single_point_minus_relaxed_eV_per_atom": {} if fall.empty else {
            "phases": len(fall), "mean": float(fall.mean()), **{f"percentile_{p}": float(np.percentile(fall, p)) for p in (5, 50, 95, 99)}},
        "relaxations_not_used": pd.Series([kind_of(w) for w in unfit.values()], dtype=str).value_counts().to_dict(),
        "oxygen": {str(k): int(v) for k, v in table.oxygen.value_counts().items() if k}, "corrected_phases": int((table.correction_per_atom != 0).sum()),
        "elements_against_the_materials_project": against_references(table, mp_references(data_dir))}
    write_table(f"reference_{MODEL}", table, {
        "what": "SevenNet-0 energies of the reference phases: fully relaxed where time allowed, single points at CHGNet's or the published geometry elsewhere, with MP2020 corrections beside",
        "made_by": "recipes/reference_sevennet.py start singles relax write", "scheme": CORRECTED, "raw_scheme": RAW, "geometries_of": "chgnet", "potential": oracle.name, "model": oracle.model,
        "weights_sha256": WEIGHTS[oracle.model][1], "packages": {name: version(name) for name in ("torch", "sevenn", "e3nn", "moyopy", "pymatgen", "pymatgen-core")},
        "protocol": f"relaxed: symmetry kept, cell free, {PROTOCOL}, elements {ELEMENTS}, float32; else one evaluation", "licence": "CC-BY 4.0",
        "corrections": f"MaterialsProject2020Compatibility as in matterloop/measure/corrections.py, compared with {TESTED}; run types GGA and GGA+U by composition",
        "credit": "; ".join(["SevenNet-0: Park, Kim, Hwang, Han, J. Chem. Theory Comput. 20, 4857 (2024) (MIT), trained on MPtrj (Deng et al. 2023)", *CREDIT.values()]),
        "columns": {
            "material_id": "as in elements_chgnet and compounds_chgnet", "space_group": "of CHGNet's table", "energy_per_atom": "eV/atom, uncorrected, at CHGNet's geometry or the published one",
            "relaxed_energy_per_atom": "eV/atom, uncorrected, empty where not relaxed", "correction_per_atom": "eV/atom to be added, of the geometry that counts",
            "oxygen": "peroxide, superoxide or ozonide, empty for oxides and the rest", "sites, lattice, parameters": "of the relaxed crystal, as in compounds_chgnet"},
        "facts": facts})
    print(json.dumps({k: v for k, v in facts.items() if k != "left_out"}, indent=1), len(left_out), "left out")


def against_references(table, references: dict[str, float]) -> dict:
    """Lowest energy of each element minus the Materials Project's reference, eV/atom."""
    best = np.fmin(table.energy_per_atom, table.relaxed_energy_per_atom)
    elements = table.assign(best=best)[table.material_id.str.contains(" ")].groupby("formula").best.min()
    off = np.array([e - references[s] for s, e in elements.items() if s in references])
    return {"elements": len(off), "mean": float(off.mean()), "mean_absolute": float(np.abs(off).mean())} if len(off) else {}


STAGES = ("start", "singles", "relax", "write")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", nargs="+", choices=STAGES)
    parser.add_argument("--work", type=Path, default=Path("runs/sevennet"))
    parser.add_argument("--data-dir", type=Path, default=None)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="for all stages together")
    parser.add_argument("--within", type=float, default=None, help="eV/atom above CHGNet's hull: of singles all if absent, of relax 0.1")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + args.seconds
    for name in args.stages:
        if name == "start":
            start(args.work, find_folder(args.data_dir))
        elif name == "singles":
            singles(args.work, until, np.inf if args.within is None else args.within)
        elif name == "relax":
            relax(args.work, until, WITHIN if args.within is None else args.within)
        else:
            write(args.work, find_folder(args.data_dir))


if __name__ == "__main__":
    main()
