"""CIF, POSCAR, extended XYZ, tables, pymatgen and ASE: in, out and round again."""

import gzip
import io
import re

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Molecule, Structure
from pymatgen.io.cif import CifParser, CifWriter

from matterloop.base.errors import BadInput, MatterloopError, Missing
from matterloop.base.quantities import Quantity
from matterloop.crystal import formats
from matterloop.crystal.formats_cif_sites import element, operation
from matterloop.crystal.formats_cif_syntax import blocks, plain, real
from matterloop.crystal.gate import Limits
from matterloop.crystal.state import Crystals

CELL = "_cell_length_a 5.64\n_cell_length_b 5.64\n_cell_length_c 5.64\n_cell_angle_alpha 90\n_cell_angle_beta 90\n_cell_angle_gamma 90\n"
SITES = "loop_\n_atom_site_label\n_atom_site_type_symbol\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n_atom_site_occupancy\n"
SALT = "data_salt\n" + CELL + "_symmetry_Int_Tables_number 1\n" + SITES + "Na1 Na 0 0 0 1\nCl1 Cl 0.5 0.5 0.5 1\n"


def perovskite() -> Structure:
    return Structure.from_spacegroup("Pm-3m", Lattice.cubic(3.905), ["Sr", "Ti", "O"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]])


def symmetric_structures() -> list[Structure]:
    quartz = Structure.from_spacegroup("P3_221", Lattice.hexagonal(4.913, 5.405), ["Si", "O"], [[0.4697, 0, 2 / 3], [0.4135, 0.2669, 0.7858]])
    spinel = Structure.from_spacegroup("Fd-3m", Lattice.cubic(8.083), ["Mg", "Al", "O"], [[0, 0, 0], [0.625, 0.625, 0.625], [0.3874, 0.3874, 0.3874]])
    monoclinic = Structure.from_spacegroup("P2_1/c", Lattice.monoclinic(5.15, 5.21, 5.32, 99.2), ["Zr", "O", "O"],
                                           [[0.275, 0.04, 0.208], [0.07, 0.332, 0.345], [0.45, 0.757, 0.479]])
    corundum = Structure.from_spacegroup("R-3c", Lattice.hexagonal(4.76, 12.99), ["Al", "O"], [[0, 0, 0.3522], [0.3063, 0, 0.25]])
    return [perovskite(), quartz, spinel, monoclinic, corundum]


def one(text: str, kind: str = "cif", **options) -> Crystals:
    found = formats.read_text_of(text, kind, **options)
    assert not found.errors, found.errors
    assert len(found) == 1
    return found.crystals


def error(text: str, kind: str = "cif", **options) -> BadInput:
    found = formats.read_text_of(text, kind, **options)
    assert len(found) == 0 and len(found.errors) == 1
    return found.errors[0]


def assert_same_sites(ours: Crystals, theirs: Structure, tolerance: float = 1e-3) -> None:
    """Every atom of ours is one of theirs (same element, within `tolerance` Å), in cells of the same lengths and angles."""
    np.testing.assert_allclose(ours.lengths[0], theirs.lattice.abc, rtol=1e-6)
    np.testing.assert_allclose(ours.angles[0], theirs.lattice.angles, rtol=1e-6)
    delta = ours.frac.numpy()[:, None] - theirs.frac_coords[None]
    distance = np.linalg.norm((delta - np.round(delta)) @ theirs.lattice.matrix, axis=-1)
    nearest = distance.argmin(1)
    assert sorted(nearest) == list(range(len(theirs))) and distance.min(1).max() < tolerance
    assert ours.species.tolist() == [theirs.atomic_numbers[j] for j in nearest]


# CIF: syntax


def test_values_of_every_kind_of_quoting_are_read():
    (block,) = blocks("data_a # comment\n_x 'it's fine' _y \"a # b\"\n_z\n;\ntwo\nlines # no comment\n;\n_w plain;value\n_V.dot 1")
    assert {k: plain(v) for k, v in block.items.items()} == {"_x": "it's fine", "_y": "a # b", "_z": "two\nlines # no comment", "_w": "plain;value", "_v_dot": "1"}


def test_loops_end_at_tags_loops_and_blocks_and_tags_ignore_case():
    first, second = blocks("data_a\nLOOP_\n_A\n_B\n1 2\n3 '_x'\n_C 5\nloop_ _D 7 8 data_b _E 9")
    assert first.columns == {"_a": ["1", "3"], "_b": ["2", "'_x'"], "_d": ["7", "8"]} and first.items == {"_c": "5"} and second.items == {"_e": "9"}


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_line_ends_of_all_systems_are_read(ends):
    text = SALT.replace("_symmetry_Int", "_publ_section_comment\n;\ntext\n;\n_symmetry_Int").replace("\n", ends)
    assert one(text).formula() == "Cl1 Na1"


def test_uncertainties_in_parentheses_are_dropped():
    assert real("5.6402(3)", "x") == 5.6402 and real("-.5(12)", "x") == -0.5 and real("'1.5e1'", "x") == 15.0
    crystal = one(SALT.replace("_cell_length_a 5.64", "_cell_length_a 5.6402(3)").replace("0.5 0.5 0.5", "0.5(1) 0.5000(12) .5"))
    assert float(crystal.lengths[0, 0]) == pytest.approx(5.6402) and crystal.frac[1].tolist() == [0.5, 0.5, 0.5]


@pytest.mark.parametrize(("old", "new", "field", "words"), [
    ("Cl1 Cl 0.5 0.5 0.5 1\n", "Cl1 Cl 0.5 0.5\n", "_atom_site_label", "10 values for 6 columns: its last row is cut off"),
    ("_cell_length_a 5.64\n", "", "_cell_length_a", "it is missing"),
    ("_cell_length_a 5.64", "_cell_length_a -5.64", "_cell_length_a", "-5.64 is not possible"),
    ("_cell_length_a 5.64", "_cell_length_a ?", "_cell_length_a", "it is not given"),
    ("_cell_length_a 5.64", "_cell_length_a nan", "_cell_length_a", "'nan' is not a number"),
    ("_cell_length_a 5.64", "_cell_length_a 1e999", "_cell_length_a", "is not finite"),
    ("_cell_length_a 5.64", "_cell_length_a _cell_length_x", "_cell_length_a", "the tag has no value"),
    ("_cell_length_a 5.64", "_cell_length_a 5.64\n_CELL_length_a 5", "_CELL_length_a", "stands twice"),
    ("_cell_angle_gamma 90", "_cell_angle_gamma 180", "_cell_angle_gamma", "180 is not possible"),
    ("_cell_angle_gamma 90", "_cell_angle_gamma 3", "", "gamma = 3 °, allowed are 4 to 176 °"),
    ("0.5 0.5 0.5 1", "0.5 inf 0.5 1", "_atom_site_fract_y", "'inf' is not a number"),
    ("0.5 0.5 0.5 1", "0.5 1_0 0.5 1", "_atom_site_fract_y", "'1_0' is not a number"),
    ("0.5 0.5 0.5 1", "0.5 0.5 0.5 0.75", "_atom_site_occupancy", "'Cl' is occupied by 0.75: the crystal is disordered"),
    ("0.5 0.5 0.5 1", "0.5 0.5 0.5 2", "_atom_site_occupancy", "not between 0 and 1"),
    ("Na1 Na", "Na1 Nq", "_atom_site_type_symbol", "site 0: 'Nq' names no element"),
    ("Na1 Na", "D1 D", "_atom_site_type_symbol", "deuterium; isotopes are not told apart"),
    ("Na1 Na", "T1 T", "_atom_site_type_symbol", "tritium"),
    ("_atom_site_fract_x", "_atom_site_Cartn_x", "_atom_site_fract_x", "only Cartesian coordinates"),
    ("_symmetry_Int", "_atom_site_moment.label x\n_symmetry_Int", "_atom_site_moment", "magnetic CIF"),
    ("data_salt\n", "", "", "starts with data_<name>"),
    ("_symmetry_Int", "'open quote\n_symmetry_Int", "", "follows no tag"),
    ("_symmetry_Int", "save_x\n_symmetry_Int", "", "belongs to dictionaries"),
])
def test_a_bad_cif_is_refused_naming_the_field(old, new, field, words):
    assert old in SALT
    refused = error(SALT.replace(old, new))
    assert field.lower() in refused.field.lower()
    assert re.search(words, refused.message), refused.message


def test_a_broken_loop_that_the_structure_does_not_need_is_noted():
    found = formats.read_text_of(SALT + "loop_\n_citation_author_name\n_citation_author_id\nA B C\n")
    assert len(found) == 1 and "the loop of _citation_author_name was left out" in found.notes[0]


def test_a_formula_that_the_sites_do_not_make_is_noted():
    assert formats.read_text_of(SALT.replace("_symmetry_Int", "_chemical_formula_sum 'Na1 Cl1'\n_symmetry_Int")).notes == []
    found = formats.read_text_of(SALT.replace("_symmetry_Int", "_chemical_formula_sum 'Na1 Cl2'\n_symmetry_Int"))
    assert found.notes == ["salt: the sites make NaCl, but _chemical_formula_sum says Na1 Cl2"]


def test_several_data_blocks_of_a_file_give_one_structure_each_and_a_bad_one_is_named():
    found = formats.read_text_of("data_global\n_x 1\n" + SALT + SALT.replace("data_salt", "data_bad").replace("Na1 Na", "Na1 Nq") + SALT.replace("salt", "again"), name="two.cif")
    assert found.names == ["salt", "again"] and [e.row for e in found.errors] == ["data_bad"] and found.errors[0].file == "two.cif"


@pytest.mark.parametrize(("text", "is_label", "z"), [
    ("Fe", False, 26), ("FE", False, 26), ("fe", False, 26), ("Fe3+", False, 26), ("O2-", False, 8), ("O-2", False, 8), ("O-", False, 8), ("Fe1", False, 26),
    ("Fe1", True, 26), ("O2A", True, 8), ("OW1", True, 8), ("ZN1", True, 30), ("C10", True, 6), ("Ca", True, 20)])
def test_element_names(text, is_label, z):
    assert element(text, is_label) == z


@pytest.mark.parametrize(("text", "words"), [("FE1", "may mean Fe or F"), ("CA1", "may mean Ca or C"), ("D1", "deuterium"), ("Wat1", "names no element"), ("1", "names no element")])
def test_a_doubtful_label_is_refused(text, words):
    with pytest.raises(BadInput, match=words):
        element(text, True)


# CIF: symmetry


def test_operations_are_read_without_evaluating_them():
    assert operation("-y, x-y, z+1/3") == (((0, -1, 0), 0.0), ((1, -1, 0), 0.0), ((0, 0, 1), pytest.approx(1 / 3)))
    assert operation("1/2+X,.25-Y,Z") == (((1, 0, 0), 0.5), ((0, -1, 0), 0.25), ((0, 0, 1), 0.0))
    assert operation("1*x,-1*y,+z") == operation("x,-y,z")


@pytest.mark.parametrize("text", ["x,y", "x,y,z,x", "x,y,__import__('os')", "x,y,2*z", "x,x,z", "x,y,z/0", "x,y,z+1/0", "xy,y,z", "x,y,", "x,y,z**2", "x,y,a", "x+,y,z"])
def test_what_is_no_symmetry_operation_is_refused(text):
    with pytest.raises(BadInput):
        operation(text)


@pytest.mark.parametrize("structure", symmetric_structures(), ids=lambda s: s.reduced_formula)
def test_symmetric_cifs_of_pymatgen_expand_to_the_same_sites(structure):
    text = str(CifWriter(structure, symprec=0.01))
    assert text.count("\n  ") > 4
    assert_same_sites(one(text), Structure.from_str(text, "cif"))
    assert StructureMatcher().fit(formats.to_pymatgen(one(text))[0], structure)


def test_thirds_with_few_digits_stay_on_their_special_positions():
    """hcp Mg at (1/3, 2/3, 1/4) written as 0.333 0.667 0.25: without care 2 atoms become 4 or more."""
    text = str(CifWriter(Structure.from_spacegroup("P6_3/mmc", Lattice.hexagonal(3.2094, 5.2108), ["Mg"], [[1 / 3, 2 / 3, 0.25]]), symprec=0.01))
    assert "0.33333333" in text
    crystal = one(text.replace("0.33333333", "0.333").replace("0.66666667", "0.667"))
    assert crystal.atoms == 2 and {round(x, 12) for x in crystal.frac[:, 0].tolist()} == {round(1 / 3, 12), round(2 / 3, 12)}


def test_sites_that_fall_on_each_other_are_merged_or_refused():
    ops = "loop_\n_symmetry_equiv_pos_as_xyz\n'x,y,z'\n'-x,-y,-z'\n"
    text = SALT.replace("_symmetry_Int_Tables_number 1\n", ops)
    found = formats.read_text_of(text + "Na2 Na 0 0 1.0 1\n")
    assert found.crystals.atoms == 2 and "'Na2' is an image of an earlier site" in found.notes[0]
    assert "falls on a site of Na: disorder" in error(text + "K1 K 0 0 0 1\n").message


def test_operations_without_the_identity_or_too_many_atoms_are_refused():
    assert "identity" in error(SALT.replace("_symmetry_Int_Tables_number 1\n", "_symmetry_equiv_pos_as_xyz '-x,-y,-z'\n")).message
    text = str(CifWriter(symmetric_structures()[2], symprec=0.01))
    assert "more than 20 atoms after the symmetry operations" in error(text, limits=Limits(atoms=20)).message


def test_a_space_group_without_operations_is_read_by_pymatgen_in_a_child_process():
    text = SALT.replace("_symmetry_Int_Tables_number 1", "_symmetry_space_group_name_H-M 'F m -3 m'").replace("0.5 0.5 0.5", "0.5 0 0")
    found = formats.read_text_of(text)
    assert found.crystals.formula() == "Cl4 Na4" and "read by pymatgen" in found.notes[0]
    assert "Fm-3m is named without its operations" in error(text, fallback=False).message


def test_no_symmetry_at_all_is_taken_as_p1_and_said():
    assert "taken as all atoms (P 1)" in formats.read_text_of(SALT.replace("_symmetry_Int_Tables_number 1\n", "")).notes[0]


# CIF: writing


def random_batch(sizes=(1, 3, 5), seed: int = 0) -> Crystals:
    rng = torch.Generator().manual_seed(seed)
    cells = 6 * torch.eye(3, dtype=torch.float64) + torch.rand(len(sizes), 3, 3, generator=rng, dtype=torch.float64)
    parts = []
    for n, cell in zip(sizes, cells, strict=True):  # atoms on a grid of 2 Å with a little noise, so that none overlap
        grid = torch.cartesian_prod(*[torch.arange(3.0, dtype=torch.float64)] * 3)[torch.randperm(27, generator=rng)[:n]] / 3
        parts.append(Crystals.of(grid + 0.02 * torch.rand(n, 3, generator=rng), torch.randint(1, 90, (n,), generator=rng), cell))
    return Crystals.join(parts)


@given(st.lists(st.integers(1, 8), min_size=1, max_size=4), st.integers(0, 50))
@settings(max_examples=15)
def test_writing_and_reading_cif_keeps_species_lengths_angles_and_coordinates(sizes, seed):
    batch = random_batch(sizes, seed)
    back = formats.read_text_of("".join(formats.cif_texts(batch, [f"c{i}" for i in range(len(batch))])), limits=Limits(volume_per_atom=(2, 1000)))
    assert not back.errors and not back.notes and back.names == [f"c{i}" for i in range(len(batch))]
    assert torch.equal(back.crystals.species, batch.species)
    for ours, theirs in ((back.crystals.frac, batch.frac), (back.crystals.lengths, batch.lengths), (back.crystals.angles, batch.angles)):
        torch.testing.assert_close(ours, theirs, atol=1e-8, rtol=0)


def test_pymatgen_reads_what_we_write():
    batch = random_batch()
    for text, structure in zip(formats.cif_texts(batch), formats.to_pymatgen(batch), strict=True):
        assert_same_sites(formats.from_pymatgen(Structure.from_str(text, "cif")), structure, 1e-6)


@pytest.mark.parametrize("structure", symmetric_structures(), ids=lambda s: s.reduced_formula)
def test_symmetric_cifs_hold_one_site_per_orbit_and_come_back(structure):
    (text,) = formats.cif_texts(formats.from_pymatgen(structure), symprec=0.01)
    assert text.split("_atom_site_occupancy")[1].count("\n  ") < len(structure)
    for back in (formats.to_pymatgen(one(text))[0], Structure.from_str(text, "cif")):
        assert len(back) == len(structure) and StructureMatcher(primitive_cell=False).fit(back, structure)


def test_hostile_names_cannot_leave_their_line():
    (text,) = formats.cif_texts(random_batch((1,)), ["x\ndata_y\n_cell_length_a 'é"])
    assert text.count("data_") == 2 and len(blocks(text)) == 1


@pytest.mark.parametrize("write", [formats.cif_texts, formats.poscar_texts])
def test_formats_that_cannot_tell_a_structure_refuse_it(write):
    salt = one(SALT)
    with pytest.raises(BadInput, match="crystal 1: .*write extxyz"):
        write(Crystals.join([salt, Crystals.of([[0, 0, 0]], [2], torch.eye(3), periodic=[True, True, False])]))
    with pytest.raises(BadInput, match="no element yet"):
        write(salt.put(species=torch.tensor([11, 0])))
    with pytest.raises(BadInput, match="2 names for 1 crystals"):
        write(salt, ["a", "b"])


# POSCAR

POSCAR = "salt\n1.0\n5.64 0 0\n0 5.64 0\n0 0 5.64\nNa Cl\n1 1\nDirect\n0 0 0\n0.5 0.5 0.5\n"


@pytest.mark.parametrize(("old", "new"), [
    ("1.0\n", "2.0\n"), ("1.0\n", "-100\n"), ("Direct\n", "Cartesian\n"), ("Direct\n", "Selective dynamics\nDirect\n"), ("Na Cl", "Na_pv Cl"), ("Direct", "direct")])
def test_poscars_are_read_as_pymatgen_reads_them(old, new):
    from pymatgen.io.vasp import Poscar

    text = POSCAR.replace(old, new)
    if new == "Cartesian\n":
        text = text.replace("0.5 0.5 0.5", "2.82 2.82 2.82")
    ours, theirs = formats.read_text_of(text, "poscar", limits=Limits(volume_per_atom=(2, 1000))).crystals, Poscar.from_str(text.replace("Na_pv", "Na")).structure
    np.testing.assert_allclose(ours.cell[0], theirs.lattice.matrix, atol=1e-9)
    np.testing.assert_allclose(ours.frac, theirs.frac_coords, atol=1e-9)
    assert ours.species.tolist() == list(theirs.atomic_numbers)


def test_three_scale_factors_stretch_the_cartesian_directions():
    crystal = one(POSCAR.replace("1.0\n", "1.0 1.1 1.2\n").replace("0 0 5.64", "0 5 5"), "poscar")
    torch.testing.assert_close(crystal.cell[0], torch.tensor([[5.64, 0, 0], [0, 6.204, 0], [0, 5.5, 6.0]], dtype=torch.float64))


def test_a_left_handed_poscar_is_turned_right_handed_and_said():
    text = POSCAR.replace("5.64 0 0\n0 5.64 0", "0 5.64 0\n5.64 0 0").replace("0.5 0.5 0.5", "0.5 0.25 0.1")
    found = formats.read_text_of(text, "poscar")
    assert "left-handed; cell and fractional coordinates were both negated" in found.notes[0]
    assert float(torch.linalg.det(found.crystals.cell[0])) > 0
    torch.testing.assert_close(found.crystals.cart[1], torch.tensor([1.41, 2.82, 0.564], dtype=torch.float64))  # 0.25 * 5.64, 0.5 * 5.64, 0.1 * 5.64


@pytest.mark.parametrize(("old", "new", "field", "words"), [
    ("Na Cl\n", "", "line 6", "VASP 4"), ("1 1\n", "1\n", "line 7", "one count for each of 2"), ("1 1\n", "1 x\n", "line 7", "one count"), ("1 1\n", "1 3\n", "coordinates", "cut off"),
    ("1 1\n", "1 999999\n", "line 7", "allowed are 1 to 500"), ("1.0\n", "0\n", "line 2", "scale factor is zero"), ("1.0\n", "nan\n", "line 2", "finite number"),
    ("0 5.64 0", "0 5.64", "line 4", "3 finite numbers"), ("Direct", "Foo", "mode", "neither Direct nor Cartesian"), ("0.5 0.5 0.5", "0.5 0.5 b", "line 10", "3 finite"),
    ("Na Cl", "Na Zz", "line 6", "no element called 'Zz'"), ("Na Cl", "Na D", "line 6", "write H for D"), ("0 5.64 0\n", "0 0 5.64\n", "", "no volume")])
def test_a_bad_poscar_is_refused_naming_the_line(old, new, field, words):
    refused = error(POSCAR.replace(old, new, 1), "poscar")
    assert field in refused.field and re.search(words, refused.message), (refused.field, refused.message)


def test_poscars_come_back_exactly_and_are_read_by_ase():
    batch = random_batch((4, 6), 3)
    for i, text in enumerate(formats.poscar_texts(batch)):
        back = formats.read_text_of(text, "poscar").crystals
        torch.testing.assert_close(back.frac, batch[i].frac, atol=1e-15, rtol=0)
        torch.testing.assert_close(back.cell, batch[i].cell, atol=1e-15, rtol=0)
        theirs = ase.io.read(io.StringIO(text), format="vasp")
        np.testing.assert_allclose(theirs.positions, batch[i].cart, atol=1e-9)
        assert theirs.numbers.tolist() == batch[i].species.tolist()


# extended XYZ


def labelled() -> Crystals:
    rng = torch.Generator().manual_seed(1)
    real = lambda *shape: torch.randn(*shape, generator=rng, dtype=torch.float64)
    batch = random_batch((2, 3))
    symmetric = real(2, 3, 3)
    return batch.with_fields(
        {"forces": real(5, 3), "magmom": real(5), "born_charges": real(5, 3, 3), "spin_axis": real(5, 3)},
        {"energy": real(2), "stress": symmetric + symmetric.transpose(1, 2), "band_gap": real(2).abs(), "twist": real(2, 3)},
        {"spin_axis": Quantity(1, -1, False, "a b"), "twist": Quantity(1, 1, True, "")})


def test_extxyz_brings_back_every_field_with_its_name_and_quantity():
    batch = labelled()
    back = formats.read_text_of(formats.extxyz_text(batch, ["one", "two"]), "extxyz")
    assert back.names == ["one", "two"] and not back.errors and not back.notes
    assert back.crystals.quantities == batch.quantities
    for name in ("cell", "species", "periodic", *batch.site, *batch.whole):
        torch.testing.assert_close(back.crystals.get(name), batch.get(name), atol=1e-12, rtol=0)
    torch.testing.assert_close(back.crystals.frac, batch.frac, atol=1e-12, rtol=0)


def test_ase_reads_our_extxyz_in_the_same_units_and_we_read_ases(tmp_path):
    batch = labelled()
    theirs = ase.io.read(io.StringIO(formats.extxyz_text(batch)), ":", format="extxyz")
    for i, atoms in enumerate(theirs):
        assert atoms.get_potential_energy() == pytest.approx(float(batch.whole["energy"][i]))
        np.testing.assert_allclose(atoms.get_forces(), batch[i].site["forces"], atol=1e-9)
        np.testing.assert_allclose(atoms.get_stress(voigt=False), batch.whole["stress"][i], atol=1e-9)
    ase.io.write(tmp_path / "b.extxyz", theirs)
    back = formats.read(tmp_path / "b.extxyz").crystals
    torch.testing.assert_close(back.site["forces"], batch.site["forces"], atol=1e-7, rtol=0)
    torch.testing.assert_close(back.whole["stress"], batch.whole["stress"], atol=1e-7, rtol=0)
    torch.testing.assert_close(back.cart, batch.cart, atol=1e-7, rtol=0)


def test_a_virial_becomes_a_stress():
    text = '1\nLattice="2 0 0 0 2 0 0 0 2" virial="8 0 0 0 8 0 0 0 8" energy=-1\nFe 0 0 0\n'
    crystal = one(text, "extxyz")
    torch.testing.assert_close(crystal.whole["stress"][0], -torch.eye(3, dtype=torch.float64))


def test_frames_without_a_label_get_nan_and_a_note():
    found = formats.read_text_of("1\nenergy=-1.5\nHe 0 0 0\n1\nnote=none\nHe 0 0 0\n", "extxyz")
    assert found.crystals.whole["energy"][0] == -1.5 and torch.isnan(found.crystals.whole["energy"][1]) and found.notes == ["text-1: the field 'energy' is not given and stands as NaN"]
    assert found.crystals.periodic.tolist() == [[False] * 3] * 2


def test_fields_that_nobody_can_transform_are_left_out_and_named_or_kept_on_request():
    text = '1\nProperties=species:S:1:pos:R:3:odd:R:3 charm=2.5 label=word\nHe 0 0 0 1 2 3\n'
    found = formats.read_text_of(text, "extxyz")
    assert not found.crystals.site and "odd, charm" in found.notes[0]
    kept = formats.read_text_of(text, "extxyz", quantities={"odd": Quantity(1), "charm": Quantity()})
    assert kept.crystals.site["odd"].tolist() == [[1, 2, 3]] and kept.crystals.whole["charm"].tolist() == [2.5] and not kept.notes


def test_a_bad_frame_is_named_and_the_others_go_on_but_a_wrong_count_ends_the_file():
    good = "1\n\nHe 0 0 0\n"
    found = formats.read_text_of(good + "1\n\nQq 0 0 0\n" + good, "extxyz", name="a.xyz")
    assert len(found) == 2 and found.errors[0].row == "frame 1" and found.errors[0].file == "a.xyz" and "no element called 'Qq'" in str(found.errors[0])
    found = formats.read_text_of(good + "7\n\nHe 0 0 0\n", "extxyz")
    assert len(found) == 1 and "announces 7 atoms" in found.errors[0].message
    found = formats.read_text_of(good + "He 0 0 0\n", "extxyz")
    assert len(found) == 1 and "line 4 should be a number of atoms" in found.errors[0].message


@pytest.mark.parametrize(("text", "words"), [
    ("1\n\nHe 0 0 nan\n", "a coordinate is not finite"), ("1\n\nHe 0 0 x\n", "not a number"), ("1\n\nHe 0 0\n", "3 columns, 4 announced"), ("1\n\nD 0 0 0\n", "write H for D"),
    ("1\nProperties=species:S:1:pos:Q:3\nHe 0 0 0\n", "triples"), ("1\nProperties=species:S:1\nHe\n", "no column pos"), ('1\nLattice="1 2 3"\nHe 0 0 0\n', "9 finite numbers"),
    ('1\nLattice="1 0 0 1 0 0 0 0 1"\nHe 0 0 0\n', "no volume"), ('1\npbc="T T"\nHe 0 0 0\n', "three of T and F"), ('1\npbc="T T T"\nHe 0 0 0\n', "no Lattice"),
    ('1\nLattice="9 0 0 0 9 0 0 0 nan"\nHe 0 0 0\n', "finite"), ("1000000\n\nHe 0 0 0\n", "cut off"), ("0\n\n", "allowed are 1 to 500")])
def test_a_bad_frame_says_why(text, words):
    assert words in error(text, "extxyz").message


# objects of other libraries


def test_pymatgen_round_trip_keeps_batches_fields_and_partial_periodicity():
    slab = Structure(Lattice([[2.46, 0, 0], [-1.23, 2.13, 0], [0, 0, 20]], pbc=(True, True, False)), ["C", "C"], [[0, 0, 0.5], [1 / 3, 2 / 3, 0.5]])
    batch = formats.from_pymatgen([perovskite(), slab])
    assert batch.counts.tolist() == [5, 2] and batch.periodic.tolist() == [[True] * 3, [True, True, False]]
    for ours, theirs in zip(formats.to_pymatgen(batch), (perovskite(), slab), strict=True):
        assert ours == theirs
    full = labelled()
    again = formats.from_pymatgen(formats.to_pymatgen(full), quantities=full.quantities)
    for name in ("frac", "cell", "species", *full.site, *full.whole):
        torch.testing.assert_close(again.get(name), full.get(name), atol=1e-12, rtol=0)


def test_molecules_of_pymatgen_repeat_nowhere():
    water = Molecule(["O", "H", "H"], [[0, 0, 0.119], [0, 0.763, -0.477], [0, -0.763, -0.477]])
    batch = formats.from_pymatgen(water)
    assert batch.periodic.tolist() == [[False] * 3]
    np.testing.assert_allclose(batch.cart, water.cart_coords)
    assert formats.to_pymatgen(batch)[0] == water


def test_pymatgen_structures_that_cannot_be_told_are_refused_by_number():
    mixed = Structure(Lattice.cubic(4), [{"Fe": 0.5, "Ni": 0.5}], [[0, 0, 0]])
    with pytest.raises(BadInput, match="structure 1: it is disordered"):
        formats.from_pymatgen([perovskite(), mixed])
    with pytest.raises(BadInput, match="deuterium"):
        formats.from_pymatgen(Structure(Lattice.cubic(4), ["D"], [[0, 0, 0]]))


def test_left_handed_objects_keep_their_atoms():
    lattice = [[0, 4.0, 0], [3.0, 0, 0], [0, 0, 5.0]]
    structure = Structure(lattice, ["Fe", "O"], [[0, 0, 0], [0.5, 0.25, 0.1]])
    for batch in (formats.from_pymatgen(structure), formats.from_ase(Atoms("FeO", cell=lattice, scaled_positions=[[0, 0, 0], [0.5, 0.25, 0.1]], pbc=True))):
        assert float(torch.linalg.det(batch.cell[0])) > 0
        np.testing.assert_allclose(batch.cart, structure.cart_coords, atol=1e-12)


def test_ase_round_trip_keeps_labels_arrays_and_info():
    full = labelled()
    back = formats.from_ase(formats.to_ase(full), quantities=full.quantities)
    assert back.site.keys() == full.site.keys() and back.whole.keys() == full.whole.keys()
    for name in ("frac", "cell", "species", *full.site, *full.whole):
        torch.testing.assert_close(back.get(name), full.get(name), atol=1e-12, rtol=0)


def test_results_of_ase_calculators_are_taken_with_their_conventions():
    atoms = Atoms("Fe2", positions=[[0, 0, 0], [1.4, 1.4, 1.4]], cell=[2.8] * 3, pbc=True)
    atoms.calc = SinglePointCalculator(atoms, energy=-16.5, forces=[[0, 0, 0.1], [0, 0, -0.1]], stress=[1, 2, 3, 4, 5, 6], magmoms=[2.2, 2.3])
    batch = formats.from_ase(atoms)
    assert batch.whole["energy"].tolist() == [-16.5] and batch.site["magmom"].tolist() == [2.2, 2.3]
    assert batch.whole["stress"][0].tolist() == [[1, 6, 5], [6, 2, 4], [5, 4, 3]]  # Voigt: xx yy zz yz xz xy
    np.testing.assert_allclose(formats.to_ase(batch)[0].get_stress(), [1, 2, 3, 4, 5, 6])


def test_ase_atoms_without_a_cell_are_molecules_and_a_periodic_axis_needs_a_vector():
    batch = formats.from_ase([Atoms("H2", [[0, 0, 0], [0, 0, 0.74]]), Atoms("C", [[0, 0, 3]], cell=[2, 2, 0], pbc=[True, True, False])])
    assert batch.periodic.tolist() == [[False] * 3, [True, True, False]] and batch.cart[1].tolist() == [0, 0, 0.74] and float(batch.cart[2, 2]) == pytest.approx(3)
    with pytest.raises(BadInput, match="atoms 0: it is periodic along an axis without"):
        formats.from_ase(Atoms("H", pbc=True))


def test_labels_that_were_not_measured_do_not_reach_a_calculator():
    salt = one(SALT).with_fields(whole={"energy": torch.tensor([float("nan")])})
    assert formats.to_ase(salt)[0].calc is None


def test_no_objects_give_no_crystals():
    assert len(formats.from_ase([])) == len(formats.from_pymatgen([])) == len(formats.no_crystals()) == 0
    assert formats.to_ase(formats.no_crystals()) == [] and formats.cif_texts(formats.no_crystals()) == []


# files and tables


def file_name(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def test_many_files_and_patterns_are_read_and_bad_ones_listed(tmp_path):
    (tmp_path / "a.cif").write_text(SALT)
    (tmp_path / "b.cif").write_text(SALT.replace("Na1 Na", "Na1 Nq"))
    with gzip.open(tmp_path / "c.cif.gz", "wt") as file:
        file.write(SALT.replace("data_salt", "data_packed"))
    (tmp_path / "POSCAR").write_text(POSCAR)
    (tmp_path / "d.unknown").write_text("x")
    found = formats.read([tmp_path / "*.cif*", tmp_path / "POSCAR", tmp_path / "d.unknown", tmp_path / "none.cif", tmp_path / "*.nothing"])
    assert found.names == ["salt", "packed", "POSCAR"] and len(found.crystals) == 3 and [file_name(f) for f, _ in found.sources] == ["a.cif", "c.cif.gz", "POSCAR"]
    assert sorted(file_name(e.file) for e in found.errors) == ["*.nothing", "b.cif", "d.unknown", "none.cif"]
    words = " ".join(map(str, found.errors))
    assert all(w in words for w in ("'Nq' names no element", "pass kind= one of", "no such file", "no file fits this pattern"))


def test_an_unknown_kind_is_an_error_of_the_call():
    with pytest.raises(Missing, match="did you mean poscar"):
        formats.read("x", kind="poscarr")


def table(tmp_path, suffix: str):
    import pandas

    rows = pandas.DataFrame({"material_id": ["m0", "m1", "m2", "m3"], "cif": [SALT, SALT.replace("0.5 0.5 0.5", "0.001 0 0"), None, SALT + SALT],
                             "band_gap": [5.0, 1.0, 2.0, None], "other": list("abcd")})
    path = tmp_path / f"t{suffix}"
    rows.to_parquet(path) if suffix == ".parquet" else rows.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_tables_give_a_structure_per_row_and_an_error_per_bad_row(tmp_path, suffix):
    found = formats.read_table(table(tmp_path, suffix), columns={"band_gap": "band_gap"})
    assert found.names == ["m0"] and found.crystals.whole["band_gap"].tolist() == [5.0] and found.sources[0][1] == 0
    assert [e.row for e in found.errors] == ["row 1 (m1)", "row 2 (m2)", "row 3 (m3)"]
    assert [w in str(e) for w, e in zip(("overlap", "the cell is empty", "2 data blocks, one is wanted"), found.errors, strict=True)] == [True] * 3


def test_some_rows_of_a_table_can_be_chosen(tmp_path):
    assert formats.read_table(table(tmp_path, ".csv"), rows=[0, 2]).names == ["m0"] and len(formats.read_table(table(tmp_path, ".csv"), rows=slice(1, 3)).errors) == 2


def test_bad_tables_are_refused_with_a_sentence(tmp_path):
    (tmp_path / "bad.parquet").write_bytes(b"PAR1nothing")
    (tmp_path / "bad.csv").write_bytes(b"a,b\n1,\xff\xff\n")
    for path, words in ((table(tmp_path, ".csv"), ""), (tmp_path / "bad.parquet", "cannot be read as a table"), (tmp_path / "bad.csv", "not UTF-8"), (tmp_path / "no.csv", "no such file")):
        found = formats.read_table(path, cif_column="missing" if not words else "cif")
        assert len(found) == 0 and (words or "no column 'missing'") in str(found.errors[0])
    assert "is not a standard field" in str(formats.read_table(table(tmp_path, ".csv"), columns={"band_gap": "colour"}).errors[0])


def test_writing_and_reading_files(tmp_path):
    batch = random_batch((2, 3))
    loose = Limits(volume_per_atom=(2, 1000))
    assert len(formats.read(formats.write_cif(batch, tmp_path / "a.cif"), limits=loose)) == 2
    assert len(formats.read(formats.write_extxyz(batch, tmp_path / "a.xyz"), limits=loose)) == 2
    assert len(formats.read(formats.write_poscar(batch, tmp_path / "many"), limits=loose)) == 2
    assert [p.name for p in formats.write_poscar(batch[0], tmp_path / "POSCAR")] == ["POSCAR"]
    with pytest.raises(BadInput, match="cannot be written"):
        formats.write_cif(batch, tmp_path / "no" / "a.cif")


# real data and noise


@pytest.mark.data
def test_three_hundred_rows_of_mp20_are_the_structures_that_pymatgen_reads(data_dir):
    import pandas

    path = data_dir / "mp20_biternary_val_test" / "val.csv.gz"
    found = formats.read_table(path, rows=slice(0, 300))
    assert len(found) == 300 and not found.errors and not found.notes
    for i, text in enumerate(pandas.read_csv(path, nrows=300)["cif"]):
        (theirs,) = CifParser.from_str(text, frac_tolerance=0).parse_structures(primitive=False)  # by default it moves 0.33338 to 1/3
        assert found.crystals[i].species.tolist() == list(theirs.atomic_numbers)
        delta = found.crystals[i].frac.numpy() - theirs.frac_coords
        assert np.abs(delta - np.round(delta)).max() < 1e-9
        np.testing.assert_allclose(found.crystals.lengths[i], theirs.lattice.abc, rtol=1e-9)
        np.testing.assert_allclose(found.crystals.angles[i], theirs.lattice.angles, rtol=1e-9)


pieces = st.sampled_from([
    "data_a\n", CELL, SITES, "Na1 Na 0 0 0 1\n", "Cl1 Cl .5 .5 .5 1\n", "loop_\n", "_symmetry_equiv_pos_as_xyz\n", "'x,y,z'\n", "'-x,y,z+1/2'\n", "'", '"', "\n;\n", "#", " ", "?", "_cell_length_a",
    "1e400", "nan", "-1", "1\n\n", "Lattice=\"", "Properties=species:S:1:pos:R:3", "Direct\n", POSCAR, SALT, "\0", "é", "９", "save_", "data_", "He 0 0 0\n"])


@pytest.mark.parametrize("kind", ["cif", "poscar", "extxyz"])
@given(text=st.lists(pieces | st.text(max_size=20), max_size=12).map("".join) | st.text(max_size=100))
@settings(max_examples=120)
def test_no_text_breaks_a_reader(kind, text):
    found = formats.read_text_of(text, kind, fallback=False)
    assert len(found) == len(found.names) and all(isinstance(e, MatterloopError) for e in found.errors)
    assert bool(torch.isfinite(found.crystals.cart).all())


@given(st.integers(0, len(SALT) - 1), st.integers(0, 40), st.text(max_size=6))
@settings(max_examples=150)
def test_a_damaged_cif_is_an_error_or_a_structure(at, length, new):
    found = formats.read_text_of(SALT[:at] + new + SALT[at + length:], fallback=False)
    assert len(found) + len(found.errors) >= 1


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_refused_or_read(data):
    found = formats.read_text_of(data)
    assert len(found.errors) == 1
