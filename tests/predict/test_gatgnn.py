"""GATGNN against its equations, written out neighbour by neighbour."""

import sys
from pathlib import Path

import numpy as np
import torch

from matterloop.bench import examples as ex
from matterloop.predict.gatgnn import GATGNN

sys.path.insert(0, str(Path(__file__).parent))
from plain import lively, linear, nearest, norm, softmax, sp, weights  # noqa: E402


def by_hand(model, crystal, width, heads):
    w, edges, z = weights(model), nearest(crystal, 12, 8.0), crystal.species.numpy()
    x = [linear(w, "embed.map", w["embed.vectors"][s]) for s in z]
    e = [linear(w, "edge", np.exp(-25 * (np.linalg.norm(step) - np.arange(41) * 0.2) ** 2)) for _, _, step in edges]
    e = [np.where(row > 0, row, 0.2 * row) for row in e]
    for layer in range(2):
        p, fresh = f"layers.{layer}", []
        for i in range(len(x)):
            own = [(j, row) for (centre, j, _), row in zip(edges, e, strict=True) if centre == i]
            a = np.array([sp(w[f"{p}.mix.weight"] @ np.concatenate([x[i], row])).reshape(heads, width) for _, row in own])
            b = np.array([sp(w[f"{p}.mix.weight"] @ np.concatenate([x[j], row])).reshape(heads, width) for j, row in own])
            score = sp(np.einsum("khw,hw->kh", a, w[f"{p}.score"][0]) + np.einsum("khw,hw->kh", b, w[f"{p}.score"][1]))
            share = softmax(sp(np.array([norm(w, f"{p}.score_norm", s) for s in score])))
            fresh.append(sp(norm(w, f"{p}.norm", np.einsum("kh,khw->w", share, b) / heads)))
        x = fresh
    composition = np.bincount(z, minlength=119) / len(z)
    share = softmax(np.array([float(w["weigh.weight"][0] @ sp(linear(w, "compose", np.concatenate([row, composition])))) for row in x]))
    return np.array(x), sp(linear(w, "read", share @ np.array(x)))


def test_features_are_those_of_the_equations():
    model = lively(GATGNN(width=5, layers=2, heads=3))
    for make in (ex.low_symmetry, ex.ordered_rock_salt, ex.molecule):
        crystal = make()
        with torch.no_grad():
            found = model(crystal, model.graph(crystal))
        site, whole = by_hand(model, crystal, 5, 3)
        np.testing.assert_allclose(found.site, site, rtol=1e-6)
        np.testing.assert_allclose(found.whole[0], whole, rtol=1e-6)


def test_the_default_has_the_settings_of_the_paper():
    model = GATGNN()
    assert (model.width, len(model.layers), model.layers[0].heads, len(model.expand.centres)) == (64, 3, 4, 41)
    assert (model.graph.builder.count, model.graph.builder.radius) == (12, 8.0)
