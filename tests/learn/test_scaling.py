"""Labels to numbers and back; energies of the elements by least squares."""

import math

import numpy as np
import pytest
import torch

from matterloop.base.errors import BadInput
from matterloop.bench import examples as ex
from matterloop.crystal.state import Crystals
from matterloop.learn.scaling import Scaling, fit_scaling
from matterloop.learn.targets import Target, labelled

PER_ATOM, TOTAL, SITE = Target("e", "eV/atom"), Target("energy", "eV", extensive=True), Target("q", "e", per="site")


def binary(formulas, values, target):
    """Crystals of {element: count} in big cells with a label each."""
    species = [z for f in formulas for z, n in f.items() for _ in range(n)]
    counts = [sum(f.values()) for f in formulas]
    crystals = Crystals.of(torch.rand(len(species), 3), species, torch.eye(3).expand(len(counts), 3, 3) * 9, counts)
    return labelled(crystals, {target: torch.tensor(values, dtype=torch.float64)})


FORMULAS = [{11: 1, 17: 1}, {11: 2}, {17: 3}, {11: 1, 17: 3}, {11: 4, 17: 1}]


@pytest.mark.parametrize("target, scaling", [
    (PER_ATOM, Scaling(0.3, 2.5)), (PER_ATOM, Scaling(0.3, 0.5, log=True)), (PER_ATOM, Scaling(-1.0, 3.0, references={11: 2.0, 17: -0.7})),
    (SITE, Scaling(0.1, 0.2, references={11: 5.0})), (Target("t", rank=2), Scaling(4.0, 2.0)), (Target("v", rank=1), Scaling(0.0, 2.0))])
def test_inverse_takes_back_what_apply_did(target, scaling):
    crystals = ex.every()
    rows = crystals.atoms if target.per == "site" else len(crystals)
    labels = torch.rand(rows, *[3] * target.rank, dtype=torch.float64) + 0.1
    torch.testing.assert_close(scaling.inverse(scaling.apply(labels, target, crystals), target, crystals), labels, rtol=1e-13, atol=1e-14)


def test_an_extensive_target_is_the_sum_of_what_its_atoms_give():
    crystals, scaling = binary(FORMULAS, [0.0] * 5, TOTAL), Scaling(0.5, 2.0, references={11: 1.0, 17: -3.0})
    found = scaling.inverse(torch.full((crystals.atoms,), 0.25, dtype=torch.float64), TOTAL, crystals)
    assert found.tolist() == pytest.approx([2 * 1.0 + 1 - 3, 2 * 1.0 + 2, 3 * 1.0 - 9, 4 * 1.0 + 1 - 9, 5 * 1.0 + 4 - 3])
    assert scaling.apply(found, TOTAL, crystals).tolist() == pytest.approx([0.25] * 5)


@pytest.mark.parametrize("target, times", [(PER_ATOM, lambda f: 1), (TOTAL, lambda f: sum(f.values()))])
def test_energies_that_elements_explain_leave_nothing(target, times):
    energies = {11: -1.3, 17: -1.8}
    labels = [times(f) * sum(n * energies[z] for z, n in f.items()) / sum(f.values()) for f in FORMULAS]
    crystals = binary(FORMULAS, labels, target)
    scaling = fit_scaling(target, crystals, references=True)
    rest = scaling.apply(torch.tensor(labels, dtype=torch.float64), target, crystals)
    assert float(rest.abs().max()) < 1e-9 and scaling.references[17] - scaling.references[11] == pytest.approx(-0.5, abs=1e-9)


def test_references_are_those_of_numpy():
    labels = [0.1, -0.4, 0.9, 0.3, -0.2]
    share = np.array([[f.get(11, 0), f.get(17, 0)] for f in FORMULAS], dtype=float)
    share /= share.sum(1, keepdims=True)
    wanted = np.linalg.lstsq(share, np.array(labels) - np.mean(labels), rcond=None)[0]
    found = fit_scaling(PER_ATOM, binary(FORMULAS, labels, PER_ATOM), references=True).references
    assert [found[11], found[17]] == pytest.approx(wanted.tolist(), abs=1e-12)


def test_compositions_that_leave_elements_undetermined_get_a_short_solution():
    crystals = binary([{11: 1, 17: 1}, {11: 2, 17: 2}, {19: 1, 35: 1}], [-1.0, -1.0, -2.0], PER_ATOM)
    found = fit_scaling(PER_ATOM, crystals, references=True).references
    assert found[11] == pytest.approx(found[17], abs=1e-6) and found[19] == pytest.approx(found[35], abs=1e-6)
    assert found[11] - found[19] == pytest.approx(1.0, rel=1e-3)


def test_mean_and_spread_are_those_of_the_known_labels():
    crystals = binary(FORMULAS, [1.0, math.nan, 3.0, math.nan, 5.0], PER_ATOM)
    scaling = fit_scaling(PER_ATOM, crystals)
    assert (scaling.mean, scaling.spread) == (pytest.approx(3.0), pytest.approx(math.sqrt(8 / 3)))


def test_robust_scaling_ignores_what_is_far_off():
    crystals = binary(FORMULAS, [1.0, 2.0, 3.0, 4.0, 1e6], PER_ATOM)
    scaling = fit_scaling(PER_ATOM, crystals, kind="robust")
    assert (scaling.mean, scaling.spread) == (3.0, pytest.approx(1.4826))


def test_robust_scaling_of_mostly_equal_labels_falls_back_on_the_standard_deviation():
    scaling = fit_scaling(PER_ATOM, binary(FORMULAS, [0.0, 0.0, 0.0, 0.0, 5.0], PER_ATOM), kind="robust")
    assert scaling.mean == 0.0 and scaling.spread == pytest.approx(2.0)


def test_equal_labels_are_not_stretched():
    assert fit_scaling(PER_ATOM, binary(FORMULAS, [2.0] * 5, PER_ATOM)).spread == 1.0


def test_the_logarithm_is_of_the_labels():
    scaling = fit_scaling(PER_ATOM, binary(FORMULAS[:3], [1.0, 10.0, 100.0], PER_ATOM), log=True)
    assert scaling.mean == pytest.approx(math.log(10)) and scaling.spread == pytest.approx(math.log(10) * math.sqrt(2 / 3))


def test_a_tensor_has_the_mean_of_its_trace():
    crystals = ex.displaced(3)
    target = Target("t", rank=2)
    labels = torch.stack([torch.diag(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)) * k for k in (1, 2, 3)])
    assert fit_scaling(target, labelled(crystals, {target: labels})).mean == pytest.approx(4.0)


def test_words_come_back_to_the_bit():
    scaling = Scaling(0.1 + 0.2, 1 / 3, references={11: 1 / 7, 92: -2.0})
    assert Scaling.of_words(scaling.to_words()) == scaling


@pytest.mark.parametrize("make, message", [
    (lambda: Scaling(spread=0.0), "spread positive"),
    (lambda: Scaling.of_words({"mena": 1.0}), "did you mean mean"),
    (lambda: Scaling.of_words({"references": {"Xx": 1.0}}), "no element called 'Xx'"),
    (lambda: Scaling.of_words({"mean": "much"}), "could not convert"),
    (lambda: fit_scaling(PER_ATOM, binary(FORMULAS, [-1.0] * 5, PER_ATOM), log=True), "has no logarithm"),
    (lambda: fit_scaling(TOTAL, binary(FORMULAS, [1.0] * 5, TOTAL), log=True), "does not add over atoms"),
    (lambda: fit_scaling(PER_ATOM, binary(FORMULAS, [math.nan] * 5, PER_ATOM)), "nothing to learn from"),
    (lambda: fit_scaling(Target("m", classes=2), ex.every()), "classes are not scaled"),
])
def test_impossible_scalings_are_refused(make, message):
    with pytest.raises(BadInput, match=message):
        make()
