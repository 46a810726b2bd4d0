"""SphereNet: its sums against plain loops over triplets, and the geometries that it tells apart while others do not."""

import numpy as np
import torch
from scipy.special import spherical_jn, sph_harm_y

from matterloop.bench import examples as ex
from matterloop.crystal.segments import Bins
from matterloop.crystal.state import Crystals
from matterloop.crystal.alike_edges import kinds_of
from matterloop.crystal.reverse import reverse_of
from matterloop.layers.bessel import bessel_zeros
from matterloop.predict.dimenet import DimeNetPP
from matterloop.predict.schnet import SchNet
from matterloop.predict.spherenet import SphereNet

F64 = torch.float64
SMALL = {"width": 8, "inner": 4, "basis": 3, "out": 8, "blocks": 2, "degrees": 4, "radial": 3, "dense": 1}


def harmonic(n, m, theta, phi):
    y = (-1) ** m * sph_harm_y(n, abs(m), theta, phi)
    return y.real if m == 0 else np.sqrt(2) * (y.real if m > 0 else y.imag)


def torsion(step, other, rest):
    """Least angle in (0, 2 pi] by which the half-plane of `other` about the axis `step` turns onto that of one of `rest`."""
    found = [2 * np.pi]
    for next_ in rest:
        one, two = np.cross(step, other), np.cross(step, next_)
        angle = np.arctan2(np.cross(one, two) @ step / np.linalg.norm(step), one @ two)
        found.append(angle if angle > 1e-9 else angle + 2 * np.pi)
    return min(found)


def test_sums_are_those_over_all_triplets():
    crystal = ex.low_symmetry()
    model = SphereNet(**SMALL, cutoff=3.6).to(F64)
    layer, graph = model.messages.blocks[0].gather, model.graph(crystal)
    step = graph.vectors(crystal)
    length = step.norm(dim=-1)
    x = torch.randn(len(graph), SMALL["inner"], generator=torch.Generator().manual_seed(0), dtype=F64)
    with torch.no_grad():
        known = model.known(step / length[:, None], length, graph, kinds_of(graph, crystal), Bins(graph.receivers, crystal.atoms))
        found = layer(x, known).numpy()
    zeros, reverse = bessel_zeros(4, 3), reverse_of(graph).tolist()
    w = {k: v.numpy() for k, v in layer.state_dict().items()}
    step, receivers = step.numpy(), graph.receivers.tolist()
    wanted = np.zeros_like(found)
    for e in range(len(graph)):
        axis = reverse[e]  # from j to i
        around = [f for f in range(len(graph)) if receivers[f] == receivers[axis] and f != axis]
        for f in around:
            d, theta = np.linalg.norm(step[f]), np.arccos(step[axis] @ step[f] / np.linalg.norm(step[axis]) / np.linalg.norm(step[f]))
            phi = torsion(step[axis], step[f], [step[g] for g in around if g != f])
            bessel = [[np.sqrt(2) / abs(spherical_jn(n + 1, q)) * spherical_jn(n, q * d / 3.6) for q in zeros[n]] for n in range(4)]
            angle = np.array([[harmonic(n, 0, theta, 0.0) * b for b in bessel[n]] for n in range(4)]).ravel()
            turn = np.array([[harmonic(n, m, theta, phi) * b for b in bessel[n]] for n in range(4) for m in range(-n, n + 1)]).ravel()
            wanted[e] += x[f].numpy() * (w["angle_up.weight"] @ w["angle.weight"] @ angle) * (w["torsion_up.weight"] @ w["torsion.weight"] @ turn)
    np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-9)


def molecule(cart, species):
    return Crystals.of(torch.as_tensor(cart, dtype=F64) / 40 + 0.5, species, 40 * torch.eye(3, dtype=F64), periodic=[False] * 3)


def apart(model, one, two):
    model = model.to(F64)
    with torch.no_grad():
        a, b = (model(c, model.graph(c)).site.sum(0) for c in (one, two))
    return float((a - b).abs().max() / a.abs().max())


def test_bent_and_straight_are_told_apart_where_distances_within_the_cutoff_are_the_same():
    one, two = (molecule([[0, 0, 0], [2.0, 0, 0], [2.0 * np.cos(a), 2.0 * np.sin(a), 0]], [8, 1, 1]) for a in (np.pi, 2.0))
    assert apart(SchNet(width=8, blocks=2, radius=2.5), one, two) < 1e-12
    assert apart(SphereNet(**SMALL, cutoff=2.5), one, two) > 1e-3


def test_mirror_images_are_told_apart_where_distances_and_angles_are_the_same():
    corners = 1.8 / np.sqrt(3) * np.array([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    bent = corners + np.array([[0, 0, 0], [0, 0, 0], [0, 0.3, -0.1], [0.2, 0, 0.1], [0, 0, 0]])
    one, two = (molecule(side * bent, [6, 1, 9, 17, 35]) for side in (1, -1))
    assert apart(DimeNetPP(**SMALL, cutoff=2.5), one, two) < 1e-12
    assert apart(SphereNet(**SMALL, cutoff=2.5), one, two) > 1e-3
    one, two = (molecule(side * corners, [6, 1, 9, 17, 35]) for side in (1, -1))
    assert apart(SphereNet(**SMALL, cutoff=2.5), one, two) < 1e-12  # a torsion says how far the next neighbour is, not who it is: equal gaps tell nothing


def test_geometry_has_gradients():
    crystal = ex.low_symmetry()
    frac = crystal.frac.clone().requires_grad_()
    model = SphereNet(**SMALL, cutoff=4.0).to(F64)
    moved = crystal.put(frac=frac)
    (slope,) = torch.autograd.grad(model(moved, model.graph(crystal)).site.sum(), frac)
    move = torch.randn(frac.shape, generator=torch.Generator().manual_seed(1), dtype=F64)
    with torch.no_grad():
        up, down = (float(model(crystal.put(frac=crystal.frac + h * move), model.graph(crystal)).site.sum()) for h in (1e-6, -1e-6))
    np.testing.assert_allclose(float((slope * move).sum()), (up - down) / 2e-6, rtol=1e-5)
