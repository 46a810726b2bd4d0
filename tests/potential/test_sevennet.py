"""SevenNet's networks from their weights: compiled, by torch and in the package they say the same, whatever else is in the batch."""

import numpy as np
import pytest
import torch

from matterloop.base.errors import BadInput, Missing
from matterloop.bench import examples as ex
from matterloop.crystal.state import Crystals

pytest.importorskip("sevenn", reason="the package sevenn holds the weights")

from matterloop.potential import sevennet as module  # noqa: E402
from matterloop.potential.sevennet import SevenNetOracle, read_checkpoint  # noqa: E402
from matterloop.potential.sevennet_network import harmonics, library  # noqa: E402

DOUBLE = torch.float64


@pytest.fixture(scope="module")
def double():
    return SevenNetOracle(dtype=DOUBLE, device="cpu")


def same(a, b, tolerance):
    for one, other in zip(a[:3], b[:3], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance, equal_nan=True)


@pytest.mark.parametrize("model", ["7net-0", "7net-l3i5"])
def test_the_compiled_convolution_and_torch_agree(model):
    if library() is None:
        pytest.skip("no compiler was at hand when matterloop was installed")
    crystals = ex.every()
    fast, plain = (SevenNetOracle(model, DOUBLE, device="cpu", compiled=c) for c in (True, False))
    assert fast.network.lib is not None and plain.network.lib is None
    same(fast.label(crystals), plain.label(crystals), 1e-10)


@pytest.mark.parametrize("model", ["7net-0", pytest.param("7net-l3i5", marks=pytest.mark.slow)])
def test_it_gives_what_the_package_gives(model):
    for what, ours, theirs, allowed in SevenNetOracle(model, device="cpu").parity():
        assert float((ours - theirs).abs().max()) < allowed / 10, what


def test_energies_alone_are_the_same_energies(double):
    crystals = ex.every()
    alone, labels = double.label(crystals, forces=False), double.label(crystals)
    assert torch.equal(alone.energy, labels.energy) and alone.forces is None and alone.stress is None


def test_lone_atoms_and_empty_batches_have_answers(double):
    lone = Crystals.of([[0.5, 0.5, 0.5]], [8], np.eye(3) * 30)
    labels = double.label(lone)
    assert bool(labels.energy.isfinite().all()) and float(labels.forces.abs().max()) == 0 and float(labels.stress.abs().max()) == 0
    empty = double.label(lone[:0])
    assert empty.energy.shape == (0,) and empty.forces.shape == (0, 3) and empty.stress.shape == (0, 3, 3)


def test_a_steady_answer_is_the_same_to_the_bit_in_any_batch_and_by_any_number_of_threads():
    crystals, oracle, threads = ex.periodic(), SevenNetOracle(device="cpu").steady(), torch.get_num_threads()
    together = oracle.label(crystals)
    try:
        torch.set_num_threads(2)
        again = oracle.label(crystals)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    for k in range(len(crystals)):
        alone = oracle.label(crystals[k])
        assert torch.equal(alone.energy[0], together.energy[k]) and torch.equal(alone.forces, together.forces[crystals.owner == k])
    assert torch.equal(again.energy, together.energy) and torch.equal(again.forces, together.forces) and torch.equal(again.stress, together.stress)


def test_the_harmonics_are_those_of_e3nn():
    from e3nn.o3 import spherical_harmonics

    unit = torch.nn.functional.normalize(torch.linspace(-1, 1, 60, dtype=DOUBLE).sin().reshape(20, 3), dim=-1)
    for degrees in (1, 2, 3, 4):
        theirs = spherical_harmonics(list(range(degrees)), unit, normalize=True, normalization="component")
        torch.testing.assert_close(harmonics(unit, degrees), theirs, rtol=0, atol=1e-13)


def test_the_derivative_of_the_radial_network_is_its_slope(double):
    r = torch.tensor([0.8, 2.1, 4.4, 4.6, 4.99], dtype=DOUBLE)
    weights = lambda at: double.network.blocks[1][3].weights(*double.network.basis(at))
    slope = (weights(r + 1e-5)[0] - weights(r - 1e-5)[0]) / 2e-5
    torch.testing.assert_close(weights(r)[1], slope, rtol=1e-6, atol=1e-7)


def test_the_element_that_it_does_not_know_is_named(double):
    polonium = Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5]], [29, 84], np.eye(3) * 3)
    with pytest.raises(BadInput, match="crystal 1, atom 1: an atom is of the element Po"):
        double.label(Crystals.join([ex.rock_salt(), polonium]))
    with pytest.raises(BadInput, match="undecided"):
        double.label(polonium.put(species=torch.zeros(2, dtype=torch.long)))


def test_atoms_on_one_another_are_refused(double):
    twice = Crystals.of([[0, 0, 0], [0, 0, 1e-5]], [29, 29], np.eye(3) * 3)
    with pytest.raises(BadInput, match="crystal 1: two atoms are .* Å apart"):
        double.label(Crystals.join([ex.rock_salt(), twice]))


def test_other_weights_than_the_released_are_refused(monkeypatch):
    with pytest.raises(Missing, match="7net-0"):
        SevenNetOracle("7net-1")
    monkeypatch.setitem(module.WEIGHTS, "7net-0", (module.WEIGHTS["7net-l3i5"][0], module.WEIGHTS["7net-0"][1]))
    with pytest.raises(BadInput, match="expected 7052cb42b7b3"):
        read_checkpoint("7net-0")


@pytest.mark.slow
@pytest.mark.data
def test_mp20_structures_come_out_as_in_the_package(data_dir):
    import csv
    import gzip

    from pymatgen.core import Structure
    from sevenn.calculator import SevenNetCalculator

    from matterloop.crystal.formats import from_pymatgen, to_ase

    csv.field_size_limit(10**8)
    with gzip.open(data_dir / "mp20_biternary_val_test" / "test.csv.gz", "rt") as file:
        crystals = from_pymatgen([Structure.from_str(row["cif"], fmt="cif") for row, _ in zip(csv.DictReader(file), range(8), strict=False)]).bare()
    with torch.random.fork_rng(devices=[]):
        calculator = SevenNetCalculator("7net-0", device="cpu")
    labels = SevenNetOracle(device="cpu").label(crystals)
    for k, atoms in enumerate(to_ase(crystals)):
        atoms.calc = calculator
        assert float(labels.energy[k]) / len(atoms) == pytest.approx(atoms.get_potential_energy() / len(atoms), abs=1e-5)
        np.testing.assert_allclose(labels.forces[crystals.owner == k], atoms.get_forces(), atol=2e-4)
        np.testing.assert_allclose(labels.stress[k], atoms.get_stress(voigt=False), atol=1e-5)
