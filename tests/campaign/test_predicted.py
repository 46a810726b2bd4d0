"""Limits that a predictor answers: the number against the limit, its probability, and a kind of crystal that is not known."""

import numpy as np
import pytest
import torch

from matterloop.archive.records import Ask, Limit
from matterloop.campaign.lexicon import checkable
from matterloop.campaign.predicted import Predictors, within
from matterloop.crystal.state import Crystals
from matterloop.learn.calibrated import Prediction
from matterloop.learn.targets import Target
from matterloop.learn.uncertainty import Conformal

SALT = Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17], [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]])
BOTH = Crystals.join([SALT, SALT.put(species=torch.tensor([19, 17]))])
ERROR = Conformal("plain", {0.6827: 1.0, 0.9: 2.0, 0.95: 3.0}, rows=100)


class Planted:
    """A predictor of which the numbers are given."""

    takes_compositions = False

    def __init__(self, values, unit="GPa", classes=0, known=("known", "unknown")):
        self.values, self.target, self.known = np.array(values, dtype=float), Target("y", unit, classes=classes), known

    def predict(self, crystals):
        n = len(crystals)
        v, blank = self.values[:n], np.full(n, np.nan)
        if self.target.classes:
            return Prediction(v, blank, blank, blank, blank, self.known[:n], ("",) * n, np.stack([1 - v, v], 1))
        return Prediction(v, np.ones(n), v - 2, v + 2, blank, self.known[:n], ("mp-22862",) * n, conformal=ERROR)


def reasons(limits, **planted):
    return Predictors(tuple(planted), planted.__getitem__).reasons(Ask(limits=tuple(limits)), BOTH)


def test_the_number_decides_and_the_error_says_how_surely():
    (first,), (second,) = reasons([Limit("bulk_modulus", 200.0, None, "GPa")], bulk_modulus=Planted([201.0, 190.0]))
    assert (first.check, first.value, first.limit, first.unit, first.passed) == ("bulk_modulus", 201.0, 200.0, "GPa", True)
    assert first.confidence == pytest.approx(0.5 + 0.6827 / 2)  # one deviation above the limit
    assert not second.passed and second.confidence > 0.97
    assert "knows (nearest mp-22862)" in first.note and "199 to 203" in first.note and "unlike" in second.note


def test_a_range_leaves_room_on_both_sides():
    said = Planted([1.5]).predict(SALT)
    assert within(Limit("band_gap", 0.5, 2.5, "eV"), said, 0) == pytest.approx(0.6827)
    assert within(Limit("band_gap", None, 1.5, "eV"), said, 0) == pytest.approx(0.5)


def test_a_metal_has_no_gap_whatever_the_regression_says():
    gap, metal = Planted([1.5, 1.5], "eV"), Planted([0.8, 0.1], "", classes=2)
    (first,), (second,) = reasons([Limit("band_gap", 1.0, 2.0, "eV")], band_gap=gap, is_metal=metal)
    assert (first.value, first.passed) == (0.0, False) and "metal with probability 0.80" in first.note
    assert first.confidence == pytest.approx(1 - 0.2 * ERROR_WITHIN_HALF)
    assert second.passed and second.confidence == pytest.approx(0.9 * ERROR_WITHIN_HALF)
    (conducts,), _ = reasons([Limit("band_gap", None, 0.0, "eV")], band_gap=gap, is_metal=metal)
    assert conducts.passed and conducts.confidence == pytest.approx(0.8 + 0.2 * float(ERROR.below([1.5], 0.0, np.ones(1))[0]))


ERROR_WITHIN_HALF = 0.6827 / 2  # of errors up to 0.5, linear up to the first level at 1


def test_what_no_predictor_answers_has_no_reason():
    assert reasons([Limit("hardness", 10.0, None, "GPa")], bulk_modulus=Planted([1.0, 1.0])) == [[], []]
    assert Predictors().reasons(Ask(limits=(Limit("band_gap", 1.0, None, "eV"),)), BOTH) == [[], []]
    assert checkable() >= {"density", "formation_energy_per_atom"}


def test_a_predicted_distance_to_the_hull_is_the_predicted_formation_energy_less_that_of_the_hull():
    limit = Limit("predicted_energy_above_hull", None, 0.1, "eV/atom")
    planted = Planted([-2.0, -1.8], "eV/atom")
    (first,), (second,) = Predictors(("predicted_energy_above_hull",), lambda name: planted).reasons(Ask(limits=(limit,)), BOTH)
    from matterloop.measure.reference import reference_hull

    hull = reference_hull("chgnet")
    depth = [float(hull.formation_energy([c], [0.0])[0] - hull.energy_above([c], [0.0]).above[0]) for c in ({11: 1, 17: 1}, {17: 1, 19: 1})]
    assert depth[0] == pytest.approx(-2.0, abs=0.2) and depth[1] == pytest.approx(-2.1, abs=0.2)  # heats of NaCl and KCl: -4.26 and -4.53 eV per formula
    assert first.value == pytest.approx(-2.0 - depth[0]) and second.value == pytest.approx(-1.8 - depth[1])
    assert first.passed and not second.passed and first.unit == "eV/atom"


def test_only_what_was_learnt_from_crystals_as_proposed_screens_before_relaxation():
    limits = (Limit("bulk_modulus", 200.0, None, "GPa"), Limit("predicted_formation_energy_per_atom", None, -1.0, "eV/atom"))
    planted = {"bulk_modulus": Planted([210.0, 190.0]), "predicted_formation_energy_per_atom": Planted([-1.5, -0.5], "eV/atom")}
    predictors = Predictors(tuple(planted), planted.__getitem__)
    before = predictors.reasons(Ask(limits=limits), BOTH, before=True)
    assert predictors.screens(Ask(limits=limits)) and not predictors.screens(Ask(limits=limits[:1]))
    assert [[(r.check, r.passed) for r in reasons] for reasons in before] == [[("predicted_formation_energy_per_atom", True)], [("predicted_formation_energy_per_atom", False)]]
