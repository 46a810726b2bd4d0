"""What symmetry repeats is computed once, and nothing else changes: features equal those of the graph with all its edges."""

import pytest
import torch

from matterloop.base.registry import find, load
from matterloop.bench import examples as ex
from matterloop.crystal.edge_orbits import orbits
from matterloop.crystal.graph import Within
from matterloop.crystal.state import Crystals

NAMES = ["ada_gnn", "comformer", "conformal_transformer", "ecomformer", "egnn", "equivariant_transformer", "ewald_mp", "matformer", "potnet", "schnet"]


def hexagonal():
    """Wurtzite with atoms off special heights, in a cell of long vectors: a screw axis, mirrors, and vectors along c that do not vanish."""
    a, c, u = 3.25, 5.21, 0.379
    cell = torch.tensor([[a, 0, 0], [-a / 2, a * 3**0.5 / 2, 0], [0, 0, c]], dtype=torch.float64)
    frac = torch.tensor([[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0.5], [1 / 3, 2 / 3, u], [2 / 3, 1 / 3, 0.5 + u]], dtype=torch.float64)
    return Crystals.of(frac, [30, 30, 8, 8], cell).recelled(torch.tensor([[1, 2, 0], [0, 1, 1], [0, 0, 1]]))


def quartz():
    """Low quartz, right-handed: no inversion and no mirror, so that proper operations alone make atoms equal."""
    a, c, u, x, y, z = 4.916, 5.405, 0.4697, 0.4135, 0.2669, 0.1191
    cell = torch.tensor([[a, 0, 0], [-a / 2, a * 3**0.5 / 2, 0], [0, 0, c]], dtype=torch.float64)
    oxygen = [[x, y, z], [-y, x - y, z + 2 / 3], [y - x, -x, z + 1 / 3], [y, x, -z], [x - y, -y, 1 / 3 - z], [-x, y - x, 2 / 3 - z]]
    return Crystals.of([[u, 0, 0], [0, u, 2 / 3], [-u, -u, 1 / 3], *oxygen], [14] * 3 + [8] * 6, cell)


def crystals():
    turned = quartz().rotated(ex.rotation())
    return Crystals.join([ex.every(), hexagonal(), turned, ex.ordered_rock_salt().repeated(2, 1, 1), turned.recelled(torch.tensor([[1, 1, 0], [0, 1, 0], [0, 0, 1]]))])


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_features_are_those_of_all_edges(name, training):
    """Where slopes are wanted the graph has all edges, so both ways are at hand. Batch statistics count what is computed once as often as it occurs."""
    model, plain = (load(name, "encoder", **find(name, "encoder").card.small).double().train(training) for _ in range(2))
    short = crystals()
    long = short.put(frac=short.frac.clone().requires_grad_())
    graph, every = model.graph(short), plain.graph(long)
    counted = graph.edge["count"]
    assert int((counted > 0).sum()) < 0.6 * len(every) and len(graph.alike.unique()) < 0.6 * short.atoms
    found, wanted = model(short, graph), plain(long, every)
    for one, two in zip(found, wanted, strict=True):
        if two is not None:
            torch.testing.assert_close(one, two.detach(), rtol=1e-10, atol=1e-10 * float(two.detach().abs().max()))
    weights = torch.randn(found.site.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (found.site * weights).sum().backward()
    (wanted.site * weights).sum().backward()
    largest = max(float(q.grad.abs().max()) for q in plain.parameters())
    for (key, p), q in zip(model.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-8, atol=1e-10 * largest, msg=lambda m, key=key: f"{key}: {m}")
    for (key, p), q in zip(model.named_buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-10, atol=1e-10, msg=lambda m, key=key: f"{key}: {m}")


@pytest.mark.parametrize("name", NAMES)
def test_atoms_without_neighbours_have_features(name):
    model = load(name, "encoder", **find(name, "encoder").card.small).double().train()
    alone = Crystals.of([[0.5] * 3, [0.0] * 3], [1, 2], 30 * torch.eye(3), periodic=[False] * 3)
    found = model(alone, model.graph(alone)).site
    assert len(found) == 2 and bool(found.isfinite().all())


def test_turns_bring_neighbours_onto_neighbours():
    """Wurtzite: the six-fold screw brings zinc onto zinc, whose oxygens then lie where the other's lay, turned."""
    crystal = hexagonal()
    graph = Within(2.1)(crystal)
    found, vector = orbits(crystal, graph), graph.vectors(crystal)
    assert found.alike.tolist() == [0, 0, 2, 2] and sorted(found.count.tolist()) == [1, 1, 3, 3]
    around = lambda i: vector[graph.receivers == i]
    turned = around(0) @ found.turn[1].T
    assert float((torch.cdist(turned, around(1)).min(1).values).max()) < 1e-9
    assert float((found.turn[1] - torch.eye(3)).abs().max()) > 0.1
    torch.testing.assert_close(found.sum(vector)[:, :2].norm(dim=1), torch.zeros(4, dtype=torch.float64), atol=1e-9, rtol=0)
