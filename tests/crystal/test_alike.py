"""Atoms and edges that stand for others: counts, lengths, and features equal to those of the whole graph."""

import pytest
import torch

from matterloop.bench import examples as ex
from matterloop.crystal.alike import Alike, nodes_of
from matterloop.crystal.graph import Nearest, Within
from matterloop.crystal.state import Crystals


def test_rock_salt_is_two_atoms_with_two_edges_each():
    salt = ex.rock_salt()
    graph = Alike(Within(4.2))(salt)
    assert graph.alike.tolist() == [0, 0, 0, 0, 4, 4, 4, 4]
    assert graph.receivers.tolist() == [0, 0, 4, 4]
    order = torch.argsort(graph.receivers * 100 + graph.edge["length"])
    assert graph.edge["count"][order].tolist() == [6, 12, 6, 12]
    torch.testing.assert_close(graph.edge["length"][order], torch.tensor([2.82, 2.82 * 2**0.5] * 2, dtype=torch.float64))
    nodes = nodes_of(graph, salt.atoms)
    assert nodes.first.tolist() == [0, 4] and nodes.copies.tolist() == [4, 4] and nodes.of_atom.tolist() == [0] * 4 + [1] * 4


def test_a_neighbour_further_on_tells_atoms_apart():
    chain = Crystals.of([[x, 0.5, 0.5] for x in (0.1, 0.3, 0.5, 0.7)], [6, 6, 6, 8], torch.diag(torch.tensor([10.0, 20, 20])), periodic=[False] * 3)
    assert Alike(Within(2.5))(chain).alike.tolist() == [0, 1, 2, 3]  # the first carbon and the third see 1 and 2 neighbours; all differ
    ring = chain.put(species=torch.tensor([6, 6, 6, 6]))
    assert Alike(Within(2.5))(ring).alike.tolist() == [0, 1, 1, 0]


def test_atoms_without_symmetry_are_left_as_they_are():
    crystal = ex.low_symmetry()
    graph, plain = Alike(Nearest(12, 8.0))(crystal), Nearest(12, 8.0)(crystal)
    assert graph.alike.tolist() == [0, 1, 2, 3, 4] and int(graph.edge["count"].sum()) == len(plain)


@pytest.mark.parametrize("builder", [Within(4.5), Nearest(12, 8.0, fewer=True)])
def test_messages_of_any_depth_are_those_of_the_whole_graph(builder):
    crystals = ex.every()
    plain, short = builder(crystals), Alike(builder)(crystals)
    assert len(short) < 0.7 * len(plain)
    nodes = nodes_of(short, crystals.atoms)
    x, y = crystals.species.double(), crystals.species[nodes.first].double()
    length = plain.vectors(crystals).norm(dim=-1)
    for _ in range(5):
        x = torch.sin(x + torch.zeros_like(x).index_add(0, plain.receivers, x[plain.senders] * torch.exp(-length)))
        y = torch.sin(y + torch.zeros_like(y).index_add(0, nodes.receivers, short.edge["count"] * y[nodes.senders] * torch.exp(-short.edge["length"])))
    torch.testing.assert_close(y[nodes.of_atom], x, rtol=1e-10, atol=1e-12)


def test_crystals_of_a_batch_are_never_mixed():
    two = Crystals.join([ex.rock_salt(), ex.rock_salt()])
    assert Alike(Within(3.0))(two).alike.tolist() == [0] * 4 + [4] * 4 + [8] * 4 + [12] * 4


def test_lengths_that_differ_by_noise_are_one_and_stand_at_their_mean():
    frac = torch.tensor([[0.0, 0, 0], [0.5 + 1e-7, 0, 0]])
    graph = Alike(Within(2.1))(Crystals.of(frac, [1, 1], torch.diag(torch.tensor([4.0, 9, 9]))))
    assert graph.alike.tolist() == [0, 0] and graph.edge["count"].tolist() == [2]
    assert float(graph.edge["length"][0]) == pytest.approx(2.0, abs=1e-9)


def test_positions_that_need_gradients_keep_all_their_edges():
    crystals = ex.rock_salt()
    crystals = crystals.put(cell=crystals.cell.clone().requires_grad_())
    graph = Alike(Within(4.2))(crystals)
    assert graph.alike is None and len(graph) == 8 * 18 and graph.edge["length"].requires_grad


@pytest.mark.parametrize("crystals", [ex.molecule()[[]], Crystals.of([[0.5] * 3, [0.1] * 3], [1, 1], 9 * torch.eye(3), periodic=[False] * 3)])
def test_nothing_to_connect_is_no_error(crystals):
    graph = Alike(Within(1.0))(crystals)
    assert len(graph) == 0 and nodes_of(graph, crystals.atoms).of_atom.tolist() == [0] * crystals.atoms
