import numpy as np
import pytest

from matterloop.base.errors import BadInput
from matterloop.base.registry import load
from matterloop.base.seeds import numpy_stream
from matterloop.learn.regressors import load_regressor
from matterloop.learn.tables import Table
from matterloop.predict.stacking import best_limit, moved

RNG = np.random.default_rng(0)
NAMES = tuple("abcdefgh")
X, NEW = RNG.standard_normal((160, 8)), RNG.standard_normal((80, 8))
rule = lambda x: np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2]
Y, TRUTH = rule(X), rule(NEW)


def fitted(name, x=X, y=Y, **options):
    return load(name, "regressor", **options).fit(Table(x, NAMES), y, numpy_stream(0))


def test_support_vectors_are_those_of_scikit_learn():
    """The same machine on the same standardised columns, options as chosen."""
    from sklearn.svm import SVR

    model = fitted("svr_moduli", generations=3, population=6, trials=5, folds=3)
    cost, gamma, epsilon = model.state["chosen"]
    places = model.state["places"]
    x, new = ((v[:, places] - X[:, places].mean(0)) / X[:, places].std(0) for v in (X, NEW))
    theirs = SVR(C=cost, gamma=gamma / len(places), epsilon=epsilon, tol=1e-10).fit(x, (Y - Y.mean()) / Y.std())
    np.testing.assert_allclose(model.predict(Table(NEW, NAMES)), theirs.predict(new) * Y.std() + Y.mean(), atol=2e-4)


def test_the_genetic_search_leaves_out_columns_that_do_not_matter():
    model = fitted("svr_moduli", generations=15, population=20, trials=5, folds=3)
    assert {0, 1, 2} <= set(model.state["places"]) and len(model.state["places"]) < 8


def test_an_elastic_net_finds_a_line_and_drops_the_rest():
    model = fitted("elastic_net", y=3 * X[:, 4] - 2 * X[:, 1] + 5, folds=5)
    assert model.state["slope"] == pytest.approx([0, -2, 0, 0, 3, 0, 0, 0], abs=0.05) and model.state["offset"][0] == pytest.approx(5, abs=0.05)


def test_a_constant_column_is_no_hindrance():
    x = np.hstack([X[:, :7], np.full((160, 1), 3.0)])
    for name, options in (("elastic_net", {}), ("svr_moduli", {"generations": 1, "population": 4, "trials": 3, "folds": 3}), ("gbr_conductivity", {"trials": 2, "folds": 2})):
        assert np.isfinite(fitted(name, x=x, **options).predict(Table(NEW, NAMES))).all()


def test_twenty_columns_of_more_are_kept():
    x = RNG.standard_normal((100, 30))
    x[:, 25:] = x[:, :5] + 1e-3 * RNG.standard_normal((100, 5))
    model = load("gbr_conductivity", "regressor", trials=2, folds=2).fit(Table(x, tuple(f"c{i}" for i in range(30))), x[:, 2], numpy_stream(0))
    kept = set(model.state["places"].tolist())
    assert len(kept) == 20 and not any({i, i + 25} <= kept for i in range(5)) and 2 in kept | {k - 25 for k in kept}


def test_boosted_classes_are_scikit_learns():
    from sklearn.ensemble import HistGradientBoostingClassifier

    label = np.digitize(Y, [-0.5, 0.5])
    model = fitted("gradient_boosting", y=label, classes=4, trees=30)
    from matterloop.learn.regressors import in_order

    order = in_order(X, label.astype(float))
    seed = int(numpy_stream(0).integers(2**31 - 1))
    theirs = HistGradientBoostingClassifier(max_iter=30, learning_rate=0.05, early_stopping=False, random_state=seed).fit(X[order].astype(np.float32), label[order])
    found = model.predict(Table(NEW, NAMES))
    np.testing.assert_allclose(found[:, :3], theirs.predict_proba(NEW.astype(np.float32)), atol=1e-12)
    assert not found[:, 3].any()


def test_one_class_alone_cannot_be_boosted():
    with pytest.raises(BadInput, match="all rows are of class 1"):
        fitted("gradient_boosting", y=np.ones(160), classes=2)


MEMBERS = (("gradient_boosting", {"trees": 60, "least": 5}), ("random_forest", {"trees": 40}), ("elastic_net", {"folds": 3}))


def test_a_stack_is_the_mean_that_it_says_and_no_worse_than_its_members():
    model = fitted("stacking", members=MEMBERS)
    weights = model.state["weights"]
    assert weights.sum() == pytest.approx(1) and (weights >= 0).all()
    error = lambda m: np.abs(m.predict(Table(NEW, NAMES)) - TRUTH).mean()
    assert error(model) < 1.05 * min(error(fitted(name, **options)) for name, options in MEMBERS)


def test_a_member_without_use_gets_no_weight_and_is_not_kept(tmp_path):
    model = fitted("stacking", y=3 * X[:, 4], members=(*MEMBERS[2:], ("random_forest", {"trees": 20})))
    assert model.state["weights"].tolist() == [1, 0] and not [k for k in model.state if k.startswith("1.")]
    again = load_regressor(model.save(tmp_path / "m.safetensors"))
    np.testing.assert_array_equal(again.predict(Table(NEW, NAMES)), model.predict(Table(NEW, NAMES)))


def test_members_take_their_own_columns():
    model = load("stacking", "regressor", features="composition", folds=2,
                 members=(("random_forest", {"features": "magpie", "trees": 5}), ("random_forest", {"features": "elements", "trees": 5})))
    model.fit(["NaCl", "KCl", "MgO", "CaO", "LiF", "NaF"], np.arange(6.0), numpy_stream(0))
    assert [len(places) for _, places in model._members()] == [132, 103] and model.predict(["NaCl"]).shape == (1,)


def test_the_limit_balances_both_classes():
    p = np.concatenate([RNG.uniform(0, 0.8, 400), RNG.uniform(0.7, 1, 100)])
    y = np.repeat([0.0, 1.0], [400, 100])
    assert 0.68 < best_limit(y, p) < 0.81
    assert 0.35 < best_limit(np.repeat([0.0, 1.0], 50), np.concatenate([np.linspace(0, 0.3, 50), np.linspace(0.5, 1, 50)])) < 0.5


def test_moved_probabilities_keep_their_order():
    p = np.array([0.1, 0.7, 0.9])
    found = moved(np.stack([1 - p, p], 1), 0.7)
    assert found.sum(1) == pytest.approx([1, 1, 1]) and found[1, 1] == pytest.approx(0.5) and found[0, 1] < 0.5 < found[2, 1]


def test_a_balanced_stack_calls_the_rare_class():
    label = (X[:, 0] + 0.8 * RNG.standard_normal(160) > 1).astype(float)
    truth = NEW[:, 0] > 1
    plain, balanced = (fitted("stacking", y=label, classes=2, members=MEMBERS[:2], balanced=b).predict(Table(NEW, NAMES))[:, 1] > 0.5 for b in (False, True))
    assert balanced[truth].mean() >= plain[truth].mean() and balanced.sum() > plain.sum()


@pytest.mark.parametrize("options", [{"members": ()}, {"error": "cubed"}, {"balanced": True}])
def test_options_that_mean_nothing_are_refused(options):
    with pytest.raises(BadInput):
        load("stacking", "regressor", **options)
