"""iComFormer against its equations, edge by edge in numpy, and what only a complete graph can tell apart."""

import numpy as np
import torch

from matterloop.bench import examples as ex
from matterloop.crystal.state import Crystals
from matterloop.predict.comformer import IComFormer
from matterloop.predict.matformer import Matformer

sigmoid = lambda x: 1 / (1 + np.exp(-x))
softplus = lambda x: np.log1p(np.exp(x))


def small(**options):
    return IComFormer(width=6, blocks=2, neighbours=12, bins=20, **options).to(torch.float64).eval()


def features(model, crystal):
    with torch.no_grad():
        return model(crystal, model.graph(crystal)).site


def by_hand(model, crystal):
    """(atoms, width) features of a crystal with one frame, batch normalisation by its running figures 0 and 1."""
    w = {k: v.numpy() for k, v in model.state_dict().items()}
    lin = lambda name, x: x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0.0)
    mlp = lambda name, x: lin(f"{name}.2", (h := lin(f"{name}.0", x)) * sigmoid(h))
    d, one = model.width, 1 / np.sqrt(1 + 1e-5)

    def message(p, q, k, v):
        return mlp(f"{p}.gate.values", np.concatenate(v)) * sigmoid(one * q * mlp(f"{p}.gate.keys", np.concatenate(k)) / np.sqrt(d))

    graph = model.graph(crystal)
    vector = graph.vectors(crystal).numpy()
    length = np.linalg.norm(vector, axis=1)
    near = lambda r: softplus(lin("length.0", np.exp(-19 / 4 * (-0.75 / r - w["near.centres"]) ** 2)))
    turn = lambda c: softplus(lin("cosine.0", np.exp(-19 / 2 * (c - w["turn.centres"]) ** 2)))
    x = lin("embed", model.elements.numpy()[crystal.species.numpy()])
    e = np.array([near(r) for r in length])

    def nodes(p, x, e):
        total = np.zeros_like(x)
        for n, (j, i) in enumerate(zip(graph.senders.tolist(), graph.receivers.tolist())):
            third = lin(f"{p}.edge", e[n])
            total[i] += message(p, lin(f"{p}.query", x[i]), [lin(f"{p}.key", x[i]), lin(f"{p}.key", x[j]), third],
                                [lin(f"{p}.value", x[i]), lin(f"{p}.value", x[j]), third])
        return softplus(x + one * lin(f"{p}.join", total))

    x = nodes("blocks.0", x, e)
    frame = crystal.cell[0].numpy()
    out = np.zeros_like(e)
    for n in range(len(e)):
        total = np.zeros(d)
        for p in range(3):
            f, r = near(np.linalg.norm(frame[p])), np.linalg.norm(frame[p])
            a = lin("edges.angle", turn(vector[n] @ frame[p] / length[n] / r))
            total += message("edges", lin("edges.query", e[n]), [lin("edges.key", e[n]), lin(f"edges.keys.{p}", f), a],
                             [lin("edges.value", e[n]), lin(f"edges.values.{p}", f), a])
        out[n] = softplus(e[n] + one * lin("edges.join", total))
    return nodes("blocks.1", x, out)


CELL = [[4.6, 0.0, 0.0], [0.7, 5.5, 0.0], [0.4, 0.9, 6.2]]  # its own frame: lengths rise, products with the first are positive, right-handed


def test_features_are_those_of_the_equations():
    low = ex.low_symmetry()
    crystal = Crystals.of(low.frac, low.species, CELL)
    model = small()
    np.testing.assert_allclose(features(model, crystal).numpy(), by_hand(model, crystal), rtol=1e-8, atol=1e-10)


def bent_and_straight():
    """A sodium atom between two chlorine atoms, in a line and at a right angle: with one neighbour and its ties, and the lattice, all distances agree."""
    cell = 2 * torch.tensor(CELL, dtype=torch.float64)
    make = lambda cart: Crystals.of(torch.tensor(cart, dtype=torch.float64) @ torch.linalg.inv(cell), [11, 17, 17], cell)
    return make([[0, 0, 0], [2.0, 0, 0], [-2.0, 0, 0]]), make([[0, 0, 0], [2.0, 0, 0], [0, 2.0, 0]])


def test_twins_of_equal_distances_are_told_apart_where_distances_alone_see_no_difference():
    one, two = bent_and_straight()
    alone = Matformer(width=8, blocks=2, heads=2, neighbours=1, bins=20).to(torch.float64).eval()
    torch.testing.assert_close(features(alone, one), features(alone, two), rtol=1e-9, atol=1e-9)
    model = IComFormer(width=8, blocks=2, neighbours=1, bins=20).to(torch.float64).eval()
    assert float((features(model, one) - features(model, two)).abs().max()) > 1e-3


def test_mirror_images_are_told_apart():
    crystal = ex.low_symmetry()
    image = crystal.rotated(torch.diag(torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)))
    one, two = (features(small(), c) for c in (crystal, image))
    assert float((one - two).abs().max()) > 1e-4


def test_the_default_has_the_settings_of_the_paper():
    """4.1 M parameters with three layers, 5.0 M with four, less what nothing runs through."""
    size = lambda model: sum(p.numel() for p in model.parameters())
    assert 4.4e6 < size(IComFormer()) < 5.0e6 and 3.6e6 < size(IComFormer(blocks=3)) < 4.1e6
