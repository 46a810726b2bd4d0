"""Train the predictors of properties that ship, and write them into the package.

    python recipes/train_predictors.py train bulk_modulus [--budget 900] [--model cgcnn] [--members 2]      goes on from runs/predictors/NAME
    python recipes/train_predictors.py calibrate bulk_modulus                                              uncertainty, distances and figures again, without training
    python recipes/train_predictors.py write bulk_modulus                                                  folder and card into matterloop/shipped
    python recipes/train_predictors.py list

Four fifths of the crystals train, a tenth stops the training and calibrates the uncertainty, a tenth is measured on and stands on the card; no formula is in two
parts. Of AFLOW's properties the published validation file is measured on.
"""

import argparse
import gzip
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from matterloop.archive.shipped import SHIPPED, write_card
from matterloop.archive.sources import data_path, source
from matterloop.bench.property_tasks import load_task
from matterloop.crystal.formats import read_table, read_text_of
from matterloop.crystal.state import Crystals
from matterloop.learn.calibrated import CalibratedPredictor, calibrated
from matterloop.learn.metrics import scores
from matterloop.learn.splits import draw
from matterloop.learn.targets import Target, labelled
from matterloop.learn.training import train

RUNS = Path("runs/predictors")
MP20, PILOT, PHONONS, AFLOW = "mp20_biternary_val_test", "mp20_pilot_3x1000", "phonon_dfpt_petretto1521", "aflow_props_cif"


@dataclass(frozen=True)
class Plan:
    """A property: its target, where crystals and labels come from, whether its logarithm is learnt, what it is."""

    target: Target
    read: Callable[[], tuple[Crystals, list[str], list[float], list[str]]]  # crystals, keys, labels, fixed part of each row ("" to be drawn)
    data: str
    what: str
    log: bool = False


def aflow(name: str):
    """Rows of a task on AFLOW's properties; its validation file is measured on."""
    def read():
        held = load_task(f"aflow_{name}")
        test = set(held.part()["test"].tolist())
        return held.inputs.bare(), list(held.keys), held.labels.tolist(), ["test" if i in test else "" for i in range(len(held.keys))]

    return read


def mp20(column: str, of: Callable[[float], float] = float):
    """MP-20 as far as it is at hand: bi- and ternary validation and test files and the pilot's three."""
    def read():
        import pandas as pd

        crystals, keys, labels, seen = [], [], [], set()
        for data, file in ((MP20, "val.csv.gz"), (MP20, "test.csv.gz"), *((PILOT, f"{part}.csv.gz") for part in ("train", "val", "test"))):
            table = pd.read_csv(data_path(data, file))
            found = read_table(data_path(data, file), id_column="material_id")
            rows = [row for _, row in found.sources]
            fresh = [k for k, row in enumerate(rows) if table.material_id[row] not in seen]
            seen |= {table.material_id[rows[k]] for k in fresh}
            crystals.append(found.crystals.bare()[fresh])
            keys += [str(table.material_id[rows[k]]) for k in fresh]
            labels += [of(float(table[column][rows[k]])) for k in fresh]
        return Crystals.join(crystals), keys, labels, [""] * len(keys)

    return read


def phonons(of: Callable[[dict], float | None]):
    """Materials of the phonon database without imaginary modes and with a label."""
    def read():
        crystals, keys, labels = [], [], []
        with gzip.open(data_path(PHONONS, "petretto_visible.jsonl.gz"), "rt", encoding="utf-8") as lines:
            for row in map(json.loads, lines):
                value = of(row)
                if value is not None and np.isfinite(value) and value > 0:
                    crystals.append(read_text_of(row["cif"], "cif").crystals.bare())
                    keys.append(row["material_id"])
                    labels.append(value)
        return Crystals.join(crystals), keys, labels, [""] * len(keys)

    return read


def mean_trace(row: dict, name: str) -> float | None:
    """A third of the trace of a dielectric tensor, None where there is none or where it is no insulator's."""
    held = (row.get("dielectric") or {}).get(name)
    value = None if held is None else float(np.trace(np.array(held, dtype=float))) / 3
    return value if value is not None and 1 <= value < 1000 else None


def last_peak(row: dict) -> float | None:
    """Frequency in 1/cm of the last maximum of the density of states that is at least a tenth of its highest; None for imaginary modes."""
    if row["flags"].get("has_neg_fr") not in (False, "False"):
        return None
    x, y = np.array(row["dos_frequencies_cm1"]), np.array(row["ph_dos"])
    inner = np.flatnonzero((y[1:-1] >= y[:-2]) & (y[1:-1] > y[2:]) & (y[1:-1] >= 0.1 * y.max())) + 1
    return float(x[inner[-1]]) if len(inner) else None


PLANS = {
    "bulk_modulus": Plan(Target("bulk_modulus", "GPa"), aflow("bulk_modulus"), AFLOW, "bulk modulus"),
    "shear_modulus": Plan(Target("shear_modulus", "GPa"), aflow("shear_modulus"), AFLOW, "shear modulus"),
    "debye_temperature": Plan(Target("debye_temperature", "K"), aflow("debye_temperature"), AFLOW, "Debye temperature"),
    "thermal_conductivity": Plan(Target("thermal_conductivity", "W/(m K)"), aflow("thermal_conductivity"), AFLOW, "lattice thermal conductivity at 300 K", log=True),
    "thermal_expansion": Plan(Target("thermal_expansion", "1e-6/K"), aflow("thermal_expansion"), AFLOW, "thermal expansion at 300 K"),
    "band_gap": Plan(Target("band_gap", "eV"), mp20("band_gap"), MP20, "PBE band gap"),
    "is_metal": Plan(Target("is_metal", classes=2), mp20("band_gap", lambda gap: float(gap == 0.0)), MP20, "no PBE band gap"),
    "dielectric_constant": Plan(Target("dielectric_constant"), phonons(lambda row: mean_trace(row, "eps_total")), PHONONS, "static dielectric constant", log=True),
    "refractive_index": Plan(Target("refractive_index"), phonons(lambda row: (v := mean_trace(row, "eps_electronic")) and v**0.5), PHONONS, "refractive index"),
    "last_phonon_peak": Plan(Target("last_phonon_peak", "1/cm"), phonons(last_peak), PHONONS, "last peak of the phonon density of states", log=True),
}


def rows_of(crystals: Crystals, keys: list[str], fixed: list[str], seed: int) -> dict[str, np.ndarray]:
    """Rows of train, val and test; formulas stay together, parts that are fixed stay."""
    free = [i for i, part in enumerate(fixed) if not part]
    shares = {"train": 0.9, "val": 0.1} if any(fixed) else {"train": 0.8, "val": 0.1, "test": 0.1}
    inner = draw("formula", [keys[i] for i in free], crystals=crystals[free], shares=shares, seed=seed)
    place = {k: i for i, k in enumerate(keys)}
    found = {name: np.array([place[k] for k in part]) for name, part in inner.parts.items()}
    if any(fixed):
        found["test"] = np.array([i for i, part in enumerate(fixed) if part == "test"])
    return found


def measured(plan: Plan, found: CalibratedPredictor, inputs: Crystals, labels: np.ndarray) -> dict[str, object]:
    """Figures on rows that neither trained nor calibrated, with intervals."""
    said = found.predict(inputs)
    names = ("auc", "balanced_accuracy", "f1") if plan.target.classes else ("mae", "rmse", "mad_mae", "r2")
    out: dict[str, object] = {"rows": len(labels)}
    for one in scores(labels, said.value, names, unit=plan.target.unit):
        out[one.name] = {"value": round(one.value, 5), "low": round(one.low, 5), "high": round(one.high, 5)}
    if not plan.target.classes:
        out["in_90_percent_interval"] = round(float(np.mean((labels >= said.low) & (labels <= said.high))), 3)
    out["known"] = {word: round(float(np.mean([k == word for k in said.known])), 3) for word in ("known", "edge", "unknown")}
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["train", "calibrate", "write", "list"])
    parser.add_argument("names", nargs="*", default=list(PLANS))
    parser.add_argument("--model", default="cgcnn")
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--budget", type=float, default=900.0, help="seconds of training of each property")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if unknown := set(args.names) - set(PLANS):
        parser.error(f"no plan for {', '.join(sorted(unknown))}; there are {', '.join(PLANS)}")
    for name in args.names:
        plan, work = PLANS[name], RUNS / name
        if args.verb == "list":
            print(name, "shipped" if (SHIPPED / f"predictor_{name}").exists() else "trained" if (work / "figures.json").exists() else "to do")
        elif args.verb == "calibrate" or args.verb == "train" and not (work / "figures.json").exists():
            begin = time.process_time()
            crystals, keys, labels, fixed = plan.read()
            y = torch.tensor(labels, dtype=torch.long if plan.target.classes else torch.float64)
            rows = rows_of(crystals, keys, fixed, args.seed)
            inputs = labelled(crystals, {plan.target: y})
            print(name, {k: len(v) for k, v in rows.items()}, flush=True)
            if args.verb == "calibrate":
                figures = json.loads((work / "figures.json").read_text(encoding="utf-8"))
                found = calibrated(CalibratedPredictor.load(work / "predictor").members, inputs, rows["train"], rows["val"], keys, seed=args.seed)
                found.save(work / "predictor")
                figures["measured"] = measured(plan, found, inputs[rows["test"]], np.array(labels)[rows["test"]])
                (work / "figures.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
                print(name, json.dumps(figures), flush=True)
                continue
            done = train(args.model, inputs, plan.target, rows, log_scale=plan.log, members=args.members, budget=args.budget, seed=args.seed, names=keys,
                         data={"name": plan.data, "version": source(plan.data).version, "what": plan.what}, checkpoint=work / "checkpoint",
                         log=lambda event: print(event, flush=True) if event.get("event") != "graphs" and event.get("epoch", 0) % 10 == 0 else None)
            if not done.complete:
                print(name, "stopped; the same command goes on")
                return
            done.predictor.save(work / "predictor")
            figures = {"model": args.model, "members": args.members, "train_rows": len(rows["train"]), "calibration_rows": len(rows["val"]), "parameters": done.parameters,
                       "cpu_seconds": round(time.process_time() - begin), "measured": measured(plan, done.predictor, inputs[rows["test"]], np.array(labels)[rows["test"]])}
            (work / "figures.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
            print(name, json.dumps(figures), flush=True)
        elif args.verb == "write":
            figures = json.loads((work / "figures.json").read_text(encoding="utf-8"))
            target = SHIPPED / f"predictor_{name}"
            shutil.rmtree(target, ignore_errors=True)
            CalibratedPredictor.load(work / "predictor").save(target)
            s = source(plan.data)
            print(write_card(target, what=f"predictor of the {plan.what}", unit=plan.target.unit, made_by=f"python recipes/train_predictors.py train {name}; ... write {name}",
                             credit=s.credit, data=plan.data, **figures))


if __name__ == "__main__":
    main()
