import numpy as np
import pytest

from matterloop.base.errors import BadInput
from matterloop.bench import examples
from matterloop.crystal.formats import to_pymatgen
from matterloop.crystal.matching import prepare
from matterloop.crystal.state import Crystals
from matterloop.judge.structure_prediction import TOLERANCE, Predictions, compare, distance, everyone_to_reference

SALT = examples.rock_salt()
CESIUM = Crystals.of([[0.0, 0, 0], [0.5, 0.5, 0.5]], examples.SALT, 3.4 * np.eye(3))
OXIDE = examples.rock_salt((12, 8), side=4.2)
LOW = examples.low_symmetry()
NEAR = LOW.put(frac=LOW.frac + np.array([[0.02, 0, 0], [0, 0, 0], [0, 0.015, 0], [0, 0, 0], [0, 0, 0.01]]))


def test_rates_by_hand():
    """Best of two of four targets: 0.1, 0.3, none, 0.2."""
    found = Predictions(np.array([[0.1, 0.2], [np.inf, 0.3], [np.inf, np.inf], [0.4, 0.2]]), stol=0.5)
    first, both = found.at(1), found.at(2)
    assert (first["match_rate"], first["rmse"], first["crmse"]) == pytest.approx((0.5, 0.25, (0.1 + 0.5 + 0.5 + 0.4) / 4))
    assert (both["match_rate"], both["rmse"], both["crmse"]) == pytest.approx((0.75, 0.2, (0.1 + 0.3 + 0.5 + 0.2) / 4))
    assert both["match_rate_interval"][0] < 0.75 < both["match_rate_interval"][1] and both["rmse_interval"][0] <= 0.2 <= both["rmse_interval"][1]
    with pytest.raises(BadInput, match="k is 3"):
        found.at(3)


def test_without_a_match_there_is_no_rmse_and_crmse_is_the_tolerance():
    none = Predictions(np.full((3, 1), np.inf)).at(1)
    assert none["match_rate"] == 0 and np.isnan(none["rmse"]) and none["crmse"] == 0.5


def test_the_distance_is_that_of_structure_matcher():
    from pymatgen.core.structure_matcher import StructureMatcher

    wanted = StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10).get_rms_dist(*to_pymatgen(Crystals.join([NEAR, LOW])))[0]
    assert distance(*prepare(Crystals.join([NEAR, LOW]), TOLERANCE)) == pytest.approx(wanted) and wanted > 0.001


def test_predictions_are_compared_with_their_own_targets():
    targets = Crystals.join([SALT, CESIUM, OXIDE, LOW])
    found = compare([Crystals.join([CESIUM, examples.skewed()]), None, OXIDE, NEAR], targets)
    assert np.isfinite(found.distances).tolist() == [[False, True], [False, False], [True, False], [True, False]]
    assert found.at(1)["match_rate"] == 0.5 and found.at(2)["match_rate"] == 0.75


def test_a_prediction_that_is_not_valid_does_not_match():
    found = compare([SALT, OXIDE], Crystals.join([SALT, OXIDE]), valid=[[False], [True]])
    assert np.isfinite(found.distances[:, 0]).tolist() == [False, True]


def test_one_that_cannot_be_compared_does_not_match():
    broken = Crystals.of([[0, 0, 0], [0.0, 0, 0.001]], examples.SALT, 3.4 * np.eye(3))
    assert compare([broken], CESIUM).at(1)["match_rate"] == 0


def test_everyone_may_match_any_reference_of_its_composition():
    """Targets salt, caesium chloride and MgO, answered with caesium chloride, salt and nothing: match rate 0, METRe 2 of 3."""
    references = Crystals.join([SALT, CESIUM, OXIDE])
    assert compare([CESIUM, SALT, None], references).at(1)["match_rate"] == 0
    found = everyone_to_reference(Crystals.join([CESIUM, SALT]), references)
    assert found["metre"] == pytest.approx(2 / 3) and found["rmse"] == pytest.approx(0, abs=1e-6) and found["crmse"] == pytest.approx(0.5 / 3, abs=1e-6)


def test_of_several_matches_the_best_counts():
    found = everyone_to_reference(Crystals.join([NEAR, LOW]), LOW)
    assert found["metre"] == 1 and found["rmse"] == pytest.approx(0, abs=1e-6)


def test_as_many_predictions_as_targets_are_wanted():
    with pytest.raises(BadInput, match="for 1 targets, there are 2"):
        compare([SALT], Crystals.join([SALT, OXIDE]))
