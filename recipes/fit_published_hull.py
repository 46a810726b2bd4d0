"""The constants that bring the Materials Project's formation energies of matbench_mp_e_form to MP2020: shipped/published_hull.json.

    python recipes/fit_published_hull.py [--data-dir DIR] [--dry]

Fitted on MP-20 val, whose formation energies carry MP2020: rows of both with the same formula and space group, where either list has one such row only. Printed
and written on the card, on MP-20 test: what difference is left; how far CHGNet's formation energies, which meet this hull in the generator's tables, lie
from MP-20's, by the Materials Project's elements and by CHGNet's own; and how the distances to the converted hull agree with the Materials Project's own. `--dry` prints and writes nothing.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from reference_common import find_folder

from matterloop.archive.files import replacing
from matterloop.archive.shipped import SHIPPED, write_card
from matterloop.archive.sources import load_frame
from matterloop.base.elements import symbol
from matterloop.bench.hull_accuracy import measures
from matterloop.measure.published_hull import (
    ANIONS, CONSTANTS, FITTED, METALS, NOISE, TABLE, TESTED, Constants, PublishedTable, element_references, fit_constants, formation_energies, published_table, terms)
from matterloop.measure.reference import RELAXED, phases

CREDIT = ("formation energies of the Materials Project (CC-BY 4.0) in matbench_mp_e_form of Matbench v0.1 (Dunn et al., npj Comput. Mater. 6, 138 (2020), MIT) and in MP-20 "
          "(Xie et al., arXiv:2110.06197); fit by matterloop")


def spread(differences: np.ndarray) -> dict[str, float]:
    """Mean absolute, median absolute, 90th percentile and mean of differences in eV/atom."""
    size = np.abs(differences)
    return {"pairs": len(size), "mean_absolute": round(float(size.mean()), 5), "median_absolute": round(float(np.median(size)), 5),
            "percentile_90": round(float(np.percentile(size, 90)), 5), "mean": round(float(differences.mean()), 5)}


def matched(table: PublishedTable, data: tuple[str, str], data_dir: Path):
    """Compositions and formation energies (theirs, ours) of the rows that `data` and the table share."""
    frame = load_frame(*data, data_dir=data_dir, usecols=["pretty_formula", "spacegroup.number", "formation_energy_per_atom"])
    return table.pairs(frame["pretty_formula"].tolist(), frame["spacegroup.number"].tolist(), frame["formation_energy_per_atom"].to_numpy())


def left(table: PublishedTable, constants: Constants, data: tuple[str, str], data_dir: Path) -> dict[str, dict[str, float]]:
    """Differences (the other list less the table) before and after the conversion."""
    compositions, theirs, ours = matched(table, data, data_dir)
    shift = np.array([constants.shift(c) for c in compositions])
    return {"before": spread(theirs - ours), "after": spread(theirs - ours - shift)}


def by_element(formulas: list[dict[int, int]], error: np.ndarray) -> dict[str, float]:
    """Elements whose compounds err by more than 0.05 eV/atom in the median (20 compounds at least)."""
    found = {}
    for z in sorted({z for c in formulas for z in c}):
        rows = [i for i, c in enumerate(formulas) if z in c]
        if len(rows) >= 20 and abs(middle := float(np.median(error[rows]))) > 0.05:
            found[symbol(z)] = round(middle, 3)
    return found


def chgnet(table: PublishedTable, constants: Constants, data_dir: Path) -> dict:
    """CHGNet's formation energies and distances to the converted hull on MP-20 test, the structures that our engine relaxed."""
    frame = load_frame(*TESTED, data_dir=data_dir, usecols=["material_id", "pretty_formula", "formation_energy_per_atom", "e_above_hull"]).set_index("material_id")
    held = phases("chgnet")
    own, hull = held.hull(), table.hull(constants)
    rows = [i for i, (name, how) in enumerate(zip(held.names, held.protocols, strict=True)) if how == RELAXED and name in frame.index and not own.missing(held.compositions[i])]
    rows = [i for i in rows if not hull.missing(held.compositions[i])]
    formulas, energies = [held.compositions[i] for i in rows], held.energies[rows]
    known = frame.loc[[held.names[i] for i in rows]]
    theirs, above = known["formation_energy_per_atom"].to_numpy(), known["e_above_hull"].to_numpy()
    of_mp = np.asarray(hull.energy_above(formulas, theirs).above)
    rounded = lambda x: {k: round(v, 4) for k, v in x.items()}
    side = lambda ours: {"formation_energy": spread(ours - theirs), "elements_off_by_more_than_0.05": by_element(formulas, ours - theirs)} | distances(
        np.asarray(hull.energy_above(formulas, ours).above))
    distances = lambda ours: {"distance": rounded(measures(np.maximum(ours, 0.0), above)), "signed_distance": spread(ours - above)}
    return {
        "structures": len(rows), "references": "the Materials Project's elements", **side(formation_energies(formulas, energies, element_references(data_dir))),
        "relative_to_chgnets_own_elements": side(own.formation_energy(formulas, energies)), "mp20_formation_energies_on_this_hull": distances(of_mp)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--dry", action="store_true", help="print only")
    args = parser.parse_args()
    data_dir = find_folder(args.data_dir)
    if data_dir is None:
        raise SystemExit("the data sets are not here; give --data-dir or set MATTERLOOP_DATA")
    table = published_table(data_dir)
    compositions, theirs, ours = matched(table, FITTED, data_dir)
    constants = fit_constants(compositions, theirs - ours)
    constants = Constants({name: round(value, 5) for name, value in constants.values.items()})
    counts = {name: sum(name in terms(c) for c in compositions) for name in (*ANIONS, *METALS)}
    for name, value in constants.values.items():
        print(f"{name:2s} {value:+.4f} eV per atom, {counts[name]} compounds")
    facts = {"fitted_on": "/".join(FITTED), "tested_on": "/".join(TESTED), "fit": left(table, constants, FITTED, data_dir), "test": left(table, constants, TESTED, data_dir),
             "compounds_of_each": counts, "loss": f"soft absolute, scale {NOISE} eV/atom", "chgnet": chgnet(table, constants, data_dir)}
    print(json.dumps(facts, indent=1))
    if args.dry:
        return
    path = SHIPPED / f"{CONSTANTS}.json"
    with replacing(path) as new:
        new.write_text(json.dumps({"eV_per_atom_of": constants.values}, indent=1) + "\n", encoding="utf-8")
    write_card(
        path, what=f"constants, eV per atom of each anion (where it is the most electronegative element) and of each metal in oxides and fluorides, that bring the formation energies of {'/'.join(TABLE)} to MP2020",
        made_by="recipes/fit_published_hull.py", credit=CREDIT, scheme="mp-legacy-formation to mp2020-formation",
        protocol="pairs of one formula and space group that occur once on either side; residuals are differences in eV/atom, MP-20 less the table", **facts)
    print(f"wrote {path.name}")


if __name__ == "__main__":
    main()
