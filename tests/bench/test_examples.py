"""The test crystals are as awkward as they claim."""

import pytest
import torch

from matterloop.bench import examples as ex
from matterloop.crystal.graph import Nearest, Within
from matterloop.crystal.segments import segment_min
from matterloop.crystal.symmetry import analyse


def shell(crystal, low, high):
    graph = Within(high)(crystal)
    return [crystal.species[graph.senders[(graph.receivers == i) & (graph.vectors(crystal).norm(dim=-1) > low)]].tolist() for i in range(crystal.atoms)]


def test_second_shell_of_ordered_rock_salt_is_shared_and_of_plain_rock_salt_not():
    for i, found in enumerate(shell(ex.rock_salt(), 3.0, 4.1)):
        assert len(found) == 12 and set(found) == {ex.rock_salt().species.tolist()[i]}
    assert sorted(shell(ex.ordered_rock_salt(), 3.0, 4.1)[0]) == [11] * 4 + [17] * 8
    assert len(Nearest(12, 6.0)(ex.ordered_rock_salt())) == 18 * 8  # ties keep the whole shell: 6 + 12


def test_groups_and_periodicity():
    assert [s.number for s in analyse(ex.periodic(), 0.01)] == [225, 123, 1, 221, 225, 1]
    assert ex.slab().periodic.tolist() == [[True, True, False]] and ex.molecule().periodic.tolist() == [[False] * 3]
    assert bool((ex.outside_cell().frac.abs() > 1).any()) and torch.allclose(ex.outside_cell().wrapped().frac, ex.low_symmetry().wrapped().frac)
    assert float(ex.skewed().angles.min()) < 35


@pytest.mark.parametrize("crystals", [ex.every(), ex.every((3, 8)), ex.displaced(8), ex.jolted()], ids=["salt", "oxide", "displaced", "jolted"])
def test_no_two_atoms_are_too_near(crystals):
    graph = Within(4.0)(crystals)
    nearest = segment_min(graph.vectors(crystals).norm(dim=-1), graph.owner(crystals), len(crystals))
    assert 2.2 < float(nearest.min()) and float(nearest.max()) < 3.2


def test_species_are_chosen_by_argument():
    assert set(ex.every((3, 8)).species.tolist()) == {3, 8} and set(ex.displaced(2, (14, 14)).species.tolist()) == {14}


def test_displaced_crystals_all_differ_and_follow_from_the_seed():
    one, two = ex.displaced(4), ex.displaced(4, seed=1)
    assert torch.equal(one.cell, ex.displaced(4).cell) and torch.equal(one[:2].frac, ex.displaced(2).frac) and not torch.equal(one.cell, two.cell)
    assert len({tuple(v) for v in one.volume[:, None].tolist()}) == 4
