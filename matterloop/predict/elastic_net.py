"""Elastic net on descriptors: a linear model whose coefficients are shrunk, and many of them exactly zero.

H. Zou, T. Hastie, J. R. Stat. Soc. B 67, 301 (2005), doi:10.1111/j.1467-9868.2005.00503.x. On standardised columns it minimises
|y - x b|^2 / (2 n) + penalty (ratio |b|_1 + (1 - ratio) |b|_2^2 / 2), penalty and ratio those of the least error in cross-validation.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from ..base.registry import Card
from ..learn.regressors import Regressor
from ..learn.tuning import folds

CARD = Card(
    name="elastic_net",
    build="ElasticNet",
    role="regressor",
    paper="10.1111/j.1467-9868.2005.00503.x",
    year=2005,
    summary="linear model with shrunk and pruned coefficients",
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    reference=7.51867903927028,
    small={"folds": 3, "penalties": 20},
    tolerance=1e-6,
    tolerance_reason="coordinate descent stops at a finite gap, which the order of rows moves",
    differs=("on standardised descriptors of crystals; columns that are constant in the training rows are left out",),
)


@dataclass
class ElasticNet(Regressor):
    """features: families of descriptors; ratios tried of the two penalties; penalties tried for each; folds of the cross-validation."""

    features: str = "magpie"
    ratios: tuple[float, ...] = (0.1, 0.5, 0.9, 1.0)
    penalties: int = 60
    folds: int = 10

    name = "elastic_net"

    def learn(self, x, y, rng):
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import ElasticNetCV

        mean, size = x.mean(0), x.std(0)
        used = size > 1e-12 * np.maximum(np.abs(mean), 1e-300)
        size = np.where(used, size, 1.0)
        scaled = np.where(used, (x - mean) / size, 0.0)
        parts = list(folds(len(y), min(self.folds, len(y)), rng))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the weakest penalties tried converge slowly; they are not those chosen
            net = ElasticNetCV(l1_ratio=list(self.ratios), alphas=self.penalties, cv=parts, max_iter=3000,
                               random_state=int(rng.integers(2**31 - 1))).fit(scaled, y)
        slope = np.where(used, net.coef_ / size, 0.0)
        return {"slope": slope, "offset": np.array([net.intercept_ - slope @ mean]), "chosen": np.array([net.alpha_, net.l1_ratio_])}

    def answer(self, x):
        return (x * self.state["slope"]).sum(1) + self.state["offset"][0]
