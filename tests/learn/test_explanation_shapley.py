"""Shapley values: the formula, least squares, and the two algorithms for trees against trying everything."""

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor, RandomForestRegressor

from matterloop.base.errors import BadInput
from matterloop.layers.trees import Trees, of_histograms, of_sklearn
from matterloop.learn import tree_shapley as ts
from matterloop.learn.shapley import all_choices, exact_shapley, kernel_shapley, shapley_of_table, table_value

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 5)).astype(np.float32).astype(np.float64)
Y = X[:, 0] * X[:, 1] + np.abs(X[:, 2])
NAMES = ("a", "b", "c", "d", "e")


def gloves(choices):
    """A left glove and two right ones: a pair is worth 1."""
    return (choices[:, 0] & (choices[:, 1] | choices[:, 2])).astype(float)


def test_the_left_glove_is_worth_two_thirds_of_a_pair():
    found = exact_shapley(gloves, 3)
    assert found.values == pytest.approx([2 / 3, 1 / 6, 1 / 6], abs=1e-14) and (found.base, found.full) == (0, 1)


def test_least_squares_over_all_choices_is_the_formula():
    found = kernel_shapley(gloves, 3, 100, np.random.default_rng(0))
    assert found.exact and found.values == pytest.approx([2 / 3, 1 / 6, 1 / 6], abs=1e-12)


def test_least_squares_over_some_choices_comes_near_and_adds_up():
    weights = np.arange(1.0, 13)
    value = lambda z: z @ weights + 5 * (z[:, 0] & z[:, 11])
    found = kernel_shapley(value, 12, 1500, np.random.default_rng(0))
    wanted = weights + 2.5 * np.eye(12)[0] + 2.5 * np.eye(12)[11]
    assert not found.exact and found.values.sum() == pytest.approx(found.full - found.base, abs=1e-10)
    assert np.abs(found.values - wanted).max() < 0.15


def test_one_player_has_all_and_none_has_nothing():
    one = kernel_shapley(lambda z: 2.0 + 3.0 * z[:, 0], 1, 10, np.random.default_rng(0))
    assert one.values.tolist() == [3.0] and one.base == 2.0
    assert exact_shapley(lambda z: np.full(len(z), 7.0), 0).full == 7.0


def test_too_many_players_are_refused():
    with pytest.raises(BadInput, match="21 players"):
        all_choices(21)


def test_a_linear_function_gives_factor_times_distance_from_the_mean():
    factors = np.array([1.0, -2.0, 0.5, 0.0, 3.0])
    found = shapley_of_table(lambda t: t @ factors, X[:4], X, NAMES)
    np.testing.assert_allclose(found.values, factors * (X[:4] - X.mean(0)), atol=1e-12)
    np.testing.assert_allclose(found.gap, 0, atol=1e-12)


def forest(kind=RandomForestRegressor, **options):
    model = kind(6, random_state=0, **options).fit(X, Y)
    return of_sklearn([t.tree_ for t in model.estimators_], 1 / 6)


FORESTS = {"deep": lambda: forest(), "shallow": lambda: forest(max_depth=2), "extra": lambda: forest(ExtraTreesRegressor, bootstrap=False),
           "boosted": lambda: of_histograms(HistGradientBoostingRegressor(max_iter=8, min_samples_leaf=3, max_leaf_nodes=9).fit(X, Y)._predictors)}


@pytest.mark.parametrize("make", FORESTS.values(), ids=FORESTS)
def test_interventional_values_of_trees_are_those_of_all_choices(make):
    trees, background = make(), X[:7]
    phi, base = ts.interventional(trees, X[10:14], background)
    wanted = shapley_of_table(lambda t: trees.total(t)[:, 0], X[10:14], background, NAMES)
    np.testing.assert_allclose(phi, wanted.values, atol=1e-12)
    assert base == pytest.approx(wanted.base[0], abs=1e-12)


def both_ways(trees, cover, row, there):
    """A tree's answer where an absent column goes both ways in proportion to the rows there, by recursion."""
    def walk(node):
        left, right = trees.left[node], trees.right[node]
        if left == node:
            return trees.value[node, 0]
        if there[trees.column[node]]:
            return walk(left if np.float32(row[trees.column[node]]) <= trees.threshold[node] else right)
        return (cover[left] * walk(left) + cover[right] * walk(right)) / cover[node]
    return sum(walk(root) for root in trees.first[:-1])


@pytest.mark.parametrize("make", FORESTS.values(), ids=FORESTS)
def test_path_dependent_values_of_trees_are_those_of_all_choices(make):
    trees = make()
    cover = ts.cover_of(trees, X)
    phi, base = ts.path_dependent(trees, cover, X[10:12])
    for row, found in zip(X[10:12], phi, strict=True):
        wanted = exact_shapley(lambda choices, row=row: np.array([both_ways(trees, cover, row, z) for z in choices]), 5)
        np.testing.assert_allclose(found, wanted.values, atol=1e-12)
        assert base == pytest.approx(wanted.base, abs=1e-12) and base + found.sum() == pytest.approx(trees.total(row[None])[0, 0], abs=1e-12)


def test_the_base_of_path_dependent_values_is_the_mean_over_the_rows_counted():
    trees = forest()
    _, base = ts.path_dependent(trees, ts.cover_of(trees, X), X[:1])
    assert base == pytest.approx(trees.total(X)[:, 0].mean(), abs=1e-12)


def test_a_branch_that_no_counted_row_took_has_no_share_in_what_is_absent():
    trees = forest()
    few = X[:5]
    cover = ts.cover_of(trees, few)
    phi, base = ts.path_dependent(trees, cover, X[20:30])
    assert np.isfinite(phi).all() and base == pytest.approx(trees.total(few)[:, 0].mean(), abs=1e-12)
    np.testing.assert_allclose(base + phi.sum(1), trees.total(X[20:30])[:, 0], atol=1e-12)


def test_a_tree_of_one_leaf_adds_to_the_base_alone():
    stump = {"column": np.array([-1]), "threshold": np.array([0.0]), "left": np.array([0]), "right": np.array([0]), "value": np.array([[2.5]])}
    trees = Trees.join([stump])
    assert ts.interventional(trees, X[:2], X[:3])[1] == 2.5
    phi, base = ts.path_dependent(trees, ts.cover_of(trees, X), X[:2])
    assert base == 2.5 and not phi.any()


def test_trees_are_found_by_what_they_answer():
    trees = forest()
    arrays = {f"part.{k}": v for k, v in trees.arrays().items()}
    answer = lambda t: trees.total(t)[:, 0] + 4.0
    found, base = ts.trees_of(arrays, answer, X)
    assert base == pytest.approx(4.0) and len(found) == 6
    assert ts.trees_of(arrays, lambda t: np.exp(answer(t)), X) is None
    assert ts.trees_of({"factors": X}, answer, X) is None


def test_a_planted_rule_has_the_largest_shares_in_a_forest_and_shuffled_labels_have_small_ones():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((300, 8)).astype(np.float32).astype(np.float64)
    y = 2 * x[:, 3] + np.where(x[:, 5] > 0, 3.0, -3.0)
    sizes = []
    for labels in (y, rng.permutation(y)):
        model = RandomForestRegressor(20, min_samples_leaf=5, random_state=0).fit(x, labels)
        found = ts.shapley_of_trees(of_sklearn([t.tree_ for t in model.estimators_], 1 / 20), x[:20], x[100:130], tuple("abcdefgh"))
        np.testing.assert_allclose(found.gap, 0, atol=1e-10)
        sizes.append(found.importance)
    assert set(np.argsort(-sizes[0])[:2].tolist()) == {3, 5} and sizes[0][[3, 5]].min() > 10 * np.delete(sizes[0], [3, 5]).max()
    assert sizes[1].max() < 0.3 * sizes[0].max()


def test_columns_in_which_a_row_is_like_the_background_get_nothing():
    background = np.tile(X[0], (4, 1))
    background[:, 1] += [1.0, 2.0, 3.0, 4.0]
    found = shapley_of_table(lambda t: (t**2).sum(1), X[:1], background, NAMES)
    assert found.values[0, [0, 2, 3, 4]].tolist() == [0, 0, 0, 0] and found.values[0, 1] != 0
    assert table_value(lambda t: t[:, 1], X[0], background)(np.array([[False] * 5]))[0] == pytest.approx(X[0, 1] + 2.5)
