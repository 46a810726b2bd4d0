"""Primitive cells from free parameters: as moyopy finds them, for every centring."""

import numpy as np
import pytest
from pymatgen.core import Structure

from matterloop.base.errors import BadInput
from matterloop.crystal.wyckoff import Parameters, from_parameters
from matterloop.crystal.wyckoff_primitive import primitive_crystals

SALT = Parameters(225, (5.64,), (("a", 11, ()), ("b", 17, ())))
BCC = Parameters(229, (2.87,), (("a", 26, ()),))
CORUNDUM = Parameters(167, (4.76, 12.99), (("c", 13, (0.35216,)), ("e", 8, (0.30624,))))
BASED = Parameters(63, (3.88, 9.85, 3.45), (("c", 24, (0.36,)), ("c", 5, (0.0625,))))
PLAIN = Parameters(221, (3.9,), (("a", 38, ()), ("b", 22, ()), ("c", 8, ())))


def test_atoms_and_volume_are_those_of_one_lattice_point():
    found, whole = primitive_crystals([SALT, BCC, CORUNDUM, BASED, PLAIN]), from_parameters([SALT, BCC, CORUNDUM, BASED, PLAIN])
    assert found.counts.tolist() == [2, 1, 10, 4, 5]
    assert np.allclose((whole.volume / found.volume).numpy(), [4, 2, 3, 2, 1])


@pytest.mark.parametrize("one", [SALT, CORUNDUM, BASED])
def test_the_crystal_is_the_same(one):
    from pymatgen.analysis.structure_matcher import StructureMatcher

    small, large = ([Structure(c.cell[0].numpy(), c.species.tolist(), c.frac.numpy())] for c in (primitive_crystals([one]), from_parameters([one])))
    assert StructureMatcher(primitive_cell=True, scale=False).fit(small[0], large[0])


def test_atoms_that_coincide_are_refused():
    with pytest.raises(BadInput, match="crystal 1"):
        primitive_crystals([SALT, Parameters(225, (5.64,), (("e", 11, (0.0,)), ("b", 17, ())))])
