"""Edge gates and normalisation with a backward pass of their own, against autograd of the plain formula; edges and their reverse."""

import pytest
import torch
from torch.nn import functional as F

from matterloop.base.errors import BadInput
from matterloop.base.seeds import torch_stream
from matterloop.bench import examples as ex
from matterloop.crystal.graph import Graph, Nearest, Within
from matterloop.crystal.reverse import reverse_of, undirected
from matterloop.layers import normal
from matterloop.layers.angles import beside
from matterloop.layers.edge_gated import EdgeGated, Ends
from matterloop.layers.normal import BatchNorm, Often

F64 = torch.float64


def drawn(*shape):
    return torch.randn(*shape, generator=torch_stream(0, *map(str, shape)), dtype=F64)


@pytest.mark.parametrize(("edges", "cache"), [(True, 1 << 19), (False, 1 << 19), (True, 8)])
def test_gates_and_their_gradients_are_those_of_the_formula(edges, cache, monkeypatch):
    monkeypatch.setattr(normal, "CACHE", cache)
    layer = EdgeGated(torch_stream(0, "g"), 4, edges=edges).to(F64)
    source, target = torch.tensor([0, 1, 2, 2, 3, 0, 1]), torch.tensor([1, 0, 0, 1, 2, 2, 2])
    x, y = drawn(5, 4).requires_grad_(), drawn(7, 4).requires_grad_()
    inputs = [x, y, *layer.parameters()]
    gradients = lambda out: torch.autograd.grad(sum((o * drawn(*o.shape)).sum() for o in out), inputs)

    def plain():
        m = layer.source(x)[source] + layer.target(x)[target] + layer.edge(y)
        gate, total = torch.sigmoid(m), torch.zeros(5, 4, dtype=F64)
        h = total.index_add(0, target, gate * layer.value(x)[source]) / (total.index_add(0, target, gate) + 1e-6)
        normal = lambda norm, rows: F.silu(F.batch_norm(rows, None, None, norm.weight, norm.bias, training=True, eps=1e-5))
        return x + normal(layer.norm, layer.own(x) + h), y + normal(layer.edge_norm, m) if edges else y

    found, wanted = layer(x, y, Ends(source, target)), plain()
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    for a, b in zip(gradients(found), gradients(wanted), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


def test_a_row_that_stands_for_several_counts_as_often():
    count, x = torch.tensor([3, 1, 2]), drawn(3, 4).requires_grad_()
    one, many = BatchNorm(4).to(F64), BatchNorm(4).to(F64)
    y, wanted = one.silu(x, x, Often.of(count, F64)), many.silu(x.repeat_interleave(count, 0), x.repeat_interleave(count, 0))
    torch.testing.assert_close(y.repeat_interleave(count, 0), wanted)
    slopes = [torch.autograd.grad((f * torch.cos(f) * c).sum(), [x, *norm.parameters()]) for f, c, norm in ((y, count[:, None], one), (wanted, 1, many))]
    for a, b in zip([*slopes[0], *one.buffers()], [*slopes[1], *many.buffers()], strict=True):
        torch.testing.assert_close(a, b)


def test_running_figures_are_torchs():
    mine, theirs = BatchNorm(3).to(F64), torch.nn.BatchNorm1d(3).to(F64)
    for _ in range(3):
        x = drawn(11, 3) * 2 + 1
        torch.testing.assert_close(mine.silu(x), F.silu(theirs(x)))
    for a, b in zip(mine.state_dict().values(), theirs.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(mine.eval()(x), theirs.eval()(x))
    torch.testing.assert_close(mine.eval().silu(x), F.silu(theirs(x)))


def test_one_row_is_normalised_by_running_figures():
    norm = BatchNorm(3).to(F64).train()
    x = drawn(1, 3)
    torch.testing.assert_close(norm(x), x / (1 + 1e-5) ** 0.5)
    torch.testing.assert_close(norm.silu(x), F.silu(x / (1 + 1e-5) ** 0.5))
    assert norm.silu(drawn(0, 3)).shape == (0, 3) and int(norm.num_batches_tracked) == 0


def test_the_reverse_of_an_edge_points_back():
    crystals = ex.every()
    graph = Within(4.2)(crystals)
    reverse = reverse_of(graph)
    torch.testing.assert_close(graph.vectors(crystals)[reverse], -graph.vectors(crystals))
    assert torch.equal(graph.senders[reverse], graph.receivers) and torch.equal(graph.shift[reverse], -graph.shift)
    assert torch.equal(reverse[reverse], torch.arange(len(graph)))
    with pytest.raises(BadInput, match="other direction"):
        reverse_of(graph.pick(torch.arange(len(graph)) != 3))


def test_undirected_keeps_each_edge_once_in_both_directions():
    crystal = ex.low_symmetry()
    near = Nearest(3, 8.0)(crystal)
    graph = undirected(near)
    rows = lambda g: {(r, s, *t) for r, s, t in zip(g.receivers.tolist(), g.senders.tolist(), g.shift.tolist(), strict=True)}
    assert len(rows(graph)) == len(graph) and bool((graph.receivers.diff() >= 0).all())
    assert rows(graph) == rows(near) | {(s, r, -a, -b, -c) for r, s, a, b, c in rows(near)}
    assert rows(graph) > rows(near)


def test_edges_beside_near_ones():
    crystals = ex.every()
    graph = Within(4.2)(crystals)
    near = (graph.vectors(crystals).norm(dim=-1) < 3.2).nonzero()[:, 0]
    one, other = beside(graph, near)
    wanted = {(a, b) for b in near.tolist() for a in range(len(graph)) if a != b and graph.receivers[a] == graph.receivers[b]}
    assert {*zip(one.tolist(), other.tolist(), strict=True)} == wanted and len(one) == len(wanted)
    empty = Graph(*(torch.zeros(0, *s, dtype=torch.long) for s in ((), (), (3,))))
    assert len(beside(empty, torch.zeros(0, dtype=torch.long))[0]) == len(reverse_of(empty)) == len(undirected(empty)) == 0
