"""M3GNet against its equations, every angle on its own; its radial functions; and slopes of slopes, which forces need in training."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import eval_legendre, spherical_jn

from matterloop.bench import examples as ex
from matterloop.layers.bessel import SmoothSincs, bessel_zeros
from matterloop.predict.m3gnet import M3GNet

sys.path.insert(0, str(Path(__file__).parent))
from plain import linear, pairs, sigmoid, silu, weights  # noqa: E402

F64 = torch.float64
SMALL = {"width": 5, "blocks": 2, "cutoff": 3.9, "near": 3.4}


def smooth(r, cutoff, count=3):
    """The radial functions of the original, one after the other."""
    f = [(-1) ** n * math.sqrt(2) * math.pi / cutoff**1.5 * (n + 1) * (n + 2) / math.hypot(n + 1, n + 2)
         * sum(math.sin(k * math.pi * r / cutoff) / (k * math.pi * r / cutoff) for k in (n + 1, n + 2)) for n in range(count)]
    g, d = [f[0]], [1.0]
    for n in range(1, count):
        e = n**2 * (n + 2) ** 2 / (4 * (n + 1) ** 4 + 1)
        d.append(1 - e / d[-1])
        g.append((f[n] + math.sqrt(e / d[n - 1]) * g[-1]) / math.sqrt(d[n]))
    return np.array(g)


def by_hand(model, crystal):
    """(atoms, width) features and the features of the crystal."""
    w, cutoff, near = weights(model), model.spherical.cutoff, model.near
    zeros, edges, z = bessel_zeros(3, 3), pairs(crystal, cutoff), crystal.species.tolist()
    lengths = [float(np.linalg.norm(d)) for _, _, d in edges]
    end = lambda r: (1 - 6 * (r / near) ** 5 + 15 * (r / near) ** 4 - 10 * (r / near) ** 3) if r < near else 0.0
    bessel = lambda r: np.array([[math.sqrt(2 / cutoff**3) / abs(spherical_jn(n + 1, q)) * spherical_jn(n, q * r / cutoff) for q in zeros[n]] for n in range(3)])
    radial = [smooth(r, cutoff) for r in lengths]
    x = [w["embed.weight"][k] for k in z]
    e = [silu(linear(w, "begin", h)) for h in radial]
    around = {a: [b for b, other in enumerate(edges) if b != a and other[0] == edges[a][0] and lengths[b] < near] for a in range(len(edges)) if lengths[a] < near}

    def gated(p, i, j, row, h):
        first = linear(w, f"{p}.join.joint", np.concatenate([x[i], x[j], row]))
        value, gate = silu(first[: len(row)]), silu(first[len(row) :])
        return silu(linear(w, f"{p}.value", value)) * sigmoid(linear(w, f"{p}.gate", gate)) * linear(w, f"{p}.weight", h)

    for block in range(2):
        p, three = f"blocks.{block}", np.zeros((len(edges), 9))
        gates = [sigmoid(linear(w, f"{p}.ends", v)) for v in x]
        for a, others in around.items():
            for b in others:
                cosine = edges[a][2] @ edges[b][2] / lengths[a] / lengths[b]
                angular = np.array([math.sqrt((2 * n + 1) / (4 * math.pi)) * eval_legendre(n, cosine) for n in range(3)])
                three[a] += (bessel(lengths[b]) * angular[:, None]).ravel() * gates[edges[b][1]] * end(lengths[a]) * end(lengths[b])
        e = [row + silu(linear(w, f"{p}.value", t)) * sigmoid(linear(w, f"{p}.gate", t)) for row, t in zip(e, three, strict=True)]
        e = [row + gated(f"{p}.bond", i, j, row, h) for row, (i, j, _), h in zip(e, edges, radial, strict=True)]
        more = [gated(f"{p}.atom", i, j, row, h) for row, (i, j, _), h in zip(e, edges, radial, strict=True)]
        x = [v + sum((m for m, (i, _, _) in zip(more, edges, strict=True) if i == k), np.zeros_like(v)) for k, v in enumerate(x)]
    read = [silu(linear(w, "read.2", silu(linear(w, "read.0", v)))) for v in x]
    weigh = [sigmoid(linear(w, "weigh.2", silu(linear(w, "weigh.0", v)))) for v in x]
    return np.array(x), sum(a * b for a, b in zip(read, weigh, strict=True)) / sum(weigh)


def test_features_are_those_of_the_equations():
    model = M3GNet(**SMALL).to(F64)
    for make in (ex.low_symmetry, ex.rock_salt, ex.one_atom, ex.slab, ex.molecule):
        crystal = make()
        with torch.no_grad():
            found = model(crystal, model.graph(crystal))
        site, whole = by_hand(model, crystal)
        np.testing.assert_allclose(found.site, site, rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(found.whole[0], whole, rtol=1e-9, atol=1e-10)


def test_the_default_has_the_settings_and_the_size_of_the_paper():
    """The published potential has 227,485 weights, its extensive head (16,770) and 94 elements among them."""
    model = M3GNet()
    assert (model.width, model.near, model.spherical.cutoff, len(model.blocks)) == (64, 4.0, 5.0, 3)
    without = sum(p.numel() for name, p in model.named_parameters() if not name.startswith(("read", "weigh", "embed")))
    assert without + 94 * 64 + 16_770 == 227_485


def test_radial_functions_are_orthonormal_and_end_with_two_derivatives():
    layer, cutoff = SmoothSincs(4, 5.0), 5.0
    r = torch.tensor([0.7, 2.1, 4.9], dtype=F64)
    np.testing.assert_allclose(layer(r), [smooth(float(x), cutoff, 4) for x in r], rtol=1e-12)
    x, weight = np.polynomial.legendre.leggauss(60)
    x, weight = cutoff / 2 * (x + 1), cutoff / 2 * weight
    values = layer(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(np.einsum("x,xa,xb->ab", weight * x**2, values, values), np.eye(4), atol=1e-12)
    end = torch.tensor([cutoff], dtype=F64, requires_grad=True)
    for n in range(4):
        value = layer(end)[0, n]
        (slope,) = torch.autograd.grad(value, end, create_graph=True)
        (bend,) = torch.autograd.grad(slope.sum(), end)
        assert max(abs(float(v)) for v in (value, slope, bend)) < 1e-12


@pytest.mark.parametrize("make", [ex.low_symmetry, ex.rock_salt])
def test_forces_have_slopes_by_weights_and_positions(make):
    model, crystal = M3GNet(**SMALL).to(F64), make()
    frac = (crystal.frac + 0.01 * torch.sin(torch.arange(crystal.frac.numel(), dtype=F64)).view_as(crystal.frac)).requires_grad_()
    cell = crystal.cell.clone().requires_grad_()
    weight = model.blocks[0].ends.weight

    def slopes(frac, cell):
        moved = crystal.put(frac=frac, cell=cell)
        return torch.autograd.grad(model(moved, model.graph(moved)).site.square().sum(), (frac, cell), create_graph=True)

    force, stress = slopes(frac, cell)
    total = (force**2).sum() + (stress**2).sum()
    bend, by_weight = torch.autograd.grad(total, (frac, weight))
    step = 1e-5

    def changed(by):
        shifted = frac.detach().clone()
        shifted[1, 2] += by
        return sum(float((s**2).sum()) for s in slopes(shifted.requires_grad_(), cell))

    assert float(bend[1, 2]) == pytest.approx((changed(step) - changed(-step)) / (2 * step), rel=1e-4)
    assert bool((by_weight != 0).any())
