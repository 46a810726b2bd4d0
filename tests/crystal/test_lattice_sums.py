"""Infinite sums against Madelung constants, pymatgen and plain sums over many images."""

import numpy as np
import pytest
import torch

from matterloop.base.errors import BadInput
from matterloop.bench import examples as ex
from matterloop.crystal.lattice_sums import pair_sums
from matterloop.crystal.state import Crystals


def by_hand(crystal, images):
    """(atoms, atoms, 3) sums over `images` (n, 3) whole cells."""
    x, steps = crystal.cart.numpy(), images @ crystal.cell[0].numpy()
    out = np.zeros((len(x), len(x), 3))
    for i in range(len(x)):
        for j in range(len(x)):
            r = np.linalg.norm(x[j] - x[i] + steps, axis=1)
            far = r[r > 1e-9]
            out[i, j] = (1 / far).sum(), (far**-6).sum(), np.exp(-3 * r).sum()
    return out


def cells(*reach):
    return np.array(np.meshgrid(*[np.arange(-n, n + 1) for n in reach], indexing="ij")).reshape(3, -1).T


def table(crystal):
    n = crystal.atoms
    return pair_sums(crystal)[2].view(n, n, 3).numpy()


def zincblende():
    fcc = np.array(ex.FCC)
    return Crystals.of(np.concatenate([fcc, fcc + 0.25]), [30] * 4 + [16] * 4, 5.4 * np.eye(3))


@pytest.mark.parametrize(("crystal", "distance", "constant"), [
    (ex.rock_salt(), 2.82, 1.7475645946331822), (ex.skewed(), 2.82, 1.7475645946331822),
    (Crystals.of([[0.0, 0, 0], [0.5, 0.5, 0.5]], [55, 17], 4.11 * np.eye(3)), 4.11 * 3**0.5 / 2, 1.7626747730709883),
    (zincblende(), 5.4 * 3**0.5 / 4, 1.6380550533887994)], ids=["rock salt", "rock salt, skewed", "caesium chloride", "zinc blende"])
def test_sums_of_reciprocal_distances_give_madelung_constants(crystal, distance, constant):
    """Constants: Y. Sakamoto, J. Chem. Phys. 28, 164 (1958); to more digits OEIS A085469, A181152, A182566."""
    charge = np.where(crystal.species.numpy() == int(crystal.species[0]), 1.0, -1.0)
    np.testing.assert_allclose(-distance * charge * (table(crystal)[:, :, 0] @ charge), constant, rtol=1e-8)


def test_charges_without_symmetry_have_the_energy_that_pymatgen_finds():
    from pymatgen.analysis.ewald import EwaldSummation
    from pymatgen.core import Lattice, Structure

    crystal, charge = ex.low_symmetry(), np.array([1.3, 0.7, -1.1, -0.4, -0.5])
    structure = Structure(Lattice(crystal.cell[0].numpy()), ["Na", "Na", "Cl", "Cl", "Cl"], crystal.frac.numpy(), site_properties={"charge": charge})
    structure.add_oxidation_state_by_site(charge.tolist())
    theirs = EwaldSummation(structure, acc_factor=16).total_energy / EwaldSummation.CONV_FACT
    assert charge @ table(crystal)[:, :, 0] @ charge / 2 == pytest.approx(theirs, rel=1e-8)


def test_powers_and_exponentials_are_the_plain_sums():
    crystal = ex.low_symmetry()
    plain = by_hand(crystal, cells(16, 16, 16))
    tail = 4 / 3 * np.pi / float(crystal.volume[0]) / (16 * 5.6) ** 3  # about what lies beyond
    np.testing.assert_allclose(table(crystal)[..., 1], plain[..., 1], atol=3 * tail)
    np.testing.assert_allclose(table(crystal)[..., 2], plain[..., 2], atol=1e-12)


def test_a_slab_repeats_in_its_plane_only():
    crystal = ex.slab()
    plain, found = by_hand(crystal, cells(60, 60, 0)), table(crystal)
    np.testing.assert_allclose(found[..., 1:], plain[..., 1:], atol=1e-8)
    charge = np.array([1.0, -1, -1, 1])  # neutral: the plain sum of 1 / r approaches its limit as 1 / size
    once, twice = plain[..., 0] @ charge, by_hand(crystal, cells(120, 120, 0))[..., 0] @ charge
    np.testing.assert_allclose(found[..., 0] @ charge, 2 * twice - once, atol=5e-5)


def test_a_molecule_is_summed_term_by_term():
    crystal = ex.molecule()
    np.testing.assert_allclose(table(crystal), by_hand(crystal, np.zeros((1, 3))), rtol=1e-13)


def test_images_of_a_supercell_add_up_to_those_of_the_crystal():
    crystal = ex.low_symmetry()
    n, big = crystal.atoms, table(crystal.repeated(2, 1, 1))
    np.testing.assert_allclose(big.reshape(n, 2, n, 2, 3).sum(3)[:, 0, :, 1:], table(crystal)[:, :, 1:], rtol=1e-7)


def test_batches_large_cells_and_slow_decay():
    crystals = ex.every()
    receivers, senders, sums = pair_sums(crystals)
    assert torch.equal(torch.cat([pair_sums(c)[2] for c in crystals]), sums) or float((torch.cat([pair_sums(c)[2] for c in crystals]) - sums).abs().max()) < 1e-13
    assert int(crystals.owner[receivers].ne(crystals.owner[senders]).sum()) == 0 and len(sums) == int((crystals.counts**2).sum())
    slow = pair_sums(ex.one_atom(), decay=1.0)[2][0, 2]
    assert float(slow) == pytest.approx(np.exp(-np.linalg.norm(3.1 * cells(14, 14, 14), axis=1)).sum(), rel=1e-9)


def test_a_wire_is_refused():
    wire = Crystals.of([[0.0, 0, 0]], [6], 8 * np.eye(3), periodic=[True, False, False])
    with pytest.raises(BadInput, match="one axis"):
        pair_sums(wire)
