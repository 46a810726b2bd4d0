import math

import pytest
import torch

from matterloop.base.errors import BadInput, Missing
from matterloop.bench import examples
from matterloop.crystal.state import Crystals
from matterloop.represent.structure_statistics import GROUPS, StructureStatistics, labels

SALT = Crystals.of(torch.tensor([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0], [0.5, 0.5, 0.5], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]]), [11] * 4 + [17] * 4,
                   5.64 * torch.eye(3))
DIAMOND = Crystals.of([[0.0, 0, 0], [0.25, 0.25, 0.25]], [6, 6], 3.567 / 2 * torch.tensor([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]]))


def numbers(crystals, groups=("cell", "bonds", "distances")):
    return dict(zip(labels(groups), StructureStatistics(groups)(crystals)[0].tolist(), strict=True))


def test_rock_salt_by_hand():
    """NaCl, a = 5.64 Å: radii 1.66 and 1.02 Å, nearest distance a / 2, 12 equal atoms at a / sqrt 2."""
    row = numbers(SALT)
    assert row["volume per atom"] == pytest.approx(5.64**3 / 8) and row["density"] == pytest.approx(2.163, abs=2e-3)
    assert row["packing"] == pytest.approx(4 / 3 * math.pi * 4 * (1.66**3 + 1.02**3) / 5.64**3)
    assert (row["space group"], row["operations"], row["centre of inversion"], row["cubic"], row["hexagonal"]) == (225, 48, 1, 1, 0)
    assert (row["primitive atoms"], row["orbits"]) == (2, 2)
    assert row["mean nearest distance"] == pytest.approx(2.82) and row["deviation nearest distance"] == pytest.approx(0, abs=1e-9)
    assert row["mean number of bonds"] == 6 and row["bonds between equals"] == 0
    assert row["mean length of bonds"] == pytest.approx(2.82) and row["highest length over radii of bonds"] == pytest.approx(2.82 / 2.68)
    assert row["mean difference of electronegativity of bonds"] == pytest.approx(3.16 - 0.93)


def test_shells_of_distance_hold_the_neighbours():
    """6 at 2.82, 12 at 3.99 Å: the shells from 2.5 and 3.5 Å."""
    row = numbers(SALT)
    shell = lambda low: 4 / 3 * math.pi * ((low + 0.5) ** 3 - low**3)
    assert row["neighbours from 2.5 Å"] * shell(2.5) == pytest.approx(6) and row["neighbours from 3.5 Å"] * shell(3.5) == pytest.approx(12)
    assert row["neighbours from 3 Å"] == 0 and row["neighbours from 1 Å"] == 0


def test_diamond_has_four_bonds_between_equals():
    row = numbers(DIAMOND)
    assert row["mean number of bonds"] == 4 and row["bonds between equals"] == 1 and row["space group"] == 227 and row["orbits"] == 1
    assert row["mean length of bonds"] == pytest.approx(3.567 * math.sqrt(3) / 4)


def test_atoms_without_bonds_give_zeros():
    row = numbers(Crystals.of([[0.0, 0, 0]], [18], 8.0 * torch.eye(3)))
    assert row["mean number of bonds"] == 0 and row["mean length of bonds"] == 0 and row["mean nearest distance"] == 7.0


def test_groups_are_columns_of_the_whole():
    crystals = examples.periodic()
    whole = StructureStatistics()(crystals)
    assert whole.shape == (6, len(labels())) and len(set(labels())) == len(labels())
    assert torch.equal(torch.cat([StructureStatistics((g,))(crystals) for g in GROUPS], 1), whole)


def test_what_cannot_be_described_is_named():
    with pytest.raises(BadInput, match="crystal 1"):
        StructureStatistics()(Crystals.join([SALT, examples.rock_salt((0, 17))]))
    with pytest.raises(BadInput, match="crystal 1.*three axes"):
        StructureStatistics(("cell",))(Crystals.join([SALT, examples.molecule()]))
    with pytest.raises(Missing, match="did you mean cell"):
        labels(("cel",))
    assert StructureStatistics(("cell",))(SALT[[]]).shape == (0, len(labels(("cell",))))
