"""Kinds of edges and of angles: counted by hand in rock salt, the whole graph where there is no symmetry, and what networks over edges make of them."""

import pytest
import torch

from matterloop.base.registry import load
from matterloop.bench import examples as ex
from matterloop.crystal.alike_edges import AlikeEdges, kinds_of, levels, meeting
from matterloop.crystal.graph import Graph, Nearest, Within
from matterloop.crystal.reverse import reverse_of, undirected
from matterloop.crystal.state import Crystals

F64 = torch.float64


def met(builder, crystals, back=True):
    graph = builder(crystals)
    kinds = kinds_of(graph, crystals)
    unit = torch.nn.functional.normalize(graph.vectors(crystals), dim=-1)
    return graph, kinds, meeting(kinds, graph, unit, back=back)


def test_rock_salt_has_one_kind_of_edge_each_way_and_three_angles():
    salt = ex.rock_salt()
    graph, kinds, (first, second, cosine, count) = met(AlikeEdges(Within(3.0)), salt)
    assert len(graph) == 12 and len(kinds) == 2 and kinds.count.tolist() == [6, 6] and kinds.many.tolist() == [24, 24]
    assert kinds.back.tolist() == [1, 0] and kinds.nodes.senders.tolist() == [1, 0] and kinds.nodes.receivers.tolist() == [0, 1]
    assert first.tolist() == [1, 1, 1, 0, 0, 0] and second.tolist() == [0, 0, 0, 1, 1, 1]
    torch.testing.assert_close(cosine, torch.tensor([-1.0, 0, 1] * 2, dtype=F64), atol=1e-12, rtol=0)
    assert count.tolist() == [1, 4, 1] * 2
    assert met(AlikeEdges(Within(3.0)), salt, back=False)[2][3].tolist() == [1, 4] * 2


def test_angles_tell_edges_apart_that_lengths_do_not():
    """A bent chain of three equal bonds: from the ends on both have one length; the middle atoms see the same lengths, and angles of 90 and 120 degrees."""
    a, b = 2.0, 3**0.5
    cart = torch.tensor([[0, 2.0, 0], [0, 0, 0], [a, 0, 0], [a + 1, b, 0]], dtype=F64)
    chain = Crystals.of((cart + 10) / 40, [6] * 4, 40 * torch.eye(3), periodic=[False] * 3)
    assert AlikeEdges(Within(2.2))(chain).alike.tolist() == [0, 1, 2, 3]
    straight = chain.put(frac=(torch.tensor([[-1.0, b, 0], [0, 0, 0], [a, 0, 0], [a + 1, b, 0]], dtype=F64) + 10) / 40)
    assert AlikeEdges(Within(2.2))(straight).alike.tolist() == [0, 1, 1, 0]


def test_edges_without_symmetry_are_left_as_they_are():
    crystal = ex.low_symmetry()
    graph, plain = AlikeEdges(Within(4.5))(crystal), Within(4.5)(crystal)
    assert torch.equal(graph.senders, plain.senders) and graph.edge["kind"].tolist() == list(range(len(plain)))
    assert torch.equal(graph.edge["back"], reverse_of(plain)) and graph.alike.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("builder", [Within(4.5), lambda c: undirected(Nearest(12, 8.0, fewer=True)(c))])
def test_messages_of_any_depth_are_those_of_the_whole_graph(builder):
    crystals = ex.every()
    results = []
    for build in (builder, AlikeEdges(builder)):
        graph, kinds, (first, second, cosine, count) = met(build, crystals)
        nodes = kinds.nodes
        y = crystals.species[nodes.first].double()[nodes.senders] * torch.exp(-kinds.mean(graph.vectors(crystals).norm(dim=-1)))
        for _ in range(4):
            y = torch.sin(y + 0.1 * torch.zeros_like(y).index_add(0, second, count * y[first] * torch.exp(cosine)))
        results.append(torch.zeros(len(nodes), dtype=F64).index_add(0, nodes.receivers, kinds.count * y)[nodes.of_atom])
    assert len(kinds) < 0.6 * int(kinds.many.sum())
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-12)


NETWORKS = {
    "alignn": {"width": 8, "inner": 4, "layers": 2, "plain": 2},
    "dimenet": {"width": 8, "inner": 4, "basis": 3, "out": 8, "blocks": 2, "degrees": 4, "radial": 3, "cutoff": 4.5, "dense": 1},
    "gemnet": {"width": 8, "inner": 4, "bilinear": 4, "basis": 3, "blocks": 2, "degrees": 4, "radial": 3, "cutoff": 4.5, "dense": 1},
}
NETWORKS |= {"spherenet": NETWORKS["dimenet"], "m3gnet": {"width": 8, "blocks": 2}}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("training", [True, False])
def test_features_and_slopes_of_networks_are_those_of_the_whole_graph(name, training):
    """In training too, where rows are normalised by their statistics; crystals of high and of no symmetry in one batch."""
    model = load(name, "encoder", **NETWORKS[name]).to(F64).train(training)
    crystals = ex.every()
    short, plain = model.graph(crystals), whole(model, crystals)
    assert len(short) < len(plain) and plain.alike is None
    found, wanted = outcome(model, crystals, short), outcome(model, crystals, plain)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10 * float(b.abs().max()))


@pytest.mark.data
def test_on_measured_crystals_a_fifth_of_the_edges_gives_the_features_of_all():
    from matterloop.archive.sources import data_path
    from matterloop.crystal.formats import read_table

    crystals = read_table(data_path("mp20_biternary_val_test", "val.csv.gz"), rows=slice(0, 64)).crystals.bare()
    model = load("m3gnet", "encoder", width=8, blocks=2).to(F64).eval()
    short, plain = model.graph(crystals), whole(model, crystals)
    assert len(kinds_of(short, crystals)) < len(plain) / 3
    with torch.no_grad():
        found, wanted = model(crystals, short).whole, model(crystals, plain).whole
    assert float((found - wanted).abs().max() / wanted.abs().max()) < 1e-6


def whole(model, crystals) -> Graph:
    """The graph of the model with every edge."""
    return model.graph(crystals.put(frac=crystals.frac.clone().requires_grad_()))


def outcome(model, crystals, graph):
    """Features, slopes of all weights, and the statistics that a step of training leaves behind."""
    state = {k: v.clone() for k, v in model.state_dict().items()}
    found = model(crystals, graph)
    x = torch.cat([v for v in (found.site, found.whole) if v is not None])
    slopes = torch.autograd.grad((x * torch.cos(x)).sum(), list(model.parameters()))
    after = [v.clone().double() for v in model.state_dict().values()]
    model.load_state_dict(state)
    return [x.detach(), *slopes, *after]


@pytest.mark.parametrize("name", NETWORKS)
def test_slopes_by_positions_are_those_of_differences(name):
    """Rock salt stays foldable where nothing is asked of its positions; where it is, every edge has its own slope."""
    model = load(name, "encoder", **NETWORKS[name]).to(F64).eval()
    salt = ex.rock_salt()
    frac = salt.frac.clone().requires_grad_()
    energy = lambda f: (lambda c: model(c, model.graph(c)).site.square().sum())(salt.put(frac=f))
    (slope,) = torch.autograd.grad(energy(frac), frac)
    bent = salt.frac + 0.01 * torch.sin(torch.arange(24, dtype=F64)).reshape(8, 3)
    bent.requires_grad_()
    (slope,) = torch.autograd.grad(energy(bent), bent)
    step = torch.zeros_like(bent)
    step[3, 1] = 1e-5
    with torch.no_grad():
        found = (energy(bent + step) - energy(bent - step)) / 2e-5
    assert float(slope[3, 1]) == pytest.approx(float(found), rel=1e-5)


def test_numbers_without_gaps_are_one_level():
    value = torch.tensor([0.3, 0.1, 0.10005, 0.3, 0.30005], dtype=F64)
    assert levels(value, torch.tensor([1, 0, 0, 0, 1]), 1e-4).tolist() == [2, 0, 0, 1, 2]
    assert len(levels(value[:0], value[:0].long(), 1e-4)) == 0


def test_crystals_of_a_batch_are_never_mixed():
    two = Crystals.join([ex.rock_salt(), ex.rock_salt()])
    graph = AlikeEdges(Within(3.0))(two)
    assert graph.alike.tolist() == [0] * 4 + [4] * 4 + [8] * 4 + [12] * 4 and len(kinds_of(graph, two)) == 4
    assert graph.edge["kind"].unique().tolist() == [0, 1]


def test_atoms_without_neighbours_and_few_angles_at_a_time(monkeypatch):
    alone = ex.molecule()
    graph = AlikeEdges(Within(1.0))(alone)
    assert len(graph) == 0 and graph.alike.tolist() == [0, 1, 1] and len(kinds_of(graph, alone)) == 0
    crystals = ex.every()
    wanted = AlikeEdges(Within(4.0))(crystals)
    monkeypatch.setattr("matterloop.crystal.alike_edges.TOGETHER", 500)
    found = AlikeEdges(Within(4.0))(crystals)
    assert torch.equal(found.alike, wanted.alike) and torch.equal(found.edge["kind"], wanted.edge["kind"])
