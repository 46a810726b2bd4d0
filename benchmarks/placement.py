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


def targets(data_dir, count, seed):
    """(crystals in primitive cells, genes, ids) of `count` crystals of MP-20 test."""
    from matterloop.crystal.formats import read_table
    from matterloop.crystal.state import Crystals
    from matterloop.crystal.symmetry import analyse
    from matterloop.represent.wyckoff_gene import from_symmetry

    file = Path(data_dir) / "mp20_biternary_val_test" / "test.csv.gz"
    held = read_table(file)
    rows = np.sort(np.random.default_rng(seed).permutation(len(held.names))[: count + 20])
    crystals, names = held.crystals.bare()[rows.tolist()], [held.names[i] for i in rows]
    kept = []
    for one, name, found in zip(crystals, names, analyse(crystals, 0.1, on_error="keep"), strict=True):
        if not isinstance(found, Exception):
            kept.append((one, from_symmetry(found), name))
    kept = kept[:count]
    return Crystals.join([k[0] for k in kept]), [k[1] for k in kept], [k[2] for k in kept]


def placer(way, network="shipped"):
    from matterloop.generate.placement import Placer

    return Placer(own_formula=False, ways=WAYS[way], network=network)


def interval(hits):
    """95 % bootstrap interval of a share, in percent."""
    hits = np.asarray(hits, dtype=float)
    drawn = np.random.default_rng(0).choice(hits, (1000, len(hits))).mean(1)
    return [round(100 * float(x), 1) for x in np.quantile(drawn, [0.025, 0.975])]


def matched(data_dir, count, seed, ways, starts):
    from matterloop.crystal.matching import Tolerance, prepare, rms
    from matterloop.generate.placement import crystals_of

    crystals, genes, _ = targets(data_dir, count, seed)
    loose = Tolerance(length=0.3, site=0.5, angle=10.0)
    known = prepare(crystals, loose)
    dof, out = np.array([g.dof for g in genes]), {}
    for way in ways:
        made, first, best, error, covered, tried, spent = placer(way), [], [], [], [], [], 0.0
        made.place_one(genes[0], seed, 1)
        for gene, target in zip(genes, known, strict=True):
            begun = time.process_time()
            held = made.place_one(gene, seed, starts).starts
            spent += time.process_time() - begun
            found = [rms(target, p) for p in prepare(crystals_of(held), loose)] if held else []
            found = [None if f is None else f[0] for f in found]
            first.append(bool(found) and found[0] is not None)
            best.append(any(f is not None for f in found))
            error.append(found[0] if first[-1] else np.nan)
            covered.append(bool(held) and held[0].how == "prototype")
            tried.append(len(held))
        first, best, error, covered = map(np.array, (first, best, error, covered))
        row = lambda which: {"genes": int(which.sum()), "first_%": round(100 * float(first[which].mean()), 1), f"best_of_{starts}_%": round(100 * float(best[which].mean()), 1),
                             "rms": round(float(np.nanmean(error[which])), 4) if first[which].any() else None, "prototype_%": round(100 * float(covered[which].mean()), 1)}
        out[way] = {"all": {**row(dof >= 0), "interval_first": interval(first), "interval_best": interval(best)},
                    **{name: row((dof >= low) & (dof <= high)) for name, low, high in CLASSES if ((dof >= low) & (dof <= high)).any()},
                    "with_prototype": row(covered) if covered.any() else None, "without_any_start": int(np.sum(np.array(tried) == 0)),
                    "cpu_seconds_per_gene": round(spent / len(genes), 4)}
        print(json.dumps({way: out[way]}), flush=True)
    return out


def relaxed(data_dir, count, seed, ways):
    from matterloop.base.registry import load
    from matterloop.crystal.matching import prepare, same
    from matterloop.crystal.state import Crystals
    from matterloop.crystal.symmetry import analyse
    from matterloop.generate.placement import crystals_of
    from matterloop.measure.relax import relax

    crystals, genes, _ = targets(data_dir, count, seed)
    oracle = load("chgnet", role="potential")
    known, out = prepare(crystals), {}
    dof = np.array([g.dof for g in genes])
    for way in ways:
        made = placer(way)
        held = [made.place_one(g, seed, 1).starts for g in genes]
        rows = [i for i, s in enumerate(held) if s]
        cells = Crystals.join([s.primitive for s in analyse(crystals_of([held[i][0] for i in rows]), 0.01)])
        begun = time.process_time()
        ended = relax(cells, oracle, keep_symmetry=True)
        spent = time.process_time() - begun
        hit = np.zeros(len(genes), dtype=bool)
        steps = []
        for i, one, ready in zip(rows, ended, prepare(ended.crystals.bare()), strict=True):
            if not one.failed:
                hit[i] = same(known[i], ready)
                steps.append(one.steps)
        covered = np.array([bool(s) and s[0].how == "prototype" for s in held])
        share = lambda which: {"genes": int(which.sum()), "recovered_%": round(100 * float(hit[which].mean()), 1)} if which.any() else None
        out[way] = {"all": {**share(dof >= 0), "interval": interval(hit)}, **{n: share((dof >= a) & (dof <= b)) for n, a, b in CLASSES},
                    "with_prototype": share(covered), "without": share(~covered), "median_steps": float(np.median(steps)), "mean_steps": round(float(np.mean(steps)), 1),
                    "cpu_seconds_per_relaxation": round(spent / max(len(rows), 1), 2)}
        print(json.dumps({way: out[way]}), flush=True)
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["match", "relax"])
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("MATTERLOOP_DATA"), required="MATTERLOOP_DATA" not in os.environ)
    parser.add_argument("--count", type=int, default=None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=None)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.part == "match":
        found = matched(args.data_dir, args.count or 500, args.seed, args.ways or list(WAYS), args.starts)
    else:
        found = relaxed(args.data_dir, args.count or 200, args.seed, args.ways or ["all", "declash"])
    told = {"part": args.part, "count": args.count, "seed": args.seed, "data": "mp20_biternary_val_test/test", "found": found}
    if args.json:
        args.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
