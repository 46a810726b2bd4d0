"""Matformer against its equations, edge by edge in numpy, and the lattice in its edges."""

import numpy as np
import torch

from matterloop.bench import examples as ex
from matterloop.crystal.state import Crystals
from matterloop.predict.matformer import Matformer, NearestAndCopies


def normal(x, w, name):
    return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]


def by_hand(model, crystal, graph):
    """(atoms, width) features by the equations over the edges of `graph`, batch normalisation by its running figures 0 and 1."""
    w = {k: v.numpy() for k, v in model.state_dict().items()}
    lin = lambda name, x: x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0.0)
    x = lin("embed", model.elements.numpy()[crystal.species.numpy()])
    length = graph.vectors(crystal).norm(dim=1).numpy()
    e = np.exp(-31 / 8 * (length[:, None] - w["expand.centres"]) ** 2)
    e = lin("edge.2", np.log1p(np.exp(lin("edge.0", e))))
    d = x.shape[1]
    for b in range(len(model.blocks)):
        p = f"blocks.{b}"
        own = {k.removeprefix(p + "."): v for k, v in w.items() if k.startswith(p)}
        q, k, v = (lin(f"{p}.{n}", x) for n in ("query", "key", "value"))
        total = np.zeros((len(x), d * model.blocks[b].heads))
        for n, (j, i) in enumerate(zip(graph.senders.tolist(), graph.receivers.tolist())):
            edge = e[n] @ own["edge.weight"].T
            for h in range(model.blocks[b].heads):
                s = slice(h * d, (h + 1) * d)
                alpha = np.concatenate([q[i, s]] * 3) * np.concatenate([k[i, s], k[j, s], edge[s]]) / np.sqrt(3 * d)
                gate = 1 / (1 + np.exp(-normal(alpha, own, "gate")))
                message = gate * lin(f"{p}.update", np.concatenate([v[i, s], v[j, s], edge[s]]))
                total[i, s] += normal(lin(f"{p}.message", message), own, "norm")
        y = total @ own["join.weight"].T / np.sqrt(1 + 1e-5)
        x = lin(f"{p}.skip", x) + y / (1 + np.exp(-y))
    return x


def test_features_are_those_of_the_equations():
    model = Matformer(width=6, blocks=2, heads=2, bins=32).to(torch.float64).eval()
    crystal = ex.low_symmetry()
    with torch.no_grad():
        found = model(crystal, model.graph(crystal)).site.numpy()
    np.testing.assert_allclose(found, by_hand(model, crystal, NearestAndCopies(12, 8.0)(crystal)), rtol=1e-8, atol=1e-10)


def test_every_atom_sees_its_copies_at_the_six_lattice_lengths():
    cell = [[3.0, 0, 0], [0.5, 9.1, 0], [0.4, 0.2, 9.6]]
    crystal = Crystals.of([[0.0, 0, 0], [0.3, 0.4, 0.5]], [11, 17], cell)
    graph = NearestAndCopies(1, 8.0)(crystal)  # one neighbour: the short a alone
    own = graph.senders == graph.receivers
    length = np.sort(np.unique(graph.vectors(crystal).norm(dim=1)[own].numpy().round(6)))
    a, b, c = np.array(cell)
    wanted = np.sort([np.linalg.norm(v).round(6) for v in (a, b, c, a + b, a + c, b + c)])
    np.testing.assert_allclose(length, wanted, atol=1e-6)
    assert torch.bincount(graph.receivers[own]).tolist() == [12, 12]


def test_the_default_has_the_settings_of_the_paper():
    """2.9 M parameters with the paper's head and the layers that nothing runs through."""
    model = Matformer()
    assert 2.7e6 < sum(p.numel() for p in model.parameters()) < 2.9e6
    assert model.width == 128 and len(model.blocks) == 5 and model.blocks[0].heads == 4
