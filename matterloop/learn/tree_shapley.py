"""Shapley values of trees in polynomial time, exactly: a leaf is a box, and a player matters to it by whether it keeps a row in the box.

Path-dependent: an absent column goes both ways, in proportion to the training rows there. For a leaf of value w whose path asks players i of shares z_i (product of the
covers' ratios) and o_i = 1 where the row passes, 0 where not,
    phi_j = w (o_j - z_j) int_0^1 prod over i != j of (z_i + t (o_i - z_i)) dt
by G. Owen, Management Science 18, 64 (1972): the integrand is a polynomial, and Gauss and Legendre's points make the integral exact.
Interventional: an absent column comes from a row of the background. Along a path each column on which row and background part ways goes with the one or the other; a leaf
reached with m columns of the row and n of the background adds
    w (m - 1)! n! / (m + n)! to those of the row,  - w m! (n - 1)! / (m + n)! to those of the background.
S. M. Lundberg et al., "From local explanations to global understanding with explainable AI for trees", Nature Machine Intelligence 2, 56 (2020),
doi:10.1038/s42256-019-0138-9, algorithms 2 and 3, here without recursion: all paths of all trees side by side.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import betaln

from ..base.errors import BadInput
from ..layers.trees import Trees
from .explanation import Contributions, Function

PLACES = 1_500_000  # paths, or conditions times points, looked at together


def cover_of(trees: Trees, x: np.ndarray) -> np.ndarray:
    """(nodes,) how many rows of x (rows, columns) pass each node."""
    cover = np.bincount(trees.leaves(x).ravel(), minlength=len(trees.value)).astype(np.float64)
    parent, depth = _above(trees)
    for level in range(depth.max(), 0, -1):
        here = np.flatnonzero(depth == level)
        np.add.at(cover, parent[here], cover[here])
    return cover


def path_dependent(trees: Trees, cover: np.ndarray, x: np.ndarray, output: int = 0) -> tuple[np.ndarray, float]:
    """(rows, columns) Shapley values of the trees' sum and its base, the mean over the rows counted in `cover` (nodes,).

    BadInput where no row was counted.
    """
    roots = trees.first[:-1]
    if (cover[roots] == 0).any():
        raise BadInput("no row passed some tree: nothing is known of the shares of its branches", "cover")
    x = np.asarray(x, dtype=np.float32)
    phi, base = np.zeros(x.shape, dtype=np.float64), 0.0
    for begin, column, low, high, share, leaf in _boxes(trees, cover):
        value = trees.value[leaf, output]
        base += float(np.multiply.reduceat(share, begin) @ value) if len(share) else 0.0
        if not len(begin):
            continue
        most = int(np.diff(np.append(begin, len(column))).max())
        points, weights = np.polynomial.legendre.leggauss((most + 1) // 2)
        t, weights = (points + 1) / 2, weights / 2
        size = np.diff(np.append(begin, len(column)))
        z = share[:, None]
        for i in range(len(x)):
            passes = ((x[i, column] > low) & (x[i, column] <= high)).astype(np.float64)
            q = z + t * (passes[:, None] - z)
            product = np.multiply.reduceat(q, begin, axis=0)  # (leaves, points)
            rest = np.divide(np.repeat(product, size, axis=0), q, out=np.zeros_like(q), where=q > 0)
            phi[i] += np.bincount(column, np.repeat(value, size) * (passes - share) * (rest @ weights), minlength=x.shape[1])
    alone = trees.first[:-1][trees.left[trees.first[:-1]] == trees.first[:-1]]  # trees that are one leaf
    return phi, base + float(trees.value[alone, output].sum())


def interventional(trees: Trees, x: np.ndarray, background: np.ndarray, output: int = 0, should_stop: Callable[[], bool] = lambda: False) -> tuple[np.ndarray, float]:
    """(rows, columns) Shapley values of the trees' sum against the rows of a background, and its base, the mean over them. Rows after a stop are left out."""
    x, background = (np.asarray(a, dtype=np.float32) for a in (x, background))
    if not len(background):
        raise BadInput("an explanation is against other rows, and there are none", "background")
    together = max(1, PLACES // (8 * len(background)))  # trees at once
    phi = np.zeros(x.shape, dtype=np.float64)
    for i in range(len(x)):
        if should_stop():
            phi = phi[:i]
            break
        for begin in range(0, len(trees), together):
            phi[i] += _parted(trees, trees.first[:-1][begin : begin + together], x[i], background, output)
    return phi / len(background), float(trees.total(background)[:, output].mean())


def _parted(trees: Trees, roots: np.ndarray, row: np.ndarray, background: np.ndarray, output: int) -> np.ndarray:
    """(columns,) the sum over background rows and these trees; a path is (node, background row, columns of the row, columns of the background)."""
    node = np.tile(roots, len(background)).astype(np.int64)
    other = np.repeat(np.arange(len(background)), len(roots))
    taken = np.zeros((len(node), 4), dtype=np.int32)  # columns on which the two parted, + 1; negative where the path went with the background; then zeros
    many = np.zeros(len(node), dtype=np.int64)  # how many they are
    phi = np.zeros(len(row))
    while len(node):
        leaf = trees.left[node] == node
        if leaf.any():
            phi += _paid(taken[leaf], trees.value[node[leaf], output], len(row))
            node, other, taken, many = (a[~leaf] for a in (node, other, taken, many))
            if not len(node):
                break
        column, limit = trees.column[node], trees.threshold[node]
        mine, its = row[column] <= limit, background[other, column] <= limit
        with_other = (taken == -column[:, None] - 1).any(1)
        parts = (mine != its) & ~with_other & ~(taken == column[:, None] + 1).any(1)
        split = np.flatnonzero(parts)
        go_other = np.where(its[split], trees.left[node[split]], trees.right[node[split]])
        node = np.where(np.where(with_other, its, mine), trees.left[node], trees.right[node]).astype(np.int64)
        if not len(split):
            continue
        place, sign = many[split], column[split] + 1
        if place.max() == taken.shape[1]:
            taken = np.pad(taken, ((0, 0), (0, 4)))
        many[split] += 1
        second = taken[split]
        taken[split, place], second[np.arange(len(split)), place] = sign, -sign
        node, other = np.concatenate([node, go_other]), np.concatenate([other, other[split]])
        taken, many = np.concatenate([taken, second]), np.concatenate([many, many[split]])
    return phi


def _paid(taken: np.ndarray, value: np.ndarray, columns: int) -> np.ndarray:
    """(columns,) what leaves of these values give to the columns on which paths parted."""
    m, n = (taken > 0).sum(1), (taken < 0).sum(1)
    plus = np.exp(betaln(np.maximum(m, 1), n + 1)) * value  # (m - 1)! n! / (m + n)!
    minus = -np.exp(betaln(m + 1, np.maximum(n, 1))) * value
    found = np.zeros(columns)
    for part, worth in ((taken > 0, plus), (taken < 0, minus)):
        rows, places = np.nonzero(part)
        found += np.bincount(np.abs(taken[rows, places]) - 1, worth[rows], minlength=columns)
    return found


def _above(trees: Trees) -> tuple[np.ndarray, np.ndarray]:
    """(nodes,) parent (a root its own) and depth of every node."""
    n = len(trees.value)
    parent, depth = np.arange(n), np.zeros(n, dtype=np.int64)
    inner = np.flatnonzero(trees.left != np.arange(n))
    parent[trees.left[inner]] = inner
    parent[trees.right[inner]] = inner
    level, here = 0, trees.first[:-1]
    while len(here):
        depth[here] = level
        here = here[trees.left[here] != here]
        here, level = np.concatenate([trees.left[here], trees.right[here]]), level + 1
    return parent, depth


def _boxes(trees: Trees, cover: np.ndarray):
    """(begin of each leaf, column, low, high, share, leaf) of the conditions of some leaves at a time, those of a leaf on one column merged: low < x <= high."""
    parent, depth = _above(trees)
    every = np.flatnonzero((trees.left == np.arange(len(parent))) & (depth > 0))
    step = max(1, PLACES // (8 * max(int(depth.max()), 1)))
    for i in range(0, len(every), step):
        leaf = every[i : i + step]
        where, at, place, rows = [], leaf.copy(), np.arange(len(leaf)), []
        while len(at):
            up = parent[at]
            where.append(np.stack([up, at], 1))
            rows.append(place)
            more = depth[up] > 0
            at, place = up[more], place[more]
        edge, place = np.concatenate(where), np.concatenate(rows)
        up, down = edge.T
        left = trees.left[up] == down
        share = np.divide(cover[down], cover[up], out=np.zeros(len(up)), where=cover[up] > 0)
        key = place * (int(trees.column.max()) + 1) + trees.column[up]
        order = np.argsort(key, kind="stable")
        first = np.flatnonzero(np.concatenate([[True], np.diff(key[order]) != 0]))
        low = np.maximum.reduceat(np.where(left, -np.inf, trees.threshold[up])[order], first)
        high = np.minimum.reduceat(np.where(left, trees.threshold[up], np.inf)[order], first)
        owner = place[order][first]
        begin = np.flatnonzero(np.concatenate([[True], np.diff(owner) != 0]))
        yield begin, trees.column[up][order][first], low, high, np.multiply.reduceat(share[order], first), leaf


def shapley_of_trees(trees: Trees, x: np.ndarray, background: np.ndarray, names: tuple[str, ...], *, kind: str = "interventional", output: int = 0, base: float = 0.0,
                     cover: np.ndarray | None = None, unit: str = "", should_stop: Callable[[], bool] = lambda: False) -> Contributions:
    """Shapley values of every row of x. `base` is what the model adds to the trees' sum; `cover` of path-dependent ones, that of the background if absent."""
    x = np.asarray(x, dtype=np.float64)
    if kind == "interventional":
        phi, start = interventional(trees, x, background, output, should_stop)
    else:
        phi, start = path_dependent(trees, cover_of(trees, background) if cover is None else cover, x, output)
    x = x[: len(phi)]
    prediction = trees.total(x)[:, output] + base
    return Contributions(f"Shapley values of trees, {kind}", tuple(names), phi, np.full(len(x), start + base), prediction, x, unit)


def trees_of(state: dict[str, np.ndarray], function: Function, x: np.ndarray, output: int = 0) -> tuple[Trees, float] | None:
    """The trees among a model's arrays and the constant it adds to their sum, where `function` is their sum up to a constant for the rows x; else None."""
    from ..layers.trees import ARRAYS

    for prefix in {k.removesuffix("first") for k in state if k.endswith("first")}:
        held = {name: state[prefix + name] for name in ARRAYS if prefix + name in state}
        if len(held) < len(ARRAYS):
            continue
        trees = Trees.of_arrays(held)
        if output >= trees.value.shape[1] or int(trees.column.max()) >= x.shape[1]:
            continue
        rest = function(x) - trees.total(x)[:, output]
        if np.ptp(rest) <= 1e-9 * max(1.0, float(np.abs(rest).max())):
            return trees, float(rest.mean())
    return None
