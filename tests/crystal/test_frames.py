"""Frames of shortest lattice vectors."""

import pytest
import torch

from matterloop.bench import examples as ex
from matterloop.crystal.frames import copy_edges, frames, united
from matterloop.crystal.graph import Nearest
from matterloop.crystal.translations import translations


def found(cell, periodic=(True, True, True)):
    return frames(torch.tensor(cell, dtype=torch.float64)[None], torch.tensor([periodic]))


def test_a_cell_without_symmetry_has_one_right_handed_frame_of_rising_lengths():
    f = found([[5.1, 0.0, 0.0], [0.7, 5.5, 0.0], [-0.4, 0.9, 6.2]])
    assert f.place.tolist() == [0, 1, 2] and f.weight.tolist() == [1, 1, 1]
    assert f.vector.norm(dim=1).tolist() == pytest.approx([5.1, (0.49 + 30.25) ** 0.5, (0.16 + 0.81 + 38.44) ** 0.5])
    e = f.vector
    assert float(e[0] @ e[1]) >= 0 and float(e[0] @ e[2]) >= 0 and float(torch.linalg.det(e)) > 0


def test_a_cube_has_24_frames_that_share_six_vectors_evenly():
    f = found([[3.0, 0, 0], [0, 3.0, 0], [0, 0, 3.0]])
    assert torch.bincount(f.place).tolist() == [6, 6, 6]
    assert torch.allclose(f.weight, torch.full((18,), 1 / 6, dtype=torch.float64))


def test_a_hexagonal_cell_keeps_its_axis_last():
    f = found([[3.0, 0, 0], [1.5, 3 * 0.75**0.5, 0], [0, 0, 5.0]])
    assert torch.bincount(f.place).tolist() == [6, 6, 2]
    assert torch.allclose(f.vector[f.place == 2].abs(), torch.tensor([[0, 0, 5.0], [0, 0, 5.0]], dtype=torch.float64))


def test_a_slab_has_two_vectors_and_a_molecule_none():
    assert found([[4.1, 0, 0], [0.3, 4.1, 0], [0, 0, 16.0]], (True, True, False)).place.unique().tolist() == [0, 1]
    assert len(found([[10.0, 0, 0], [0, 10.0, 0], [0, 0, 10.0]], (False,) * 3).place) == 0


@pytest.mark.parametrize("name", list(ex.PERIODIC))
def test_the_same_frames_whatever_the_cell(name):
    """Lengths and shares of every place; a supercell has those of its cell."""
    crystal = ex.PERIODIC[name]()
    key = lambda c: sorted(torch.stack([(f := frames(translations(c).cell, c.periodic)).place, (1e4 * f.vector.norm(dim=1)).round(), (1e6 * f.weight).round()], 1).tolist())
    here = key(crystal)
    for other in (crystal.recelled(torch.tensor(ex.SKEW)), crystal.repeated(2, 1, 2), crystal.rotated(ex.rotation())):
        assert key(other) == here


def test_copies_in_a_supercell_are_other_atoms_and_vectors_stay():
    crystal = ex.low_symmetry()
    vector = crystal.cell[0, :1]
    alone, _ = copy_edges(crystal, translations(crystal), torch.tensor([0]), vector)
    assert torch.equal(alone.senders, alone.receivers)
    big = crystal.repeated(2, 1, 1)
    twice, row = copy_edges(big, translations(big), torch.tensor([0]), vector)
    assert len(twice) == 10 and bool((twice.senders != twice.receivers).all()) and row.tolist() == [0] * 10
    torch.testing.assert_close(twice.vectors(big), vector.expand(10, 3), atol=1e-9, rtol=0)


def test_a_union_has_every_edge_once_and_its_opposite():
    crystal = ex.low_symmetry()
    near = Nearest(6)(crystal)
    copies, _ = copy_edges(crystal, translations(crystal), torch.tensor([0]), crystal.cell[0, :1])
    graph, (first, second) = united(near, copies)
    rows = {(i, j, *s) for i, j, s in zip(graph.receivers.tolist(), graph.senders.tolist(), graph.shift.tolist())}
    assert len(rows) == len(graph) and all((j, i, -a, -b, -c) in rows for i, j, a, b, c in rows)
    assert torch.equal(graph.shift[first], near.shift) and torch.equal(graph.senders[second], copies.senders)
    assert bool((graph.receivers.diff() >= 0).all())
