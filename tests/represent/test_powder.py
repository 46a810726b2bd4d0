"""Bragg reflections against pymatgen, by hand, and against small differences."""

import math

import numpy as np
import pytest
import torch

from matterloop.base.errors import BadInput, Missing
from matterloop.bench import examples as ex
from matterloop.crystal.formats_objects import to_pymatgen
from matterloop.crystal.state import Crystals
from matterloop.represent.peak_shapes import Shape, profile, read_instrument
from matterloop.represent.powder import Beam, reflections
from matterloop.represent.scattering_tables import neutron_lengths, scattering_factors


def rock_salt(a=5.64):
    low = [[0.0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    high = [[(x + 0.5) % 1, y, z] for x, y, z in low]
    return Crystals.of(torch.tensor(low + high, dtype=torch.float64), [11] * 4 + [17] * 4, a * torch.eye(3, dtype=torch.float64))


@pytest.mark.parametrize("radiation", ["x-ray", "neutron"])
def test_peaks_are_those_of_pymatgen(radiation):
    from pymatgen.analysis.diffraction.neutron import NDCalculator
    from pymatgen.analysis.diffraction.xrd import XRDCalculator

    crystals = Crystals.join([rock_salt(), ex.periodic().bare()])
    theirs = XRDCalculator() if radiation == "x-ray" else NDCalculator()
    found = reflections(crystals, Beam(radiation=radiation)).peaks().scaled()
    for i, structure in enumerate(to_pymatgen(crystals)):
        wanted, own = theirs.get_pattern(structure), found.of(i)
        assert len(own) == len(wanted.x), f"crystal {i}"
        assert np.abs(own.two_theta.numpy() - wanted.x).max() < 1e-9
        assert np.abs(own.intensity.numpy() - wanted.y).max() < 1e-7


def test_positions_and_multiplicities_of_rock_salt_by_hand():
    found = reflections(rock_salt(), Beam("CuKa1", high=60.0)).peaks()
    squares = [3, 4, 8, 11, 12, 16]  # h^2 + k^2 + l^2 of unmixed indices
    angle = [2 * math.degrees(math.asin(1.54056 * math.sqrt(s) / (2 * 5.64))) for s in squares]
    assert found.two_theta.tolist() == pytest.approx([a for a in angle if a < 60], abs=1e-9)
    assert found.count.tolist()[:3] == [8, 6, 12]
    assert found.spacing[1].item() == pytest.approx(5.64 / 2)


def test_intensity_by_hand():
    """One atom per cell: F is the form factor, so the ratio of two peaks is that of f^2 LP m."""
    crystal = Crystals.of([[0.0, 0, 0]], [29], 3.0 * torch.eye(3, dtype=torch.float64))
    found = reflections(crystal, Beam(1.5, high=50.0, monochromator=26.6)).peaks()

    def strength(square, many):
        theta = math.asin(1.5 * math.sqrt(square) / 6)
        s2 = torch.tensor([(math.sin(theta) / 1.5) ** 2], dtype=torch.float64)
        f = float(scattering_factors(torch.tensor([29]), s2)[0])
        a = math.cos(math.radians(26.6)) ** 2
        return many * f**2 * (1 + a * math.cos(2 * theta) ** 2) / (math.sin(theta) ** 2 * math.cos(theta))

    assert float(found.intensity[1] / found.intensity[0]) == pytest.approx(strength(2, 12) / strength(1, 6), rel=1e-9)


def test_form_factors_begin_at_the_number_of_electrons():
    z = torch.tensor([1, 14, 79])
    assert scattering_factors(z, torch.zeros(3, dtype=torch.float64)).tolist() == [1.0, 14.0, 79.0]
    assert neutron_lengths()[1].item() == pytest.approx(-3.739) and neutron_lengths()[28].item() == pytest.approx(10.3, abs=0.2)


def test_texture_favours_its_direction_and_keeps_the_others_total():
    plain, textured = (reflections(rock_salt(), Beam(high=60.0, texture=t)).peaks(faint=0).scaled() for t in (None, ((1, 0, 0), 0.5)))
    index = {tuple(sorted(map(abs, h))): i for i, h in enumerate(plain.index.tolist())}
    ratio = textured.intensity / plain.intensity
    assert ratio[index[(0, 0, 2)]] > 2 * ratio[index[(1, 1, 1)]]


def test_debye_waller_weakens_high_angles():
    cold, warm = (reflections(rock_salt(), Beam(debye_waller=b)).peaks().intensity for b in (0.0, {"Na": 1.5, "Cl": 1.5}))
    theta = torch.deg2rad(reflections(rock_salt()).peaks().two_theta / 2)
    assert torch.allclose(warm / cold, torch.exp(-2 * 1.5 * (torch.sin(theta) / 1.54184) ** 2), rtol=1e-9)


def test_gradients_of_angles_and_intensities():
    crystal = ex.low_symmetry().bare()
    weight = torch.linspace(1, 2, 40, dtype=torch.float64)

    def total(frac, cell):
        found = reflections(crystal.put(frac=frac, cell=cell), Beam(high=35.0))
        order = torch.argsort(found.index[:, 0] * 10000 + found.index[:, 1] * 100 + found.index[:, 2])
        return ((found.intensity[order].log() + found.two_theta[order])[:40] * weight[: len(order)]).sum()

    frac, cell = crystal.frac.clone().requires_grad_(), crystal.cell.clone().requires_grad_()
    slope = torch.autograd.grad(total(frac, cell), [frac, cell])
    for value, found, k in ((crystal.frac, slope[0], 0), (crystal.cell, slope[1], 1)):
        move = torch.randn(value.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        near = lambda h: total(*((value + h * move, crystal.cell) if k == 0 else (crystal.frac, value + h * move)))
        assert float((near(1e-6) - near(-1e-6)) / 2e-6) == pytest.approx(float((found * move).sum()), rel=1e-5)


def test_pieces_do_not_matter(monkeypatch):
    from matterloop.represent import powder

    crystals = Crystals.join([rock_salt(), ex.periodic().bare(), rock_salt(4.2)])
    whole = reflections(crystals).peaks()
    monkeypatch.setattr(powder, "POINTS", 50)
    monkeypatch.setattr(powder, "TOGETHER", 7)
    again = reflections(crystals).peaks()
    assert torch.equal(whole.count, again.count) and torch.equal(whole.owner, again.owner) and torch.allclose(whole.intensity, again.intensity, rtol=1e-9)


def test_bad_input():
    with pytest.raises(BadInput, match="Debye"):
        reflections(ex.OTHER["molecule"]())
    with pytest.raises(Missing, match="CuKa"):
        Beam("CuKalpha")
    with pytest.raises(BadInput, match="range"):
        Beam(low=50.0, high=20.0)
    with pytest.raises(BadInput, match="factor is known of Og"):
        reflections(Crystals.of([[0.0, 0, 0]], [118], 4 * torch.eye(3, dtype=torch.float64)))


def test_profile_has_the_areas_and_widths():
    found = reflections(rock_salt(), Beam("CuKa1", high=60.0)).peaks()
    grid = torch.arange(10, 80, 0.01, dtype=torch.float64)
    shape = Shape(w=0.04)
    y = profile(found, grid, shape, 1.54056)[0]
    assert float(y.sum() * 0.01) == pytest.approx(float(found.intensity.sum()), rel=1e-6)
    top = int(y.argmax())
    above = (y > y[top] / 2).nonzero()[:, 0]
    assert float(grid[top]) == pytest.approx(float(found.two_theta[found.intensity.argmax()]), abs=0.006)
    assert len(above[(above - top).abs() < 40]) * 0.01 == pytest.approx(0.2, abs=0.011)  # sqrt(W)


def test_scherrer_width():
    shape = Shape(w=0.0, size=100.0)
    width, share = shape.widths(torch.tensor([40.0], dtype=torch.float64), 1.5406)
    assert float(share[0]) == pytest.approx(1.0, abs=1e-3)
    assert float(width[0]) == pytest.approx(math.degrees(0.9 * 1.5406 / 100 / math.cos(math.radians(20))), rel=1e-5)


def test_instrument_file(tmp_path):
    path = tmp_path / "lab.instprm"
    path.write_text("#GSAS-II instrument parameter file\nType:PXC\nLam1:1.5405\nLam2:1.5443\nI(L2)/I(L1):0.5\nZero:0.02\nPolariz.:0.7\nU:2.0\nV:-2.0\nW:5.0\nX:1.0\nY:3.0\nZ:0.0\n")
    shape, other = read_instrument(path)
    assert (shape.u, shape.v, shape.w, shape.x, shape.y, shape.zero) == pytest.approx((2e-4, -2e-4, 5e-4, 0.01, 0.03, 0.02))
    assert other == {"wavelength": 1.5405, "polarisation": 0.7, "wavelength 2": 1.5443, "ratio 2": 0.5}
    path.write_text("Type:PXC\nLam:nonsense\n")
    with pytest.raises(BadInput, match="Lam is 'nonsense'"):
        read_instrument(path)


def test_uneven_grid_is_refused():
    found = reflections(rock_salt()).peaks()
    with pytest.raises(BadInput, match="equal steps"):
        profile(found, torch.tensor([10.0, 11.0, 13.0]), Shape(), 1.54)
