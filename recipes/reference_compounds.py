"""CHGNet energies of every Materials Project structure of the data sets, relaxed as far as time allows, as shipped/compounds_chgnet.parquet with its card.

    python recipes/reference_compounds.py restore read singles genes relax retry write [--seconds S] [--work runs/reference] [--data-dir DIR]

Each stage resumes from the work folder and may be stopped at any time. `restore` refills an empty work folder from the shipped tables, so that their energies and
geometries are not computed again; leave it out to compute everything anew. `relax` starts with what lies nearest to the hull and has the fewest atoms;
`retry` takes what did not end well up the ladder: more steps, FIRE, no symmetry, both.
Published geometries stay in the work folder: what ships is what our own engine computed, and relaxed geometries as lattice and free Wyckoff parameters.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from reference_common import LADDER, SYMPREC, append, append_many, find_folder, read_lines
from reference_restore import restore
from reference_structures import crystals_of, read, structures
from reference_table import element_energies, ended, endings, write

from matterloop.archive.files import replacing
from matterloop.base import elements as periodic_table
from matterloop.base import registry
from matterloop.base.errors import BadInput
from matterloop.base.units import stress_to_gpa
from matterloop.crystal.composition import compositions
from matterloop.crystal.segments import segment_max
from matterloop.crystal.state import Crystals
from matterloop.crystal.symmetry import analyse
from matterloop.crystal.wyckoff import Parameters, free_parameters, from_parameters
from matterloop.measure.hull import Hull
from matterloop.measure.relax import RelaxedOne
from matterloop.measure.relax import relax as minimise
from matterloop.represent.wyckoff_gene import from_symmetry, gene

NEAR = 0.05  # eV/atom above the hull of the table: relaxed first


def chunks(frame, most_atoms: int) -> Iterator:
    """Consecutive parts of a frame of at most `most_atoms` atoms (at least one row each)."""
    start, total = 0, 0
    for i, n in enumerate(frame.atoms):
        if i > start and total + n > most_atoms:
            yield frame.iloc[start:i]
            start, total = i, 0
        total += n
    if start < len(frame):
        yield frame.iloc[start:]


def one_by_one(part, compute: Callable) -> list[dict]:
    """`compute(rows)`; where it fails, each row on its own, so that one bad structure costs itself only."""
    try:
        return compute(part)
    except (BadInput, RuntimeError) as error:
        if len(part) == 1:
            return [{"material_id": part.material_id.iloc[0], "failed": str(error)[:300]}]
        return [record for i in range(len(part)) for record in one_by_one(part.iloc[i : i + 1], compute)]


def stage(path: Path, frame, most_atoms: int, compute: Callable, until: float) -> None:
    """Compute the rows of `frame` that the work file lacks, part by part, until the clock says `until`."""
    done = {x["material_id"] for x in read_lines(path)}
    rest, begin, count = frame[~frame.material_id.isin(done)], time.monotonic(), 0
    for part in chunks(rest, most_atoms):
        if time.monotonic() > until:
            break
        append_many(path, one_by_one(part, compute))
        count += len(part)
    print(f"{path.name}: {len(done)} before, {count} now in {time.monotonic() - begin:.0f} s, {len(rest) - count} left", flush=True)


def singles(work: Path, until: float) -> None:
    """Energy, largest force and pressure at the published geometry."""
    oracle = registry.load("chgnet", role="potential")

    def compute(part) -> list[dict]:
        crystals = crystals_of(part)
        labels = oracle.label(crystals)
        fmax = segment_max(labels.forces.norm(dim=-1), crystals.owner, len(crystals), 0.0)
        pressure = -stress_to_gpa(labels.stress.diagonal(dim1=1, dim2=2).sum(-1) / 3)
        return [{"material_id": m, "energy_per_atom": float(e), "fmax": float(f), "pressure": float(p)}
                for m, e, f, p in zip(part.material_id, labels.energy / crystals.counts, fmax, pressure, strict=True)]

    stage(work / "singles.jsonl", structures(work), 500, compute, until)


def genes(work: Path, until: float) -> None:
    """Space group and genes of the published geometries."""
    def compute(part) -> list[dict]:
        return [{"material_id": m, "space_group": g.space_group, "gene": g.key, "anonymous": g.anonymous}
                for m, g in zip(part.material_id, gene(crystals_of(part), SYMPREC), strict=True)]

    stage(work / "genes.jsonl", structures(work), 2000, compute, until)


def remembered(work: Path, name: str, make: Callable):
    """`make()`, kept as JSON in the work folder: an order need not be found again at every start. Delete the file to find it anew."""
    path = work / name
    if not path.exists():
        with replacing(path) as new:
            new.write_text(json.dumps(make()))
    return json.loads(path.read_text())


def queue(work: Path):
    """Structures in the order in which they are relaxed: near the hull of the single points and small first, wished-for chemistry before the rest."""
    frame = structures(work)
    energy = {x["material_id"]: x["energy_per_atom"] for x in read_lines(work / "singles.jsonl") if "failed" not in x}
    frame = frame[frame.material_id.isin(energy.keys())].reset_index(drop=True)
    values, every = frame.material_id.map(energy).to_numpy(), compositions(crystals_of(frame))
    elements = element_energies(work)
    hull = Hull([*every, *({z: 1} for z in elements)], [*values, *elements.values()], [*frame.material_id, *map(str, elements)], "mp2020", "chgnet")
    above = hull.energy_above(every, values, missing="report").above
    unwished = periodic_table.LANTHANOIDS | periodic_table.DEFAULT_MASK
    anions = periodic_table.HALOGENS | periodic_table.CHALCOGENS | periodic_table.PNICTOGENS
    rank = [bool(set(c) & unwished) * 2 + (not set(c) & anions) * 1 for c in every]
    # cost in atoms, doubled for every step away from the hull and from what is wished for most
    cost = frame.atoms * 2.0 ** np.array(rank) * np.where(np.nan_to_num(above, nan=1.0) <= NEAR, 1.0, 4.0)
    return frame.assign(cost=cost, above=above).sort_values(["cost", "material_id"], kind="stable", ignore_index=True)


def finished(one: RelaxedOne) -> dict:
    """What is kept of a relaxation: energy, and the crystal as lattice and free Wyckoff parameters."""
    record = {"status": one.status, "reason": one.reason, "steps": one.steps}
    if one.failed:
        return record
    try:
        symmetry = analyse(one.crystal, SYMPREC)[0]
        parameters, found = free_parameters(symmetry)[0], from_symmetry(symmetry)
    except BadInput as error:
        return record | {"status": "failed", "reason": f"symmetry of the relaxed crystal: {error}"}
    return record | {"energy_per_atom": one.energy_per_atom, "fmax": one.fmax, "smax": one.smax, "space_group": parameters.space_group, "lattice": parameters.lattice,
                     "sites": parameters.sites, "gene": found.key, "anonymous": found.anonymous}


def relax(work: Path, until: float, batch: int = 400) -> None:
    """Relax with the symmetry kept, cell free; each crystal is one line as soon as it is done."""
    done = {x["material_id"] for x in read_lines(work / "relaxed.jsonl")}
    names = remembered(work, "queue.json", lambda: queue(work).material_id.to_list())
    frame = structures(work).set_index("material_id", drop=False).loc[names]
    climb(work, frame[~frame.material_id.isin(done)], 0, until, batch)


def retry(work: Path, until: float) -> None:
    """Take what did not end well up the ladder, rung by rung."""
    frame, single = structures(work).set_index("material_id", drop=False), {x["material_id"]: x for x in read_lines(work / "singles.jsonl")}
    for rung in range(1, len(LADDER)):
        bad = {m: x for m, x in endings(work, single).items() if x.get("rung", 0) < rung and ended(x, single[m]["energy_per_atom"])}
        climb(work, frame.loc[list(bad)], rung, until, 100, {m: x for m, x in bad.items() if x["status"] == "steps"})


def where(x: dict) -> Crystals:
    """The primitive cell of a line that `finished` wrote."""
    sites = tuple((letter, z, tuple(values)) for letter, z, values in x["sites"])
    return analyse(from_parameters(Parameters(x["space_group"], tuple(x["lattice"]), sites)), SYMPREC)[0].primitive


def climb(work: Path, rest, rung: int, until: float, batch: int, stand: Mapping[str, dict] = MappingProxyType({})) -> None:
    """Relax rows of the structure file with the settings of one rung of the ladder, from the published geometry or where an earlier line, in `stand`, ended."""
    oracle, path, settings, begin, count = registry.load("chgnet", role="potential"), work / "relaxed.jsonl", LADDER[rung], time.monotonic(), 0

    def finish(names: list[str], i: int, one: RelaxedOne) -> None:
        if one.status != "stopped":
            append(path, {"material_id": names[i], "rung": rung, **finished(one)})

    for start in range(0, len(rest), batch):
        if time.monotonic() > until:
            break
        part = rest.iloc[start : start + batch]
        names = part.material_id.to_list()
        cells = Crystals.join([where(stand[m]) if m in stand else c for m, c in zip(names, crystals_of(part), strict=True)])
        if settings["keep_symmetry"]:
            found = dict(zip(names, analyse(cells, SYMPREC, on_error="keep"), strict=True))
            append_many(path, [{"material_id": m, "rung": rung, "status": "failed", "reason": str(s)[:300], "steps": 0} for m, s in found.items() if isinstance(s, BadInput)])
            names = [m for m, s in found.items() if not isinstance(s, BadInput)]
            if not names:
                continue
            cells = Crystals.join([found[m].primitive for m in names])
        minimise(cells, oracle, **settings, batch_atoms=400, on_done=lambda i, one, names=names: finish(names, i, one), should_stop=lambda: time.monotonic() > until)
        count += len(part)
        print(f"rung {rung}: {count} of {len(rest)}, at most {part.atoms.max()} atoms, {time.monotonic() - begin:.0f} s", flush=True)
    print(f"rung {rung}: {count} tried in {time.monotonic() - begin:.0f} s, {len(rest) - count} left", flush=True)


STAGES = ("restore", "read", "singles", "genes", "relax", "retry", "write")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", nargs="+", choices=STAGES)
    parser.add_argument("--work", type=Path, default=Path("runs/reference"))
    parser.add_argument("--data-dir", type=Path, default=None)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    until, folder = time.monotonic() + args.seconds, find_folder(args.data_dir)
    for name in args.stages:
        if name in ("read", "write"):
            if folder is None:
                raise BadInput("the data sets are not found; give --data-dir or set MATTERLOOP_DATA", name)
            {"read": read, "write": write}[name](args.work, folder)
        elif name == "restore":
            restore(args.work)
        else:
            {"singles": singles, "genes": genes, "relax": relax, "retry": retry}[name](args.work, until)


if __name__ == "__main__":
    main()
