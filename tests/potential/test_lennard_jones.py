"""Lennard-Jones equals ase.calculators.lj, and known lattice and cluster energies."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.lj import LennardJones as AseLJ

from matterloop.base.errors import BadInput, Missing
from matterloop.base.registry import load
from matterloop.crystal.state import Crystals
from matterloop.potential.lennard_jones import LennardJones


def batch() -> Crystals:
    rng = np.random.default_rng(1)
    grid = np.stack(np.meshgrid(*[np.arange(2)] * 3, indexing="ij"), -1).reshape(-1, 3) / 2
    rattled = Crystals.of(grid + rng.normal(0, 0.02, (8, 3)), [18] * 8, np.diag([7.0, 7.4, 7.8]) + np.tril(rng.normal(0, 0.6, (3, 3)), -1))
    one = Crystals.of([[0.1, 0.2, 0.3]], [18], 2.6 * torch.tensor([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]]))
    molecule = Crystals.of(rng.random((5, 3)), [18] * 5, np.eye(3) * 9, periodic=[False] * 3)
    slab = Crystals.of(grid[:4] + rng.normal(0, 0.02, (4, 3)), [18] * 4, np.diag([7.0, 7.2, 30.0]), periodic=[True, True, False])
    return Crystals.join([rattled, one, molecule, slab])


@pytest.mark.parametrize(("ending", "options"), [("shift", {}), ("smooth", {"smooth": True}), ("smooth", {"smooth": True, "ro": 5.0})])
def test_equal_to_ase(ending, options):
    crystals = batch()
    labels = LennardJones(0.0103, 3.4, 8.5, ending, onset=options.get("ro")).label(crystals)
    for k in range(len(crystals)):
        one, rows = crystals[k], slice(int(crystals.offsets[k]), int(crystals.offsets[k + 1]))
        atoms = Atoms(one.species.numpy(), positions=one.cart.numpy(), cell=one.cell[0].numpy(), pbc=one.periodic[0].numpy())
        atoms.calc = AseLJ(epsilon=0.0103, sigma=3.4, rc=8.5, **options)
        scale = max(1.0, np.abs(atoms.get_forces()).max())  # random molecules hold close pairs with huge forces
        assert abs(float(labels.energy[k]) - atoms.get_potential_energy()) < 1e-10 * scale
        np.testing.assert_allclose(labels.forces[rows].numpy(), atoms.get_forces(), rtol=0, atol=1e-10 * scale)
        np.testing.assert_allclose(labels.stress[k].numpy(), atoms.get_stress(voigt=False), rtol=0, atol=1e-10 * scale)


@pytest.mark.parametrize("ending", ["none", "shift", "force-shift", "smooth"])
def test_analytic_labels_are_the_derivatives_of_the_energy(ending):
    crystals = batch()[[0, 1, 3]]
    model = LennardJones({"Ar": 0.0103}, {18: 3.4}, 8.5, ending)
    analytic, by_autograd = model.label(crystals), super(LennardJones, model).label(crystals)
    for mine, theirs in zip(analytic[:3], by_autograd[:3], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


def test_unlike_atoms_mix_by_lorentz_and_berthelot():
    pair = Crystals.of([[0, 0, 0], [0.2, 0, 0]], [18, 36], np.eye(3) * 20, periodic=[False] * 3)
    model = LennardJones({"Ar": 0.01, "Kr": 0.04}, {"Ar": 3.0, "Kr": 4.0}, 10.0, "none")
    assert float(model.label(pair).energy) == pytest.approx(4 * 0.02 * ((3.5 / 4) ** 12 - (3.5 / 4) ** 6), rel=1e-12)


@pytest.mark.parametrize("ending", ["force-shift", "smooth"])
def test_force_and_energy_end_at_zero(ending):
    near_end = Crystals.of([[0, 0, 0], [0.2999999, 0, 0]], [1, 1], np.eye(3) * 10, periodic=[False] * 3)
    labels = LennardJones(1.0, 1.0, 3.0, ending).label(near_end)
    assert abs(float(labels.energy)) < 1e-12 and float(labels.forces.abs().max()) < 1e-6


def test_the_cluster_of_thirteen_has_its_published_energy():
    """-44.326801 epsilon: M. R. Hoare, P. Pal, Advances in Physics 20, 161 (1971)."""
    golden = (1 + 5**0.5) / 2
    shell = np.array([p for s in (1, -1) for g in (golden, -golden) for p in ([0, s, g], [s, g, 0], [g, 0, s])], float)
    shell /= np.linalg.norm(shell[0])
    energies = [
        float(LennardJones(1.0, 1.0, 30.0, "none").label(
            Crystals.of(np.vstack([np.zeros(3), r * shell]) / 50, [18] * 13, np.eye(3) * 50, periodic=[False] * 3)).energy)
        for r in np.linspace(1.0817, 1.0827, 201)]
    assert min(energies) == pytest.approx(-44.326801, abs=1e-6)


def test_an_fcc_lattice_has_the_lattice_sum_of_kittel():
    """2 epsilon n (12.13188 (s/r)^12 - 14.45392 (s/r)^6) for the infinite lattice; cut at 12 sigma 1e-3 of it is missing."""
    r = 1.09
    fcc = Crystals.of([[0, 0, 0]], [18], r / 2**0.5 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]))
    energy = float(LennardJones(1.0, 1.0, 12.0, "none").label(fcc).energy)
    assert energy == pytest.approx(2 * (12.13188 / r**12 - 14.45392 / r**6), rel=1e-3)


def test_bad_parameters_are_refused():
    with pytest.raises(Missing, match="did you mean shift"):
        LennardJones(ending="shif")
    with pytest.raises(BadInput, match="positive"):
        LennardJones(epsilon=-1.0)
    with pytest.raises(BadInput, match="onset"):
        LennardJones(onset=4.0, cutoff=3.0)
    with pytest.raises(BadInput, match="`epsilon` has no value for Kr"):
        LennardJones({"Ar": 1.0}, 1.0).label(Crystals.of([[0, 0, 0]], [36], np.eye(3)))


def test_it_loads_by_name_with_a_preset():
    argon = load("lennard_jones:argon", role="potential")
    assert argon.energy_scheme == "lj" and argon.cutoff == 8.5125
