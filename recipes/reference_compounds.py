"""CHGNet energies of every Materials Project structure of the data sets, relaxed as far as time allows, as shipped/compounds_chgnet.parquet with its card.

    python recipes/reference_compounds.py restore read singles genes relax retry write [--seconds S] [--work runs/reference] [--data-dir DIR]

Each stage resumes from the work folder and may be stopped at any time. `restore` refills an empty work folder from the shipped tables, so that their energies and
geometries are not computed again; leave it out to compute everything anew. `relax` starts with what lies nearest to the hull and has the fewest atoms;
`retry` takes what did not end well up the ladder: FIRE, no symmetry, both.
Published geometries stay in the work folder: what ships is what our own engine computed, and relaxed geometries as lattice and free Wyckoff parameters.
"""

from __future__ import annotations

import argparse
import ast
import gzip
import json
import re
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from hull_formulas import SOURCE as MP_FORMATION
from hull_formulas import lowest_of
from reference_common import BUILT, LADDER, PROTOCOL, PUBLISHED, RELAXED, append, append_many, find_folder, potential_facts, read_lines, write_table
from reference_restore import restore, restored, steps_of

from matterloop.archive.files import replacing
from matterloop.base import elements as periodic_table
from matterloop.base import registry
from matterloop.base.errors import BadInput
from matterloop.base.units import stress_to_gpa
from matterloop.crystal.composition import composition_of, compositions, reduced, reduced_formula
from matterloop.crystal.segments import segment_max
from matterloop.crystal.state import Crystals
from matterloop.crystal.symmetry import analyse
from matterloop.crystal.wyckoff import free_parameters
from matterloop.measure.hull import Hull
from matterloop.measure.relax import RelaxedOne
from matterloop.measure.relax import relax as minimise
from matterloop.represent.wyckoff_gene import Gene, from_symmetry, gene

SYMPREC = 0.01  # Å
BUILT_NEAR = 0.1  # eV/atom above the hull of all other phases: farther up a built phase has the wrong structure
BELIEVED = 0.25  # eV/atom by which its formation energy may differ from the published one (of older corrections): farther off it is not that phase
DEEPEST = 0.5  # eV/atom a relaxation may gain
NEAR = 0.05  # eV/atom above the hull of the table: relaxed first
CREDIT = {
    "mp20": "Materials Project (CC-BY 4.0) by way of MP-20 (Xie et al., ICLR 2022) as in SymmetryAdvantage/WyckoffTransformer (Apache-2.0)",
    "mpts52": "Materials Project (CC-BY 4.0) by way of MPTS-52 (Baird et al., JOSS 2024) as in SymmetryAdvantage/WyckoffTransformer (Apache-2.0)",
    "lemat": "Materials Project (CC-BY 4.0) by way of LeMaterial/lemat-genbench (Apache-2.0)",
    "dielectric": "Petousis et al., Sci. Data 4, 160134 (2017) (CC-BY 4.0) by way of matminer",
    "piezoelectric": "de Jong et al., Sci. Data 2, 150053 (2015) (CC-BY 4.0) by way of matminer",
    "built": "formulas and space groups on the hull of matbench_mp_e_form (Materials Project, CC-BY 4.0; Matbench v0.1, MIT), geometry by matterloop",
    "phonon": "Petretto et al., Sci. Data 5, 180065 (2018) (CC-BY 4.0), PBEsol geometries of Materials Project entries",
}


# reading the data sets


def rows_of(data_dir: Path) -> Iterator[tuple[str, str, str, str]]:
    """(material id, source, format, text) of every structure, in the order in which a repeated id is believed."""
    import pandas as pd

    for file in ("mp20_biternary_val_test/val", "mp20_biternary_val_test/test", "mp20_pilot_3x1000/train", "mp20_pilot_3x1000/val", "mp20_pilot_3x1000/test",
                 "mpts52_val_test/val"):
        frame = pd.read_csv(data_dir / f"{file}.csv.gz", usecols=["material_id", "cif"])
        yield from ((i, file.split("_")[0], "cif", text) for i, text in zip(frame.material_id, frame.cif, strict=True))
    yield from lemat_rows(data_dir / "gen_baseline_cifs_lemat" / "cifs_all.tar.zst")
    tensors = pd.read_csv(data_dir / "matminer_tensors" / "piezoelectric_tensor.csv.gz", comment="#")
    yield from ((i, "piezoelectric", "poscar", text) for i, text in zip(tensors.material_id, tensors.poscar, strict=True))
    tensors = pd.read_csv(data_dir / "matminer_tensors" / "dielectric_constant.csv.gz", comment="#")
    for text in tensors.meta:
        found = {key: re.search(rf"u'{key}': (u'(?:[^'\\]|\\.)*')", text) for key in ("material_id", "poscar")}
        if all(found.values()):
            yield ast.literal_eval(found["material_id"][1]), "dielectric", "poscar", ast.literal_eval(found["poscar"][1])
    with gzip.open(data_dir / "phonon_dfpt_petretto1521" / "petretto_visible.jsonl.gz", "rt") as file:
        for text in file:
            record = json.loads(text)
            yield record["material_id"], "phonon", "cif", record["cif"]


def lemat_rows(path: Path) -> Iterator[tuple[str, str, str, str]]:
    """The Materials Project's part of an archive of CIFs."""
    import pyarrow as pa

    with pa.CompressedInputStream(pa.OSFile(str(path)), "zstd") as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            if match := re.search(r"mp/mp_(mp-\d+)\.cif$", member.name):
                yield match[1], "lemat", "cif", archive.extractfile(member).read().decode()


def read(work: Path, data_dir: Path) -> None:
    """All structures once, as plain columns in the work folder."""
    import pandas as pd

    from matterloop.crystal.formats_cif import blocks, frame_of
    from matterloop.crystal.formats_frame import assemble
    from matterloop.crystal.formats_poscar import parse_poscar

    if (work / "structures.parquet").exists():
        return
    seen, records, failed = set(), [], []
    for material, source, kind, text in rows_of(data_dir):
        if material in seen:
            continue
        try:
            frame = frame_of(blocks(text)[0]) if kind == "cif" else parse_poscar(text)
            crystals, _ = assemble([frame])
        except BadInput as error:
            failed.append({"material_id": material, "source": source, "reason": str(error)})
            continue
        seen.add(material)
        records.append({"material_id": material, "source": source, "species": crystals.species.numpy().astype(np.int16), "cell": crystals.cell.flatten().numpy(),
                        "frac": crystals.frac.flatten().numpy()})
    frame = pd.DataFrame(records)
    frame["atoms"] = frame.species.map(len)
    frame = frame.sort_values(["atoms", "material_id"], kind="stable", ignore_index=True)
    frame.to_parquet(work / "structures.new", index=False)
    (work / "structures.new").replace(work / "structures.parquet")
    (work / "unreadable.json").write_text(json.dumps(failed, indent=1))
    print(f"{len(frame)} structures, {len(failed)} unreadable: {failed[:5]}", flush=True)


def crystals_of(frame) -> Crystals:
    """Crystals of some rows of the structure file."""
    return Crystals.of(np.concatenate(frame.frac.to_list()), np.concatenate(frame.species.to_list()).astype(np.int64), np.stack(frame.cell.to_list()),
                       frame.atoms.to_list())


def structures(work: Path):
    """The structure file as a frame."""
    import pandas as pd

    return pd.read_parquet(work / "structures.parquet")


# computing


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


def element_energies(work: Path) -> dict[int, float]:
    """{atomic number: lowest eV/atom} of the relaxed elements."""
    out: dict[int, float] = {}
    for x in read_lines(work / "elements.jsonl"):
        if x["status"] != "failed":
            z = periodic_table.number(x["element"])
            out[z] = min(out.get(z, np.inf), x["energy_per_atom"])
    return out


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
        bad = [m for m, x in endings(work, single).items() if x.get("rung", 0) < rung and good(x, single[m]["energy_per_atom"])]
        climb(work, frame.loc[bad], rung, until, 100)


def climb(work: Path, rest, rung: int, until: float, batch: int) -> None:
    """Relax rows of the structure file with the settings of one rung of the ladder, from the published geometry."""
    oracle, path, settings, begin, count = registry.load("chgnet", role="potential"), work / "relaxed.jsonl", LADDER[rung], time.monotonic(), 0

    def finish(names: list[str], i: int, one: RelaxedOne) -> None:
        if one.status != "stopped":
            append(path, {"material_id": names[i], "rung": rung, **finished(one)})

    for start in range(0, len(rest), batch):
        if time.monotonic() > until:
            break
        part = rest.iloc[start : start + batch]
        names, cells = part.material_id.to_list(), crystals_of(part)
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


# the table


def good(x: dict, published: float) -> str:
    """"" if a relaxation may stand in the table, else why not."""
    if x["status"] == "failed":
        return f"failed: {x['reason']}"
    if x["status"] == "steps":
        return "not converged"
    fall = published - x["energy_per_atom"]
    if fall < -0.002:
        return "ended above the published geometry"
    return "" if fall < DEEPEST else f"fell by more than {DEEPEST} eV/atom: a hole of the potential, not a relaxation"


def kind_of(reason: str) -> str:
    """A reason without its numbers, to count by."""
    return re.sub(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?", "#", reason)[:100]


def built_rows(work: Path, rows: list[dict], published: dict[tuple, float]) -> tuple[list[dict], dict]:
    """(rows, facts) of phases built by recipes/reference_built.py: the lowest of each formula and wanted space group, if its formation energy is near the
    published one {reduced composition: eV/atom} and it lies near the hull of everything."""
    found: dict[tuple[str, int], dict] = {}
    for x in read_lines(work / "built.jsonl"):
        key = (x["formula"], x["wanted_group"])
        if x["status"] == "converged" and x["energy_per_atom"] < found.get(key, {"energy_per_atom": np.inf})["energy_per_atom"]:
            found[key] = x
    listed = list(found.values())
    shares = [composition_of(x["formula"]) for x in listed]
    held = [np.nanmin([r["energy_per_atom"], r["relaxed_energy_per_atom"]]) for r in rows]
    elements = element_energies(work)
    known = Hull([*(dict(zip(r["elements"].tolist(), r["counts"].tolist(), strict=True)) for r in rows), *({z: 1} for z in elements)], [*held, *elements.values()],
                 list(map(str, range(len(rows) + len(elements)))), "mp2020", "chgnet")
    energies = [x["energy_per_atom"] for x in listed]
    formation = known.formation_energy(shares, energies)
    off = formation - np.array([published[reduced(c)] for c in shares])
    believed = np.abs(off) < BELIEVED
    grown = known.with_entries([c for c, b in zip(shares, believed, strict=True) if b], [e for e, b in zip(energies, believed, strict=True) if b],
                               [f"built {k}" for k in range(int(believed.sum()))])
    keep = believed & (grown.energy_above(shares, energies, missing="report").above < BUILT_NEAR)
    before = restored(work).get("built_by_substitution", {})  # what was tried and not kept before the work folder was refilled has no line
    count = lambda name, now: int(now) + before.get(name, 0)
    spread = {f"percentile_{p}": float(np.percentile(off, p)) for p in (5, 25, 50, 75, 95)} if listed else {}
    name = "formation_energy_minus_published_eV_per_atom"
    facts = {"formulas_tried": len(listed) + before.get("formulas_tried", 0) - before.get("kept", 0), "kept": int(keep.sum()),
             "formation_energy_too_far_from_published": count("formation_energy_too_far_from_published", (~believed).sum()),
             "too_far_above_the_hull": count("too_far_above_the_hull", (believed & ~keep).sum()), name: before[name] if before.get("kept") == len(listed) else spread}
    out = []
    for x, composition, good_one in zip(listed, shares, keep, strict=True):
        if good_one:
            counts = reduced(composition)
            out.append({
                "material_id": f"built-{x['formula']}-{x['wanted_group']}", "formula": reduced_formula(composition), "elements": np.array([z for z, _ in counts], dtype=np.uint8),
                "counts": np.array([n for _, n in counts], dtype=np.uint16), "n_atoms": Gene.parse(x["gene"]).atoms, "source": "built", "space_group": x["wanted_group"],
                "gene": x["gene"], "anonymous": x["anonymous"], "energy_per_atom": np.nan, "fmax": np.nan, "pressure": np.nan, "protocol": BUILT} | relaxed_columns(x))
    return out, facts


def relaxed_columns(x: dict) -> dict:
    """The columns of a relaxed crystal."""
    return {"relaxed_energy_per_atom": x["energy_per_atom"], "relaxed_space_group": x["space_group"], "relaxed_gene": "",
            "sites": ".".join(f"{periodic_table.symbol(z)}_{letter}" for letter, z, _ in x["sites"]), "lattice": np.array(x["lattice"], dtype=np.float32),
            "parameters": np.array([v for site in x["sites"] for v in site[2]], dtype=np.float32)}


def endings(work: Path, single: dict[str, dict]) -> dict[str, dict]:
    """{material id: its first relaxation that ended well, or the last that did not}."""
    out: dict[str, dict] = {}
    for x in read_lines(work / "relaxed.jsonl"):
        name = x["material_id"]
        if name not in out or good(out[name], single[name]["energy_per_atom"]):
            out[name] = x
    return out


def write(work: Path, data_dir: Path) -> None:
    """Join what the work files hold into the shipped table."""
    import pandas as pd

    frame = structures(work)
    single = {x["material_id"]: x for x in read_lines(work / "singles.jsonl")}
    known = {x["material_id"]: x for x in read_lines(work / "genes.jsonl")}
    relaxed = endings(work, single)
    left_out = {m: single[m]["failed"] for m in frame.material_id if "failed" in single.get(m, {})}
    frame = frame[[m in single and m not in left_out for m in frame.material_id]].reset_index(drop=True)
    rows, unfit, tried = [], {}, 0
    for r, composition in zip(frame.itertuples(), compositions(crystals_of(frame)), strict=True):
        one, g, x = single[r.material_id], known.get(r.material_id, {}), relaxed.get(r.material_id)
        counts = reduced(composition)
        row = {
            "material_id": r.material_id, "formula": reduced_formula(composition), "elements": np.array([z for z, _ in counts], dtype=np.uint8),
            "counts": np.array([n for _, n in counts], dtype=np.uint16), "n_atoms": r.atoms, "source": r.source, "space_group": g.get("space_group", 0),
            "gene": g.get("gene", ""), "anonymous": g.get("anonymous", ""), "energy_per_atom": one["energy_per_atom"], "fmax": one["fmax"],
            "pressure": one["pressure"], "protocol": PUBLISHED, "relaxed_energy_per_atom": np.nan, "relaxed_space_group": 0,
            "relaxed_gene": "", "sites": "", "lattice": None, "parameters": None}
        if x is not None:
            tried += 1
            if why := good(x, one["energy_per_atom"]):
                unfit[r.material_id] = why
            else:
                row |= {"protocol": RELAXED, **relaxed_columns(x), "relaxed_gene": "" if x["gene"] == row["gene"] else x["gene"]}
        rows.append(row)
    more, built = built_rows(work, rows, lowest_of(data_dir / MP_FORMATION)[0])
    rows += more
    table = pd.DataFrame(rows).astype({"n_atoms": np.int16, "space_group": np.int16, "relaxed_space_group": np.int16, "fmax": np.float32, "pressure": np.float32,
                                       "source": "category", "protocol": "category"})
    done = table.protocol == RELAXED
    fall = (table.energy_per_atom - table.relaxed_energy_per_atom)[done]
    before, used = restored(work), [relaxed[m] for m in table.material_id[done]]
    facts = {
        "structures": len(table), "relaxed": int(done.sum()), "built": int((table.protocol == BUILT).sum()), "without_gene": int((table.gene == "").sum()), "formulas": int(table.formula.nunique()),
        "published_minus_relaxed_eV_per_atom": {
            "structures": int(done.sum()), "mean": float(fall.mean()), **{f"percentile_{p}": float(np.percentile(fall, p)) for p in (5, 25, 50, 75, 90, 95, 99)}},
        "relaxation_steps": steps_of(used, before), "gene_changed_by_relaxation": int((table.relaxed_gene != "").sum()),
        "sources": {k: int(v) for k, v in table.source.value_counts().items()}, "left_out": left_out, "built_by_substitution": built,
        "ladder": {"rungs": len(LADDER), "settings": [str(s) for s in LADDER[1:]],
                   "structures": [[x["material_id"] for x in used if x.get("rung", 0) == k] for k in range(1, len(LADDER))]},
        "relaxations_not_used": {"tried": tried, "not_used": len(unfit), **pd.Series([kind_of(w) for w in unfit.values()], dtype=str).value_counts().to_dict()},
        "not_relaxed": dict(sorted(unfit.items()))}
    write_table("compounds_chgnet", table, {
        "what": "CHGNet energies of Materials Project structures, their geometry where our engine has relaxed it, and phases built where the data have a formula only",
        "protocol": f"energy_per_atom: published geometry, single point; relaxed_energy_per_atom: symmetry kept, cell free, {PROTOCOL}, and up the ladder in facts where that did not end well; built: elements put into a "
                    "structure of the same space group and ratio for formulas on the hull of matbench_mp_e_form, relaxed likewise, kept where the "
                    f"formation energy is within {BELIEVED} eV/atom of the published one and at most {BUILT_NEAR} eV/atom above the hull",
        "made_by": "recipes/reference_compounds.py read singles genes relax retry write; recipes/reference_built.py", "credit": "; ".join(CREDIT.values()), "licence": "CC-BY 4.0", **potential_facts(),
        "columns": {
            "elements": "atomic numbers", "counts": "atoms of each in the reduced formula", "n_atoms": "atoms in the published cell", "space_group": f"within {SYMPREC} Å, 0: not found; of built phases the one aimed at",
            "gene": "Wyckoff gene of the published geometry", "anonymous": "the same without elements", "energy_per_atom": "eV/atom at the published geometry, which is not CHGNet's minimum; empty for built phases",
            "fmax": "largest force there, eV/Å", "pressure": "pressure there, GPa", "relaxed_energy_per_atom": "eV/atom, empty where not relaxed",
            "relaxed_gene": "empty where unchanged", "sites": "element and Wyckoff letter of the relaxed crystal in the standard setting",
            "lattice": "free lattice parameters in the order of crystal/lattice.FREE, Å and degrees", "parameters": "free site parameters, all sites in order"},
        "facts": facts})
    print(json.dumps({k: v for k, v in facts.items() if k != "left_out"}, indent=1), len(left_out), "left out")


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
