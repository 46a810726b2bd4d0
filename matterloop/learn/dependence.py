"""How an answer depends on a column of a table: permutation importance, partial dependence with its single curves, accumulated local effects, interaction.

    importance   mean error with the column shuffled - mean error                    L. Breiman, Machine Learning 45, 5 (2001); A. Fisher, C. Rudin, F. Dominici, JMLR 20, 177 (2019)
    partial      p(z) = mean over rows of f(z, other columns of the row)             J. H. Friedman, Annals of Statistics 29, 1189 (2001), eq. 47
    single       one curve per row (ICE), centred: less its value at the left end    A. Goldstein et al., J. Comput. Graph. Stat. 24, 44 (2015), arXiv:1309.6392
    accumulated  sum over bins up to z of the mean over the bin's rows of f(right end, others) - f(left end, others), centred
                                                                                     D. W. Apley, J. Zhu, J. R. Stat. Soc. B 82, 1059 (2020), arXiv:1612.08468, eq. 16
    interaction  H^2 = sum (p_jk - p_j - p_k)^2 / sum p_jk^2, all centred            J. H. Friedman, B. E. Popescu, Ann. Appl. Stat. 2, 916 (2008), eq. 44
Where columns hang together, shuffling and partial dependence ask of crystals that cannot be; accumulated effects do not, and columns may be shuffled in groups.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..base.errors import BadInput
from ..base.seeds import numpy_stream
from .explanation import Function
from .intervals import bootstrap

GRID = 24  # points at which a curve is drawn
CELLS = 4_000_000  # numbers of a table that is answered at once
Error = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(truth, answer) (rows,) each to the error of each row."""


@dataclass(frozen=True)
class Importance:
    """By how much the mean error grows when a column (or group) is shuffled: (groups,) each, with a 95 % interval over the rows; `error` without shuffling."""

    names: tuple[str, ...]
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    error: float

    def order(self) -> list[int]:
        """Largest first."""
        return [int(i) for i in np.argsort(-self.mean, kind="stable")]

    @property
    def clear(self) -> tuple[str, ...]:
        """Names whose interval lies above 0, largest first."""
        return tuple(self.names[i] for i in self.order() if self.low[i] > 0)


def absolute(truth: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """|answer - truth|."""
    return np.abs(answer - truth)


def permutation_importance(function: Function, x: np.ndarray, truth: np.ndarray, names: Sequence[str], *, groups: Mapping[str, Sequence[int]] | None = None, repeats: int = 10,
                           seed: int = 0, error: Error = absolute, on_progress: Callable[[int, int], None] | None = None,
                           should_stop: Callable[[], bool] = lambda: False) -> Importance:
    """Importance of every column of x (rows, columns), or of `groups` {name: columns} that are shuffled together.

    truth  (rows,) labels; with the answers themselves instead it is said what the model leans on, right or wrong. Use rows that were not trained on.
    After a stop the groups that were not looked at are NaN. BadInput for fewer than two rows.
    """
    x, truth = np.asarray(x, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if len(x) < 2 or truth.shape != (len(x),):
        raise BadInput(f"{len(x)} rows with labels of shape {truth.shape}; wanted are two or more, with a label each", "permutation importance")
    groups = {name: [i] for i, name in enumerate(names)} if groups is None else groups
    plain, step = error(truth, function(x)), max(1, CELLS // x.size)
    found = np.full((3, len(groups)), np.nan)
    for k, (name, columns) in enumerate(groups.items()):
        if should_stop():
            break
        rng, columns = numpy_stream(seed, "permutation", name), list(columns)
        grown = np.zeros(len(x))
        if np.ptp(x[:, columns], axis=0).any():
            for begin in range(0, repeats, step):
                several = min(step, repeats - begin)
                mixed = np.tile(x, (several, 1, 1))
                for one in mixed:
                    one[:, columns] = x[np.ix_(rng.permutation(len(x)), columns)]
                answer = function(mixed.reshape(-1, x.shape[1])).reshape(several, -1)
                grown += sum(error(truth, a) - plain for a in answer) / repeats
        found[:, k] = grown.mean(), *(bootstrap(grown, seed=seed) if grown.any() else (0.0, 0.0))
        if on_progress:
            on_progress(k + 1, len(groups))
    return Importance(tuple(groups), found[0], found[1], found[2], float(plain.mean()))


@dataclass(frozen=True)
class Dependence:
    """Answers along one column.

    grid    (points,) values of the column
    lines   (rows, points) one curve per row
    rows    (rows,) the column's own value in each row
    """

    name: str
    grid: np.ndarray
    lines: np.ndarray
    rows: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """(points,) partial dependence."""
        return self.lines.mean(0)

    @property
    def centred(self) -> Dependence:
        """Every curve less its value at the left end."""
        return Dependence(self.name, self.grid, self.lines - self.lines[:, :1], self.rows)

    @property
    def heterogeneity(self) -> float:
        """Spread of the centred curves over the rows at the right end, in units of the span of their mean (0: no interaction seen)."""
        lines = self.lines - self.lines.mean(1, keepdims=True)
        span = np.ptp(self.mean)
        return float(np.sqrt(lines.var(0).mean()) / span) if span else 0.0


def grid_of(values: np.ndarray, points: int = GRID) -> np.ndarray:
    """Quantiles of what a column holds, each once; all values where there are few."""
    own = np.unique(values)
    return own if len(own) <= points else np.unique(np.quantile(values, np.linspace(0, 1, points)))


def partial_dependence(function: Function, x: np.ndarray, column: int, name: str = "", grid: np.ndarray | None = None) -> Dependence:
    """Curves of all rows of x (rows, columns) along a column; their mean is the partial dependence."""
    x = np.asarray(x, dtype=np.float64)
    if not len(x):
        raise BadInput("there are no rows", "partial dependence")
    grid = grid_of(x[:, column]) if grid is None else np.asarray(grid, dtype=np.float64)
    lines, step = np.zeros((len(x), len(grid))), max(1, CELLS // x.size)
    for begin in range(0, len(grid), step):
        some = grid[begin : begin + step]
        mixed = np.tile(x, (len(some), 1, 1))
        mixed[:, :, column] = some[:, None]
        lines[:, begin : begin + step] = function(mixed.reshape(-1, x.shape[1])).reshape(len(some), -1).T
    return Dependence(name or str(column), grid, lines, x[:, column].copy())


@dataclass(frozen=True)
class Accumulated:
    """grid (points,) ends of the bins, effect (points,) whose mean over the rows is 0, counts (points - 1,) rows of each bin."""

    name: str
    grid: np.ndarray
    effect: np.ndarray
    counts: np.ndarray


def accumulated_effects(function: Function, x: np.ndarray, column: int, name: str = "", bins: int = GRID) -> Accumulated:
    """Accumulated local effects along a column, with bins of about equal numbers of rows. BadInput for a column that does not vary."""
    x = np.asarray(x, dtype=np.float64)
    own = x[:, column]
    ends = np.unique(np.quantile(own, np.linspace(0, 1, bins + 1), method="inverted_cdf")) if len(x) else np.zeros(0)
    if len(ends) < 2:
        raise BadInput("does not vary among the rows", f"column {name or column!r}")
    which = np.clip(np.searchsorted(ends, own, side="left") - 1, 0, len(ends) - 2)
    left, right = x.copy(), x.copy()
    left[:, column], right[:, column] = ends[which], ends[which + 1]
    step = function(right) - function(left)
    counts = np.bincount(which, minlength=len(ends) - 1)
    mean = np.bincount(which, step, minlength=len(ends) - 1) / np.maximum(counts, 1)
    effect = np.concatenate([[0.0], np.cumsum(mean)])
    middle = (effect[:-1] + effect[1:]) / 2  # rows lie between the ends of their bins
    return Accumulated(name or str(column), ends, effect - (counts @ middle) / counts.sum(), counts)


def interaction(function: Function, x: np.ndarray, first: int, second: int) -> float:
    """H of two columns in [0, 1]: the share of the spread of their joint partial dependence that is no sum of two single ones; rows * rows answers."""
    x = np.asarray(x, dtype=np.float64)

    def mean(columns: list[int]) -> np.ndarray:
        step, found = max(1, CELLS // max(x.size, 1)), []
        for begin in range(0, len(x), step):
            some = x[begin : begin + step]
            mixed = np.tile(x, (len(some), 1, 1))
            mixed[:, :, columns] = some[:, None, columns]
            found.append(function(mixed.reshape(-1, x.shape[1])).reshape(len(some), -1).mean(1))
        whole = np.concatenate(found)
        return whole - whole.mean()

    both, one, two = mean([first, second]), mean([first]), mean([second])
    total = float(np.square(both).sum())
    return float(np.sqrt(min(np.square(both - one - two).sum() / total, 1.0))) if total > 1e-24 else 0.0
