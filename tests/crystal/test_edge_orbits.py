"""Orbits of edges where they can be counted by hand."""

from collections import Counter

import torch

from matterloop.bench import examples as ex
from matterloop.crystal.edge_orbits import reduced
from matterloop.crystal.graph import Within
from matterloop.crystal.state import Crystals


def shells(crystals, radius, atom=0):
    """{(length, count, colour)} of the edges of an atom."""
    graph = reduced(crystals, Within(radius)(crystals))
    mine = graph.pick(graph.receivers == atom)
    length = mine.vectors(crystals).norm(dim=-1)
    return Counter((round(r, 2), c, k) for r, c, k in zip(length.tolist(), mine.edge["count"].tolist(), mine.edge["colour"].tolist(), strict=True))


def test_rock_salt_has_one_orbit_per_shell():
    """An fcc lattice has 7 non-zero classes in L / 2L: the 6 of half face diagonals are equal, the one of edges stands alone."""
    expected = {(2.82, 6, 0): 1, (3.99, 12, 6): 1, (4.88, 8, 0): 1, (5.64, 6, 1): 1}
    assert shells(ex.rock_salt(), 6.0) == expected and shells(ex.skewed(), 6.0) == expected


def test_a_supercell_hides_operations_but_no_edges_and_no_colours():
    total = Counter()
    for (r, c, k), n in shells(ex.skewed().repeated(2, 1, 1), 6.0).items():
        total[r, k] += c * n
    assert total == {(2.82, 0): 6, (3.99, 6): 12, (4.88, 0): 8, (5.64, 1): 6}


def test_twice_a_lattice_vector_has_its_own_colour():
    assert shells(ex.one_atom(side=3.1), 6.5) == {(3.1, 6, 3): 1, (4.38, 12, 3): 1, (5.37, 8, 1): 1, (6.2, 6, 8): 1}


def test_equivalent_atoms_have_one_representative_and_all_edges_are_counted():
    crystals = Crystals.join([ex.ordered_rock_salt(), ex.low_symmetry()])
    every = Within(5.0)(crystals)
    graph = reduced(crystals, every)
    first = graph.alike
    assert first[:8].unique().numel() == 4 and torch.equal(first[8:], torch.arange(8, 13))
    degree = torch.bincount(every.receivers)
    counted = torch.zeros_like(degree).index_add(0, graph.receivers, graph.edge["count"])
    assert torch.equal(counted[first], degree)


def test_structures_without_a_space_group_keep_their_edges():
    crystals = Crystals.join([ex.slab(), ex.molecule()])
    every = Within(5.0)(crystals)
    graph = reduced(crystals, every)
    assert int(graph.edge["count"].sum()) == len(every) and set(graph.edge["count"].tolist()) == {1} and int(graph.edge["colour"].max()) == 0


def test_edges_stay_where_gradients_are_wanted():
    crystal = ex.rock_salt()
    graph = reduced(crystal.put(frac=crystal.frac.clone().requires_grad_()), Within(5.0)(crystal))
    assert torch.equal(graph.senders, Within(5.0)(crystal).senders) and torch.equal(graph.alike, torch.arange(8)) and set(graph.edge["colour"].tolist()) == {0, 6}
