"""Primitive lattices of supercells."""

import torch

from matterloop.bench import examples as ex
from matterloop.crystal.state import Crystals
from matterloop.crystal.translations import translations


def test_a_supercell_has_the_primitive_lattice_of_its_crystal():
    crystals = Crystals.join([ex.low_symmetry(), ex.rock_salt(), ex.skewed()]).repeated(2, 1, 2)
    found = translations(crystals)
    volume = torch.linalg.det(found.cell)
    torch.testing.assert_close(volume, torch.tensor([ex.low_symmetry().volume[0], 5.64**3 / 4, 5.64**3 / 4], dtype=torch.float64))
    one, place = found.place()
    assert torch.bincount(crystals.owner[one]).tolist() == [5, 2, 2]
    assert torch.equal(one[place], found.first) and torch.equal(crystals.species[one][place], crystals.species)
    steps = torch.linalg.solve(found.cell.mT[crystals.owner], crystals.cart - crystals.cart[found.first])  # columns: whole numbers of primitive vectors
    assert float((steps - steps.round()).abs().max()) < 1e-9


def test_the_primitive_crystals_have_the_same_atoms_where_they_were():
    crystals = Crystals.join([ex.rock_salt(), ex.slab(), ex.molecule(), ex.low_symmetry()])
    found = translations(crystals)
    small = found.primitive(crystals)
    assert small.counts.tolist() == [2, 4, 3, 5] and found.found[1] is None and found.found[2] is None
    torch.testing.assert_close(small.cart, crystals.cart[found.place()[0]])
    assert torch.equal(small.cell[1:], crystals.cell[1:]) and torch.equal(small.periodic, crystals.periodic)
