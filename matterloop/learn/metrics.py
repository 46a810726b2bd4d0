"""How far predictions are from labels: every metric of the tasks as a function of arrays, and a table of scores with bootstrap intervals.

All functions reduce the last axis, so a stack of resamples (resamples, rows) gives (resamples,). Definitions:
MAD = mean |t - mean t|, the error of the best constant in the sense of K. Choudhary, B. DeCost, npj Comput. Mater. 7, 185 (2021),
doi:10.1038/s41524-021-00650-1, and MAD:MAE how often a model is better than it; EwT: share of errors within a threshold, L. Chanussot et al., ACS Catal. 11,
6059 (2021), doi:10.1021/acscatal.0c04525; AUC by ranks, T. Fawcett, Pattern Recognit. Lett. 27, 861 (2006), doi:10.1016/j.patrec.2005.10.010. The AUC that the
Matbench board prints is that of hard labels (0.5 the threshold), which equals the balanced accuracy: `auc_of_labels`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..base.errors import BadInput, Missing
from .intervals import LEVEL, RESAMPLES, bootstrap

THRESHOLD = 0.5  # probability from which a row is called positive


@dataclass(frozen=True)
class Score:
    """One metric of a set of rows: `value` in `unit` with its interval `low` to `high`, over `count` rows that were measured."""

    name: str
    value: float
    low: float
    high: float
    unit: str = ""
    count: int = 0

    def __str__(self) -> str:
        return f"{self.name} {self.value:.4g} ({self.low:.4g} to {self.high:.4g}){f' {self.unit}' if self.unit else ''}"


# numbers


def mae(truth: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """Mean absolute error."""
    return np.abs(guess - truth).mean(-1)


def mse(truth: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """Mean squared error."""
    return ((guess - truth) ** 2).mean(-1)


def rmse(truth: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """Root of the mean squared error."""
    return np.sqrt(mse(truth, guess))


def mad(truth: np.ndarray, guess: np.ndarray | None = None) -> np.ndarray:
    """Mean absolute deviation of the labels from their mean."""
    return np.abs(truth - truth.mean(-1, keepdims=True)).mean(-1)


def mad_mae(truth: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """MAD over MAE: 1 for a model no better than the mean, above 5 is called useful in the literature."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return mad(truth) / mae(truth, guess)


def r2(truth: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """Coefficient of determination, 1 - sum of squared errors over that of the mean; NaN where all labels are equal."""
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = truth.var(-1)
        return np.where(spread > 0, 1 - mse(truth, guess) / spread, np.nan)


def bias(truth: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """Mean of prediction minus label."""
    return (guess - truth).mean(-1)


def error_std(truth: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """Standard deviation of the errors (divided by their number)."""
    return (guess - truth).std(-1)


def median_error(truth: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """Median absolute error."""
    return np.median(np.abs(guess - truth), axis=-1)


def max_error(truth: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """Largest absolute error."""
    return np.abs(guess - truth).max(-1)


def mape(truth: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """Mean absolute error as a share of the label; labels of zero count as the smallest number above it, as in scikit-learn."""
    return (np.abs(guess - truth) / np.maximum(np.abs(truth), np.finfo(np.float64).eps)).mean(-1)


def smape(truth: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """Mean of 2 |error| / (|label| + |prediction|), 0 where both are zero; between 0 and 2."""
    total = np.abs(truth) + np.abs(guess)
    return (2 * np.abs(guess - truth) / np.where(total > 0, total, 1.0)).mean(-1)


def within(truth: np.ndarray, guess: np.ndarray, threshold: float) -> np.ndarray:
    """EwT: share of rows whose absolute error is at most `threshold`."""
    return (np.abs(guess - truth) <= threshold).mean(-1)


def within_relative(truth: np.ndarray, guess: np.ndarray, share: float) -> np.ndarray:
    """Share of tensors (rows, 3, 3) whose error has at most `share` of the Frobenius norm of the label: EwT 25 % of dielectric tensors is share 0.25."""
    size = lambda x: np.linalg.norm(np.asarray(x, dtype=np.float64).reshape(len(x), -1), axis=1)
    return np.mean(size(guess - truth) <= share * size(truth))


# two classes: labels 0 and 1, scores where larger means class 1


def auc(truth: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Area under the ROC curve: how often a row of class 1 scores higher than one of class 0, ties count half; NaN where a class is missing."""
    from scipy.stats import rankdata

    positive = truth > 0.5
    many = positive.sum(-1)
    few = truth.shape[-1] - many
    with np.errstate(divide="ignore", invalid="ignore"):
        ranks = (rankdata(score, axis=-1) * positive).sum(-1)
        return np.where((many > 0) & (few > 0), (ranks - many * (many + 1) / 2) / (many * few), np.nan)


def auc_of_labels(truth: np.ndarray, score: np.ndarray) -> np.ndarray:
    """AUC after scores are made into labels, as the Matbench board computes it; equals the balanced accuracy."""
    return auc(truth, (score >= THRESHOLD).astype(np.float64))


def roc(truth: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(false positive rate, true positive rate, threshold) of one set, from none called positive (threshold infinity) to all."""
    order = np.argsort(-score, kind="stable")
    score, positive = score[order], (truth > 0.5)[order]
    last = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)  # equal scores are called together
    hits, calls = np.cumsum(positive)[last], last + 1
    with np.errstate(divide="ignore", invalid="ignore"):
        true, false = hits / positive.sum(), (calls - hits) / (~positive).sum()
    return np.append(0.0, false), np.append(0.0, true), np.append(np.inf, score[last])


def _table(truth: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, ...]:
    """True positives, false positives, false negatives, true negatives."""
    said, is_so = score >= THRESHOLD, truth > 0.5
    return tuple(x.sum(-1).astype(np.float64) for x in (said & is_so, said & ~is_so, ~said & is_so, ~said & ~is_so))


def _ratio(a: np.ndarray, b: np.ndarray, empty: float = np.nan) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(b > 0, a / b, empty)


def accuracy(truth: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Share of rows called right."""
    return ((score >= THRESHOLD) == (truth > 0.5)).mean(-1)


def balanced_accuracy(truth: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Mean of the shares of each class that are called right; NaN where a class is missing."""
    tp, fp, fn, tn = _table(truth, score)
    return (_ratio(tp, tp + fn) + _ratio(tn, tn + fp)) / 2


def precision(truth: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Share of class 1 among the rows called so; 0 where none is."""
    tp, fp, *_ = _table(truth, score)
    return _ratio(tp, tp + fp, 0.0)


def recall(truth: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Share of class 1 that is called so; NaN where there is none."""
    tp, _, fn, _ = _table(truth, score)
    return _ratio(tp, tp + fn)


def f1(truth: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Harmonic mean of precision and recall; 0 where nothing is called right."""
    tp, fp, fn, _ = _table(truth, score)
    return _ratio(2 * tp, 2 * tp + fp + fn, 0.0)


def iou(truth: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Intersection over union of what is of class 1 and what is called so."""
    tp, fp, fn, _ = _table(truth, score)
    return _ratio(tp, tp + fp + fn, 0.0)


# several classes


def confusion(truth: np.ndarray, label: np.ndarray, classes: int) -> np.ndarray:
    """(classes, classes) counts: row the true class, column the predicted one."""
    return np.bincount(np.asarray(truth, dtype=np.int64) * classes + np.asarray(label, dtype=np.int64), minlength=classes**2).reshape(classes, classes)


def top_k(truth: np.ndarray, scores: np.ndarray, k: int = 1) -> float:
    """Share of rows whose class is among the k highest of `scores` (rows, classes); of equal scores the lower class comes first."""
    best = np.argsort(-np.asarray(scores), axis=-1, kind="stable")[:, :k]
    return float((best == np.asarray(truth, dtype=np.int64)[:, None]).any(1).mean())


# what is offered by name


@dataclass(frozen=True)
class Metric:
    """A function of (labels, predictions), whether a larger value is better, and its unit: that of the target ("same"), its square, or none."""

    function: Callable[[np.ndarray, np.ndarray], np.ndarray]
    larger_is_better: bool = False
    unit: str = "same"


METRICS: dict[str, Metric] = {
    "mae": Metric(mae), "mse": Metric(mse, unit="square"), "rmse": Metric(rmse), "mad": Metric(mad), "mad_mae": Metric(mad_mae, True, ""), "r2": Metric(r2, True, ""),
    "bias": Metric(bias), "error_std": Metric(error_std), "median_error": Metric(median_error), "max_error": Metric(max_error), "mape": Metric(mape, unit=""),
    "smape": Metric(smape, unit=""), "auc": Metric(auc, True, ""), "auc_of_labels": Metric(auc_of_labels, True, ""), "accuracy": Metric(accuracy, True, ""),
    "balanced_accuracy": Metric(balanced_accuracy, True, ""), "precision": Metric(precision, True, ""), "recall": Metric(recall, True, ""),
    "f1": Metric(f1, True, ""), "iou": Metric(iou, True, "")}
NUMBERS = ("mae", "rmse", "mse", "mad", "mad_mae", "r2", "median_error", "bias")
CLASSES = ("auc", "auc_of_labels", "f1", "balanced_accuracy", "accuracy", "precision", "recall")


_WITH_NUMBER = {
    "ewt_": lambda truth, guess, limit: within(truth, guess, limit),
    "f1_up_to_": lambda truth, guess, limit: f1(truth <= limit, guess <= limit),
    "auc_up_to_": lambda truth, guess, limit: auc(truth <= limit, -guess),
}


def metric(name: str) -> Metric:
    """The metric called `name`; "ewt_0.05" is the share within 0.05 of the target's unit, "f1_up_to_0.1" and "auc_up_to_0.1" ask which rows lie at 0.1 or below.

    Missing for other names.
    """
    for begin, function in _WITH_NUMBER.items():
        if name.startswith(begin):
            try:
                threshold = float(name[len(begin) :])
            except ValueError:
                raise Missing("metric", name, [*METRICS, "ewt_0.05"]) from None
            return Metric(lambda truth, guess, function=function: function(truth, guess, threshold), True, "")
    if name not in METRICS:
        raise Missing("metric", name, [*METRICS, "ewt_0.05"])
    return METRICS[name]


def measured(truth: Sequence, *others: Sequence, where: str = "metrics") -> tuple[np.ndarray, ...]:
    """The rows of `truth` (rows,) that have a label (not NaN), and the same rows of the others, in float64.

    BadInput where lengths differ, no label is left, or a prediction of a measured row is not a number.
    """
    truth = np.asarray(truth, dtype=np.float64).reshape(-1)
    others = [np.asarray(x, dtype=np.float64) for x in others]
    if any(len(x) != len(truth) for x in others):
        raise BadInput(f"{len(truth)} labels, {', '.join(str(len(x)) for x in others)} predictions", where)
    known = ~np.isnan(truth)
    if not known.any():
        raise BadInput(f"none of {len(truth)} rows has a label", where)
    for x in others:
        if bad := int((~np.isfinite(x[known])).sum()):
            raise BadInput(f"{bad} of {int(known.sum())} predictions are not numbers; a model that diverged is a failure, not a score", where)
    return truth[known], *(x[known] for x in others)


def scores(truth: Sequence, guess: Sequence, names: Iterable[str] = NUMBERS, *, unit: str = "", seed: int = 0, resamples: int = RESAMPLES, level: float = LEVEL) -> list[Score]:
    """Every named metric of `guess` (rows,) against `truth` (rows,), NaN labels skipped, with percentile-bootstrap intervals over rows.

    For classes `truth` holds 0 and 1 and `guess` probabilities of 1. Errors as `measured`; Missing for an unknown metric.
    """
    truth, guess = measured(truth, guess)
    rows, out = np.stack([truth, guess], 1), []
    for name in names:
        m = metric(name)
        low, high = bootstrap(rows, lambda x, f=m.function: f(x[..., 0], x[..., 1]), seed=seed, resamples=resamples, level=level)
        shown = {"same": unit, "square": f"({unit})^2" if unit else ""}.get(m.unit, "")
        out.append(Score(name, float(m.function(truth, guess)), low, high, shown, len(truth)))
    return out
