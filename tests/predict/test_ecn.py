"""ECN: messages once per orbit are the messages of all edges."""

import torch
from torch.nn import functional as F

from matterloop.bench import examples as ex
from matterloop.crystal.edge_orbits import colours
from matterloop.crystal.graph import Within
from matterloop.crystal.segments import segment_sum
from matterloop.crystal.state import Crystals
from matterloop.crystal.translations import translations
from matterloop.learn.data import Samples
from matterloop.predict.ecn import ECN

CRYSTALS = Crystals.join([ex.rock_salt(), ex.ordered_rock_salt(), ex.low_symmetry(), ex.one_atom(), ex.slab()])


def small():
    return ECN(width=6, extra=4, bins=5, layers=2, radius=6.5).double()


def of_all_edges(model, crystals):
    """(atoms, width) features from every edge of every atom, with no use of orbits."""
    graph = Within(6.5)(crystals)
    length, colour = graph.vectors(crystals).norm(dim=-1), colours(crystals, graph, translations(crystals))
    cut = (0.5 * (torch.cos(torch.pi * length / 6.5) + 1))[:, None]
    edge = model.edge(torch.exp(-(((length[:, None] - torch.linspace(0, 6.5, 5)) / (2 * 6.5 / 5)) ** 2)))
    x = model.embed(crystals.species)
    for layer in model.layers:
        m = F.silu(layer.message(F.silu(layer.pair.joint(torch.cat([x[graph.receivers], x[graph.senders], edge], 1)))))
        total = segment_sum(torch.sigmoid(layer.attend(m)) * cut * m, graph.receivers, len(x))
        for e in (colour > 0).nonzero()[:, 0].tolist():
            c, i = int(colour[e]), int(graph.receivers[e])
            m = F.silu(torch.cat([x[i], edge[e]]) @ layer.copy.weight[c] + layer.copy.bias[c])
            m = F.silu(m @ layer.copied.weight[c] + layer.copied.bias[c])
            total[i] += torch.sigmoid(layer.attend_copy(m)) * cut[e] * m
        x = x + layer.update(torch.cat([total, x], 1))
    return model.decode(x)


@torch.no_grad()
def test_messages_once_per_orbit_are_the_messages_of_all_edges():
    model = small()
    torch.testing.assert_close(model(CRYSTALS, model.graph(CRYSTALS)).site, of_all_edges(model, CRYSTALS), rtol=1e-6, atol=1e-8)  # centres are kept in float32


@torch.no_grad()
def test_equivalent_atoms_have_exactly_equal_features_and_symmetry_saves_edges():
    model, crystal = small(), ex.rock_salt()
    graph = model.graph(crystal)
    site = model(crystal, graph).site
    assert torch.equal(site[:4], site[:1].expand(4, -1)) and torch.equal(site[4:], site[4:5].expand(4, -1))
    assert 15 * len(graph) < len(Within(6.5)(crystal))


@torch.no_grad()
def test_copies_speak_by_their_colour():
    """Without own functions for copies the prediction is another one."""
    model = small()
    before = model(CRYSTALS, model.graph(CRYSTALS)).site
    for layer in model.layers:
        layer.copied.weight[1:8] = 0
    assert float((model(CRYSTALS, model.graph(CRYSTALS)).site - before).abs().max()) > 1e-4


@torch.no_grad()
def test_orbits_travel_with_the_batches():
    model = small()
    batch = Samples.of(CRYSTALS, model.graph).batch([4, 1, 3])
    torch.testing.assert_close(model(batch.crystals, batch.graph).site, model(batch.crystals, model.graph(batch.crystals)).site)


def test_slopes_are_those_of_all_edges():
    model, crystal = small(), ex.rock_salt()
    slopes = []
    for energy in (lambda c: model(c, model.graph(c)).site, lambda c: of_all_edges(model, c)):
        cell = crystal.cell.clone().requires_grad_()
        slopes.append(torch.autograd.grad(energy(crystal.put(cell=cell)).square().sum(), cell)[0])
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-5, atol=1e-7)
    assert float(slopes[0].abs().max()) > 1e-3


def test_the_default_has_the_settings_of_the_authors():
    model = ECN()
    assert (model.width, len(model.layers), model.radius, len(model.expand.centres)) == (100, 6, 6.0, 20)
