import numpy as np
import pytest
import torch

from matterloop.base.errors import BadInput
from matterloop.bench import examples
from matterloop.crystal.state import Crystals
from matterloop.crystal.voronoi import voronoi_faces


def real(faces):
    """Faces that are more than an edge or a corner."""
    keep = faces.area > 1e-9
    return faces.centre[keep], faces.area[keep], faces.solid_angle[keep], np.linalg.norm(faces.vector[keep], axis=1)


def test_a_simple_cubic_cell_is_a_cube():
    centre, area, angle, length = real(voronoi_faces(examples.one_atom(side=3.1)))
    assert len(centre) == 6
    np.testing.assert_allclose(area, 3.1**2, rtol=1e-12)
    np.testing.assert_allclose(angle, 4 * np.pi / 6, rtol=1e-12)
    np.testing.assert_allclose(length, 3.1)


def test_a_body_centred_cell_is_a_truncated_octahedron():
    """Of a cube with edge a: eight hexagons of area 3 sqrt(3) a^2 / 16 and six squares of area a^2 / 8."""
    crystal = Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5]], [26, 26], 2.87 * np.eye(3))
    centre, area, angle, length = real(voronoi_faces(crystal))
    near = length < 2.6
    assert [int(near[centre == i].sum()) for i in (0, 1)] == [8, 8] and [int((~near)[centre == i].sum()) for i in (0, 1)] == [6, 6]
    np.testing.assert_allclose(area[near], 3 * 3**0.5 * 2.87**2 / 16, rtol=1e-10)
    np.testing.assert_allclose(area[~near], 2.87**2 / 8, rtol=1e-10)


def test_a_face_centred_cell_is_a_rhombic_dodecahedron():
    cell = 4.05 / 2 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
    centre, area, _, _ = real(voronoi_faces(Crystals.of([[0, 0, 0]], [13], cell)))
    assert len(centre) == 12
    np.testing.assert_allclose(area, 4.05**2 * 2**0.5 / 8, rtol=1e-10)


@pytest.mark.parametrize("name", list(examples.PERIODIC))
def test_cells_fill_space_and_the_sphere(name):
    """Volumes (area times half the distance over 3) add up to the cell's, solid angles of every atom to 4 pi."""
    crystal = examples.PERIODIC[name]()
    faces = voronoi_faces(crystal)
    assert (faces.area * np.linalg.norm(faces.vector, axis=1)).sum() / 6 == pytest.approx(float(crystal.volume[0]), rel=1e-9)
    np.testing.assert_allclose(np.bincount(faces.centre, faces.solid_angle, crystal.atoms), 4 * np.pi, rtol=1e-9)


def test_every_face_has_two_sides():
    faces = voronoi_faces(examples.low_symmetry())
    pairs = sorted((i, j, round(a, 9)) for i, j, a in zip(faces.centre, faces.neighbour, faces.area, strict=True) if a > 1e-9)
    assert pairs == sorted((j, i, a) for i, j, a in pairs)


def test_an_open_cell_is_closed_by_farther_neighbours():
    """A layer with 20 Å to the next one."""
    sparse = Crystals.of([[0, 0, 0]], [6], np.diag([2.5, 2.5, 20.0]))
    _, area, _, length = real(voronoi_faces(sparse))
    assert length.max() == pytest.approx(20.0) and area[length > 19] == pytest.approx([6.25, 6.25])


def test_a_batch_is_its_crystals_one_by_one():
    crystals = examples.periodic()
    together = voronoi_faces(crystals)
    apart = [voronoi_faces(one) for one in crystals]
    np.testing.assert_allclose(together.area, np.concatenate([f.area for f in apart]), rtol=1e-12)
    np.testing.assert_array_equal(together.centre, np.concatenate([f.centre + int(o) for f, o in zip(apart, crystals.offsets, strict=False)]))


@pytest.mark.parametrize("second, why", [(examples.molecule(), "does not repeat"), (Crystals.of([[0, 0, 0], [0, 0, 1e-5]], [6, 6], 4 * np.eye(3)), "from each other")])
def test_what_has_no_cells_is_refused_by_its_place(second, why):
    with pytest.raises(BadInput, match=why) as caught:
        voronoi_faces(Crystals.join([examples.rock_salt(), second]))
    assert caught.value.where == "crystal 1"


def test_no_crystals_have_no_faces():
    assert len(voronoi_faces(Crystals.of(torch.zeros(0, 3), [], torch.zeros(0, 3, 3), []))) == 0
