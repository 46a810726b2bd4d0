"""The conformal transformer against its equations, edge by edge, and that it sees angles."""

import numpy as np
import torch

from matterloop.bench import examples as ex
from matterloop.crystal.graph import Within
from matterloop.crystal.state import Crystals
from matterloop.predict.conformal_transformer import ConformalTransformer


def features(model, crystal):
    with torch.no_grad():
        return model(crystal, model.graph(crystal)).site


def test_messages_and_energies_are_those_of_the_equations():
    """With attention and atom-wise maps silenced."""
    model = ConformalTransformer(width=6, blocks=1, heads=2, channels=3, functions=10, radius=4.0).to(torch.float64)
    with torch.no_grad():
        for p in (model.blocks[0].attention.out.weight, model.blocks[0].outward.weight):
            p.zero_()
    crystal = ex.low_symmetry()
    graph = Within(4.0)(crystal)
    w = {k: v.numpy() for k, v in model.state_dict().items()}
    lin = lambda name, x: x @ w[f"blocks.0.{name}.weight"].T + w[f"blocks.0.{name}.bias"]
    x = w["embed.weight"][crystal.species.numpy()]
    vector = graph.vectors(crystal).numpy()
    r = np.linalg.norm(vector, axis=1)
    u, cut = vector / r[:, None], 0.5 * (np.cos(np.pi * r / 4) + 1)
    bins = np.exp(-((r[:, None] - w["expand.centres"]) ** 2) / 2 / (4 / 9) ** 2)
    edges = list(zip(graph.receivers.tolist(), graph.senders.tolist()))
    g = np.zeros((5, 3, 3, 3))
    for n, (i, j) in enumerate(edges):
        a = lin("near", bins[n]) * lin("moved", x[j]) * cut[n]
        g[i] += (a**2)[:, None, None] * np.outer(u[n], u[n])
    trace = np.trace(g, axis1=2, axis2=3)
    total = np.zeros_like(x)
    for n, (i, j) in enumerate(edges):
        s = 3 * np.einsum("cab,a,b->c", g[i], u[n], u[n]) / (1 + trace[i])
        total[i] += lin("filter", bins[n]) * lin("sent", x[j]) / (1 + np.exp(-lin("stretch", s))) * cut[n]
    flat = ((g - trace[..., None, None] / 3 * np.eye(3)) ** 2).sum((2, 3)) / (1 + trace) ** 2
    x = x + lin("received", total / (1 + np.exp(-total))) + lin("energy", np.concatenate([trace / 2, flat], 1))
    np.testing.assert_allclose(features(model, crystal).numpy(), x, rtol=1e-8, atol=1e-10)


def test_a_bent_and_a_straight_molecule_with_equal_distances_differ():
    """The two chlorine atoms do not see each other: 4 and 2.83 Å are beyond the radius."""
    make = lambda third: Crystals.of(torch.tensor([[5, 5, 5], [7, 5, 5], third]) / 10, [11, 17, 17], 10 * torch.eye(3), periodic=[False] * 3)
    one, two = make([3.0, 5, 5]), make([5.0, 7, 5])
    model = ConformalTransformer(width=8, blocks=2, heads=2, channels=4, functions=10, radius=2.5).to(torch.float64)
    assert float((features(model, one) - features(model, two)).abs().max()) > 1e-4
