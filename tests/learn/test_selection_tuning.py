import numpy as np
import pytest

from matterloop.base.errors import BadInput
from matterloop.learn.selection import genetic_search, prune_correlated, rank_by_relevance, shared_information, varying
from matterloop.learn.tuning import Range, bayesian_search, folds

RNG = np.random.default_rng(0)
A, B, C = RNG.standard_normal((3, 400))
X = np.stack([A, A + 0.01 * C, B, np.ones(400), C], 1)  # the second is nearly the first, the fourth is constant
Y = 2 * A + B


def test_of_two_equal_columns_the_one_nearer_to_the_label_stays():
    assert varying(X).tolist() == [0, 1, 2, 4]
    assert prune_correlated(X, Y, 10, 0.9).tolist() == [0, 2, 4]
    assert prune_correlated(X, 2 * X[:, 1], 10, 0.9).tolist() == [1, 2, 4]


def test_pruning_stops_at_the_wanted_number():
    assert len(prune_correlated(X, Y, 2)) == 2 and prune_correlated(X, Y, 4).tolist() == [0, 1, 2, 4]


def test_shared_information_of_what_follows_and_what_does_not():
    found = shared_information(np.stack([A, -A, np.exp(A), B, np.ones(400)], 1), A, 8)
    assert found.tolist() == pytest.approx([1, 1, 1, found[3], 0]) and found[3] < 0.1


def test_shared_information_is_scikit_learns():
    from sklearn.metrics import normalized_mutual_info_score

    a, b = A, A + B
    parts = [np.argsort(np.argsort(v)) // 50 for v in (a, b)]  # eight parts of fifty rows
    assert shared_information(a[:, None], b, 8)[0] == pytest.approx(normalized_mutual_info_score(*parts), abs=1e-12)


def test_relevance_ranks_the_twin_last_of_those_that_matter():
    ranked = rank_by_relevance(X, Y, 4).tolist()
    assert ranked[0] in (0, 1) and ranked[1] == 2


def test_genes_find_the_columns_that_matter():
    wanted = {1, 4, 7, 11}
    error = lambda places: len(wanted ^ set(places.tolist()))
    chosen, course = genetic_search(error, 16, np.random.default_rng(3), population=40, generations=40)
    assert set(chosen.tolist()) == wanted and course[-1] == 0 and all(a >= b for a, b in zip(course, course[1:]))


def test_no_subset_is_asked_twice_and_none_is_empty():
    seen = []
    genetic_search(lambda places: seen.append(tuple(places)) or 0.0, 3, np.random.default_rng(0), population=10, generations=5, share=0.1)
    assert len(seen) == len(set(seen)) <= 7 and () not in seen


def test_bayesian_search_finds_the_bottom_of_a_bowl():
    space = {"x": Range(-2, 3), "rate": Range(1e-4, 1, log=True), "many": Range(1, 9, whole=True)}
    error = lambda o: (o["x"] - 1) ** 2 + (np.log10(o["rate"]) + 2) ** 2 + 0.1 * (o["many"] - 4) ** 2
    best, *rest = bayesian_search(error, space, np.random.default_rng(1), trials=40)
    at_random = min(error({"x": r.uniform(-2, 3), "rate": 10 ** r.uniform(-4, 0), "many": r.integers(1, 10)}) for r in [np.random.default_rng(5)] for _ in range(40))
    assert best.error < 0.05 and best.error < at_random and len(rest) == 39 and isinstance(best.options["many"], int)


def test_a_trial_that_fails_is_not_the_best():
    best = bayesian_search(lambda o: float("nan") if o["x"] < 0.5 else o["x"], {"x": Range(0, 1)}, np.random.default_rng(0), trials=12)[0]
    assert 0.5 <= best.error < 0.6


def test_folds_cover_every_row_once_and_spread_classes():
    classes = np.repeat([0, 1], [80, 20])
    tested = [test for train, test in folds(100, 5, np.random.default_rng(0), classes)]
    assert sorted(np.concatenate(tested)) == list(range(100)) and all(classes[t].sum() == 4 for t in tested)
    for train, test in folds(7, 3, np.random.default_rng(0)):
        assert not set(train) & set(test) and len(train) + len(test) == 7


@pytest.mark.parametrize("nonsense", [
    lambda: prune_correlated(np.ones((5, 2)), np.ones(5), 1), lambda: Range(1, 1), lambda: Range(0, 1, log=True), lambda: list(folds(3, 5, RNG)),
    lambda: bayesian_search(lambda o: 0, {}, RNG), lambda: genetic_search(lambda p: 0, 0, RNG)])
def test_nonsense_is_refused(nonsense):
    with pytest.raises(BadInput):
        nonsense()
