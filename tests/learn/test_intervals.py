import numpy as np
import pytest

from matterloop.base.errors import BadInput
from matterloop.learn.intervals import bootstrap, share_interval


def test_the_interval_of_a_share_is_the_binomial_one():
    """300 of 1,000: the standard error is 0.0145, so 0.272 to 0.328."""
    low, high = share_interval(300, 1000)
    assert (low, high) == pytest.approx((0.2716, 0.3284), abs=0.002)
    assert share_interval(300, 1000) == (low, high)
    ones = np.arange(1000) < 300
    assert bootstrap(ones) == pytest.approx((low, high), abs=0.003)


@pytest.mark.parametrize("hits, total, wanted", [(0, 0, (0, 1)), (0, 10, (0, 0.3085)), (10, 10, (0.6915, 1)), (0, 1, (0, 0.975))])
def test_where_none_or_all_hit_the_open_end_is_exact(hits, total, wanted):
    """Clopper and Pearson: 1 - 0.025^(1/10) = 0.3085."""
    assert share_interval(hits, total) == pytest.approx(wanted, abs=1e-4)


def test_the_interval_of_a_mean_is_that_of_its_normal_limit():
    values = np.random.default_rng(1).normal(3.0, 2.0, 400)
    low, high = bootstrap(values)
    assert (low, high) == pytest.approx((values.mean() - 1.96 * 0.1 * values.std() / 2, values.mean() + 1.96 * 0.1 * values.std() / 2), abs=0.03)


def test_a_statistic_of_ones_own_is_resampled_and_what_is_no_number_left_out():
    values = np.array([1.0, 2.0, np.inf])
    finite = lambda drawn: np.array([row[np.isfinite(row)].mean() if np.isfinite(row).any() else np.nan for row in drawn])
    low, high = bootstrap(values, finite)
    assert 1.0 <= low < high <= 2.0


def test_nothing_cannot_be_resampled():
    with pytest.raises(BadInput, match="no structures"):
        bootstrap(np.zeros(0))
