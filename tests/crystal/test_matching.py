"""Same or not: equal to StructureMatcher, its groups, its distances; refusals."""

import numpy as np
import pytest
import torch
from pymatgen.core.structure_matcher import StructureMatcher

from matterloop.base.errors import BadInput
from matterloop.crystal.formats import to_pymatgen
from matterloop.crystal.matching import Tolerance, fit, groups, prepare, rms, same
from matterloop.crystal.state import Crystals

FCC = [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]]
SALT = Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17], FCC)
BLENDE = Crystals.of([[0, 0, 0], [0.25, 0.25, 0.25]], [11, 17], FCC)
CESIUM = Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17], 3.4 * np.eye(3))
KCL = Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5]], [19, 17], FCC)
RUTILE = Crystals.of(
    [[0, 0, 0], [0.5, 0.5, 0.5], [0.305, 0.305, 0], [0.695, 0.695, 0], [0.195, 0.805, 0.5], [0.805, 0.195, 0.5]], [22, 22, 8, 8, 8, 8], np.diag([4.6, 4.6, 2.96]))


def shaken(one, size, seed):
    step = torch.tensor(np.random.default_rng(seed).normal(0, size, (one.atoms, 3)))
    return one.put(frac=one.frac + step @ torch.linalg.inv(one.cell[0]))


def family():
    """Salts and rutiles: re-told, repeated, scaled, shaken from nothing to too far."""
    made = [SALT, BLENDE, CESIUM, KCL, SALT.repeated(2, 1, 1), BLENDE.repeated(1, 2, 1), SALT.put(cell=SALT.cell * 1.2), RUTILE, RUTILE.repeated(1, 1, 2)]
    made += [shaken(RUTILE, size, seed) for seed, size in enumerate((0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8))]
    made += [shaken(SALT.repeated(2, 1, 1), size, seed) for seed, size in enumerate((0.02, 0.08, 0.12, 0.2, 0.4))]
    return Crystals.join(made)


@pytest.fixture(scope="module")
def both():
    crystals = family()
    return prepare(crystals), to_pymatgen(crystals)


def test_every_pair_of_a_family_is_answered_as_by_structure_matcher(both):
    prepared, structures = both
    matcher = StructureMatcher(ltol=0.2, stol=0.3, angle_tol=5, primitive_cell=True, scale=True)
    answers = [(same(a, b), bool(matcher.fit(s, t))) for a, s in zip(*both) for b, t in zip(*both)]
    assert [x for x, _ in answers] == [y for _, y in answers]
    assert 50 < sum(x for x, _ in answers) < len(answers) - 50


def test_groups_are_those_of_structure_matcher(both):
    prepared, structures = both
    place = {id(s): i for i, s in enumerate(structures)}
    wanted = sorted(sorted(place[id(s)] for s in group) for group in StructureMatcher().group_structures(structures))
    assert sorted(map(sorted, groups(prepared))) == wanted
    assert 4 < len(wanted) < len(structures)


def test_each_group_begins_with_its_first_member_and_groups_stand_in_order_of_appearance(both):
    found = groups(both[0])
    assert [g[0] for g in found] == sorted(g[0] for g in found)
    assert all(g == sorted(g) for g in found)


def test_distances_are_those_of_structure_matcher(both):
    prepared, structures = both
    matcher = StructureMatcher()
    for i in (7, 8, 9, 10, 11, 14):
        wanted = matcher.get_rms_dist(structures[7], structures[i])
        found = rms(prepared[7], prepared[i])
        assert (found is None) == (wanted is None)
        if wanted is not None:
            assert found == pytest.approx([float(x) for x in wanted], abs=1e-9)
    assert rms(prepared[0], prepared[3]) is None  # other elements
    assert rms(prepared[0], prepared[1]) is None  # other structure


def test_the_reduced_structure_is_the_one_structure_matcher_works_on():
    given = to_pymatgen(RUTILE.repeated(1, 1, 2))[0]
    wanted = StructureMatcher()._get_reduced_structure(given)
    found = prepare(RUTILE.repeated(1, 1, 2))[0].structure
    assert np.allclose(found.lattice.matrix, wanted.lattice.matrix, atol=1e-12)
    assert np.allclose(found.frac_coords, wanted.frac_coords, atol=1e-12) and found.species == wanted.species


def test_a_tighter_tolerance_and_a_fixed_scale_are_passed_on():
    loose, large = SALT, SALT.put(cell=SALT.cell * 1.3)
    assert same(*prepare(Crystals.join([loose, large])))
    assert not same(*prepare(Crystals.join([loose, large]), Tolerance(scale=False)))
    a, b = prepare(Crystals.join([RUTILE, shaken(RUTILE, 0.2, 1)])), prepare(Crystals.join([RUTILE, shaken(RUTILE, 0.2, 1)]), Tolerance(site=0.05))
    assert same(*a) and not same(*b)


def test_preparing_reduces_nothing():
    prepared = prepare(family())
    assert all("structure" not in one.__dict__ and "given" not in one.__dict__ for one in prepared)


def test_other_compositions_are_told_apart_without_reduction():
    a, b = prepare(Crystals.join([SALT, KCL]))
    assert not same(a, b) and "structure" not in a.__dict__


def test_what_cannot_be_compared_says_why():
    molecule = Crystals.of([[0, 0, 0], [0, 0, 1.1]], [6, 8], 10 * np.eye(3), periodic=[[False] * 3])
    overlap = Crystals.of([[0, 0, 0], [0.001, 0, 0]], [11, 17], 3.4 * np.eye(3))
    needle = Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17], np.diag([0.01, 0.01, 100_000.0]))
    for bad, words in ((molecule, "does not repeat"), (overlap, "apart"), (needle, "Å")):
        with pytest.raises(BadInput, match=words):
            same(prepare(bad)[0], prepare(bad)[0])
        with pytest.raises(BadInput):
            fit(prepare(bad)[0], prepare(SALT)[0])
