"""Bins of elements against the periodic table."""

import pytest

from matterloop.represent.element_bins import element_bins, place


@pytest.mark.parametrize("z, wanted", [
    (1, (1, 1, "s")), (2, (18, 1, "s")), (8, (16, 2, "p")), (12, (2, 3, "s")), (26, (8, 4, "d")), (30, (12, 4, "d")), (31, (13, 4, "p")), (57, (0, 6, "f")),
    (70, (0, 6, "f")), (71, (3, 6, "d")), (80, (12, 6, "d")), (92, (0, 7, "f")), (118, (18, 7, "p"))])
def test_places_are_those_of_the_periodic_table(z, wanted):
    assert place(z) == wanted


def test_oxygen_and_iron_have_the_ones_of_the_paper():
    # group, period, electronegativity 3.44 and 1.83, radius 66 and 132 pm, valence 6 and 8, ionisation 13.6 and 7.9 eV, affinity 1.46 and 0.15 eV, block, volume 17.4 and 7.1 cm^3
    assert element_bins()[8].nonzero()[0].tolist() == [16, 20, 34, 37, 51, 64, 74, 79, 86]
    assert element_bins()[26].nonzero()[0].tolist() == [8, 22, 29, 40, 53, 61, 72, 80, 83]


def test_an_undecided_element_has_none_and_the_last_its_place_alone():
    assert not element_bins()[0].any() and element_bins()[118].nonzero()[0].tolist() == [18, 25, 53, 79]


def test_an_unknown_property_leaves_its_bins_empty():
    assert not element_bins()[2][26:36].any()  # electronegativity of helium
