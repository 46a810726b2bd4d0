"""Predictors of properties that come with the package: trained by recipes/train_predictors.py, calibrated, each with a card."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from ..archive.shipped import card, list_shipped, path
from ..base.errors import Missing

if TYPE_CHECKING:
    from .calibrated import CalibratedPredictor

PREFIX = "predictor_"
FORMATION, ABOVE_HULL = "predicted_formation_energy_per_atom", "predicted_energy_above_hull"
WISHES = {"formation_energy": (FORMATION, ABOVE_HULL)}  # names under which wishes know a predictor, where what is computed has the plain name


@cache
def shipped_names() -> tuple[str, ...]:
    """Names of the shipped predictors, sorted; reads no weights."""
    return tuple(name.removeprefix(PREFIX) for name in list_shipped() if name.startswith(PREFIX))


@cache
def predicted_properties() -> tuple[str, ...]:
    """Names of the properties that a shipped predictor gives, as wishes call them (band_gap, bulk_modulus, ...), sorted; reads no weights."""
    return tuple(sorted(wish for name in shipped_names() for wish in WISHES.get(name, (name,))))


@cache
def shipped_predictor(name: str) -> CalibratedPredictor:
    """The shipped predictor of a property, by its own name or as a wish calls it, read once; Missing with the nearest names where there is none.

    That of `ABOVE_HULL` gives formation energies, from which the hull at the composition is to be subtracted.
    """
    own = next((k for k, wishes in WISHES.items() if name in wishes), name)
    if own not in shipped_names():
        raise Missing("shipped predictor", name, (*shipped_names(), *predicted_properties()))
    from .calibrated import CalibratedPredictor

    return CalibratedPredictor.load(path(PREFIX + own))


def described_predictors() -> list[dict[str, Any]]:
    """One dict for every shipped predictor, from its card: what it is, its task of the board and its figures on rows that neither trained nor calibrated it.

    value, low, high  the task's metric with its 95 % interval; inside: share of the tested rows within their 90 % interval, None for classes
    """
    found = []
    for name in shipped_names():
        words = card(PREFIX + name)
        measured, metric = words["measured"], words.get("metric") or ("auc" if "auc" in words["measured"] else "mae")
        found.append({
            "name": name, "wishes": list(WISHES.get(name, (name,))), "what": words["what"], "unit": words.get("unit", ""), "model": words["model"], "members": words["members"],
            "data": words["data"], "train_rows": words["train_rows"], "calibration_rows": words["calibration_rows"], "task": words.get("task", ""), "metric": metric,
            **{k: measured[metric][k] for k in ("value", "low", "high")}, "tested": measured["rows"], "inside": measured.get("in_90_percent_interval"), "seconds": words["cpu_seconds"],
            "purpose": words.get("purpose", "")})
    return found
