"""Predictors of properties that come with the package: trained by recipes/train_predictors.py, calibrated, each with a card."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from ..archive.shipped import list_shipped, path
from ..base.errors import Missing

if TYPE_CHECKING:
    from .calibrated import CalibratedPredictor

PREFIX = "predictor_"


@cache
def predicted_properties() -> tuple[str, ...]:
    """Names of the properties that a shipped predictor gives, as wishes call them (band_gap, bulk_modulus, ...), sorted; reads no weights."""
    return tuple(name.removeprefix(PREFIX) for name in list_shipped() if name.startswith(PREFIX))


@cache
def shipped_predictor(name: str) -> CalibratedPredictor:
    """The shipped predictor of a property, read once; Missing with the nearest names where there is none."""
    if name not in predicted_properties():
        raise Missing("shipped predictor", name, predicted_properties())
    from .calibrated import CalibratedPredictor

    return CalibratedPredictor.load(path(PREFIX + name))
