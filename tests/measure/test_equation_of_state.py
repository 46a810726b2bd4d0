"""Equations of state: exact ones are found again, derivatives by hand, the measurement on a pair potential, failures."""

import numpy as np
import pytest
import torch

from matterloop.base.errors import BadInput, Missing
from matterloop.crystal.state import Crystals
from matterloop.measure.elastic import elastic
from matterloop.measure.equation_of_state import FORMS, Fit, equation_of_state, fit
from matterloop.potential.lennard_jones import LennardJones

LJ = LennardJones(epsilon=0.15, sigma=2.45, cutoff=5.0, ending="smooth")
PACKED = Crystals.of([[0.0, 0, 0]], [18], 1.88 * torch.tensor([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]], dtype=torch.float64))


@pytest.mark.parametrize("form", FORMS)
def test_numbers_of_an_exact_curve_are_found_again(form):
    truth = Fit(form, -5.3, 40.9, 89.0, 4.3, 0.0)
    v = np.linspace(37, 45, 9)
    found = fit(v, truth(v), form)
    assert (found.energy, found.volume, found.bulk_modulus, found.derivative) == pytest.approx((-5.3, 40.9, 89.0, 4.3), rel=1e-5)
    assert found.residual < 1e-8


@pytest.mark.parametrize("form", FORMS)
def test_meaning_of_the_numbers(form):
    """P(V0) = 0, B = -V dP/dV, B' = dB/dP, by differences."""
    state = Fit(form, 0.0, 40.0, 100.0, 5.0, 0.0)
    bulk = lambda v, h=1e-3: -v * (state.pressure(v + h) - state.pressure(v - h)) / (2 * h)
    assert float(state.pressure(40.0)) == pytest.approx(0, abs=1e-5)
    assert float(bulk(40.0)) == pytest.approx(100, rel=1e-5)
    h = 0.05
    assert float((bulk(40 - h) - bulk(40 + h)) / (state.pressure(40 - h) - state.pressure(40 + h))) == pytest.approx(5.0, rel=1e-2)


def test_equal_to_pymatgen():
    from pymatgen.analysis.eos import EOS

    rng = np.random.default_rng(0)
    v = np.linspace(36, 46, 11)
    e = Fit("birch-murnaghan", -5.3, 40.9, 89.0, 4.3, 0.0)(v) + 1e-4 * rng.standard_normal(11)
    for form, name in (("birch-murnaghan", "birch_murnaghan"), ("vinet", "vinet")):
        own, theirs = fit(v, e, form), EOS(name).fit(v, e)
        assert own.bulk_modulus == pytest.approx(float(theirs.b0_GPa), rel=1e-4) and own.volume == pytest.approx(float(theirs.v0), rel=1e-5)


def test_same_bulk_modulus_as_by_stress():
    state = equation_of_state(PACKED, LJ, scales=np.linspace(0.97, 1.03, 9), fmax=1e-3)[0]
    assert state.fit.bulk_modulus == pytest.approx(elastic(PACKED, LJ, fmax=1e-3)[0].tensor.bulk_hill, rel=3e-3)
    assert state.fit.volume == pytest.approx(float(state.crystal.volume[0]), rel=1e-3)


def test_failures_have_reasons():
    twin = Crystals.of([[0.0, 0, 0], [0, 0, 0.001]], [18, 18], 3 * torch.eye(3, dtype=torch.float64))
    found = equation_of_state(Crystals.join([twin, PACKED]), LJ)
    assert found[0].failed and "at rest" in found[0].reason and not found[1].failed
    stretched = PACKED.put(cell=PACKED.cell * 1.12)
    assert "no minimum" in equation_of_state(stretched, LJ, at_rest=True)[0].reason
    with pytest.raises(Missing, match="birch"):
        equation_of_state(PACKED, LJ, form="murnagan")
    with pytest.raises(BadInput, match="scales"):
        equation_of_state(PACKED, LJ, scales=(0.9, 1.0, 1.1))
    with pytest.raises(BadInput, match="no minimum"):
        fit(np.linspace(30, 40, 6), np.linspace(0, 1, 6))
