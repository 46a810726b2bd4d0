"""Decision trees as arrays: what any learner of trees has learnt, evaluated and saved without it.

A row goes from the root to the left child where its value of the node's column is at most the node's threshold, until it is in a leaf. Rows are compared in
single precision, in which scikit-learn learns its trees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..base.errors import BadInput

PLACES = 4_000_000  # rows times trees looked at together
ARRAYS = ("first", "column", "threshold", "left", "right", "value")


@dataclass(frozen=True)
class Trees:
    """All nodes of all trees one after the other; a leaf is its own child.

    first      (trees + 1,)      node where each tree begins, the number of nodes last
    column     (nodes,)          column that is compared, 0 in leaves
    threshold  (nodes,)          the value goes left up to here
    left, right (nodes,)         children, counted over all trees
    value      (nodes, outputs)  what a leaf says; inner nodes say nothing
    """

    first: np.ndarray
    column: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray

    def __len__(self) -> int:
        return len(self.first) - 1

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays by name."""
        return {name: getattr(self, name) for name in ARRAYS}

    @staticmethod
    def of_arrays(arrays: Mapping[str, np.ndarray]) -> Trees:
        """From the arrays by name; others are left aside."""
        return Trees(*(arrays[name] for name in ARRAYS))

    @staticmethod
    def join(parts: Sequence[Mapping[str, np.ndarray]]) -> Trees:
        """One forest of single trees given as dicts with `column` (negative in leaves), `threshold`, `left`, `right` counted within the tree, and `value`."""
        first = np.concatenate([[0], np.cumsum([len(p["column"]) for p in parts])]).astype(np.int64)
        if first[-1] >= 2**31:
            raise BadInput(f"{first[-1]} nodes, allowed are {2**31}; grow fewer or smaller trees", "Trees")
        cat = lambda name: np.concatenate([np.asarray(p[name]) for p in parts])
        column, here, shift = cat("column"), np.arange(first[-1]), np.repeat(first[:-1], np.diff(first))
        leaf = column < 0
        child = lambda name: np.where(leaf, here, cat(name).astype(np.int64) + shift).astype(np.int32)
        return Trees(first, np.where(leaf, 0, column).astype(np.int32), np.where(leaf, np.inf, cat("threshold")).astype(np.float64), child("left"), child("right"),
                     cat("value").astype(np.float64))

    def leaves(self, x: np.ndarray) -> np.ndarray:
        """(rows, trees) node of the leaf that each row of x (rows, columns) falls into."""
        x = np.asarray(x, dtype=np.float32)
        found = [self._leaves(x[i : i + self._step]) for i in range(0, len(x), self._step)]
        return np.concatenate(found) if found else np.zeros((0, len(self)), dtype=np.int32)

    @property
    def _step(self) -> int:
        return max(PLACES // max(len(self), 1), 1)

    def _leaves(self, x: np.ndarray) -> np.ndarray:
        start = np.repeat(np.arange(len(x), dtype=np.int64) * x.shape[1], len(self))
        node = np.tile(self.first[:-1].astype(np.int32), len(x))
        x, active = np.ravel(x), np.arange(len(node))
        while len(active):
            here = node[active]
            left = x[start[active] + self.column[here]] <= self.threshold[here]
            child = np.where(left, self.left[here], self.right[here])
            node[active] = child
            active = active[(child != here) & (self.left[child] != child)]
        return node.reshape(-1, len(self))

    def each(self, x: np.ndarray) -> np.ndarray:
        """(rows, trees, outputs) what each tree says."""
        return self.value[self.leaves(x)]

    def total(self, x: np.ndarray) -> np.ndarray:
        """(rows, outputs) sum over trees."""
        x = np.asarray(x, dtype=np.float32)
        found = [self.each(x[i : i + self._step]).sum(1) for i in range(0, len(x), self._step)]
        return np.concatenate(found) if found else np.zeros((0, self.value.shape[1]))


def of_sklearn(trees: Sequence, scale: float = 1.0) -> Trees:
    """The fitted `tree_` objects of scikit-learn's decision trees; values are multiplied by `scale`."""
    return Trees.join([
        {"column": np.where(t.children_left < 0, -1, t.feature), "threshold": t.threshold, "left": t.children_left, "right": t.children_right,
         "value": t.value[:, 0, :] * scale} for t in trees])


def of_histograms(predictors: Sequence, outputs: int = 1) -> Trees:
    """The trees of scikit-learn's histogram gradient boosting, a list over iterations of one predictor per output; no categories, no missing values."""
    parts = []
    for iteration in predictors:
        for k, predictor in enumerate(iteration):
            nodes = predictor.nodes
            value = np.zeros((len(nodes), outputs))
            value[:, k] = nodes["value"]
            parts.append({"column": np.where(nodes["is_leaf"] != 0, -1, nodes["feature_idx"].astype(np.int64)), "threshold": nodes["num_threshold"],
                          "left": nodes["left"], "right": nodes["right"], "value": value})
    return Trees.join(parts)
