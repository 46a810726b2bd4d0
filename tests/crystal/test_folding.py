"""Folding by symmetry keeps what a network of distances can see."""

import torch

from matterloop.bench import examples as ex
from matterloop.crystal.folding import folded, unfolded
from matterloop.crystal.graph import Within
from matterloop.crystal.state import Crystals


def fold(crystals, radius=4.1):
    return unfolded(crystals, folded(crystals, Within(radius)(crystals)))


def test_rock_salt_has_two_kinds_of_atoms_and_six_and_twelve_neighbours():
    graph, atoms, number = fold(ex.rock_salt())
    assert atoms.tolist() == [0, 4] and number.tolist() == [0] * 4 + [1] * 4
    found = sorted(zip(graph.receivers.tolist(), graph.senders.tolist(), graph.edge["count"].tolist(), graph.edge["length"].round(decimals=6).tolist()))
    assert found == [(0, 0, 12, 3.988082), (0, 1, 6, 2.82), (1, 0, 6, 2.82), (1, 1, 12, 3.988082)]


def test_a_crystal_without_symmetry_keeps_all_atoms_and_edges():
    crystal = ex.low_symmetry()
    graph, atoms, number = fold(crystal)
    whole = Within(4.1)(crystal)
    assert atoms.tolist() == number.tolist() == list(range(5))
    assert torch.equal(torch.sort(graph.edge["length"]).values, torch.sort(whole.vectors(crystal).norm(dim=-1)).values)


def test_a_supercell_folds_to_the_cell_and_a_moved_atom_unfolds_what_sees_it():
    cell = ex.one_atom()
    assert len(fold(cell.repeated(2, 2, 3))[1]) == 1
    big = cell.repeated(2, 2, 3)
    moved = big.put(frac=big.frac + torch.tensor([[0.01, 0.0, 0.0]] + [[0.0] * 3] * 11, dtype=torch.float64))
    assert len(fold(moved)[1]) > 1


def test_depth_decides_not_only_nearest_neighbours():
    """A chain of five equal atoms and one other at its end: the equal ones differ by their distance from it."""
    chain = Crystals.of([[0.1 * k, 0.5, 0.5] for k in range(1, 7)], [6] * 5 + [8], 20 * torch.eye(3), periodic=[False] * 3)
    assert len(fold(chain, 2.1)[1]) == 6


def test_every_crystal_of_a_batch_folds_as_alone():
    crystals = ex.every()
    graph = folded(crystals, Within(5.0)(crystals))
    sizes = torch.bincount(crystals.owner[graph.receivers], minlength=len(crystals)).tolist()
    assert sizes == [len(folded(c, Within(5.0)(c))) for c in crystals]


def test_a_batch_without_edges_folds():
    alone = Crystals.of([[0.5, 0.5, 0.5]], [3], 20 * torch.eye(3), periodic=[False] * 3)
    graph, atoms, number = fold(alone)
    assert len(graph) == 0 and atoms.tolist() == [0] and number.tolist() == [0]
