"""Several classical models as one: each answers for rows that it did not learn from, and a mean of them is chosen by those answers.

R. Caruana, A. Niculescu-Mizil, G. Crew, A. Ksikes, "Ensemble selection from libraries of models", ICML 2004, doi:10.1145/1015330.1015432: models are added to the
mean one at a time, each as often as it helps, starting from none. Answers for rows that were not learnt from are those of cross-validation: D. H. Wolpert,
Neural Networks 5, 241 (1992), doi:10.1016/S0893-6080(05)80023-1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..base.errors import BadInput
from ..base.registry import Card
from ..base.registry import load as load_part
from ..learn.regressors import Regressor, part, prefixed
from ..learn.tables import columns_of
from ..learn.tuning import folds

CARD = Card(
    name="stacking",
    build="Stacking",
    role="regressor",
    paper="10.1145/1015330.1015432",
    year=2004,
    summary="mean of forests and boosted trees, weighted by their answers in cross-validation",
    capabilities=("classes",),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    reference=7.540333649928567,
    small={"features": "magpie", "members": (("random_forest", {"trees": 20}), ("gradient_boosting", {"trees": 30, "least": 4, "leaves": 8})), "folds": 2},
    presets={
        "composition": {"features": "composition", "error": "absolute", "folds": 3, "members": (
            ("random_forest", {"features": "composition", "trees": 120, "splits": "random", "bootstrap": False, "share": 0.3, "least": 2, "read": "median"}),
            ("random_forest", {"features": "elements", "trees": 200, "splits": "random", "bootstrap": False, "share": 1.0}),
            ("gradient_boosting", {"features": "composition", "trees": 120, "rate": 0.1, "leaves": 20, "share": 0.2, "error": "absolute"}))},
        "classes": {"features": "composition", "classes": 2, "balanced": True, "folds": 3, "members": (
            ("random_forest", {"features": "composition", "trees": 120, "splits": "random", "bootstrap": False, "share": 0.3}),
            ("gradient_boosting", {"features": "composition", "trees": 120, "rate": 0.1, "leaves": 20, "l2": 1.0, "share": 0.2}))},
    },
    differs=("models are added with replacement but not from bagged libraries; members and their options are given, not thousands drawn",),
)
STEPS = 40  # members of the mean, each counted as often as it was taken


@dataclass
class Stacking(Regressor):
    """A weighted mean of members.

    features  families of descriptors that the members' own are taken from
    classes   0: a number; k: one of k labels
    members   (name, options) of classical models; their `features` must be among those above, their `classes` are set here
    error     of the mean that is made small: "absolute" or "squared"; of classes it is the cross entropy
    folds     of the cross-validation
    balanced  two classes: probabilities are moved so that 0.5 is the limit of the best balanced accuracy in cross-validation
    """

    features: str = "composition"
    classes: int = 0
    members: tuple = (("random_forest", {"features": "composition", "trees": 300, "splits": "random", "bootstrap": False, "share": 0.3}),
                      ("gradient_boosting", {"features": "composition", "trees": 300, "rate": 0.06, "leaves": 20, "l2": 1.0, "share": 0.2}))
    error: Literal["absolute", "squared"] = "absolute"
    folds: int = 5
    balanced: bool = False

    name = "stacking"

    def __post_init__(self):
        if not self.members or self.error not in ("absolute", "squared") or (self.balanced and self.classes != 2):
            raise BadInput(f"{len(self.members)} members, error {self.error!r} ('absolute', 'squared'), balanced for {self.classes} classes (2)", self.name)

    def _members(self) -> list[tuple[Regressor, np.ndarray]]:
        """Each member that has learnt nothing, and the places of its columns."""
        place, found = {name: i for i, name in enumerate(self.columns)}, []
        for name, options in self.members:
            model = load_part(name, "regressor", **options, **({"classes": self.classes} if self.classes else {}))
            names = columns_of(model.features)
            model.columns = tuple(names) if all(n in place for n in names) else self.columns  # a table of one's own goes to all
            found.append((model, np.array([place[n] for n in model.columns])))
        return found

    def learn(self, x, y, rng):
        members, state = self._members(), {}
        shape = (len(members), len(y), *([self.classes] if self.classes else []))
        guesses = np.zeros(shape)
        for train, test in folds(len(y), min(self.folds, len(y)), rng, y if self.classes else None):
            for k, (model, places) in enumerate(members):
                model.state = model.learn(x[train][:, places], y[train], rng)
                guesses[k, test] = model.answer(x[test][:, places])
        weights = _selected(guesses, y, self._loss)
        if self.balanced:
            state["limit"] = np.array([best_limit(y, np.tensordot(weights, guesses, 1)[:, 1])])
        for k, (model, places) in enumerate(members):
            if weights[k]:
                state |= prefixed(model.learn(x[:, places], y, rng), str(k))
        return state | {"weights": weights}

    def _loss(self, guess: np.ndarray, y: np.ndarray) -> float:
        if self.classes:
            return float(-np.log(np.clip(guess[np.arange(len(y)), y.astype(int)], 1e-6, 1)).mean())
        return float(np.abs(guess - y).mean() if self.error == "absolute" else np.square(guess - y).mean())

    def answer(self, x):
        total = 0.0
        for k, (model, places) in enumerate(self._members()):
            if weight := self.state["weights"][k]:
                model.state = part(self.state, str(k))
                total = total + weight * model.answer(x[:, places])
        return moved(total, self.state["limit"][0]) if self.balanced else total


def _selected(guesses: np.ndarray, y: np.ndarray, loss) -> np.ndarray:
    """(members,) weights that add up to 1."""
    count, total = np.zeros(len(guesses)), np.zeros(guesses.shape[1:])
    best, kept = np.inf, count
    for step in range(1, STEPS + 1):
        losses = [loss((total + g) / step, y) for g in guesses]
        k = int(np.argmin(losses))
        count, total = count + (np.arange(len(count)) == k), total + guesses[k]
        if losses[k] < best:
            best, kept = losses[k], count
    return kept / kept.sum()


def best_limit(y: np.ndarray, probability: np.ndarray) -> float:
    """Probability of class 1 above which a row is called so for the best balanced accuracy; the middle of the longest of several equally good stretches."""
    order = np.argsort(probability, kind="stable")
    p, truth = probability[order], y[order] > 0.5
    called = np.concatenate([[truth.sum()], truth.sum() - np.cumsum(truth)]) / max(truth.sum(), 1)  # share of class 1 above each cut
    left = np.concatenate([[0], np.cumsum(~truth)]) / max((~truth).sum(), 1)
    cuts = np.concatenate([[0.0], (p[1:] + p[:-1]) / 2, [1.0]])
    score = np.where(np.concatenate([[True], p[1:] > p[:-1], [True]]), called + left, -np.inf)
    width = min(25, len(p) // 20 * 2 + 1)
    smooth = np.convolve(np.where(np.isfinite(score), score, np.nanmax(np.where(np.isfinite(score), score, np.nan)) - 1), np.ones(width) / width, "same")
    return float(np.clip(cuts[int(np.where(np.isfinite(score), smooth, -np.inf).argmax())], 1e-6, 1 - 1e-6))


def moved(probability: np.ndarray, limit: float) -> np.ndarray:
    """Probabilities (rows, 2) whose odds are divided by those of `limit`: what was `limit` becomes 0.5, the order of rows stays."""
    odds = probability * np.array([limit, 1 - limit])
    return odds / odds.sum(1, keepdims=True)
