"""Errors say what was got and what to do, and keep their parts."""

import pytest

from matterloop.base.errors import BadInput, MatterloopError, Missing, NeedsPackage, NotConverged


def test_bad_input_says_where_in_front():
    error = BadInput("a is 0", "crystal 3")
    assert str(error) == "crystal 3: a is 0" and error.where == "crystal 3" and error.message == "a is 0"


def test_bad_input_keeps_file_row_and_field():
    error = BadInput("it is not a number", file="a.csv", row="row 7 (mp-1)", field="_cell_length_a")
    assert (error.file, error.row, error.field) == ("a.csv", "row 7 (mp-1)", "_cell_length_a")
    assert str(error) == "a.csv, row 7 (mp-1), field '_cell_length_a': it is not a number"


def test_an_error_about_a_crystal_moves_with_it_into_a_larger_batch():
    moved = BadInput("it has no atoms", "crystal 3, site 1").renumbered(lambda i: i + 10)
    assert (moved.where, moved.message, moved.crystal) == ("crystal 13, site 1", "it has no atoms", 13)
    other = BadInput("a is 0", "crystals 3")
    assert other.crystal is None and other.renumbered(lambda i: i + 10) is other


def test_missing_offers_the_nearest_names_or_lists_what_there_is():
    assert str(Missing("element", "Fee", ["Fe", "F", "Na"])) == "no element called 'Fee'; did you mean Fe, F?"
    assert str(Missing("part", "zzz", ["b", "a"])) == "no part called 'zzz'; known: a, b"
    assert str(Missing("part", "x")) == "no part called 'x'"
    assert str(Missing("part", "zzz", [f"n{i:02}" for i in range(30)])).endswith("n19, ...")


def test_needs_package_says_how_to_install():
    assert "pip install sevenn" in str(NeedsPackage("sevennet", "the potential", "sevenn"))


def test_not_converged_carries_its_last_state():
    assert NotConverged("stopped after 3 steps", state=[1, 2]).state == [1, 2]


@pytest.mark.parametrize(("error", "kind"), [
    (BadInput("x"), ValueError), (Missing("a", "b"), LookupError), (NeedsPackage("a", "b"), ImportError), (NotConverged("x"), RuntimeError)])
def test_all_are_caught_as_one_kind_and_as_their_python_kind(error, kind):
    assert isinstance(error, MatterloopError) and isinstance(error, kind)
