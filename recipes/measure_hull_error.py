"""Measure how far CHGNet's distance to the convex hull lies from first principles, as shipped/hull_error_chgnet.json with its card.

    python recipes/measure_hull_error.py restore relax fit [--count 1500] [--seconds S] [--work runs/hull_error] [--data-dir DIR]

`relax` relaxes structures of the WBM data set (made by substitution, not in CHGNet's training set, which is the Materials Project's) and resumes from the work
folder, which `restore` refills from shipped/wbm_chgnet.parquet; `fit` ships those energies, measures their distances to two hulls of the same formulas, one in
CHGNet's energies and one in the Materials Project's, and prints how well probabilities learnt on one half of the chemical systems hold on the other half. Run `fit` again when the reference tables have changed.

Energy schemes. WBM's formation energies and those of matbench_mp_e_form both carry the Materials Project's corrections of before 2021 ("legacy"), CHGNet
learnt those of 2020 (MP2020Compatibility); `fit` prints the evidence: the difference per atom of each anion, which is near the correction that
MP2020 has and legacy has not (Se -0.472, Te -0.422, Br -0.534, I -0.379, H -0.179 eV), near the difference of both for S (+0.160), and small for O, F, Cl.
So only crystals without S, Se, Te, Br, I, H enter the fit; in the others the scheme would count as an error of the potential.

The estimator. Error = distance in first principles minus distance in CHGNet. It hardly depends on the distance itself (printed), so P(true <= limit | predicted)
is the share of errors below limit - predicted, from 101 quantiles of all of them.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
from hull_formulas import SOURCE as MATBENCH
from hull_formulas import lowest_of
from reference_common import append, append_many, find_folder, potential_facts, read_lines, write_table
from reference_restore import agree
from scipy.stats import binomtest

from matterloop.archive import shipped
from matterloop.archive.files import replacing
from matterloop.archive.shipped import SHIPPED, write_card
from matterloop.base.elements import number, symbol
from matterloop.base.registry import load
from matterloop.crystal.composition import compositions, reduced
from matterloop.crystal.formats import read_table
from matterloop.crystal.state import Crystals
from matterloop.judge.stability import HullError
from matterloop.measure.hull import Hull
from matterloop.measure.reference import phases
from matterloop.measure.relax import relax as minimise

PROTOCOL = {"optimizer": "lbfgs", "fmax": 0.05, "smax": 0.003, "steps": 300, "keep_symmetry": True}  # as a campaign relaxes
ENERGIES = "wbm_chgnet"
WBM = "wbm_10k/val.csv.gz"
MP20 = "mp20_biternary_val_test/val.csv.gz"
MOST_ATOMS = 24
SCHEMES_DIFFER = {number(s): c for s, c in {"S": 0.160, "Se": -0.472, "Te": -0.422, "Br": -0.534, "I": -0.379, "H": -0.179}.items()}  # eV per atom, MP2020 less legacy
AGREE = {number(s): 0.0 for s in ("O", "F", "Cl")}
LIMITS = (0.0, 0.05, 0.1)  # eV/atom
CREDIT = ("WBM: Wang, Botti, Marques, npj Comput. Mater. 7, 12 (2021) (CC-BY 4.0) by way of SymmetryAdvantage/WyckoffTransformer (Apache-2.0); formation energies of the "
          "Materials Project (CC-BY 4.0) in matbench_mp_e_form (Dunn et al., npj Comput. Mater. 6, 138 (2020), MIT); CHGNet 0.3.0 (Deng et al., 2023)")


def structures(data_dir: Path) -> Crystals:
    """The WBM structures of the data set, with their formation energies."""
    return read_table(data_dir / WBM, id_column=None, columns={"formation_energy_per_atom": "formation_energy_per_atom"}).crystals


def record(row: int, before: Crystals, dft: float) -> dict:
    """What is known of a structure before it is relaxed; part of its line."""
    return {"row": row, "composition": reduced(compositions(before)[0]), "atoms": before.atoms, "dft_formation_energy": dft}


def restore(data_dir: Path, work: Path) -> None:
    """Refill the work file from the energies that ship; BadInput where other weights or settings made them."""
    agree(ENERGIES, PROTOCOL, SHIPPED)
    crystals, done = structures(data_dir), {x["row"] for x in read_lines(work / "relaxed.jsonl")}
    dft = crystals.get("formation_energy_per_atom").tolist()
    rows = [r for r in shipped.read_table(ENERGIES, folder=SHIPPED).itertuples() if r.row not in done]
    append_many(work / "relaxed.jsonl", [
        {**record(r.row, crystals[r.row], dft[r.row]), "energy_per_atom": r.energy_per_atom, "converged": r.converged, "failed": r.failed, "steps": r.steps, "strain": r.strain}
        for r in rows])
    print(f"{len(rows)} lines restored", flush=True)


def relax(data_dir: Path, work: Path, count: int, seconds: float) -> None:
    """Relax `count` random WBM structures of at most MOST_ATOMS atoms; one line each as it is done."""
    begun, file, crystals = time.monotonic(), work / "relaxed.jsonl", structures(data_dir)
    order = [i for i in np.random.default_rng(0).permutation(len(crystals)).tolist() if int(crystals.counts[i]) <= MOST_ATOMS][:count]
    done = {line["row"] for line in read_lines(file)}
    todo = [i for i in order if i not in done]
    oracle = load("chgnet", role="potential")
    print(f"{len(crystals)} structures, {len(order)} wanted, {len(order) - len(todo)} done", flush=True)
    for start in range(0, len(todo), 64):
        if time.monotonic() - begun > seconds:
            break
        part = todo[start:start + 64]
        batch, dft = crystals[part].bare(), crystals[part].get("formation_energy_per_atom").tolist()
        for i, one, before, known in zip(part, minimise(batch, oracle, **PROTOCOL), batch, dft, strict=True):
            strain = float(one.crystal.volume[0] / before.volume[0]) ** (1 / 3) - 1
            append(file, {**record(i, before, known), "energy_per_atom": one.energy_per_atom, "converged": one.converged, "failed": one.failed, "steps": one.steps, "strain": strain})
        print(f"{start + len(part)} of {len(todo)}, {time.monotonic() - begun:.0f} s", flush=True)


def ship_energies(work: Path) -> None:
    """Write shipped/wbm_chgnet.parquet: what our engine computed, by row of the data set."""
    lines = sorted(read_lines(work / "relaxed.jsonl"), key=lambda x: x["row"])
    frame = pd.DataFrame([{k: x[k] for k in ("row", "energy_per_atom", "converged", "failed", "steps", "strain")} for x in lines])
    write_table(ENERGIES, frame.astype({"row": np.int32, "steps": np.int16, "strain": np.float32}), {
        "what": f"CHGNet energies of relaxed structures of {WBM}: eV/atom by row of that file (from 0); strain: cube root of the volume's change",
        "made_by": "recipes/measure_hull_error.py relax fit", "credit": CREDIT, "protocol": f"relaxed from the published geometry, {PROTOCOL}", **potential_facts()})


def hulls(data_dir: Path) -> tuple[Hull, Hull]:
    """The reference formulas that both know: in CHGNet's energies, and in the Materials Project's formation energies."""
    dft, found, best = lowest_of(data_dir / MATBENCH)[0], phases("chgnet"), {}
    for composition, energy in zip(found.compositions, found.energies.tolist(), strict=True):
        key = reduced(composition)
        best[key] = min(energy, best.get(key, np.inf))
    both = [key for key in best if key in dft]
    names = [str(key) for key in both]
    formulas = [dict(key) for key in both]
    return Hull(formulas, [best[k] for k in both], names, found.scheme, "chgnet"), Hull(formulas, [dft[k] for k in both], names, "mp-legacy", "pbe")


def quantiles(values, levels=(1, 5, 25, 50, 75, 95, 99)) -> str:
    return " ".join(f"{x:+.3f}" for x in np.percentile(values, levels))


def schemes(formulas: list[dict[int, int]], difference: np.ndarray) -> None:
    """Print the median difference of formation energies per atom of each anion, the evidence for the schemes."""
    anions = {**SCHEMES_DIFFER, **AGREE}
    print("formation energy, WBM less CHGNet, median per atom of the anion (eV), beside what the schemes would give:")
    for z, given in anions.items():
        rows = [i for i, c in enumerate(formulas) if z in c and not any(y in c for y in anions if y != z)]
        if len(rows) >= 10:
            shares = np.array([formulas[i][z] / sum(formulas[i].values()) for i in rows])
            print(f"  {symbol(z):2s} {len(rows):4d} crystals {np.median(difference[rows] / shares):+.3f}   schemes {-given:+.3f}")


def reliability(error: HullError, predicted: np.ndarray, true: np.ndarray) -> list[dict]:
    """Print probability beside observed share, by limit, on crystals that the error was not fitted to."""
    table = []
    for limit in LIMITS:
        chance = np.array([error.probability(p, limit) for p in predicted.tolist()])
        hit = true <= limit
        print(f"  limit {limit:.2f} eV/atom: Brier score {np.mean((chance - hit) ** 2):.3f}, always the base rate {hit.mean():.2f}: {hit.mean() * (1 - hit.mean()):.3f}, "
              f"by the number alone {np.mean((predicted <= limit) != hit):.3f}")
        for low in np.arange(0, 1, 0.2):
            rows = (chance >= low) & (chance < low + 0.2 + 1e-9 * (low > 0.7))
            if rows.any():
                a, b = binomtest(int(hit[rows].sum()), int(rows.sum())).proportion_ci(method="wilson")
                table.append({"limit": limit, "predicted": float(chance[rows].mean()), "observed": float(hit[rows].mean()), "interval": [a, b], "crystals": int(rows.sum())})
                print(f"    predicted {chance[rows].mean():.3f}  observed {hit[rows].mean():.3f} [{a:.3f}, {b:.3f}]  {int(rows.sum())} crystals")
    return table


def trained_on(data_dir: Path, hull: Hull) -> dict:
    """The same for structures that CHGNet was trained on: MP-20's own distances beside those of the shipped energies; too good, not used."""
    with gzip.open(data_dir / MP20, "rt") as file:
        known = pd.read_csv(file, usecols=["material_id", "e_above_hull"]).set_index("material_id").e_above_hull
    found = phases("chgnet")
    rows = [i for i, name in enumerate(found.names) if name in known.index]
    formulas, energies = [found.compositions[i] for i in rows], found.energies[rows]
    above = np.asarray(hull.energy_above(formulas, energies, missing="report").above)
    error = known.loc[[found.names[i] for i in rows]].to_numpy() - above
    error = error[np.isfinite(error)]
    print(f"MP-20, in CHGNet's training set: {len(error)} structures, mean absolute error {np.abs(error).mean():.3f}, quantiles 1 5 25 50 75 95 99 %: {quantiles(error)}")
    return {"structures": len(error), "mean_absolute_error": float(np.abs(error).mean()), "median": float(np.median(error))}


def fit(data_dir: Path, work: Path) -> None:
    """Measure the errors, print how they behave, write the shipped files and their cards."""
    ship_energies(work)
    lines = [x for x in read_lines(work / "relaxed.jsonl") if x["converged"] and not x["failed"]]
    chgnet, dft = hulls(data_dir)
    formulas = [{z: n for z, n in x["composition"]} for x in lines]
    energies, formation = [x["energy_per_atom"] for x in lines], np.array([x["dft_formation_energy"] for x in lines])
    known = [i for i, c in enumerate(formulas) if not chgnet.missing(c)]
    print(f"{len(lines)} relaxed crystals, {len(lines) - len(known)} without a hull; {len(chgnet)} formulas on both hulls")
    lines, formulas, energies, formation = [lines[i] for i in known], [formulas[i] for i in known], [energies[i] for i in known], formation[known]
    schemes(formulas, formation - chgnet.formation_energy(formulas, energies))
    predicted = np.asarray(chgnet.energy_above(formulas, energies).above)
    true = np.asarray(dft.energy_above(formulas, formation).above)
    clean = np.array([not SCHEMES_DIFFER.keys() & c.keys() for c in formulas])
    for words, rows in (("schemes differ, not used", ~clean), ("used", clean)):
        error = (true - predicted)[rows]
        print(f"{words}: {rows.sum()} crystals, error of the distance: mean absolute {np.abs(error).mean():.3f}, quantiles 1 5 25 50 75 95 99 %: {quantiles(error)}")
    predicted, true, systems = predicted[clean], true[clean], ["-".join(map(str, sorted(c))) for c, keep in zip(formulas, clean, strict=True) if keep]
    print("error by predicted distance (median, middle half):")
    edges = [-np.inf, -0.1, -0.03, 0.0, 0.03, 0.07, 0.12, 0.2, np.inf]
    for low, high in zip(edges, edges[1:]):
        rows = (predicted >= low) & (predicted < high)
        print(f"  {low:+.2f} to {high:+.2f}: {rows.sum():4d}  {quantiles((true - predicted)[rows], (50, 25, 75))}")
    order = sorted(set(systems))
    half = set(np.random.default_rng(0).permutation(order)[: len(order) // 2].tolist())
    learnt = np.array([s in half for s in systems])
    print(f"fitted on {learnt.sum()} crystals, held out {(~learnt).sum()} of other chemical systems:")
    table = reliability(HullError.of((true - predicted)[learnt]), predicted[~learnt], true[~learnt])
    training = trained_on(data_dir, chgnet)
    error = true - predicted
    source = f"{len(error)} WBM crystals without S, Se, Te, Br, I, H, relaxed, on hulls of the same {len(chgnet)} formulas"
    path = SHIPPED / "hull_error_chgnet.json"
    with replacing(path) as new:
        new.write_text(json.dumps({"quantiles": [round(q, 5) for q in HullError.of(error).quantiles], "source": source}) + "\n", encoding="utf-8")
    write_card(
        path, what="101 quantiles of the error of CHGNet's distance to the convex hull (first principles less CHGNet, eV/atom)",
        made_by="recipes/measure_hull_error.py relax fit", credit=CREDIT, schemes="CHGNet mp2020 against first principles mp-legacy, systems where the two agree",
        protocol=f"relaxed by CHGNet from the published geometry, {PROTOCOL}; both hulls hold the formulas that the reference and matbench_mp_e_form share",
        **potential_facts(), crystals=len(error), mean_absolute_error=round(float(np.abs(error).mean()), 4), median=round(float(np.median(error)), 4),
        held_out=table, optimistic={"what": "the same on MP-20 structures, which CHGNet was trained on; not used", **training},
        reference={kind: sha for kind, sha in phases("chgnet").about["tables"].items()})
    print(f"wrote {path.name}: {source}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", nargs="+", choices=("restore", "relax", "fit"))
    parser.add_argument("--count", type=int, default=1500)
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--work", type=Path, default=Path("runs/hull_error"))
    parser.add_argument("--data-dir", type=Path)
    args = parser.parse_args()
    data_dir = find_folder(args.data_dir)
    if data_dir is None:
        raise SystemExit("the data sets are not here; give --data-dir or set MATTERLOOP_DATA")
    if "restore" in args.stages:
        restore(data_dir, args.work)
    if "relax" in args.stages:
        relax(data_dir, args.work, args.count, args.seconds)
    if "fit" in args.stages:
        fit(data_dir, args.work)


if __name__ == "__main__":
    main()
