"""Far messages: one radial function in crystals, slabs and molecules, found in plain sums."""

import math

import numpy as np
import pytest
import torch

from matterloop.base.errors import BadInput
from matterloop.bench import examples as ex
from matterloop.crystal.state import Crystals
from matterloop.layers.far_messages import far_field
from matterloop.layers.parts import cosine_cutoff

CUTOFF = 2.0


def filter_of(k):
    return (1 + 0.3 * torch.cos(k)) * cosine_cutoff(k, CUTOFF) ** 2


def long_filter(k):
    return torch.exp(-((k / 0.2) ** 2))


def spread(crystals, h, nodes=96, of=filter_of):
    field = far_field(crystals, CUTOFF, nodes, torch.float64)
    return field.spread(h, of(field.length)[:, None], of(field.node)[:, None])


def features(count):
    return torch.linspace(-1, 1, count, dtype=torch.float64)[:, None] + 0.2


def test_a_crystal_gets_the_sum_over_its_reciprocal_lattice():
    crystal = ex.low_symmetry()
    h, x = features(5), crystal.cart.numpy()
    index = np.array(np.meshgrid(*[np.arange(-4, 5)] * 3)).reshape(3, -1).T
    k = 2 * math.pi * index @ np.linalg.inv(crystal.cell[0].numpy()).T
    k = k[np.linalg.norm(k, axis=1) > 0]
    f = filter_of(torch.from_numpy(np.linalg.norm(k, axis=1))).numpy()
    s = np.exp(1j * x @ k.T).T @ h.numpy()[:, 0]
    expected = (2 * math.pi) ** 3 / float(crystal.volume[0]) / 2 * (f * s * np.exp(-1j * x @ k.T)).sum(1).real
    np.testing.assert_allclose(spread(crystal, h)[:, 0].numpy(), expected, rtol=1e-10)


def radial(r, of=filter_of):
    """The filter as a function of distance: (2 pi) times the integral over k of k^2 f(k) sin(k r) / (k r), by the midpoint rule."""
    k = (np.arange(20_000) + 0.5) * CUTOFF / 20_000
    return 2 * math.pi * (k**2 * of(torch.from_numpy(k)).numpy() * np.sinc(k * r / math.pi)).sum() * CUTOFF / 20_000


def test_a_molecule_gets_the_radial_function_of_its_distances():
    molecule = ex.molecule()
    h, x = features(3), molecule.cart.numpy()
    expected = [sum(radial(np.linalg.norm(a - b)) * q for b, q in zip(x, h[:, 0].tolist(), strict=True)) for a in x]
    np.testing.assert_allclose(spread(molecule, h)[:, 0].numpy(), expected, rtol=1e-7)


@pytest.mark.parametrize("make", [ex.slab, ex.molecule])
def test_what_does_not_repeat_is_the_limit_of_a_crystal_with_much_vacuum(make):
    alone = make()
    far = torch.where(alone.periodic[0], 1.0, 80.0 / alone.cell[0].norm(dim=-1))[:, None]
    crystal = Crystals.of(alone.cart @ torch.linalg.inv(alone.cell[0] * far), alone.species, alone.cell[0] * far)
    h = features(alone.atoms)
    h = h - h.mean()  # else the wave of length zero, left out in crystals, counts
    torch.testing.assert_close(spread(alone, h), spread(crystal, h), rtol=0, atol=2e-4 * float(spread(alone, h).abs().max()))


def test_the_number_of_nodes_does_not_matter_where_it_suffices():
    crystals = Crystals.join([ex.slab(), ex.molecule()])
    torch.testing.assert_close(spread(crystals, features(7), 64), spread(crystals, features(7), 120), rtol=1e-7, atol=1e-9)


def test_a_filter_of_long_waves_reaches_far():
    """Two atoms 9 Å apart, beyond the radius of the encoders here: exp(-(k / q)^2) gives exp(-(q r / 2)^2) of what an atom gives itself."""
    pair = Crystals.of([[0.0, 0, 0], [0.09, 0, 0]], [11, 17], 100 * np.eye(3), periodic=[False] * 3)
    found = spread(pair, torch.tensor([[1.0], [0.0]], dtype=torch.float64), of=long_filter)[:, 0]
    assert float(found[1] / found[0]) == pytest.approx(math.exp(-0.81), rel=1e-9) and float(found[0]) == pytest.approx(radial(1e-9, long_filter), rel=1e-9)


def test_a_wire_is_refused():
    wire = Crystals.of([[0.0, 0, 0]], [6], 8 * np.eye(3), periodic=[False, True, False])
    with pytest.raises(BadInput, match="one axis"):
        far_field(wire, CUTOFF, 8, torch.float64)
