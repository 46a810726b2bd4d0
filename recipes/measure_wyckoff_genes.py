"""Measure Wyckoff genes on real crystals: time, share that survives another description of the same crystal, agreement of the space group.

Run: MATTERLOOP_DATA=DIR python recipes/measure_wyckoff_genes.py [--count 500] [--seed 0] [--symprec 0.1]
DIR holds mp20_biternary_val_test (structures of the Materials Project, CC-BY 4.0). Writes one JSON object to standard output.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from matterloop.base.elements import NUMBER
from matterloop.crystal import lattice
from matterloop.crystal.state import Crystals
from matterloop.represent.wyckoff_gene import gene


def parse(text: str) -> Crystals:
    """A P1 CIF of pymatgen, the only kind in this data set."""
    value = lambda name: float(re.search(name + r"\s+(\S+)", text)[1])
    cell = lattice.from_parameters([value(f"_cell_length_{k}") for k in "abc"], [value(f"_cell_angle_{k}") for k in ("alpha", "beta", "gamma")])
    rows = re.findall(r"^\s+([A-Z][a-z]?)\s+\S+\s+1\s+(\S+)\s+(\S+)\s+(\S+)\s+1\s*$", text, re.M)
    return Crystals.of([[float(x) for x in row[1:]] for row in rows], [NUMBER[row[0]] for row in rows], cell)


def retold(crystal: Crystals, rng) -> Crystals:
    """The same crystal turned or mirrored, in another cell, shifted, in some cases doubled, atoms shuffled."""
    turn = torch.linalg.qr(torch.tensor(rng.normal(size=(3, 3))))[0]
    mix = np.eye(3)
    for _ in range(4):
        i, j = rng.choice(3, 2, replace=False)
        mix[i] += int(rng.integers(-1, 2)) * mix[j]
    times = [1, 1, 1]
    times[rng.integers(3)] = int(rng.integers(1, 3))
    told = crystal.rotated(turn).recelled(torch.tensor(mix)).shifted(torch.tensor(rng.uniform(size=3))).repeated(*times)
    return told.shuffled(torch.tensor(rng.permutation(told.atoms)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--symprec", type=float, default=0.1)
    ask = parser.parse_args()
    torch.set_num_threads(1)
    table = pd.read_csv(Path(os.environ["MATTERLOOP_DATA"]) / "mp20_biternary_val_test" / "test.csv.gz").sample(ask.count, random_state=ask.seed)
    crystals = Crystals.join([parse(text) for text in table.cif])
    start = time.perf_counter()
    found = gene(crystals, ask.symprec)
    seconds = time.perf_counter() - start
    rng = np.random.default_rng(ask.seed)
    told = gene(Crystals.join([retold(c, rng) for c in crystals]), ask.symprec)
    lost = [m for m, a, b in zip(table.material_id, found, told) if a.key != b.key]
    keys = defaultdict(set)
    for formula, g in zip(table.pretty_formula, found):
        keys[formula].add(g.key)
    print(json.dumps({
        "data": "mp20_biternary_val_test/test", **vars(ask), "microseconds_per_structure": round(seconds / ask.count * 1e6),
        "survive_retelling": 1 - len(lost) / ask.count, "lost": lost,
        "space_group_agrees": float(np.mean([g.space_group == n for g, n in zip(found, table["spacegroup.number"])])),
        "formulas": len(keys), "keys": len({g.key for g in found}), "anonymous": len({g.anonymous for g in found}),
        "keys_per_formula": sum(map(len, keys.values())) / len(keys)}, indent=1))


if __name__ == "__main__":
    main()
