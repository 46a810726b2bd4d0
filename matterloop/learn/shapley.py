"""Shapley values of any function of present and absent players, and of the columns of a table.

    phi_j = sum over S without j of |S|! (M - |S| - 1)! / M! (v(S + j) - v(S))
L. S. Shapley, "A value for n-person games", Contributions to the Theory of Games 2, 307 (1953). Of many players by weighted least squares: S. M. Lundberg,
S.-I. Lee, "A unified approach to interpreting model predictions", NeurIPS 2017, arXiv:1705.07874, theorem 2:
    min over phi of sum over S of pi(S) (v(S) - v(0) - sum of phi_j in S)^2,  pi(S) = (M - 1) / (binomial(M, |S|) |S| (M - |S|)),  sum of phi = v(all) - v(0)
Choices are drawn in proportion to pi, each with its opposite (I. Covert, S.-I. Lee, AISTATS 2021, arXiv:2012.01536).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..base.errors import BadInput
from ..base.seeds import numpy_stream
from .explanation import Contributions, Function

EXACT = 8  # players up to which all choices are tried
MOST = 20  # players of whom all choices could be held at all
CELLS = 4_000_000  # numbers of a table that is answered at once

Value = Callable[[np.ndarray], np.ndarray]
"""(choices, players) bool, True where a player is there, to (choices,)."""


@dataclass(frozen=True)
class Shares:
    """values (players,), which add up to `full` - `base`: the value of all players less that of none; `exact` or by least squares."""

    values: np.ndarray
    base: float
    full: float
    exact: bool


def shapley_values(value: Value, players: int, samples: int = 2048, rng: np.random.Generator | None = None) -> Shares:
    """Exact where there are at most EXACT players, else by least squares."""
    return exact_shapley(value, players) if players <= EXACT or rng is None else kernel_shapley(value, players, samples, rng)


def all_choices(players: int) -> np.ndarray:
    """(2^players, players) bool; choice c holds player j where bit j of c is set. BadInput for more than MOST players."""
    if players > MOST:
        raise BadInput(f"{players} players have 2^{players} choices, allowed are {MOST} players; use kernel_shapley", "Shapley values")
    return (np.arange(2**players)[:, None] >> np.arange(players)) % 2 == 1


def exact_shapley(value: Value, players: int) -> Shares:
    """By the formula, from the values of all choices."""
    choices = all_choices(players)
    v = np.asarray(value(choices), dtype=np.float64)
    code, many = np.arange(len(v)), choices.sum(1)
    factor = np.array([math.factorial(s) * math.factorial(players - s - 1) / math.factorial(players) for s in range(players)])
    phi = np.zeros(players)
    for j in range(players):
        without = code[~choices[:, j]]
        phi[j] = factor[many[without]] @ (v[without | 1 << j] - v[without])
    return Shares(phi, float(v[0]), float(v[-1]), True)


def kernel_shapley(value: Value, players: int, samples: int, rng: np.random.Generator) -> Shares:
    """By weighted least squares; of all choices where there are no more than `samples`, which is exact too."""
    ends = np.asarray(value(np.stack([np.zeros(players, dtype=bool), np.ones(players, dtype=bool)])), dtype=np.float64)
    base, full = float(ends[0]), float(ends[1])
    if players < 2:
        return Shares(np.full(players, full - base), base, full, True)
    whole = players <= MOST and 2**players - 2 <= samples
    if whole:
        choices = all_choices(players)[1:-1]
        many = choices.sum(1)
        weight = np.array([(players - 1) / (math.comb(players, s) * s * (players - s)) for s in range(players + 1) if 0 < s < players])[many - 1]
    else:
        choices, weight = np.unique(_drawn(players, samples, rng), axis=0, return_counts=True)
    v = np.asarray(value(choices), dtype=np.float64) - base
    z = choices.astype(np.float64)
    root = np.sqrt(weight.astype(np.float64))[:, None]
    found = np.linalg.lstsq(root * (z[:, :-1] - z[:, -1:]), root[:, 0] * (v - z[:, -1] * (full - base)), rcond=None)[0]  # the last follows from the sum
    return Shares(np.append(found, full - base - found.sum()), base, full, whole)


def _drawn(players: int, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Choices neither empty nor full, sizes in proportion to what the kernel gives them, each with its opposite."""
    size = np.arange(1, players)
    chance = 1 / (size * (players - size))
    half = max(samples // 2, players)
    many = rng.choice(size, half, p=chance / chance.sum())
    order = np.argsort(rng.random((half, players)), axis=1)
    first = np.zeros((half, players), dtype=bool)
    np.put_along_axis(first, order, np.arange(players) < many[:, None], 1)
    return np.concatenate([first, ~first])


def table_value(function: Function, row: np.ndarray, background: np.ndarray) -> Value:
    """The game of one row: columns that are there come from it, the others from each row of the background in turn (interventional: columns are taken as independent)."""
    def value(choices: np.ndarray) -> np.ndarray:
        step, found = max(1, CELLS // background.size), []
        for i in range(0, len(choices), step):
            some = choices[i : i + step]
            mixed = np.where(some[:, None], row, background[None])
            found.append(function(mixed.reshape(-1, len(row))).reshape(len(some), -1).mean(1))
        return np.concatenate(found)
    return value


def shapley_of_table(function: Function, x: np.ndarray, background: np.ndarray, names: tuple[str, ...], *, samples: int = 2048, seed: int = 0, unit: str = "",
                     should_stop: Callable[[], bool] = lambda: False) -> Contributions:
    """Shapley values of the columns for every row of x (rows, columns) against a background (rows, columns).

    Columns in which a row equals all of the background add nothing and do not play. Rows after a stop are left out.
    """
    x, background = (np.asarray(a, dtype=np.float64) for a in (x, background))
    if not len(background):
        raise BadInput("an explanation is against other rows, and there are none", "background")
    values, base, full, exact = [], [], [], True
    for row in x:
        if should_stop():
            break
        plays = np.flatnonzero((background != row).any(0))
        whole = table_value(function, row, background)

        def value(choices, plays=plays, whole=whole):
            every = np.zeros((len(choices), x.shape[1]), dtype=bool)
            every[:, plays] = choices
            return whole(every)

        found = shapley_values(value, len(plays), samples, numpy_stream(seed, "kernel"))
        phi = np.zeros(x.shape[1])
        phi[plays] = found.values
        exact = exact and found.exact
        values.append(phi)
        base.append(found.base)
        full.append(found.full)
    done = len(values)
    return Contributions("Shapley values, interventional" + ("" if exact else f", by least squares on {samples} choices"), tuple(names), np.array(values).reshape(done, x.shape[1]), np.array(base), np.array(full), x[:done], unit)
