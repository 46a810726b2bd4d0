"""Claims of measure/relax.py and measure/optimizers.py, on an analytic pair potential; minima against ASE's own optimisers."""

import math

import numpy as np
import pytest
import torch

from matterloop.base.errors import BadInput, Missing, NeedsPackage
from matterloop.base.registry import find, load
from matterloop.base.units import gpa_to_stress
from matterloop.crystal.graph import Within
from matterloop.crystal.segments import segment_sum
from matterloop.crystal.state import Crystals
from matterloop.crystal.symmetry import Symmetrizer, refined
from matterloop.measure.coordinates import Frame, origins
from matterloop.measure.rejection import Rejection
from matterloop.measure.relax import relax
from matterloop.measure.stiffness import REACH, Springs
from matterloop.potential.oracle import Labels, Potential

class Morse(Potential):
    """D (1 - exp(-a (r - r0)))^2 - D between all pairs, times (1 - (r/rc)^2)^3: smooth to second order at the cutoff."""

    name, energy_scheme = "morse", "morse"
    depth, width, length, cutoff = 0.4, 1.6, 2.6, 6.0

    def energy(self, crystals):
        graph = Within(self.cutoff)(crystals)
        r = graph.vectors(crystals).norm(dim=-1)
        pair = self.depth * ((1 - torch.exp(-self.width * (r - self.length))) ** 2 - 1) * (1 - (r / self.cutoff) ** 2) ** 3
        return segment_sum(pair / 2, graph.owner(crystals), len(crystals))


def fcc(a=3.7, n=4):
    frac = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]][:n]
    return Crystals.of(frac, [29] * n, np.eye(3) * a)


def rattled(crystals, seed, amount=0.1, strain=0.04):
    rng = np.random.default_rng(seed)
    bend = rng.normal(size=(len(crystals), 3, 3)) * strain
    cell = crystals.cell @ torch.from_numpy(np.eye(3) + bend)
    inverse = torch.linalg.inv(cell)[crystals.owner]
    push = torch.from_numpy(rng.normal(size=(crystals.atoms, 3)) * amount)
    return crystals.put(cell=cell, frac=crystals.frac + torch.bmm(push[:, None], inverse)[:, 0])


def batch(count=6):
    shapes = [fcc(3.6), fcc(3.9, 1).recelled(torch.eye(3)), fcc(3.8).repeated(1, 1, 2), Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5]], [26, 26], np.eye(3) * 2.9)]
    return Crystals.join([rattled(shapes[i % 4], i) for i in range(count)])


@pytest.mark.parametrize("optimizer", ["fire", "lbfgs"])
def test_a_rattled_crystal_returns_to_fcc(optimizer):
    result = relax(rattled(fcc(), 1), Morse(), optimizer=optimizer, fmax=1e-3, smax=1e-5)
    one = result[0]
    perfect = relax(fcc(), Morse(), optimizer="lbfgs", fmax=1e-6, smax=1e-8)[0]
    assert one.converged and one.reason == "" and one.fmax <= 1e-3 and one.smax <= 1e-5
    assert one.energy == pytest.approx(perfect.energy, abs=4e-5)
    assert float(one.crystal.volume) == pytest.approx(float(perfect.crystal.volume), rel=1e-4)
    assert one.energies[-1] == one.energy and len(one.energies) == one.steps + 1


def test_end_points_agree_with_ase():
    from ase import Atoms
    from ase.calculators.calculator import Calculator, all_changes
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS

    class Wrapped(Calculator):
        implemented_properties = ["energy", "forces", "stress"]

        def calculate(self, atoms=None, properties=None, system_changes=all_changes):
            super().calculate(atoms, properties, system_changes)
            labels = Morse().label(Crystals.of(atoms.get_scaled_positions(), atoms.numbers, atoms.cell.array, periodic=atoms.pbc))
            stress = labels.stress[0].numpy()
            self.results = {
                "energy": float(labels.energy), "forces": labels.forces.numpy(),
                "stress": stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]}

    starts = batch(4)[[0, 2, 3]]
    ours = [relax(starts, Morse(), optimizer=name, fmax=1e-3, smax=1e-4) for name in ("fire", "lbfgs")]
    for i, start in enumerate(starts):
        atoms = Atoms(start.species.numpy(), scaled_positions=start.frac.numpy(), cell=start.cell[0].numpy(), pbc=True, calculator=Wrapped())
        BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=2e-3, steps=300)
        for answer in ours:
            assert answer[i].converged
            assert answer[i].energy_per_atom == pytest.approx(atoms.get_potential_energy() / len(atoms), abs=1e-4)


@pytest.mark.parametrize("pressure", [0.0, gpa_to_stress(20.0)])
@pytest.mark.parametrize("symmetric", [False, True])
def test_generalised_forces_are_minus_the_gradient_of_the_enthalpy(pressure, symmetric):
    starts = refined(saddles()) if symmetric else batch(4)
    frame = Frame(origins(starts, True, [Symmetrizer.of(c) for c in starts] if symmetric else ()))
    rng = np.random.default_rng(0)
    x = [0.3 * rng.normal(size=m.free) for m in frame.members]

    def enthalpy(x):
        crystals = frame.place(x).crystals
        return float((Morse().label(crystals).energy + pressure * crystals.volume).sum())

    at = frame.place(x)
    labels, volume = Morse().label(at.crystals), at.crystals.volume.numpy()
    forces, stress = frame.symmetric(labels.forces.numpy(), labels.stress.numpy() + pressure * np.eye(3))
    assert np.allclose(forces, labels.forces, atol=1e-9)  # a symmetric crystal has no other forces
    force = frame.force(at, forces, stress, volume)
    for _ in range(4):
        way = [rng.normal(size=len(f)) for f in force]
        shifted = lambda h, way=way: enthalpy([a + h * b for a, b in zip(x, way, strict=True)])
        assert -sum(float(f @ w) for f, w in zip(force, way, strict=True)) == pytest.approx((shifted(1e-5) - shifted(-1e-5)) / 2e-5, rel=1e-5)


def test_the_coordinates_make_the_model_hessian_round():
    one = batch(3)[2]
    origin = origins(one, True)[0]
    graph = Within(REACH, half=True)(one)
    p = Springs.shipped().hessian(one.species.numpy(), graph.receivers.numpy(), graph.senders.numpy(), graph.vectors(one).numpy(), float(one.volume))
    assert np.allclose(origin.scale.T @ p @ origin.scale, np.eye(3 * one.atoms + 6), atol=1e-9)


def test_symmetric_coordinates_are_the_free_parameters():
    free = [o.free for o in origins(refined(saddles()), True, [Symmetrizer.of(c) for c in refined(saddles())])]
    # rutile a, c, u; simple cubic a; tetragonal a, c with two atoms on fixed places; hexagonal a, c
    assert free == [3, 1, 2, 2]


def test_no_two_atoms_are_nearer_than_the_bound_says():
    frame = Frame(origins(batch(6), True))
    rng = np.random.default_rng(1)
    for size in (0.0, 0.3, 1.0):
        at = frame.place([size * rng.normal(size=m.free) for m in frame.members])
        graph = Within(8.0)(at.crystals)
        shortest = torch.full((6,), 99.0, dtype=torch.float64).scatter_reduce(0, graph.owner(at.crystals), graph.vectors(at.crystals).norm(dim=-1), "amin")
        assert bool((torch.from_numpy(frame.clear(at)) <= shortest + 1e-9).all())
        if not size:
            assert np.allclose(frame.clear(at), shortest)


def test_a_very_large_crystal_is_scaled_by_a_diagonal(monkeypatch):
    monkeypatch.setattr("matterloop.measure.coordinates.LARGEST_DENSE", 10)
    start = rattled(fcc(), 1)
    assert origins(start, True)[0].scale.ndim == 1
    one = relax(start, Morse(), fmax=1e-3, smax=1e-5)[0]
    assert one.converged and one.energy == pytest.approx(relax(fcc(), Morse(), fmax=1e-6, smax=1e-8)[0].energy, abs=4e-5)
    fixed = relax(start, Morse(), fmax=1e-3, cell=False)[0]
    assert fixed.converged and torch.allclose(fixed.crystal.cell, start.cell)


@pytest.mark.parametrize("optimizer", ["fire", "lbfgs"])
def test_result_does_not_depend_on_the_neighbours_in_the_batch(optimizer):
    crystals = batch(5)
    settings = {"optimizer": optimizer, "fmax": 0.01, "smax": 1e-3}
    together = relax(crystals, Morse(), batch_atoms=1000, **settings)
    for limit in (4, 13):
        few = relax(crystals, Morse(), batch_atoms=limit, **settings)
        assert [r.steps for r in few] == [r.steps for r in together]
        assert torch.allclose(few.energies, together.energies, atol=1e-9, rtol=0)
        assert torch.allclose(few.crystals.cell, together.crystals.cell, atol=1e-6, rtol=0)
        assert torch.allclose(few.crystals.frac, together.crystals.frac, atol=1e-6, rtol=0)
    assert together.calls == max(r.steps for r in together) + 1
    assert together.evaluations == sum(r.steps + 1 for r in together)


def test_window_respects_its_limit_and_refills_at_once():
    seen = []

    class Watching(Morse):
        def label(self, crystals, keep_graph=False):
            seen.append(crystals.counts.tolist())
            return super().label(crystals)

    crystals, order = batch(7), []
    result = relax(crystals, Watching(), batch_atoms=10, fmax=0.1, on_done=lambda i, one: order.append(i))
    assert bool(result.converged.all())
    assert all(sum(counts) <= 10 for counts in seen)
    assert sorted(order) == list(range(7))
    assert len(seen) < sum(r.steps + 1 for r in result)


def test_pressure_compresses_until_the_stress_balances_it():
    pressure = gpa_to_stress(30.0)
    free, squeezed = (relax(rattled(fcc(), 2), Morse(), pressure=p, optimizer="lbfgs", fmax=1e-3, smax=1e-5)[0] for p in (0.0, pressure))
    assert squeezed.converged and float(squeezed.crystal.volume) < 0.98 * float(free.crystal.volume)
    assert torch.allclose(squeezed.stress, -pressure * torch.eye(3, dtype=torch.float64), atol=2e-5)


def test_slab_keeps_its_vacuum_and_a_molecule_its_box():
    slab = Crystals.of([[0, 0, 0.3], [0.5, 0.5, 0.42]], [29, 29], np.diag([2.5, 2.7, 15.0]), periodic=[[True, True, False]])
    skewed = Crystals.of([[0, 0, 0.3], [0.5, 0.5, 0.42]], [29, 29], [[2.5, 0, 0], [0.2, 2.7, 0], [0.5, 0.4, 15.0]], periodic=[[True, True, False]])
    molecule = Crystals.of([[0.4, 0.5, 0.5], [0.6, 0.5, 0.52]], [29, 29], np.eye(3) * 10, periodic=[[False] * 3])
    result = relax(Crystals.join([slab, skewed, molecule]), Morse(), fmax=1e-4, smax=1e-5, optimizer="lbfgs")
    assert bool(result.converged.all())
    cells = result.crystals.cell
    assert torch.allclose(cells[0, 2], slab.cell[0, 2]) and not torch.allclose(cells[0, :2], slab.cell[0, :2], atol=1e-2)
    assert cells[1, 2, 2] == pytest.approx(15.0) and torch.allclose(cells[1, :2, 2], torch.zeros(2, dtype=torch.float64), atol=1e-12)
    assert torch.equal(cells[2], molecule.cell[0])
    bond = (result[2].crystal.cart[0] - result[2].crystal.cart[1]).norm()
    pair = Morse.depth * ((1 - math.exp(-Morse.width * (float(bond) - Morse.length))) ** 2 - 1) * (1 - (float(bond) / Morse.cutoff) ** 2) ** 3
    assert result[2].energy == pytest.approx(pair, abs=1e-12) and float(bond) == pytest.approx(2.56, abs=0.05)


def test_fixed_cell_does_not_move():
    start = rattled(fcc(), 3)
    one = relax(start, Morse(), cell=False, fmax=1e-3)[0]
    assert one.converged and torch.allclose(one.crystal.cell, start.cell) and one.smax == 0


def test_failures_are_reported_and_the_rest_goes_on():
    overlapping = Crystals.of([[0, 0, 0], [0.01, 0, 0]], [29, 29], np.eye(3) * 3)
    flat = Crystals.of([[0, 0, 0]], [29], np.diag([40.0, 40.0, 0.0006]))
    crystals = Crystals.join([fcc(), overlapping, flat, rattled(fcc(), 4)])
    result = relax(crystals, Morse())
    assert result.failed.tolist() == [False, True, True, False]
    assert result.converged.tolist() == [True, False, False, True]
    assert "closer than 0.3" in result[1].reason and "per atom" in result[2].reason
    assert math.isnan(result[1].energy) and torch.equal(result.crystals.species, crystals.species)
    alone = relax(crystals[[0, 3]], Morse())
    assert torch.allclose(alone.energies, result.energies[[0, 3]], atol=1e-12)


class Moody(Morse):
    """Refuses crystals that hold `bad` atoms, in its own way."""

    def __init__(self, how):
        super().__init__()
        self.how = how

    def label(self, crystals, keep_graph=False):
        hit = (crystals.species == 13).nonzero()[:, 0]
        if len(hit):
            if self.how == "names":
                raise BadInput("Al is not known", f"crystal {int(crystals.owner[hit[0]])}")
            if self.how == "crashes":
                raise RuntimeError("out of something")
            if self.how == "package":
                raise NeedsPackage("missing", "labels")
        labels = super().label(crystals)
        if self.how == "nan" and len(hit):
            return labels._replace(energy=labels.energy.index_fill(0, crystals.owner[hit], torch.nan))
        return labels


@pytest.mark.parametrize("how, text", [("names", "Al is not known"), ("crashes", "out of something")])
def test_an_oracle_that_refuses_one_crystal_costs_only_that_one(how, text):
    crystals = Crystals.join([rattled(fcc(), i) for i in range(7)])
    species = crystals.species.clone()
    species[[8, 21]] = 13  # crystals 2 and 5
    result = relax(crystals.put(species=species), Moody(how), optimizer="lbfgs")
    assert result.failed.tolist() == [i in (2, 5) for i in range(7)]
    assert text in result[2].reason and text in result[5].reason
    clean = relax(crystals[[0, 1, 3, 4, 6]], Morse(), optimizer="lbfgs")
    assert torch.allclose(result.energies[[0, 1, 3, 4, 6]], clean.energies, atol=1e-12)


def test_labels_that_are_not_finite_fail_their_crystal_only():
    crystals = Crystals.join([fcc(), fcc()])
    species = crystals.species.clone()
    species[5] = 13
    result = relax(crystals.put(species=species), Moody("nan"))
    assert result.failed.tolist() == [False, True] and "not finite" in result[1].reason


def test_a_missing_package_is_not_a_fault_of_the_crystal():
    al = fcc().put(species=torch.full((4,), 13))
    with pytest.raises(NeedsPackage):
        relax(al, Moody("package"))


def test_a_hole_in_the_potential_is_an_explosion():
    class Hole(Morse):
        def label(self, crystals, keep_graph=False):
            labels = super().label(crystals)
            return Labels(labels.energy - 1000 * (crystals.volume - 47.0).abs() * crystals.counts, labels.forces, labels.stress + 2.0 * torch.eye(3))

    result = relax(Crystals.join([fcc(3.6)]), Hole())
    assert result[0].failed and "hole" in result[0].reason and len(result[0].energies) >= 1


def saddles():
    """Crystals that Morse would rather break: simple cubic, CsCl stretched along c, hexagonal, and rutile-like with free coordinates; 1e-3 Å of noise."""
    u = 0.29
    rutile = Crystals.of(
        [[0, 0, 0], [0.5, 0.5, 0.5], [u, u, 0], [1 - u, 1 - u, 0], [0.5 + u, 0.5 - u, 0.5], [0.5 - u, 0.5 + u, 0.5]], [22, 22, 8, 8, 8, 8],
        np.diag([4.6, 4.6, 3.3]))
    cubic = Crystals.of([[0, 0, 0]], [29], np.eye(3) * 2.5).repeated(2, 2, 2)
    bct = Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5]], [29, 79], np.diag([2.9, 2.9, 3.2]))
    hexagonal = Crystals.of([[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]], [29, 29], [[2.6, 0, 0], [-1.3, 2.6 * 3**0.5 / 2, 0], [0, 0, 4.3]])
    return rattled(Crystals.join([rutile, cubic, bct, hexagonal]), 8, amount=1e-3, strain=3e-4)


@pytest.mark.parametrize("optimizer", ["fire", "lbfgs"])
def test_kept_symmetry_is_still_there_afterwards(optimizer):
    from matterloop.crystal.symmetry import analyse

    start = saddles()
    before = [s.number for s in analyse(start, 0.01)]
    assert before == [136, 221, 123, 194] and max(s.number for s in analyse(start, 1e-4)) <= 2
    kept = relax(start, Morse(), keep_symmetry=True, optimizer=optimizer, fmax=1e-3, smax=1e-4, batch_atoms=16)
    assert bool(kept.converged.all())
    assert [s.number for s in analyse(kept.crystals.bare(), 1e-3)] == before
    free = relax(start, Morse(), optimizer=optimizer, fmax=1e-3, smax=1e-4)
    assert [s.number for s in analyse(free.crystals.bare(), 1e-3)] != before  # the projection is what kept it
    assert bool((free.energies <= kept.energies + 1e-4).all())
    alone = [relax(start[i], Morse(), keep_symmetry=True, optimizer=optimizer, fmax=1e-3, smax=1e-4)[0].energy for i in range(4)]
    assert kept.energies.tolist() == pytest.approx(alone, abs=1e-9)


def test_symmetry_of_a_slab_cannot_be_kept_and_says_so():
    slab = Crystals.of([[0, 0, 0.3]], [29], np.diag([2.5, 2.5, 15.0]), periodic=[[True, True, False]])
    result = relax(Crystals.join([slab, fcc()]), Morse(), keep_symmetry=True)
    assert result.failed.tolist() == [True, False] and "symmetry cannot be kept" in result[0].reason


def test_steps_limit_is_said_and_state_is_kept():
    one = relax(rattled(fcc(), 5), Morse(), steps=3)[0]
    assert one.status == "steps" and one.steps == 3 and len(one.energies) == 4 and "3 steps" in one.reason
    labels = Morse().label(one.crystal)
    assert one.energy == pytest.approx(float(labels.energy), abs=1e-12) and torch.allclose(one.forces, labels.forces)
    evaluated = relax(rattled(fcc(), 5), Morse(), steps=0)[0]
    assert torch.allclose(evaluated.crystal.frac, rattled(fcc(), 5).frac) and evaluated.steps == 0


def test_stopping_returns_everything():
    polls = []

    def stop():
        polls.append(1)
        return len(polls) > 4

    crystals = Crystals.join([rattled(fcc(), i) for i in range(6)])
    result = relax(crystals, Morse(), batch_atoms=10, should_stop=stop)
    assert len(result) == 6 and {r.status for r in result} == {"stopped"}
    assert result[0].steps == 4 and math.isfinite(result[0].energy) and math.isnan(result[5].energy)
    assert torch.equal(result.crystals.species, crystals.species)


def test_trajectory_holds_every_evaluation():
    one = relax(rattled(fcc(), 6), Morse(), trajectory=True, optimizer="lbfgs")[0]
    assert len(one.frames) == len(one.energies)
    assert torch.allclose(Morse().label(one.frames).energy, torch.tensor(one.energies, dtype=torch.float64))


def test_inputs_are_untouched():
    crystals = batch(3)
    before = crystals.frac.clone(), crystals.cell.clone()
    relax(crystals, Morse(), steps=5)
    assert torch.equal(crystals.frac, before[0]) and torch.equal(crystals.cell, before[1])


def test_impossible_settings_are_refused():
    with pytest.raises(Missing, match="lbfgs"):
        relax(fcc(), Morse(), optimizer="lbfg")
    with pytest.raises(BadInput, match="fmax"):
        relax(fcc(), Morse(), fmax=0)
    slab = fcc().put(periodic=torch.tensor([[True, True, False]]))
    assert "pressure" in relax(slab, Morse(), pressure=0.01)[0].reason


def test_card_builds_the_relaxer():
    assert find("relax").card.role == "measure"
    result = load("relax:fire", steps=50)(fcc(), Morse())
    assert result[0].converged and result.energy_scheme == "morse"


def test_empty_batch_is_an_empty_answer():
    nothing = relax(fcc()[[]], Morse())
    assert len(nothing) == 0 and len(nothing.crystals) == 0


def test_lennard_jones_fcc_has_the_lattice_sum_of_the_textbook():
    # Kittel, Introduction to Solid State Physics, ch. 3: nearest distance 1.09 sigma, energy -8.610 epsilon per atom for pairs of any length
    from matterloop.potential.lennard_jones import LennardJones

    sigma, epsilon, cutoff = 2.0, 0.1, 16.0
    start = Crystals.of([[0, 0, 0]], [18], 1.15 * sigma / 2**0.5 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]))
    one = relax(rattled(start, 0, 0.0, 0.02), LennardJones(epsilon, sigma, cutoff, "shift"), smax=1e-5)[0]
    volume = float(one.crystal.volume)
    assert one.converged and (volume * 2**0.5) ** (1 / 3) / sigma == pytest.approx(1.09, abs=0.005)
    beyond = 8 * math.pi / 3 * sigma**6 / cutoff**3 / volume  # attraction of the pairs beyond the cutoff, in epsilon
    lifted = 4 * (sigma / cutoff) ** 6 * (4 / 3 * math.pi * cutoff**3 / volume) / 2  # what the shift took from the pairs within
    assert one.energy / epsilon - beyond - lifted == pytest.approx(-8.610, abs=0.02)


def test_chgnet_brings_rock_salt_back():
    oracle = load("chgnet")
    salt = Crystals.of(
        [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5], [0.5, 0.5, 0.5]], [11] * 4 + [17] * 4, np.eye(3) * 5.7)
    start = Crystals.join([salt, rattled(salt, 1, 0.08, 0.02)])
    result = relax(start, oracle)
    assert bool(result.converged.all()) and result.energy_scheme == "mp2020"
    assert float(result.energies_per_atom.diff().abs()) < 1e-3
    assert float(result[1].crystal.volume) == pytest.approx(4 * 46.0, rel=0.05)  # measured: 44.9 Å^3 per formula unit
    assert result[0].magmoms is not None and "magmom" in result.crystals.site


def hull_of(crystals, height):
    """A hull so far below where Morse would end that every crystal ends `height` eV/atom above it."""
    return relax(crystals, Morse(), fmax=0.01).energies_per_atom - torch.as_tensor(height, dtype=torch.float64)


def test_hopeless_crystals_are_given_up_and_say_why():
    crystals = batch(5)[[0, 2, 3, 4]]
    reject = Rejection(0.1, hull_of(crystals, [0.05, 0.6, 0.6, float("nan")]))
    result = relax(crystals, Morse(), fmax=0.01, reject=reject)
    assert [r.status for r in result] == ["converged", "rejected", "rejected", "converged"]  # near the hull, far from it twice, hull not known
    for r in (result[1], result[2]):
        assert r.steps >= reject.after and len(r.energies) == r.steps + 1 and math.isfinite(r.energy) and not r.failed and not r.converged
        assert "above the hull" in r.reason and "0.1 is allowed" in r.reason
    free = relax(crystals, Morse(), fmax=0.01)
    assert result.evaluations < free.evaluations and result[0].energies == free[0].energies


def test_the_expected_drop_is_about_what_is_left_to_fall():
    one = relax(rattled(fcc(), 1), Morse(), fmax=1e-3, smax=1e-5)[0]
    assert len(one.drops) == one.steps
    left = [e - one.energy for e in one.energies[:-1]]
    # the first estimate is the spring model's, the later ones know what was seen on the way
    assert 0.1 < one.drops[0] / left[0] < 10 and all(0.2 < d / e < 5 for d, e in list(zip(one.drops, left, strict=True))[3:-4])


def test_rejection_needs_a_hull_for_every_crystal_and_no_pressure():
    with pytest.raises(BadInput, match="hull energies"):
        relax(batch(2), Morse(), reject=Rejection(0.1, torch.zeros(3)))
    with pytest.raises(BadInput, match="negative"):
        relax(batch(2), Morse(), reject=Rejection(-0.1, torch.zeros(2)))
    with pytest.raises(BadInput, match="pressure"):
        relax(batch(2), Morse(), pressure=0.01, reject=Rejection(0.1, torch.zeros(2)))


def test_the_wall_time_is_shared_out():
    result = relax(batch(5), Morse(), batch_atoms=10)
    assert all(r.seconds > 0 for r in result)
    assert 0.7 * result.seconds < sum(r.seconds for r in result) <= 1.001 * result.seconds
