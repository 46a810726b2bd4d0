"""The hand-written gate equals its definition and its derivatives those of autograd."""

import pytest
import torch
from torch.nn import functional as F

from matterloop.crystal.segments import Bins
from matterloop.layers.gated_pairs import Gate, Pairs, centred, gated

WIDTH, NODES = 4, 5
FIRST, SECOND = torch.tensor([0, 0, 1, 2, 2, 2]), torch.tensor([1, 0, 3, 2, 3, 1])


def numbers(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + sum(shape)))


def gate(hidden: bool) -> tuple[Gate, list]:
    core, side, bias = numbers(WIDTH, WIDTH, seed=1), numbers(WIDTH, WIDTH, seed=2), numbers(2 * WIDTH, seed=3)
    scale, shift = numbers(2, WIDTH, seed=4), numbers(2, WIDTH, seed=5)
    packed = (centred(core, WIDTH).T.contiguous(), centred(side, WIDTH).T.contiguous(), centred(bias, WIDTH)) if hidden else None
    return Gate(packed, scale, shift), [core, side, bias, scale, shift]


def plain(one, two, shared, weight, hidden, raw):
    core, side, bias, scale, shift = raw
    here, there = torch.cat([FIRST, SECOND]), torch.cat([SECOND, FIRST])
    twice = lambda x: x if len(x) == 2 * len(FIRST) else torch.cat([x, x])
    x = one[here] + two[there] + twice(shared)
    a, b = x.chunk(2, 1)
    if hidden:
        a, b = F.silu(a) @ core.T + bias[:WIDTH], F.silu(b) @ side.T + bias[WIDTH:]
    message = F.silu(F.layer_norm(a, (WIDTH,), scale[0], shift[0])) * torch.sigmoid(F.layer_norm(b, (WIDTH,), scale[1], shift[1]))
    return message if weight is None else torch.zeros(NODES, WIDTH, dtype=one.dtype).index_add(0, here, message * twice(weight))


@pytest.mark.parametrize("hidden", [True, False])
@pytest.mark.parametrize("rows", [6, 12])
@pytest.mark.parametrize("weighted", [True, False])
def test_the_gate_is_its_definition_and_so_are_its_slopes(hidden, rows, weighted):
    built, raw = gate(hidden)
    inputs = [numbers(NODES, 2 * WIDTH), numbers(NODES, 2 * WIDTH, seed=7), numbers(rows, 2 * WIDTH), numbers(rows, WIDTH) if weighted else None]
    if not hidden:  # without a hidden layer the first map must give centred halves
        inputs[:3] = [centred(x.T, WIDTH).T.contiguous() for x in inputs[:3]]
    inputs = [x if x is None else x.requires_grad_() for x in inputs]
    pairs = Pairs(FIRST, SECOND, NODES)
    ours, theirs = gated(*inputs, pairs, built), plain(*inputs, hidden, raw)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    wanted = [x for x in inputs if x is not None]
    seed = numbers(*ours.shape, seed=9)
    for a, b in zip(torch.autograd.grad((ours * seed).sum(), wanted), torch.autograd.grad((theirs * seed).sum(), wanted), strict=True):
        torch.testing.assert_close(a if hidden or a.shape[1] == WIDTH else centred(a.T, WIDTH).T, b, rtol=1e-10, atol=1e-12)


def test_slopes_can_be_taken_twice_from_one_forward_pass():
    built, _ = gate(True)
    one = numbers(NODES, 2 * WIDTH).requires_grad_()
    out = gated(one, numbers(NODES, 2 * WIDTH), numbers(6, 2 * WIDTH), numbers(6, WIDTH), Pairs(FIRST, SECOND, NODES), built).sum()
    first = torch.autograd.grad(out, one, retain_graph=True)[0]
    assert torch.equal(first, torch.autograd.grad(out, one)[0])


def test_no_pairs_give_zero_sums():
    built, _ = gate(True)
    none = torch.zeros(0, dtype=torch.long)
    one = numbers(NODES, 2 * WIDTH).requires_grad_()
    out = gated(one, one, numbers(0, 2 * WIDTH), numbers(0, WIDTH), Pairs(none, none, NODES), built)
    assert torch.equal(out, torch.zeros(NODES, WIDTH, dtype=torch.float64))
    assert not bool(torch.autograd.grad(out.sum(), one)[0].any())


def test_bins_sum_and_take_and_their_slopes():
    index = torch.tensor([3, 0, 0, 3, 1])
    bins, values, table = Bins(index, 5), numbers(5, 3).requires_grad_(), numbers(5, 3, seed=1).requires_grad_()
    torch.testing.assert_close(bins.sum(values), torch.zeros(5, 3, dtype=torch.float64).index_add(0, index, values))
    assert torch.equal(bins.take(table), table[index])
    assert torch.autograd.gradcheck(bins.sum, (values,)) and torch.autograd.gradcheck(bins.take, (table,))
    assert torch.autograd.gradgradcheck(bins.sum, (values,)) and torch.autograd.gradgradcheck(bins.take, (table,))
