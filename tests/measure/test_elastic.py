"""Elastic tensors: what symmetry allows, averages against pymatgen, the measurement on pair potentials, failures."""

import numpy as np
import pytest
import torch

from matterloop.base.errors import BadInput
from matterloop.bench import examples as ex
from matterloop.crystal.state import Crystals
from matterloop.crystal.symmetry import analyse
from matterloop.measure.elastic import Elastic, elastic
from matterloop.measure.elastic_tensor import ElasticTensor, allowed, mandel_to_voigt, strain_of, turned, voigt_of, voigt_to_mandel
from matterloop.potential.lennard_jones import LennardJones

QUARTZ = np.array([  # alpha-SiO2, GPa (R. Bechmann, Phys. Rev. 110, 1060 (1958))
    [86.7, 7.0, 11.9, -17.9, 0, 0], [7.0, 86.7, 11.9, 17.9, 0, 0], [11.9, 11.9, 107.2, 0, 0, 0],
    [-17.9, 17.9, 0, 57.9, 0, 0], [0, 0, 0, 0, 57.9, -17.9], [0, 0, 0, 0, -17.9, 39.85]])


def turns(*axes):
    """Group of rotations made by the given (axis, fold)."""
    made = [np.eye(3)]
    for axis, fold in axes:
        n = np.asarray(axis, dtype=float) / np.linalg.norm(axis)
        k = np.array([[0, -n[2], n[1]], [n[2], 0, -n[0]], [-n[1], n[0], 0]])
        a = 2 * np.pi / fold
        step = np.eye(3) + np.sin(a) * k + (1 - np.cos(a)) * k @ k
        made.append(step)
    while True:
        every = made + [a @ b for a in made for b in made]
        kept: list[np.ndarray] = []
        for m in every:
            if not any(np.abs(m - o).max() < 1e-9 for o in kept):
                kept.append(m)
        if len(kept) == len(made):
            return np.stack(made)
        made = kept


@pytest.mark.parametrize("axes, constants", [
    ((), 21), ((((0, 0, 1), 2),), 13), ((((0, 0, 1), 2), ((1, 0, 0), 2)), 9), ((((0, 0, 1), 4),), 7), ((((0, 0, 1), 4), ((1, 0, 0), 2)), 6),
    ((((0, 0, 1), 3),), 7), ((((0, 0, 1), 3), ((1, 0, 0), 2)), 6), ((((0, 0, 1), 6),), 5), ((((1, 1, 1), 3), ((0, 0, 1), 2)), 3)])
def test_number_of_free_constants(axes, constants):
    """J. F. Nye, Physical Properties of Crystals (1957), table 9."""
    basis = allowed(turns(*axes))
    assert len(basis) == constants
    assert np.allclose(np.einsum("kab,jab->kj", basis, basis), np.eye(constants))


def test_quartz_is_allowed_by_its_group_and_turning_back_gives_it_again():
    group = turns(((0, 0, 1), 3), ((1, 0, 0), 2))
    basis = allowed(group)
    mandel = voigt_to_mandel(QUARTZ)
    part = np.einsum("k,kab->ab", np.einsum("kab,ab->k", basis, mandel), basis)
    assert np.abs(mandel_to_voigt(part) - QUARTZ).max() < 0.1  # C66 = (C11 - C12) / 2 to its digits
    turn = ex.rotation().numpy()
    back = ElasticTensor(QUARTZ).rotated(turn).rotated(turn.T)
    assert np.allclose(back.stiffness, QUARTZ)


def test_turning_strains():
    strain = strain_of(np.array([0.1, -0.2, 0.3, 0.04, 0.05, -0.06]))
    turn = ex.rotation().numpy()
    factor = np.array([1, 1, 1, 2**0.5, 2**0.5, 2**0.5])
    assert np.allclose(turned(turn) @ (voigt_of(strain) * factor), voigt_of(turn @ strain @ turn.T) * factor)


def test_averages_are_those_of_pymatgen():
    from pymatgen.analysis.elasticity import ElasticTensor as Theirs

    own, theirs = ElasticTensor(QUARTZ), Theirs.from_voigt(QUARTZ)
    for name, wanted in (("bulk_voigt", theirs.k_voigt), ("bulk_reuss", theirs.k_reuss), ("bulk_hill", theirs.k_vrh), ("shear_voigt", theirs.g_voigt),
                         ("shear_reuss", theirs.g_reuss), ("shear_hill", theirs.g_vrh), ("anisotropy", theirs.universal_anisotropy), ("poisson", theirs.homogeneous_poisson)):
        assert getattr(own, name) == pytest.approx(float(wanted), rel=1e-9), name
    assert own.young == pytest.approx(theirs.y_mod / 1e9, rel=1e-6)
    assert own.young_along([0, 0, 1]) == pytest.approx(1 / own.compliance[2, 2])


def test_debye_temperature_of_silicon_from_its_constants():
    """Measured C11 165.8, C12 63.9, C44 79.6 GPa, 2.329 g/cm^3: 645 K at low temperature."""
    c = np.zeros((6, 6))
    c[:3, :3] = 63.9
    c[range(3), range(3)] = 165.8
    c[range(3, 6), range(3, 6)] = 79.6
    silicon = ElasticTensor(c, density=2.329, number_density=8 / 5.431**3)
    assert silicon.debye_temperature == pytest.approx(645, abs=8)
    assert silicon.sound[0] == pytest.approx(9.0, abs=0.2)
    unstable = ElasticTensor(np.diag([100.0, 100, 100, -5, 40, 40]), 2.0, 0.05)
    assert not unstable.stable and np.isnan(unstable.debye_temperature)


def test_cauchy_relation_of_a_pair_potential():
    """Central forces with every atom at a centre of symmetry: C12 = C44 at rest (M. Born, K. Huang, 1954)."""
    packed = Crystals.of([[0.0, 0, 0]], [18], 1.9 * torch.tensor([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]], dtype=torch.float64))
    one = elastic(packed, LennardJones(epsilon=0.15, sigma=2.45, cutoff=5.0, ending="smooth"), fmax=1e-3)[0]
    c = one.tensor.stiffness
    assert one.space_group == 225 and len(one.strains) == 8
    assert c[0, 1] == pytest.approx(c[3, 3], rel=2e-3)
    assert analyse(one.relaxed)[0].number == 225


def test_one_crystal_that_fails_does_not_stop_the_others():
    oracle = LennardJones(epsilon=0.15, sigma=2.45, cutoff=5.0, ending="smooth")
    good = Crystals.of([[0.0, 0, 0]], [18], 1.9 * torch.tensor([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]], dtype=torch.float64))
    bad = Crystals.of([[0.0, 0, 0], [0, 0, 0.001]], [18, 18], 3 * torch.eye(3, dtype=torch.float64))
    found = Elastic()(Crystals.join([bad, good]), oracle)
    assert found[0].failed and "at rest" in found[0].reason
    assert not found[1].failed


def test_bad_input():
    oracle = LennardJones()
    with pytest.raises(BadInput, match="both signs"):
        elastic(ex.rock_salt(), oracle, strains=(0.01, 0.02))
    with pytest.raises(BadInput, match="three axes"):
        elastic(ex.OTHER["slab"](), oracle)
