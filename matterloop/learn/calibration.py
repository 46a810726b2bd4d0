"""Is the stated uncertainty true? How often labels lie where predictions say they should.

V. Kuleshov, N. Fenner, S. Ermon, ICML 2018, arXiv:1807.00263; of materials: K. Tran et al., Mach. Learn. Sci. Technol. 1, 025006 (2020),
doi:10.1088/2632-2153/ab7e1a; of classes: C. Guo et al., ICML 2017, arXiv:1706.04599.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..base.errors import BadInput
from .metrics import THRESHOLD, measured

LEVELS = np.linspace(0.01, 0.99, 99)


def calibration_curve(truth: np.ndarray, guess: np.ndarray, spread: np.ndarray, levels: np.ndarray = LEVELS) -> np.ndarray:
    """(levels,) share of rows inside the central interval of a normal distribution of standard deviation `spread` that should hold `levels` of them.

    V. Kuleshov, N. Fenner, S. Ermon, ICML 2018, arXiv:1807.00263.
    """
    from scipy.special import ndtri

    truth, guess, spread = measured(truth, guess, spread, where="calibration")
    if (spread < 0).any():
        raise BadInput(f"{int((spread < 0).sum())} spreads are negative", "calibration")
    with np.errstate(divide="ignore", invalid="ignore"):
        off = np.where(guess == truth, 0.0, np.abs(guess - truth) / spread)
    return (off[:, None] <= ndtri((1 + levels) / 2)).mean(0)


def miscalibration_area(truth: np.ndarray, guess: np.ndarray, spread: np.ndarray) -> float:
    """Area between the calibration curve and the diagonal: 0 calibrated, 0.5 at worst. K. Tran et al., Mach. Learn. Sci. Technol. 1, 025006 (2020)."""
    gap = np.abs(np.concatenate([[0.0], calibration_curve(truth, guess, spread) - LEVELS, [0.0]]))
    return float(np.trapezoid(gap, np.concatenate([[0.0], LEVELS, [1.0]])))


def expected_calibration_error(truth: np.ndarray, guess: np.ndarray, spread: np.ndarray) -> float:
    """Mean of |observed - wanted| over the levels 1 to 99 %."""
    return float(np.abs(calibration_curve(truth, guess, spread) - LEVELS).mean())


def ece(truth: np.ndarray, score: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error of probabilities of class 1 in equal bins of the confidence in the called class. C. Guo et al., ICML 2017, arXiv:1706.04599, eq. 3."""
    truth, score = measured(truth, score, where="calibration")
    said = score >= THRESHOLD
    confidence, right = np.where(said, score, 1 - score), said == (truth > 0.5)
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gap = np.bincount(place, weights=right - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(truth))


def coverage(truth: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """Share of measured rows inside [low, high]."""
    truth, low, high = measured(truth, low, high, where="coverage")
    return float(((low <= truth) & (truth <= high)).mean())


def error_rank(truth: np.ndarray, guess: np.ndarray, spread: np.ndarray) -> float:
    """Spearman correlation of absolute error and stated spread: does the model know where it is wrong? NaN where one of them does not vary."""
    from scipy.stats import rankdata

    truth, guess, spread = measured(truth, guess, spread, where="calibration")
    a, b = rankdata(np.abs(guess - truth)), rankdata(spread)
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else float("nan")


def calibration(truth: Sequence, guess: Sequence, spread: Sequence) -> dict[str, float]:
    """All of the above for a normal distribution of the given spread: area, error, coverage of 68 and 95 %, rank correlation with the error."""
    truth, guess, spread = measured(truth, guess, spread, where="calibration")
    inside = calibration_curve(truth, guess, spread, np.array([0.6827, 0.95]))
    return {"miscalibration_area": miscalibration_area(truth, guess, spread), "ece": expected_calibration_error(truth, guess, spread),
            "coverage_68": float(inside[0]), "coverage_95": float(inside[1]), "error_rank": error_rank(truth, guess, spread)}
