"""Intervals hold what they promise, ensembles mix."""

import math

import numpy as np
import pytest

from matterloop.base.errors import BadInput, Missing
from matterloop.learn import uncertainty as u
from matterloop.learn.calibration import coverage

RNG = np.random.default_rng(11)


def test_an_ensemble_is_the_mixture_of_its_members():
    mean, spread = u.ensemble(np.array([[1.0, 2.0], [3.0, 2.0]]), np.array([[0.5, 1.0], [0.5, 2.0]]))
    assert mean.tolist() == [2.0, 2.0]
    assert spread == pytest.approx([math.sqrt(1 + 0.25), math.sqrt(2.5)])
    with pytest.raises(BadInput, match="at least two members"):
        u.ensemble(np.ones((1, 3)))


def test_the_scale_of_spreads_is_found_again():
    spread = RNG.uniform(0.1, 1.0, 20_000)
    truth = 2.5 * spread * RNG.normal(size=20_000)
    assert u.spread_scale(truth, np.zeros(20_000), spread) == pytest.approx(2.5, rel=0.02)


def test_quantiles_count_the_row_to_come():
    scores = np.arange(1.0, 20.0)  # 19 rows
    assert u.conformal_quantile(scores, 0.9) == 18.0  # the 18th of 19
    assert u.conformal_quantile(scores, 0.95) == 19.0 and u.conformal_quantile(scores, 0.96) == float("inf")


def noisy(n):
    distance = RNG.uniform(0, 1, n)
    return RNG.normal(size=n) * (0.1 + distance), distance


@pytest.mark.parametrize("kind", u.KINDS)
def test_intervals_cover_what_they_promise(kind):
    off, distance = noisy(4000)
    given = {"distance": distance} if kind == "distance" else {"spread": 3 * (0.1 + distance)} if kind == "spread" else {}
    found = u.Conformal.of(off, np.zeros(4000), kind=kind, **given)
    assert found.kind == kind
    off, distance = noisy(8000)
    for level in u.LEVELS:
        low, high = found.interval(np.zeros(8000), level, distance=distance, spread=3 * (0.1 + distance))
        assert coverage(off, low, high) == pytest.approx(level, abs=0.02)
    low, high = found.interval(np.zeros(8000), 0.9, distance=distance, spread=3 * (0.1 + distance))
    near, far = distance < 0.2, distance > 0.8
    held = [coverage(off[part], low[part], high[part]) for part in (near, far)]
    if kind == "plain":
        assert held[0] > 0.98 and held[1] < 0.82  # too wide near, too narrow far
    else:
        assert held == pytest.approx([0.9, 0.9], abs=0.04) and (high - low)[far].mean() > 2 * (high - low)[near].mean()


def test_intervals_of_the_logarithm_are_factors():
    guess = np.exp(RNG.normal(0, 2, 4000))
    truth = guess * np.exp(0.3 * RNG.normal(size=4000))
    found = u.Conformal.of(truth, guess, logarithm=True)
    new = np.exp(RNG.normal(0, 2, 8000))
    low, high = found.interval(new, 0.95)
    assert low / new == pytest.approx(np.full(8000, math.exp(-0.588)), rel=0.05) and (low * high) == pytest.approx(new**2)
    assert coverage(new * np.exp(0.3 * RNG.normal(size=8000)), low, high) == pytest.approx(0.95, abs=0.01)
    deviation = found.deviation(new)
    assert deviation / new == pytest.approx(np.full(8000, math.sinh(0.3)), rel=0.05)
    assert found.below(np.array([1.0, 1.0, 1.0]), math.exp(0.3), found.deviation(np.ones(3))) == pytest.approx(0.84, abs=0.02)
    assert (found.below(np.ones(2), -1.0, found.deviation(np.ones(2))) < 0.01).all()
    by_spread = u.Conformal.of(truth, guess, spread=0.3 * guess, logarithm=True)
    assert by_spread.interval(new, 0.95, spread=0.3 * new)[0] == pytest.approx(low, rel=0.03)
    assert u.Conformal.of_words(found.to_words()) == found
    with pytest.raises(BadInput, match="have no logarithm"):
        u.Conformal.of([1.0, -1.0], [1.0, 1.0], logarithm=True)


def test_few_rows_give_plain_intervals_and_infinite_ones_are_said():
    found = u.Conformal.of([1.0, 2.0, 3.0], [1.1, 2.3, 2.9], distance=[0.1, 0.2, 0.3])
    assert found.kind == "plain" and found.quantiles[0.9] == float("inf")
    again = u.Conformal.of_words(found.to_words())
    assert again == found and found.to_words()["quantiles"]["0.9"] is None


def test_words_come_back_and_other_words_are_refused():
    off, distance = noisy(200)
    found = u.Conformal.of(off, np.zeros(200), distance=distance)
    assert u.Conformal.of_words(found.to_words()) == found
    with pytest.raises(BadInput, match="is no calibration"):
        u.Conformal.of_words({"kind": "plain"})
    with pytest.raises(BadInput, match="need the distance"):
        found.interval([0.0])
    with pytest.raises(Missing):
        found.interval([0.0], 0.5, distance=np.zeros(1))


def test_a_temperature_is_found_again():
    logits = RNG.normal(size=(20_000, 3))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (p.cumsum(1) < RNG.random(20_000)[:, None]).sum(1)
    assert u.temperature(labels, 3 * logits) == pytest.approx(3.0, rel=0.05)
    assert u.tempered(p**3 / (p**3).sum(1, keepdims=True), 3.0) == pytest.approx(p)
