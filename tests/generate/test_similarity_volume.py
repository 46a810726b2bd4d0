"""The mined tables say what chemists know, and the volume model keeps its stated error."""

import math

import numpy as np
import pytest

from matterloop.archive.shipped import card
from matterloop.base.elements import NUMBER
from matterloop.base.errors import BadInput
from matterloop.crystal.prototypes import prototypes
from matterloop.generate.library import Template
from matterloop.generate.similarity import similarity
from matterloop.generate.volume import contacts, element_group, volume_from_parent, volume_per_atom


def swap(a, b):
    return similarity()[NUMBER[a], NUMBER[b]]


def test_similarity_is_symmetric_and_highest_on_the_diagonal():
    table = similarity()[1:95, 1:95]
    assert np.allclose(table, table.T)
    assert (table.argmax(1) == np.arange(94)).all()


@pytest.mark.parametrize(("element", "near", "far"), [("Li", "Na", "S"), ("O", "S", "Fe"), ("Fe", "Co", "Cl"), ("Si", "Ge", "K"), ("Cs", "Rb", "O"), ("Cl", "Br", "Ti"),
                                                      ("La", "Ce", "F"), ("Zr", "Hf", "Na")])
def test_chemical_neighbours_swap_more_readily(element, near, far):
    assert swap(element, near) > 1.0 > 0.0 > swap(element, far)


def a_member(name, text):
    """Template of a structure type that does not know this member's volume."""
    (p,) = prototypes(name)
    return Template(p, tuple(NUMBER[s] for s in text.split()), None)


MEASURED = (  # Å^3 per atom, from lattice parameters of the textbook
    ("rock salt", "Mg O", 4.212**3 / 8), ("rock salt", "K Br", 6.60**3 / 8), ("cubic perovskite", "Cs Pb I", 6.29**3 / 5), ("zinc blende", "Ga As", 5.653**3 / 8),
    ("CsCl", "Ni Al", 2.887**3 / 2), ("spinel", "Zn Fe O", 8.44**3 / 56), ("fluorite", "Ce O", 5.41**3 / 12), ("Heusler", "Mn Ga Ni", 5.825**3 / 16),
    ("half-Heusler", "Zr Ni Sn", 6.11**3 / 12), ("fluorite", "Sr F", 5.80**3 / 12))


def test_volumes_in_a_structure_type_lie_near_measured_ones():
    error = [abs(t.volume(t.parents) / volume - 1) for name, species, volume in MEASURED for t in [a_member(name, species)]]
    assert max(error) < 0.2 and np.median(error) < 0.08, [f"{m[1]} {e:.2f}" for m, e in zip(MEASURED, error, strict=True)]


def test_the_card_states_an_error_below_six_percent_and_hardly_any_bias():
    facts = card("element_volumes")
    without, with_type = facts["test_known_type_error_percent_without_and_with_type"]
    assert with_type < without
    assert facts["test_mean_absolute_error_percent"] < 6 and abs(facts["test_bias_percent"]) < 1


def test_amounts_need_not_be_whole_and_scale_does_not_matter():
    assert volume_per_atom({11: 1, 17: 1}) == pytest.approx(volume_per_atom({11: 0.5, 17: 0.5}))


def test_part_of_the_parents_looseness_is_inherited():
    daughter, parent = {NUMBER["K"]: 1, NUMBER["Cl"]: 1}, {11: 1, 17: 1}
    plain = volume_per_atom(daughter)
    assert volume_from_parent(daughter, parent, volume_per_atom(parent)) == pytest.approx(plain)
    assert volume_from_parent(daughter, parent, 1.2 * volume_per_atom(parent)) == pytest.approx(plain * math.exp(0.4 * math.log(1.2)))


def test_elements_beyond_the_table_are_refused():
    with pytest.raises(BadInput, match="1..94"):
        volume_per_atom({95: 1})


def test_contacts_are_symmetric_sensible_and_complete():
    table = contacts(np.arange(1, 95))
    assert np.allclose(table, table.T) and (table > 0.6).all() and (table < 6).all()
    assert contacts(np.array([11, 17]))[0, 1] == pytest.approx(2.7, abs=0.15)
    assert contacts(np.array([6, 8]))[0, 1] == pytest.approx(1.2, abs=0.15)


def test_element_groups_follow_the_periodic_table():
    same = lambda a, b: element_group(NUMBER[a]) == element_group(NUMBER[b])
    assert same("Na", "Cs") and same("Ti", "Hf") and same("Cu", "Au") and same("Cl", "I") and same("La", "Yb") and same("Al", "Tl")
    assert not same("O", "S") and not same("H", "Li") and not same("Ti", "V") and not same("Zr", "La")
