"""Forests of decision trees on descriptors: random forest, extremely randomised trees, and the median over leaves of either.

Forests: L. Breiman, Machine Learning 45, 5 (2001), doi:10.1023/A:1010933404324; extremely randomised trees: P. Geurts, D. Ernst, L. Wehenkel, Machine Learning 63,
3 (2006), doi:10.1007/s10994-006-6226-1; on Magpie descriptors: L. Ward, A. Agrawal, A. Choudhary, C. Wolverton, npj Comput. Mater. 2, 16028 (2016),
doi:10.1038/npjcompumats.2016.28; 500 trees: A. Dunn et al., npj Comput. Mater. 6, 138 (2020), the base case of Matbench. Median: N. Meinshausen, J. Mach. Learn.
Res. 7, 983 (2006): training row i has the weight w_i(x) = mean over trees t of [i in leaf_t(x)] / |leaf_t(x)|, and the answer is the value below which
half of the weight lies. It has the smaller absolute error where labels are skewed or many of them equal. What a forest says of its training rows by the trees
that did not draw them calibrates it without a second one: U. Johansson et al., Machine Learning 97, 155 (2014), doi:10.1007/s10994-014-5453-0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from ..base.errors import BadInput
from ..base.registry import Card
from ..layers.trees import Trees, of_sklearn
from ..learn.regressors import Regressor

CARD = Card(
    name="random_forest",
    build="RandomForest",
    role="regressor",
    paper="10.1038/npjcompumats.2016.28",
    year=2016,
    summary="random forest, extra trees and their medians on descriptors",
    capabilities=("classes", "spread"),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    reference=7.512235371959226,
    small={"trees": 60},
    presets={
        "extra_trees": {"splits": "random", "bootstrap": False, "share": 1.0},
        "all_columns": {"share": 1.0},
        "median": {"trees": 200, "splits": "random", "bootstrap": False, "share": 0.3, "least": 2, "read": "median", "features": "composition"},
        "composition": {"trees": 200, "splits": "random", "bootstrap": False, "share": 0.3, "features": "composition"},
        "elements": {"splits": "random", "bootstrap": False, "share": 1.0, "features": "elements"},
        "structure": {"features": "magpie+structure", "trees": 200},
    },
    differs=("scikit-learn's forest of 500 trees; Ward et al. took ensembles of reduced-error pruning trees of Weka",
             "a third of the columns is tried at every split, the base case of Matbench tries all (preset all_columns): three times as fast and no worse on formation energies and measured gaps"),
)
THIRD = 1 / 3  # of the columns
WEIGHTS = 4_000_000  # rows times training rows whose weights are held at once


@dataclass
class RandomForest(Regressor):
    """Trees on samples of the rows (`bootstrap`), each split chosen among a share of the columns.

    features   families of descriptors
    classes    0: a number; k: one of k labels
    trees      how many
    splits     "best": of all thresholds of a column; "random": one at random per column (extra trees)
    bootstrap  whether each tree sees rows drawn with replacement
    share      of columns tried at every split; None: a third for numbers, the square root of their number for classes (T. Hastie, R. Tibshirani, J. Friedman,
               The Elements of Statistical Learning, 2009, sec. 15.3)
    least      rows in a leaf, at least
    read       "mean" over trees, or "median" of the training labels weighted by shared leaves (numbers only)
    balanced   classes count alike whatever their numbers of rows
    """

    features: str = "magpie"
    classes: int = 0
    trees: int = 500
    splits: Literal["best", "random"] = "best"
    bootstrap: bool = True
    share: float | None = None
    least: int = 1
    read: Literal["mean", "median"] = "mean"
    balanced: bool = False

    name = "random_forest"

    def __post_init__(self):
        if self.splits not in ("best", "random") or self.read not in ("mean", "median") or (self.classes and self.read == "median"):
            raise BadInput(f"splits is {self.splits!r} ('best', 'random'), read is {self.read!r} ('mean', 'median'; classes: 'mean')", self.name)
        if self.trees < 1 or self.least < 1 or not (self.share is None or 0 < self.share <= 1):
            raise BadInput(f"trees is {self.trees}, least {self.least} (1 and more), share {self.share} (above 0, up to 1)", self.name)

    def learn(self, x, y, rng):
        from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, RandomForestClassifier, RandomForestRegressor

        forms = (ExtraTreesClassifier, ExtraTreesRegressor) if self.splits == "random" else (RandomForestClassifier, RandomForestRegressor)
        share = self.share if self.share is not None else "sqrt" if self.classes else THIRD
        more = {"class_weight": "balanced"} if self.classes and self.balanced else {}
        forest = forms[not self.classes](self.trees, min_samples_leaf=self.least, max_features=share, bootstrap=self.bootstrap,
                                         random_state=int(rng.integers(2**31 - 1)), n_jobs=torch.get_num_threads(), **more).fit(x, y.astype(int) if self.classes else y)
        trees = of_sklearn([t.tree_ for t in forest.estimators_], 1 / self.trees)
        self.unseen = self._unseen(trees, forest, x) if self.bootstrap and self.read == "mean" else None
        if self.classes:
            value = np.zeros((len(trees.value), self.classes))
            value[:, forest.classes_] = trees.value
            return {**trees.arrays(), "value": value}
        return trees.arrays() | (_members(trees, x, y) if self.read == "median" else {})

    def _unseen(self, trees: Trees, forest, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(answers, spreads) of the training rows by the trees that did not draw them, NaN where all did."""
        left_out = np.ones((len(x), self.trees), dtype=bool)
        for t, drawn in enumerate(forest.estimators_samples_):
            left_out[drawn, t] = False
        outputs = trees.value.shape[1]
        answers, spreads, step = np.zeros((len(x), outputs)), np.zeros((len(x), outputs)), max(WEIGHTS // self.trees, 1)
        for i in range(0, len(x), step):
            each, here = trees.each(x[i : i + step]) * self.trees, left_out[i : i + step, :, None]
            count = np.where(here.any(1), here.sum(1), np.nan)
            mean = (each * here).sum(1) / count
            answers[i : i + step], spreads[i : i + step] = mean, np.sqrt(((each - mean[:, None]) ** 2 * here).sum(1) / count)
        if not self.classes:
            return answers[:, 0], spreads[:, 0]
        every = np.zeros((len(x), self.classes))
        every[:, forest.classes_] = answers
        return np.where(np.isnan(answers[:, :1]), np.nan, every), spreads.max(1)

    def answer(self, x):
        trees = Trees.of_arrays(self.state)
        if self.read == "median":
            return self._quantiles(trees, x, (0.5,))[:, 0]
        found = trees.total(x)
        return found if self.classes else found[:, 0]

    def doubt(self, x):
        """Standard deviation over trees; with `read` "median" half the width of the central 68 % of the weight; of classes that of the likeliest."""
        trees = Trees.of_arrays(self.state)
        if self.read == "median":
            low, high = self._quantiles(trees, x, (0.1587, 0.8413)).T
            return (high - low) / 2
        each = trees.each(x) * self.trees
        if not self.classes:
            return each[..., 0].std(1)
        likeliest = each.mean(1).argmax(1)
        return np.take_along_axis(each, likeliest[:, None, None], 2)[..., 0].std(1)

    def _quantiles(self, trees: Trees, x: np.ndarray, shares: tuple[float, ...]) -> np.ndarray:
        """(rows, shares) label below which each share of the weight lies."""
        labels, begin, members = self.state["labels"], self.state["begin"], self.state["members"]
        step, out = max(WEIGHTS // len(labels), 1), np.zeros((len(x), len(shares)))
        for i in range(0, len(x), step):
            leaf = trees.leaves(x[i : i + step])
            many = (begin[leaf + 1] - begin[leaf]).ravel()
            owner = np.repeat(np.arange(leaf.size) // leaf.shape[1], many)
            place = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many) + np.repeat(begin[leaf].ravel(), many)
            weight = np.bincount(owner * len(labels) + members[place], np.repeat(1.0 / many, many), minlength=len(leaf) * len(labels)).reshape(len(leaf), -1)
            below = np.cumsum(weight, 1)
            for k, share in enumerate(shares):
                out[i : i + step, k] = labels[(below >= share * below[:, -1:]).argmax(1)]
        return out


def _members(trees: Trees, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """Training labels in ascending order, and the places in it of the rows of every leaf: those of node n are members[begin[n] : begin[n + 1]]."""
    order = np.argsort(y, kind="stable")
    leaf = trees.leaves(x[order])
    by_leaf = np.argsort(leaf.ravel(), kind="stable")
    begin = np.concatenate([[0], np.cumsum(np.bincount(leaf.ravel(), minlength=trees.first[-1]))])
    return {"labels": y[order], "begin": begin.astype(np.int64), "members": (by_leaf // leaf.shape[1]).astype(np.int32)}
