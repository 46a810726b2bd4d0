"""ADA-GNN: its angles by plain loops, and what its two radii see."""

import sys
from pathlib import Path

import numpy as np
import torch

from matterloop.bench import examples as ex
from matterloop.crystal.state import Crystals
from matterloop.predict.ada_gnn import ADAGNN

sys.path.insert(0, str(Path(__file__).parent))
from plain import pairs  # noqa: E402

F64 = torch.float64


def test_angles_are_counted_with_the_near_neighbours_of_the_centre():
    model, crystal = ADAGNN(width=4, blocks=1, radius=4.2, near=3.4, angles=5).to(F64), ex.low_symmetry()
    graph = model.graph(crystal)
    step = graph.vectors(crystal)
    length = step.norm(dim=-1)
    found = model._angles(step / length[:, None], length, graph, F64).detach()
    every = pairs(crystal, 4.2)
    for e, here in enumerate(step.numpy()):
        wanted = np.zeros(5)
        for i, _, other in every:
            d = np.linalg.norm(other)
            if i == int(graph.receivers[e]) and d < 3.4 and not np.allclose(other, here):
                wanted += 0.5 * (1 + np.cos(np.pi * d / 3.4)) * np.exp(-2 * (here @ other / d / np.linalg.norm(here) - np.linspace(-1, 1, 5)) ** 2)
        np.testing.assert_allclose(found[e], wanted, rtol=1e-6, atol=1e-9)


def test_an_angle_is_seen_between_near_neighbours_and_not_between_far_ones():
    def features(distance, angle):
        cart = torch.tensor([[0, 0, 0], [distance, 0, 0], [distance * np.cos(angle), distance * np.sin(angle), 0]], dtype=F64)
        molecule = Crystals.of(cart / 30 + 0.5, [8, 1, 1], 30 * torch.eye(3, dtype=F64), periodic=[False] * 3)
        model = ADAGNN(width=4, blocks=1, radius=3.0, near=2.0).to(F64).eval()
        with torch.no_grad():
            return model(molecule, model.graph(molecule)).site[0]

    assert float((features(1.6, 3.1) - features(1.6, 2.5)).abs().max()) > 1e-4
    assert float((features(2.2, 3.1) - features(2.2, 2.5)).abs().max()) < 1e-12
