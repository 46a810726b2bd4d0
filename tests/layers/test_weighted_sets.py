"""Weighted attention against the same sums written out member by member and head by head."""

import math

import pytest
import torch
from torch.nn import functional as F

from matterloop.base.seeds import torch_stream
from matterloop.layers.weighted_sets import ElementInput, ResidualPerceptron, SetNetwork, WeightedAttention, dense_pairs

WIDTH, HIDDEN, HEADS = 3, 4, 2


def attended(layer, rows, weights):
    """Mean over heads of sum_j w_j^p exp(g_j) m_j / sum_k w_k^p exp(g_k), each head with a score and a message network of its own."""
    both = torch.cat([layer.of_sender, layer.of_receiver], 1) if layer.of_receiver is not None else layer.of_sender
    out = torch.zeros(WIDTH, dtype=torch.float64)
    for h in range(HEADS):
        gate, message = (slice(k * HEADS * HIDDEN + h * HIDDEN, k * HEADS * HIDDEN + (h + 1) * HIDDEN) for k in (0, 1))
        last = HEADS * layer.out.weight[:, h * HIDDEN : (h + 1) * HIDDEN]
        top = bottom = 0
        for row, weight in zip(rows, weights, strict=True):
            score = layer.score[h] @ F.leaky_relu(both[gate] @ row + layer.bias[gate])
            a = weight ** layer.power[h] * torch.exp(score)
            top, bottom = top + a * (last @ F.leaky_relu(both[message] @ row + layer.bias[message]) + layer.out.bias), bottom + a
        out = out + top / bottom / HEADS
    return out


@pytest.fixture
def sets():
    rng = torch_stream(0, "sets")
    x = torch.randn(5, WIDTH, generator=rng, dtype=torch.float64)
    return x, torch.tensor([0.2, 0.8, 0.5, 0.4, 0.1], dtype=torch.float64), torch.tensor([0, 0, 1, 1, 1])


def made(pairs):
    layer = WeightedAttention(torch_stream(1, "layer"), WIDTH, HIDDEN, HEADS, pairs).to(torch.float64)
    torch.nn.init.normal_(layer.bias, generator=torch_stream(2, "bias"))
    torch.nn.init.normal_(layer.out.bias, generator=torch_stream(3, "bias"))
    return layer


def test_pooling_is_the_weighted_mean_of_each_set(sets):
    x, w, owner = sets
    layer = made(pairs=False)
    found = layer(x, w.log(), owner, None, 2)
    for s, rows in enumerate(([0, 1], [2, 3, 4])):
        assert torch.allclose(found[s], attended(layer, x[rows], w[rows]), atol=1e-12)


def test_messages_come_from_every_member_of_the_own_set(sets):
    x, w, owner = sets
    layer = made(pairs=True)
    receivers, senders = dense_pairs(torch.tensor([2, 3]))
    assert list(zip(receivers.tolist(), senders.tolist(), strict=True)) == [
        (0, 0), (0, 1), (1, 0), (1, 1), (2, 2), (2, 3), (2, 4), (3, 2), (3, 3), (3, 4), (4, 2), (4, 3), (4, 4)]
    found = layer(x, w.log(), receivers, senders, 5)
    for i in range(5):
        mine = [j for j in range(5) if owner[j] == owner[i]]
        assert torch.allclose(found[i], attended(layer, [torch.cat([x[j], x[i]]) for j in mine], w[mine]), atol=1e-12)


def test_a_member_in_two_halves_counts_as_two(sets):
    """With power 1 a member and the same in two halves are one; that is what makes weights amounts."""
    network = SetNetwork(torch_stream(0, "n"), WIDTH, 2, HEADS, HIDDEN).to(torch.float64)
    with torch.no_grad():
        for layer in (*network.messages, network.pool):
            layer.power.fill_(1.0)
    x, w, owner = sets
    halves = torch.tensor([0, 1, 1, 2, 3, 4])
    split = torch.tensor([0.2, 0.3, 0.5, 0.5, 0.4, 0.1], dtype=torch.float64)
    assert torch.allclose(network(x, w, owner, 2), network(x[halves], split, owner[halves], 2), atol=1e-12)


def test_equal_members_may_stand_as_one(sets):
    network = SetNetwork(torch_stream(0, "n"), WIDTH, 2, HEADS, HIDDEN).to(torch.float64)
    x, w, owner = sets
    twice = torch.tensor([0, 1, 1, 2, 3, 4, 4, 4])
    count = torch.tensor([1, 2, 1, 1, 3], dtype=torch.float64)
    assert torch.allclose(network(x, w, owner, 2, count), network(x[twice], w[twice], owner[twice], 2), atol=1e-12)


def test_the_residual_perceptron_adds_its_input():
    net = ResidualPerceptron(torch_stream(0, "r"), (2, 2, 3), outputs=1, slope=0.1).to(torch.float64)
    x = torch.tensor([[0.3, -2.0]], dtype=torch.float64)
    bend = lambda y: torch.where(y < 0, 0.1 * y, y)
    one = bend(x @ net.main[0].weight.T) + x
    two = bend(one @ net.main[1].weight.T) + one @ net.shortcut[1].weight.T
    assert torch.allclose(net(x), two @ net.last.weight.T, atol=1e-12)


def test_elements_begin_as_what_is_known_of_them():
    net = ElementInput(torch_stream(0, "e"), 4)
    assert net(torch.tensor([0])).abs().max() == 0 and not torch.equal(net(torch.tensor([11])), net(torch.tensor([17])))
    assert math.isclose(float(net.known[1:95, 0].mean()), 0, abs_tol=1e-5)
