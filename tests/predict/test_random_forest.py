import numpy as np
import pytest
import torch
from sklearn.ensemble import ExtraTreesRegressor, RandomForestClassifier, RandomForestRegressor

from matterloop.base.errors import BadInput
from matterloop.base.registry import load
from matterloop.base.seeds import numpy_stream
from matterloop.learn.regressors import in_order
from matterloop.learn.tables import Table

RNG = np.random.default_rng(0)
NAMES = ("a", "b", "c")
X, NEW = RNG.standard_normal((200, 3)), RNG.standard_normal((50, 3))
Y = np.where(X[:, 0] > 0, 0.0, np.exp(X[:, 1]))


def fitted(**options):
    return load("random_forest:median", "regressor", trees=25, **options).fit(Table(X, NAMES), Y, numpy_stream(0))


def test_the_median_is_that_of_the_labels_weighted_by_shared_leaves():
    """Written again in plain loops, on scikit-learn's own forest of the same rows in the same order."""
    model = fitted(share=1.0)
    order = in_order(X, Y)
    seed = int(numpy_stream(0).integers(2**31 - 1))
    forest = ExtraTreesRegressor(25, min_samples_leaf=2, max_features=1.0, random_state=seed).fit(X[order], Y[order])
    train, new, y = forest.apply(X[order]), forest.apply(NEW), Y[order]
    for row, guess in zip(new, model.predict(Table(NEW, NAMES)), strict=True):
        weight = sum((train[:, t] == row[t]) / (train[:, t] == row[t]).sum() for t in range(25))
        by = np.argsort(y, kind="stable")
        assert guess == y[by][np.searchsorted(np.cumsum(weight[by]), 12.5 - 1e-9)]


def test_the_median_is_nearer_where_labels_are_skewed():
    truth = np.where(NEW[:, 0] > 0, 0.0, np.exp(NEW[:, 1]))
    mean, median = (np.abs(fitted(read=read).predict(Table(NEW, NAMES)) - truth).mean() for read in ("mean", "median"))
    assert median < mean


def test_spread_is_small_where_all_labels_are_equal():
    sure, unsure = fitted(share=1.0).spread(Table(np.array([[2.0, 0, 0], [-1.0, 1.5, 0]]), NAMES))
    assert sure == 0 and unsure > 0.1


@pytest.mark.parametrize("options", [{"splits": "worst"}, {"read": "mode"}, {"read": "median", "classes": 2}, {"trees": 0}, {"share": 1.5}])
def test_options_that_mean_nothing_are_refused(options):
    with pytest.raises(BadInput):
        load("random_forest", "regressor", **options)


def test_balanced_classes_lift_the_rare_one():
    label = (X[:, 0] + 0.8 * RNG.standard_normal(200) > 1.2).astype(float)
    plain, balanced = (load("random_forest", "regressor", trees=100, classes=2, least=8, balanced=b).fit(Table(X, NAMES), label, numpy_stream(0))
                       .predict(Table(X, NAMES))[:, 1].mean() for b in (False, True))
    assert label.mean() < 0.3 and balanced > plain + 0.05


@pytest.mark.parametrize("classes", [0, 2])
def test_training_rows_are_judged_by_the_trees_that_did_not_draw_them(classes):
    """Against scikit-learn's own out-of-bag answers; a row without a label has none."""
    y = np.where(X[:, 0] > 0, 1.0, 0.0) if classes else Y.copy()
    y[3] = np.nan
    model = load("random_forest", "regressor", trees=40, classes=classes, share=1.0).fit(Table(X, NAMES), y, numpy_stream(0))
    known = np.delete(np.arange(200), 3)
    order = known[in_order(X[known], y[known])]
    form = RandomForestClassifier if classes else RandomForestRegressor
    forest = form(40, max_features=1.0, oob_score=True, random_state=int(numpy_stream(0).integers(2**31 - 1))).fit(X[order], y[order])
    answers, spreads = model.unseen
    assert answers[order] == pytest.approx(forest.oob_decision_function_ if classes else forest.oob_prediction_, rel=1e-10)
    assert np.isnan(answers[3]).all() and np.isnan(spreads[3]) and (spreads[known] >= 0).all() and len(answers) == 200
    extra = load("random_forest:extra_trees", "regressor", trees=5).fit(Table(X, NAMES), Y, numpy_stream(0))
    assert extra.unseen is None


def test_threads_do_not_change_a_forest():
    torch.set_num_threads(2)
    try:
        one = load("random_forest", "regressor", trees=6).fit(Table(X, NAMES), Y, numpy_stream(0)).predict(Table(NEW, NAMES))
    finally:
        torch.set_num_threads(1)
    assert (one == load("random_forest", "regressor", trees=6).fit(Table(X, NAMES), Y, numpy_stream(0)).predict(Table(NEW, NAMES))).all()
