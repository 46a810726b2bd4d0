import logging

import pytest
import torch

from matterloop.base.errors import BadInput, Missing
from matterloop.crystal import space_groups, symmetry, wyckoff
from matterloop.crystal.state import Crystals

TI, O, NA, CL, SI = 22, 8, 11, 17, 14


def rutile():
    return wyckoff.build(136, [4.594, 2.959], [("a", TI), ("f", O, [0.305])])


def rock_salt():
    return wyckoff.build(225, [5.64], [("a", NA), ("b", CL)])


def quartz():
    return wyckoff.build(152, [4.913, 5.405], [("a", SI, [0.4697]), ("c", O, [0.4135, 0.2669, 0.1191])])


def rattled(crystals, size, seed=0):
    noise = torch.randn(crystals.atoms, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * size
    return crystals.put(frac=crystals.frac + noise @ torch.linalg.inv(crystals.cell[0]))


def test_known_structures():
    found = symmetry.analyse(Crystals.join([rutile(), rock_salt(), quartz()]))
    assert [s.number for s in found] == [136, 225, 152]
    assert [s.symbol for s in found] == ["P4_2/mnm", "Fm-3m", "P3_121"]
    assert [s.crystal_system for s in found] == ["tetragonal", "cubic", "trigonal"]
    assert found[0].letters == ("a", "a", "f", "f", "f", "f")
    assert found[0].site_symmetry[0] == "m.mm" and found[0].point_group == "4/mmm" and found[1].pearson == "cF8"
    assert found[0].orbits.tolist() == [0, 0, 2, 2, 2, 2] and found[0].representatives.tolist() == [0, 2]
    assert len(found[1].rotations) == 192 and found[1].primitive.atoms == 2 and found[1].standard.atoms == 8
    assert found[0].symprec == found[0].asked == 0.01


def test_primitive_and_conventional_cells_of_a_batch():
    both = Crystals.join([rock_salt().repeated(2, 1, 1), rutile()])
    assert symmetry.primitive(both).counts.tolist() == [2, 6]
    assert symmetry.conventional(both).counts.tolist() == [8, 6]
    torch.testing.assert_close(symmetry.conventional(both).lengths[0], torch.full((3,), 5.64, dtype=torch.float64))


def test_overlapping_atoms_are_an_error_and_not_p1():
    bad = Crystals.of([[0, 0, 0], [0, 0, 0]], [11, 11], torch.eye(3) * 4)
    with pytest.raises(BadInput, match="crystal 0: no space group found"):
        symmetry.analyse(bad)
    found = symmetry.analyse(Crystals.join([rutile(), bad, rock_salt()]), on_error="keep")
    assert [type(s) for s in found] == [symmetry.Symmetry, BadInput, symmetry.Symmetry]
    assert "crystal 1" in str(found[1])


def test_a_smaller_tolerance_is_recorded():
    """Two atoms 0.3 Å apart cannot be told apart within 1 Å; a smaller tolerance finds the group and says so."""
    close = Crystals.of([[0, 0, 0], [0.06, 0, 0]], [1, 1], torch.diag(torch.tensor([5.0, 6, 7])))
    found = symmetry.analyse(close, symprec=1.0)[0]
    assert found.asked == 1.0 and found.symprec < 0.3 and found.number == 47


def test_molecules_and_bad_options_are_refused():
    with pytest.raises(BadInput, match="three axes"):
        symmetry.analyse(Crystals.of([[0, 0, 0]], [1], torch.eye(3), periodic=[[False] * 3]))
    with pytest.raises(BadInput, match="symprec"):
        symmetry.analyse(rutile(), symprec=0)
    with pytest.raises(BadInput, match="without atoms"):
        symmetry.analyse(Crystals.of(torch.zeros(0, 3), [], torch.eye(3)))


def test_a_supercell_that_hides_operations_says_so_without_noise(caplog):
    with caplog.at_level(logging.WARNING):
        long = symmetry.analyse(rock_salt().repeated(1, 1, 2))[0]
        assert long.number == 225 and not long.complete and symmetry.analyse(rock_salt())[0].complete
    assert not caplog.records and logging.getLogger("moyo").level == logging.NOTSET


def test_names_of_groups():
    assert [symmetry.number(n) for n in ("Fm-3m", "fm3m", "F m -3 m", "Pnma", "Pbnm", "P2_1/c", "P21/c", "P 1 21/c 1", 14, "R-3m", "P6_3/mmc")] == [
        225, 225, 225, 62, 62, 14, 14, 14, 14, 166, 194]
    assert all(symmetry.number(symmetry.symbol(n)) == n and symmetry.number(symmetry.symbol_full(n)) == n for n in range(1, 231))
    assert len({symmetry.symbol(n) for n in range(1, 231)}) == 230
    with pytest.raises(Missing, match="did you mean.*Fm-3m"):
        symmetry.number("Fm-3n2")
    with pytest.raises(BadInput, match="1 to 230"):
        symmetry.symbol(231)


def test_names_and_systems_agree_with_pymatgen():
    from pymatgen.symmetry.groups import SpaceGroup

    for n in range(1, 231, 7):
        group = SpaceGroup.from_int_number(n)
        assert group.crystal_system == symmetry.crystal_system(n) and group.point_group == symmetry.point_group(n)
    assert list(symmetry.groups_of("trigonal")) == list(range(143, 168))
    assert [space_groups.lattice_points(n) for n in (1, 5, 38, 71, 166, 225)] == [1, 2, 2, 2, 3, 4]


def test_refined_crystals_are_symmetric_in_their_own_cells():
    given = Crystals.join([rattled(rutile(), 0.003), rattled(rock_salt().repeated(1, 1, 2), 0.003), rattled(quartz(), 0.003)])
    strained = given.put(cell=given.cell + 0.002 * torch.randn(3, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    clean = symmetry.refined(strained, 0.05)
    assert [s.number for s in symmetry.analyse(strained, 1e-5)] == [1, 1, 1]
    # a cell twice as long along c shows only the tetragonal operations of rock salt, and only these are imposed
    assert [s.number for s in symmetry.analyse(clean, 1e-5)] == [136, 139, 152]
    assert float((clean.cart - strained.cart).abs().max()) < 0.05


def test_projected_forces_keep_the_symmetry():
    crystals = Crystals.join([rutile(), quartz(), rock_salt()])
    project = symmetry.Symmetrizer.of(crystals)
    gen = torch.Generator().manual_seed(3)
    forces = torch.randn(crystals.atoms, 3, dtype=torch.float64, generator=gen)
    once = project.forces(forces, crystals.cell)
    torch.testing.assert_close(project.forces(once, crystals.cell), once, rtol=0, atol=1e-12)
    assert float(once[15:].abs().max()) < 1e-12  # rock salt has no free coordinate
    assert float(once[:6].abs().max()) > 0.01  # rutile has one
    moved = crystals.put(frac=crystals.frac + 0.05 * (once[:, None] @ torch.linalg.inv(crystals.cell)[crystals.owner])[:, 0])
    assert [s.number for s in symmetry.analyse(moved, 1e-4)] == [136, 152, 225]
    assert float(project.broken(moved).max()) < 1e-9
    stress = project.stress(torch.randn(3, 3, 3, dtype=torch.float64, generator=gen), crystals.cell)
    torch.testing.assert_close(stress[2], stress[2, 0, 0] * torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-12)
    assert float(stress[0, 0, 0] - stress[0, 1, 1]) == pytest.approx(0, abs=1e-12) and abs(float(stress[0, 0, 0] - stress[0, 2, 2])) > 0.01


def test_projection_turns_with_the_crystal_and_does_not_depend_on_the_batch():
    q = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5)))[0]
    q = q * torch.linalg.det(q)
    crystals, forces = quartz(), torch.randn(9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    alone = symmetry.Symmetrizer.of(crystals).forces(forces, crystals.cell)
    turned = crystals.rotated(q)
    torch.testing.assert_close(symmetry.Symmetrizer.of(turned).forces(forces @ q.T, turned.cell), alone @ q.T, rtol=0, atol=1e-10)
    both = Crystals.join([rutile(), crystals])
    together = symmetry.Symmetrizer.of(both).forces(torch.cat([torch.zeros(6, 3, dtype=torch.float64), forces]), both.cell)
    torch.testing.assert_close(together[6:], alone, rtol=0, atol=1e-12)


def test_a_wrong_symmetry_does_not_permute_the_atoms():
    found = symmetry.analyse(rutile())
    with pytest.raises(BadInput, match="does not permute"):
        symmetry.Symmetrizer.of(rattled(rutile(), 0.3), found=found)
