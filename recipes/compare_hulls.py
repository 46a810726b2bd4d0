"""Compare a potential's distance to its own convex hull with the Materials Project's, on chemical systems whose hull phases the reference holds in full.

    python recipes/compare_hulls.py [--potential chgnet] [--data-dir DIR]

The Materials Project's distances are those of MP-20 and MPTS-52 (MP2020 corrections). A system counts as fully covered if every phase of it, and of the systems within it,
that is on the hull of matbench_mp_e_form (shipped/hull_formulas.parquet) is in the reference as itself: same formula, same space group; phases built by
substitution count. Classes: on the hull (within TOLERANCE) and within 0.1 eV/atom. Intervals: 95 %, bootstrap over chemical systems. The potentials
learnt from the Materials Project, these structures among it: this measures how a reference reproduces the known hull, not how well new crystals are judged.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from reference_common import BUILT, RELAXED, find_folder

from matterloop.archive.shipped import read_table
from matterloop.base.elements import symbol
from matterloop.measure.reference import coverage, phases

TOLERANCE = 1e-6  # eV/atom
LIMITS = (0.0, 0.1)  # eV/atom
MP20 = ("mp20_biternary_val_test/val", "mp20_biternary_val_test/test", "mp20_pilot_3x1000/train", "mp20_pilot_3x1000/val", "mp20_pilot_3x1000/test")
MPTS52 = "mpts52_val_test/val"


def published(data_dir: Path) -> dict[str, tuple[float, str]]:
    """{material id: (distance to the Materials Project's hull in eV/atom, data set)}."""
    out: dict[str, tuple[float, str]] = {}
    for file, column in (*((f, "e_above_hull") for f in MP20), (MPTS52, "energy_above_hull")):
        frame = pd.read_csv(data_dir / f"{file}.csv.gz", usecols=["material_id", column])
        for name, value in zip(frame.material_id, frame[column], strict=True):
            if np.isfinite(value):
                out.setdefault(name, (float(value), file.split("_")[0]))
    return out


def covered_systems(systems: set[frozenset[int]], potential: str) -> set[frozenset[int]]:
    """Those of `systems` whose hull phases the reference holds all."""
    table = read_table("hull_formulas")
    missing = [frozenset(z.tolist()) for z, formula in zip(table.elements, table.formula, strict=True) if coverage(formula, potential=potential)[0] < 1]
    by_element: dict[int, list[frozenset[int]]] = {}
    for m in missing:
        by_element.setdefault(min(m), []).append(m)
    return {s for s in systems if not any(m <= s for z in s for m in by_element.get(z, ()))}


def scores(above: np.ndarray, known: np.ndarray) -> dict[str, float]:
    """Mean absolute difference, and F1, precision and recall at each limit."""
    out = {"mean_absolute_difference": float(np.abs(above - known).mean())}
    for limit in LIMITS:
        said, true = above <= limit + TOLERANCE, known <= limit + TOLERANCE
        both = int((said & true).sum())
        out |= {f"f1_at_{limit:g}": 2 * both / max(int(said.sum() + true.sum()), 1), f"precision_at_{limit:g}": both / max(int(said.sum()), 1),
                f"recall_at_{limit:g}": both / max(int(true.sum()), 1), f"share_at_{limit:g}": float(true.mean())}
    return out


def compared(frame: pd.DataFrame, rounds: int = 1000) -> dict:
    """Scores of some rows, each with its interval."""
    above, known = frame.above.to_numpy(), frame.known.to_numpy()
    groups = list(frame.groupby("system").indices.values())
    rng = np.random.default_rng(0)
    again = []
    for _ in range(rounds):
        rows = np.concatenate([groups[i] for i in rng.integers(len(groups), size=len(groups))])
        again.append(scores(above[rows], known[rows]))
    return {"structures": len(frame), "systems": len(groups), "relaxed": int(frame.relaxed.sum()), "median_difference": float(np.median(above - known)),
            "percentile_95_of_absolute_difference": float(np.percentile(np.abs(above - known), 95)),
            **{k: {"value": v, "interval": np.percentile([a[k] for a in again], (2.5, 97.5)).tolist()} for k, v in scores(above, known).items()}}


def table_of(data_dir: Path, potential: str) -> pd.DataFrame:
    """One row per structure of the reference that has a published distance: both distances, system, whether covered."""
    found, known = phases(potential), published(data_dir)
    hull = found.hull()
    rows = [i for i, (name, protocol) in enumerate(zip(found.names, found.protocols, strict=True)) if name in known and protocol != BUILT and not hull.missing(found.compositions[i])]
    formulas = [found.compositions[i] for i in rows]
    systems = [frozenset(c) for c in formulas]
    covered = covered_systems(set(systems), potential)
    return pd.DataFrame({
        "name": [found.names[i] for i in rows], "source": [known[found.names[i]][1] for i in rows], "above": np.asarray(hull.energy_above(formulas, found.energies[rows]).above),
        "known": [known[found.names[i]][0] for i in rows], "system": ["-".join(map(symbol, sorted(s))) for s in systems], "covered": [s in covered for s in systems],
        "elements": [len(s) for s in systems], "relaxed": [found.protocols[i] == RELAXED for i in rows]})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--potential", default="chgnet")
    parser.add_argument("--data-dir", type=Path)
    args = parser.parse_args()
    data_dir = find_folder(args.data_dir)
    if data_dir is None:
        raise SystemExit("the data sets are not here; give --data-dir or set MATTERLOOP_DATA")
    frame = table_of(data_dir, args.potential)
    covered = frame[frame.covered]
    parts = {"fully covered": covered, **{f"fully covered, {s}": covered[covered.source == s] for s in ("mp20", "mpts52")},
             **{f"fully covered, {n} elements": covered[covered.elements == n] for n in (2, 3, 4) if (covered.elements == n).sum() >= 30}, "all": frame}
    print(json.dumps({"potential": args.potential, **{name: compared(part) for name, part in parts.items() if len(part)}}, indent=1))


if __name__ == "__main__":
    main()
