"""Stability: probabilities from measured errors, borderline values, what a verdict's confidence means."""

import numpy as np
import pytest

from matterloop.base.errors import BadInput
from matterloop.judge.stability import ENERGY_REPEAT, HullError, measured_error, stability

STEPS = HullError((-0.04, -0.02, 0.0, 0.02, 0.04))  # at probabilities 1/6, 2/6, ... 5/6


def test_probability_is_the_share_of_errors_below_the_gap():
    assert STEPS.probability(0.1, 0.1) == pytest.approx(0.5)
    assert STEPS.probability(0.08, 0.1) == pytest.approx(4 / 6)
    assert STEPS.probability(0.09, 0.1) == pytest.approx(3.5 / 6)
    assert STEPS.probability(0.12, 0.1) == pytest.approx(2 / 6)


def test_probability_is_never_certain():
    assert STEPS.probability(-9.0, 0.1) == pytest.approx(1 - 0.5 / 6) and STEPS.probability(9.0, 0.1) == pytest.approx(0.5 / 6)


def test_quantiles_of_a_normal_error_give_back_its_distribution():
    errors = np.random.default_rng(0).normal(0.03, 0.05, 20_000)
    error = HullError.of(errors)
    assert len(error.quantiles) == 101
    for gap, wanted in ((0.03, 0.5), (0.08, 0.8413), (-0.02, 0.1587), (0.114, 0.9535)):
        assert error.probability(0.0, gap) == pytest.approx(wanted, abs=0.01)


def test_probability_holds_on_errors_that_were_not_seen():
    rng = np.random.default_rng(1)
    error = HullError.of(rng.laplace(0.04, 0.04, 1000))
    predicted, true_error = rng.uniform(-0.2, 0.3, 20_000), rng.laplace(0.04, 0.04, 20_000)
    chance = np.array([error.probability(p, 0.1) for p in predicted])
    hit = predicted + true_error <= 0.1
    for low in np.arange(0, 1, 0.2):
        rows = (chance >= low) & (chance < low + 0.2)
        assert hit[rows].mean() == pytest.approx(chance[rows].mean(), abs=0.04)


@pytest.mark.parametrize("bad", [(0.1,), (0.2, 0.1)])
def test_quantiles_must_ascend(bad):
    with pytest.raises(BadInput, match="ascending"):
        HullError(bad)


def test_too_few_errors_or_nan_are_refused():
    with pytest.raises(BadInput, match="100 errors"):
        HullError.of(np.zeros(100))
    with pytest.raises(BadInput, match="200 of them finite"):
        HullError.of([*np.zeros(200), np.nan])


def test_confidence_is_the_probability_that_the_verdict_is_right():
    passed, failed = stability(0.08, 0.1, STEPS), stability(0.12, 0.1, STEPS)
    assert passed.passed and passed.confidence == pytest.approx(4 / 6)
    assert not failed.passed and failed.confidence == pytest.approx(1 - 2 / 6)
    assert stability(0.05, 0.1, None).confidence is None
    assert (passed.value, passed.limit, passed.unit) == (0.08, 0.1, "eV/atom")


@pytest.mark.parametrize("offset, marked", [(0.0, True), (0.9 * ENERGY_REPEAT, True), (-0.9 * ENERGY_REPEAT, True), (1.1 * ENERGY_REPEAT, False), (-0.01, False)])
def test_a_value_within_the_repeatability_of_the_limit_is_borderline(offset, marked):
    assert stability(0.1 + offset, 0.1, None).borderline is marked
    assert ENERGY_REPEAT == 1e-4


def test_no_number_is_no_confidence():
    reason = stability(float("nan"), 0.1, STEPS)
    assert not reason.passed and reason.confidence is None and not reason.borderline


def test_the_shipped_error_of_chgnet_is_optimistic_by_tens_of_millielectronvolts():
    """CHGNet puts new crystals too low: its median error is positive, and half of all errors lie within 0.1 eV/atom."""
    error = measured_error("chgnet")
    middle = error.quantiles[50]
    assert len(error.quantiles) == 101 and 0.0 < middle < 0.1
    assert error.quantiles[75] - error.quantiles[25] < 0.2
    assert error.probability(0.0, 0.0) < 0.5 < error.probability(0.0, 0.1)
    assert "WBM" in error.source


def test_a_potential_without_a_measured_error_has_none():
    assert measured_error("lennard_jones") is None
