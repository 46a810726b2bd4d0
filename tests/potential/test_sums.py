"""Sums and ensembles of oracles."""

import numpy as np
import pytest
import torch

from matterloop.base.errors import BadInput
from matterloop.crystal.state import Crystals
from matterloop.potential.lennard_jones import LennardJones
from matterloop.potential.sums import CompositionOracle, EnsembleOracle, SumOracle

SALT = Crystals.of([[0, 0, 0], [0.48, 0.5, 0.5]], [11, 17], 2.9 * torch.tensor([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]]))
BATCH = Crystals.join([SALT, SALT.repeated(2, 1, 1)])


def test_a_correction_by_composition_moves_energies_and_nothing_else():
    plain = LennardJones(0.1, 2.5, 6.0)
    total = SumOracle([plain, CompositionOracle({"Na": 0.25, 17: -0.75})], "corrected", "lj-shifted").label(BATCH)
    before = plain.label(BATCH)
    np.testing.assert_allclose((total.energy - before.energy).numpy(), [-0.5, -1.0], atol=1e-14)
    assert torch.equal(total.forces, before.forces) and torch.equal(total.stress, before.stress)


def test_an_element_without_a_correction_is_an_error():
    with pytest.raises(BadInput, match="crystal 0: 'composition' has no energy for Cl"):
        CompositionOracle({"Na": 1.0}).label(BATCH)


def test_an_ensemble_gives_mean_and_spread_per_atom():
    members = [LennardJones(e, 2.5, 6.0) for e in (0.1, 0.2, 0.6)]
    one = LennardJones(1.0, 2.5, 6.0).label(BATCH)
    labels = EnsembleOracle(members).label(BATCH)
    torch.testing.assert_close(labels.energy, 0.3 * one.energy)
    torch.testing.assert_close(labels.forces, 0.3 * one.forces)
    torch.testing.assert_close(labels.spread, np.std([0.1, 0.2, 0.6], ddof=1) * one.energy.abs() / BATCH.counts)
    assert float(labels.spread[0]) == pytest.approx(float(labels.spread[1]), rel=1e-9)


def test_an_ensemble_refuses_mixed_schemes():
    with pytest.raises(BadInput, match=r"\['lj', 'shift'\]"):
        EnsembleOracle([LennardJones(), CompositionOracle({1: 0.0})])
