"""Limits of a wish that a trained predictor answers: the predicted number, how sure it is, and whether the crystal is of a kind that it knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ..archive.records import Ask, Limit, Reason
from ..crystal.compositions import Compositions
from ..crystal.state import Crystals
from ..learn.calibrated import CalibratedPredictor, Prediction
from ..learn.shipped_predictors import ABOVE_HULL, FORMATION, predicted_properties, shipped_predictor

METAL = "is_metal"  # the classifier that decides between a gap of zero and the predicted one
GAP = "band_gap"
BEFORE = frozenset({ABOVE_HULL, FORMATION})  # learnt from crystals as proposed too: these limits screen before anything is relaxed


@dataclass(frozen=True)
class Predictors:
    """names of properties, and what gives the predictor of one; by default those that ship."""

    names: tuple[str, ...] = ()
    give: Callable[[str], CalibratedPredictor] = shipped_predictor

    @staticmethod
    def shipped() -> Predictors:
        """Those of the package."""
        return Predictors(predicted_properties())

    def screens(self, ask: Ask) -> bool:
        """Whether the ask has a limit that can be answered before anything is relaxed."""
        return any(limit.name in BEFORE and limit.name in self.names for limit in ask.limits)

    def reasons(self, ask: Ask, crystals: Crystals, before: bool = False) -> list[list[Reason]]:
        """For each crystal one reason for each limit of the ask that a predictor answers; `before` relaxation only those that can be answered then.

        passed: by the predicted number; confidence: the probability that this is right, from errors on crystals that were not trained on.
        """
        found: list[list[Reason]] = [[] for _ in range(len(crystals))]
        for limit in ask.limits:
            if limit.name not in self.names or not len(crystals) or (before and limit.name not in BEFORE):
                continue
            predictor = self.give(limit.name)
            said = self._predicted(predictor, crystals)
            if limit.name == ABOVE_HULL:
                said = above_hull(said, crystals)
            metal = self._predicted(self.give(METAL), crystals) if limit.name == GAP and METAL in self.names else None
            for i, reasons in enumerate(found):
                reasons.append(_reason(limit, predictor, said, metal, i))
        return found

    def _predicted(self, predictor: CalibratedPredictor, crystals: Crystals) -> Prediction:
        bare = crystals.bare()
        return predictor.predict(Compositions.of_crystals(bare) if predictor.takes_compositions else bare)


def above_hull(said: Prediction, crystals: Crystals) -> Prediction:
    """Predicted formation energies as distances to the shipped CHGNet hull, eV/atom: the hull is known, so the uncertainty stays. Negative: below the hull."""
    from ..measure.hull_level import hull_level

    level = hull_level(crystals)
    return replace(said, value=said.value - level, low=said.low - level, high=said.high - level)


def _reason(limit: Limit, predictor: CalibratedPredictor, said: Prediction, metal: Prediction | None, i: int) -> Reason:
    value, chance = float(said.value[i]), within(limit, said, i)
    note = f"predicted, {said.low[i]:.3g} to {said.high[i]:.3g} in 9 of 10 cases" if np.isfinite(said.low[i]) else "predicted"
    if metal is not None:
        conducts = float(metal.value[i])
        holds_zero = limit.holds(0.0)
        chance = conducts * holds_zero + (1 - conducts) * (chance if chance is not None else 0.5)
        if conducts >= 0.5:
            value, note = 0.0, f"predicted a metal with probability {conducts:.2f}"
        else:
            note += f"; no metal with probability {1 - conducts:.2f}"
    passed = limit.holds(value)
    if said.known[i]:
        note += {"known": "; a kind of crystal that the predictor knows", "edge": "; at the edge of what the predictor knows",
                 "unknown": "; unlike what the predictor was trained on"}[said.known[i]]
        note += f" (nearest {said.nearest[i]})" if said.nearest[i] else ""
    bound = limit.high if limit.high is not None and (value > limit.high or limit.low is None) else limit.low
    confidence = None if chance is None else chance if passed else 1 - chance
    return Reason(limit.name, value, float("inf") if bound is None else float(bound), predictor.target.unit or limit.unit, passed, confidence, note)


def within(limit: Limit, said: Prediction, i: int) -> float | None:
    """Probability that the truth of row i lies within the limit, None where nothing was calibrated."""
    high = 1.0 if limit.high is None else float(said.below(limit.high)[i])
    low = 0.0 if limit.low is None else float(said.below(limit.low)[i])
    return None if high != high or low != low else min(max(high - low, 0.0), 1.0)
