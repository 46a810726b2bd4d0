"""Local directions: angles about every axis, and torsions to the next neighbour, ties included."""

import math

import numpy as np
import torch

from matterloop.base.seeds import torch_stream
from matterloop.bench.examples import rotation
from matterloop.layers.torsions import local_directions

F64 = torch.float64


def directions(unit):
    unit = torch.as_tensor(unit, dtype=F64)
    return local_directions(unit[None], torch.ones(1, len(unit), dtype=torch.bool))[0]


def around_z(*degrees):
    """The axis z first, then directions at 60 degrees from it at these azimuths."""
    s, c = math.sin(math.pi / 3), 0.5
    return [[0.0, 0.0, 1.0]] + [[s * math.cos(math.radians(a)), s * math.sin(math.radians(a)), c] for a in degrees]


def torsions(found):
    """Degrees in (0, 360] of the neighbours about the first axis."""
    angle = torch.rad2deg(torch.atan2(found[0, 1:, 1], found[0, 1:, 0]))
    return torch.where(angle < 1e-6, angle + 360, angle).tolist()


def test_torsions_count_anticlockwise_to_the_next():
    np.testing.assert_allclose(torsions(directions(around_z(10, 100, 250))), [90, 150, 120], atol=1e-9)
    np.testing.assert_allclose(torsions(directions(around_z(100, 10, 250))), [150, 90, 120], atol=1e-9)
    np.testing.assert_allclose(torsions(directions(around_z(77))), [360], atol=1e-9)


def test_neighbours_in_the_same_half_plane_count_as_one():
    np.testing.assert_allclose(torsions(directions(around_z(10, 10, 100))), [90, 90, 270], atol=1e-9)
    np.testing.assert_allclose(torsions(directions(around_z(10 + 1e-9, 10 - 1e-9, 10, 100))), [90, 90, 90, 270], atol=1e-6)
    np.testing.assert_allclose(torsions(directions(around_z(45, 45))), [360, 360], atol=1e-9)


def test_ties_across_the_cut_of_azimuths_are_ties():
    for turn in range(0, 360, 5):  # somewhere azimuth jumps from pi to -pi, for any frame
        np.testing.assert_allclose(torsions(directions(around_z(turn - 1e-8, turn + 1e-8, turn + 120))), [120, 120, 240], atol=1e-6)


def test_a_neighbour_on_the_axis_is_nobodys_next():
    found = directions(np.vstack([around_z(10, 100), [[0, 0, -1.0]]]))
    np.testing.assert_allclose(torsions(found)[:2], [90, 270], atol=1e-9)
    assert found[0, 3].tolist() == [0, 0, -1]


def test_angles_are_those_between_the_directions():
    unit = torch.nn.functional.normalize(torch.randn(6, 3, generator=torch_stream(0, "t"), dtype=F64), dim=1)
    found = directions(unit)
    for i in range(6):
        for k in range(6):
            if i != k:
                assert abs(float(found[i, k, 2]) - float(unit[i] @ unit[k])) < 1e-12
                assert abs(float(found[i, k].norm()) - 1) < 1e-12


def test_frames_and_orders_do_not_matter_but_mirrors_do():
    unit = torch.nn.functional.normalize(torch.randn(7, 3, generator=torch_stream(1, "t"), dtype=F64), dim=1)
    before, order = directions(unit), torch.randperm(7, generator=torch_stream(2, "t"))
    other = ~torch.eye(7, dtype=torch.bool)
    np.testing.assert_allclose(directions(unit @ rotation().T)[other], before[other], atol=1e-10)
    np.testing.assert_allclose(directions(unit[order])[other], before[order][:, order][other], atol=1e-10)
    assert float((directions(-unit)[other] - before[other]).abs().max()) > 0.1


def test_rows_without_a_neighbour_are_not_seen():
    unit = torch.tensor(around_z(10, 100, 250), dtype=F64)
    real = torch.tensor([[True, True, False, True]])
    found = local_directions(unit[None], real)[0]
    np.testing.assert_allclose([torsions(found)[i] for i in (0, 2)], [240, 120], atol=1e-9)
