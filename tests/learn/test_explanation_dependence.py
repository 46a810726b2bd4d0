"""Importance, dependence and stand-ins, on functions whose answer is known."""

import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor

from matterloop.base.errors import BadInput
from matterloop.learn.dependence import accumulated_effects, grid_of, interaction, partial_dependence, permutation_importance
from matterloop.learn.surrogates import sum_surrogate, tree_surrogate

RNG = np.random.default_rng(0)
X = RNG.standard_normal((200, 4))
NAMES = ("a", "b", "c", "d")
rule = lambda t: 3 * t[:, 0] + t[:, 1] * t[:, 2]


def test_partial_dependence_of_a_sum_is_its_term():
    found = partial_dependence(rule, X, 0, "a", grid=np.array([-1.0, 0.0, 2.0]))
    np.testing.assert_allclose(found.centred.mean, [0.0, 3.0, 9.0], atol=1e-12)
    np.testing.assert_allclose(found.centred.lines, np.tile([0.0, 3.0, 9.0], (200, 1)), atol=1e-12)
    assert found.heterogeneity == pytest.approx(0, abs=1e-12)


def test_partial_dependence_hides_what_single_curves_show():
    product = lambda t: t[:, 1] * np.sign(t[:, 2])
    found = partial_dependence(product, X, 1, "b", grid=np.array([-2.0, 2.0]))
    assert abs(np.ptp(found.mean)) < 0.7 and set(np.unique(np.ptp(found.lines, axis=1))) == {4.0}
    assert found.heterogeneity > 2


def test_partial_dependence_is_that_of_sklearn():
    from sklearn.inspection import partial_dependence as theirs

    model = RandomForestRegressor(5, random_state=0).fit(X, rule(X))
    grid = grid_of(X[:, 1], 6)
    wanted = theirs(model, X, [1], custom_values={1: grid}, kind="both", method="brute")
    found = partial_dependence(model.predict, X, 1, grid=grid)
    np.testing.assert_allclose(found.mean, wanted["average"][0], atol=1e-12)
    np.testing.assert_allclose(found.lines, wanted["individual"][0], atol=1e-12)


def test_accumulated_effects_keep_apart_columns_that_go_together():
    """f = b alone, a nearly the same as b: the effect of a is none, and that of b its own; both as literal slopes."""
    a = np.linspace(-1, 1, 200)
    x = np.column_stack([a, a + 0.01 * RNG.standard_normal(200)])
    f = lambda t: 2 * t[:, 1]
    one, two = accumulated_effects(f, x, 0), accumulated_effects(f, x, 1)
    np.testing.assert_allclose(one.effect, 0, atol=1e-12)
    np.testing.assert_allclose(np.diff(two.effect) / np.diff(two.grid), 2.0, atol=1e-9)
    assert two.counts.sum() == 200 and abs((two.counts * (two.effect[:-1] + two.effect[1:]) / 2).sum()) < 1e-9


def test_a_column_that_does_not_vary_has_no_accumulated_effects():
    with pytest.raises(BadInput, match="does not vary"):
        accumulated_effects(rule, np.ones((5, 4)), 2, "c")


def test_interaction_is_nothing_in_a_sum_and_all_in_a_product():
    assert interaction(rule, X[:60], 0, 1) < 0.3
    assert interaction(lambda t: t[:, 0] + t[:, 1] ** 2, X[:60], 0, 1) == pytest.approx(0, abs=1e-9)
    centred = X[:60] - X[:60].mean(0)
    assert interaction(lambda t: t[:, 1] * t[:, 2], centred, 1, 2) > 0.99


def test_importance_is_in_the_unit_of_the_error_and_finds_the_rule():
    found = permutation_importance(rule, X, rule(X), NAMES, repeats=20)
    assert set(found.clear) == {"a", "b", "c"} and found.clear[0] == "a" and found.error == 0
    assert found.mean[0] == pytest.approx(np.mean(3 * np.abs(X[:, 0][:, None] - X[:, 0])), rel=0.1)
    assert found.mean[3] == found.low[3] == found.high[3] == 0
    assert found.low[0] < found.mean[0] < found.high[0]


def test_importance_of_a_group_is_that_of_its_columns_together():
    twins = np.column_stack([X[:, 0], X[:, 0], X[:, 1]])
    f = lambda t: t[:, 0] - t[:, 1] + t[:, 2]
    alone = permutation_importance(f, twins, f(twins), ("a", "b", "c"))
    together = permutation_importance(f, twins, f(twins), ("a", "b", "c"), groups={"a and b": [0, 1], "c": [2]})
    assert alone.mean[0] > 1 and together.mean[0] == pytest.approx(0, abs=1e-12) and together.mean[1] > 1


def test_shuffled_labels_leave_nothing_clear_and_true_ones_the_planted_column():
    rng = np.random.default_rng(3)
    y = 2 * X[:, 2] + 0.2 * rng.standard_normal(200)
    for labels, wanted in ((y, ("c",)), (rng.permutation(y), ())):
        model = RandomForestRegressor(30, min_samples_leaf=5, random_state=0).fit(X[:120], labels[:120])
        found = permutation_importance(model.predict, X[120:], labels[120:], NAMES)
        assert tuple(n for n in found.clear if found.mean[found.names.index(n)] > 0.1 * found.error) == wanted


def test_a_stop_leaves_what_was_found():
    asked = iter([False, True, True, True])
    found = permutation_importance(rule, X, rule(X), NAMES, should_stop=lambda: next(asked))
    assert np.isfinite(found.mean[0]) and np.isnan(found.mean[1:]).all()


def test_a_tree_stands_in_for_a_rule_of_steps():
    steps = lambda t: np.where(t[:, 1] > 0.0, 2.0, np.where(t[:, 3] > 0.5, 1.0, -1.0))
    found = tree_surrogate(X, steps(X), NAMES, leaves=4)
    assert found.columns == ("b", "d") and found.fidelity > 0.97
    assert found.text.startswith("if b <= ") and "else:" in found.text


def test_a_short_sum_stands_in_for_a_line_and_says_when_it_does_not():
    line = lambda t: 1.5 + 2 * t[:, 0] - 0.5 * t[:, 3]
    found = sum_surrogate(X, line(X), NAMES, terms=3)
    assert found.text == "1.5 + 2 x a - 0.5 x d" and found.fidelity == pytest.approx(1)
    np.testing.assert_allclose(found.answer(X), line(X), atol=1e-9)
    assert sum_surrogate(X, X[:, 1] * X[:, 2], NAMES).fidelity < 0.2


def test_few_rows_are_no_ground_for_a_surrogate():
    with pytest.raises(BadInput, match="9 rows, at least 10"):
        tree_surrogate(X[:9], X[:9, 0], NAMES)
