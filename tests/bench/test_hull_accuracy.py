"""Accuracy of a hull: measures by hand, what counts as covered, and the shipped reference against the Materials Project's values."""

import numpy as np
import pytest

from matterloop.bench import hull_accuracy as h


def test_measures_by_hand():
    ours, theirs = np.array([0.0, 0.0, 0.05, 0.2]), np.array([0.0, 0.02, 0.0, 0.3])
    found = h.measures(ours, theirs)
    assert found["mae"] == pytest.approx((0.02 + 0.05 + 0.1) / 4) and found["median_absolute"] == pytest.approx(0.035) and found["mean_difference"] == pytest.approx(-0.07 / 4)
    assert (found["precision_at_0"], found["recall_at_0"], found["f1_at_0"]) == (0.5, 0.5, 0.5)
    assert (found["precision_at_0.1"], found["recall_at_0.1"], found["f1_at_0.1"]) == (1.0, 1.0, 1.0)


def test_f1_equals_sklearn():
    from sklearn.metrics import f1_score, precision_score, recall_score

    rng = np.random.default_rng(0)
    ours, theirs = (np.maximum(rng.normal(0.02, 0.08, 300), 0) for _ in range(2))
    found = h.measures(ours, theirs)
    for limit in h.LIMITS:
        true, said = theirs <= limit + 1e-6, ours <= limit + 1e-6
        assert found[f"f1_at_{limit:g}"] == pytest.approx(f1_score(true, said)) and found[f"precision_at_{limit:g}"] == pytest.approx(precision_score(true, said))
        assert found[f"recall_at_{limit:g}"] == pytest.approx(recall_score(true, said))


def test_nobody_said_to_be_stable_has_no_precision():
    found = h.measures(np.array([0.3, 0.4]), np.array([0.0, 0.2]))
    assert np.isnan(found["precision_at_0"]) and found["recall_at_0"] == 0 and found["f1_at_0"] == 0


def test_a_missing_phase_uncovers_every_system_that_holds_it_and_no_other():
    systems = {frozenset({3, 8}), frozenset({3, 8, 26}), frozenset({8, 26}), frozenset({26})}
    assert h.covered(systems, [frozenset({3, 8})]) == {frozenset({8, 26}), frozenset({26})}
    assert h.covered(systems, [frozenset({26})]) == {frozenset({3, 8})}
    assert h.covered(systems, []) == systems


def made(count=400, seed=0, noise=0.02):
    rng = np.random.default_rng(seed)
    theirs = np.maximum(rng.normal(0.01, 0.05, count), 0)
    ours = np.maximum(theirs + rng.normal(0, noise, count), 0)
    systems = np.array([f"s{i // 4}" for i in range(count)])
    yes = np.ones(count, dtype=bool)
    return h.Pairs(ours, theirs, np.array([f"mp-{i}" for i in range(count)]), systems, np.array(["MP-20"] * count), yes, yes, yes, count)


def test_intervals_hold_the_value_and_widen_with_fewer_systems():
    many, few = (h.scored(made(n), 300, np.random.default_rng(1)) for n in (400, 40))
    for found in (many, few):
        for name in ("mae", "median_absolute", "f1_at_0", "f1_at_0.1"):
            assert found[name]["low"] <= found[name]["value"] <= found[name]["high"]
    assert many["systems"] == 100 and few["systems"] == 10 and many["structures"] == 400
    assert few["mae"]["high"] - few["mae"]["low"] > 1.5 * (many["mae"]["high"] - many["mae"]["low"])


def test_resampling_is_by_system():
    """All structures of a system alike: the interval is that of 10 numbers, not of 400."""
    part = made(400)
    gap = np.repeat(np.linspace(0, 0.09, 10), 40)
    alike = h.Pairs(part.theirs + gap, part.theirs, part.names, np.repeat([f"s{i}" for i in range(10)], 40), part.sources, part.relaxed, part.strict, part.formulas, 400)
    found = h.scored(alike, 500, np.random.default_rng(0))["mae"]
    assert found["high"] - found["low"] > 0.025  # 2 * 1.96 * 0.029 / sqrt(10); by structure it would be 0.006


def test_the_baseline_of_calling_everything_stable():
    found = h.scored(made(), 10, np.random.default_rng(0))
    share = found["true_share_at_0"]
    assert found["f1_of_all_true_at_0"] == pytest.approx(2 * share / (1 + share))


@pytest.mark.data
@pytest.mark.slow
def test_the_shipped_reference_repeats_the_known_hull(data_dir):
    found = h.hull_accuracy("chgnet", data_dir=data_dir, resamples=20)
    full, everything = found["parts"]["full coverage"], found["parts"]["all"]
    assert full["structures"] > 3000 and full["systems"] > 2000 and full["structures"] < found["parts"]["formulas covered"]["structures"] <= everything["structures"]
    assert full["mae"]["value"] < 0.03 and full["f1_at_0"]["value"] > full["f1_of_all_true_at_0"] + 0.05
    pairs = h.pairs("chgnet", data_dir)
    assert (pairs.ours >= 0).all() and (pairs.theirs >= 0).all() and not (pairs.strict & ~pairs.formulas).any()
