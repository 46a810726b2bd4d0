"""What Wren sees of crystals: their orbits in all equivalent settings."""

import numpy as np
import pytest
import torch

from matterloop.base.errors import BadInput
from matterloop.bench import examples as ex
from matterloop.crystal.space_groups import LETTERS
from matterloop.crystal.state import Crystals
from matterloop.learn.data import Samples
from matterloop.learn.targets import Predictor, Target
from matterloop.predict.wren import CARD, Orbits, Wren
from matterloop.represent.gene_vocabulary import equivalents, relabelled, vocabulary


def test_rock_salt_has_two_orbits_in_two_settings():
    graph = Orbits()(ex.rock_salt())
    assert [vocabulary().letter[p] for p in graph.edge["place"].tolist()] == [0, 1, 0, 1]
    assert sorted(graph.receivers.tolist()) == [0, 0, 4, 4] and graph.edge["setting"].tolist() == [0, 0, 1, 1] and graph.edge["share"].tolist() == [0.5] * 4


def test_shares_count_atoms():
    perovskite = Crystals.of([[0.0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]], [22, 38, 8, 8, 8], 3.9 * torch.eye(3))
    graph = Orbits()(perovskite)
    told = [(LETTERS[vocabulary().letter[p]], a, round(s, 9)) for p, a, s in zip(graph.edge["place"].tolist(), graph.receivers.tolist(), graph.edge["share"].tolist(), strict=True)]
    assert told in ([("a", 0, 0.2), ("b", 1, 0.2), ("c", 2, 0.6), ("a", 1, 0.2), ("b", 0, 0.2), ("d", 2, 0.6)], [("a", 1, 0.2), ("b", 0, 0.2), ("d", 2, 0.6), ("a", 0, 0.2), ("b", 1, 0.2), ("c", 2, 0.6)])


def test_orbits_alike_are_one_row():
    """Without symmetry every atom is an orbit of its own: two of sodium, three of chlorine."""
    edge = Orbits()(ex.low_symmetry()).edge
    assert edge["count"].tolist() == [2, 3] and edge["share"].tolist() == [0.2, 0.2]


@pytest.mark.parametrize("group, letters, elements", [(225, "ab", (11, 17)), (216, "abc", (50, 40, 28)), (2, "abi", (11, 17, 8)), (62, "aacc", (8, 8, 26, 8)), (47, "aeq", (3, 8, 9))])
def test_settings_do_not_depend_on_the_one_they_are_written_in(group, letters, elements):
    letter, z = np.array([LETTERS.index(x) for x in letters]), np.array(elements)
    told = lambda ways: sorted(tuple(sorted(zip(way.tolist(), z.tolist(), strict=True))) for way in ways)
    wanted = told(equivalents(group, letter, z, 48))
    assert len(set(wanted)) == len(wanted) <= 48
    for row in relabelled(group)[::7]:
        other = vocabulary().letter[row[letter]]
        assert told(equivalents(group, other, z, 48)) == wanted


def test_left_and_right_quartz_are_one():
    right = Crystals.of(
        [[0.47, 0, 1 / 3], [0, 0.47, 2 / 3], [0.53, 0.53, 0], [0.41, 0.27, 0.4523], [0.73, 0.14, 0.7857], [0.86, 0.59, 0.119], [0.59, 0.86, 0.881], [0.27, 0.41, 0.5477], [0.14, 0.73, 0.2143]],
        [14] * 3 + [8] * 6, [[4.91, 0, 0], [-2.455, 4.252185, 0], [0, 0, 5.4]])
    model = Predictor(Wren(**CARD.small, symprec=0.05), [Target("y")]).to(torch.float64).eval()
    left = right.rotated(-torch.eye(3))
    assert torch.allclose(model(left)["y"], model(right)["y"], rtol=1e-10)
    groups = {int(vocabulary().group[p]) for c in (left, right) for p in Orbits(0.05)(c).edge["place"].tolist()}
    assert groups == {152}


def test_samples_cut_with_their_orbits_answer_alike():
    model = Predictor(Wren(**CARD.small), [Target("y")]).to(torch.float64).eval()
    crystals = ex.periodic()
    batch = Samples.of(crystals, model.encoder.graph).batch([4, 0, 5])
    assert torch.allclose(model(batch.crystals, batch.graph)["y"], model(crystals)["y"][[4, 0, 5]], rtol=1e-10)


def test_a_molecule_is_refused_by_its_place():
    with pytest.raises(BadInput) as error:
        Orbits()(Crystals.join([ex.rock_salt(), ex.molecule()]))
    assert "crystal 1" in str(error.value)
