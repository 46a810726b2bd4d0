"""Which columns of a table to keep: pruning of correlated ones, ranking by relevance and redundancy, and a genetic search over subsets."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..base.errors import BadInput

BINS = 16  # of the histograms in which information is counted


def varying(x: np.ndarray) -> np.ndarray:
    """Places of the columns of x (rows, columns) that are not constant."""
    return np.flatnonzero(np.ptp(x, axis=0) > 0)


def prune_correlated(x: np.ndarray, y: np.ndarray, keep: int, limit: float = 1.0) -> np.ndarray:
    """Places, ascending, of at most `keep` columns of x (rows, columns), none correlated above `limit` with another.

    Of the two columns with the largest |Pearson correlation| the one that is less correlated with the label y (rows,) goes, until no correlation is above
    `limit` and no more than `keep` columns are left. Constant columns go first. BadInput where nothing varies.
    """
    left = varying(x)
    if not len(left) or keep < 1 or not 0 < limit <= 1:
        raise BadInput(f"{len(left)} columns vary, {keep} to be kept (1 and more), the limit is {limit} (above 0, up to 1)", "prune_correlated")
    worth = np.abs(_correlation(x[:, left], y[:, None])[:, 0])
    with_each = np.abs(_correlation(x[:, left], x[:, left]))
    np.fill_diagonal(with_each, 0)
    alive = np.ones(len(left), dtype=bool)
    best = with_each.max(1)
    while alive.sum() > 1:
        a = int(np.where(alive, best, -1).argmax())
        if best[a] <= limit and alive.sum() <= keep:
            break
        b = int(with_each[a].argmax())
        gone = a if (worth[a], -a) < (worth[b], -b) else b
        alive[gone] = False
        with_each[gone] = with_each[:, gone] = 0
        best = with_each.max(1)
    return left[alive]


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(columns of a, columns of b) Pearson correlation; 0 with a constant."""
    a, b = (v - v.mean(0) for v in (a, b))
    size = np.sqrt(np.square(a).sum(0))[:, None] * np.sqrt(np.square(b).sum(0))[None]
    return np.divide(a.T @ b, size, out=np.zeros((a.shape[1], b.shape[1])), where=size > 1e-300)


def shared_information(x: np.ndarray, y: np.ndarray, bins: int = BINS) -> np.ndarray:
    """(columns,) normalised mutual information of each column of x (rows, columns) with y (rows,), each cut into `bins` of equal numbers of rows.

    2 I(x, y) / (H(x) + H(y)): 1 where one follows from the other, 0 where they are independent.
    """
    label = _binned(y[:, None], bins)[:, 0]
    out = np.zeros(x.shape[1])
    for k, column in enumerate(_binned(x, bins).T):
        joint = np.zeros((bins, bins))
        np.add.at(joint, (column, label), 1 / len(y))
        mine, theirs, both = _entropy(joint.sum(1)), _entropy(joint.sum(0)), _entropy(joint.ravel())
        out[k] = 2 * (mine + theirs - both) / (mine + theirs) if mine + theirs > 0 else 0.0
    return out


def _binned(x: np.ndarray, bins: int) -> np.ndarray:
    edges = np.quantile(x, np.arange(1, bins) / bins, axis=0)
    return np.stack([np.searchsorted(edges[:, k], x[:, k], side="left") for k in range(x.shape[1])], 1)


def _entropy(p: np.ndarray) -> float:
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())


def rank_by_relevance(x: np.ndarray, y: np.ndarray, most: int, bins: int = BINS) -> np.ndarray:
    """Places of up to `most` columns, best first, each the one of most shared information with the label per redundancy with those chosen before.

    P.-P. De Breuck, G. Hautier, G.-M. Rignanese, npj Comput. Mater. 7, 83 (2021), doi:10.1038/s41524-021-00552-2, eq. 4: the next column has the largest
    R / (S^p + c), R its information with the label, S the largest with a chosen column, p = max(0.1, 4.5 - n^0.4) and c = 1e-6 n^3 for n chosen.
    """
    left = varying(x)
    relevance = shared_information(x[:, left], y, bins)
    redundancy, chosen, open_ = np.zeros(len(left)), [], np.ones(len(left), dtype=bool)
    for n in range(min(most, len(left))):
        score = relevance if not n else relevance / (redundancy ** max(0.1, 4.5 - n**0.4) + 1e-6 * n**3)
        best = int(np.where(open_, score, -np.inf).argmax())
        chosen.append(best)
        open_[best] = False
        redundancy = np.maximum(redundancy, shared_information(x[:, left], x[:, left[best]], bins))
    return left[chosen]


def genetic_search(error: Callable[[np.ndarray], float], columns: int, rng: np.random.Generator, *, population: int = 30, generations: int = 20,
                   share: float = 0.5, mutation: float | None = None, elite: int = 2) -> tuple[np.ndarray, list[float]]:
    """(places of the chosen columns ascending, best error after each generation): subsets that breed.

    error       called with the places of a subset that is never empty; smaller is better, each subset is asked once
    columns     to choose from
    population  subsets of a generation, of which `elite` go on unchanged
    share       of columns in the first subsets, on average
    mutation    chance that a column is put in or left out by accident; None: one column per subset on average

    Parents are the better of three subsets at random (tournament), children take each column from either parent (uniform crossover): J. H. Holland,
    Adaptation in Natural and Artificial Systems (1975).
    """
    if columns < 1 or population < 3 or generations < 0 or not 0 <= elite < population or not 0 < share <= 1:
        raise BadInput(f"columns {columns} (1 and more), population {population} (3 and more), generations {generations}, elite {elite} (below the population), "
                       f"share {share} (above 0, up to 1)", "genetic_search")
    mutation, asked = 1 / columns if mutation is None else mutation, {}

    def ask(subset: np.ndarray) -> float:
        if not subset.any():
            subset[rng.integers(columns)] = True
        key = subset.tobytes()
        if key not in asked:
            asked[key] = float(error(np.flatnonzero(subset)))
        return asked[key]

    held = [rng.random(columns) < share for _ in range(population)]
    errors = [ask(s) for s in held]
    course = [min(errors)]
    for _ in range(generations):
        order = np.argsort(errors, kind="stable")
        pick = lambda: held[min(rng.integers(population, size=3), key=lambda i: errors[i])]
        children = [held[i] for i in order[:elite]]
        while len(children) < population:
            child = np.where(rng.random(columns) < 0.5, pick(), pick())
            children.append(child ^ (rng.random(columns) < mutation))
        held, errors = children, [ask(s) for s in children]
        course.append(min(errors))
    return np.flatnonzero(held[int(np.argmin(errors))]), course
