"""Mine element similarity, volumes and shortest distances from Materials Project crystals; writes three tables into matterloop/shipped.

    python recipes/build_element_tables.py $MATTERLOOP_DATA

Trained on MP-20 val, the pilot's train and val and MPTS-52 val; every material of the MP-20 test file is left out and used to measure the error.
What is fitted and how: matterloop/generate/fitting.py. Takes two minutes on one core.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from matterloop.archive.shipped import write_card
from matterloop.base.elements import NUMBER
from matterloop.crystal.lattice import from_parameters
from matterloop.crystal.prototypes import from_crystals
from matterloop.crystal.state import Crystals
from matterloop.generate.fitting import MAX, contacts, modelled, packing, priors, similarity, swaps, volumes
from matterloop.generate.library import template_of

TRAIN = ("mp20_biternary_val_test/val", "mp20_pilot_3x1000/train", "mp20_pilot_3x1000/val", "mpts52_val_test/val")
TEST = ("mp20_biternary_val_test/test", "mp20_pilot_3x1000/test")
CREDIT = "Materials Project (CC BY 4.0), as split in MP-20 (Xie et al., ICLR 2022), MPTS-52 (Baird et al., JOSS 2024) and WyckoffTransformer's repository"


def read(root: Path, files) -> dict[str, Crystals]:
    """{material id: crystal} of csv.gz files with P1 CIFs as pymatgen writes them."""
    csv.field_size_limit(10**9)
    found = {}
    for name in files:
        with gzip.open(root / f"{name}.csv.gz", "rt", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                words = [line.split() for line in row["cif"].splitlines()]
                cell = {w[0]: float(w[1]) for w in words if len(w) == 2 and w[0].startswith(("_cell_length", "_cell_angle"))}
                atoms = [w for w in words if len(w) == 7 and w[2] == "1"]
                found[row["material_id"]] = Crystals.of(
                    [[float(x) for x in w[3:6]] for w in atoms], [NUMBER[w[0]] for w in atoms],
                    from_parameters(np.array([cell[f"_cell_length_{x}"] for x in "abc"]),
                                    np.array([cell[f"_cell_angle_{x}"] for x in ("alpha", "beta", "gamma")])))
    return found


def write(folder: Path, name: str, arrays: dict[str, np.ndarray], card: dict) -> None:
    path = folder / f"{name}.npz"
    np.savez_compressed(path, **{k: v.astype(np.float32) if v.dtype.kind == "f" else v for k, v in arrays.items()})
    print(write_card(path, made_by="python recipes/build_element_tables.py $MATTERLOOP_DATA", credit=CREDIT, **card).read_text(encoding="utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "matterloop" / "shipped")
    options = parser.parse_args()
    test = read(options.data, TEST)
    train = {k: v for k, v in read(options.data, TRAIN).items() if k not in test}
    standard = {what: [p for k, v in part.items() for p in from_crystals(v, [k], "mp", symprec=0.1)] for what, part in (("train", train), ("test", test))}
    for what, held in standard.items():
        print(what, len(held), "crystals", file=sys.stderr)
    fractions = {what: [{z: n / p.atoms for z, n in zip(p.parents, p.counts)} for p in held if max(p.parents) <= MAX] for what, held in standard.items()}
    per_atom = {what: np.array([p.volume / p.atoms for p in held if max(p.parents) <= MAX]) for what, held in standard.items()}
    alone, pair = volumes(fractions["train"], per_atom["train"])
    predicted = {what: np.array([modelled(c, alone, pair) for c in held]) for what, held in fractions.items()}
    types = {what: [template_of(p).anonymous for p in held if max(p.parents) <= MAX] for what, held in standard.items()}
    names, loose = packing(types["train"], np.log(per_atom["train"] / predicted["train"]))
    known = dict(zip(names.tolist(), loose.tolist()))
    error = predicted["test"] / per_atom["test"] - 1
    typed = np.array([t in known for t in types["test"]])
    with_type = predicted["test"] * np.exp([known.get(t, 0.0) for t in types["test"]]) / per_atom["test"] - 1
    seen = {tuple(sorted((z, round(x, 6)) for z, x in c.items())) for c in fractions["train"]}
    fresh = np.array([tuple(sorted((z, round(x, 6)) for z, x in c.items())) not in seen for c in fractions["test"]])
    write(options.out, "random_priors", priors(train), {
        "what": "crystals per space group (0..230); median and standard deviation of ln(b/a), ln(c/a), alpha, beta, gamma by Bravais type "
        "in the order of generate/random_search.py BRAVAIS", "crystals": len(train)})
    counts = swaps(standard["train"])
    write(options.out, "element_similarity", {"log_ratio": similarity(counts), "swaps": counts}, {
        "what": "ln of observed over expected swaps of two elements within a structure type, elements 1..94 by atomic number, smoothed",
        "crystals": len(standard["train"]), "pairs_of_compounds": int(counts.sum() / 2), "pairs_of_elements": int((counts > 0).sum() / 2)})
    write(options.out, "element_volumes", {"element": alone, "pair": pair, "contact": contacts(standard["train"]), "type": names, "type_excess": loose}, {
        "what": "volume per atom = sum x_a element[a] + sum_(a<b) x_a x_b pair[a, b], Å^3; contact: 2 % quantile of the shortest distance of a pair, Å; "
        "type_excess: median ln(volume / model) of a structure type (anonymous Wyckoff gene) of at least three members, shrunk by n / (n + 1)",
        "crystals": len(standard["train"]), "elements": len(Counter(z for c in fractions["train"] for z in c)),
        "test_crystals": len(error), "test_mean_absolute_error_percent": round(100 * float(np.abs(error).mean()), 2),
        "test_median_absolute_error_percent": round(100 * float(np.median(np.abs(error))), 2), "test_bias_percent": round(100 * float(error.mean()), 2),
        "types": len(names), "test_of_a_known_type": int(typed.sum()),
        "test_known_type_error_percent_without_and_with_type": [round(100 * float(np.abs(e[typed]).mean()), 2) for e in (error, with_type)],
        "test_unseen_formulas": int(fresh.sum()), "test_unseen_mean_absolute_error_percent": round(100 * float(np.abs(error[fresh]).mean()), 2)})


if __name__ == "__main__":
    main()
