"""Gated blocks: what has no direction stays, what has one turns, and a vanishing vector has slopes."""

import torch

from matterloop.base.seeds import torch_stream
from matterloop.bench import examples as ex
from matterloop.layers.gated_vectors import GatedVectors, soft_norm


def test_numbers_stay_and_vectors_turn():
    rng = torch_stream(0, "test")
    block = GatedVectors(rng, 6, 4).double()
    x, v, turn = torch.randn(5, 6, generator=rng, dtype=torch.float64), torch.randn(5, 3, 6, generator=rng, dtype=torch.float64), -ex.rotation()
    (a, u), (b, w) = block(x, v), block(x, turn @ v)
    torch.testing.assert_close(a, b)
    torch.testing.assert_close(turn @ u, w)


def test_the_length_of_a_vanishing_vector_is_zero_and_twice_differentiable_there():
    v = torch.zeros(1, 3, 1, dtype=torch.float64, requires_grad=True)
    length = soft_norm(v)
    (slope,) = torch.autograd.grad(length.sum(), v, create_graph=True)
    (curve,) = torch.autograd.grad(slope[0, 0, 0], v)
    assert float(length.detach()) == 0 and float(slope.detach().abs().max()) == 0 and abs(float(curve[0, 0, 0]) - 1000) < 1e-6
    torch.testing.assert_close(soft_norm(torch.tensor([[[3.0], [0], [4]]])), torch.tensor([[5.0]]), atol=2e-3, rtol=0)
