"""Random structures: Wyckoff combinations counted by hand, exact sampling, the overlap's gradient, bounded time."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from matterloop.archive.records import Ask
from matterloop.base.errors import BadInput
from matterloop.base.seeds import numpy_stream
from matterloop.crystal.composition import reduced
from matterloop.crystal.space_groups import lattice_points
from matterloop.crystal.wyckoff import positions
from matterloop.generate import random_search
from matterloop.generate.random_search import BRAVAIS, Placement, RandomSearch, bravais, filling, place, random_cell


def combinations(space_group, counts):
    """All combinations by plain enumeration: {sorted (letter, element) tuple: weight}."""
    share = lattice_points(space_group)
    found = {}

    def extend(at, rest, chosen, weight):
        if not any(rest):
            found[tuple(sorted(chosen))] = weight
            return
        if at == len(slots):
            return
        p, e = slots[at]
        size = p.multiplicity // share
        extend(at + 1, rest, chosen, weight)
        most = 1 if p.once else rest[e] // size
        if p.once and any(letter == p.letter for letter, _ in chosen):
            return
        for n in range(1, most + 1):
            if rest[e] >= n * size:
                left = [r - n * size * (k == e) for k, r in enumerate(rest)]
                extend(at + 1, left, chosen + [(p.letter, e)] * n, weight * math.exp(-random_search.SITE_COST * p.dof * n))

    slots = [(p, e) for p in positions(space_group) for e in range(len(counts))]
    extend(0, list(counts), [], 1.0)
    return found


@pytest.mark.parametrize(("group", "counts"), [(225, (1, 1)), (225, (1, 2)), (221, (1, 1, 3)), (62, (4, 4)), (166, (2, 3)), (1, (2, 1)), (14, (2, 4)), (136, (2, 4))])
def test_the_weights_add_up_to_those_of_plain_enumeration(group, counts):
    assert filling(group, counts).total == pytest.approx(sum(combinations(group, counts).values()), rel=1e-12)


def test_rock_salt_has_two_ways_in_225():
    assert sorted(combinations(225, (1, 1))) == [(("a", 0), ("b", 1)), (("a", 1), ("b", 0))]
    assert filling(225, (1, 1)).total == 2.0


def test_positions_without_freedom_hold_one_orbit_only():
    assert filling(225, (2,)).total == pytest.approx(2.0)  # a with b, or c alone: a cannot be used twice
    assert filling(230, (4,)).total == 0.0  # the smallest orbits hold 8 atoms of the primitive cell


def test_samples_follow_the_weights():
    expected = combinations(166, (2, 3))
    rng, fill, drawn = numpy_stream(0, "test"), filling(166, (2, 3)), Counter()
    for _ in range(3000):
        drawn[tuple(sorted((p.letter, e) for p, e in fill.sample(rng)))] += 1
    assert set(drawn) <= set(expected)
    whole = sum(expected.values())
    for key, weight in expected.items():
        share = weight / whole
        assert abs(drawn[key] - 3000 * share) < 5 * math.sqrt(3000 * share * (1 - share)) + 1, key


def test_the_gradient_of_the_overlap_is_its_derivative():
    rng = numpy_stream(1, "test")
    sites = [(p, z) for p, z in zip((positions(62)[2], positions(62)[2], positions(62)[3]), (20, 22, 8), strict=True)]
    placement = Placement(sites, random_cell(62, 150.0, rng), slack=1.3)
    values = rng.random(placement.dof)
    energy, gradient = placement.overlap(values)
    step = 1e-6
    numeric = [(placement.overlap(values + step * d)[0] - placement.overlap(values - step * d)[0]) / (2 * step) for d in np.eye(placement.dof)]
    assert energy > 0.1 and np.abs(gradient).max() > 1
    assert gradient == pytest.approx(np.array(numeric), abs=1e-5)


def test_own_images_are_seen():
    thin = np.diag([1.5, 6.0, 6.0])
    placement = Placement([(positions(47)[0], 19)], thin)  # potassium 1.5 Å from its own image
    assert placement.tightness(np.zeros(0)) < 0.5


@pytest.mark.parametrize("group", [1, 2, 5, 12, 16, 36, 70, 75, 141, 146, 160, 191, 195, 225, 230])
def test_cells_have_the_volume_and_the_shape_of_their_system(group):
    from matterloop.crystal.lattice import deviation
    from matterloop.crystal.space_groups import crystal_system
    import torch

    for k in range(20):
        cell = random_cell(group, 123.0, numpy_stream(k, "cell"))
        assert np.linalg.det(cell) == pytest.approx(123.0)
        assert float(deviation(torch.as_tensor(cell), crystal_system(group))) < 1e-9
        assert max(np.linalg.norm(cell, axis=1)) / min(np.linalg.norm(cell, axis=1)) < 15


def test_every_group_has_a_bravais_type_of_the_table():
    assert {bravais(g) for g in range(1, 231)} == set(BRAVAIS)


def test_a_hopeless_placement_gives_up():
    heavy = [(p, 55) for p in positions(221)[:4]] + [(positions(221)[4], 9)]
    assert place(221, heavy, numpy_stream(0, "x"), shapes=1) is None


def test_a_formula_without_room_is_refused():
    with pytest.raises(BadInput, match="no Wyckoff positions hold KNaSO4"):
        RandomSearch().propose(Ask(formula=reduced("KNaSO4"), atoms=(1, 28), space_groups=frozenset({219, 220, 228, 230})), 3, 0)


def test_groups_on_which_others_stall_are_done_in_bounded_work(monkeypatch):
    calls = itertools.count()
    whole = random_search.Placement.overlap

    def counted(self, values):
        next(calls)
        return whole(self, values)

    monkeypatch.setattr(random_search.Placement, "overlap", counted)
    search = RandomSearch(shapes=2, patience=4)
    search.propose(Ask(formula=reduced("MgAl2O4"), atoms=(1, 56), space_groups=frozenset({205, 218, 219, 220})), 3, 0)
    assert next(calls) < 20_000


def test_drawn_groups_are_diverse_and_mostly_kept():
    found = RandomSearch().propose(Ask(formula=reduced("TiO2"), atoms=(3, 24)), 20, 0)
    groups = {c.about["space_group"] for c in found}
    assert len(found) == 20 and len(groups) >= 8 and sum(c.about["space_group"] == 1 for c in found) <= 2
    assert sum(c.about["space_group"] == c.about["drawn_space_group"] for c in found) >= 10
    assert np.mean([c.about["volume_over_predicted"] for c in found]) < 1.2
