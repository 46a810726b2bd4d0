"""Reductions over runs of rows equal those of numpy, bin by bin."""

import numpy as np
import pytest
import torch

from matterloop.crystal.segments import offsets_of, runs, segment_count, segment_max, segment_mean, segment_min, segment_softmax, segment_sum

INDEX = torch.tensor([3, 0, 0, 3, 1, 3])
VALUES = torch.tensor([[1.0, -2], [3, 4], [5, -6], [-7, 8], [9, 10], [11, 0.5]], dtype=torch.float64)


def by_bin(reduce, empty):
    return np.array([reduce(VALUES.numpy()[INDEX.numpy() == b], axis=0) if (INDEX == b).any() else np.full(2, empty) for b in range(5)])


@pytest.mark.parametrize(("ours", "reduce", "empty"), [
    (segment_sum, np.sum, 0.0), (segment_mean, np.mean, 0.0), (segment_max, np.max, -np.inf), (segment_min, np.min, np.inf)])
def test_reductions_are_those_of_numpy(ours, reduce, empty):
    np.testing.assert_allclose(ours(VALUES, INDEX, 5).numpy(), by_bin(reduce, empty), rtol=1e-14)


def test_counts_include_empty_bins():
    assert segment_count(INDEX, 5).tolist() == [2, 1, 0, 3, 0]


def test_softmax_sums_to_one_in_each_bin_and_survives_large_scores():
    weight = segment_softmax(VALUES * 1000, INDEX, 5)
    assert bool(torch.isfinite(weight).all())
    np.testing.assert_allclose(segment_sum(weight, INDEX, 5)[[0, 1, 3]].numpy(), 1.0, rtol=1e-12)


def test_softmax_is_that_of_torch_in_one_bin():
    torch.testing.assert_close(segment_softmax(VALUES, torch.zeros(6, dtype=torch.long), 1), VALUES.softmax(0))


def test_sums_are_differentiable():
    assert torch.autograd.gradcheck(lambda v: segment_sum(v, INDEX, 5), (VALUES.clone().requires_grad_(),))
    assert torch.autograd.gradcheck(lambda v: segment_softmax(v, INDEX, 5), (VALUES.clone().requires_grad_(),))


def test_runs_are_concatenated_ranges():
    assert runs(torch.tensor([5, 0, 7]), torch.tensor([2, 0, 3])).tolist() == [5, 6, 7, 8, 9]
    assert offsets_of(torch.tensor([2, 0, 3])).tolist() == [0, 2, 2, 5]
