"""ALIGNN against its equations, every bond and every angle on its own."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from matterloop.base.errors import BadInput
from matterloop.bench import examples as ex
from matterloop.predict.alignn import ALIGNN

sys.path.insert(0, str(Path(__file__).parent))
from plain import lively, linear, nearest, norm, sigmoid, silu, weights  # noqa: E402

SMALL = {"width": 5, "inner": 4, "layers": 2, "plain": 2, "lengths": 9, "angles": 6, "neighbours": 3}


def gated(w, p, x, y, edges, update):
    """One edge-gated convolution; edges (source, target)."""
    m = [linear(w, f"{p}.source", x[s]) + linear(w, f"{p}.target", x[t]) + linear(w, f"{p}.edge", row) for (s, t), row in zip(edges, y, strict=True)]
    fresh = []
    for i, row in enumerate(x):
        gates = [(sigmoid(g), x[s]) for (s, t), g in zip(edges, m, strict=True) if t == i]
        h = sum((g * linear(w, f"{p}.value", v) for g, v in gates), np.zeros_like(row)) / (sum((g for g, _ in gates), np.zeros_like(row)) + 1e-6)
        fresh.append(row + silu(norm(w, f"{p}.norm", linear(w, f"{p}.own", row) + h)))
    return fresh, [row + silu(norm(w, f"{p}.edge_norm", g)) for row, g in zip(y, m, strict=True)] if update else y


def dense(w, name, x):
    for i in (1, 2):
        x = silu(norm(w, f"{name}.{i}.norm", linear(w, f"{name}.{i}.map", x)))
    return x


def by_hand(model, crystal):
    w, bonds = weights(model), []
    for i, j, step in nearest(crystal, 3, 8.0):
        for a, b, d in ((i, j, step), (j, i, -step)):  # d from a to b
            if not any(c == a and k == b and np.allclose(d, other) for c, k, other in bonds):
                bonds.append((a, b, d))
    angles, cosines = [], []
    for p, (a, b, d) in enumerate(bonds):
        for q, (c, _, other) in enumerate(bonds):
            if b == c:  # a -> b -> c', and back
                angles.append((p, q))
                cosines.append(-d @ other / np.linalg.norm(d) / np.linalg.norm(other))
    x = [silu(norm(w, "atom_norm", linear(w, "embed.map", w["embed.vectors"][z]))) for z in crystal.species.tolist()]
    y = [dense(w, "bond", np.exp(-(np.linalg.norm(d) - np.linspace(0, 8, 9)) ** 2)) for _, _, d in bonds]
    z = [dense(w, "angle", np.exp(-2.5 * (c - np.linspace(-1, 1, 6)) ** 2)) for c in cosines]
    ends = [(a, b) for a, b, _ in bonds]
    for i in range(4):
        x, y = gated(w, f"on_bonds.{i}", x, y, ends, i < 3)
        if i < 2:
            y, z = gated(w, f"on_angles.{i}", y, z, angles, i < 1)
    return np.array(x)


def test_features_are_those_of_the_equations():
    model = lively(ALIGNN(**SMALL))
    for make in (ex.low_symmetry, ex.one_atom, ex.molecule):
        crystal = make()
        with torch.no_grad():
            found = model(crystal, model.graph(crystal)).site
        np.testing.assert_allclose(found, by_hand(model, crystal), rtol=1e-6, atol=1e-9)


def test_the_default_has_the_settings_of_the_paper():
    model = ALIGNN()
    assert model.width == 256 and len(model.on_angles) == 4 and len(model.on_bonds) == 8
    assert len(model.bond[0].centres) == 80 and len(model.angle[0].centres) == 40
    assert model.bond[0].gamma == pytest.approx(79 / 8) and model.angle[0].gamma == pytest.approx(39 / 2)
    with pytest.raises(BadInput, match="plain"):
        ALIGNN(plain=0)
