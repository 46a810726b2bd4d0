"""PotNet against its equations, edge by edge; its graph in cells and supercells."""

from dataclasses import replace

import torch
from torch.nn import functional as F

from matterloop.bench import examples as ex
from matterloop.crystal.graph import Within
from matterloop.crystal.lattice_sums import pair_sums
from matterloop.crystal.state import Crystals
from matterloop.learn.data import Samples
from matterloop.predict.potnet import PotNet


def small():
    return PotNet(width=8, layers=2, bins=6, radius=4.0).double().eval()


def by_hand(model, crystal):
    """(atoms, width) features by loops over neighbours and over all pairs."""
    neighbours, n = Within(4.0)(crystal), crystal.atoms
    sums = pair_sums(crystal)[2].view(n, n, 3)
    scale = (1 + 1e-5) ** -0.5  # batch normalisation before any batch was seen
    edges = []
    for i, j, v in zip(neighbours.receivers.tolist(), neighbours.senders.tolist(), neighbours.vectors(crystal), strict=True):
        bins = torch.exp(-(((-0.75 / v.norm() - torch.linspace(-4, 4, 8).double()) / (8 / 7)) ** 2))
        edges.append((i, j, F.silu(model.near[1][0](bins)), 0.5 * (torch.cos(torch.pi * v.norm() / 4.0) + 1)))
    for i in range(n):
        for j in range(n):
            s = -0.801 * sums[i, j, 0] - 0.074 * sums[i, j, 1] + 0.145 * sums[i, j, 2]
            bins = (1 + ((s - torch.linspace(-4, 4, 6).double()) / (8 / 5)) ** 2).sqrt()
            edges.append((i, j, F.softplus(model.far[1][0](bins)) * scale, torch.tensor(1.0)))
    x = model.embed(crystal.species)
    for layer in model.layers:
        total = torch.zeros_like(x)
        for i, j, e, c in edges:
            score, value = F.silu(layer.pair.joint(torch.cat([x[i], x[j], e]))).chunk(2)
            total[i] += c * torch.sigmoid(layer.score(score) * scale) * layer.value(value)
        x = F.relu(x + total * scale)
    return x


def sloped(crystal):
    """The same crystal, all of whose edges are wanted one by one."""
    return crystal.put(frac=crystal.frac.clone().requires_grad_())


@torch.no_grad()
def test_features_are_those_of_the_equations():
    model = small()
    for crystal in (ex.low_symmetry(), ex.molecule()):
        torch.testing.assert_close(model(crystal, model.graph(crystal)).site, by_hand(model, crystal), rtol=1e-5, atol=1e-6)  # centres are kept in float32


def test_every_atom_sees_every_atom_of_the_primitive_cell_once():
    model = small()
    for crystal, primitive in ((ex.low_symmetry(), 5), (ex.rock_salt(), 2), (ex.rock_salt().repeated(2, 1, 1), 2), (ex.molecule(), 3), (ex.slab(), 4)):
        graph = model.graph(sloped(crystal))
        infinite = graph.edge["infinite"]
        assert torch.bincount(graph.receivers[infinite]).tolist() == [primitive] * crystal.atoms
        assert int((~infinite).sum()) == len(Within(4.0)(crystal)) and bool((graph.receivers.diff() >= 0).all())


@torch.no_grad()
def test_sums_travel_with_the_batches():
    model, crystals = small(), Crystals.join([ex.rock_salt(), ex.low_symmetry(), ex.slab()])
    batch = Samples.of(crystals, model.graph).batch([2, 0])
    again = model.graph(batch.crystals)
    torch.testing.assert_close(*(g.edge["sums"].sort(0).values for g in (batch.graph, again)))
    torch.testing.assert_close(model(batch.crystals, batch.graph).site, model(batch.crystals, again).site)


def test_slopes_of_equal_lengths_are_told_apart():
    """Lengths that are equal are told once only where no slopes are wanted; sums are held."""
    model, crystal = small(), ex.rock_salt()
    sums, pull = model.graph(sloped(crystal)).edge["sums"], torch.tensor([[1.0, 0.3, 0], [0, -0.5, 0.2], [0, 0, 0.4]], dtype=torch.float64)

    def energy(s):
        strained = sloped(crystal).put(cell=crystal.cell @ (torch.eye(3, dtype=torch.float64) + s * pull))
        graph = model.graph(strained)
        return model(strained, replace(graph, edge={**graph.edge, "sums": sums})).site.sum()

    s = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(energy(s), s)
    torch.testing.assert_close(slope, ((energy(1e-5) - energy(-1e-5)) / 2e-5).detach(), rtol=1e-6, atol=1e-9)
    assert abs(float(slope)) > 1e-4


def test_the_default_has_the_settings_of_the_paper():
    model = PotNet()
    assert (model.width, len(model.layers), len(model.far[0].centres), model.potentials, model.decay) == (256, 3, 64, (-0.801, -0.074, 0.145), 3.0)
    assert round(sum(p.numel() for p in model.layers[0].parameters()), -3) == 526_000  # the paper counts 527 thousand
