"""How often a placement of a known gene is the known crystal: MP-20 test crystals, their gene given, their reduced formula out of the library.

    python benchmarks/placement.py match [--data-dir DIR] [--count 500] [--seed 0] [--ways all prototype coordinates declash] [--json FILE]
    python benchmarks/placement.py relax [--count 200] [--ways all declash] ...

match   StructureMatcher(stol 0.5, angle 10, ltol 0.3): share found by the first and the best of three starts, mean rms of the found, by free site coordinates
        (dof 0, 1-2, 3-5, 6-10, more), CPU seconds per gene. Genes within 0.1 Å.
relax   the first start relaxed once with CHGNet, symmetry kept: share that StructureMatcher(0.2, 0.3, 5) then calls the target, optimiser steps, CPU seconds.

all: the default (known crystal where there is one, else network), prototype, coordinates, declash: one of them alone; declash is random cells and coordinates,
as random search places them. Nothing of the targets is in what places them: volume, similarity and contact tables are fitted without the MP-20 test file, the
network without any formula of it, and library members of a target's reduced formula do not count. Published anchors (other matcher and relaxer): random start
48.8 %, known crystal 81.5 % where there is one (75 %); facts of N. Kazeev et al.'s code, arXiv:2503.02407.

Every gene done is a line of --records (runs/placement_PART.jsonl); a second run goes on where the first ended. `--only` prints what is there.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from pathlib import Path

import numpy as np

CLASSES = (("0", 0, 0), ("1-2", 1, 2), ("3-5", 3, 5), ("6-10", 6, 10), (">10", 11, 10**6))
WAYS = {"all": ("prototype", "coordinates", "declash"), "prototype": ("prototype",), "coordinates": ("coordinates",), "declash": ("declash",)}
TEST = 7118  # crystals of the file
BATCH = 10  # crystals relaxed together


def targets(data_dir, count, seed):
    """(crystals, genes, ids) of `count` crystals of MP-20 test, evenly spread over the file, which is in random order."""
    from matterloop.crystal.formats import read_table
    from matterloop.crystal.state import Crystals
    from matterloop.crystal.symmetry import analyse
    from matterloop.represent.wyckoff_gene import from_symmetry

    step = TEST // (count + 5)
    held = read_table(Path(data_dir) / "mp20_biternary_val_test" / "test.csv.gz", rows=slice(seed % step, None, step))
    crystals, kept = held.crystals.bare(), []
    for one, name, found in zip(crystals, held.names, analyse(crystals, 0.1, on_error="keep"), strict=True):
        if not isinstance(found, Exception):
            kept.append((one, from_symmetry(found), name))
    kept = kept[:count]
    return Crystals.join([k[0] for k in kept]), [k[1] for k in kept], [k[2] for k in kept]


def placer(way):
    from matterloop.generate.placement import Placer

    return Placer(own_formula=False, ways=WAYS[way])


class Records:
    """Lines of a file, one for each way and target."""

    def __init__(self, file):
        self.file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        self.held = {(r["way"], r["id"]): r for r in map(json.loads, lines)}

    def add(self, **record):
        self.held[record["way"], record["id"]] = record
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def match(crystals, genes, names, seed, ways, starts, records):
    from matterloop.crystal.matching import Tolerance, prepare, rms
    from matterloop.generate.placement import crystals_of

    loose = Tolerance(length=0.3, site=0.5, angle=10.0)
    made = {way: placer(way) for way in ways}
    for way in ways:
        made[way].place_one(genes[0], seed, 1)
    for gene, target, name in zip(genes, prepare(crystals, loose), names, strict=True):
        for way in ways:
            if (way, name) in records.held:
                continue
            begun = time.process_time()
            held = made[way].place_one(gene, seed, starts).starts
            spent = time.process_time() - begun
            found = [rms(target, p) for p in prepare(crystals_of(held), loose)] if held else []
            records.add(way=way, id=name, dof=gene.dof, how=[s.how for s in held], rms=[None if f is None else round(f[0], 5) for f in found], seconds=round(spent, 4))


def relaxed(crystals, genes, names, seed, ways, records):
    from matterloop.base.registry import load
    from matterloop.crystal.matching import prepare, same
    from matterloop.crystal.state import Crystals
    from matterloop.crystal.symmetry import analyse
    from matterloop.generate.placement import crystals_of
    from matterloop.measure.relax import relax

    oracle, known = load("chgnet", role="potential"), prepare(crystals)
    made = {way: placer(way) for way in ways}
    for first in range(0, len(genes), BATCH):
        for way in ways:
            rows = [i for i in range(first, min(first + BATCH, len(genes))) if (way, names[i]) not in records.held]
            held = {i: made[way].place_one(genes[i], seed, 1).starts for i in rows}
            for i in rows:
                if not held[i]:
                    records.add(way=way, id=names[i], dof=genes[i].dof, how="", hit=False, steps=None, seconds=0.0)
            if not (rows := [i for i in rows if held[i]]):
                continue
            cells = Crystals.join([s.primitive for s in analyse(crystals_of([held[i][0] for i in rows]), 0.01)])
            begun = time.process_time()
            ended = relax(cells, oracle, keep_symmetry=True)
            spent = (time.process_time() - begun) / len(rows)
            for i, one in zip(rows, ended, strict=True):
                hit = not one.failed and same(known[i], prepare(one.crystal.bare())[0])
                records.add(way=way, id=names[i], dof=genes[i].dof, how=held[i][0].how, hit=hit, steps=one.steps, seconds=round(spent, 3))


def interval(hits):
    """95 % bootstrap interval of a share, in percent."""
    hits = np.asarray(hits, dtype=float)
    drawn = np.random.default_rng(0).choice(hits, (1000, len(hits))).mean(1)
    return [round(100 * float(x), 1) for x in np.quantile(drawn, [0.025, 0.975])]


def percent(hits):
    return round(100 * float(np.mean(hits)), 1)


def told_matches(rows):
    first, best = [bool(r["rms"]) and r["rms"][0] is not None for r in rows], [any(x is not None for x in r["rms"]) for r in rows]
    errors = [r["rms"][0] for r, hit in zip(rows, first, strict=True) if hit]
    return {"genes": len(rows), "first_%": percent(first), "interval": interval(first), "best_%": percent(best), "interval_best": interval(best),
            "rms": round(float(np.mean(errors)), 4) if errors else None, "prototype_%": percent([r["how"][:1] == ["prototype"] for r in rows]),
            "no_start": sum(not r["how"] for r in rows), "cpu_seconds": round(float(np.mean([r["seconds"] for r in rows])), 3)}


def told_relaxations(rows):
    steps = [r["steps"] for r in rows if r["steps"] is not None]
    return {"genes": len(rows), "recovered_%": percent([r["hit"] for r in rows]), "interval": interval([r["hit"] for r in rows]), "no_start": sum(not r["how"] for r in rows),
            "mean_steps": round(float(np.mean(steps)), 1) if steps else None, "cpu_seconds": round(float(np.mean([r["seconds"] for r in rows])), 2)}


def told(records, ways, names, tell):
    """{way: {class: figures}} over the targets that every one of the ways has done."""
    done = [n for n in names if all((w, n) in records.held for w in ways)]
    out = {}
    for way in ways if done else ():
        rows = [records.held[way, n] for n in done]
        parts = {"all": rows, **{name: [r for r in rows if low <= r["dof"] <= high] for name, low, high in CLASSES}}
        parts["with prototype"] = [r for r in rows if r["how"] in ("prototype", ["prototype"]) or r["how"][:1] == ["prototype"]]
        out[way] = {name: tell(part) for name, part in parts.items() if part}
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["match", "relax"])
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("MATTERLOOP_DATA"))
    parser.add_argument("--count", type=int, default=None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=None)
    parser.add_argument("--records", type=Path)
    parser.add_argument("--only", action="store_true", help="no work: tell what the records hold")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.data_dir is None and not args.only:
        parser.error("--data-dir or MATTERLOOP_DATA is needed")
    matching = args.part == "match"
    ways = args.ways or (list(WAYS) if matching else ["all", "declash"])
    count = args.count or (500 if matching else 200)
    records = Records(args.records or Path("runs") / f"placement_{args.part}.jsonl")
    names = [n for _, n in records.held]
    if not args.only:
        crystals, genes, names = targets(args.data_dir, count, args.seed)
        if matching:
            match(crystals, genes, names, args.seed, ways, args.starts, records)
        else:
            relaxed(crystals, genes, names, args.seed, ways, records)
    found = told(records, ways, list(dict.fromkeys(names)), told_matches if matching else told_relaxations)
    for way, classes in found.items():
        for name, figures in classes.items():
            print(json.dumps({"way": way, "dof": name, **figures}))
    if args.json:
        text = {"part": args.part, "starts": args.starts, "seed": args.seed, "data": "mp20_biternary_val_test/test", "found": found}
        args.json.write_text(json.dumps(text, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
