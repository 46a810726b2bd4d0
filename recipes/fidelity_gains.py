"""What a lower fidelity is worth: mean absolute errors of measured and hybrid-functional gaps with and without PBE gaps, over numbers of labels.

    python recipes/fidelity_gains.py run formulas --folds 0,1     measured gaps, official Matbench folds; PBE gaps by formula
    python recipes/fidelity_gains.py run structures --folds 0,1   HSE gaps of MP-20 structures, folds by formula; PBE gaps of the same database
    python recipes/fidelity_gains.py write                        all folds that were run into benchmarks/records/fidelity_gains.json

Arms: alone (labels only), levels (all fidelities at once, a learnt vector each), input (the PBE gap as an input), minus (the difference is learnt), transfer (trained
on PBE, then on the labels). Nothing of a tested formula is known to any of them but, where that is said, its own PBE gap at the time of prediction. Fewer labels
are the first of more, drawn once per fold, and all arms see the same. Networks are trained for seconds: the figures compare arms, they are no records.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from matterloop.archive.sources import data_path, load_frame
from matterloop.base.quantities import Quantity
from matterloop.base.seeds import numpy_stream
from matterloop.bench.property_tasks import load_task
from matterloop.crystal.compositions import Compositions
from matterloop.crystal.formats import read_table
from matterloop.crystal.state import Crystals
from matterloop.learn.low_fidelity import LowFidelity
from matterloop.learn.pretrained import Pretrained
from matterloop.learn.targets import Target
from matterloop.learn.training import train

SIZES = (50, 200, 800, 0)  # labels of the high fidelity, 0: all
PBE_ROWS = 5000
PASSES, REPEATED = 8, 0.25  # passes through PBE rows; labels are repeated until they are this share of the rows of `levels`
STEPS, LEAST, MOST = 300, 8, 100  # steps of training on labels, and bounds of epochs
BATCH = 128  # rows of a step where there are many
OUT, RECORD = Path("runs/fidelity"), Path("benchmarks/records/fidelity_gains.json")
FIGURE, SHOWN = Path("docs/fidelity_gains.svg"), ("alone", "levels", "transfer", "minus, PBE known", "input, PBE known")
MODELS = {"formulas": ("crabnet", {"features": 64, "inner": 128, "out": (128, 64), "blocks": 2}), "structures": ("cgcnn", {"width": 48})}
GOAL, LOW = Target("gap", "eV"), Target("low", "eV")


@dataclass(frozen=True)
class World:
    """High fidelity: inputs with labels and the PBE gap of each, NaN = not known, and the number of its formula; low fidelity likewise. folds (rows,)."""

    high: Compositions | Crystals
    labels: np.ndarray
    pbe: np.ndarray
    formula: np.ndarray
    fold: np.ndarray
    low: Compositions | Crystals
    low_labels: np.ndarray
    low_formula: np.ndarray


def numbered(*parts: Compositions) -> list[np.ndarray]:
    """A number for each composition, the same for the same fractions."""
    known: dict[tuple, int] = {}
    found = []
    for part in parts:
        z, share, at = part.species.numpy(), part.share.numpy().round(5), part.offsets.numpy()
        found.append(np.array([known.setdefault((*z[a:b].tolist(), *share[a:b].tolist()), len(known)) for a, b in zip(at, at[1:])]))
    return found


def of_formulas() -> World:
    """Measured gaps of Matbench, in its folds; PBE gaps of Matbench's MP table, the median over the structures of a formula."""
    task = load_task("matbench_expt_gap")
    fold = np.zeros(len(task.keys), dtype=int)
    for k in range(task.folds):
        fold[task.split.fold(k).rows(task.keys)["test"]] = k
    table = load_frame("matbench_v01_official_tables", "matbench_mp_gap.json.bz2")
    every = Compositions.of(table["composition"].tolist())
    mine, theirs = numbered(task.inputs, every)
    gaps: dict[int, list[float]] = {}
    for f, gap in zip(theirs.tolist(), table["gap pbe"].tolist()):
        gaps.setdefault(f, []).append(gap)
    pbe = np.array([np.median(gaps[f]) if f in gaps else np.nan for f in mine.tolist()])
    first = np.unique(theirs, return_index=True)[1]
    shared = np.isin(theirs[first], mine)
    others = numpy_stream(0, "fidelity", "others").permutation(first[~shared])[: max(0, PBE_ROWS - int(shared.sum()))]
    rows = np.concatenate([first[shared], others])
    return World(task.inputs.bare(), task.labels, pbe, mine, fold, every[rows], np.array([np.median(gaps[f]) for f in theirs[rows].tolist()]), theirs[rows])


def of_structures() -> World:
    """HSE and PBE gaps of MEGNet's multi-fidelity table for the structures of the MP-20 binary and ternary files; folds by formula."""
    import gzip

    table = json.loads(gzip.open(data_path("megnet_multifidelity_gap", "data_no_structs.json.gz")).read())
    parts = [read_table(data_path("mp20_biternary_val_test", f), id_column="material_id") for f in ("val.csv.gz", "test.csv.gz")]
    crystals, names = Crystals.join([p.crystals.bare() for p in parts]), [n for p in parts for n in p.names]
    value = lambda kind: np.array([table[kind].get(n, np.nan) for n in names])
    hse, pbe = value("hse"), value("pbe")
    formula = numbered(Compositions.of_crystals(crystals))[0]
    place = numpy_stream(0, "fidelity", "folds").integers(0, 5, formula.max() + 1)[formula]
    high, low = np.flatnonzero(np.isfinite(hse)), np.flatnonzero(np.isfinite(pbe))
    return World(crystals[high], hse[high], pbe[high], formula[high], place[high], crystals[low], pbe[low], formula[low])


def with_values(inputs, **fields):
    return inputs.with_fields(whole={k: torch.as_tensor(np.asarray(v)) for k, v in fields.items()}, quantities={k: Quantity(unit="eV") for k in fields})


def fold_errors(kind: str, world: World, fold: int, sizes=SIZES):
    """{"size/arm": (tested rows,) absolute errors} of one fold, size by size."""
    model, options = MODELS[kind]
    rng = numpy_stream(fold, "fidelity", kind)
    tested = np.flatnonzero(world.fold == fold)
    order = rng.permutation(np.flatnonzero(~np.isin(world.formula, world.formula[tested])))
    held = rng.permutation(np.flatnonzero(~np.isin(world.low_formula, world.formula[tested])))
    test, truth = world.high[tested], world.labels[tested]
    fast = {"rate": 2e-3, "averaging": "ema", "decay": 0.99, "keep": "last"}

    def trained(inputs, target, epochs, model=model, options=options, start=None, size=BATCH, **more):
        return train(model, inputs, target, {"train": range(len(inputs))}, options=options, recipe={**fast, "epochs": epochs, "size": size, **more}, seed=fold,
                     calibrate=False, start=start).predictor

    say = lambda predictor, inputs: predictor.raw(inputs)[0]
    low = trained(with_values(world.low[held], low=world.low_labels[held]), LOW, PASSES)
    start = Pretrained.of_trained(low.members[0])
    beside = lambda rows, known=True: LowFidelity("pbe", "input", low).values(with_values(world.high[rows], pbe=world.pbe[rows] if known else np.full(len(rows), np.nan)))
    here = {"known": beside(tested), "predicted": beside(tested, False)}
    for n in sizes:
        rows = order[:n] if n else order
        inputs, y, pbe = world.high[rows], world.labels[rows], beside(rows)
        errors: dict[str, np.ndarray] = {}
        size = 16 if len(rows) < 400 else 64
        epochs = int(np.clip(STEPS * size / len(rows), LEAST, MOST))
        begin = time.perf_counter()
        put = lambda arm, guess: errors.__setitem__(f"{n}/{arm}", np.abs(guess - truth))
        put("mean", np.full(len(truth), y.mean()))
        put("alone", say(trained(with_values(inputs, gap=y), GOAL, epochs, size=size), test))
        put("transfer", say(trained(with_values(inputs, gap=y), GOAL, epochs, size=size, start=start, rate=1e-3), test))
        minus = trained(with_values(inputs, gap=y - pbe), GOAL, epochs, size=size)
        wrapped = {"encoder": model, "options": options}
        given = trained(with_values(inputs, gap=y, pbe=pbe), GOAL, epochs, "multi_fidelity", {**wrapped, "levels": ("one",), "inputs": {"pbe": (float(pbe.mean()), float(pbe.std()))}}, size=size)
        for name, values in here.items():
            put(f"minus, PBE {name}", say(minus, test) + values)
            put(f"input, PBE {name}", say(given, with_values(test, pbe=values)))
        again = int(np.clip(np.ceil(REPEATED / (1 - REPEATED) * len(held) / len(rows)), 1, 100))
        both = type(inputs).join([world.low[held].bare(), *[inputs.bare()] * again])
        both = with_values(both, gap=[*world.low_labels[held], *np.tile(y, again)], fidelity=np.array([0] * len(held) + [1] * (again * len(rows))))
        put("levels", say(trained(both, GOAL, PASSES, "multi_fidelity", {**wrapped, "levels": ("pbe", "high")}), test))
        print(kind, "fold", fold, "labels", len(rows), {k.partition("/")[2]: round(float(v.mean()), 3) for k, v in errors.items() if k.startswith(f"{n}/")}, f"{time.perf_counter() - begin:.0f} s", flush=True)
        errors[f"{n}/rows"] = np.array([len(rows), len(held), again])
        yield n, errors


def run(kind: str, folds: list[int], sizes) -> None:
    torch.set_num_threads(1)
    world = {"formulas": of_formulas, "structures": of_structures}[kind]()
    OUT.mkdir(parents=True, exist_ok=True)
    for fold in folds:
        for n, errors in fold_errors(kind, world, fold, sizes):
            np.savez(OUT / f"{kind}_{fold}_{n}.npz", **errors)


def interval(values: np.ndarray, rng: np.random.Generator) -> list[float]:
    """[mean, low, high]: 95 % percentile bootstrap over tested rows."""
    drawn = values[rng.integers(0, len(values), (1000, len(values)))].mean(1)
    return [round(float(x), 4) for x in (values.mean(), *np.quantile(drawn, [0.025, 0.975]))]


def write() -> None:
    """Pool the folds that were run; differences to `alone` are paired row by row."""
    cases = []
    for kind in MODELS:
        for n in SIZES:
            found = [dict(np.load(f)) for f in sorted(OUT.glob(f"{kind}_*_{n}.npz"))]
            if not found:
                continue
            rows = np.mean([f[f"{n}/rows"] for f in found], axis=0)
            alone = np.concatenate([f[f"{n}/alone"] for f in found])
            for arm in [k.partition("/")[2] for k in found[0] if k.startswith(f"{n}/") and not k.endswith("/rows")]:
                errors = np.concatenate([f[f"{n}/{arm}"] for f in found])
                rng = numpy_stream(0, "interval", kind, str(n))
                cases.append({"kind": kind, "arm": arm, "labels": round(float(rows[0])), "low_rows": round(float(rows[1])), "tested": len(errors), "folds": len(found),
                              "mae": interval(errors, rng), "less_than_alone": interval(alone - errors, rng), "per_fold": [round(float(f[f"{n}/{arm}"].mean()), 4) for f in found]})
    RECORD.write_text(json.dumps({"record": "matterloop-fidelity-gains-1", "unit": "eV", "models": {k: [m, {n: list(v) if isinstance(v, tuple) else v for n, v in o.items()}] for k, (m, o) in MODELS.items()},
                                  "interval": "95 % percentile bootstrap over tested rows of all folds; differences are paired", "cases": cases}, indent=1) + "\n")
    for kind in {c["kind"] for c in cases}:
        FIGURE.with_name(f"{FIGURE.stem}_{kind}.svg").write_text(drawn([c for c in cases if c["kind"] == kind]) + "\n")
    print(f"{len(cases)} cases written to {RECORD}")


def drawn(cases: list[dict]) -> str:
    """Errors of the arms over numbers of labels, the lower gap of tested rows known where an arm asks for it."""
    from matterloop.app.figures.curves import curves

    point = lambda c: (float(np.log10(c["labels"])), *c["mae"])
    series = [(arm, [point(c) for c in sorted((c for c in cases if c["arm"] == arm), key=lambda c: c["labels"])]) for arm in SHOWN]
    return curves([s for s in series if s[1]], "log10 of the number of labels", "mean absolute error, eV", width=700.0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("do", choices=("run", "write"))
    parser.add_argument("kind", nargs="?", choices=tuple(MODELS))
    parser.add_argument("--folds", default="0")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    words = parser.parse_args()
    run(words.kind, [int(x) for x in words.folds.split(",")], [int(x) for x in words.sizes.split(",")]) if words.do == "run" else write()
