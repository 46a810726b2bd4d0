"""Planted copies are found on the rung where they belong."""

import numpy as np
import pytest
import torch

from matterloop.base.errors import BadInput
from matterloop.crystal.state import Crystals
from matterloop.learn.leaks import composition_leaks, crystal_leaks, told

FCC = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])


def rock_salt(a: int, b: int, length: float) -> Crystals:
    return Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5]], [a, b], length * FCC)


def caesium(a: int, b: int, length: float) -> Crystals:
    return Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5]], [a, b], length * np.eye(3))


def test_each_rung_finds_its_copies():
    train = Crystals.join([rock_salt(11, 17, 5.64), rock_salt(12, 8, 4.2), rock_salt(3, 9, 4.0)])
    wavy = rock_salt(12, 8, 4.2)
    wavy = Crystals.of(wavy.frac + torch.tensor([[0.02, 0.01, 0.0], [0, 0, 0]]), wavy.species, wavy.cell)  # P-1, but the same crystal for the matcher
    test = Crystals.join([
        rock_salt(19, 17, 6.3),  # new
        caesium(11, 17, 3.4),  # another polymorph
        rock_salt(11, 17, 5.7).repeated(2, 1, 1),  # the same, another cell
        wavy])
    found = crystal_leaks(train, test, symprec=0.01)
    assert found["formula"].pairs == ((1, 0), (2, 0), (3, 1))
    assert found["space_group"].pairs == ((2, 0),) and found["gene"].pairs == ((2, 0),)
    assert found["structure"].pairs == ((2, 0), (3, 1))
    assert found["structure"].share == 0.5 and found["structure"].failed == ()
    lines = told(found, ["a", "b", "c"], ["p", "q", "r", "s"], most=1)
    assert lines[0] == "same reduced formula: 3 of 4 tested rows (75.0 %)"
    assert lines[-2:] == ["  r is a of the training rows", "  and 1 more"]
    assert "structure" not in crystal_leaks(train, test, match=False)


def test_nothing_is_found_where_nothing_is_shared():
    found = crystal_leaks(rock_salt(11, 17, 5.64), rock_salt(12, 8, 4.2))
    assert [x.count for x in found.values()] == [0, 0, 0, 0]


def test_what_cannot_be_compared_is_counted():
    molecule = Crystals.of([[0, 0, 0], [0.1, 0, 0]], [11, 17], 20 * np.eye(3), periodic=[False] * 3)
    found = crystal_leaks(rock_salt(11, 17, 5.64), molecule)
    assert found["structure"].failed == (0,) and found["structure"].count == 0
    with pytest.raises(BadInput, match="0 training"):
        crystal_leaks(molecule[[]], molecule)


def test_compositions_meet_by_reduced_formula():
    counts = np.zeros((3, 119))
    counts[0, [11, 17]], counts[1, [11, 17]], counts[2, [8, 26]] = 1, 4, (3, 2)
    leak = composition_leaks(counts[[0, 2]], counts[[1]])
    assert leak.pairs == ((0, 0),) and leak.share == 1.0
