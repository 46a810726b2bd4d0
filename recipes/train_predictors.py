"""Train the predictors of properties that ship, choose between models, and write the chosen ones into the package with their entries of the board.

    python recipes/train_predictors.py starts [--work runs/labels]                 shipped/starts_chgnet.parquet: our own candidates as they were proposed
    python recipes/train_predictors.py describe bulk_modulus [--budget 25]         descriptors of its crystals for classical models, kept between runs
    python recipes/train_predictors.py train bulk_modulus [--candidate boosting]    the candidates of a property, each as `matterloop bench run` trains it
    python recipes/train_predictors.py compare bulk_modulus                        errors of all candidates on the rows that stopped and calibrated
    python recipes/train_predictors.py write bulk_modulus                          the best one on those rows: folder and card into matterloop/shipped, records of all onto the board
    python recipes/train_predictors.py table                                       the table of docs/howto/predictors.md
    python recipes/train_predictors.py list

Data, rows and split are those of the task that a plan names, so that the entry of the board and the predictor come out of one training. Candidates are chosen by
rows that neither trained nor tested; a classical model is judged by one that has not learnt from them, then ships with what it learnt from both.
"""

import argparse
import gc
import json
import shutil
import time
from hashlib import sha1
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch

from matterloop.archive.shipped import SHIPPED, write_card
from matterloop.learn import regressors
from matterloop.learn.tables import Table, columns_of, read_table
from matterloop.crystal.state import Crystals
from matterloop.bench.property_readers import START, STARTS
from matterloop.bench.property_running import DESCRIPTOR, Fold, _measured, run, write_record
from matterloop.bench.property_tasks import TaskData, described, load_task, property_task
from matterloop.base.registry import find
from matterloop.learn import training
from matterloop.learn.calibrated import CalibratedPredictor, calibrated
from matterloop.learn.metrics import metric, scores
from matterloop.learn.shipped_predictors import described_predictors
from matterloop.measure.hull_level import hull_level

RUNS, RECORDS = Path("runs/predictors"), Path("benchmarks/records/board")


@dataclass(frozen=True)
class Candidate:
    """A model with its options, members of the ensemble, changes of the recipe, and how many of the training rows it learns from (None: all)."""

    model: str
    options: tuple[tuple[str, object], ...] = ()
    members: int = 1
    recipe: tuple[tuple[str, object], ...] = ()
    rows: int | None = None


_STRUCTURE = ("features", "composition+structure")
CANDIDATES = {
    "cgcnn": Candidate("cgcnn"),
    "cgcnn_20k": Candidate("cgcnn", recipe=(("epochs", 14),), rows=20_000),
    "cgcnn_25": Candidate("cgcnn", recipe=(("epochs", 25),)),
    "cgcnn*2": Candidate("cgcnn", members=2, recipe=(("epochs", 60),)),
    "cgcnn*2_long": Candidate("cgcnn", members=2, recipe=(("epochs", 100),)),
    "crystalformer:light": Candidate("crystalformer:light"),
    "boosting": Candidate("gradient_boosting", (_STRUCTURE, ("trees", 400), ("rate", 0.06), ("share", 0.2), ("error", "absolute"))),
    "boosting_classes": Candidate("gradient_boosting:structure"),
    "extra_trees": Candidate("random_forest", (_STRUCTURE, ("trees", 100), ("splits", "random"), ("bootstrap", False), ("share", 0.3), ("least", 2))),
    "median_of_trees": Candidate("random_forest:median", (("trees", 100),)),
}


@dataclass(frozen=True)
class Plan:
    """A property: its task, what it is in words, the candidates, what the predictor is for."""

    task: str
    what: str
    candidates: tuple[str, ...] = ("boosting", "cgcnn*2")
    purpose: str = "wishes with a limit on this property, for relaxed crystals"
    budget: float = 900.0
    beside: str = ""  # a task of the same rows on which the predictor is measured too, less what is known there


_SMALL = ("cgcnn*2_long", "boosting")
PLANS = {
    "bulk_modulus": Plan("aflow_bulk_modulus", "bulk modulus"),
    "shear_modulus": Plan("aflow_shear_modulus", "shear modulus"),
    "debye_temperature": Plan("aflow_debye_temperature", "Debye temperature"),
    "thermal_conductivity": Plan("aflow_thermal_conductivity", "lattice thermal conductivity at 300 K"),
    "thermal_expansion": Plan("aflow_thermal_expansion", "thermal expansion at 300 K"),
    "band_gap": Plan("mp20known_band_gap", "PBE band gap", ("cgcnn", "cgcnn_25")),
    "is_metal": Plan("mp20known_is_metal", "probability that there is no PBE band gap", ("cgcnn", "cgcnn_25")),
    "dielectric_constant": Plan("petretto_dielectric_constant", "static dielectric constant", _SMALL),
    "refractive_index": Plan("petretto_refractive_index", "refractive index", _SMALL),
    "last_phonon_peak": Plan("petretto_last_phonon_peak", "last peak of the phonon density of states", _SMALL),
    "measured_band_gap": Plan("matbench_expt_gap", "measured band gap, from the composition alone", ("median_of_trees",), "wishes with a limit on the measured gap, for any composition", budget=120.0),
    "formation_energy": Plan(
        "engine_formation_energy", "formation energy after relaxation by CHGNet; less the hull at the composition it is the energy above CHGNet's hull", ("cgcnn_20k", "cgcnn"),
        "screens before anything is relaxed, and `matterloop predict`: it learnt from relaxed crystals and from our own candidates as they were proposed, always with the energy after "
        "relaxation. Where `discover` has relaxed a crystal the computed energy decides", beside="engine_energy_above_hull"),
}


@cache
def data_of(task: str) -> TaskData:
    """The task's rows; properties of the same task share them."""
    return load_task(task)


_ROWS: dict[tuple[str, bytes], np.ndarray] = {}
DESCRIBED = RUNS / "described"  # descriptors of crystals by features, kept between runs


def remembered(inputs, features: str) -> Table:
    """`read_table`, but every crystal is described once: folds, candidates and properties share their crystals."""
    if not isinstance(inputs, Crystals):
        return read_table(inputs, features)
    ends, arrays = inputs.offsets.tolist(), [inputs.species.numpy(), inputs.frac.numpy()]
    keys = [(features, sha1(b"".join([*(a[i:j].tobytes() for a in arrays), cell.tobytes()])).digest()) for i, j, cell in zip(ends, ends[1:], inputs.cell.numpy())]
    if new := [i for i, k in enumerate(keys) if k not in _ROWS]:
        _ROWS.update(zip((keys[i] for i in new), read_table(inputs[new], features).values, strict=True))
    return Table(np.stack([_ROWS[k] for k in keys]), columns_of(features))


def describe(name: str, upto: float) -> None:
    """Describe the crystals of a property for its classical candidates, `upto` seconds at most; kept, and read by `train`."""
    begin, inputs = time.process_time(), data_of(PLANS[name].task).inputs.bare()
    for features in {dict(CANDIDATES[c].options).get("features") for c in PLANS[name].candidates} - {None}:
        for start in range(0, len(inputs), 200):
            remembered(inputs[start : start + 200], features)
            if time.process_time() - begin > upto:
                break
    save_described()


def save_described() -> None:
    for features in {f for f, _ in _ROWS}:
        held = [(k, v) for (f, k), v in _ROWS.items() if f == features]
        DESCRIBED.mkdir(parents=True, exist_ok=True)
        np.savez(DESCRIBED / f"{features}.npz", keys=np.array([np.frombuffer(k, dtype=np.uint8) for k, _ in held]), values=np.stack([v for _, v in held]))


def load_described() -> None:
    for path in DESCRIBED.glob("*.npz"):
        with np.load(path, allow_pickle=False) as held:
            _ROWS.update({(path.stem, k.tobytes()): v for k, v in zip(held["keys"], held["values"], strict=True)})


def shipped_rows(held: TaskData) -> dict[str, np.ndarray]:
    """Rows that train, calibrate and test: the task's own, of a task of folds those of its first fold."""
    return dict(held.part(0))


def train_candidate(name: str, label: str, budget: float, seed: int) -> None:
    """Train one candidate as the board does; folder with the predictor, the record and figures."""
    plan, one, folder = PLANS[name], CANDIDATES[label], RUNS / name / label
    if (folder / "figures.json").exists():
        return
    held, begin = data_of(plan.task), time.process_time()
    rows, kept, first = shipped_rows(held), [], []
    if held.folds == 1 and find(one.model.partition(":")[0], ("encoder", "regressor")).card.role == "regressor":
        listened(first)
    command = f"matterloop bench run {plan.task} {one.model} --budget {budget:g} --threads 1" + (f" --members {one.members}" if one.members > 1 else "")
    command += f" --train-rows {one.rows}" if one.rows else ""
    command += "".join(f" --set {k}={v}" for k, v in one.options) + "".join(f" --recipe {k}={v}" for k, v in one.recipe)
    record = run(plan.task, one.model, budget=budget, seed=seed, options=dict(one.options), recipe=dict(one.recipe), members=one.members, work=folder / "work", command=command, train_rows=one.rows,
                 note=lambda text: print(text, flush=True), held=held, keep=lambda fold, predictor: kept.append(predictor))
    if record["failed"]:
        print(name, label, record["failed"], flush=True)
        return
    if held.folds > 1:
        found, measured = of_all_rows(one, held, kept, record, seed)
        rows = {"train": np.arange(len(held.keys)), "val": np.zeros(0, dtype=int)}
    else:
        found, measured = kept[0], figures_of(held, kept[0], rows["test"])
    val = rows["val"]
    said = first[0][val] if first else _values(found, held, val)
    judged = float(metric(held.task.metric).function(held.labels[val], said)) if len(val) else measured[held.task.metric]["value"]
    figures = {
        "label": label, "model": one.model, "members": one.members, "options": dict(one.options), "train_rows": one.rows or len(rows["train"]), "calibration_rows": min(len(val), one.rows // 4) if one.rows else len(val),
        "parameters": record["parameters"], "cpu_seconds": round(time.process_time() - begin), "val": judged, "measured": measured}
    records = [record]
    if plan.beside:
        other = replace(held, task=property_task(plan.beside), known=hull_level(held.inputs))
        figures[plan.beside] = figures_of(other, found, rows["test"])
        records.append(measured_beside(record, other, found, rows["test"], seed))
    found.save(folder / "predictor")
    (folder / "records.json").write_text(json.dumps(records), encoding="utf-8")
    (folder / "figures.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
    print(name, label, json.dumps(figures), flush=True)
    gc.collect()


def of_all_rows(one: Candidate, held: TaskData, kept: list[CalibratedPredictor], record: dict, seed: int) -> tuple[CalibratedPredictor, dict]:
    """A classical model of all rows of a task of folds, calibrated by what each fold's model says of rows that it has not seen, and the figures of the folds."""
    value, spread = np.full(len(held.keys), np.nan), np.full(len(held.keys), np.nan)
    for fold, predictor in enumerate(kept):
        test = held.part(fold)["test"]
        part = held.inputs[test].bare()
        value[test], spread[test] = predictor.mean_and_spread(predictor.raw(part), part)
    every = np.arange(len(held.keys))
    model = training.train_regressor(one.model, held.inputs, held.target, {"train": every}, options=dict(one.options), log_scale=held.task.log, seed=seed).predictor.members[0]
    found = calibrated([model], held.inputs, every, every, held.keys, DESCRIPTOR, seed, (value, spread))
    figures = {"rows": record["count"], **{k: {w: round(v[w], 5) for w in ("value", "low", "high")} for k, v in record["scores"].items()}}
    known = {w: round(record["known"][w]["rows"] / record["count"], 3) for w in ("known", "edge", "unknown") if w in record["known"]}
    return found, figures | {"in_90_percent_interval": round(record["calibration"]["coverage_interval_90%"], 3), "known": known, "interval_kind": found.conformal.kind,
                             "how": "mean over the official folds; what ships learnt from all rows and is calibrated by what the folds' models say of rows that they have not seen"}


def measured_beside(record: dict, held: TaskData, found: CalibratedPredictor, test: np.ndarray, seed: int) -> dict:
    """The record of a predictor on another task of the same rows, with the costs of its training."""
    said, less = found.predict(held.inputs[test].bare()), held.known[test]
    fold = Fold(test, said.value - less, {"training": record["training_seconds"]}, said.low - less, said.high - less, said.deviation, said.known,
                {k: record[k] for k in ("parameters", "interval_kind", "recipe", "inference_per_second", "training_per_second") if k in record} | {"descriptor": record["known"]["by"]})
    t = held.task
    about = {"task": t.name, "metric": t.metric, "unit": t.unit, "larger_is_better": metric(t.metric).larger_is_better}
    return record | about | _measured(held, [0], [fold], seed) | {"command": record["command"].replace(record["task"], t.name)}


def listened(first: list[np.ndarray]) -> None:
    """Put what a classical model says of all rows before it learns from the calibrating rows too into `first`, (rows,) with gaps where it was not asked."""
    def hear(members, inputs, train, held, names=(), descriptor="", seed=0, said=None):
        held, value = np.asarray(held), np.full(len(inputs), np.nan)
        found = CalibratedPredictor(tuple(members)).predict(inputs[held].bare()).value if said is None else said[0]
        value[held] = found if found.ndim == 1 else found[:, 1]
        first.append(value)
        return calibrated(members, inputs, train, held, names, descriptor, seed, said)

    training.calibrated = hear


def _values(found: CalibratedPredictor, held: TaskData, rows: np.ndarray) -> np.ndarray:
    value = found.predict(held.inputs[rows].bare()).value
    return value if held.known is None else value - held.known[rows]


def figures_of(held: TaskData, found: CalibratedPredictor, test: np.ndarray) -> dict[str, object]:
    """Figures on the tested rows with intervals; of the engine's energies also of relaxed crystals and of candidates as proposed, apart."""
    said = found.predict(held.inputs[test].bare())
    labels, less = held.labels[test], 0.0 if held.known is None else held.known[test]
    out: dict[str, object] = {"rows": len(test), **_scores(held, labels, said.value - less)}
    if not held.target.classes:
        inside = (labels >= said.low - less) & (labels <= said.high - less)
        out["in_90_percent_interval"] = round(float(inside.mean()), 3)
    words = np.array(said.known)
    out["known"] = {w: round(float(np.mean(words == w)), 3) for w in ("known", "edge", "unknown")}
    kind = np.array(["as proposed" if held.keys[i].endswith(START) else "relaxed" for i in test])
    if len(set(kind)) > 1:
        for k in ("relaxed", "as proposed"):
            out[k] = {"rows": int((kind == k).sum()), **_scores(held, labels[kind == k], (said.value - less)[kind == k]), "in_90_percent_interval": round(float(inside[kind == k].mean()), 3)}
    return out


def _scores(held: TaskData, labels: np.ndarray, said: np.ndarray) -> dict[str, dict[str, float]]:
    return {s.name: {"value": round(s.value, 5), "low": round(s.low, 5), "high": round(s.high, 5)} for s in scores(labels, said, (held.task.metric, *held.task.also), unit=held.task.unit)}


def trained(name: str) -> dict[str, dict]:
    """{candidate: its figures} of a property, those that have been trained."""
    return {p.parent.name: json.loads(p.read_text(encoding="utf-8")) for p in sorted((RUNS / name).glob("*/figures.json"))}


def best(name: str) -> str:
    """The candidate with the best metric on the rows that neither trained nor tested."""
    found, sign = trained(name), -1 if metric(property_task(PLANS[name].task).metric).larger_is_better else 1
    return min(found, key=lambda label: sign * found[label]["val"])


def write(name: str) -> None:
    """Ship the best candidate; all records go to the board, that of the best says what it is."""
    plan, label = PLANS[name], best(name)
    folder, figures, task = RUNS / name / label, trained(name)[label], property_task(plan.task)
    target = SHIPPED / f"predictor_{name}"
    shutil.rmtree(target, ignore_errors=True)
    found, s = CalibratedPredictor.load(folder / "predictor"), {"source": task.data, "what": plan.what, "rows": figures["train_rows"]}
    replace(found, members=tuple(replace(m, data={**m.data, **s}) for m in found.members)).save(target)
    others = {k: round(v["val"], 5) for k, v in trained(name).items()}
    card = write_card(
        target, what=f"predictor of the {plan.what}", unit=task.unit, made_by=f"python recipes/train_predictors.py train {name} --candidate {label}; ... write {name}", credit=described(task)["credit"],
        data=task.data, task=plan.task, metric=task.metric, purpose=plan.purpose, chosen_on_validation_rows=others, **{k: v for k, v in figures.items() if k != "val"})
    print(card)
    for other in trained(name):
        for record in json.loads((RUNS / name / other / "records.json").read_text(encoding="utf-8")):
            if other == label:
                record["shipped"] = f"predictor_{name}: this training is the predictor that ships" + (f"; {figures['note']}" if "note" in figures else "")
            print(write_record(record, RECORDS))


def write_table(page: Path) -> None:
    """The table of all shipped predictors, between its marks on the page."""
    rows = ["| name | wishes say | unit | model | data | rows | task of the board | error (95 % interval) | in the 90 % interval | CPU s |", "|---|---|---|---|---|---|---|---|---|---|"]
    for r in described_predictors():
        inside = "" if r["inside"] is None else f"{100 * r['inside']:.0f} %"
        word = "MAE" if r["metric"] == "mae" else r["metric"].upper()
        rows.append(f"| {r['name']} | {', '.join(r['wishes'])} | {r['unit']} | {r['model']}{' x ' + str(r['members']) if r['members'] > 1 else ''} | {r['data']} | {r['train_rows']:,} | {r['task']} | "
                    f"{word} {r['value']:.4g} ({r['low']:.4g} to {r['high']:.4g}) | {inside} | {r['seconds']} |")
    begin, end = "<!-- table of recipes/train_predictors.py -->", "<!-- end of the table -->"
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    page.write_text(before + begin + "\n" + "\n".join(rows) + "\n" + end + rest.partition(end)[2], encoding="utf-8")


def write_starts(work: Path) -> None:
    """Our own candidates before their relaxation, of recipes/label_proposals.py, as a table of the package."""
    from label_proposals import proposals

    table = proposals(work)
    import pandas as pd

    frame = pd.DataFrame({
        "id": table.material_id, "species": [x.astype(np.uint8) for x in table.species], "cell": [np.round(x, 4).astype(np.float32) for x in table.cell],
        "frac": [np.round(x, 5).astype(np.float32) for x in table.frac]})
    file = SHIPPED / f"{STARTS}.parquet"
    frame.to_parquet(file, index=False, compression="zstd")
    print(write_card(file, what="Our own candidates as they were proposed, before the relaxation whose end stands in genes_chgnet under the same id: species, cell (Å, rows), frac",
                     made_by="recipes/label_structures.py propose; recipes/train_predictors.py starts", credit="matterloop", licence="CC-BY 4.0", rows=len(frame)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["starts", "describe", "train", "compare", "write", "table", "list"])
    parser.add_argument("names", nargs="*", default=list(PLANS))
    parser.add_argument("--candidate", choices=list(CANDIDATES), nargs="*", help="those of the plan by default")
    parser.add_argument("--budget", type=float, help="seconds of training of each candidate, that of the plan by default")
    parser.add_argument("--work", type=Path, default=Path("runs/labels"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    regressors.read_table = training.read_table = remembered
    load_described()
    if unknown := set(args.names) - set(PLANS):
        parser.error(f"no plan for {', '.join(sorted(unknown))}; there are {', '.join(PLANS)}")
    if args.verb == "starts":
        write_starts(args.work)
        return
    if args.verb == "table":
        write_table(Path("docs/howto/predictors.md"))
        return
    for name in args.names:
        plan = PLANS[name]
        if args.verb == "list":
            print(name, "shipped" if (SHIPPED / f"predictor_{name}").exists() else "trained" if trained(name) else "to do")
        elif args.verb == "describe":
            describe(name, args.budget or 25.0)
        elif args.verb == "train":
            for label in args.candidate or plan.candidates:
                train_candidate(name, label, args.budget or plan.budget, args.seed)
        elif args.verb == "compare":
            for label, figures in sorted(trained(name).items(), key=lambda x: x[1]["val"]):
                task = property_task(plan.task)
                print(f"{name:22} {label:24} val {figures['val']:.5g}  test {figures['measured'][task.metric]['value']:.5g} {task.unit}  {figures['cpu_seconds']} s CPU")
        else:
            write(name)


if __name__ == "__main__":
    main()
