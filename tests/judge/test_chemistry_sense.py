"""Chemical sense: SMACT's answers, CDVAE's distances and the self-images it leaves out."""

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from smact.screening import ICSD24FilterConfig, smact_validity

from matterloop.base.elements import symbol
from matterloop.base.errors import BadInput
from matterloop.crystal.composition import parse_formula, reduced
from matterloop.crystal.formats import to_pymatgen
from matterloop.crystal.state import Crystals
from matterloop.judge.chemistry_sense import ChemistrySense, charge_balanced, shortest_distances


def by_smact(composition):
    text = "".join(f"{symbol(z)}{n}" for z, n in composition)
    return bool(smact_validity(text, use_pauling_test=True, include_alloys=True, icsd_filter=ICSD24FilterConfig(consensus=1, commonality="low")))


@pytest.mark.parametrize("text, wanted", [
    ("NaCl", True), ("Fe3O4", True), ("SrTiO3", True), ("LiFePO4", True), ("Si", True), ("Ni3Al", True), ("NaCl2", False), ("Na3Cl", False),
    ("CsPbI3", True), ("KO", True), ("HeO", False), ("NeF2", False), ("LiF7", False), ("MgAl2O4", True), ("NaO4", False)])
def test_known_formulas(text, wanted):
    composition = reduced(parse_formula(text))
    assert charge_balanced(composition) is wanted
    assert by_smact(composition) is wanted


@settings(max_examples=300)
@given(st.dictionaries(st.integers(1, 103), st.integers(1, 8), min_size=1, max_size=4))
def test_any_composition_is_answered_as_by_smact(counts):
    composition = reduced(counts)
    assert charge_balanced(composition) == by_smact(composition)


@pytest.mark.data
def test_formulas_of_the_materials_project_are_answered_as_by_smact(data_dir):
    import pandas

    texts = pandas.read_csv(data_dir / "mp20_pilot_3x1000" / "train.csv.gz", usecols=["pretty_formula"]).pretty_formula
    compositions = [reduced(parse_formula(t)) for t in texts]
    assert [charge_balanced(c) for c in compositions] == [by_smact(c) for c in compositions]
    assert 0.7 < np.mean([charge_balanced(c) for c in compositions]) < 0.99


def test_many_elements_with_many_states_do_not_blow_up():
    """Twelve elements of 6 to 12 states each are 10^10 combinations; large counts make every sum different."""
    composition = reduced(dict(zip((44, 15, 7, 33, 51, 52, 34, 16, 32, 26, 50, 14), (101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157), strict=True)))
    begun = time.process_time()
    charge_balanced.__wrapped__(composition)
    assert time.process_time() - begun < 5


def least_by_pymatgen(structure):
    """Off-diagonal distances as CDVAE takes them, and the shortest lattice vector among 5^3 for the images it leaves out."""
    table = structure.distance_matrix
    pairs = table[~np.eye(len(structure), dtype=bool)]
    steps = np.array([(i, j, k) for i in range(-2, 3) for j in range(-2, 3) for k in range(-2, 3) if (i, j, k) != (0, 0, 0)])
    own = np.linalg.norm(steps @ structure.lattice.matrix, axis=1).min()
    return min(pairs.min(initial=np.inf), own)


def test_shortest_distances_are_those_of_pymatgen_with_images():
    rng = np.random.default_rng(0)
    parts = []
    for n in (1, 2, 3, 5, 8):
        for size in (0.45, 1.5, 6.0, 9.0):
            cell = np.eye(3) * size + rng.normal(0, 0.1 * size, (3, 3))
            parts.append(Crystals.of(rng.random((n, 3)), [6] * n, cell if np.linalg.det(cell) > 0 else -cell))
    batch = Crystals.join(parts)
    wanted = [least_by_pymatgen(s) for s in to_pymatgen(batch)]
    assert torch.allclose(shortest_distances(batch), torch.tensor(wanted), atol=1e-9)


@pytest.mark.parametrize("distance, fine", [(0.499, False), (0.501, True)])
def test_half_an_angstrom_divides_pairs_and_self_images_alike(distance, fine):
    pair = Crystals.of([[0, 0, 0], [distance / 6, 0, 0]], [11, 17], 6 * np.eye(3))
    image = Crystals.of([[0, 0, 0]], [11], np.diag([distance, 9.0, 9.0]))
    for one in (pair, image):
        room, apart, _ = ChemistrySense().judge(one)[0]
        assert (apart.passed, room.passed) == (fine, True)
        assert apart.value == pytest.approx(distance, abs=1e-9)


def test_a_crystal_with_far_neighbours_gets_its_distance_and_a_needle_none():
    far = Crystals.of([[0, 0, 0]], [55], 7.3 * np.eye(3))
    lonely = Crystals.of([[0, 0, 0]], [55], 30 * np.eye(3))
    needle = Crystals.of([[0, 0, 0]], [55], np.diag([1e-3, 1e-3, 1e8]))
    found = shortest_distances(Crystals.join([far, lonely, needle])).tolist()
    assert found[0] == pytest.approx(7.3) and found[1] == float("inf") and found[2] != found[2]
    room, apart, _ = ChemistrySense().judge(needle)[0]
    assert not apart.passed and "flat" in apart.note


def test_volume_limits_and_molecules():
    sense = ChemistrySense(volume=(5.0, 50.0))
    for side, fine in ((1.5, False), (2.5, True), (4.0, False)):
        assert sense.judge(Crystals.of([[0, 0, 0]], [26], side * np.eye(3)))[0][0].passed is fine
    molecule = Crystals.of([[0, 0, 0], [0, 0, 0.09]], [1, 17], 14 * np.eye(3), periodic=[[False] * 3])
    room, apart, charge = sense.judge(molecule)[0]
    assert room.passed and apart.value == pytest.approx(1.26) and charge.passed


def test_the_answer_does_not_depend_on_the_batch_nor_on_the_telling():
    salt = Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17], [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]])
    told = Crystals.join([salt, salt.repeated(2, 1, 1).shifted(torch.tensor([[0.3, 0.2, 0.9]])), salt.recelled(torch.tensor([[1, 1, 0], [0, 1, 0], [0, 1, 1]]))])
    values = [[r.value for r in reasons] for reasons in ChemistrySense().judge(told)]
    assert np.allclose(values, values[0]) and values[0][1] == pytest.approx(2.8)
    assert ChemistrySense().judge(told[1])[0] == ChemistrySense().judge(told)[1]


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(BadInput, match="positive"):
        ChemistrySense(closest=0)
    with pytest.raises(BadInput, match="ascending"):
        ChemistrySense(volume=(3.0, 2.0))
