"""Calibration of errors whose distribution is known, and of probabilities by hand."""

import numpy as np
import pytest

from matterloop.learn import calibration as c

RNG = np.random.default_rng(7)


def test_calibration_of_a_normal_error():
    spread = RNG.uniform(0.5, 2.0, 20_000)
    truth = spread * RNG.normal(size=20_000)
    good, narrow = c.calibration(truth, np.zeros(20_000), spread), c.calibration(truth, np.zeros(20_000), spread / 2)
    assert good["miscalibration_area"] < 0.01 and good["ece"] < 0.01 and good["coverage_95"] == pytest.approx(0.95, abs=0.01)
    assert narrow["coverage_95"] == pytest.approx(0.673, abs=0.015)  # within 0.98 standard deviations
    assert narrow["miscalibration_area"] > 0.15 and good["error_rank"] > 0.3
    assert c.miscalibration_area(truth, np.zeros(20_000), spread * 1e-9) == pytest.approx(0.5, abs=0.01)


def test_calibration_of_probabilities_by_hand():
    truth, score = np.array([1.0, 1, 0, 0]), np.array([0.9, 0.9, 0.9, 0.1])
    # confidence 0.9 in all four rows, three of them right
    assert c.ece(truth, score) == pytest.approx(0.15)
    assert c.coverage([1.0, 2.0, np.nan, 4.0], [0, 0, 0, 0], [1, 1, 1, 9]) == pytest.approx(2 / 3)
