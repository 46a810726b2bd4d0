"""Confidence intervals by resampling structures: percentile bootstrap with a fixed seed (B. Efron, Annals of Statistics 7, 1 (1979), doi:10.1214/aos/1176344552)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..base.errors import BadInput
from ..base.seeds import numpy_stream

RESAMPLES = 2000
LEVEL = 0.95


def bootstrap(values: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray] | None = None, *, seed: int = 0, resamples: int = RESAMPLES,
              level: float = LEVEL) -> tuple[float, float]:
    """(low, high) of a statistic of independent structures, each of whose `values` (structures, ...) is drawn anew with replacement.

    statistic  (resamples, structures, ...) -> (resamples,); the mean over structures by default. A resample whose statistic is not a number is left out;
               (nan, nan) where none is left. BadInput for no structures.
    """
    values = np.asarray(values, dtype=np.float64)
    if not len(values):
        raise BadInput("there are no structures to resample", "bootstrap")
    rng, found = numpy_stream(seed, "bootstrap"), []
    step = max(1, 5_000_000 // max(1, values.size))
    for begin in range(0, resamples, step):
        drawn = values[rng.integers(0, len(values), (min(step, resamples - begin), len(values)))]
        found.append(drawn.mean(1) if statistic is None else statistic(drawn))
    several = np.concatenate(found)
    several = several[~np.isnan(several)]
    rest = (1 - level) / 2
    return tuple(float(x) for x in np.quantile(several, [rest, 1 - rest])) if len(several) else (float("nan"), float("nan"))


def share_interval(hits: int, total: int, *, seed: int = 0, resamples: int = RESAMPLES, level: float = LEVEL) -> tuple[float, float]:
    """(low, high) of a share, `hits` of `total`: as `bootstrap` of ones and zeros, whose sum is binomial. (0, 1) for no structures.

    Where none or all hit, resampling cannot say how far the share may be from what was seen; the open end is then the exact one of C. J. Clopper, E. S. Pearson,
    Biometrika 26, 404 (1934).
    """
    if not total:
        return 0.0, 1.0
    rest = (1 - level) / 2
    if hits in (0, total):
        reach = rest ** (1 / total)
        return (0.0, 1 - reach) if not hits else (reach, 1.0)
    drawn = numpy_stream(seed, "bootstrap", "share").binomial(total, hits / total, resamples) / total
    return tuple(float(x) for x in np.quantile(drawn, [rest, 1 - rest]))
