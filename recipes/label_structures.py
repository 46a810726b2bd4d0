"""Relax every structure at hand that the reference lacks, and our own candidates, as shipped/genes_chgnet.parquet and shipped/material_files.parquet with their cards.

    python recipes/label_structures.py read propose relax retry symmetrise write [--part 0/2] [--seconds S] [--work runs/labels] [--data-dir DIR]

read        WBM, and Alexandria, OQMD and AFLOW as LeMat-GenBench drew them; which of these the reference holds already, by the ladder of judge/sun.py
propose     our own candidates, recipes/label_proposals.py: they are there so that energies above the hull cover 0 to 1 eV/atom
relax       as the reference was relaxed, symmetry kept; third parties' structures first, small ones before large ones
retry       what ran out of steps goes on from where it stands
symmetrise  relaxed crystals that have a higher symmetry within 0.1 Å are relaxed from there; that end counts if it is no higher in energy
write       the shipped tables
Each stage resumes from the work folder and may be stopped at any time; `--part k/n` lets n processes share the work. Published geometries stay in the work folder: what
ships is what our own engine computed. Labels are not shipped, they follow from the energies and the reference (measure/labelled_genes.py).
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from zlib import crc32

import numpy as np
import torch
from label_proposals import SOURCES as OWN
from label_proposals import proposals, propose
from reference_common import LADDER, SYMPREC, find_folder, potential_facts, read_lines, write_table
from reference_compounds import climb
from reference_structures import CREDIT as MP_CREDIT
from reference_structures import crystals_of, structures
from reference_table import kind_of, relaxed_columns

from matterloop.archive.files import replacing
from matterloop.archive.sources import load_frame, members
from matterloop.base.errors import BadInput
from matterloop.crystal.composition import compositions, reduced_formula
from matterloop.crystal.formats_cif import blocks, frame_of
from matterloop.crystal.formats_frame import assemble
from matterloop.crystal.symmetry import analyse
from matterloop.crystal.wyckoff import Parameters, free_parameters, from_parameters
from matterloop.judge.sun import compare, describe
from matterloop.measure.reference import reference_crystals
from matterloop.represent.wyckoff_gene import gene

MOST_ATOMS = 100
ROUGH = 0.1  # Å, tolerance at which a higher symmetry is looked for
GAIN = 1e-3  # eV/atom that the more symmetric end may lie above the other
DECIMALS = 5  # of what ships: Å, degrees, fractions of the cell
DATA_FILES = {  # what a split is called: (data set, file, column of ids, column of PBE gaps)
    "mp20_val": ("mp20_biternary_val_test", "val.csv.gz", "material_id", "band_gap"), "mp20_test": ("mp20_biternary_val_test", "test.csv.gz", "material_id", "band_gap"),
    "mp20_pilot_train": ("mp20_pilot_3x1000", "train.csv.gz", "material_id", "band_gap"), "mp20_pilot_val": ("mp20_pilot_3x1000", "val.csv.gz", "material_id", "band_gap"),
    "mp20_pilot_test": ("mp20_pilot_3x1000", "test.csv.gz", "material_id", "band_gap"), "mpts52_val": ("mpts52_val_test", "val.csv.gz", "material_id", None),
    "piezoelectric": ("matminer_tensors", "piezoelectric_tensor.csv.gz", "material_id", None)}
GAPS = ("mp20_mlip_hull_energies", "ensemble_above_hull_dataset.parquet")  # gaps of nearly all of MP-20
LEMAT = ("gen_baseline_cifs_lemat", "cifs_all.tar.zst")
ORDER = ("wbm", "alexandria", "oqmd", "aflow", *OWN)
CREDIT = ("WBM: Wang, Botti, Marques, npj Comput. Mater. 7, 12 (2021) (CC-BY 4.0) by way of SymmetryAdvantage/WyckoffTransformer (Apache-2.0); Alexandria: Schmidt et al., "
          "Adv. Mater. 35, 2210788 (2023) (CC-BY 4.0), OQMD: Kirklin et al., npj Comput. Mater. 1, 15010 (2015) (CC-BY 4.0) and AFLOW: Curtarolo et al., Comput. Mater. Sci. 58, 227 (2012), "
          "by way of LeMaterial/lemat-genbench (Apache-2.0), whose AFLOW folder holds JARVIS ids: Choudhary et al., npj Comput. Mater. 6, 173 (2020); own candidates: matterloop")


# read


def lemat(data_dir: Path) -> Iterator[tuple[str, str, str]]:
    """(id, source, CIF) of every structure of the archive."""
    for name, content in members(*LEMAT, data_dir=data_dir):
        if match := re.fullmatch(r"(?:\./)?(mp|alexandria|oqmd|aflow)/(?:mp_|alexandria_|oqmd_)?([A-Za-z]+-?\d+)[^/]*\.cif", name):
            yield match[2], match[1], content.decode()


def third_parties(data_dir: Path) -> Iterator[tuple[str, str, str]]:
    """(id, source, CIF) of every structure that is no Materials Project entry by its id."""
    frame = load_frame("wbm_10k", "val.csv.gz", data_dir=data_dir)
    yield from ((f"wbm-{i}", "wbm", text) for i, text in zip(frame.iloc[:, 0], frame.cif, strict=True))
    yield from (x for x in lemat(data_dir) if x[1] != "mp")


def read(work: Path, data_dir: Path) -> None:
    """All structures once, as plain columns in the work folder, and what could not be read."""
    import pandas as pd

    if (work / "structures.parquet").exists():
        return
    seen, records, failed = set(), [], {}
    for name, source, text in third_parties(data_dir):
        if name in seen:
            continue
        seen.add(name)
        try:
            crystals, _ = assemble([frame_of(blocks(text)[0])])
            if crystals.atoms > MOST_ATOMS:
                raise BadInput(f"{crystals.atoms} atoms, at most {MOST_ATOMS} are relaxed")
        except BadInput as error:
            failed[name] = {"source": source, "reason": str(error)}
            continue
        records.append({"material_id": name, "source": source, "species": crystals.species.numpy().astype(np.int16), "cell": crystals.cell.flatten().numpy(),
                        "frac": crystals.frac.flatten().numpy(), "atoms": crystals.atoms})
    frame = pd.DataFrame(records)
    with replacing(work / "unreadable.json") as new:
        new.write_text(json.dumps(failed, indent=1))
    with replacing(work / "same_as.json") as new:
        new.write_text(json.dumps(repetitions(frame[frame.source != "wbm"]), indent=1))
    with replacing(work / "structures.parquet") as new:
        frame.to_parquet(new, index=False)
    print(f"{frame.source.value_counts().to_dict()} structures, {len(failed)} left out: {pd.Series([kind_of(x['reason']) for x in failed.values()]).value_counts().to_dict()}", flush=True)


def repetitions(frame) -> dict[str, str]:
    """{id: id of the compound of the reference that it is} of published structures, by the ladder; the relaxed geometry of the reference is the older crystal."""
    crystals, found, begin = crystals_of(frame), {}, time.monotonic()
    formulas = [reduced_formula(c) for c in compositions(crystals)]
    for formula in sorted(set(formulas)):
        known, names = reference_crystals(formula)
        rows = [i for i, f in enumerate(formulas) if f == formula]
        older = [x for x in describe(known, names, SYMPREC) if " " not in x.key and not x.trouble]  # elements, named with a blank, are no compounds of the table
        if older:
            for one in describe(crystals[rows], [frame.material_id.iat[i] for i in rows], SYMPREC):
                if not one.trouble and (same := next((x.key for x in older if compare(x, one).same), None)):
                    found[one.key] = same
    print(f"{len(found)} of {len(frame)} are in the reference, {time.monotonic() - begin:.0f} s", flush=True)
    return found


# relax


def queue(work: Path, sources: Iterable[str]):
    """What is to be relaxed: third parties' structures that the reference lacks, then own candidates, small ones first within each source."""
    import pandas as pd

    same = json.loads((work / "same_as.json").read_text())
    frame = pd.concat([structures(work), proposals(work)], ignore_index=True)
    frame = frame[frame.source.isin(list(sources)) & ~frame.material_id.isin(same.keys())]
    return frame.assign(rank=frame.source.map(ORDER.index)).sort_values(["rank", "atoms", "material_id"], kind="stable", ignore_index=True)


def lines(work: Path, stage: str) -> dict[str, dict]:
    """{id: its relaxation that converged, or the last one} of all processes' work files of a stage."""
    out: dict[str, dict] = {}
    for x in chain.from_iterable(read_lines(p) for p in sorted(work.glob(f"{stage}-*/relaxed.jsonl"))):
        if out.get(x["material_id"], {}).get("status") != "converged":
            out[x["material_id"]] = x
    return out


def mine(names: Iterable[str], part: tuple[int, int]) -> np.ndarray:
    """(names,) whether each belongs to share k of n, `part`: by its name alone, so that processes need not start together."""
    return np.array([crc32(name.encode()) % part[1] == part[0] for name in names], dtype=bool)


def relax(work: Path, until: float, part: tuple[int, int], sources: Iterable[str]) -> None:
    """Relax what no process has relaxed yet."""
    frame = queue(work, sources)
    rest = frame[~frame.material_id.isin(lines(work, "relax").keys()) & mine(frame.material_id, part)]
    for source, rows in rest.groupby("source", sort=False):
        print(source, flush=True)
        climb(work / f"relax-{part[0]}", rows, 0, until, 200)


def retry(work: Path, until: float, part: tuple[int, int], sources: Iterable[str]) -> None:
    """More steps for what ran out of them."""
    short = {m: x for m, x in lines(work, "relax").items() if x["status"] == "steps" and x["rung"] == 0}
    frame = queue(work, sources)
    rest = frame[frame.material_id.isin(short.keys()) & mine(frame.material_id, part)]
    climb(work / f"relax-{part[0]}", rest, 1, until, 100, short)


def symmetrise(work: Path, until: float, part: tuple[int, int], sources: Iterable[str]) -> None:
    """Relax again what is more symmetric within ROUGH, from the symmetrised crystal."""
    import pandas as pd

    wanted, tried = set(queue(work, sources).material_id), lines(work, "symmetrise").keys() | seen(work)
    rest = [(m, x) for m, x in lines(work, "relax").items() if x["status"] == "converged" and m in wanted and m not in tried]
    rest = [pair for pair, ours in zip(rest, mine([m for m, _ in rest], part), strict=True) if ours]
    for start in range(0, len(rest), 200):
        if time.monotonic() > until:
            break
        chosen = dict(rest[start : start + 200])
        rows = raised(chosen)
        if rows:
            climb(work / f"symmetrise-{part[0]}", pd.DataFrame(rows), 0, until, 200)
        with (work / f"seen-{part[0]}.txt").open("a") as file:
            file.write("".join(f"{m}\n" for m in chosen))
    print(f"symmetrise: {len(rest)} looked at", flush=True)


def seen(work: Path) -> set[str]:
    """Ids whose symmetry has been looked at; those of a batch that was cut off are looked at again."""
    return {name for path in work.glob("seen-*.txt") for name in path.read_text().split()}


def raised(relaxed: dict[str, dict]) -> list[dict]:
    """Those of the relaxed crystals {id: line} that have fewer free parameters within ROUGH, symmetrised, as rows of the structure file."""
    found, held = [], [parameters_of(x) for x in relaxed.values()]
    for name, before, symmetry in zip(relaxed, held, analyse(from_parameters(held), ROUGH, on_error="keep"), strict=True):
        if isinstance(symmetry, BadInput) or (symmetry.number, len(symmetry.representatives)) == (before.space_group, len(before.sites)):
            continue
        try:
            fewer = free_parameters(symmetry)[0].dof < before.dof
        except BadInput:
            continue  # an atom off its position: too far from that symmetry
        if fewer:
            one = symmetry.primitive
            found.append({"material_id": name, "species": one.species.numpy().astype(np.int16), "cell": one.cell.flatten().numpy(), "frac": one.frac.flatten().numpy(),
                          "atoms": one.atoms})
    return found


def parameters_of(x: dict) -> Parameters:
    """The relaxed crystal of a line."""
    return Parameters(x["space_group"], tuple(x["lattice"]), tuple((letter, z, tuple(values)) for letter, z, values in x["sites"]))


# write


def ends(work: Path) -> dict[str, dict]:
    """{id: the relaxation that counts}: the more symmetric one where it is as low."""
    out = lines(work, "relax")
    for name, x in lines(work, "symmetrise").items():
        if x["status"] == "converged" and x["energy_per_atom"] <= out[name]["energy_per_atom"] + GAIN:
            out[name] = x | {"symmetrised": True}
    return out


def rounded(values: np.ndarray) -> np.ndarray:
    """In single precision, rounded so that it compresses to half."""
    return np.round(np.asarray(values, dtype=np.float64), DECIMALS).astype(np.float32)


def write_genes(work: Path) -> None:
    """Write shipped/genes_chgnet.parquet: what was relaxed, and what failed with its reason."""
    import pandas as pd

    frame, found, rows = queue(work, ORDER), ends(work), []
    frame = frame[frame.material_id.isin(found.keys())].reset_index(drop=True)
    formulas = [reduced_formula(c) for c in compositions(crystals_of(frame))]
    lost = [i for i, m in enumerate(frame.material_id) if found[m]["status"] != "converged"]
    genes = dict(zip(lost, gene(crystals_of(frame.iloc[lost]), SYMPREC, on_error="keep"), strict=True)) if lost else {}
    for i, (name, source, formula) in enumerate(zip(frame.material_id, frame.source, formulas, strict=True)):
        x = found[name]
        row = {"id": name, "source": source, "formula": formula, "status": x["status"], "steps": x["steps"], "space_group": 0, "sites": "", "lattice": None, "parameters": None,
               "gene": "", "energy_per_atom": np.nan}
        if x["status"] == "converged":
            held = relaxed_columns(x)
            row |= {"space_group": x["space_group"], "sites": held["sites"], "lattice": rounded(held["lattice"]), "parameters": rounded(held["parameters"]), "gene": x["gene"],
                    "energy_per_atom": round(x["energy_per_atom"], 6)}
        elif not isinstance(genes[i], BadInput):
            row["gene"] = genes[i].key
        rows.append(row)
    table = pd.DataFrame(rows).astype({"steps": np.int16, "space_group": np.int16, "source": "category", "status": "category"})
    unreadable = json.loads((work / "unreadable.json").read_text())
    reasons = pd.Series([f"{found[m]['status']}: {kind_of(found[m]['reason'])}" for m in frame.material_id if found[m]["status"] != "converged"], dtype=str)
    facts = {
        "sources": {s: {str(k): int(n) for k, n in t.status.value_counts().items() if n} for s, t in table.groupby("source", observed=True)},
        "failures": reasons.value_counts().head(30).to_dict(), "symmetrised": sum(x.get("symmetrised", False) for x in found.values()),
        "steps_mean": float(table.steps[table.status == "converged"].mean()),
        "not_read": {f"{s}: {k}": n for (s, k), n in pd.Series([(x["source"], kind_of(x["reason"])) for x in unreadable.values()]).value_counts().items()}}
    write_table("genes_chgnet", table, {
        "what": "Structures relaxed by our engine that compounds_chgnet does not hold: CHGNet energies and geometry, those of third parties and our own candidates; what failed with its status",
        "protocol": f"symmetry kept, cell free, {LADDER[0]}; out of steps: on with {LADDER[1]['steps']}; where the relaxed crystal is more symmetric within {ROUGH} Å relaxed again from there, "
                    f"which counts if it ends at most {GAIN} eV/atom higher",
        "made_by": "recipes/label_structures.py read propose relax retry symmetrise write", "credit": CREDIT, "licence": "CC-BY 4.0", **potential_facts(),
        "columns": {
            "id": "wbm-N: index N of wbm_10k/val.csv.gz; ids of Alexandria, OQMD and JARVIS; own candidates by source, seed and place", "steps": "moves of the last relaxation",
            "space_group": f"of the relaxed crystal within {SYMPREC} Å, 0 where it failed", "sites": "element and Wyckoff letter in the standard setting",
            "lattice": "free lattice parameters in the order of crystal/lattice.FREE, Å and degrees, five decimals", "parameters": "free site parameters, all sites in order, five decimals",
            "gene": "key of the relaxed crystal, of the start where the relaxation failed", "energy_per_atom": "eV/atom, empty where the relaxation failed"},
        "facts": facts})
    print(json.dumps(facts, indent=1), flush=True)


def write_files(work: Path, data_dir: Path) -> None:
    """Write shipped/material_files.parquet: which data files each id occurs in, its published gap, and the row of the reference that it repeats."""
    import pandas as pd

    files: dict[str, list[str]] = {}
    gaps: dict[str, float] = {}

    def note(names: Iterable[str], split: str, values: Iterable[float] = ()) -> None:
        for name in dict.fromkeys(names):
            files.setdefault(name, []).append(split)
        for name, value in zip(names, values):
            if np.isfinite(value):
                gaps.setdefault(name, value)

    for split, (source, file, column, gap) in DATA_FILES.items():
        table = load_frame(source, file, data_dir=data_dir)
        note(table[column].tolist(), split, table[gap].tolist() if gap else ())
    note(dielectric_ids(data_dir), "dielectric")
    note(load_frame("phonon_dfpt_petretto1521", "petretto_visible.jsonl.gz", data_dir=data_dir).material_id.tolist(), "phonon")
    for name, source, _ in lemat(data_dir):
        note([name], f"lemat_{source}")
    wbm = load_frame("wbm_10k", "val.csv.gz", data_dir=data_dir)
    note([f"wbm-{i}" for i in wbm.iloc[:, 0]], "wbm", wbm.band_gap.tolist())
    table = load_frame(*GAPS, data_dir=data_dir)
    for name, value in zip(table.material_id, table.band_gap.tolist(), strict=True):
        if np.isfinite(value) and name in files:
            gaps.setdefault(name, value)
    same = json.loads((work / "same_as.json").read_text())
    frame = pd.DataFrame({"id": sorted(files)})
    frame = frame.assign(files=[" ".join(files[i]) for i in frame.id], band_gap=np.array([gaps.get(i, np.nan) for i in frame.id], dtype=np.float32),
                         same_as=[same.get(i, "") for i in frame.id]).astype({"files": "category", "same_as": "category"})
    facts = {"with_band_gap": len(gaps), "repetitions": len(same), "rows_of_files": pd.Series([s for x in files.values() for s in x]).value_counts().to_dict()}
    write_table("material_files", frame, {
        "what": "In which data files a material id occurs, its published PBE band gap in eV, and the compound of the reference that it is the same as",
        "made_by": "recipes/label_structures.py read write", "credit": f"{'; '.join(MP_CREDIT.values())}; {CREDIT}", "licence": "CC-BY 4.0",
        "columns": {"files": "names of data files, apart by blanks: lemat_mp is the Materials Project's part of gen_baseline_cifs_lemat, and so on", "band_gap": "eV, empty where none is published",
                    "same_as": "by StructureMatcher(0.2, 0.3, 5), published geometry against the relaxed one; empty for a row of its own"},
        "facts": facts})
    print(json.dumps(facts, indent=1), flush=True)


def dielectric_ids(data_dir: Path) -> list[str]:
    """Material ids of the dielectric tensors, which stand in a column of text."""
    table = load_frame("matminer_tensors", "dielectric_constant.csv.gz", data_dir=data_dir)
    found = [re.search(r"u'material_id': u'(mp-\d+)'", text) for text in table.meta]
    return [m[1] for m in found if m]


def write(work: Path, data_dir: Path) -> None:
    """Write both tables."""
    write_files(work, data_dir)
    write_genes(work)


STAGES = ("read", "propose", "relax", "retry", "symmetrise", "write")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", nargs="+", choices=STAGES)
    parser.add_argument("--work", type=Path, default=Path("runs/labels"))
    parser.add_argument("--data-dir", type=Path, default=None)
    parser.add_argument("--part", default="0/1", help="which share of the work, such as 0/2 and 1/2 for two processes")
    parser.add_argument("--sources", nargs="+", choices=ORDER, default=ORDER)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    until, folder = time.monotonic() + args.seconds, find_folder(args.data_dir)
    part = tuple(int(x) for x in args.part.split("/"))
    for name in args.stages:
        if name in ("read", "write"):
            if folder is None:
                raise BadInput("the data sets are not found; give --data-dir or set MATTERLOOP_DATA", name)
            {"read": read, "write": write}[name](args.work, folder)
        elif name == "propose":
            propose(args.work, until, part)
        else:
            {"relax": relax, "retry": retry, "symmetrise": symmetrise}[name](args.work, until, part, args.sources)


if __name__ == "__main__":
    main()
