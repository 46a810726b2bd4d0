"""What a field is: rank, parity, extensive, unit."""

import pytest

from matterloop.base.errors import BadInput
from matterloop.base.quantities import STANDARD, Quantity, quantity_of


@pytest.mark.parametrize(("name", "rank", "extensive", "unit"), [
    ("energy", 0, True, "eV"), ("energy_above_hull", 0, False, "eV/atom"), ("forces", 1, False, "eV/Å"), ("stress", 2, False, "eV/Å^3")])
def test_standard_quantities(name, rank, extensive, unit):
    assert STANDARD[name] == quantity_of(name) == Quantity(rank, 1, extensive, unit)


def test_per_atom_energies_are_not_extensive():
    assert not [n for n, q in STANDARD.items() if q.unit.endswith("/atom") and q.extensive]


def test_an_own_quantity_comes_first():
    own = Quantity(0, 1, False, "meV")
    assert quantity_of("energy", {"energy": own}) is own


def test_unknown_names_say_how_to_declare_them():
    with pytest.raises(BadInput, match=r"'colour' has no Quantity; pass quantities=\{'colour'"):
        quantity_of("colour", {"other": Quantity()})


@pytest.mark.parametrize(("values", "words"), [((3,), "rank is 3"), ((-1,), "rank is -1"), ((0, 0), "parity is 0")])
def test_impossible_quantities_are_refused(values, words):
    with pytest.raises(BadInput, match=words):
        Quantity(*values)
