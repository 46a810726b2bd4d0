"""`matterloop judge`: gated shares with intervals over all inputs, bad files named and counted, one object of JSON."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from matterloop.app import cli
from matterloop.app.verbs import judge, wilson
from matterloop.base.errors import BadInput
from matterloop.crystal.formats import cif_texts
from matterloop.crystal.state import Crystals

FCC = [[0, 2.13, 2.13], [2.13, 0, 2.13], [2.13, 2.13, 0]]
MGO = Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5]], [12, 8], FCC)  # known
NEW = Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]], [55, 39, 35, 35, 35], 5.9 * np.eye(3))
UNBALANCED = Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]], [11, 17, 17], 4.2 * np.eye(3))


@pytest.fixture
def folder(tmp_path):
    for name, one in {"a_mgo": MGO, "b_mgo_again": MGO.repeated(1, 1, 2), "c_new": NEW, "d_salt": UNBALANCED, "e_new_again": NEW.put(cell=NEW.cell * 1.02)}.items():
        (tmp_path / f"{name}.cif").write_text(cif_texts(one.bare(), [name])[0])
    (tmp_path / "f_broken.cif").write_text("data_x\n_cell_length_a 3\n")
    (tmp_path / "g_empty.cif").write_text("")
    (tmp_path / "notes.txt").write_text("not a structure")
    return tmp_path


def test_shares_are_gated_and_of_all_that_was_given(folder):
    found = judge(folder)
    assert found["total"] == 7 and found["unreadable"] == 2
    assert found["counts"] == {"valid": 4, "unique": 2, "novel": 1}
    assert (found["valid"], found["unique"], found["novel"]) == (4 / 7, 2 / 7, 1 / 7)
    assert found["intervals"]["valid"] == pytest.approx(wilson(4, 7))
    rows = {r["file"].rpartition("/")[2]: r for r in found["crystals"]}
    assert {n: (r.get("valid"), r.get("unique"), r.get("novel")) for n, r in rows.items()} == {
        "a_mgo.cif": (True, True, False), "b_mgo_again.cif": (True, False, None), "c_new.cif": (True, True, True), "d_salt.cif": (False, None, None),
        "e_new_again.cif": (True, False, None), "f_broken.cif": (None, None, None), "g_empty.cif": (None, None, None)}
    assert "error" in rows["f_broken.cif"] and rows["f_broken.cif"]["field"] == "_cell_length_b" and "empty" in rows["g_empty.cif"]["error"]


def test_without_the_reference_nothing_is_said_of_novelty(folder):
    found = judge(folder, reference=False)
    assert "novel" not in found and found["counts"] == {"valid": 4, "unique": 2} and all(r.get("novel") is None for r in found["crystals"])


def test_the_command_prints_one_object_and_tells_of_bad_files_by_its_exit_code(folder):
    result = CliRunner().invoke(cli.app, ["judge", str(folder), "--json"])
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert {"total", "valid", "unique", "novel", "intervals", "counts", "crystals"} <= found.keys() and len(found["crystals"]) == 7


def test_a_folder_without_structures_is_refused(tmp_path):
    with pytest.raises(BadInput, match="no structure files"):
        judge(tmp_path)


def test_only_unreadable_files_are_counted_as_not_valid(tmp_path):
    (tmp_path / "x.cif").write_text("")
    found = judge(tmp_path)
    assert found["total"] == found["unreadable"] == 1 and found["valid"] == 0.0 and found["intervals"]["valid"][1] > 0.5


@pytest.mark.parametrize("hits, total, wanted", [(0, 10, (0.0, 0.2775)), (5, 10, (0.2366, 0.7634)), (10, 10, (0.7225, 1.0)), (81, 263, (0.2553, 0.3662))])
def test_wilson_intervals_are_those_of_the_literature(hits, total, wanted):
    """81 of 263 is the example of R. G. Newcombe, Stat. Med. 17, 857 (1998), method 3."""
    assert wilson(hits, total) == pytest.approx(wanted, abs=1e-4)
