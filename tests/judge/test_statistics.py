import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from matterloop.base.errors import BadInput
from matterloop.bench import examples
from matterloop.crystal.state import Crystals
from matterloop.judge.statistics import Symmetries, chi_square, composition_diversity, fingerprint_diversity, jensen_shannon, symmetry_statistics, vendi_score
from matterloop.represent.wyckoff_gene import Gene

SALT, OXIDE, LOW = examples.rock_salt(), examples.rock_salt((12, 8), side=4.2), examples.low_symmetry()
SET = Crystals.join([SALT, OXIDE, LOW, examples.one_atom()])


def test_distances_of_histograms_by_hand_and_by_scipy():
    a, b = {225: 3, 1: 1}, {225: 1, 62: 3}
    assert chi_square(a, b) == pytest.approx(0.5**2 / 1.0 + 0.25 + 0.75)
    assert jensen_shannon(a, b) == pytest.approx(jensenshannon([0.75, 0.25, 0], [0.25, 0, 0.75], base=2) ** 2)
    assert chi_square(a, {k: 10 * n for k, n in a.items()}) == 0 == jensen_shannon(a, a)
    assert chi_square({1: 1}, {2: 1}) == 2 and jensen_shannon({1: 1}, {2: 1}) == 1
    assert np.isnan(jensen_shannon({}, {1: 1}))


def test_symmetries_of_a_small_set():
    found = Symmetries.of(SET)
    assert found.groups == [225, 225, 1, 221] and found.p1() == 1
    assert found.templates()["225:A_a.B_b"] == 2 and len(found.templates()) == 3
    wyckoff = found.wyckoff()
    assert wyckoff["positions"] == pytest.approx((2 + 2 + 5 + 1) / 4) and wyckoff["free_parameters"] == pytest.approx(15 / 4)
    assert wyckoff["free_atoms"] == pytest.approx(1 / 4) and wyckoff["rigid"] == pytest.approx(3 / 4)


def test_p1_is_counted_with_the_tolerance_of_the_literature():
    rattled = SALT.put(frac=SALT.frac + np.random.default_rng(0).normal(size=(8, 3)) * 0.002)
    assert Symmetries.of(rattled).groups == [225] and Symmetries.of(rattled, 0.001).groups == [1]


def test_a_template_is_novel_once():
    found = symmetry_statistics(Symmetries.of(Crystals.join([LOW, LOW, SALT])), Symmetries.of(OXIDE))
    assert found["templates"] == 2 and found["novel_templates"] == 1
    assert symmetry_statistics(Symmetries.of(LOW), Symmetries.of(OXIDE), Symmetries.of(LOW).templates())["novel_templates"] == 0
    assert 0 < found["space_group_jsd"] <= 1 and found["reference_p1_share"] == 0


def test_a_crystal_without_a_space_group_is_told():
    found = symmetry_statistics(Symmetries((None, Gene.parse("225:Na_a.Cl_b"))))
    assert found["without_space_group"] == 1 and found["space_groups"] == 1 and found["p1"] == 0


def test_effective_numbers_of_different_crystals():
    far = 100 * (1 - np.eye(4))
    assert vendi_score(np.zeros((5, 5))) == pytest.approx(1) and vendi_score(far) == pytest.approx(4)
    pair = far.copy()
    pair[0, 1] = pair[1, 0] = 0
    assert vendi_score(pair) == pytest.approx(np.exp(-(0.5 * np.log(0.5) + 2 * 0.25 * np.log(0.25))))
    with pytest.raises(BadInput, match="square"):
        vendi_score(np.zeros((2, 3)))


def test_fingerprints_are_measured_in_their_cut_offs_and_missing_ones_left_out():
    one, two = np.array([[0.0], [0.3], [np.nan]]), np.array([[0.0], [4.0], [0.0]])
    found = fingerprint_diversity([(one, 0.3), (two, 4.0)])
    assert found["of"] == 2 and found["vendi"] == pytest.approx(vendi_score(np.array([[0, 2**0.5], [2**0.5, 0]])))


def test_composition_diversity_by_hand():
    """NaCl twice and Si: shares Na 1/3, Cl 1/3, Si 1/3."""
    silicon = examples.one_atom((14,))
    found = composition_diversity(Crystals.join([SALT, examples.skewed(), silicon]))
    assert found["systems"] == found["formulas"] == 2 and found["element_hhi"] == pytest.approx(1 / 3)
    assert found["elements"] == pytest.approx({"Na": 1 / 3, "Si": 1 / 3, "Cl": 1 / 3})
