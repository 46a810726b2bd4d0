"""Element similarity, volumes, shortest distances and space-group frequencies fitted to a set of crystals.

Similarity: pairs of elements that swap inside one structure type, after Glawe et al., New J. Phys. 18, 093011 (2016) and Hautier et al., Inorg. Chem. 50,
656 (2011). Volumes: ridge regression of the volume per atom on element fractions and products of two. The shipped tables are made with these functions by
recipes/build_element_tables.py; a benchmark that may see one file only fits its own.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from ..base.element_scales import MAX_Z, MENDELEEV
from ..crystal.lattice import parameters
from ..crystal.prototypes import Prototype
from ..crystal.state import Crystals
from ..crystal.symmetry import Symmetry, analyse
from .random_search import BRAVAIS, bravais
from .volume import element_group

MAX = MAX_Z


def fill(prototype: Prototype) -> dict[int, str]:
    """{element: its Wyckoff letters}."""
    return {z: "".join(sorted(prototype.letters[o] for o in np.unique(prototype.orbit[prototype.label == i]))) for i, z in enumerate(prototype.parents)}


def swaps(prototypes: Sequence[Prototype]) -> np.ndarray:
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
    mendeleev = np.array([-1000.0, *MENDELEEV[1:]])
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


def design(compositions: Sequence[Mapping[int, float]]):
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


def volumes(compositions: Sequence[Mapping[int, float]], per_atom: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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


def modelled(composition: Mapping[int, float], alone: np.ndarray, pair: np.ndarray) -> float:
    """Volume in Å^3 per atom of {atomic number: fraction} by the tables of `volumes`."""
    value = sum(x * alone[z] for z, x in composition.items())
    return float(value + sum(x * y * pair[a, b] for (a, x), (b, y) in itertools.combinations(composition.items(), 2)))


def packing(anonymous: Sequence[str], excess: np.ndarray, shrink: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
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


def contacts(prototypes: Sequence[Prototype], share: float = 0.02, enough: int = 15) -> np.ndarray:
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


def priors(crystals: Mapping[str, Crystals]) -> dict[str, np.ndarray]:
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


