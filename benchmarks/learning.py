"""Does the generator get better by what it hears: hits per round, without learning, with imitation and with the policy.

    python benchmarks/learning.py [--rounds 8] [--count 120] [--figure docs/learning.svg] [--record FILE]

A hit is relaxed, of a gene that no earlier round and no known phase has, and at most 0.1 eV/atom above our CHGNet hull; shares of all proposals of a round with 95 %
bootstrap intervals. Unconditional, without predictor, so that learning is all that changes; the same seeds on all sides.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from matterloop.app.figures.curves import curves
from matterloop.archive.records import Ask, Reason, Verdict
from matterloop.base.seeds import derive, numpy_stream
from matterloop.crystal.composition import compositions
from matterloop.crystal.state import Crystals
from matterloop.generate.gene_screens import usual
from matterloop.generate.screened import known_gene_keys
from matterloop.generate.wyckoff_transformer import WyckoffTransformer
from matterloop.measure.reference import reference_hull
from matterloop.measure.relax import relax
from matterloop.potential.chgnet import CHGNetOracle


def share(held: np.ndarray) -> list[float]:
    rng = numpy_stream(0, "share")
    means = rng.choice(held, (2000, len(held))).mean(1)
    return [float(held.mean()), *map(float, np.quantile(means, [0.025, 0.975]))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--count", type=int, default=120)
    parser.add_argument("--limit", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--record", type=Path)
    args = parser.parse_args()
    oracle, hull, known = CHGNetOracle(), reference_hull("chgnet"), known_gene_keys()
    report = {}
    for way in ("", "imitation", "policy"):
        screens = usual(known)  # duplicates are remembered from round to round
        generator = WyckoffTransformer(above_hull=None, guidance=1.0, share=1.0, learn=way, screens=screens)
        rows, begun = [], time.process_time()
        for turn in range(args.rounds):
            found = generator.propose(Ask(atoms=(1, 20)), args.count, derive(args.seed, "learning", turn) % 1_000_000)
            crystals = Crystals.join([c.crystal.bare() for c in found])
            done = relax(crystals, oracle)
            energy = np.array([float("nan") if one.failed else one.energy_per_atom for one in done])
            above = np.asarray(hull.energy_above(compositions(crystals), np.nan_to_num(energy), missing="report").above, dtype=float)
            above[~np.isfinite(energy) | (above < -1)] = np.nan
            generator.observe([
                Verdict(c.key, (Reason("energy_above_hull", float(a), args.limit, "eV/atom", bool(a <= args.limit)),), float(a)) for c, a in zip(found, above)])
            systems = {tuple(sorted(c)) for c in compositions(crystals)}
            rows.append({"round": turn, "proposed": len(found), "hits": share(above <= args.limit), "on the hull": share(above <= 0), "median": float(np.nanmedian(above)),
                         "chemical systems": len(systems), "lesson": vars(generator.lessons[-1]) if way else None})
            print(way or "none", json.dumps(rows[-1]), flush=True)
        report[way or "none"] = {"rounds": rows, "cpu_seconds": time.process_time() - begun}
    if args.figure:
        series = [({"none": "no learning", "imitation": "imitation", "policy": "policy"}[way], [(r["round"], *r["hits"]) for r in held["rounds"]]) for way, held in report.items()]
        args.figure.write_text(curves(series, "round", f"share within {args.limit:g} eV/atom of the hull", low=0.0, high=1.0), encoding="utf-8")
    if args.record:
        args.record.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
