"""Mine element similarity, volumes and shortest distances from Materials Project crystals; writes three tables into matterloop/shipped.

    python recipes/build_element_tables.py $MATTERLOOP_DATA

Trained on MP-20 val, the pilot's train and val and MPTS-52 val; every material of the MP-20 test file is left out and used to measure the error.
Similarity: pairs of elements that swap inside one structure type, after Glawe et al., New J. Phys. 18, 093011 (2016) and Hautier et al., Inorg. Chem. 50,
656 (2011). Volumes: ridge regression of the volume per atom on element fractions and products of two. Takes two minutes on one core.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import itertools
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from matterloop.archive.shipped import write_card
from matterloop.base.elements import NUMBER
from matterloop.crystal.lattice import from_parameters, parameters
from matterloop.crystal.prototypes import Prototype, from_crystals
from matterloop.crystal.state import Crystals
from matterloop.crystal.symmetry import Symmetry, analyse
from matterloop.generate.library import template_of
from matterloop.generate.random_search import BRAVAIS, bravais
from matterloop.generate.volume import element_group

TRAIN = ("mp20_biternary_val_test/val", "mp20_pilot_3x1000/train", "mp20_pilot_3x1000/val", "mpts52_val_test/val")
TEST = ("mp20_biternary_val_test/test", "mp20_pilot_3x1000/test")
MAX = 94
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


def fill(prototype: Prototype) -> dict[int, str]:
    """{element: its Wyckoff letters}."""
    return {z: "".join(sorted(prototype.letters[o] for o in np.unique(prototype.orbit[prototype.label == i]))) for i, z in enumerate(prototype.parents)}


def swaps(prototypes: list[Prototype]) -> np.ndarray:
    """(95, 95) how many structure types hold two compounds that differ by these two elements on the same sites."""
    groups = defaultdict(set)
    for p in prototypes:
        sites = fill(p)
        for z, letters in sites.items():
            if len(sites) > 1 and max(sites) <= MAX:
                groups[p.space_group, letters, tuple(sorted((w, x) for w, x in sites.items() if w != z))].add(z)
    counts = np.zeros((MAX + 1, MAX + 1))
    for elements in groups.values():
        for a, b in itertools.combinations(elements, 2):
            counts[a, b] += 1
            counts[b, a] += 1
    return counts


def similarity(counts: np.ndarray, strength: float = 3.0) -> np.ndarray:
    """ln((C + k) / (E + k / r)): observed over expected swaps, shrunk to the mean ratio r at the same distance of Mendeleev numbers."""
    from pymatgen.core import Element

    mendeleev = np.array([-1000.0, *(Element.from_Z(z).mendeleev_no for z in range(1, MAX + 1))])
    distance = np.abs(mendeleev[:, None] - mendeleev)
    expected = np.outer(counts.sum(0), counts.sum(0)) / counts.sum()
    prior = np.ones_like(counts)
    edges = (1, 2, 3, 5, 8, 12, 20, 30, 50, 2000)
    for low, high in itertools.pairwise(edges):
        inside = (distance >= low) & (distance < high)
        prior[inside] = max(counts[inside].sum() / max(expected[inside].sum(), 1e-9), 0.02)
    table = np.log((counts + strength) / (expected + strength / prior))
    np.fill_diagonal(table, 5.0)  # an element kept in place: above every swap
    return table


def design(compositions: list[dict[int, float]]):
    """Sparse (rows, 95 + 95*95 + 60*60): element fractions, products by element pair, products by pair of groups."""
    import scipy.sparse as sp

    rows, columns, values = [], [], []
    for i, x in enumerate(compositions):
        for (a, p), (b, q) in itertools.combinations_with_replacement(sorted(x.items()), 2):
            if a == b:
                entries = ((a, p),)
            else:
                g, h = sorted((element_group(a), element_group(b)))
                entries = ((95 + 95 * a + b, p * q), (95 + 9025 + 60 * g + h, p * q))
            for column, value in entries:
                rows.append(i)
                columns.append(column)
                values.append(value)
    return sp.csr_matrix((values, (rows, columns)), shape=(len(compositions), 95 + 9025 + 3600))


def volumes(compositions, per_atom) -> tuple[np.ndarray, np.ndarray]:
    """Element volumes (95,) and pair terms (95, 95) in Å^3 that minimise the relative squared error; group terms are folded into the pairs."""
    import scipy.sparse as sp
    from sklearn.linear_model import Ridge

    scale = np.r_[np.full(95, 1e-3**-0.5), np.full(9025, 0.1**-0.5), np.full(3600, 0.01**-0.5)]
    weight = (per_atom.mean() / per_atom) ** 2
    model = Ridge(alpha=1.0, fit_intercept=False, solver="sparse_cg", tol=1e-7, max_iter=5000).fit(design(compositions) @ sp.diags(scale), per_atom, weight)
    fitted = model.coef_ * scale
    pair = np.zeros((95, 95))
    for a, b in itertools.combinations(range(1, 95), 2):
        g, h = sorted((element_group(a), element_group(b)))
        pair[a, b] = pair[b, a] = fitted[95 + 95 * a + b] + fitted[95 + 9025 + 60 * g + h]
    alone = fitted[:95]
    unseen = [z for z in range(1, 95) if alone[z] == 0]
    for z in unseen:  # noble gases and other elements without a compound in the data: the mean of the group, else of all
        like = [w for w in range(1, 95) if alone[w] and element_group(w) == element_group(z)]
        alone[z] = np.mean(alone[like] if like else alone[alone > 0])
    return alone, pair


def packing(anonymous: list[str], excess: np.ndarray, shrink: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Structure types with at least three members, and the median of ln(volume / model) of each, shrunk by n / (n + shrink)."""
    members = defaultdict(list)
    for name, value in zip(anonymous, excess, strict=True):
        members[name].append(value)
    kept = {name: np.median(v) * len(v) / (len(v) + shrink) for name, v in sorted(members.items()) if len(v) >= 3}
    return np.array(list(kept)), np.array(list(kept.values()))


def shortest(prototype: Prototype) -> dict[tuple[int, int], float]:
    """{(a, b): shortest distance in Å}, own images included."""
    images = np.array(list(itertools.product((-2, -1, 0, 1, 2), repeat=3)))
    species = np.array(prototype.parents)[prototype.label]
    difference = prototype.frac[:, None] - prototype.frac
    vectors = ((difference - np.round(difference))[:, :, None] + images) @ prototype.cell
    distance = np.linalg.norm(vectors, axis=-1)
    distance[distance < 1e-3] = np.inf
    distance = distance.min(-1)
    found: dict[tuple[int, int], float] = {}
    for a in np.unique(species):
        for b in np.unique(species[species >= a]):
            found[int(a), int(b)] = float(distance[np.ix_(species == a, species == b)].min())
    return found


def contacts(prototypes: list[Prototype], share: float = 0.02, enough: int = 15) -> np.ndarray:
    """(95, 95) distance in Å below which only `share` of the crystals with a pair of elements go; sums of fitted radii where data are few."""
    seen = defaultdict(list)
    for p in prototypes:
        for pair, value in shortest(p).items():
            if max(pair) <= MAX:
                seen[pair].append(value)
    known = {pair: float(np.quantile(v, share)) for pair, v in seen.items() if len(v) >= enough}
    rows = np.zeros((len(known) + 95, 95))
    for i, (a, b) in enumerate(known):
        rows[i, a] += 1
        rows[i, b] += 1
    rows[len(known):] = 0.1 * np.eye(95)  # weakly towards a radius of 1.3 Å
    radii = np.linalg.lstsq(rows, np.r_[list(known.values()), np.full(95, 0.13)], rcond=None)[0]
    table = 0.9 * (radii[:, None] + radii)
    for (a, b), value in known.items():
        table[a, b] = table[b, a] = value
    return table


def priors(crystals: dict[str, Crystals]) -> dict[str, np.ndarray]:
    """How often each space group occurs, and mean and spread of ln(b/a), ln(c/a), alpha, beta, gamma of conventional cells by Bravais type."""
    groups, shapes = np.zeros(231), defaultdict(list)
    for crystal in crystals.values():
        found = analyse(crystal, 0.1, on_error="keep")[0]
        if isinstance(found, Symmetry):
            lengths, angles = parameters(found.standard.cell[0])
            groups[found.number] += 1
            a, b, c = lengths.tolist()
            shapes[bravais(found.number)].append([np.log(b / a), np.log(c / a), *angles.tolist()])
    table = np.zeros((len(BRAVAIS), 2, 5))
    for i, name in enumerate(BRAVAIS):
        table[i] = np.median(shapes[name], 0), np.std(shapes[name], 0)
    return {"groups": groups, "shape": table}


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
    predicted = {what: np.array([sum(x * alone[z] for z, x in c.items()) + sum(
        x * y * pair[a, b] for (a, x), (b, y) in itertools.combinations(c.items(), 2)) for c in held]) for what, held in fractions.items()}
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
