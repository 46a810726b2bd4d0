"""Our evaluation of CHGNet gives the numbers of the chgnet package, whatever else is in the batch."""

import csv
import gc
import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from matterloop.base.errors import BadInput, Missing
from matterloop.base.registry import load
from matterloop.base.units import stress_to_gpa
from matterloop.bench.parity import parity_crystals
from matterloop.crystal.state import Crystals
from matterloop.potential import chgnet, chgnet_kernel
from matterloop.potential.chgnet import SUPPORTED, CHGNetOracle, read_weights
from matterloop.potential.oracle import Oracle

SALT = Crystals.of([[0, 0, 0], [0.48, 0.5, 0.51]], [11, 17], 2.9 * torch.tensor([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]]))
COPPER = Crystals.of([[0.1, 0.2, 0.3]], [29], 1.8 * torch.tensor([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]]))
OXIDE = Crystals.of([[0, 0, 0], [0.5, 0.52, 0.5], [0.5, 0.5, 0.02], [0.5, 0, 0.5], [0, 0.47, 0.5]], [22, 56, 8, 8, 8], [[4, 0, 0], [0.3, 4.1, 0], [0, 0.2, 3.9]])
SLAB = Crystals.of([[0, 0, 0.4], [0.5, 0.5, 0.5]], [26, 8], np.diag([3.0, 3.1, 20.0]), periodic=[True, True, False])
MOLECULE = Crystals.of([[0, 0, 0], [0.08, 0, 0.04], [0, 0.08, 0.04]], [8, 1, 1], np.eye(3) * 11, periodic=[False] * 3)
ISOLATED = Crystals.of([[0, 0, 0]], [11], np.eye(3) * 15)
PEROVSKITE = Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]], [38, 22, 8, 8, 8], np.eye(3) * 3.9)
FIELDS = ("energy", "forces", "stress", "magmoms")
BATCH = Crystals.join([SALT, COPPER, OXIDE, SLAB, MOLECULE, ISOLATED])


@pytest.fixture(scope="module")
def oracle():
    return load("chgnet", role="potential", device="cpu")


@pytest.fixture(scope="module")
def exact():
    return CHGNetOracle(dtype=torch.float64, device="cpu")


def package(version="0.3.0"):
    from chgnet.model import CHGNet

    return CHGNet.load(model_name=version, use_device="cpu", verbose=False)


def to_structure(crystal: Crystals):
    from pymatgen.core import Lattice, Structure

    return Structure(Lattice(crystal.cell[0].numpy()), crystal.species.tolist(), crystal.frac.numpy())


def assert_equal_to_package(version, crystals, structures, oracle):
    labels, model, theirs = oracle.label(crystals), package(version), []
    for structure in structures:
        theirs.append(model.predict_structure(structure))
        if len(theirs) % 20 == 0:
            gc.collect()  # the package's results hold cycles: without this 500 structures take 10 GB
    column = lambda key: np.concatenate([np.atleast_1d(t[key]) for t in theirs])
    np.testing.assert_allclose((labels.energy / crystals.counts).numpy(), column("e"), atol=1e-4, rtol=0)
    np.testing.assert_allclose(labels.forces.numpy(), column("f"), atol=1e-3, rtol=0)
    np.testing.assert_allclose(stress_to_gpa(labels.stress).numpy(), np.stack([t["s"] for t in theirs]), atol=1e-2, rtol=0)
    np.testing.assert_allclose(labels.magmoms.numpy(), column("m"), atol=1e-3, rtol=0)


def test_equal_to_the_package_on_distorted_cells_with_own_images(oracle):
    batch = Crystals.join([SALT, COPPER, OXIDE])
    assert_equal_to_package("0.3.0", batch, [to_structure(c) for c in batch], oracle)


def test_the_r2scan_weights_equal_the_package_too():
    oracle = load("chgnet:r2scan", role="potential", device="cpu")
    assert (oracle.name, oracle.energy_scheme) == ("chgnet:r2scan", "mp-r2scan")
    assert_equal_to_package("r2scan", OXIDE, [to_structure(OXIDE)], oracle)


@pytest.mark.data
def test_equal_to_the_package_on_materials_project_structures(oracle, data_dir):
    from pymatgen.core import Structure

    csv.field_size_limit(10**8)
    with gzip.open(data_dir / "mp20_biternary_val_test" / "test.csv.gz", "rt") as file:
        structures = [Structure.from_str(row["cif"], fmt="cif") for row, _ in zip(csv.DictReader(file), range(24), strict=False)]
    crystals = Crystals.of(
        np.concatenate([s.frac_coords for s in structures]), [z for s in structures for z in s.atomic_numbers],
        np.stack([s.lattice.matrix for s in structures]), [len(s) for s in structures])
    assert_equal_to_package("0.3.0", crystals, structures, oracle)


def test_forces_and_stress_are_the_derivatives_of_the_energy(exact):
    h, labels = 1e-4, exact.label(OXIDE)
    energy = lambda crystal: float(exact.label(crystal).energy)
    for atom, axis in ((0, 0), (3, 2)):
        step = torch.zeros(5, 3, dtype=torch.float64)
        step[atom, axis] = h
        move = lambda sign, step=step: OXIDE.put(frac=OXIDE.frac + sign * step @ torch.linalg.inv(OXIDE.cell[0]))
        assert float(labels.forces[atom, axis]) == pytest.approx(-(energy(move(1)) - energy(move(-1))) / (2 * h), abs=1e-6)
    for a, b in ((0, 0), (1, 2)):
        strain = torch.zeros(3, 3, dtype=torch.float64)
        strain[a, b] = strain[b, a] = h
        bend = lambda sign, strain=strain: OXIDE.put(cell=OXIDE.cell @ (torch.eye(3, dtype=torch.float64) + sign * strain))
        slope = (energy(bend(1)) - energy(bend(-1))) / (2 * h * float(OXIDE.volume)) / (1 if a == b else 2)
        assert float(labels.stress[0, a, b]) == pytest.approx(slope, abs=1e-6)


def test_a_batch_gives_each_crystal_what_it_gets_alone(exact):
    together = exact.label(BATCH)
    alone = [exact.label(one) for one in BATCH]
    for field in ("energy", "forces", "stress", "magmoms"):
        torch.testing.assert_close(getattr(together, field), torch.cat([getattr(a, field) for a in alone]), rtol=1e-10, atol=1e-10)


def test_torch_answers_do_not_depend_on_how_batches_are_cut(monkeypatch):
    whole = CHGNetOracle(dtype=torch.float64, device="cpu", engine="torch").label(BATCH)
    monkeypatch.setattr(chgnet, "BLOCK", 4)
    monkeypatch.setattr(chgnet, "PAIRS", 100)
    small = CHGNetOracle(dtype=torch.float64, device="cpu", batch_atoms=3, engine="torch").label(BATCH)
    for field in FIELDS:
        torch.testing.assert_close(getattr(small, field), getattr(whole, field), rtol=1e-10, atol=1e-10)


def libraries():
    """Compiled evaluations that this processor can run."""
    folder = Path(chgnet_kernel.__file__).parent / "kernels"
    levels = chgnet_kernel.LEVELS.get(torch.backends.cpu.get_cpu_capability(), ("default",))
    return [f for level in levels for f in sorted(folder.glob(f"_chgnet_{level}.*"))]


@pytest.mark.skipif(not libraries(), reason="no compiler was at hand when the package was installed")
class TestCompiled:
    """The compiled engine beside torch, on crystals with and without symmetry."""

    @pytest.mark.parametrize("library", libraries(), ids=lambda f: f.name.split(".")[0])
    @pytest.mark.parametrize("merge", [True, False])
    def test_equal_to_torch_in_double_precision(self, monkeypatch, library, merge):
        monkeypatch.setattr(chgnet_kernel, "library", lambda: library)
        batch = Crystals.join([BATCH, OXIDE.repeated(2, 2, 3), SALT.repeated(2, 1, 1), PEROVSKITE])
        ours = CHGNetOracle(dtype=torch.float64, device="cpu", engine="compiled", merge=merge).label(batch)
        theirs = CHGNetOracle(dtype=torch.float64, device="cpu", engine="torch").label(batch)
        for field in FIELDS:
            torch.testing.assert_close(getattr(ours, field), getattr(theirs, field), rtol=1e-10, atol=1e-9)

    @pytest.mark.parametrize("library", libraries(), ids=lambda f: f.name.split(".")[0])
    def test_near_torch_in_single_precision(self, monkeypatch, library, exact):
        monkeypatch.setattr(chgnet_kernel, "library", lambda: library)
        ours, theirs = CHGNetOracle(device="cpu", engine="compiled").label(BATCH), exact.label(BATCH)
        torch.testing.assert_close(ours.energy / BATCH.counts, theirs.energy / BATCH.counts, rtol=0, atol=1e-5)
        torch.testing.assert_close(ours.forces, theirs.forces, rtol=0, atol=2e-4)

    def test_equal_to_the_bit_in_any_batch_and_on_any_number_of_threads(self, oracle):
        alone = [oracle.label(one) for one in BATCH]
        for count in (1, 2, 3):
            with chgnet.threads(count):
                for order in ((0, 1, 2, 3, 4, 5), (5, 3, 1, 0, 2, 4)):
                    together = oracle.label(Crystals.join([BATCH[i] for i in order]))
                    for field in FIELDS:
                        assert torch.equal(getattr(together, field), torch.cat([getattr(alone[i], field) for i in order]))

    def test_what_is_equal_by_symmetry_is_evaluated_once(self, exact):
        rows = lambda crystals: exact.kernel(crystals, 1)[5][0].tolist()
        atoms, angles = rows(PEROVSKITE)
        eight_atoms, eight_angles = rows(PEROVSKITE.repeated(2, 2, 2))
        assert (eight_atoms, eight_angles) == (atoms, angles)  # a supercell costs what its cell does
        plain = CHGNetOracle(dtype=torch.float64, device="cpu", merge=False).kernel(PEROVSKITE, 1)[5][0].tolist()
        assert atoms < plain[0] / 5 and angles < plain[1] / 5
        bent = OXIDE.put(frac=OXIDE.frac + torch.tensor([[0.01, 0.02, 0.03], [0.0, 0.013, 0], [0, 0, 0], [0.02, 0, 0.01], [0, 0, 0.017]], dtype=torch.float64))
        assert rows(bent)[1] == CHGNetOracle(dtype=torch.float64, device="cpu", merge=False).kernel(bent, 1)[5][0, 1]

    def test_a_nearly_symmetric_crystal_moves_smoothly_into_the_symmetric_one(self, oracle):
        """Merging within single precision must not show as a step in energy or forces."""
        push = torch.tensor([[0.0, 0, 0]] + [[1.0, 2, -1]] + [[0.0, 0, 0]] * 3, dtype=torch.float64)
        labels = [oracle.label(PEROVSKITE.put(frac=PEROVSKITE.frac + t * push)) for t in (0.0, 2e-8, 1e-7, 3e-7, 1e-6)]
        for one in labels[1:]:
            assert abs(float(one.energy - labels[0].energy)) < 5e-5
            torch.testing.assert_close(one.forces, labels[0].forces, rtol=0, atol=5e-4)

    def test_without_the_library_torch_does_it(self, monkeypatch, exact):
        monkeypatch.setattr(chgnet_kernel, "library", lambda: None)
        plain = CHGNetOracle(dtype=torch.float64, device="cpu")
        assert plain.kernel is None
        torch.testing.assert_close(plain.label(OXIDE).energy, exact.label(OXIDE).energy, rtol=1e-10, atol=0)
        with pytest.raises(BadInput, match="no compiled engine was built"):
            CHGNetOracle(device="cpu", engine="compiled")

    def test_unknown_engines_are_named(self):
        with pytest.raises(Missing, match="did you mean compiled"):
            CHGNetOracle(engine="compild")

    def test_a_crystal_that_cannot_be_evaluated_is_named_and_the_rest_of_the_batch_is_not_at_fault(self, oracle):
        for bad, text in ((OXIDE.put(frac=OXIDE.frac * float("nan")), "not finite"), (OXIDE.put(frac=OXIDE.frac * 0), "apart"),
                          (COPPER.put(cell=COPPER.cell * torch.tensor([1.0, 1.0, 1e-6])), "images")):
            with pytest.raises(BadInput, match=f"crystal 1: .*{text}"):
                oracle.label(Crystals.join([SALT, bad, COPPER]))


@pytest.mark.slow
@pytest.mark.data
def test_equal_to_the_package_on_500_structures_of_1_to_100_atoms(oracle, data_dir):
    """Published and disturbed crystals of the Materials Project and supercells of them."""
    crystals = parity_crystals(500, data_dir=data_dir)
    assert int(crystals.counts.min()) == 1 and int(crystals.counts.max()) == 100
    assert_equal_to_package("0.3.0", crystals, [to_structure(c) for c in crystals], oracle)


def test_single_precision_is_near_double_precision(oracle, exact):
    one, two = oracle.label(BATCH), exact.label(BATCH)
    assert one.energy.dtype == one.forces.dtype == torch.float64
    torch.testing.assert_close(one.energy / BATCH.counts, two.energy / BATCH.counts, rtol=0, atol=1e-5)
    torch.testing.assert_close(one.forces, two.forces, rtol=0, atol=2e-4)


def test_energy_follows_the_crystal_not_its_description(exact):
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))).Q
    plain = exact.label(OXIDE)
    turned = exact.label(OXIDE.rotated(turn))
    torch.testing.assert_close(turned.energy, plain.energy, rtol=1e-10, atol=0)
    torch.testing.assert_close(turned.forces, plain.forces @ turn.T, rtol=0, atol=1e-8)
    torch.testing.assert_close(turned.stress[0], turn @ plain.stress[0] @ turn.T, rtol=0, atol=1e-9)
    for same, times in ((OXIDE.shifted(torch.tensor([0.3, -1.2, 5.0])), 1), (OXIDE.recelled(torch.tensor([[1, 1, 0], [0, 1, -2], [0, 0, 1]])), 1),
                        (OXIDE.shuffled(torch.tensor([4, 2, 0, 1, 3])), 1), (OXIDE.repeated(2, 1, 1), 2)):
        torch.testing.assert_close(exact.label(same).energy, times * plain.energy, rtol=1e-9, atol=0)


def test_there_is_no_net_force(exact):
    labels = exact.label(BATCH)
    total = torch.zeros(len(BATCH), 3, dtype=torch.float64).index_add(0, BATCH.owner, labels.forces)
    assert float(total.abs().max()) < 1e-10


def test_an_isolated_atom_has_an_energy_and_no_forces(oracle):
    labels = oracle.label(ISOLATED)
    assert bool(labels.energy.isfinite().all()) and not bool(labels.forces.any()) and not bool(labels.stress.any())
    far = Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5]], [11, 11], np.eye(3) * 30)
    assert float(oracle.label(far).energy) == pytest.approx(2 * float(labels.energy), abs=1e-5)


@pytest.mark.parametrize(("z", "text"), [(0, "undecided element"), (84, "the element Po"), (88, "the element Ra"), (95, "the element Am")])
def test_unknown_elements_are_refused_by_name(oracle, z, text):
    bad = Crystals.join([SALT, SALT.put(species=torch.tensor([11, z]))])
    with pytest.raises(BadInput, match=f"crystal 1, atom 1: an atom is of (an )?{text}"):
        oracle.label(bad)


def test_a_crushed_crystal_is_refused_by_name_before_it_fills_the_memory(oracle, monkeypatch):
    monkeypatch.setattr(chgnet, "BLOCK", 2)
    crushed = Crystals.of(np.random.default_rng(0).random((6, 3)), [1] * 6, np.eye(3) * 1.2)
    with pytest.raises(BadInput, match=r"crystal 2: an atom has \d+ neighbours .* crushed"):
        oracle.label(Crystals.join([COPPER, SALT, crushed]))


def test_coincident_atoms_are_refused_by_name(oracle):
    with pytest.raises(BadInput, match="crystal 1: two atoms are 0.0e\\+00 Å apart"):
        oracle.label(Crystals.join([SALT, SALT.put(frac=torch.zeros(2, 3, dtype=torch.float64))]))


def test_the_elements_of_its_training_set_are_known(oracle):
    assert len(SUPPORTED) == 89
    one = torch.tensor(SUPPORTED)
    many = Crystals.of(torch.zeros(89, 3), one, np.tile(np.eye(3) * 3, (89, 1, 1)), [1] * 89)
    assert bool(oracle.label(many).energy.isfinite().all())


def test_it_is_an_oracle_that_leaves_its_input_alone(oracle):
    before = [SALT.frac.clone(), SALT.cell.clone()]
    labels = oracle.label(SALT)
    assert isinstance(oracle, Oracle) and (oracle.name, oracle.energy_scheme) == ("chgnet", "mp2020")
    assert torch.equal(SALT.frac, before[0]) and torch.equal(SALT.cell, before[1])
    assert not any(x.requires_grad for x in labels if x is not None)
    empty = oracle.label(SALT[:0])
    assert [tuple(x.shape) for x in (empty.energy, empty.forces, empty.stress, empty.magmoms)] == [(0,), (0, 3), (0, 3, 3), (0,)]


def test_altered_weights_are_refused(monkeypatch):
    name, _, scheme = chgnet.WEIGHTS["0.3.0"]
    monkeypatch.setitem(chgnet.WEIGHTS, "0.3.0", (name, "0" * 64, scheme))
    with pytest.raises(BadInput, match="sha256 is d14ab7c0"):
        read_weights("0.3.0")
    with pytest.raises(Missing, match="version of CHGNet"):
        read_weights("0.9")
