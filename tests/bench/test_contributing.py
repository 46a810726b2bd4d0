"""The recipe of CONTRIBUTING.md, run as it stands: one file, and the part is checked, listed and usable."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
FENCE = "`" * 3


def block(language):
    (found,) = re.findall(rf"^{FENCE}{language}\n(.*?)^{FENCE}$", PAGE, re.M | re.S)
    return found


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the file of the recipe, and the dist-info that installing its package would leave."""
    folder = tmp_path_factory.mktemp("plugin")
    project = tomllib.loads(block("toml"))
    (module,) = project["tool"]["setuptools"]["py-modules"]
    (folder / f"{module}.py").write_text(block("python"), encoding="utf-8")
    (group, points), = project["project"]["entry-points"].items()
    name, version = project["project"]["name"], project["project"]["version"]
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in points.items()))
    return folder


def matterloop(folder, *words):
    env = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-m", "matterloop.app.cli", *words], capture_output=True, text=True, env=env, cwd=folder)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_the_contract_passes_through_the_command_by_file(installed):
    code, rows, errors = matterloop(installed, "check", "morse.py", "--full", "--json")
    assert code == 0, errors
    assert all(r["part"] == "morse" and r["passed"] for r in rows), rows
    assert {"rotation", "forces", "stress", "smooth", "reference"} <= {r["check"] for r in rows}


def test_the_part_is_listed_and_checked_by_name(installed):
    code, rows, errors = matterloop(installed, "models", "--json")
    assert code == 0, errors
    (row,) = [r for r in rows if r["name"] == "morse"]
    assert row["plugin"] == "my-morse" and row["role"] == "potential"
    code, rows, errors = matterloop(installed, "check", "morse", "--json")
    assert code == 0 and all(r["passed"] for r in rows), errors


def test_a_verb_takes_it(installed):
    (installed / "salt.cif").write_text(
        "data_salt\n_cell_length_a 5.64\n_cell_length_b 5.64\n_cell_length_c 5.64\n_cell_angle_alpha 90\n_cell_angle_beta 90\n_cell_angle_gamma 90\n"
        "_symmetry_space_group_name_H-M 'F m -3 m'\n_symmetry_Int_Tables_number 225\nloop_\n_symmetry_equiv_pos_as_xyz\n'x,y,z'\n'x,y+1/2,z+1/2'\n"
        "'x+1/2,y,z+1/2'\n'x+1/2,y+1/2,z'\nloop_\n_atom_site_label\n_atom_site_type_symbol\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n"
        "Na1 Na 0 0 0\nCl1 Cl 0.5 0.5 0.5\n")
    code, rows, errors = matterloop(installed, "energy", "salt.cif", "--potential", "morse", "--json")
    assert code == 0, errors
    assert rows[0]["potential"] == "morse" and rows[0]["energy_per_atom"] < 0


def test_a_bug_in_the_file_is_found(installed, tmp_path):
    wrong = block("python").replace("len(crystals))", "len(crystals)) * 2", 1)
    assert wrong != block("python")
    (tmp_path / "wrong.py").write_text(wrong, encoding="utf-8")
    code, rows, _ = matterloop(tmp_path, "check", "wrong.py", "--json")
    assert code == 1
    assert [r["check"] for r in rows if not r["passed"]] == ["reference"]


@pytest.mark.parametrize("file, text, message", [
    ("empty.py", "x = 1\n", "holds no CARD"),
    ("broken.py", "CARD = Card(\n", "cannot be read as Python"),
    ("absent.py", None, "there is no such file"),
])
def test_what_is_no_part_is_a_usage_error(tmp_path, file, text, message):
    if text is not None:
        (tmp_path / file).write_text(text)
    code, rows, errors = matterloop(tmp_path, "check", file)
    assert code == 2 and not rows and message in errors and "Traceback" not in errors


def test_a_file_that_cannot_be_imported_fails_its_checks(tmp_path):
    (tmp_path / "late.py").write_text(block("python").replace("import torch\n", "import torch\nimport no_such_package\n", 1))
    code, rows, errors = matterloop(tmp_path, "check", "late.py", "--json")
    assert code == 1 and "Traceback" not in errors
    assert "ModuleNotFoundError" in next(r["note"] for r in rows if r["check"] == "rotation")


def test_an_unknown_name_offers_the_nearest(tmp_path):
    code, _, errors = matterloop(tmp_path, "check", "chgnett")
    assert code == 2 and "did you mean chgnet" in errors
