"""EGNN against its equations, written out edge by edge, and its moving atoms."""

import torch

from matterloop.bench import examples as ex
from matterloop.predict.egnn import EGNN


def small():
    return EGNN(width=6, layers=3, radius=4.0).double()


def by_hand(model, crystal):
    """(atoms, width) features: plain loops over atoms and images; atoms carry their displacement to all images."""
    cell, x, n = crystal.cell[0], crystal.cart, crystal.atoms
    edges = [(i, j, torch.tensor(s, dtype=torch.float64) @ cell) for i in range(n) for j in range(n)
             for s in torch.cartesian_prod(*[torch.arange(-2, 3)] * 3).tolist() if 1e-9 < (x[j] - x[i] + torch.tensor(s, dtype=torch.float64) @ cell).norm() < 4.0]
    c = {e: 0.5 * (torch.cos(torch.pi * (x[j] - x[i] + t).norm() / 4.0) + 1) for e, (i, j, t) in enumerate(edges)}
    h, x = model.embed(crystal.species), x.clone()
    for layer in model.layers:
        total, pull, weight = torch.zeros_like(h), torch.zeros_like(x), torch.zeros(n, dtype=h.dtype)
        for e, (i, j, t) in enumerate(edges):
            away = x[i] - x[j] - t
            m = layer.message(torch.nn.functional.silu(layer.pair.joint(torch.cat([h[i], h[j], (away @ away)[None]]))))
            total[i] += torch.sigmoid(layer.attention(m)) * c[e] * m
            if layer.move is not None:
                pull[i] += c[e] * layer.move(m) * away
                weight[i] += c[e]
        h, x = h + layer.update(torch.cat([h, total], -1)), x + pull / (1 + weight[:, None])
    return model.decode(h), x - crystal.cart


def test_features_and_steps_are_those_of_the_equations():
    model, crystal = small(), ex.low_symmetry()
    with torch.no_grad():
        for layer in model.layers[:-1]:
            layer.move[-1].weight.mul_(1000)  # so that atoms move by about 0.1 Å
        found, moved = model.walk(crystal, model.search(crystal))
        features, steps = by_hand(model, crystal)
    torch.testing.assert_close(found.site, features)
    torch.testing.assert_close(moved, steps)
    assert float(moved.abs().max()) > 0.01


def test_atoms_move_with_the_crystal_and_images_move_alike():
    model, crystal, turn = small(), ex.low_symmetry(), -ex.rotation()
    steps = lambda c: model.walk(c, model.search(c))[1].detach()
    torch.testing.assert_close(steps(crystal.rotated(turn)), steps(crystal) @ turn.T)
    torch.testing.assert_close(steps(crystal.recelled(torch.tensor(ex.SKEW))), steps(crystal))
    torch.testing.assert_close(steps(crystal.repeated(2, 1, 1)), steps(crystal).repeat_interleave(2, 0))


def test_moving_atoms_can_be_switched_off():
    model = EGNN(width=6, layers=3, radius=4.0, moves=False).double()
    crystal = ex.low_symmetry()
    assert float(model.walk(crystal, model.search(crystal))[1].abs().max()) == 0


def test_the_default_has_the_settings_of_the_paper():
    model = EGNN()
    assert model.width == 128 and len(model.layers) == 7
