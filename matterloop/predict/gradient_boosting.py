"""Gradient boosting on histograms of descriptors: trees one after the other, each fitted to what those before it leave.

J. H. Friedman, Ann. Stat. 29, 1189 (2001), doi:10.1214/aos/1013203451; with binned columns and leaf-wise growth: G. Ke et al., LightGBM, NeurIPS 2017. The loss is
the absolute or squared error, or the cross entropy of classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..base.errors import BadInput
from ..base.registry import Card
from ..layers.trees import Trees, of_histograms
from ..learn.regressors import Regressor

CARD = Card(
    name="gradient_boosting",
    build="GradientBoosting",
    role="regressor",
    paper="10.1214/aos/1013203451",
    year=2001,
    summary="boosted trees on binned descriptors",
    capabilities=("classes",),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    reference=7.561857186023363,
    small={"trees": 60, "least": 4},
    presets={"composition": {"features": "composition", "trees": 250, "rate": 0.06, "leaves": 20, "l2": 1.0, "share": 0.2},
             "absolute": {"features": "composition", "trees": 250, "rate": 0.08, "leaves": 20, "share": 0.2, "error": "absolute"},
             "structure": {"features": "composition+structure", "trees": 400, "rate": 0.06, "share": 0.2}},
    differs=("columns are binned (at most 255 values) and trees grow leaf by leaf, as in LightGBM; a share of the columns is tried at every split",),
)


@dataclass
class GradientBoosting(Regressor):
    """features, classes as in Regressor; `trees` steps of the `rate`, each tree of at most `leaves` leaves with `least` rows and more, ridge penalty `l2`,
    a `share` of the columns tried at every split; `error` "squared" or "absolute" (numbers only); `balanced` classes count alike."""

    features: str = "magpie"
    classes: int = 0
    trees: int = 400
    rate: float = 0.05
    leaves: int = 31
    least: int = 20
    l2: float = 0.0
    share: float = 1.0
    error: Literal["squared", "absolute"] = "squared"
    balanced: bool = False

    name = "gradient_boosting"

    def __post_init__(self):
        if self.error not in ("squared", "absolute") or self.trees < 1 or self.leaves < 2 or not 0 < self.share <= 1:
            raise BadInput(f"error is {self.error!r} ('squared', 'absolute'), trees {self.trees}, leaves {self.leaves} (2 and more), share {self.share}", self.name)

    def learn(self, x, y, rng):
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        options = {"max_iter": self.trees, "learning_rate": self.rate, "max_leaf_nodes": self.leaves, "min_samples_leaf": self.least, "l2_regularization": self.l2,
                   "max_features": self.share, "early_stopping": False, "random_state": int(rng.integers(2**31 - 1))}
        x = x.astype(np.float32)
        if not self.classes:
            model = HistGradientBoostingRegressor(loss=f"{self.error}_error", **options).fit(x, y)
            return of_histograms(model._predictors).arrays() | {"base": model._baseline_prediction.ravel()}
        there = np.unique(y.astype(int))
        if len(there) == 1:
            raise BadInput(f"all rows are of class {there[0]}; two and more are needed", self.name)
        model = HistGradientBoostingClassifier(**options, class_weight="balanced" if self.balanced else None).fit(x, y.astype(int))
        outputs = model.n_trees_per_iteration_
        return of_histograms(model._predictors, outputs).arrays() | {"base": model._baseline_prediction.ravel(), "there": there}

    def answer(self, x):
        raw = self.state["base"] + Trees.of_arrays(self.state).total(x)
        if not self.classes:
            return raw[:, 0]
        if raw.shape[1] == 1:
            raw = np.hstack([np.zeros_like(raw), raw])
        raw = np.exp(raw - raw.max(1, keepdims=True))
        out = np.zeros((len(x), self.classes))
        out[:, self.state["there"]] = raw / raw.sum(1, keepdims=True)
        return out
