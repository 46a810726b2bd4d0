"""Equal numbers are merged within crystals only."""

import torch

from matterloop.layers.merging import merged


def test_near_numbers_of_a_crystal_become_their_mean_and_those_of_others_stay():
    x = torch.tensor([2.0, 3.0, 2.0 + 4e-7, 2.0, -1.0], dtype=torch.float64)
    values, kind = merged(x, torch.tensor([0, 0, 0, 1, 0]))
    assert kind.tolist() == [1, 2, 1, 3, 0]
    torch.testing.assert_close(values, torch.tensor([-1.0, 2.0 + 2e-7, 3.0, 2.0], dtype=torch.float64), rtol=0, atol=1e-12)


def test_numbers_with_slopes_stay_apart():
    x = torch.tensor([2.0, 3.0, 2.0], dtype=torch.float64, requires_grad=True)
    values, kind = merged(x, torch.zeros(3, dtype=torch.long))
    assert values is x and kind.tolist() == [0, 1, 2]


def test_nothing_becomes_nothing():
    values, kind = merged(torch.zeros(0, dtype=torch.float64), torch.zeros(0, dtype=torch.long))
    assert len(values) == len(kind) == 0
