"""Every metric against scikit-learn or a value by hand."""

import numpy as np
import pytest
from sklearn import metrics as sk

from matterloop.base.errors import BadInput, Missing
from matterloop.learn import metrics as m

RNG = np.random.default_rng(7)
TRUTH = RNG.normal(size=200)
GUESS = TRUTH + 0.3 * RNG.normal(size=200)
LABEL = (RNG.random(300) < 0.3).astype(float)
SCORE = np.round(np.clip(0.5 * LABEL + 0.6 * RNG.random(300) - 0.05, 0, 1), 2)  # rounded: there are ties


@pytest.mark.parametrize(("name", "theirs"), [
    ("mae", sk.mean_absolute_error), ("mse", sk.mean_squared_error), ("rmse", sk.root_mean_squared_error), ("r2", sk.r2_score), ("max_error", sk.max_error),
    ("median_error", sk.median_absolute_error), ("mape", sk.mean_absolute_percentage_error)])
def test_errors_of_numbers_equal_scikit_learn(name, theirs):
    assert m.METRICS[name].function(TRUTH, GUESS) == pytest.approx(theirs(TRUTH, GUESS), rel=1e-12)


@pytest.mark.parametrize(("name", "theirs"), [
    ("accuracy", sk.accuracy_score), ("balanced_accuracy", sk.balanced_accuracy_score), ("precision", sk.precision_score), ("recall", sk.recall_score),
    ("f1", sk.f1_score), ("iou", sk.jaccard_score), ("auc_of_labels", sk.roc_auc_score)])
def test_scores_of_labels_equal_scikit_learn(name, theirs):
    assert m.METRICS[name].function(LABEL, SCORE) == pytest.approx(theirs(LABEL, SCORE >= 0.5), rel=1e-12)


def test_auc_equals_scikit_learn_with_ties():
    assert len(np.unique(SCORE)) < len(SCORE)
    assert m.auc(LABEL, SCORE) == pytest.approx(sk.roc_auc_score(LABEL, SCORE), rel=1e-12)


def test_roc_equals_scikit_learn():
    false, true, threshold = m.roc(LABEL, SCORE)
    theirs = sk.roc_curve(LABEL, SCORE, drop_intermediate=False)
    for ours, other in zip((false, true, threshold), theirs, strict=True):
        assert ours == pytest.approx(other)


def test_the_auc_of_the_board_is_the_balanced_accuracy_and_not_the_auc():
    assert m.auc_of_labels(LABEL, SCORE) == pytest.approx(m.balanced_accuracy(LABEL, SCORE), rel=1e-12)
    assert abs(m.auc_of_labels(LABEL, SCORE) - m.auc(LABEL, SCORE)) > 0.01


def test_deviation_and_ratio_by_hand():
    truth, guess = np.array([0.0, 1.0, 5.0]), np.array([1.0, 1.0, 4.0])
    assert m.mad(truth) == pytest.approx(2.0)  # mean 2: 2, 1, 3
    assert m.mad_mae(truth, guess) == pytest.approx(3.0)
    assert m.within(truth, guess, 0.5) == pytest.approx(1 / 3)
    assert m.smape(truth, guess) == pytest.approx((2 + 0 + 2 / 9) / 3)
    assert m.bias(truth, guess) == pytest.approx(0.0) and m.error_std(truth, guess) == pytest.approx(np.sqrt(2 / 3))


def test_tensors_within_a_share_of_their_norm():
    truth = np.stack([np.eye(3), 2 * np.eye(3)])
    guess = truth + 0.3 * np.eye(3)
    assert m.within_relative(truth, guess, 0.25) == 0.5 and m.within_relative(truth, guess, 0.31) == 1.0


def test_several_classes_equal_scikit_learn():
    truth, raw = RNG.integers(0, 4, 100), RNG.random((100, 4))
    label = raw.argmax(1)
    assert (m.confusion(truth, label, 4) == sk.confusion_matrix(truth, label, labels=range(4))).all()
    for k in (1, 2):
        assert m.top_k(truth, raw, k) == pytest.approx(sk.top_k_accuracy_score(truth, raw, k=k, labels=range(4)))


def test_a_stack_of_resamples_is_reduced_row_by_row():
    pick = RNG.integers(0, 300, (5, 300))
    for name in m.CLASSES:
        f = m.METRICS[name].function
        assert f(LABEL[pick], SCORE[pick]) == pytest.approx([float(f(LABEL[p], SCORE[p])) for p in pick])
    pick = RNG.integers(0, 200, (5, 200))
    for name in m.NUMBERS:
        f = m.METRICS[name].function
        assert f(TRUTH[pick], GUESS[pick]) == pytest.approx([float(f(TRUTH[p], GUESS[p])) for p in pick])


def test_rows_without_a_label_are_skipped_and_counted_out():
    truth = TRUTH.copy()
    truth[::2] = np.nan
    found = m.scores(truth, GUESS, ["mae", "ewt_0.1"], unit="eV", resamples=50)
    assert found[0].count == 100 and found[0].unit == "eV" and found[1].unit == ""
    assert found[0].value == pytest.approx(np.abs(GUESS - TRUTH)[1::2].mean())
    assert found[1].value == pytest.approx((np.abs(GUESS - TRUTH)[1::2] <= 0.1).mean())


def test_the_interval_of_the_mean_error_is_that_of_a_mean():
    error = np.abs(GUESS - TRUTH)
    score = m.scores(TRUTH, GUESS, ["mae"])[0]
    half = 1.96 * error.std() / np.sqrt(len(error))
    assert score.low == pytest.approx(error.mean() - half, abs=0.15 * half) and score.high == pytest.approx(error.mean() + half, abs=0.15 * half)
    assert m.scores(TRUTH, GUESS, ["mae"])[0] == score != m.scores(TRUTH, GUESS, ["mae"], seed=1)[0]


def test_a_diverged_model_is_an_error_and_an_unknown_metric_is_named():
    with pytest.raises(BadInput, match="1 of 200 predictions are not numbers"):
        m.scores(TRUTH, np.where(np.arange(200) == 3, np.nan, GUESS))
    with pytest.raises(Missing, match="did you mean mae"):
        m.scores(TRUTH, GUESS, ["maee"])
    with pytest.raises(BadInput, match="none of 2 rows"):
        m.scores([np.nan, np.nan], [1.0, 2.0])
