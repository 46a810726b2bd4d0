"""DimeNet++ against its equations, every angle on its own, and its basis against scipy."""

import sys
from pathlib import Path

import numpy as np
import torch
from scipy.special import spherical_jn, sph_harm_y

from matterloop.bench import examples as ex
from matterloop.layers.bessel import RadialSines, SphericalBessel, bessel_zeros, envelope
from matterloop.layers.harmonics import real_harmonics
from matterloop.predict.dimenet import DimeNetPP

sys.path.insert(0, str(Path(__file__).parent))
from plain import pairs, silu  # noqa: E402

F64 = torch.float64


def layers(w, name, x, bias=True):
    """Linear maps name.0, name.2, ... each followed by SiLU."""
    i = 0
    while f"{name}.{i}.weight" in w:
        x = silu(w[f"{name}.{i}.weight"] @ x + w[f"{name}.{i}.bias"])
        i += 2
    return x


def residual(w, name, x):
    return x + layers(w, f"{name}.layers", x)


def by_hand(model, crystal):
    """(atoms, width) features: a message for every edge j -> i, a sum over every k != i for each."""
    w = {k.removeprefix("messages."): v.numpy() for k, v in model.state_dict().items()}
    cutoff, degrees, edges = model.cutoff, model.degrees, pairs(crystal, model.cutoff)
    z, count = crystal.species.numpy(), len(w["radial.frequencies"])
    zeros = bessel_zeros(degrees, count)
    lengths = [np.linalg.norm(step) / cutoff for _, _, step in edges]
    ends = [1 - 28 * x**6 + 48 * x**7 - 21 * x**8 for x in lengths]
    radial = [u / x * np.sin(w["radial.frequencies"] * x) for x, u in zip(lengths, ends, strict=True)]
    basis = [u / x * np.array([[np.sqrt(2) / abs(spherical_jn(n + 1, q)) * spherical_jn(n, q * x) for q in zeros[n]] for n in range(degrees)]) for x, u in zip(lengths, ends, strict=True)]
    m = []
    for (i, j, _), r in zip(edges, radial, strict=True):
        both = np.concatenate([w["embed.weight"][z[i]], w["embed.weight"][z[j]], layers(w, "begin", r)])
        m.append(silu(w["join.joint.weight"] @ both + w["join.joint.bias"]))

    def read(name, m):
        total = np.zeros((len(z), model.width))
        for (i, _, _), r, one in zip(edges, radial, m, strict=True):
            total[i] += (w[f"{name}.radial.weight"] @ r) * one
        return np.array([w[f"{name}.last.weight"] @ layers(w, f"{name}.dense", w[f"{name}.up.weight"] @ row) for row in total])

    site = read("outputs.0", m)
    for b in range(len(model.messages.blocks)):
        p = f"blocks.{b}"
        down = [silu(w[f"{p}.down.weight"] @ (layers(w, f"{p}.other", one) * (w[f"{p}.radial.1.weight"] @ w[f"{p}.radial.0.weight"] @ r))) for one, r in zip(m, radial, strict=True)]
        fresh = []
        for e, (i, j, step) in enumerate(edges):  # j -> i; step from i to j
            total = np.zeros(len(down[0]))
            for f, (centre, k, other) in enumerate(edges):  # k -> j; from j to k
                if centre != j or (k == i and np.allclose(other, -step)):
                    continue
                angle = np.arccos(np.clip(-(step @ other) / np.linalg.norm(step) / np.linalg.norm(other), -1, 1))
                y = np.array([sph_harm_y(n, 0, angle, 0.0).real for n in range(degrees)])
                total += down[f] * (w[f"{p}.gather.two.weight"] @ w[f"{p}.gather.one.weight"] @ (basis[f] * y[:, None]).ravel())
            x = layers(w, f"{p}.own", m[e]) + silu(w[f"{p}.up.weight"] @ total)
            x = m[e] + layers(w, f"{p}.before.1", residual(w, f"{p}.before.0", x))
            fresh.append(residual(w, f"{p}.after.1", residual(w, f"{p}.after.0", x)))
        m = fresh
        site = site + read(f"outputs.{b + 1}", m)
    return site


def test_features_are_those_of_the_equations():
    model = DimeNetPP(width=6, inner=4, basis=3, out=6, blocks=2, degrees=4, radial=3, cutoff=3.6, dense=1).to(F64)
    for make in (ex.low_symmetry, ex.one_atom, ex.slab, ex.molecule):
        crystal = make()
        with torch.no_grad():
            found = model(crystal, model.graph(crystal)).site.numpy()
        np.testing.assert_allclose(found, by_hand(model, crystal), rtol=1e-9, atol=1e-10)


def test_the_default_has_the_settings_of_the_paper():
    model = DimeNetPP()
    assert (model.width, model.cutoff, model.degrees, len(model.messages.blocks), len(model.messages.radial.frequencies)) == (128, 5.0, 7, 4, 6)
    assert sum(p.numel() for p in model.messages.blocks.parameters()) == 4 * (9 * (128 * 128 + 128) + 2 * 128 * 64 + 6 * 8 + 8 * 128 + 42 * 8 + 8 * 64)


def test_zeros_of_spherical_bessel_functions():
    found = bessel_zeros(7, 6)
    np.testing.assert_allclose(found[0], np.pi * np.arange(1, 7), rtol=1e-15)
    np.testing.assert_allclose(found[1, :3], [4.493409457909064, 7.725251836937707, 10.904121659428899], rtol=1e-14)
    assert float(np.abs([spherical_jn(order, row) for order, row in enumerate(found)]).max()) < 1e-14
    assert (np.diff(found, axis=1) > 0).all() and (np.diff(found, axis=0) > 0).all()


def test_spherical_bessel_functions_are_scipys_and_orthonormal():
    layer = SphericalBessel(7, 6, 5.0)
    length = torch.linspace(0.6, 5.0, 200, dtype=F64)
    zeros = bessel_zeros(7, 6)
    wanted = np.array([[[np.sqrt(2) / abs(spherical_jn(n + 1, q)) * spherical_jn(n, q * x) for q in zeros[n]] for n in range(7)] for x in (length / 5).tolist()])
    np.testing.assert_allclose(layer(length).numpy(), wanted, atol=1e-9)
    x, weight = np.polynomial.legendre.leggauss(80)
    x, weight = (x + 1) / 2, weight / 2
    values = np.array([[np.sqrt(2) / abs(spherical_jn(4, q)) * spherical_jn(3, q * y) for q in zeros[3]] for y in x])
    np.testing.assert_allclose(np.einsum("x,xa,xb->ab", weight * x**2, values, values), np.eye(6), atol=1e-12)


def test_the_envelope_ends_with_two_derivatives():
    x = torch.tensor([1e-3, 0.5, 1.0, 1.2], dtype=F64, requires_grad=True)
    value = envelope(x)
    (slope,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), x)
    np.testing.assert_allclose(value.detach(), [1.0, 1 - 28 / 64 + 48 / 128 - 21 / 256, 0, 0], atol=1e-12)
    assert float(slope[2:].abs().max()) < 1e-12 and float(bend[2:].abs().max()) < 1e-12
    assert float(RadialSines(3, 5.0)(torch.tensor([5.0])).abs().max()) == 0


def test_real_harmonics_are_scipys():
    unit = torch.nn.functional.normalize(torch.randn(40, 3, generator=torch.Generator().manual_seed(0), dtype=F64), dim=1)
    theta, phi = np.arccos(unit[:, 2].numpy()), np.arctan2(unit[:, 1].numpy(), unit[:, 0].numpy())
    wanted = []
    for n in range(7):
        for m in range(-n, n + 1):
            y = (-1) ** m * sph_harm_y(n, abs(m), theta, phi)
            wanted.append(y.real if m == 0 else np.sqrt(2) * (y.real if m > 0 else y.imag))
    np.testing.assert_allclose(real_harmonics(unit, 7).numpy(), np.array(wanted).T, atol=1e-12)
