"""Trainable parts: what they compute, and that they leave the global generator alone."""

import math

import pytest
import torch

from matterloop.base.seeds import torch_stream
from matterloop.layers.parts import Gaussians, ShiftedSoftplus, cosine_cutoff, embedding, linear, perceptron


def test_weights_come_from_the_generator_that_is_passed_in():
    before = torch.get_rng_state()
    one, two = (perceptron(torch_stream(0, "x"), 4, 8, 2) for _ in range(2))
    other = perceptron(torch_stream(1, "x"), 4, 8, 2)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one[0].weight, two[0].weight) and not torch.equal(one[0].weight, other[0].weight)


def test_linear_weights_fill_the_range_of_glorot():
    layer = linear(torch_stream(0, "x"), 200, 100)
    reach = math.sqrt(6 / 300)
    assert float(layer.weight.detach().abs().max()) <= reach and float(layer.weight.detach().std()) == pytest.approx(reach / math.sqrt(3), rel=0.02)
    assert not bool(layer.bias.any())


def test_an_embedding_is_standard_normal():
    table = embedding(torch_stream(0, "x"), 119, 64).weight.detach()
    assert float(table.mean()) == pytest.approx(0, abs=0.05) and float(table.std()) == pytest.approx(1, rel=0.02)


def test_shifted_softplus_goes_through_the_origin():
    x = torch.tensor([0.0, 1.0, -1.0], dtype=torch.float64)
    assert ShiftedSoftplus()(x).tolist() == pytest.approx([0.0, math.log(0.5 * math.e + 0.5), math.log(0.5 / math.e + 0.5)])


def test_gaussians_are_one_at_their_centres():
    expand = Gaussians(0.0, 5.0, 6, gamma=10.0).to(torch.float64)
    assert torch.equal(expand(torch.tensor([2.0], dtype=torch.float64))[0, 2], torch.tensor(1.0, dtype=torch.float64))
    assert float(expand(torch.tensor([2.3], dtype=torch.float64))[0, 2]) == pytest.approx(math.exp(-0.9))


def test_the_cutoff_ends_with_its_slope():
    r = torch.tensor([0.0, 2.5, 5.0 - 1e-6, 5.0, 6.0], dtype=torch.float64, requires_grad=True)
    value = cosine_cutoff(r, 5.0)
    (slope,) = torch.autograd.grad(value.sum(), r)
    assert value.tolist() == pytest.approx([1.0, 0.5, 0.0, 0.0, 0.0], abs=1e-9) and slope.tolist() == pytest.approx([0.0, -math.pi / 10, 0.0, 0.0, 0.0], abs=1e-6)
