"""Reciprocal vectors against a brute-force list."""

import math

import numpy as np
import pytest
import torch

from matterloop.base.errors import BadInput
from matterloop.bench import examples as ex
from matterloop.crystal.state import Crystals
from matterloop.crystal.waves import measure, reciprocal, waves_within


def lengths_by_hand(cell, cutoff, n=12):
    h = np.array(np.meshgrid(*[np.arange(-n, n + 1)] * 3)).reshape(3, -1).T
    k = np.linalg.norm(2 * math.pi * h @ np.linalg.inv(cell).T, axis=1)
    return np.sort(k[(k > 0) & (k < cutoff)])


def test_each_pair_of_vectors_is_found_once_in_a_batch_with_a_cutoff_per_crystal():
    crystals = Crystals.join([ex.low_symmetry(), ex.skewed()])
    waves = waves_within(crystals, torch.tensor([4.0, 3.0]))
    k = waves.vectors(crystals.cell, crystals.periodic)
    for i, cutoff in enumerate((4.0, 3.0)):
        mine = np.sort(k[waves.owner == i].norm(dim=-1).numpy())
        np.testing.assert_allclose(mine.repeat(2), lengths_by_hand(crystals.cell[i].numpy(), cutoff), rtol=1e-12)


def test_the_first_vectors_of_a_cube_are_those_of_its_faces():
    waves = waves_within(ex.one_atom(side=3.1), 2 * math.pi / 3.1 + 0.01)
    assert sorted(waves.index.tolist()) == [[0, 0, 1], [0, 1, 0], [1, 0, 0]]


def test_vectors_of_a_slab_lie_in_its_plane_and_a_molecule_has_none():
    crystals = Crystals.join([ex.slab(), ex.molecule()])
    waves = waves_within(crystals, 4.0)
    assert (waves.owner == 0).all() and (waves.index[:, 2] == 0).all()
    k = waves.vectors(crystals.cell, crystals.periodic)
    np.testing.assert_allclose((k @ crystals.cell[0, :2].T).numpy(), 2 * math.pi * waves.index[:, :2].numpy(), atol=1e-12)
    assert float(measure(crystals.cell, crystals.periodic)[0]) == pytest.approx(4.1 * 4.1) and float(measure(crystals.cell, crystals.periodic)[1]) == 1
    assert float(reciprocal(crystals.cell, crystals.periodic)[0, 2].abs().max()) == 0


def test_a_box_with_too_many_points_is_refused():
    with pytest.raises(BadInput, match="crystal 0"):
        waves_within(ex.rock_salt(), 400.0)
    with pytest.raises(BadInput, match="positive"):
        waves_within(ex.rock_salt(), 0.0)
