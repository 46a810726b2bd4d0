"""`matterloop judge`: gated shares with intervals over all inputs, bad files named and counted, one object of JSON, a run that goes on."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
from typer.testing import CliRunner

from matterloop.app import cli
from matterloop.app.judging import default_work, judge
from matterloop.base.errors import BadInput
from matterloop.bench import examples
from matterloop.campaign.watch import Watch
from matterloop.crystal.formats import cif_texts
from matterloop.crystal.state import Crystals
from matterloop.learn.intervals import share_interval

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


GATES = ("valid", "unique", "novel", "metasun", "sun", "p1_share")


def as_submitted(folder, **options):
    return judge(folder, relaxed=False, suite=False, **options)


def test_shares_are_gated_and_of_all_that_was_given(folder):
    found = as_submitted(folder)
    assert found["total"] == 7 and found["unreadable"] == 2 and found["finished"]
    counts = found["counts"]
    assert {k: counts[k] for k in ("valid", "unique", "novel", "p1_share")} == {"valid": 4, "unique": 2, "novel": 1, "p1_share": 0}
    assert (found["valid"], found["unique"], found["novel"]) == (4 / 7, 2 / 7, 1 / 7)
    for name in GATES:
        assert found[f"{name}_interval"] == found["intervals"][name] == list(share_interval(counts[name], 7))
    rows = {r["file"].rpartition("/")[2]: r for r in found["crystals"]}
    assert {n: (r.get("valid"), r.get("unique"), r.get("novel")) for n, r in rows.items()} == {
        "a_mgo.cif": (True, True, False), "b_mgo_again.cif": (True, False, None), "c_new.cif": (True, True, True), "d_salt.cif": (False, None, None),
        "e_new_again.cif": (True, False, None), "f_broken.cif": (None, None, None), "g_empty.cif": (None, None, None)}
    assert "error" in rows["f_broken.cif"] and rows["f_broken.cif"]["field"] == "_cell_length_b" and "empty" in rows["g_empty.cif"]["error"]


def test_stability_counts_only_after_the_gates_before_it(folder):
    """MgO lies on the hull but is known; the new perovskite is judged by its own distance."""
    rows = {r["file"].rpartition("/")[2]: r for r in as_submitted(folder)["crystals"]}
    assert rows["a_mgo.cif"]["energy_above_hull"] < 0.1 and rows["a_mgo.cif"]["metasun"] is None
    above = rows["c_new.cif"]["energy_above_hull"]
    assert rows["c_new.cif"]["metasun"] == (above <= 0.1) and rows["c_new.cif"]["sun"] == (above <= 0.0)
    assert rows["a_mgo.cif"]["space_group"] == 225 and rows["a_mgo.cif"]["p1"] is False


def test_relaxed_structures_are_what_is_judged(folder):
    """Cs2YBr6-like cells that differ by 2 % relax to one; energies are those of the relaxed cell, at most those as submitted."""
    found, before = judge(folder, suite=False), as_submitted(folder)
    assert found["protocol"]["relaxed"] and not before["protocol"]["relaxed"]
    for a, b in zip(found["crystals"], before["crystals"], strict=True):
        if "error" not in a:
            assert a["energy_per_atom"] <= b["energy_per_atom"] + 1e-4
            assert a["reasons"][0]["check"] == "relaxation"
    assert found["counts"]["unique"] == 2


def test_without_the_reference_nothing_is_said_of_novelty_and_what_is_gated_by_it(folder):
    found = as_submitted(folder, reference=False)
    assert not {"novel", "metasun", "sun"} & found.keys() and found["counts"] == {"valid": 4, "unique": 2, "p1_share": 0} and all(r.get("novel") is None for r in found["crystals"])


def test_the_command_prints_one_object_and_tells_of_bad_files_by_its_exit_code(folder, tmp_path):
    result = CliRunner().invoke(cli.app, ["judge", str(folder), "--json", "--work", str(tmp_path / "work"), "--executor", ""])
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert {*GATES, *(f"{name}_interval" for name in GATES), "total", "intervals", "counts", "crystals", "cdvae", "statistics", "seconds"} <= found.keys()
    assert len(found["crystals"]) == 7 and found["cdvae"]["given"] == 7 and found["cdvae"]["structure_valid"] == pytest.approx(5 / 7)
    assert "f_broken.cif" in result.stderr and "g_empty.cif" in result.stderr


def test_a_stopped_run_keeps_what_is_done_and_goes_on(folder, tmp_path):
    """Stopped after the first crystals have landed; the second call relaxes only the rest and answers as an unbroken one."""
    landed = []
    watch = Watch(advance=lambda name, done: landed.append(done) if name == "relax" else None, stop=lambda: max(landed, default=0) >= 1)
    first = judge(folder, suite=False, work=tmp_path / "work", watch=watch)
    assert first["finished"] is False and 1 <= first["relaxed"] and "valid" not in first
    begun = []
    second = judge(folder, suite=False, work=tmp_path / "work", watch=Watch(advance=lambda name, done: begun.append(done) if name == "relax" else None))
    assert second["finished"] and begun[0] == max(landed)
    whole = judge(folder, suite=False)
    drop = lambda found: {k: v for k, v in found.items() if k != "seconds"}
    assert drop(second) == drop(whole)


def test_a_training_set_is_not_novel(folder, tmp_path):
    told = []
    (tmp_path / "broken.cif").write_text("nonsense")
    found = as_submitted(folder, known=[folder / "e_new_again.cif", tmp_path / "broken.cif"], watch=Watch(note=told.append))
    row = next(r for r in found["crystals"] if r["file"].endswith("c_new.cif"))
    assert row["unique"] and row["novel"] is False and "e_new_again" in row["reasons"][-2]["note"] and found["counts"]["novel"] == 0
    assert any("broken.cif" in text for text in told) and "1 structures of yours" in found["protocol"]["novelty"]


def test_a_folder_without_structures_is_refused(tmp_path):
    with pytest.raises(BadInput, match="no structure files"):
        judge(tmp_path)


def test_only_unreadable_files_are_counted_as_not_valid(tmp_path):
    (tmp_path / "x.cif").write_text("")
    found = judge(tmp_path)
    assert found["total"] == found["unreadable"] == 1 and found["valid"] == 0.0 and found["intervals"]["valid"][1] > 0.5


def test_the_work_folder_is_called_after_what_is_judged(folder):
    assert default_work([str(folder)]).name == "judge-" + folder.name == default_work([str(folder / "a_mgo.cif")]).name


def test_a_second_opinion_judges_what_passed_on_a_hull_of_its_own(folder, tmp_path):
    """Only the new perovskite passed; by the second potential's phases, set far below, it is not within the limit."""
    from matterloop.campaign.second_opinion import Asked

    (tmp_path / "far.csv").write_text("formula,energy_per_atom,scheme\n" + "".join(f"{e},-90.0,lj\n" for e in ("Cs", "Y", "Br")))
    found = as_submitted(folder, second_opinion=Asked("lennard_jones", str(tmp_path / "far.csv")))
    told, row = found["second_opinion"], next(r for r in found["crystals"] if r["file"].endswith("c_new.cif"))
    assert told["candidates"] == (row["energy_above_hull"] <= 0.1) and "second" in row and row["second_energy_above_hull"] > 1
    assert told["agree"] == [] and all("second" not in r for r in found["crystals"] if not r["file"].endswith("c_new.cif"))


@pytest.mark.slow
def test_a_killed_run_goes_on(tmp_path):
    """kill -9 of the driver as soon as a worker has written a result; the same call then ends with the answer of an unbroken run."""
    crystals = examples.displaced(24, (12, 8))
    (tmp_path / "set").mkdir()
    for i, text in enumerate(cif_texts(crystals, [f"c{i:02d}" for i in range(24)])):
        (tmp_path / "set" / f"c{i:02d}.cif").write_text(text)
    command = [sys.executable, "-m", "matterloop", "judge", str(tmp_path / "set"), "--json", "--no-suite", "--executor", "processes:2", "--work", str(tmp_path / "work")]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while driver.poll() is None and not any('"content"' in p.read_text() for p in (tmp_path / "work" / "spool").glob("attempts/*.log")):
        time.sleep(0.05)
    assert driver.poll() is None, "the run ended before it could be killed; take more crystals"
    driver.kill()
    driver.wait()
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    found, whole = json.loads(again.stdout), judge(tmp_path / "set", suite=False, executor="")
    assert found["counts"] == whole["counts"] and [r["energy_per_atom"] for r in found["crystals"]] == [r["energy_per_atom"] for r in whole["crystals"]]
