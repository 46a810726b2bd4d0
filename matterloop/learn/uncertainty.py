"""How sure a prediction is: ensembles, conformal intervals that widen with spread or distance, and temperatures for classes.

Ensembles: B. Lakshminarayanan, A. Pritzel, C. Blundell, NeurIPS 2017, arXiv:1612.01474, section 2.4. Split conformal intervals, also
normalised: J. Lei et al., J. Am. Stat. Assoc. 113, 1094 (2018), doi:10.1080/01621459.2017.1307116, algorithm 2 and section 5.2. Scaling of spreads: D. Levi et al., Sensors 22, 5540 (2022), doi:10.3390/s22155540.
Temperature: C. Guo et al., ICML 2017, arXiv:1706.04599, section 4.2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..base.errors import BadInput, Missing
from ..base.seeds import numpy_stream
from .metrics import measured

LEVELS = (0.6827, 0.9, 0.95)
KINDS = ("plain", "distance", "spread")
FEWEST = {"plain": 0, "spread": 20, "distance": 60}  # calibration rows that a kind of interval needs; fewer give plain ones


# ensembles


def ensemble(means: np.ndarray, spreads: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(prediction, spread), (rows,) each, of members' predictions (members, rows): the mean, and the root of the variance of the equal mixture.

    spreads  (members, rows) standard deviations that the members state themselves, if they do
    """
    means = np.asarray(means, dtype=np.float64)
    if means.ndim != 2 or len(means) < 2:
        raise BadInput(f"predictions have shape {means.shape}; an ensemble is (members, rows) of at least two members", "ensemble")
    variance = means.var(0)
    if spreads is not None:
        variance = variance + (np.asarray(spreads, dtype=np.float64) ** 2).mean(0)
    return means.mean(0), np.sqrt(variance)


def spread_scale(truth: np.ndarray, guess: np.ndarray, spread: np.ndarray) -> float:
    """The factor on all spreads under which errors are most likely normal: the root mean square of error over spread."""
    truth, guess, spread = measured(truth, guess, spread, where="calibration")
    if (spread <= 0).any():
        raise BadInput("spreads must be positive", "calibration")
    return float(np.sqrt(np.mean(((truth - guess) / spread) ** 2)))


# conformal intervals


def conformal_quantile(scores: np.ndarray, level: float) -> float:
    """The ceil((n + 1) level)-th smallest of n scores of rows that were not trained on; infinite where n is too small for the level."""
    rank = math.ceil((len(scores) + 1) * level)
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else float("inf")


@dataclass(frozen=True)
class Conformal:
    """Intervals prediction +- quantile * difficulty, which hold the truth with the stated probability where new rows come like the calibration rows.

    kind       "plain": the same width for all; "distance": wider where training data are farther, by `steps` (distance from which, expected error);
               "spread": in units of the model's own spread, `floor` at least
    quantiles  {level: factor}; the factor of 68.27 % makes the stated standard deviation
    rows       calibration rows
    logarithm  intervals are of the logarithm: factors, for positive numbers over decades
    """

    kind: Literal["plain", "distance", "spread"]
    quantiles: Mapping[float, float]
    steps: tuple[tuple[float, float], ...] = ()
    floor: float = 0.0
    rows: int = 0
    logarithm: bool = False

    @staticmethod
    def of(truth: Sequence, guess: Sequence, *, distance: Sequence | None = None, spread: Sequence | None = None, kind: str = "", levels: Sequence[float] = LEVELS,
           seed: int = 0, logarithm: bool = False) -> Conformal:
        """From rows that were not trained on; the kind that the data given allow, `spread` before `distance`.

        How error grows with distance is learnt on one half of the rows (isotonic regression) and the quantiles are taken on the other, so that they stay
        exact. Few rows give plain intervals, see `FEWEST`. BadInput where no row has a label, or one without a logarithm where that is asked.
        """
        if logarithm:
            if np.any(np.asarray(truth) <= 0) or np.any(np.asarray(guess) <= 0):
                raise BadInput("labels and predictions that are not positive have no logarithm", "calibration")
            spread = None if spread is None else np.asarray(spread) / guess
            truth, guess = np.log(truth), np.log(guess)
        kind = kind or ("spread" if spread is not None else "distance" if distance is not None else "plain")
        if kind not in KINDS:
            raise Missing("kind of interval", kind, KINDS)
        basis = {"plain": None, "distance": distance, "spread": spread}[kind]
        if kind != "plain" and basis is None:
            raise BadInput(f"needs the {kind} of every row", f"intervals by {kind}")
        truth, guess, basis = measured(truth, guess, np.ones(len(truth)) if basis is None else basis, where="calibration")
        off, here, steps, floor = np.abs(truth - guess), np.arange(len(truth)), (), 0.0
        if len(truth) < FEWEST[kind]:
            kind = "plain"
        if kind == "distance":
            order = numpy_stream(seed, "calibration").permutation(len(truth))
            steps, here = _steps(basis[order[::2]], off[order[::2]]), order[1::2]
        if kind == "spread":
            floor = max(float(np.quantile(basis, 0.05)), 1e-12)
        found = Conformal(kind, {}, steps, floor, len(truth), logarithm)
        score = off[here] / found.difficulty(distance=basis[here], spread=basis[here], rows=len(here))
        return Conformal(kind, {float(v): conformal_quantile(score, v) for v in levels}, steps, floor, len(truth), logarithm)

    def difficulty(self, *, distance: np.ndarray | None = None, spread: np.ndarray | None = None, rows: int | None = None) -> np.ndarray:
        """(rows,) what the quantiles are multiplied by."""
        if self.kind == "plain":
            return np.ones(rows if rows is not None else len(distance if distance is not None else spread))
        basis = distance if self.kind == "distance" else spread
        if basis is None:
            raise BadInput(f"these intervals need the {self.kind} of every row", "intervals")
        if self.kind == "spread":
            return np.maximum(np.asarray(basis, dtype=np.float64), self.floor)
        begins, heights = np.array(self.steps).T
        return heights[np.maximum(np.searchsorted(begins, basis, side="right") - 1, 0)]

    def interval(self, guess: Sequence, level: float = 0.9, *, distance: np.ndarray | None = None, spread: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(low, high), (rows,) each; infinite where there were too few calibration rows for the level. Missing for a level that was not calibrated."""
        guess = np.asarray(guess, dtype=np.float64)
        if level not in self.quantiles:
            raise Missing("level", str(level), [str(v) for v in self.quantiles])
        half = self._half(level, guess, distance, spread)
        return (guess * np.exp(-half), guess * np.exp(half)) if self.logarithm else (guess - half, guess + half)

    def deviation(self, guess: Sequence, *, distance: np.ndarray | None = None, spread: np.ndarray | None = None) -> np.ndarray:
        """(rows,) half the width of the 68.27 % interval: what is printed behind +-."""
        guess = np.asarray(guess, dtype=np.float64)
        half = self._half(0.6827, guess, distance, spread)
        return guess * np.sinh(half) if self.logarithm else half

    def _half(self, level: float, guess: np.ndarray, distance: np.ndarray | None, spread: np.ndarray | None) -> np.ndarray:
        """Half the width, of the logarithm where that is calibrated."""
        if self.logarithm and spread is not None:
            spread = np.asarray(spread) / guess
        return self.quantiles[level] * self.difficulty(distance=distance, spread=spread, rows=len(guess))

    def below(self, guess: Sequence, limit: float, deviation: np.ndarray) -> np.ndarray:
        """(rows,) probability that the truth lies below `limit`, errors taken as symmetric, linear between the calibrated levels; never 0 or 1.

        deviation  (rows,) as `deviation` gives it
        """
        levels = sorted(v for v, q in self.quantiles.items() if math.isfinite(q))
        if not levels or not math.isfinite(self.quantiles.get(0.6827, math.inf)):
            return np.full(len(guess), 0.5)
        guess = np.asarray(guess, dtype=np.float64)
        if self.logarithm:
            limit, guess, deviation = math.log(limit) if limit > 0 else -math.inf, np.log(guess), np.arcsinh(deviation / guess)
        off = (limit - guess) / np.maximum(deviation / max(self.quantiles[0.6827], 1e-300), 1e-300)
        halves = [0.0, *(self.quantiles[v] for v in levels), 4 * max(self.quantiles[levels[-1]], 1e-300)]
        inside = np.interp(np.abs(off), halves, [0.0, *levels, 1 - 1 / (self.rows + 2)])
        return 0.5 + 0.5 * np.sign(off) * inside

    def to_words(self) -> dict[str, Any]:
        """Plain JSON; an infinite quantile is null."""
        return {"kind": self.kind, "quantiles": {str(k): v if math.isfinite(v) else None for k, v in self.quantiles.items()}, "steps": [list(s) for s in self.steps],
                "floor": self.floor, "rows": self.rows, "logarithm": self.logarithm}

    @staticmethod
    def of_words(words: Mapping[str, Any]) -> Conformal:
        """The reverse of `to_words`; BadInput where something is missing or of the wrong kind."""
        try:
            return Conformal(words["kind"], {float(k): float("inf") if v is None else float(v) for k, v in words["quantiles"].items()},
                             tuple((float(a), float(b)) for a, b in words["steps"]), float(words["floor"]), int(words["rows"]), bool(words.get("logarithm", False)))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadInput(f"is no calibration: {type(error).__name__} {error}", "uncertainty") from None


def _steps(distance: np.ndarray, off: np.ndarray, most: int = 32) -> tuple[tuple[float, float], ...]:
    """Error as a rising step function of distance: ((distance from which, expected error), ...), means over at least 1/32 of the rows."""
    from sklearn.isotonic import IsotonicRegression

    order = np.argsort(distance, kind="stable")
    parts = np.array_split(order, max(1, min(most, len(order) // 10)))
    begins, means = [float(distance[p].min()) for p in parts], [float(off[p].mean()) for p in parts]
    rising = IsotonicRegression().fit_transform(np.arange(len(parts)), means, sample_weight=[len(p) for p in parts])
    least = max(1e-3 * float(off.mean()), 1e-12)
    return tuple(zip(begins, np.maximum(rising, least).tolist(), strict=True))


# classes


def temperature(truth: np.ndarray, logits: np.ndarray) -> float:
    """The number by which scores (rows, classes) are divided before softmax so that labels (rows,) not trained on are most likely; between 0.05 and 20."""
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    truth, logits = np.asarray(truth), np.asarray(logits, dtype=np.float64)
    keep = truth >= 0
    if not keep.any():
        raise BadInput("no row has a label", "temperature")
    rows, labels = logits[keep], truth[keep].astype(np.int64)
    loss = lambda log_t: -log_softmax(rows / math.exp(log_t), axis=1)[np.arange(len(labels)), labels].mean()
    return float(math.exp(minimize_scalar(loss, bounds=(math.log(0.05), math.log(20.0)), method="bounded").x))


def tempered(probabilities: np.ndarray, t: float) -> np.ndarray:
    """Probabilities (rows, classes) after division of their logarithms by the temperature."""
    from scipy.special import softmax

    return softmax(np.log(np.clip(probabilities, 1e-300, None)) / t, axis=-1)
