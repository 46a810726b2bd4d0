"""Options of a model chosen by cross-validation: Bayesian optimisation over a box of numbers.

A Gaussian process (Matérn 5/2, a length per option, noise) is fitted to the errors seen; the next options have the largest expected improvement
EI(x) = (best - m(x)) F(z) + s(x) f(z), z = (best - m) / s, with m and s the process's mean and deviation, F and f the normal distribution and its density. J.
Mockus (1975); D. R. Jones, M. Schonlau, W. J. Welch, J. Global Optimization 13, 455 (1998), doi:10.1023/A:1008306431147; J. Snoek, H. Larochelle, R. P. Adams,
NeurIPS 2012, arXiv:1206.2944.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ..base.errors import BadInput

CANDIDATES = 2000  # points of the box among which the next is chosen


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`: by their logarithm (`log`), whole ones (`whole`)."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __post_init__(self):
        if not self.low < self.high or (self.log and self.low <= 0):
            raise BadInput(f"from {self.low} to {self.high}; the first must be smaller, and above 0 on a logarithmic scale", "Range")

    def at(self, share: float) -> float | int:
        """The number this share of the way from low to high."""
        value = self.low * (self.high / self.low) ** share if self.log else self.low + share * (self.high - self.low)
        return int(round(value)) if self.whole else float(value)


@dataclass(frozen=True)
class Trial:
    """Options that were tried and their error."""

    options: dict[str, float]
    error: float


def bayesian_search(error: Callable[[dict[str, float]], float], space: Mapping[str, Range], rng: np.random.Generator, *, trials: int = 30, first: int = 8) -> list[Trial]:
    """All trials, best first: `first` ones on a Latin hypercube, the others where improvement is expected.

    error  called with {option: number}; smaller is better. One that is not finite counts as the worst seen.
    """
    if not space or trials < 1:
        raise BadInput(f"{len(space)} options and {trials} trials; wanted are at least one of each", "bayesian_search")
    names, first = list(space), min(max(first, 2), trials)
    points = np.stack([(rng.permutation(first) + rng.random(first)) / first for _ in names], 1)
    at = lambda point: {name: space[name].at(float(s)) for name, s in zip(names, point, strict=True)}
    errors = [float(error(at(p))) for p in points]
    while len(errors) < trials:
        points = np.vstack([points, _next(points, np.array(errors), rng)])
        errors.append(float(error(at(points[-1]))))
    return sorted((Trial(at(p), e) for p, e in zip(points, errors, strict=True)), key=lambda t: (not np.isfinite(t.error), t.error))


def _next(points: np.ndarray, errors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    from scipy.stats import norm
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import Matern, WhiteKernel

    finite = np.isfinite(errors)
    if not finite.any():
        return rng.random(points.shape[1])
    errors = np.where(finite, errors, errors[finite].max())
    size = errors.std() or 1.0
    scaled = (errors - errors.mean()) / size
    kernel = Matern(np.full(points.shape[1], 0.5), (0.05, 5.0), nu=2.5) + WhiteKernel(0.01, (1e-5, 1.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a length at its bound is an answer here
        process = GaussianProcessRegressor(kernel, random_state=int(rng.integers(2**31 - 1))).fit(points, scaled)
    near = np.clip(points[int(scaled.argmin())] + 0.1 * rng.standard_normal((CANDIDATES // 4, points.shape[1])), 0, 1)
    among = np.vstack([rng.random((CANDIDATES, points.shape[1])), near])
    mean, spread = process.predict(among, return_std=True)
    spread = np.maximum(spread, 1e-9)
    z = (scaled.min() - mean) / spread
    return among[int(((scaled.min() - mean) * norm.cdf(z) + spread * norm.pdf(z)).argmax())]


def folds(rows: int, count: int, rng: np.random.Generator, classes: np.ndarray | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(rows to learn from, rows to test on) of `count` parts of about equal size, at random; with the `classes` (rows,) of the rows, each is spread evenly."""
    if not 2 <= count <= rows:
        raise BadInput(f"{count} folds of {rows} rows; wanted are 2 and more, and no more than rows", "folds")
    order = rng.permutation(rows)
    if classes is not None:
        order = order[np.argsort(classes[order], kind="stable")]
    part = np.empty(rows, dtype=np.int64)
    part[order] = np.arange(rows) % count
    for k in range(count):
        yield np.flatnonzero(part != k), np.flatnonzero(part == k)
