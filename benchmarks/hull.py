"""Distances to the hull of the 132,752 Materials Project formation energies of Matbench, by matterloop and by pymatgen's PhaseDiagram.

    python benchmarks/hull.py --systems 60 --queries 20 --data FOLDER
    python benchmarks/hull.py --systems 0 --mix 10000

For random chemical systems of 2 to 5 elements both sides get the same phases (our own look-up of the system among all phases is counted, pymatgen's is not) and answer
the same random compositions. Prints seconds, milliseconds per query cold and warm, the ratio and the largest difference in eV/atom.

Then the rate of a mix as campaigns ask it, on one thread and from a new hull each time: known formulas of 2 to 5 elements in which one element is exchanged for
another, so that nearly every query has a chemical system of its own; and as many from each number of elements. In batches of one round's size.
"""

from __future__ import annotations

import argparse
import bz2
import json
import os
import time
import warnings
from pathlib import Path

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--systems", type=int, default=60)
    parser.add_argument("--queries", type=int, default=20, help="compositions asked in each system")
    parser.add_argument("--mix", type=int, default=10_000, help="queries of each mix; 0: none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=os.environ.get("MATTERLOOP_DATA"), required="MATTERLOOP_DATA" not in os.environ)
    options = parser.parse_args()
    if options.data is None:
        parser.error("name the folder of data sets with --data or MATTERLOOP_DATA")
    warnings.simplefilter("ignore")
    from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
    from pymatgen.core import Composition, Element

    from matterloop.base.elements import symbol
    from matterloop.crystal.composition import parse_formula
    from matterloop.measure.hull import Hull

    table = json.loads(bz2.decompress((options.data / "matbench_v01_official_tables" / "matbench_mp_e_form.json.bz2").read_bytes()))
    formulas, energies = list(table["composition"].values()), np.array(list(table["e_form"].values()))
    parsed = [parse_formula(f) for f in formulas]
    begin = time.perf_counter()
    hull = Hull(parsed, energies, formulas, "mp-formation", "dft")
    making = time.perf_counter() - begin

    members: dict[frozenset, list[int]] = {}
    for i, c in enumerate(parsed):
        members.setdefault(frozenset(c), []).append(i)
    rng = np.random.default_rng(options.seed)
    systems = [s for s in members if 2 <= len(s) <= 5 and not hull.missing({z: 1 for z in s})]
    systems = [systems[i] for i in rng.choice(len(systems), options.systems, replace=False)]
    as_theirs = lambda c: Composition({Element(symbol(z)): n for z, n in c.items()})
    cold = warm = other = largest = 0.0
    count = 0
    for system in systems:
        asked = [{z: int(rng.integers(1, 8)) for z in sorted(system)} for _ in range(options.queries)]
        begin = time.perf_counter()
        hull.energy_above(asked[:1], [0.0])
        cold += time.perf_counter() - begin
        begin = time.perf_counter()
        ours = hull.energy_above(asked, np.zeros(len(asked))).above
        warm += time.perf_counter() - begin
        entries = [PDEntry(c, energies[i] * c.num_atoms) for s, rows in members.items() if s <= system for i in rows for c in [as_theirs(parsed[i])]]
        targets = [as_theirs(c) for c in asked]
        begin = time.perf_counter()
        diagram = PhaseDiagram(entries)
        theirs = [-diagram.get_hull_energy_per_atom(c) for c in targets]
        other += time.perf_counter() - begin
        largest = max(largest, float(np.abs(ours - theirs).max()))
        count += len(asked)
    if systems:
        print(json.dumps({
            "phases": len(hull), "seconds_to_make": making, "systems": len(systems), "queries": count, "largest_difference_ev_per_atom": largest,
            "ours_ms_first_query_of_a_system": 1e3 * cold / len(systems), "ours_ms_per_further_query": 1e3 * warm / count,
            "pymatgen_ms_per_system": 1e3 * other / len(systems), "ratio": other / (cold + warm)}, indent=1))
    if options.mix:
        for name, phases, make in (("matbench_mp_e_form", parsed, lambda: Hull(parsed, energies, formulas, "mp-formation", "dft")), ("chgnet", None, None)):
            if make is None:
                from matterloop.measure.reference import phases as shipped

                held = shipped("chgnet")
                phases, make = held.compositions, held.hull
            for even in (False, True):
                print(json.dumps({"hull": name, "mix": "as many of each number of elements" if even else "as the known formulas", **rates(make, phases, options.mix, even, rng)}))


def exchanged(known: list[dict], count: int, even: bool, elements: tuple[int, ...], rng) -> list[dict]:
    """`count` known compositions of 2 to 5 elements with one element exchanged for another; `even`: as many of each number of elements."""
    by_size = [[c for c in known if len(c) == k] for k in range(2, 6)]
    pool, asked = [c for part in by_size for c in part], []
    while len(asked) < count:
        part = by_size[len(asked) % 4] if even else pool
        composition = dict(part[rng.integers(len(part))])
        old, new = list(composition)[rng.integers(len(composition))], elements[rng.integers(len(elements))]
        if new not in composition:
            composition[new] = composition.pop(old)
            asked.append(composition)
    return [c for c in asked if set(c) <= set(elements)]


def rates(make, known: list[dict], count: int, even: bool, rng) -> dict:
    """Queries per CPU second and per second in batches of several sizes, each from a hull that has answered nothing yet."""
    asked = exchanged(known, count, even, make().elements, rng)
    found: dict = {"queries": len(asked), "systems": len({frozenset(c) for c in asked})}
    for size in (50, 250, 1000):
        hull = make()
        cpu, wall = time.process_time(), time.perf_counter()
        for i in range(0, len(asked), size):
            hull.energy_above(asked[i : i + size], np.zeros(len(asked[i : i + size])))
        found[f"batches_of_{size}"] = {"per_cpu_second": round(len(asked) / (time.process_time() - cpu)), "per_second": round(len(asked) / (time.perf_counter() - wall))}
    return found


if __name__ == "__main__":
    main()
