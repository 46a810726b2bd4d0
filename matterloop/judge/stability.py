"""Is a candidate stable: its distance to the convex hull, and the probability that the true distance lies within the limit."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from ..archive.records import Reason
from ..base.errors import BadInput, Missing

ENERGY_REPEAT = 1e-4  # eV/atom: what two runs of the same relaxation may differ by


@dataclass(frozen=True)
class HullError:
    """Measured error of a potential's hull distance: reference minus predicted, as quantiles in eV/atom.

    quantiles  (k,) ascending values at probabilities 1/(k+1) ... k/(k+1)
    source     on what it was measured
    """

    quantiles: tuple[float, ...]
    source: str = ""

    def __post_init__(self):
        if len(self.quantiles) < 2 or any(b < a for a, b in zip(self.quantiles, self.quantiles[1:])):
            raise BadInput("quantiles must be at least two, ascending", "hull error")

    @staticmethod
    def of(errors, source: str = "", count: int = 101) -> HullError:
        """From measured errors (reference minus predicted, eV/atom); BadInput for fewer than `count` or numbers that are not finite."""
        errors = np.asarray(errors, dtype=np.float64).reshape(-1)
        if len(errors) < count or not np.isfinite(errors).all():
            raise BadInput(f"{len(errors)} errors, {int(np.isfinite(errors).sum())} of them finite; at least {count} finite ones are wanted", "hull error")
        return HullError(tuple(np.quantile(errors, np.arange(1, count + 1) / (count + 1)).tolist()), source)

    def probability(self, predicted: float, limit: float) -> float:
        """Probability that the true distance is at most `limit`, both in eV/atom: the share of errors below limit - predicted.

        Never 0 or 1: beyond the outermost quantiles it stays at half a step, 0.5 / (k + 1), from them. It says nothing of phases that the hull lacks.
        """
        k = len(self.quantiles)
        q = np.asarray(self.quantiles)
        levels = np.arange(1, k + 1) / (k + 1)
        return float(np.interp(limit - predicted, q, levels, left=0.5 / (k + 1), right=1 - 0.5 / (k + 1)))


@cache
def measured_error(potential: str) -> HullError | None:
    """The shipped error of a potential's hull distances, None where none was measured."""
    from ..archive import shipped

    try:
        table = shipped.read_json(f"hull_error_{potential}.json")
    except Missing:
        return None
    return HullError(tuple(table["quantiles"]), table["source"])


def stability(above: float, limit: float, error: HullError | None, note: str = "") -> Reason:
    """Reason for a distance `above` the hull against `limit` (eV/atom): passed by the number, confidence from the measured error."""
    passed = above <= limit
    chance = None
    if error is not None and above == above:
        within = error.probability(above, limit)
        chance = within if passed else 1 - within
    return Reason("energy_above_hull", above, limit, "eV/atom", passed, chance, note, abs(above - limit) <= ENERGY_REPEAT)
