"""Results that are computed twice instead of kept: the same values, the same gradients."""

import torch

from matterloop.base.seeds import torch_stream
from matterloop.layers.recompute import recomputed


def test_values_and_gradients_are_those_of_the_function():
    x, w = (torch.randn(4, 4, generator=torch_stream(0, name), dtype=torch.float64).requires_grad_() for name in "xw")
    index, calls = torch.tensor([2, 0, 2]), []

    def function(x, w, index):
        calls.append(1)
        return torch.tanh(x @ w).index_select(0, index) ** 2

    plain = function(x, w, index)
    down = torch.randn(plain.shape, generator=torch_stream(0, "d"), dtype=torch.float64)
    found = recomputed(function, x, w, index)
    assert torch.equal(found, plain) and len(calls) == 2
    for a, b in zip(torch.autograd.grad(found, (x, w), down), torch.autograd.grad(plain, (x, w), down), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-14, atol=0)
    assert len(calls) == 3
    (only,) = torch.autograd.grad(recomputed(function, x.detach(), w, index), (w,), down)
    torch.testing.assert_close(only, torch.autograd.grad(function(x, w, index), (w,), down)[0])
