import numpy as np
import pytest
from sklearn import ensemble

from matterloop.layers.trees import Trees, of_histograms, of_sklearn

RNG = np.random.default_rng(0)
X = RNG.standard_normal((300, 6))
Y = np.sin(X[:, 0]) + X[:, 1] * (X[:, 2] > 0) + 0.1 * RNG.standard_normal(300)
LABEL = np.digitize(Y, [-0.5, 0.5])
NEW = RNG.standard_normal((500, 6))


@pytest.mark.parametrize("form", [ensemble.RandomForestRegressor, ensemble.ExtraTreesRegressor])
def test_a_forest_of_numbers_is_scikit_learns(form):
    forest = form(30, random_state=1).fit(X, Y)
    trees = of_sklearn([t.tree_ for t in forest.estimators_], 1 / 30)
    np.testing.assert_allclose(trees.total(NEW)[:, 0], forest.predict(NEW), rtol=0, atol=1e-12)
    np.testing.assert_allclose(trees.each(NEW)[..., 0] * 30, np.stack([t.predict(NEW) for t in forest.estimators_], 1), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(trees.leaves(NEW) - trees.first[:-1], forest.apply(NEW))


@pytest.mark.parametrize("form", [ensemble.RandomForestClassifier, ensemble.ExtraTreesClassifier])
def test_a_forest_of_classes_is_scikit_learns(form):
    forest = form(30, random_state=1, max_depth=6).fit(X, LABEL)
    np.testing.assert_allclose(of_sklearn([t.tree_ for t in forest.estimators_], 1 / 30).total(NEW), forest.predict_proba(NEW), rtol=0, atol=1e-12)


def test_boosted_trees_are_scikit_learns():
    boosted = ensemble.GradientBoostingRegressor(n_estimators=40, learning_rate=0.1, random_state=1).fit(X, Y)
    found = Y.mean() + of_sklearn([t.tree_ for t in boosted.estimators_[:, 0]], 0.1).total(NEW)[:, 0]
    np.testing.assert_allclose(found, boosted.predict(NEW), rtol=0, atol=1e-12)


def test_histogram_boosting_is_scikit_learns():
    x, new = X.astype(np.float32), NEW.astype(np.float32)
    number = ensemble.HistGradientBoostingRegressor(max_iter=40, random_state=1).fit(x, Y)
    np.testing.assert_allclose(number._baseline_prediction[0, 0] + of_histograms(number._predictors).total(new)[:, 0], number.predict(new), rtol=0, atol=1e-12)
    classes = ensemble.HistGradientBoostingClassifier(max_iter=20, random_state=1).fit(x, LABEL)
    raw = classes._baseline_prediction.reshape(1, -1) + of_histograms(classes._predictors, 3).total(new)
    np.testing.assert_allclose(raw, classes.decision_function(new), rtol=0, atol=1e-12)


def test_a_tree_by_hand():
    """x0 <= 0.5 -> 1, else x1 <= 2 -> 10 or 20."""
    tree = {"column": np.array([0, -1, 1, -1, -1]), "threshold": np.array([0.5, 0, 2, 0, 0]), "left": np.array([1, -1, 3, -1, -1]),
            "right": np.array([2, -1, 4, -1, -1]), "value": np.array([[0.0], [1], [0], [10], [20]])}
    twice = Trees.join([tree, tree])
    x = np.array([[0.5, 9], [0.6, 2], [0.6, 2.1]])
    np.testing.assert_array_equal(twice.total(x)[:, 0], [2, 20, 40])
    np.testing.assert_array_equal(twice.leaves(x), [[1, 6], [3, 8], [4, 9]])


def test_a_single_leaf_and_no_rows():
    stump = Trees.join([{"column": np.array([-1]), "threshold": np.zeros(1), "left": np.array([-1]), "right": np.array([-1]), "value": np.array([[7.0]])}])
    assert stump.total(np.zeros((2, 3))).tolist() == [[7], [7]] and stump.total(np.zeros((0, 3))).shape == (0, 1)
