"""SchNet against its equations, written out atom by atom in numpy."""

import numpy as np
import torch

from matterloop.bench import examples as ex
from matterloop.predict.schnet import SchNet


def ssp(x):
    return np.log(0.5 * np.exp(x) + 0.5)


def by_hand(model, crystal):
    """(atoms, width) features of one periodic crystal: sums over neighbours in plain loops over atoms and lattice images."""
    w = {k: v.numpy() for k, v in model.state_dict().items()}
    cell, frac = crystal.cell[0].numpy(), crystal.frac.numpy() % 1
    x = w["embed.weight"][crystal.species.numpy()]
    centres, radius = w["expand.centres"], model.radius
    edges = []
    for i in range(len(frac)):
        for j in range(len(frac)):
            for image in np.ndindex(7, 7, 7):
                r = np.linalg.norm((frac[j] - frac[i] + np.array(image) - 3) @ cell)
                if 1e-9 < r < radius:
                    edges.append((i, j, np.exp(-model.expand.gamma * (r - centres) ** 2), 0.5 * (np.cos(np.pi * r / radius) + 1)))
    for b in range(len(model.blocks)):
        p = lambda name, b=b: w[f"blocks.{b}.{name}"]
        total = np.zeros_like(x)
        for i, j, e, cut in edges:
            hidden = ssp(p("filter.0.weight") @ e + p("filter.0.bias"))
            total[i] += (p("inward.weight") @ x[j]) * ssp(p("filter.2.weight") @ hidden + p("filter.2.bias")) * cut
        x = x + (ssp(total @ p("outward.0.weight").T + p("outward.0.bias")) @ p("outward.2.weight").T + p("outward.2.bias"))
    return x


def test_features_are_those_of_the_equations():
    model = SchNet(width=8, blocks=2, radius=4.0, spacing=0.5, gamma=3.0).to(torch.float64)
    crystal = ex.low_symmetry()
    with torch.no_grad():
        found = model(crystal, model.graph(crystal)).site.numpy()
    np.testing.assert_allclose(found, by_hand(model, crystal), rtol=1e-10, atol=1e-12)


def test_the_default_has_the_settings_of_the_paper():
    model = SchNet()
    assert model.width == 64 and len(model.blocks) == 6 and model.radius == 5.0
    assert len(model.expand.centres) == 51 and float(model.expand.centres[1]) == np.float32(0.1) and model.expand.gamma == 10.0


def test_another_seed_gives_other_weights():
    one, two, three = (SchNet(width=8, blocks=1, seed=s).embed.weight for s in (0, 0, 1))
    assert torch.equal(one, two) and not torch.equal(one, three)
