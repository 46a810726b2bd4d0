"""Readers of tasks without a table of CIFs."""

import numpy as np
import pytest

from matterloop.bench.property_readers import last_peak, mean_trace, starts
from matterloop.bench.property_tasks import load_task
from matterloop.learn.metrics import metric


def test_the_last_peak_is_the_last_maximum_of_a_tenth_of_the_highest():
    row = {"flags": {"has_neg_fr": False}, "dos_frequencies_cm1": [0, 100, 200, 300, 400, 500, 600, 700], "ph_dos": [0, 1.0, 0.2, 0.5, 0.1, 0.05, 0.09, 0.0]}
    assert last_peak(row) == 300.0
    assert last_peak(row | {"flags": {"has_neg_fr": True}}) is None


def test_a_dielectric_constant_is_a_third_of_the_trace():
    assert mean_trace({"dielectric": {"eps_total": [[2, 0, 0], [0, 4, 1], [0, 1, 6]]}}, "eps_total") == 4.0
    assert mean_trace({"dielectric": {"eps_total": [[2000, 0, 0], [0, 4000, 1], [0, 1, 6000]]}}, "eps_total") is None and mean_trace({}, "eps_total") is None


def test_our_own_candidates_stand_as_they_were_proposed():
    crystals, names = starts()
    assert len(crystals) == len(names) == 6000 and len(set(names)) == 6000 and set(n.partition("-")[0] for n in names) == {"own_random", "own_substituted", "own_template"}
    assert int(crystals.counts.max()) == 20 and float(crystals.volume.min()) > 5


def test_near_and_far_from_a_limit():
    truth, said = np.array([0.0, 0.05, 0.2, 0.3]), np.array([0.04, 0.15, 0.08, 0.5])
    assert metric("f1_up_to_0.1").function(truth, said) == pytest.approx(0.5)  # one right, one missed, one too many
    assert metric("auc_up_to_0.1").function(truth, said) == pytest.approx(0.75)  # of four pairs the second row stands below the third


@pytest.mark.slow
def test_labels_of_the_engine_are_distances_to_the_hull_and_no_system_is_in_two_parts():
    held = load_task("engine_energy_above_hull")
    part, learnt = held.part(), held.inputs.get("energy_above_hull").numpy()
    from matterloop.crystal.composition import compositions

    systems = [frozenset(c) for c in compositions(held.inputs)]
    of = {name: {systems[i] for i in rows} for name, rows in part.items()}
    assert not of["train"] & of["test"] and not of["val"] & of["test"] and not of["train"] & of["val"]
    assert np.allclose(held.labels, learnt - held.known) and held.labels.min() > -0.2001
    row = held.keys.index("mp-22862")  # rock salt, on the hull
    assert held.labels[row] == pytest.approx(0.0, abs=1e-6) and learnt[row] == pytest.approx(-2.0, abs=0.2)
