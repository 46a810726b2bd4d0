"""A model that can be read in place of one that cannot: a shallow tree or a short sum fitted to its answers, with how faithful it is.

Fidelity is the R2 of the stand-in against the model's answers on rows it was not fitted to (k-fold). Trees for networks: M. W. Craven, J. W. Shavlik, "Extracting
tree-structured representations of trained networks", NeurIPS 1995; terms of the sum by orthogonal matching pursuit, Y. C. Pati, R. Rezaiifar, P. S. Krishnaprasad, Asilomar 1993.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..base.errors import BadInput
from ..base.seeds import numpy_stream
from .explanation import Function

FOLDS = 5
FEWEST = 10  # rows


@dataclass(frozen=True)
class Surrogate:
    """kind "tree" or "sum"; `fidelity` R2 on rows left out; `text` as a person reads it; `columns` that it uses; `answer` its function of a table."""

    kind: str
    fidelity: float
    text: str
    columns: tuple[str, ...]
    answer: Function


def tree_surrogate(x: np.ndarray, answers: np.ndarray, names: Sequence[str], *, leaves: int = 8, seed: int = 0) -> Surrogate:
    """A regression tree of at most `leaves` leaves on x (rows, columns). BadInput for fewer than FEWEST rows."""
    from sklearn.tree import DecisionTreeRegressor

    make = lambda: DecisionTreeRegressor(max_leaf_nodes=leaves, min_samples_leaf=max(2, len(x) // 50), random_state=seed)
    model, fidelity = _fitted(make, x, answers, seed)
    t = model.tree_
    lines: list[str] = []

    def told(node: int, depth: int) -> None:
        if t.children_left[node] < 0:
            lines.append(f"{'  ' * depth}{t.value[node].ravel()[0]:.4g}  ({t.n_node_samples[node]} rows)")
            return
        name, limit = names[t.feature[node]], t.threshold[node]
        lines.append(f"{'  ' * depth}if {name} <= {limit:.4g}:")
        told(t.children_left[node], depth + 1)
        lines.append(f"{'  ' * depth}else:")
        told(t.children_right[node], depth + 1)

    told(0, 0)
    used = tuple(dict.fromkeys(names[c] for c in t.feature if c >= 0))
    return Surrogate("tree", fidelity, "\n".join(lines), used, lambda a: model.predict(np.asarray(a, dtype=np.float64)))


def sum_surrogate(x: np.ndarray, answers: np.ndarray, names: Sequence[str], *, terms: int = 5, seed: int = 0) -> Surrogate:
    """constant + at most `terms` columns with a factor each. Errors as `tree_surrogate`."""
    model, fidelity = _fitted(lambda: _Sum(terms), x, answers, seed)
    order = sorted(model.columns, key=lambda c: -abs(model.factors[c] * x[:, c].std()))
    text = " ".join([f"{model.constant:.4g}", *(f"{'+' if model.factors[c] >= 0 else '-'} {abs(model.factors[c]):.4g} x {names[c]}" for c in order)])
    return Surrogate("sum", fidelity, text, tuple(names[c] for c in order), model.predict)


class _Sum:
    """Least squares on columns that are chosen one by one, each the one most in line with what is left."""

    def __init__(self, terms: int):
        self.terms = terms

    def fit(self, x: np.ndarray, y: np.ndarray) -> _Sum:
        middle, spread = x.mean(0), x.std(0)
        varies = spread > 1e-12 * np.maximum(1.0, np.abs(middle))
        z = np.where(varies, (x - middle) / np.where(varies, spread, 1.0), 0.0)
        chosen: list[int] = []
        rest = y - y.mean()
        factor = np.zeros(0)
        for _ in range(min(self.terms, int(varies.sum()), len(x) - 1)):
            line = np.abs(z.T @ rest)
            line[chosen] = -1
            best = int(line.argmax())
            if line[best] <= 1e-9 * len(x) * max(1e-12, float(y.std())):
                break
            chosen.append(best)
            factor = np.linalg.lstsq(z[:, chosen], y - y.mean(), rcond=None)[0]
            rest = y - y.mean() - z[:, chosen] @ factor
        self.columns, self.factors = chosen, dict(zip(chosen, factor / spread[chosen] if chosen else [], strict=True))
        self.constant = float(y.mean() - sum(self.factors[c] * middle[c] for c in chosen))
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.constant + sum((f * np.asarray(x)[:, c] for c, f in self.factors.items()), np.zeros(len(x)))


def _fitted(make: Callable[[], object], x: np.ndarray, answers: np.ndarray, seed: int):
    x, answers = np.asarray(x, dtype=np.float64), np.asarray(answers, dtype=np.float64)
    if len(x) < FEWEST or answers.shape != (len(x),):
        raise BadInput(f"{len(x)} rows, at least {FEWEST} with an answer each are needed", "surrogate")
    fold = numpy_stream(seed, "surrogate").permutation(len(x)) % FOLDS
    guess = np.zeros(len(x))
    for k in range(FOLDS):
        guess[fold == k] = make().fit(x[fold != k], answers[fold != k]).predict(x[fold == k])
    total = np.square(answers - answers.mean()).sum()
    fidelity = 1 - np.square(guess - answers).sum() / total if total > 0 else float(np.allclose(guess, answers))
    return make().fit(x, answers), float(fidelity)
