"""The equivariant transformer against its equations, edge by edge, its vectors and its slopes."""

import math

import pytest
import torch
from torch.nn import functional as F

from matterloop.base.errors import BadInput
from matterloop.bench import examples as ex
from matterloop.crystal.graph import Within
from matterloop.predict.equivariant_transformer import EquivariantTransformer

RADIUS, WIDTH, HEADS = 4.0, 8, 2


def small(layers=2):
    return EquivariantTransformer(width=WIDTH, layers=layers, bins=6, heads=HEADS, radius=RADIUS).double()


def by_hand(model, crystal):
    """(atoms, width) numbers and (atoms, 3, width) vectors after the last layer: plain loops; every atom is its own neighbour at distance 0."""
    graph, n = Within(RADIUS)(crystal), crystal.atoms
    edges = [(int(i), int(j), v) for i, j, v in zip(graph.receivers, graph.senders, graph.vectors(crystal), strict=True)]
    cut = lambda r: 0.5 * (math.cos(math.pi * r / RADIUS) + 1)
    expand = lambda r: cut(r) * torch.exp(-model.expand.beta * (math.exp(-5 / RADIUS * r) - model.expand.mu) ** 2)
    around = torch.zeros(n, WIDTH, dtype=torch.float64)
    for i, j, v in edges:
        around[i] += model.embed_neighbour(crystal.species[j]) * model.filter(expand(float(v.norm()))) * cut(float(v.norm()))
    x, vec = model.combine(torch.cat([model.embed(crystal.species), around], 1)), torch.zeros(n, 3, WIDTH, dtype=torch.float64)
    edges += [(i, i, torch.zeros(3, dtype=torch.float64)) for i in range(n)]
    for layer in model.layers:
        z, y, w = layer.norm(x), torch.zeros_like(x), torch.zeros_like(vec)
        for i, j, v in edges:
            r = float(v.norm())
            product = layer.query(z[i]) * layer.key(z[j]) * F.silu(layer.key_filter(expand(r)))
            share = F.silu(product.view(HEADS, -1).sum(1)).repeat_interleave(WIDTH // HEADS)
            s = (cut(r) * layer.value(z[j]) * F.silu(layer.value_filter(expand(r)))).split(WIDTH)
            y[i] += s[0] * share
            w[i] += (v / r if r else v)[:, None] * s[-1]
            if not layer.first:
                w[i] += s[1] * vec[j]
        if layer.first:
            x, vec = x + layer.out(y), vec + w
        else:
            (u1, u2, u3), (o1, o2, o3) = layer.vector(vec).split(WIDTH, -1), layer.out(y).split(WIDTH, -1)
            x, vec = x + (u1 * u2).sum(1) * o2 + o3, vec + u3 * o1[:, None] + w
    return x, vec


@torch.no_grad()
def test_layers_are_those_of_the_equations():
    model, crystal = small(), ex.low_symmetry()
    x, vec = by_hand(model, crystal)
    x, vec = model.outer(model.norm(x), vec)
    found = model(crystal, model.graph(crystal))
    torch.testing.assert_close(found.vector, vec.mT)
    torch.testing.assert_close(found.site, model.inner(F.silu(x), vec)[0])


@torch.no_grad()
def test_vectors_turn_with_the_crystal():
    model, crystal, turn = small(), ex.low_symmetry(), -ex.rotation()
    vectors = lambda c: model(c, model.graph(c)).vector
    torch.testing.assert_close(vectors(crystal.rotated(turn)), vectors(crystal) @ turn.T)
    assert vectors(crystal).shape == (5, WIDTH, 3) and float(vectors(crystal).abs().max()) > 1e-3


def test_forces_and_their_slopes_are_finite_where_symmetry_makes_vectors_vanish():
    model, crystal = small(3), ex.rock_salt()
    frac = crystal.frac.clone().requires_grad_()
    moved = crystal.put(frac=frac)
    energy = model(moved, model.graph(moved)).site.sum()
    (slope,) = torch.autograd.grad(energy, frac, create_graph=True)
    slope.square().sum().backward()
    assert float(slope.detach().abs().max()) < 1e-9 and bool(frac.grad.isfinite().all())
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)


def test_heads_must_divide_the_width():
    with pytest.raises(BadInput, match="multiple"):
        EquivariantTransformer(width=10, heads=4)


def test_the_default_has_the_settings_of_the_paper():
    model = EquivariantTransformer()
    assert (model.width, len(model.layers), len(model.expand.mu), model.radius, model.layers[0].heads) == (128, 6, 32, 5.0, 8)
