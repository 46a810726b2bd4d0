"""Classical models on several tasks of property prediction, descriptors computed once for all: the cheap rows that every board needs.

    python recipes/classical_baselines.py --tasks aflow_bulk_modulus aflow_shear_modulus aflow_debye_temperature aflow_thermal_conductivity aflow_thermal_expansion
    python recipes/classical_baselines.py --tasks mp20bt_formation_energy mp20bt_band_gap mp20bt_energy_above_hull

Rows that a task draws for early stopping train too, for classical models have no use for them, but not those that it names (mp20bt_*); what is learnt as a logarithm is measured as it stands. One JSON object per line:
task, model, metric, value with its 95 % bootstrap interval, rows, columns, seconds, machine.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from matterloop.base.machine import hardware, versions
from matterloop.base.registry import load
from matterloop.base.seeds import numpy_stream
from matterloop.bench.property_tasks import load_task
from matterloop.crystal.state import Crystals
from matterloop.learn.metrics import scores
from matterloop.learn.tables import Table, columns_of, read_table

MODELS = (
    "random_forest features=magpie trees=200", "random_forest:structure trees=200",
    "random_forest features=composition+structure trees=200 splits=random bootstrap=False share=0.33",
    "gradient_boosting features=composition+structure trees=400 rate=0.06 share=0.2 error=absolute")
COMPOSITION, CRYSTAL = ("magpie", "elements", "composition"), ("cell", "bonds", "structure")  # each family holds those before it, but elements not magpie


def options_of(words: list[str]) -> dict:
    """{name: value} of NAME=VALUE words, values as JSON where they are."""
    found = {}
    for word in words:
        name, _, value = word.partition("=")
        try:
            found[name] = json.loads(value.replace("True", "true").replace("False", "false"))
        except ValueError:
            found[name] = value
    return found


def all_features(models: list[str]) -> str:
    """Families of descriptors that hold those of all models."""
    wanted = {f for words in models for f in load(words.split()[0], "regressor", **options_of(words.split()[1:])).features.split("+")}
    formula = [f for f in COMPOSITION if f in wanted]
    formula = ["composition"] if len(formula) > 1 else formula
    return "+".join(formula + [f for f in CRYSTAL if f in wanted][-1:])


def described(crystals: Crystals, seen: dict[bytes, np.ndarray], features: str) -> Table:
    """The table of all columns; crystals seen before are not described again."""
    keys = [c.frac.numpy().tobytes() + c.cell.numpy().tobytes() + c.species.numpy().tobytes() for c in crystals]
    new = [i for i, k in enumerate(keys) if k not in seen]
    if new:
        for i, row in zip(new, read_table(crystals[new], features).values, strict=True):
            seen[keys[i]] = row
    return Table(np.stack([seen[k] for k in keys]), columns_of(features))


def measure(name: str, models: list[str], data_dir: str | None, seed: int, seen: dict) -> list[dict]:
    """One row per model."""
    begin = time.perf_counter()
    data = load_task(name, data_dir)
    table, part, out = described(data.inputs, seen, all_features(models)), data.part(0), []
    reading = time.perf_counter() - begin
    held_apart = data.task.split.startswith("tail")  # the task names rows for early stopping and no others to learn from
    train, test = part["train"] if held_apart else np.concatenate([part["train"], part["val"]]), part["test"]
    y = np.log(data.labels) if data.task.log else data.labels
    for words in models:
        model, *more = words.split()
        begin = time.perf_counter()
        made = load(model, "regressor", **options_of(more))
        columns = table.columns(columns_of(made.features))
        guess = made.fit(columns[train], y[train], numpy_stream(seed, model)).predict(columns[test])
        guess = np.exp(guess) if data.task.log else guess
        found = scores(data.labels[test], guess, ("mae", "r2"), unit=data.task.unit, seed=seed)
        row = {"task": name, "model": words, "scores": [asdict(s) for s in found], "train_rows": len(train), "test_rows": len(test), "columns": len(columns.names),
               "seconds": round(time.perf_counter() - begin, 1), "seconds_reading": round(reading, 1), "seed": seed}
        print(f"{name:28s} {words:90.90s} {'; '.join(map(str, found))}  {row['seconds']} s", flush=True)
        out.append(row)
    return out


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--tasks", nargs="+", required=True)
    p.add_argument("--models", nargs="+", default=list(MODELS), help="'NAME[:PRESET] OPTION=VALUE ...'")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--data-dir")
    p.add_argument("--out", type=Path, default=Path("runs/classical_baselines.jsonl"))
    a = p.parse_args()
    a.out.parent.mkdir(parents=True, exist_ok=True)
    seen: dict[bytes, np.ndarray] = {}
    with open(a.out, "a", encoding="utf-8") as file:
        for name in a.tasks:
            for row in measure(name, a.models, a.data_dir, a.seed, seen):
                file.write(json.dumps(row | {"hardware": hardware(), "versions": versions()}) + "\n")
                file.flush()


if __name__ == "__main__":
    main()
