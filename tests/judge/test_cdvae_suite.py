import json

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from matterloop.base.errors import BadInput
from matterloop.bench import examples
from matterloop.crystal.formats import read_table, to_pymatgen
from matterloop.crystal.state import Crystals
from matterloop.judge.cdvae_suite import PERCENTILES, Features, Scaler, compare, coverage, earth_movers, nearest, shortest, success_rates, validity

SALT, OXIDE = examples.rock_salt(), examples.rock_salt((12, 8), side=4.2)
UNBALANCED = Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]], [11, 17, 17], 4.2 * np.eye(3))
CLOSE = Crystals.of([[0, 0, 0], [0.1, 0, 0]], [11, 17], 4.0 * np.eye(3))  # 0.4 Å
OWN = Crystals.of([[0, 0, 0]], [14], np.diag([0.4, 6.0, 6.0]))
UNIT = Scaler(np.zeros(132), np.ones(132))


def made(structure, composition, *, given=None, valid=True, density=1.0, elements=2, energy=0.0):
    """Features with fingerprints whose first number is given."""
    n = len(structure)
    wide = lambda x, width: np.concatenate([np.array(x, dtype=float)[:, None], np.zeros((n, width - 1))], 1)
    full = lambda x: np.broadcast_to(np.array(x, dtype=float), n).copy()
    return Features(n if given is None else given, full(2), full(2), full(50), np.broadcast_to(valid, n).copy(), wide(structure, 61), wide(composition, 132), full(density), full(elements), full(energy), {})


def test_distances_with_and_without_own_images():
    apart, own = shortest(Crystals.join([SALT, CLOSE, OWN, examples.one_atom()]))
    assert apart == pytest.approx([2.0, 0.4, 2.0, 2.0]) and own == pytest.approx([2.0, 2.0, 0.4, 2.0])


def test_the_distance_between_atoms_is_pymatgens_without_the_diagonal():
    structure = to_pymatgen(examples.low_symmetry().put(frac=examples.low_symmetry().frac * 0.3))[0]
    off = structure.distance_matrix + np.diag(np.full(len(structure), 10.0))
    assert shortest(examples.low_symmetry().put(frac=examples.low_symmetry().frac * 0.3))[0][0] == pytest.approx(off.min()) and off.min() < 2


def test_validity_counts_what_was_given():
    """Of five given, one unreadable: salt is valid, NaCl2 no composition, one too close, one near its own image only."""
    found = validity(Features.of(Crystals.join([SALT, UNBALANCED, CLOSE, OWN]), given=5))
    assert (found["structure_valid"], found["composition_valid"], found["structure_valid_with_own_images"]) == (3 / 5, 3 / 5, 2 / 5)
    assert found["valid"] - found["valid_with_own_images"] in (0, 1 / 5) and found["valid_with_own_images"] == 1 / 5
    assert found["smact"].count(".") >= 1 and found["valid_interval"][0] <= found["valid"] <= found["valid_interval"][1]


def test_a_crystal_without_fingerprint_is_not_valid():
    heavy = examples.rock_salt((98, 8))
    found = Features.of(Crystals.join([SALT, heavy]))
    assert found.described.tolist() == [True, False] and found.valid.tolist() == [True, False] and 1 in found.failed


def test_coverage_takes_its_two_minima_from_two_structures():
    """The reference at (0, 0) is near the first generated one in structure and near the second in composition: neither is near in both, yet it is covered."""
    generated, reference = made([0.1, 3.0], [50.0, 1.0]), made([0.0, 9.0], [0.0, 0.0])
    found = coverage(generated, reference, UNIT)
    assert found["cov_recall"] == 0.5
    assert found["cov_precision"] == 0.0  # of the first the composition, of the second the structure is too far
    assert found["amsd_recall"] == pytest.approx((0.1 + 6.0) / 2) and found["amcd_recall"] == pytest.approx(1.0)
    assert found["amsd_precision"] == pytest.approx((0.1 + 3.0) / 2) and found["amcd_precision"] == pytest.approx((50 + 1) / 2)


def test_precision_is_of_all_given_and_the_scaler_counts():
    generated, reference = made([0.0, 0.3], [0.0, 4.0], given=4), made([0.0], [0.0])
    assert coverage(generated, reference, UNIT)["cov_precision"] == 2 / 4
    assert coverage(generated, reference, Scaler(np.zeros(132), np.full(132, 0.1)))["cov_precision"] == 1 / 4
    assert coverage(generated, reference, UNIT, (0.2, 4.0))["cov_precision"] == 1 / 4


def test_nearest_in_blocks_is_nearest():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(25, 3)), rng.normal(size=(40, 3))
    whole = np.linalg.norm(a[:, None] - b[None], axis=2)
    for rows in (7, 1000):
        from_a, from_b = nearest(a, b, rows)
        np.testing.assert_allclose(from_a, whole.min(1))
        np.testing.assert_allclose(from_b, whole.min(0))


def test_earth_movers_distances_are_scipys_of_the_valid_ones():
    """Densities 1, 2, 3 of which 3 is not valid, against 2, 4: |1 - 2| / 2 + |2 - 4| / 2 = 1.5."""
    generated = made([0, 0, 0], [0, 0, 0], valid=np.array([True, True, False]), density=[1, 2, 3], elements=[2, 2, 3], energy=[-1.0, np.nan, -3.0])
    reference = made([0, 0], [0, 0], density=[2, 4], elements=[2, 3], energy=[-2.0, -1.0])
    found = earth_movers(generated, reference)
    assert found["emd_density"] == pytest.approx(1.5) == pytest.approx(wasserstein_distance([1, 2], [2, 4]))
    assert found["emd_elements"] == pytest.approx(0.5) and found["emd_energy"] == pytest.approx(0.5) and found["emd_sample"] == 2


def test_a_sample_of_the_valid_ones_is_drawn_by_the_seed():
    rng = np.random.default_rng(0)
    many = made(np.zeros(3000), np.zeros(3000), density=rng.normal(size=3000))
    first = earth_movers(many, many)
    assert first["emd_sample"] == 1000 and first == earth_movers(many, many) and first != earth_movers(many, many, seed=1)


def test_success_rates_by_hand():
    """Two steps of four starts; the third start's best crystal is not valid, the fourth has none."""
    values = np.array([[-3.0, -1.0, -9.0, -9.0], [-2.0, -2.7, -2.6, -9.0]])
    valid = np.array([[True, True, False, False], [True, True, True, False]])
    found = success_rates(values, valid)
    assert PERCENTILES["mp20"][0] < -3.0 < PERCENTILES["mp20"][1] < -2.7 < -2.6 < PERCENTILES["mp20"][2]
    assert (found["sr5"], found["sr10"], found["sr15"]) == (0, 0.25, 0.75) and found["starts"] == 4
    with pytest.raises(BadInput, match="steps, starts"):
        success_rates(values[0], valid[0])


def test_the_whole_suite_is_plain_and_states_its_substitutes():
    salt = Features.of(Crystals.join([SALT, OXIDE]), energies=[-3.0, -6.0])
    found = compare(salt, salt, Scaler.of(salt.composition))
    assert found["cov_recall"] == found["cov_precision"] == found["valid"] == 1 and found["emd_energy"] == 0
    assert {"energy", "scaler", "test_set"} == found["substitutes"].keys()
    json.dumps(found)


def test_energies_and_counts_must_fit():
    for wrong in ({"given": 1}, {"energies": [0.0]}):
        with pytest.raises(BadInput, match="2 crystals of"):
            Features.of(Crystals.join([SALT, OXIDE]), **wrong)


@pytest.mark.data
def test_the_shipped_test_set_is_that_of_the_data(data_dir):
    from matterloop.judge.cdvae_suite import mp20_test, mp20_test_genes

    test, scaler = mp20_test()
    some = read_table(data_dir / "mp20_biternary_val_test" / "test.csv.gz", rows=slice(0, 12)).crystals.bare()
    here = Features.of(some)
    np.testing.assert_allclose(test.structure[:12], here.structure, atol=1e-6)
    np.testing.assert_allclose(test.composition[:12], here.composition)
    np.testing.assert_allclose(test.density[:12], here.density)
    assert test.composition_valid[:12].tolist() == here.composition_valid.tolist() and len(mp20_test_genes()) == len(test) == 7103
    assert scaler.mean.shape == (132,) and (scaler.deviation > 0).all()
