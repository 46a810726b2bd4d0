"""Errors of a potential against literal answers."""

import math

import pytest
import torch

from matterloop.base.errors import BadInput
from matterloop.bench import examples as ex
from matterloop.bench.targets_forces import TargetsForces
from matterloop.crystal.state import Crystals
from matterloop.potential.lennard_jones import LennardJones
from matterloop.potential.oracle import Labels


class Fixed:
    """An oracle that gives what it was told."""

    name, energy_scheme = "fixed", "toy"

    def __init__(self, **labels):
        self.labels = Labels(**labels)

    def label(self, crystals):
        return self.labels


def real(x):
    return torch.tensor(x, dtype=torch.float64)


def two():
    return Crystals.of([[0, 0, 0], [0.5, 0, 0], [0, 0, 0]], [11, 17, 11], 4 * torch.eye(3).expand(2, 3, 3), [2, 1])


def test_errors_of_two_crystals_by_hand():
    crystals = two().with_fields(site={"forces": real([[1.0, 0, 0], [-1.0, 0, 0], [0, 0, 0]]), "magmom": real([2.0, math.nan, -1.0])},
                                 whole={"energy": real([-4.0, -1.0]), "stress": torch.zeros(2, 3, 3)})
    guess = Fixed(energy=real([-3.8, -1.3]), forces=real([[0, 1.0, 0], [-2.0, 0, 0], [0, 0, 0.3]]), stress=torch.eye(3).expand(2, 3, 3).double() * 0.03,
                  magmoms=real([1.5, 9.0, 1.1]))
    scores = {s.name: s for s in TargetsForces(resamples=50).score(guess, crystals)}
    assert scores["energy_per_atom"].value == pytest.approx((0.1 + 0.3) / 2) and scores["energy_per_atom"].unit == "eV/atom"
    assert scores["forces"].value == pytest.approx((math.sqrt(2) + 1.0 + 0.3) / 3)
    assert scores["force_angle"].value == pytest.approx(45.0) and scores["force_angle"].count == 1  # the third atom feels no force
    assert scores["force_size"].value == pytest.approx(0.5)
    assert scores["stress"].value == pytest.approx(0.03 * math.sqrt(3) / 3)
    assert scores["magmom"].value == pytest.approx((0.5 + 0.1) / 2) and scores["magmom"].count == 2


def test_an_interval_covers_the_truth_about_as_often_as_it_says():
    rng = torch.Generator().manual_seed(0)
    covered, runs, count = 0, 150, 40
    crystals = Crystals.join([two()[1]] * count).with_fields(whole={"energy": torch.zeros(count, dtype=torch.float64)})
    for seed in range(runs):
        error = torch.empty(count, dtype=torch.float64).exponential_(generator=rng)  # absolute errors of mean 1
        (score,) = TargetsForces(resamples=300, seed=seed).score(Fixed(energy=error), crystals)
        covered += score.low <= 1.0 <= score.high
    assert 0.85 < covered / runs <= 0.99


def test_labels_come_from_another_oracle_and_the_same_oracle_is_perfect():
    truth, task = LennardJones(epsilon=0.1, sigma=2.2, cutoff=5.5), TargetsForces(resamples=50)
    labelled = task.labelled(ex.displaced(4), truth)
    assert max(s.value for s in task.score(truth, labelled, scheme="lj")) < 1e-5
    with pytest.raises(BadInput, match="labels of scheme 'mp2020' cannot be compared with energies of scheme 'lj'"):
        task.score(truth, labelled, scheme="mp2020")


def test_crystals_without_labels_are_refused():
    with pytest.raises(BadInput, match="energy, forces, stress or magmom is needed"):
        TargetsForces().score(LennardJones(), ex.rock_salt())


def test_a_field_that_was_never_measured_scores_nan_with_count_zero():
    crystals = two().with_fields(whole={"energy": torch.full((2,), math.nan, dtype=torch.float64)})
    (score,) = TargetsForces(resamples=50).score(Fixed(energy=real([1.0, 2.0])), crystals)
    assert math.isnan(score.value) and score.count == 0

