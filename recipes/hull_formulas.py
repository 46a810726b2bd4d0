"""Which formulas lie on the hull of the Materials Project's 132,752 formation energies, and which of them share a facet: shipped/hull_formulas.parquet, hull_facets.parquet.

    python recipes/hull_formulas.py [--data-dir DIR]

The energies stay where they are; what ships is derived: names of the phases on the hull, and the corners of the facets of every system of three
elements and of every system of four or five that has a phase of its own (systems of two follow from the names).
"""

from __future__ import annotations

import argparse
import bz2
import json
import time
from itertools import combinations
from pathlib import Path

import numpy as np
from reference_common import find_folder, write_table

from matterloop.base.elements import symbol
from matterloop.base.errors import BadInput
from matterloop.crystal.composition import parse_formula, reduced, reduced_formula
from matterloop.measure.hull import Hull

SOURCE = "matbench_v01_official_tables/matbench_mp_e_form.json.bz2"
TOLERANCE = 1e-9  # eV/atom
CREDIT = ("formation energies of the Materials Project (CC-BY 4.0) in matbench_mp_e_form of Matbench v0.1 (Dunn et al., npj Comput. Mater. 6, 138 (2020), MIT); "
          "hull and facets by matterloop")


def lowest_of(path: Path) -> tuple[dict[tuple, float], dict[tuple, int]]:
    """{reduced composition: lowest formation energy in eV/atom}, elements at 0, and {reduced composition: space group of that entry}."""
    with bz2.open(path, "rt") as file:
        table = json.load(file)
    energies: dict[tuple, float] = {}
    groups: dict[tuple, int] = {}
    read: dict[str, tuple] = {}
    for key, text in table["composition"].items():
        composition = read.get(text) or read.setdefault(text, reduced(parse_formula(text)))
        if table["e_form"][key] < energies.get(composition, np.inf):
            energies[composition], groups[composition] = table["e_form"][key], table["spg_num"][key]
    for z in {z for composition in energies for z, _ in composition}:
        energies[((z, 1),)] = 0.0
        groups.setdefault(((z, 1),), 0)
    return energies, groups


def frame_of(chosen: list[tuple], groups: dict[tuple, int]):
    """The table of phases on the hull."""
    import pandas as pd

    return pd.DataFrame({
        "formula": [reduced_formula(dict(c)) for c in chosen], "elements": [np.array([z for z, _ in c], dtype=np.uint8) for c in chosen],
        "counts": [np.array([n for _, n in c], dtype=np.uint16) for c in chosen], "space_group": np.array([groups[c] for c in chosen], dtype=np.int16)})


def stable_of(energies: dict[tuple, float]) -> list[tuple]:
    """Reduced compositions on the hull. Up to 5 elements by facets; beyond, where facets are many, each by a linear program over what is stable so far."""
    from scipy.optimize import linprog

    few = [c for c in energies if len(c) <= 5]
    hull = Hull([dict(c) for c in few], [energies[c] for c in few], list(map(str, few)), "mp formation energies", "mp")
    stable = [few[i] for i in hull.stable(tolerance=TOLERANCE)]
    many: dict[tuple, list[tuple]] = {}
    for c in energies:
        if len(c) > 5:
            many.setdefault(tuple(z for z, _ in c), []).append(c)
    for system in sorted(many, key=len):
        rivals = [c for c in stable if {z for z, _ in c} < set(system)] + many[system]
        shares = np.array([[dict(c).get(z, 0) / sum(n for _, n in c) for z in system] for c in rivals])
        heights = np.array([energies[c] for c in rivals])
        for c in many[system]:
            x = shares[rivals.index(c)]
            answer = linprog(heights, A_eq=shares.T, b_eq=x, method="highs")
            if not answer.success:
                raise BadInput(f"the linear program failed: {answer.message}", reduced_formula(dict(c)))
            if energies[c] - answer.fun <= TOLERANCE:
                stable.append(c)
    return sorted(set(stable), key=lambda c: (len(c), c))


def facets_of(hull: Hull, systems: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Corners, as sorted numbers of phases, of every facet of `systems` but the one of the bare elements."""
    out, begin = [], time.monotonic()
    for n, system in enumerate(systems):
        place = hull._system(system)
        hull._cache.clear() if n % 1000 == 999 else None
        if place.facets.corners is None:
            continue
        for corners in place.phases[place.facets.corners].tolist():
            if any(len(hull.fractions[p]) > 1 for p in corners):
                out.append(tuple(sorted(corners)))
        if n % 20000 == 0:
            print(f"{n} of {len(systems)} systems, {len(out)} facets, {time.monotonic() - begin:.0f} s", flush=True)
    return out


def main() -> None:
    import pandas as pd

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=None)
    folder = find_folder(parser.parse_args().data_dir)
    if folder is None:
        raise BadInput("the data sets are not found; give --data-dir or set MATTERLOOP_DATA", "hull_formulas")
    (energies, groups), begin = lowest_of(folder / SOURCE), time.monotonic()
    print(f"{len(energies)} compositions", flush=True)
    chosen = stable_of(energies)
    print(f"{len(chosen)} on the hull, {time.monotonic() - begin:.0f} s", flush=True)
    hull = Hull([dict(c) for c in chosen], [energies[c] for c in chosen], [reduced_formula(dict(c)) for c in chosen], "mp formation energies", "mp")
    own = sorted({tuple(f) for f in hull.fractions if 3 < len(f) <= 5}, key=lambda s: (len(s), s))
    facets = facets_of(hull, [*combinations(hull.elements, 3), *own])
    facets = sorted(set(facets), key=lambda f: (len(f), f))
    width = max(map(len, facets))
    grid = np.full((len(facets), width), -1, dtype=np.int32)
    for row, corners in enumerate(facets):
        grid[row, : len(corners)] = corners
    common = {"made_by": "recipes/hull_formulas.py", "credit": CREDIT, "protocol": "convex hull per chemical system, elements at 0 eV/atom", "scheme": "",
              "source": SOURCE, "compositions": len(energies)}
    write_table("hull_formulas", frame_of(chosen, groups), {
        "what": "reduced formulas on the convex hull of the Materials Project's formation energies in matbench_mp_e_form; one row per phase, elements included; space_group: of the lowest entry (0: none)", **common})
    write_table("hull_facets", pd.DataFrame({f"corner_{k}": grid[:, k] for k in range(width)}), {
        "what": "facets of that hull as row numbers of hull_formulas, -1 where there is no corner; all systems of 3 elements, and those of 4 and 5 with a phase of their own; "
                "the facet of bare elements is left out", "systems_of_4_and_5": len(own), "elements": " ".join(map(symbol, hull.elements)), **common})


if __name__ == "__main__":
    main()
