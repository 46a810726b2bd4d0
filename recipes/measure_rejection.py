"""Measure how often early rejection (measure/rejection.py) would be wrong and what it saves, on relaxations of real candidates.

    python recipes/measure_rejection.py relax WORK [--count 40]   candidates of three generators for six wishes, relaxed by CHGNet to the end; resumes
    python recipes/measure_rejection.py table WORK                rates for several limits and factors, as JSON

A candidate is good at a limit when it ends within the limit of CHGNet's own hull; a good one that would have been given up is a false rejection.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from matterloop.base.errors import BadInput
from matterloop.campaign.wish import understand
from matterloop.crystal.composition import compositions
from matterloop.crystal.state import Crystals
from matterloop.generate.proposal import load_generator
from matterloop.measure.reference import reference_hull
from matterloop.measure.rejection import Rejection
from matterloop.measure.relax import relax
from matterloop.potential.chgnet import CHGNetOracle

WISHES = ("new ternary lithium oxides with fewer than 16 atoms", "stable binary nitrides with fewer than 12 atoms", "ternary copper sulfides", "cubic perovskite fluorides",
          "stable intermetallics of magnesium", "any crystals with fewer than 16 atoms")
GENERATORS = ("substitution", "random_search", "template")


def relax_all(work: Path, count: int) -> None:
    work.mkdir(parents=True, exist_ok=True)
    oracle, hull = CHGNetOracle(), reference_hull("chgnet")
    for number, wish in enumerate(WISHES):
        for name in GENERATORS:
            for kept in (False, True):
                file = work / f"{number}-{name}-{'symmetric' if kept else 'free'}.json"
                if file.exists():
                    continue
                try:
                    proposals = load_generator(name).propose(understand(wish).ask, count, 0)
                except BadInput as error:
                    print(name, wish, error)
                    continue
                crystals = Crystals.join([p.crystal.bare() for p in proposals]) if proposals else None
                rows = []
                if crystals is not None:
                    found = relax(crystals, oracle, fmax=0.05, smax=0.003, steps=200, keep_symmetry=kept)
                    for one, composition in zip(found, compositions(crystals), strict=True):
                        if one.failed:
                            continue
                        try:
                            above = float(hull.energy_above([composition], [one.energy_per_atom]).above[0])
                        except BadInput:
                            continue
                        rows.append({"atoms": one.crystal.atoms, "status": one.status, "above": above, "energies": one.energies, "drops": one.drops})
                file.write_text(json.dumps(rows))
                print(file.name, len(rows), flush=True)


SETTINGS = ((2, 2.0, 0.2), (2, 2.0, 0.1), (2, 2.0, 0.05), (2, 2.0, 0.02), (2, 3.0, 0.1), (5, 2.0, 0.05), (5, 3.0, 0.2), (10, 3.0, 0.1))  # after, factor, slack


def table(work: Path) -> list[dict]:
    out = []
    for name in GENERATORS:
        rows = [r for f in sorted(work.glob(f"*-{name}-*.json")) for r in json.loads(f.read_text())]
        rows = [r for r in rows if r["above"] > -1]  # below: a hole of the potential
        for limit in (0.05, 0.1, 0.2):
            for after, factor, slack in SETTINGS:
                good = wrong = saved = total = bad = caught = 0
                for r in rows:
                    n, end = r["atoms"], r["energies"][-1]
                    rule = Rejection(limit, torch.tensor([end / n - r["above"]], dtype=torch.float64), after, factor, slack).checked(1)
                    at = next((k for k, d in enumerate(r["drops"]) if rule.verdict(0, k, min(r["energies"][: k + 1]), d, n)), None)
                    fine = r["above"] <= limit
                    good, bad, total = good + fine, bad + (not fine), total + len(r["energies"])
                    if at is not None:
                        wrong, caught, saved = wrong + fine, caught + (not fine), saved + len(r["energies"]) - at - 1
                out.append({"generator": name, "limit": limit, "after": after, "factor": factor, "slack": slack, "candidates": len(rows), "good": good, "lost": wrong,
                            "lost_share": round(wrong / max(good, 1), 4), "hopeless": bad, "caught": round(caught / max(bad, 1), 3), "evaluations_saved": round(saved / max(total, 1), 3)})
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("relax", "table"))
    parser.add_argument("work", type=Path)
    parser.add_argument("--count", type=int, default=40)
    ask = parser.parse_args()
    if ask.what == "relax":
        relax_all(ask.work, ask.count)
    else:
        for row in table(ask.work):
            print(json.dumps(row))
