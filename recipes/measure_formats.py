"""Figures of crystal/formats.py and crystal/composition.py against pymatgen, both sides in one process; run: python recipes/measure_formats.py

Reads $MATTERLOOP_DATA (mp20_biternary_val_test, matbench_v01_official_tables) and writes JSON to standard output.
"""

import bz2
import json
import os
import random
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas
from pymatgen.core import Composition, Structure
from pymatgen.io.cif import CifParser, CifWriter

from matterloop.base.elements import NUMBER
from matterloop.crystal import formats
from matterloop.crystal.composition import oxidation_guesses, reduced, reduced_formula

DATA = Path(os.environ["MATTERLOOP_DATA"])
MP20 = DATA / "mp20_biternary_val_test" / "val.csv.gz"


def seconds(work):
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


def equal(ours, theirs, tolerance: float) -> bool:
    """The same atoms in any order: nearest site of the same element within `tolerance` Å, one to one."""
    delta = ours.frac.numpy()[:, None] - theirs.frac_coords[None]
    distance = np.linalg.norm((delta - np.round(delta)) @ theirs.lattice.matrix, axis=-1)
    nearest = distance.argmin(1)
    return (sorted(nearest) == list(range(len(theirs))) and distance.min(1).max() < tolerance
            and ours.species.tolist() == [theirs.atomic_numbers[j] for j in nearest])


def cif(rows: int = 300) -> dict:
    texts = pandas.read_csv(MP20, nrows=rows)["cif"].tolist()
    formats.read_text_of(texts[0]), Structure.from_str(texts[0], "cif")  # imports
    found, ours = seconds(lambda: formats.read_table(MP20, rows=slice(0, rows)))
    whole, all_rows = seconds(lambda: formats.read_table(MP20))
    theirs, pymatgen = seconds(lambda: [CifParser.from_str(t, frac_tolerance=0).parse_structures(primitive=False)[0] for t in texts])
    symmetric = [str(CifWriter(s, symprec=0.01)) for s in theirs]
    ours_symmetric, ours_s = seconds(lambda: [formats.read_text_of(t).crystals for t in symmetric])
    theirs_symmetric, pymatgen_s = seconds(lambda: [Structure.from_str(t, "cif") for t in symmetric])
    return {
        "p1_rows_per_second": len(whole) / all_rows, "p1_refused": len(whole.errors), "pymatgen_rows_per_second": rows / pymatgen, "ratio": len(whole) / all_rows / (rows / pymatgen),
        "p1_equal": sum(equal(c, s, 1e-6) for c, s in zip(found.crystals, theirs, strict=True)), "rows": rows,
        "symmetric_equal": sum(len(c) == 1 and equal(c, s, 2e-3) for c, s in zip(ours_symmetric, theirs_symmetric, strict=True)), "symmetric_ratio": pymatgen_s / ours_s}


def compositions(sample: int = 500) -> dict:
    with bz2.open(DATA / "matbench_v01_official_tables" / "matbench_mp_e_form.json.bz2") as file:
        column = json.load(file)["composition"]
    texts = list(column.values() if isinstance(column, dict) else column)
    ours, ours_s = seconds(lambda: [reduced_formula(t) for t in texts])
    theirs, theirs_s = seconds(lambda: [Composition(t).reduced_formula for t in texts])
    picked = [t for t in random.Random(0).sample(texts, 3 * sample) if 1 < len(reduced(t)) and sum(n for _, n in reduced(t)) <= 30][:sample]
    mine, mine_s = seconds(lambda: [oxidation_guesses(t) for t in picked])
    pymatgen, pymatgen_s = seconds(lambda: [Composition(reduced_formula(t)).oxi_state_guesses() for t in picked])
    both = [(g, {NUMBER[k]: v for k, v in p[0].items()}) for g, p in zip(mine, pymatgen, strict=True) if g and p]
    same = lambda guess, states: all(abs(guess.mean[z] - x) < 1e-6 for z, x in states.items())
    return {
        "reduced_formula_rows": len(texts), "reduced_formula_unequal": sum(a != b for a, b in zip(ours, theirs, strict=True)), "reduced_formula_ratio": theirs_s / ours_s,
        "oxidation_rows": len(picked), "oxidation_both": len(both), "oxidation_same_first": sum(same(g[0], p) for g, p in both),
        "oxidation_in_first_three": sum(any(same(x, p) for x in g[:3]) for g, p in both), "oxidation_only_pymatgen": sum(not g and bool(p) for g, p in zip(mine, pymatgen, strict=True)),
        "oxidation_ratio": pymatgen_s / mine_s}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    json.dump({"cif": cif(), "compositions": compositions()}, sys.stdout, indent=1)
    sys.stdout.write("\n")
