"""The command line as a user meets it: JSON on standard output, words on standard error, exit codes 0, 1 and 2."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from matterloop.crystal.formats import write_cif
from matterloop.crystal.state import Crystals

SALT = Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17], [[0, 2.82, 2.82], [2.82, 0, 2.82], [2.82, 2.82, 0]])


@pytest.fixture
def salt(tmp_path):
    return str(write_cif(SALT, tmp_path / "salt.cif"))


@pytest.fixture
def run(cli):
    """The command line in this process, see conftest."""
    return cli


def rows(text):
    return [json.loads(line) for line in text.splitlines()]


def test_energy_gives_one_object_per_crystal_with_errors_included(run, salt, tmp_path):
    (tmp_path / "broken.cif").write_text("data_x\n_cell_length_a 3\n")
    code, out, _ = run("energy", salt, tmp_path / "broken.cif", tmp_path / "absent.cif", "--json")
    found = rows(out)
    assert code == 1 and len(found) == 3
    good = [r for r in found if "error" not in r]
    assert len(good) == 1 and good[0]["formula"] == "NaCl" and -4 < good[0]["energy_per_atom"] < -3 and len(good[0]["forces"]) == 2
    assert all(r["file"] and r["error"] for r in found if "error" in r)


def test_energy_equals_the_function(run, salt):
    import matterloop

    code, out, _ = run("energy", salt, "--json")
    assert code == 0 and rows(out)[0]["energy"] == pytest.approx(matterloop.energy(SALT)[0]["energy"], abs=1e-5)


def test_relax_writes_files_and_keeps_the_space_group(run, salt, tmp_path):
    code, out, _ = run("relax", salt, "--out", tmp_path / "relaxed", "--keep-symmetry", "--json", "--quiet")
    row = rows(out)[0]
    assert code == 0 and row["converged"] and row["space_group"] == "Fm-3m" and row["max_force"] <= 0.05 and Path(row["out"]).exists()
    assert row["energy_per_atom"] <= rows(run("energy", salt, "--json")[1])[0]["energy_per_atom"] + 1e-6


def test_hull_names_what_a_crystal_competes_with(run, salt):
    code, out, _ = run("hull", salt, "--json", "--quiet")
    row = rows(out)[0]
    assert code == 0 and abs(row["energy_above_hull"]) < 0.02 and row["decomposition"] and row["formation_energy"] < -1


def test_an_own_reference_of_another_scheme_is_refused(run, salt, tmp_path):
    table = tmp_path / "own.csv"
    table.write_text("formula,energy_per_atom,scheme,potential\nNa,-1.3,pbe-raw,chgnet\nCl,-1.8,pbe-raw,chgnet\n")
    code, _, err = run("hull", salt, "--reference", table, "--json", "--quiet")
    assert code == 2 and "pbe-raw" in err and "mp2020" in err


def test_generate_honours_the_options(run, tmp_path):
    code, out, _ = run("generate", "--elements", "Mg,O", "--atoms", "2-8", "--count", 4, "--out", tmp_path / "g", "--json")
    found = rows(out)
    assert code == 0 and found and all(2 <= r["atoms"] <= 8 and Path(r["out"]).exists() for r in found)
    assert {r["formula"] for r in found} <= {"MgO", "MgO2", "Mg2O", "Mg3O", "MgO3", "Mg3O2", "Mg2O3", "Mg4O", "MgO4"} or all(set(r["formula"]) <= set("MgO0123456789") for r in found)


@pytest.mark.parametrize("args, words", [
    (("energy", "x.cif", "--potential", "chgnett"), "did you mean chgnet"),
    (("generate", "--elements", "Zz"), "no element"),
    (("generate", "--elements", "Li,O", "--exclude", "Li"), "Li"),
    (("generate", "--formula", "MgO", "--atoms", "many"), "--atoms"),
    (("discover", "lead-free compounds of lead", "--out", "{tmp}"), "ead"),
    (("resume", "{tmp}/nowhere"), "nowhere"),
    (("show", "{tmp}/nowhere"), "nowhere"),
    (("models", "--role", "potentials"), "did you mean potential"),
    (("judge", "{tmp}"), "no structure files"),
    (("data", "path", "wbm_10"), "did you mean wbm_10k"),
    (("check", "no_such_part"), "no_such_part"),
])
def test_wrong_input_is_one_sentence_and_exit_code_2(run, args, words, tmp_path, salt):
    code, out, err = run(*[a.replace("{tmp}", str(tmp_path / "empty")) if "{tmp}" in a else salt if a == "x.cif" else a for a in args if (tmp_path / "empty").mkdir(exist_ok=True) is None])
    assert code == 2 and words in err and "Traceback" not in err, err


def test_models_lists_every_role_that_is_built(run, salt):
    code, out, _ = run("models", "--json")
    found = rows(out)
    assert code == 0 and {"chgnet", "lennard_jones", "substitution", "random_search", "relax", "hull", "sun", "chemistry_sense", "wyckoff_gene"} <= {r["name"] for r in found}
    assert {"potential", "generator", "measure", "judge", "descriptor"} <= {r["role"] for r in found}


def test_understand_shows_what_it_did_not_take(run, tmp_path):
    code, out, err = run("understand", "stable oxides that smell of roses", "--json")
    row = rows(out)[0]
    assert code == 1 and any("roses" in w for w in row["not_understood"]) and any("O" in line for line in row["understood"])


def test_judge_counts_the_bad_among_all(run, salt, tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    write_cif(SALT, folder / "a.cif")
    write_cif(SALT.rotated(__import__("torch").eye(3)), folder / "b.cif")
    (folder / "c.cif").write_text("nonsense")
    code, out, _ = run("judge", folder, "--json", "--work", tmp_path / "work")
    row = rows(out)[0]
    assert code == 1 and row["total"] == 3 and row["valid"] == pytest.approx(2 / 3) and row["unique"] == pytest.approx(1 / 3) and row["novel"] == 0
    assert row["intervals"]["valid"][0] < 2 / 3 < row["intervals"]["valid"][1]


def test_the_program_itself_answers(tmp_path):
    done = subprocess.run([sys.executable, "-m", "matterloop", "models", "--json"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and rows(done.stdout)
    wrong = subprocess.run([sys.executable, "-m", "matterloop", "resume", "nowhere"], capture_output=True, text=True, cwd=tmp_path)
    assert wrong.returncode == 2 and wrong.stderr.startswith("error:") and "Traceback" not in wrong.stderr
    assert subprocess.run([sys.executable, "-m", "matterloop", "frobnicate"], capture_output=True).returncode == 2


def test_threads_do_not_spin_long_unless_told_to(tmp_path):
    code = ("import os, sys; from matterloop.app import cli; sys.argv = ['matterloop', 'models', '--json']\ntry: cli.main()\nexcept SystemExit: pass\n"
            "print(os.environ.get('OMP_WAIT_POLICY'), os.environ.get('GOMP_SPINCOUNT'), file=sys.stderr)")
    for given, expected in (({}, "None 1000"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE None"), ({"GOMP_SPINCOUNT": "5"}, "None 5")):
        env = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")} | given
        assert subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True).stderr.strip() == expected
