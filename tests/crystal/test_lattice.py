import moyopy
import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

from matterloop.base.errors import BadInput, Missing
from matterloop.crystal import lattice
from matterloop.crystal.state import Crystals


def skewed(cells, seed):
    """The same lattices in cells mixed by random shears."""
    rng, out = np.random.default_rng(seed), cells.clone()
    for _ in range(6):
        i, j = rng.choice(3, 2, replace=False)
        out[:, i] += out[:, j] * torch.tensor(rng.integers(-2, 3, len(out)), dtype=torch.float64)[:, None]
    return out


def random_cells(count, seed=0):
    cells = torch.tensor(np.random.default_rng(seed).normal(size=(3 * count, 3, 3)) * 4)
    cells = torch.where((torch.linalg.det(cells) < 0)[:, None, None], -cells, cells)
    return cells[torch.linalg.det(cells) > 8][:count]


def special_cells():
    shapes = [
        ((4, 4, 4), (90, 90, 90)), ((4, 4, 4), (60, 60, 60)), ((4, 4, 4), (109.4712206344907,) * 3), ((3, 3, 5), (90, 90, 120)), ((3, 3, 5), (90, 90, 60)),
        ((3, 3, 7), (90, 90, 90)), ((3, 4, 5), (90, 90, 90)), ((3, 4, 5), (90, 100, 90)), ((5, 4, 5), (90, 120, 90)), ((4, 5, 4), (90, 95, 90)),
        ((4, 4, 4), (80, 80, 80)), ((4, 4, 4), (100, 100, 100)), ((3, 3, 6), (75, 75, 90)), ((2, 4, 9), (90, 91, 90)), ((4, 4, 5), (90, 90, 97)),
    ]
    return torch.stack([lattice.from_parameters(a, b) for a, b in shapes])


def test_niggli_equals_moyopy_and_pymatgen_on_random_skewed_cells():
    cells = skewed(random_cells(300), 1)
    reduced, change = lattice.niggli_reduce(cells)
    torch.testing.assert_close(change @ cells, reduced, rtol=0, atol=1e-9)
    torch.testing.assert_close(torch.linalg.det(change), torch.ones(300, dtype=torch.float64))
    assert torch.equal(change, change.round())
    for i in range(300):
        expected = torch.tensor(moyopy.niggli_reduce(cells[i].tolist())[0], dtype=torch.float64)
        torch.testing.assert_close(lattice.metric(reduced[i]), lattice.metric(expected), rtol=0, atol=1e-6)
    for i in range(40):
        expected = Lattice(cells[i].numpy()).get_niggli_reduced_lattice()
        np.testing.assert_allclose(lattice.parameters(reduced[i])[0], expected.abc, atol=1e-6)
        np.testing.assert_allclose(lattice.parameters(reduced[i])[1], expected.angles, atol=1e-5)


@pytest.mark.parametrize("seed", range(8))
def test_niggli_of_degenerate_lattices_does_not_depend_on_the_cell(seed):
    """Cubic P, F, I, hexagonal, tetragonal, monoclinic edge cases: every skewed cell leads to the one moyopy finds."""
    plain = special_cells()
    reduced, _ = lattice.niggli_reduce(skewed(plain, seed))
    for i in range(len(plain)):
        expected = torch.tensor(moyopy.niggli_reduce(plain[i].tolist())[0], dtype=torch.float64)
        torch.testing.assert_close(lattice.metric(reduced[i]), lattice.metric(expected), rtol=0, atol=1e-8)
        assert moyopy.is_niggli_reduced(reduced[i].tolist())


def test_niggli_of_fcc_has_angles_of_sixty_degrees():
    reduced, _ = lattice.niggli_reduce(torch.tensor([[[0.0, 2, 2], [2, 0, 2], [2, 2, 0]], [[-2.0, 2, 2], [2, -2, 2], [2, 2, -2]]], dtype=torch.float64))
    lengths, angles = lattice.parameters(reduced)
    torch.testing.assert_close(angles[0], torch.full((3,), 60.0, dtype=torch.float64))
    torch.testing.assert_close(lengths, torch.tensor([[8**0.5] * 3, [12**0.5] * 3], dtype=torch.float64))
    torch.testing.assert_close(angles[1], torch.full((3,), 109.47122063449069, dtype=torch.float64))


def test_niggli_refuses_left_handed_cells_and_molecules():
    with pytest.raises(BadInput, match="left-handed"):
        lattice.niggli_reduce(-torch.eye(3, dtype=torch.float64)[None])
    with pytest.raises(BadInput, match="crystal 0: only structures periodic"):
        lattice.niggli(Crystals.of([[0, 0, 0]], [1], torch.eye(3) * 5, periodic=[[True, True, False]]))


def test_niggli_keeps_the_crystal_and_the_input():
    cells = skewed(random_cells(6, 3), 5)
    crystals = Crystals.of(torch.rand(24, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), [8, 8, 22, 56] * 6, cells, [4] * 6)
    before = crystals.cell.clone(), crystals.frac.clone()
    reduced = lattice.niggli(crystals)
    assert torch.equal(crystals.cell, before[0]) and torch.equal(crystals.frac, before[1])
    torch.testing.assert_close(reduced.volume, crystals.volume)
    for i in range(6):
        a, b = (Structure(c[i].cell[0].numpy(), c[i].species.tolist(), c[i].frac.numpy()) for c in (crystals, reduced))
        torch.testing.assert_close(torch.tensor(a.distance_matrix), torch.tensor(b.distance_matrix), rtol=0, atol=1e-7)


def test_cells_follow_from_parameters_as_in_pymatgen():
    lengths, angles = [[3.1, 4.2, 5.3], [2.0, 2.0, 6.0]], [[81.0, 97.0, 104.0], [90.0, 90.0, 120.0]]
    cells = lattice.from_parameters(lengths, angles)
    for cell, abc, abg in zip(cells, lengths, angles):
        assert Lattice.from_parameters(*abc, *abg).volume == pytest.approx(float(torch.linalg.det(cell)), abs=1e-9)
    back = lattice.parameters(cells)
    np.testing.assert_allclose(back[0], lengths, atol=1e-12)
    np.testing.assert_allclose(back[1], angles, atol=1e-10)
    np.testing.assert_allclose(lattice.reciprocal(cells[0]) * 2 * np.pi, Lattice(cells[0].numpy()).reciprocal_lattice.matrix, atol=1e-12)


def test_impossible_parameters_are_refused():
    with pytest.raises(BadInput, match="enclose no volume"):
        lattice.from_parameters([1, 1, 1], [30, 30, 90])
    with pytest.raises(BadInput, match="positive"):
        lattice.from_parameters([1, -1, 1], [90, 90, 90])
    with pytest.raises(Missing, match="did you mean"):
        lattice.from_free([1.0], "cubik")
    with pytest.raises(BadInput, match="a, c"):
        lattice.from_free([1.0], "hexagonal")


def test_spacing_of_planes_by_hand():
    cells = lattice.from_free([[4.0]], "cubic")
    torch.testing.assert_close(lattice.spacing(cells, [[1, 1, 1], [2, 0, 0]])[0], torch.tensor([4 / 3**0.5, 2.0], dtype=torch.float64))
    torch.testing.assert_close(lattice.heights(lattice.from_free([3.0, 5.0], "hexagonal")), torch.tensor([3 * 0.75**0.5] * 2 + [5.0], dtype=torch.float64))
    with pytest.raises(BadInput):
        lattice.spacing(cells, [[0, 0, 0]])


@pytest.mark.parametrize("system,values", [
    ("triclinic", [3.0, 4, 5, 80, 95, 100]), ("monoclinic", [3.0, 4, 5, 99]), ("orthorhombic", [3.0, 4, 5]), ("tetragonal", [3.0, 5]),
    ("trigonal", [3.0, 5]), ("hexagonal", [3.0, 5]), ("cubic", [3.0])])
def test_free_parameters_and_back(system, values):
    cell = lattice.from_free(values, system)
    torch.testing.assert_close(lattice.free_parameters(cell, system), torch.tensor(values, dtype=torch.float64))
    assert float(lattice.deviation(cell, system)) < 1e-12


def test_deviation_tells_systems_apart():
    assert float(lattice.deviation(lattice.from_parameters([3, 3, 3.3], [90, 90, 90]), "cubic")) > 0.05


def test_cells_are_differentiable_in_their_free_parameters():
    values = torch.tensor([3.0, 4, 5, 99], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: lattice.from_free(v, "monoclinic"), values)
