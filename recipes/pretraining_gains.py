"""What pre-training gains where labels are few: encoders that begin from it, or are taught by it, against the same ones from scratch on the same rows.

    python recipes/pretraining_gains.py pretrain runs/pretraining_gains                 # every method once, on structures of MP-20; goes on where it was stopped
    python recipes/pretraining_gains.py measure runs/pretraining_gains --minutes 10     # fine-tuning; what is done is not done again
    python recipes/pretraining_gains.py write runs/pretraining_gains                    # benchmarks/records/pretraining_gains.json, docs/pretraining_gains.svg and the table of docs/ideas/pretraining.md

A variant is one literal of VARIANTS: how it was pre-trained, and what is trained from it. Of the training rows of a task N are drawn by seed, the same for all
variants; a quarter as many of the rows for early stopping choose the epoch; all test rows are tested. The gain is the difference of the mean absolute errors,
variant minus scratch, of the same seed; its interval draws seeds and test rows anew.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from matterloop.archive.files import replacing
from matterloop.archive.sources import load_frame
from matterloop.base.machine import hardware, versions
from matterloop.base.seeds import numpy_stream
from matterloop.bench.property_tasks import load_task, property_task
from matterloop.crystal.state import Crystals
from matterloop.learn.distance import counts_of
from matterloop.learn.leaks import composition_leaks
from matterloop.learn.pretrained import Pretrained
from matterloop.learn.pretraining import pretrain
from matterloop.learn.targets import Target, labelled
from matterloop.learn.training import train

MODEL = "cgcnn"
MP20 = ("mp20bt_formation_energy", "mp20bt_band_gap", "mp20bt_energy_above_hull")  # one set of structures with three labels
STARTS = {  # name: how it is pre-trained
    "masking": {"method": "pretrain_gnn", "settings": {"what": "masking"}},
    "context": {"method": "pretrain_gnn", "settings": {"what": "context"}},
    "crysxpp": {"method": "crysxpp"},
    "crysgnn": {"method": "crysgnn"},
    "masking+labels": {"method": "pretrain_gnn", "settings": {"targets": list(MP20)}, "start": "masking", "labels": True},
    "labels": {"method": "pretrain_gnn", "settings": {"targets": list(MP20)}, "labels": True},
    "ct_uae": {"method": "ct_uae", "settings": {"targets": list(MP20)}, "labels": True, "model": "crystal_transformer:small", "epochs": 10, "rows": "train"},
    "crysdiff": {"method": "crysdiff", "epochs": 3, "rows": "train"},
}
VARIANTS = {  # name: what is trained, `start` or `teacher` from above; `crysxpp` with its presets says what goes over
    "scratch": {},
    "pretrain_gnn:masking": {"start": "masking"},
    "pretrain_gnn:context": {"start": "context"},
    "pretrain_gnn:masking, then MP labels": {"start": "masking+labels"},
    "MP labels alone": {"start": "labels"},
    "crysxpp": {"start": "crysxpp", "model": "cgcnn:selector"},
    "crysxpp:whole": {"start": "crysxpp", "settings": {"embedding": True}, "model": "cgcnn:selector"},
    "crysgnn, fine-tuned": {"start": "crysgnn"},
    "crysgnn, teacher": {"teacher": "crysgnn"},
    "ct_uae": {"start": "ct_uae", "options": {"elements": 64}},
    "ct_uae, learnt on": {"start": "ct_uae", "settings": {"frozen": False}, "options": {"elements": 64}},
    "vectors drawn, learnt": {"options": {"elements": 64}},
    "crysdiff": {"start": "crysdiff"},
    "crysdiff, number diffused": {"start": "crysdiff", "model": "property_diffusion", "options": {"encoder": "cgcnn"}},
    "strained crystals": {"recipe": {"strain": 0.04}},
    "pretrain_gnn:masking, strained": {"start": "masking", "recipe": {"strain": 0.04}},
    "number diffused": {"model": "property_diffusion", "options": {"encoder": "cgcnn"}},
}
TASKS = {"aflow_bulk_modulus": (100, 400, 1600), MP20[0]: (400, 6400)}
ONLY = {MP20[0]: ("scratch", "ct_uae", "ct_uae, learnt on", "vectors drawn, learnt")}  # variants of a task, all others where absent
EPOCHS = {100: 150, 400: 100, 1600: 40, 6400: 15}
PRETRAINED_EPOCHS = 5
SEEDS = (0, 1, 2)
RESAMPLES = 2000
BEGIN, END = "<!-- gains: written by recipes/pretraining_gains.py -->", "<!-- end of gains -->"


def structures() -> Crystals:
    """All structures of MP-20 at hand with their three labels, each as a field of its task's name, in the order of the files."""
    held = load_task(MP20[0])
    frames = [load_frame(held.task.data, f).astype({held.task.key: str}).set_index(held.task.key) for f in (held.task.train, held.task.test)]
    table = pd.concat(frames).loc[list(held.keys)]
    columns = {name: torch.tensor(table[property_task(name).column].to_numpy(dtype=float)) for name in MP20}
    return labelled(held.inputs.bare(), {Target(name): values for name, values in columns.items()})


def prepare(work: Path, names: list[str]) -> None:
    """Pre-train what is not there yet."""
    inputs = None
    for name in names:
        folder, plan = work / "starts" / name, STARTS[name]
        if (folder / "pretrained.json").exists():
            continue
        inputs = structures() if inputs is None else inputs
        folder.mkdir(parents=True, exist_ok=True)
        begin = time.perf_counter()
        rows = load_task(MP20[0]).part(0)["train"] if plan.get("rows") == "train" else None
        found = pretrain(plan["method"], plan.get("model", MODEL), inputs, rows, settings=plan.get("settings"), recipe={"epochs": plan.get("epochs", PRETRAINED_EPOCHS)}, checkpoint=folder / "state.safetensors",
                         start=Pretrained.load(work / "starts" / plan["start"]) if "start" in plan else None,
                         data={"source": "mp20_biternary_val_test", "files": "val and test" if rows is None else "training rows of the tasks", "labels": list(MP20) if plan.get("labels") else []},
                         log=lambda e, name=name: print(name, {k: e[k] for k in ("event", "epoch", "loss") if k in e}, flush=True) if e["event"] == "epoch" else None)
        if found.complete:
            found.save(folder)
            (folder / "state.safetensors").unlink(missing_ok=True)
        print(f"{name}: {time.perf_counter() - begin:.0f} s, {found.history}", flush=True)


def key(task: str, size: int, seed: int, variant: str) -> str:
    return f"{task}|{size}|{seed}|{variant}"


def read(work: Path) -> dict[str, dict]:
    """Results by key."""
    path = work / "results.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {r["key"]: r for r in map(json.loads, lines)}


def measure(work: Path, variants: list[str], minutes: float, seeds: list[int], sizes: list[int] | None, recipe: dict, tasks: list[str]) -> None:
    """Train and test what is not done yet, size by size and seed by seed, until the time is over."""
    end, done = time.monotonic() + 60 * minutes, read(work)
    for task, own in ((t, TASKS[t]) for t in tasks):
        held = None
        for size in sizes or own:
            for seed in seeds:
                for name in (v for v in variants if v in ONLY.get(task, variants)):
                    if key(task, size, seed, name) in done or time.monotonic() > end:
                        continue
                    held = held or load_task(task)
                    row = {"key": key(task, size, seed, name), "task": task, "size": size, "seed": seed, "variant": name, **one(work, held, size, seed, VARIANTS[name], recipe)}
                    with (work / "results.jsonl").open("a", encoding="utf-8") as out:
                        out.write(json.dumps(row) + "\n")
                    print(f"{row['key']}: {row['mae']:.4g} (validation {row['validation']:.4g}, {row['seconds']:.0f} s)", flush=True)


def one(work: Path, held, size: int, seed: int, plan: dict, recipe: dict) -> dict:
    """Errors on the test rows of one training."""
    part = held.part(0)
    drawn = {k: numpy_stream(seed, "few", k).permutation(part[k])[:n] for k, n in (("train", size), ("val", max(size // 4, 25)))}
    given = {}
    for kind in ("start", "teacher"):
        if kind in plan:
            found = Pretrained.load(work / "starts" / plan[kind])
            given[kind] = Pretrained(**{**found.__dict__, "settings": {**found.settings, **plan.get("settings", {})}})
    begin = time.perf_counter()
    made = train(plan.get("model", MODEL), held.inputs, held.target, drawn, options=plan.get("options"), recipe={"epochs": EPOCHS[size], **recipe, **plan.get("recipe", {})}, seed=seed, calibrate=False, **given)
    seconds, member = time.perf_counter() - begin, made.predictor.members[0]
    test = held.inputs[part["test"]].bare()
    off = member.predict(test)[held.target.name].numpy() - held.labels[part["test"]]
    return {"mae": float(np.abs(off).mean()), "validation": min(r["score"] for r in made.courses[0].history), "seconds": round(seconds, 1),
            "errors": [round(float(x), 4) for x in off]}


def gain(ours: np.ndarray, base: np.ndarray, rng: np.random.Generator) -> dict:
    """Relative difference of mean absolute errors (seeds, rows), with a 95 % interval over seeds and rows drawn anew."""
    seeds, rows = ours.shape
    found = ours.mean() / base.mean() - 1
    drawn = []
    for _ in range(RESAMPLES):
        s, r = rng.integers(0, seeds, seeds), rng.integers(0, rows, rows)
        drawn.append(ours[s][:, r].mean() / base[s][:, r].mean() - 1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return {"change": float(found), "low": float(low), "high": float(high), "by_seed": [float(a.mean() / b.mean() - 1) for a, b in zip(ours, base, strict=True)]}


def write(works: list[Path], record: Path, figure: Path, page: Path) -> None:
    """The record, the figure and the table of the page, of all results of the folders; of equal keys the first counts."""
    from matterloop.app.figures.learning_gain import learning_gain

    done, entries = {k: r for work in reversed(works) for k, r in read(work).items()}, []
    for task, sizes in TASKS.items():
        for size in sizes:
            rows = {v: {r["seed"]: r for r in done.values() if (r["task"], r["size"], r["variant"]) == (task, size, v)} for v in VARIANTS}
            for name, found in rows.items():
                seeds = sorted(found.keys() & rows["scratch"].keys())
                if not seeds:
                    continue
                ours, base = (np.abs([x[s]["errors"] for s in seeds]) for x in (found, rows["scratch"]))
                entries.append({"task": task, "rows": size, "variant": name, "seeds": seeds, "mae": float(ours.mean()), "mae_by_seed": [float(e.mean()) for e in ours],
                                "seconds": float(np.mean([found[s]["seconds"] for s in seeds])),
                                **({"against_scratch": gain(ours, base, numpy_stream(0, "gain", task, str(size), name))} if name != "scratch" else {})})
    starts = {n: json.loads(path.read_text()) for work in reversed(works) for n in STARTS if (path := work / "starts" / n / "pretrained.json").exists()}
    overlap, units, seen = {}, {}, counts_of(structures())
    for task in dict.fromkeys(e["task"] for e in entries):
        held = load_task(task)
        leak = composition_leaks(seen, counts_of(held.inputs[held.part(0)["test"]]))
        overlap[task], units[task] = {"rows": leak.count, "of": leak.whole}, held.task.unit
    words = {"what": __doc__.split("\n")[0], "model": MODEL, "epochs": EPOCHS, "units": units, "pretraining_epochs": PRETRAINED_EPOCHS, "variants": VARIANTS,
             "starts": {n: {k: w[k] for k in ("method", "settings", "data", "history", "recipe")} for n, w in starts.items()},
             "tested_rows_whose_formula_is_among_all_structures_of_mp20": overlap, "entries": entries, "versions": versions(), "hardware": hardware()}
    with replacing(record) as new:
        new.write_text(json.dumps(words, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    with replacing(figure) as new:
        new.write_text(learning_gain(entries, units) + "\n", encoding="utf-8")
    lines = ["", "![change of the error by what the training begins with](../pretraining_gains.svg)", *table(entries, overlap, units)]
    text = page.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN)[0], text.split(END)[1]
    with replacing(page) as new:
        new.write_text(head + "\n".join([BEGIN, *lines, END]) + rest, encoding="utf-8")
    print("\n".join(lines))


def table(entries: list[dict], overlap: dict, units: dict) -> list[str]:
    """Markdown of all entries, task by task."""
    lines = []
    for task in dict.fromkeys(e["task"] for e in entries):
        own, seen = [e for e in entries if e["task"] == task], overlap[task]
        lines += ["", f"`{task}`, mean absolute error of {seen['of']:,} tested rows, {seen['rows']:,} of which share their formula with one of the structures that were pre-trained on:", "",
                  f"| training rows | begun with | error, {units[task]} | change against scratch, 95 % interval | seeds |", "|---:|---|---:|---|---:|"]
        for e in own:
            told = e.get("against_scratch")
            change = f"{told['change']:+.1%} ({told['low']:+.1%} to {told['high']:+.1%})" if told else ""
            lines.append(f"| {e['rows']:,} | {e['variant']} | {e['mae']:.4g} | {change} | {len(e['seeds'])} |")
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("pretrain", "measure", "write"))
    parser.add_argument("work", type=Path)
    parser.add_argument("--only", nargs="*", help="names of starts or variants")
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--seeds", type=int, nargs="*", default=list(SEEDS))
    parser.add_argument("--sizes", type=int, nargs="*")
    parser.add_argument("--tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--recipe", nargs="*", default=[], help="fields of the recipe, NAME=VALUE")
    parser.add_argument("--record", type=Path, default=Path("benchmarks/records/pretraining_gains.json"))
    parser.add_argument("--page", type=Path, default=Path("docs/ideas/pretraining.md"))
    parser.add_argument("--also", type=Path, nargs="*", default=[], help="further folders with results, for write")
    parser.add_argument("--figure", type=Path, default=Path("docs/pretraining_gains.svg"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    if args.step == "pretrain":
        prepare(args.work, args.only or list(STARTS))
    elif args.step == "measure":
        measure(args.work, args.only or list(VARIANTS), args.minutes, args.seeds, args.sizes, {k: json.loads(v) for k, _, v in (w.partition("=") for w in args.recipe)}, args.tasks)
    else:
        write([args.work, *args.also], args.record, args.figure, args.page)


if __name__ == "__main__":
    main()
