"""SevenNet-0 energies of the reference phases, as shipped/reference_sevennet-0.parquet with its card: a second potential's own hull.

    python recipes/reference_sevennet.py start elements singles relax write [--seconds S] [--within E] [--work runs/sevennet] [--data-dir DIR]

start     phases and geometries of shipped/compounds_chgnet.parquet, primitive cells: those that CHGNet relaxed from the table, the others as published
elements  every structure of the elements relaxed, as recipes/reference_elements.py does for CHGNet
singles   energy of every geometry as it stands, phases near CHGNet's hull and small ones first
relax     full relaxation of phases within E eV/atom of CHGNet's hull (0.1 if absent), nearest and smallest first
Each stage resumes from its lines in the work folder and may be stopped at any time. Energies are those of the potential; corrections stand beside them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from pathlib import Path

import numpy as np
import torch
from reference_common import PROTOCOL, append, append_many, find_folder, read_lines, write_table
from reference_compounds import chunks, finished, one_by_one
from reference_elements import PROTOCOL as ELEMENT_PROTOCOL
from reference_elements import line, mp_references
from reference_elements import table as element_table
from reference_structures import CREDIT, crystals_of, read, structures
from reference_table import good, kind_of, relaxed_columns

from matterloop.archive.shipped import read_table
from matterloop.base import registry
from matterloop.base.errors import BadInput
from matterloop.crystal.composition import compositions, reduced_formula
from matterloop.crystal.state import Crystals
from matterloop.crystal.symmetry import analyse
from matterloop.crystal.wyckoff import from_parameters
from matterloop.measure.corrections import CORRECTED, RAW, TESTED, mp2020, oxide_types
from matterloop.measure.element_structures import ELEMENTS, structure, types_of
from matterloop.measure.reference import _parameters, reference_hull
from matterloop.measure.relax import RelaxedOne
from matterloop.measure.relax import relax as minimise

POTENTIAL, MODEL = "sevennet", "sevennet-0"
SYMPREC = 0.01  # Å
WITHIN = 0.1  # eV/atom above CHGNet's hull
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
    frame = pd.DataFrame(rows)
    frame["atoms"] = frame.species.map(len)
    frame.to_parquet(work / "start.new", index=False)
    (work / "start.new").replace(path)
    near = frame.above <= WITHIN
    print(f"{len(frame)} phases, {frame.atoms.sum()} atoms; {int(near.sum())} within {WITHIN} eV/atom of the hull with {frame.atoms[near].sum()} atoms", flush=True)


def started(work: Path):
    """The frozen phases, near CHGNet's hull and small ones first; a phase without a hull counts as near."""
    import pandas as pd

    frame = pd.read_parquet(work / "start.parquet")
    return frame.assign(near=~(frame.above > WITHIN)).sort_values(["near", "atoms", "material_id"], ascending=[False, True, True], ignore_index=True)


def elements(work: Path, until: float) -> None:
    """Relax every structure of the elements that the work file lacks."""
    path, oracle, begin = work / "elements.jsonl", registry.load(POTENTIAL, role="potential"), time.monotonic()
    done = {(x["element"], x["prototype"]) for x in read_lines(path)}
    wanted = [(e, name) for e in ELEMENTS for name in types_of(e) if (e, name) not in done]
    for first in range(0, len(wanted), 40):
        if time.monotonic() > until:
            break
        part = wanted[first : first + 40]
        minimise(Crystals.join([structure(*pair) for pair in part]), oracle, **ELEMENT_PROTOCOL, batch_atoms=256, should_stop=lambda: time.monotonic() > until,
                 on_done=lambda i, one, part=part: one.status == "stopped" or append(path, line(*part[i], one)))
        print(f"elements: {len(done) + first + len(part)} of {len(done) + len(wanted)}, {time.monotonic() - begin:.0f} s", flush=True)


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
    """Phases to relax: near CHGNet's hull, cheap ones first; a phase 0.05 eV/atom up waits as long as one on the hull with twice the atoms."""
    frame, done = started(work), {x["material_id"] for x in read_lines(work / "relaxed.jsonl")}
    single = {x["material_id"] for x in read_lines(work / "singles.jsonl") if "failed" not in x}
    frame = frame[(frame.above <= within) & frame.material_id.isin(single) & ~frame.material_id.isin(done)]
    cost = frame.atoms * (1 + frame.above.clip(lower=0) / 0.05)
    return frame.assign(cost=cost).sort_values(["cost", "material_id"], kind="stable", ignore_index=True)


def relax(work: Path, until: float, within: float, batch: int = 100) -> None:
    """Relax with the symmetry kept, cell free; each crystal is one line as soon as it is done."""
    path, oracle, begin, count = work / "relaxed.jsonl", registry.load(POTENTIAL, role="potential"), time.monotonic(), 0
    rest = queue(work, within)

    def finish(names: list[str], i: int, one: RelaxedOne) -> None:
        if one.status != "stopped":
            append(path, {"material_id": names[i], **finished(one)})

    for first in range(0, len(rest), batch):
        if time.monotonic() > until:
            break
        part = rest.iloc[first : first + batch]
        minimise(crystals_of(part), oracle, **PROTOCOL, symprec=SYMPREC, batch_atoms=200, on_done=lambda i, one, names=part.material_id.to_list(): finish(names, i, one),
                 should_stop=lambda: time.monotonic() > until)
        count += len(part)
        print(f"relax: {count} of {len(rest)} in {time.monotonic() - begin:.0f} s, now of {part.atoms.max()} atoms", flush=True)


STAGES = ("start", "elements", "singles", "relax", "write")


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
        elif name == "elements":
            elements(args.work, until)
        elif name == "singles":
            singles(args.work, until, np.inf if args.within is None else args.within)
        elif name == "relax":
            relax(args.work, until, WITHIN if args.within is None else args.within)
        else:
            write(args.work, find_folder(args.data_dir))


if __name__ == "__main__":
    main()
