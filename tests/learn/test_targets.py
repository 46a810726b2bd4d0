"""Targets decide what a predictor gives, and labels that were not measured count for nothing."""

import math

import pytest
import torch

from matterloop.base.errors import BadInput
from matterloop.bench import examples as ex
from matterloop.learn.targets import Predictor, Target
from matterloop.predict.schnet import CARD, SchNet


def predictor(*targets, **options):
    return Predictor(SchNet(**CARD.small), targets, hidden=8, **options).to(torch.float64)


def test_shapes_follow_from_the_targets():
    crystals = ex.every()
    out = predictor(Target("a"), Target("b", per="site"), Target("c", classes=3), Target("d", per="site", classes=2))(crystals)
    assert {k: tuple(v.shape) for k, v in out.items()} == {"a": (8,), "b": (crystals.atoms,), "c": (8, 3), "d": (crystals.atoms, 2)}


def test_an_extensive_target_doubles_with_the_cell_and_an_intensive_one_does_not():
    model, one = predictor(Target("total", extensive=True), Target("mean"), scale={"total": (-3.0, 2.0)}), ex.low_symmetry()
    small, large = model(one), model(one.repeated(2, 1, 1))
    assert float(large["total"]) == pytest.approx(2 * float(small["total"]), rel=1e-12)
    assert float(large["mean"]) == pytest.approx(float(small["mean"]), rel=1e-12)


def test_the_loss_is_the_mean_absolute_error_over_what_was_measured():
    model, crystals = predictor(Target("band_gap")), ex.every()
    guess = model(crystals)["band_gap"].detach()
    truth = guess + torch.tensor([0.5, -1.5, math.nan, 1.0, math.nan, 0.0, 0.0, 3.0], dtype=torch.float64)
    total, parts = model.loss(crystals.with_fields(whole={"band_gap": truth}))
    assert float(total.detach()) == pytest.approx(6.0 / 6) and parts.keys() == {"band_gap"}


def test_an_extensive_loss_counts_per_atom():
    model, crystals = predictor(Target("energy", extensive=True)), ex.every()
    truth = model(crystals)["energy"].detach() + 0.25 * crystals.counts.to(torch.float64)
    assert float(model.loss(crystals.with_fields(whole={"energy": truth}))[0].detach()) == pytest.approx(0.25)


def test_nothing_measured_is_no_loss_and_no_nan():
    model, crystals = predictor(Target("band_gap")), ex.every()
    total, _ = model.loss(crystals.with_fields(whole={"band_gap": torch.full((8,), math.nan, dtype=torch.float64)}))
    total.backward()
    assert float(total.detach()) == 0.0 and all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())


def test_missing_labels_leave_no_nan_in_the_gradient():
    model, crystals = predictor(Target("band_gap")), ex.every()
    model.loss(crystals.with_fields(whole={"band_gap": torch.tensor([1.0] + [math.nan] * 7, dtype=torch.float64)}))[0].backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)


def test_classes_are_learnt_by_cross_entropy_and_below_zero_means_unknown():
    from matterloop.base.quantities import Quantity

    model, crystals = predictor(Target("metal", classes=2)), ex.every()
    labelled = crystals.with_fields(whole={"metal": torch.tensor([0, 1, -1, 1, 0, -1, -1, 0])}, quantities={"metal": Quantity()})
    scores = model(crystals)["metal"].detach().log_softmax(-1)
    wanted = -sum(float(scores[i, k]) for i, k in ((0, 0), (1, 1), (3, 1), (4, 0), (7, 0))) / 5
    assert float(model.loss(labelled)[0].detach()) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("make, message", [
    (lambda: Target("x", per="atom"), "allowed are 'crystal' and 'site'"),
    (lambda: Target("x", per="site", extensive=True), "only a number of a whole crystal"),
    (lambda: Target("x", classes=1), "classes is 1"),
    (lambda: predictor(Target("x"), Target("x")), "names of their own"),
    (lambda: predictor(), "at least one"),
    (lambda: predictor(Target("forces", per="site", rank=1)), "rank above 0"),
])
def test_impossible_targets_are_refused(make, message):
    with pytest.raises(BadInput, match=message):
        make()


def test_weights_are_factors_of_the_parts():
    from matterloop.base.quantities import Quantity

    targets = [Target("band_gap"), Target("metal", classes=2)]
    crystals = ex.every().with_fields(whole={"band_gap": torch.arange(8.0, dtype=torch.float64), "metal": torch.tensor([0.0, 1, math.nan, 1, -1, 0, 0, 1])},
                                      quantities={"metal": Quantity()})
    (one, plain), (two, weighted) = (predictor(*targets, weights=w).loss(crystals) for w in ({}, {"metal": 3.0}))
    assert float(two.detach()) == pytest.approx(float(plain["band_gap"].detach()) + 3 * float(plain["metal"].detach()))
    assert float(weighted["metal"].detach()) == pytest.approx(3 * float(plain["metal"].detach())) and float(one.detach()) != float(two.detach())


def test_classes_given_as_numbers_with_nan_are_those_of_whole_numbers():
    from matterloop.base.quantities import Quantity

    model, given = predictor(Target("metal", classes=3)), {"quantities": {"metal": Quantity()}}
    numbers = ex.every().with_fields(whole={"metal": torch.tensor([0.0, 2, math.nan, 1, -1, 0, 2, 1])}, **given)
    whole = ex.every().with_fields(whole={"metal": torch.tensor([0, 2, -1, 1, -1, 0, 2, 1])}, **given)
    assert float(model.loss(numbers)[0].detach()) == float(model.loss(whole)[0].detach())


def test_errors_of_other_kinds_have_their_formulas():
    model, crystals = predictor(Target("band_gap"), scale={"band_gap": (0.0, 2.0)}), ex.every()
    truth = model(crystals)["band_gap"].detach() + torch.tensor([0.1, -0.1, 2.0, math.nan, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    labelled = crystals.with_fields(whole={"band_gap": truth})
    off = [0.05, 0.05, 1.0]  # in spreads
    wanted = {"l1": sum(off) / 7, "l2": sum(x * x for x in off) / 7, "huber": (2 * 0.5 * 0.05**2 + 0.1 * (1.0 - 0.05)) / 7}
    assert {k: float(model.loss(labelled, error=k)[0].detach()) for k in wanted} == pytest.approx(wanted)


@pytest.mark.parametrize("target, labels, message", [
    (Target("x", classes=2), torch.tensor([0, 1, 2, 0, 0, 0, 0, 0]), "a label is 2, classes are numbered 0 to 1"),
    (Target("x", per="site"), torch.zeros(8), "the labels have shape"),
    (Target("x"), torch.zeros(8, 2), "wanted is .8,., one per crystal")])
def test_labels_that_cannot_be_are_named(target, labels, message):
    from matterloop.base.quantities import Quantity

    with pytest.raises(BadInput, match=message):
        predictor(target).loss(ex.every().with_fields(whole={"x": labels}, quantities={"x": Quantity()}))
