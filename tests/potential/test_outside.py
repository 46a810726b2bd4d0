"""ASE calculators become oracles with our units and signs; missing packages and properties are said plainly."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones as AseLJ

from matterloop.base.errors import BadInput, Missing, NeedsPackage
from matterloop.base.registry import find, load
from matterloop.crystal.state import Crystals
from matterloop.potential.lennard_jones import LennardJones
from matterloop.potential.oracle import Oracle
from matterloop.potential.outside import DOORS, AseOracle, outside
from matterloop.potential.outside_environments import SetupFailed, _run, facts, python_of, remove, setup

COPPER = Crystals.of([[0, 0, 0], [0.52, 0.49, 0], [0.5, 0, 0.5], [0.01, 0.5, 0.5]], [29] * 4, [[3.7, 0, 0], [0.2, 3.6, 0], [0, 0.1, 3.5]])
GOLD = Crystals.of([[0, 0, 0]], [79], 2.05 * torch.tensor([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]]))


class Hot(Calculator):
    """A calculator whose free energy differs from its energy, without stress."""

    implemented_properties = ("energy", "free_energy", "forces", "magmoms")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": -1.0, "free_energy": -1.5, "forces": np.zeros((len(atoms), 3)), "magmoms": np.full(len(atoms), 2.0)}


def test_emt_as_an_oracle_gives_what_ase_gives():
    from ase import Atoms

    batch = Crystals.join([COPPER, GOLD])
    oracle = AseOracle(EMT, "emt", "emt")
    labels = oracle.label(batch)
    assert isinstance(oracle, Oracle)
    for k, one in enumerate((COPPER, GOLD)):
        atoms = Atoms(one.species.numpy(), positions=one.cart.numpy(), cell=one.cell[0].numpy(), pbc=True, calculator=EMT())
        xx, yy, zz, yz, xz, xy = atoms.get_stress()
        assert float(labels.energy[k]) == atoms.get_potential_energy()
        np.testing.assert_array_equal(labels.forces[batch.owner == k].numpy(), atoms.get_forces())
        np.testing.assert_array_equal(labels.stress[k].numpy(), [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])


def test_stress_is_positive_under_tension():
    wide = GOLD.put(cell=GOLD.cell * 1.03)
    assert float(AseOracle(EMT, "emt", "emt").label(wide).stress[0].trace()) > 0


def test_ase_lennard_jones_equals_our_own():
    theirs = AseOracle(lambda: AseLJ(epsilon=0.1, sigma=2.2, rc=5.5), "lj", "lj").label(COPPER)
    ours = LennardJones(0.1, 2.2, 5.5).label(COPPER)
    for a, b in zip(theirs[:3], ours[:3], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def test_the_free_energy_is_taken_only_when_asked_for():
    assert float(AseOracle(Hot, "hot", "pbe-raw", stress=False).label(COPPER).energy) == -1.0
    assert float(AseOracle(Hot, "hot", "pbe-raw", stress=False, free_energy=True).label(COPPER).energy) == -1.5


def test_magnetic_moments_are_passed_on():
    assert AseOracle(Hot, "hot", "pbe-raw", stress=False).label(COPPER).magmoms.tolist() == [2.0] * 4


def test_a_missing_stress_is_a_clear_error():
    with pytest.raises(BadInput, match="crystal 0: the calculator of 'hot' gives no stress; make the oracle with stress=False"):
        AseOracle(Hot, "hot", "pbe-raw").label(COPPER)


def test_a_molecule_has_no_stress():
    molecule = Crystals.of([[0, 0, 0], [0.25, 0, 0]], [29, 29], np.eye(3) * 10, periodic=[False] * 3)
    labels = AseOracle(EMT, "emt", "emt").label(molecule)
    assert bool(labels.stress.isnan().all()) and bool(labels.forces.isfinite().all())


def test_the_crystal_on_which_a_calculator_fails_is_named():
    uranium = Crystals.of([[0, 0, 0]], [92], np.eye(3) * 3)
    with pytest.raises(BadInput, match="crystal 1: the calculator of 'emt' failed: .*U"):
        AseOracle(EMT, "emt", "emt").label(Crystals.join([COPPER, uranium]))


def test_undecided_atoms_are_refused():
    with pytest.raises(BadInput, match="undecided"):
        AseOracle(EMT, "emt", "emt").label(COPPER.put(species=torch.zeros(4, dtype=torch.long)))


def test_an_empty_batch_gives_empty_labels():
    labels = AseOracle(EMT, "emt", "emt").label(COPPER[:0])
    assert labels.energy.shape == (0,) and labels.forces.shape == (0, 3) and labels.stress.shape == (0, 3, 3)


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """No package is installed and no environment made."""
    monkeypatch.setenv("MATTERLOOP_ENVS", str(tmp_path))
    monkeypatch.setattr("matterloop.potential.outside.agrees", lambda package: False)
    return tmp_path


@pytest.mark.parametrize("model", sorted(DOORS))
def test_a_door_to_a_package_that_is_nowhere_says_what_to_run(model, nowhere):
    file = nowhere / "model.pt"
    file.write_bytes(b"x")
    with pytest.raises(NeedsPackage, match=f"run: matterloop potentials setup {model}"):
        outside(model, path=file)


def test_an_unknown_door_offers_the_nearest():
    with pytest.raises(Missing, match="did you mean mattersim"):
        outside("matersim")


def test_a_model_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(BadInput, match="none.model: there is no such file"):
        outside("mace", path=tmp_path / "none.model")
    with pytest.raises(BadInput, match="'metatomic' has no weights of its own; pass path="):
        outside("metatomic")


def test_the_environment_made_for_a_potential_is_found_once_it_is_finished(nowhere):
    home = nowhere / "mace"
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "python").symlink_to(sys.executable)
    with pytest.raises(NeedsPackage):
        outside("mace")
    (home / "matterloop.json").write_text("{}")
    oracle = outside("mace", weights="medium-omat-0")
    assert oracle.python == home / "bin" / "python" and (oracle.name, oracle.energy_scheme) == ("mace:medium-omat-0", "omat24-raw")
    assert oracle.options == {"model": "medium-omat-0"} and outside("mace").energy_scheme == "mp-raw"


def test_a_file_of_ones_own_has_a_name_and_a_scheme_that_nothing_else_shares(nowhere):
    one, other = nowhere / "a.model", nowhere / "b.model"
    one.write_bytes(b"one")
    other.write_bytes(b"other")
    oracles = [outside("mace", path=p, python=sys.executable) for p in (one, other)]
    mark = "7692c3ad3540"  # sha256 of "one"
    assert (oracles[0].name, oracles[0].energy_scheme) == (f"mace:a-{mark}", f"mace-{mark}") and oracles[0].options["path"] == str(one)
    assert oracles[1].energy_scheme != oracles[0].energy_scheme
    assert outside("mace", path=one, python=sys.executable, energy_scheme="mp-raw").energy_scheme == "mp-raw"


def test_presets_of_the_card_are_doors():
    presets = find("mattersim", "potential").card.presets
    assert {options["model"] for options in presets.values()} | {"mattersim"} == set(DOORS) - {"metatomic"}
    with pytest.raises((Missing, NeedsPackage)):
        load("mattersim", role="potential", model="nothing")


# environments


def test_a_folder_that_is_no_environment_is_left_alone(nowhere):
    (nowhere / "mace").mkdir()
    (nowhere / "mace" / "thesis.txt").write_text("years of work")
    for act in (lambda: setup("mace", ["x"], torch="2.13.0"), lambda: remove("mace")):
        with pytest.raises(BadInput, match="holds something else than an environment"):
            act()
    assert (nowhere / "mace" / "thesis.txt").exists() and not remove("orb")


def test_setup_pins_torch_first_and_goes_on_without_the_pin_where_pip_refuses(nowhere, monkeypatch):
    called, refused = [], []

    def run(command, what):
        called.append(command[1:])
        if command[1:3] == ["-m", "venv"]:
            (Path(command[3]) / "bin").mkdir(parents=True)
            (Path(command[3]) / "bin" / "python").symlink_to(sys.executable)
            (Path(command[3]) / "pyvenv.cfg").write_text("")
        if "torch==2.13.0" in command and "picky" in command:
            raise SetupFailed("pip failed:\npicky 1.0 requires torch<2")
        return json.dumps([{"name": "picky", "version": "1.0"}])

    monkeypatch.setattr("matterloop.potential.outside_environments._run", run)
    python = setup("orb", ["picky"], torch="2.13.0+cpu", without=["torchvision"], say=refused.append)
    installs = [c[5:] for c in called if c[1:3] == ["pip", "install"]]
    assert installs == [["torch==2.13.0"], ["torch==2.13.0", "picky"], ["picky"]] and "requires torch<2" in refused[-1]
    assert [c[-1] for c in called if "uninstall" in c] == ["torchvision"]
    assert python == nowhere / "orb" / "bin" / "python" == python_of("orb") and facts("orb")["versions"] == {"picky": "1.0"}
    count = len(called)
    assert setup("orb", ["picky"], torch="2.13.0") == python and len(called) == count  # it is there
    (nowhere / "orb" / "matterloop.json").unlink()  # as after an interrupted run
    assert python_of("orb") is None and setup("orb", ["picky"], torch="2.13.0") == python and len(called) > count
    assert remove("orb") and python_of("orb") is None


def test_what_pip_says_is_passed_on(nowhere, monkeypatch):
    with pytest.raises(SetupFailed, match="pip failed:\n(.*\n)*.*no_such_option"):
        _run([sys.executable, "-m", "pip", "install", "--no_such_option"], "pip")
