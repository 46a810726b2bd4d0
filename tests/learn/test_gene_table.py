"""Rows of relaxed structures keep their ids, data files and geometry; labels are those of the hull; a broken table says where."""

import numpy as np
import pandas as pd
import pytest
import torch

from matterloop.base import registry
from matterloop.base.errors import BadInput, Missing
from matterloop.crystal.composition import compositions, reduced
from matterloop.crystal.wyckoff import Parameters, free_parameters, from_parameters
from matterloop.learn.gene_table import GeneTable, of_compounds, read_rows
from matterloop.measure.labelled_genes import covered, labelled, shipped_genes
from matterloop.measure.reference import coverage, reference_crystals, reference_hull
from matterloop.represent.wyckoff_gene import gene

SALT = {"id": "mp-1", "source": "mp", "status": "converged", "space_group": 225, "sites": "Na_a.Cl_b", "lattice": [5.7], "parameters": [], "gene": "225:Na_a.Cl_b", "energy_per_atom": -3.5}
RUTILE = {"id": "wbm-2", "source": "wbm", "status": "converged", "space_group": 136, "sites": "Ti_a.O_f", "lattice": [4.6, 2.96], "parameters": [0.305], "gene": "136:Ti_a.O_f",
          "energy_per_atom": -9.0}
WHERE_THE_HULL_IS = {((11, 1), (17, 1)): (-1.5, -3.4), ((8, 2), (22, 1)): (-6.0, -9.1)}


def levels(listed):
    """Elements and hull of the two compounds, made up; nothing is known of others."""
    found = [WHERE_THE_HULL_IS.get(reduced(c), (np.nan, np.nan)) for c in listed]
    return np.array([e for e, _ in found]), np.array([h for _, h in found])


def frame(*rows):
    table = pd.DataFrame([{**SALT, **row} for row in rows])
    table["lattice"] = [np.asarray(x, dtype=np.float32) for x in table.lattice]
    table["parameters"] = [np.asarray(x, dtype=np.float32) for x in table.parameters]
    return table


def read(*rows, files=None, name="own.parquet"):
    return read_rows({name: frame(*rows)}, levels, files)


def data_files(*rows):
    return pd.DataFrame(rows, columns=["id", "files", "band_gap", "same_as"])


# rows and labels


def test_labels_are_distances_to_the_elements_and_to_the_hull_and_never_negative():
    table = read({}, RUTILE)
    assert table.ids == ("mp-1", "wbm-2") and table.source.tolist() == ["mp", "wbm"]
    assert table.energy.tolist() == [-3.5, -9.0]
    assert table.formation_energy.tolist() == pytest.approx([-2.0, -3.0])
    assert table.above_hull.tolist() == pytest.approx([0.0, 0.1])
    assert np.isnan(table.band_gap).all() and table.splits == (frozenset(), frozenset())


def test_free_parameters_are_shared_out_to_the_sites_they_belong_to():
    table = read({}, RUTILE, {"id": "own", "space_group": 62, "sites": "Na_c.Cl_c.Cl_d.Na_d", "lattice": [9.0, 7.0, 5.0], "parameters": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.05],
                               "gene": "other"})
    assert table.parameters[0] == Parameters(225, (np.float32(5.7),), (("a", 11, ()), ("b", 17, ())))
    assert table.parameters[1].sites == (("a", 22, ()), ("f", 8, (pytest.approx(0.305),)))
    assert [(letter, z, pytest.approx(values)) for letter, z, values in table.parameters[2].sites] == [
        ("c", 11, (0.1, 0.2)), ("c", 17, (0.3, 0.4)), ("d", 17, (0.5, 0.6, 0.7)), ("d", 11, (0.8, 0.9, 0.05))]


def test_the_composition_is_that_of_the_primitive_and_of_the_conventional_cell():
    assert read({"space_group": 221, "sites": "Na_a.Cl_b", "gene": "221:Na_a.Cl_b"}).formation_energy.tolist() == pytest.approx([-2.0])  # CsCl type, one formula unit
    assert read(RUTILE).genes()[0].composition == {8: 4, 22: 2}


def test_rows_that_failed_or_have_no_hull_or_lie_in_a_hole_of_the_potential_are_left_out():
    table = read({}, {"id": "steps", "status": "steps"}, {"id": "failed", "status": "failed", "sites": "", "energy_per_atom": np.nan, "space_group": 0},
                 {"id": "unknown", "sites": "K_a.Cl_b", "gene": "225:Cl_a.K_b"}, {"id": "hole", "energy_per_atom": -3.61, "gene": "hole"},
                 {"id": "deep", "energy_per_atom": -3.59, "gene": "deep"})
    assert table.ids == ("mp-1", "deep") and table.above_hull[1] == 0


def test_an_empty_table_is_a_table():
    assert len(read({"status": "failed"})) == 0


# repetitions


def test_the_same_gene_and_energy_is_one_row_that_keeps_ids_files_and_gap():
    files = data_files(("mp-1", "mp20_val", np.nan, ""), ("wbm-9", "wbm", 5.0, ""), ("oqmd-3", "lemat_oqmd", 4.0, "mp-1"), ("elsewhere", "x", 1.0, ""))
    table = read({}, RUTILE, {"id": "wbm-9", "source": "wbm", "energy_per_atom": -3.5009}, {"id": "own-1", "energy_per_atom": -3.5022}, files=files)
    assert table.ids == ("mp-1", "wbm-2", "own-1")  # 1.3 meV/atom from its nearest: another structure
    assert table.aliases == (("oqmd-3", "wbm-9"), (), ())
    assert table.splits == (frozenset({"mp20_val", "wbm", "lemat_oqmd"}), frozenset(), frozenset())
    assert table.band_gap[0] == 4.0 and np.isnan(table.band_gap[1:]).all()


def test_the_row_that_came_first_leads_whatever_its_energy():
    assert read({"energy_per_atom": -3.4995}, {"id": "wbm-9", "energy_per_atom": -3.5}).energy.tolist() == [-3.4995]
    assert read({"id": "wbm-9", "energy_per_atom": -3.5}, {"energy_per_atom": -3.4995}).ids == ("wbm-9",)


# parts of a table


def several():
    files = data_files(("mp-1", "mp20_val mpts52_val", np.nan, ""), ("wbm-2", "wbm", 3.0, ""))
    return read({}, RUTILE, {"id": "mp-3", "energy_per_atom": -3.3}, files=files)


def test_rows_are_taken_by_number_or_mask():
    table = several()
    assert table.take([2, 0]).ids == ("mp-3", "mp-1") and table.take(table.source == "wbm").band_gap.tolist() == [3.0]
    assert table.take([2, 0]).energy.tolist() == [-3.3, -3.5] and len(table.take([])) == 0
    with pytest.raises(BadInput, match="a mask of 2 for 3 rows"):
        table.take(np.array([True, False]))


def test_a_data_file_is_excluded_with_every_row_in_it():
    table = several()
    assert table.exclude_splits("mp20_val").ids == ("wbm-2", "mp-3") and table.exclude_splits(["wbm", "mpts52_val"]).ids == ("mp-3",)
    with pytest.raises(Missing, match="no data file of the table called 'mp20_vall'; did you mean mp20_val"):
        table.exclude_splits("mp20_vall")


def test_tables_are_joined_and_columns_of_other_lengths_refused():
    table = several()
    assert GeneTable.join([table, table.take([1])]).ids == ("mp-1", "wbm-2", "mp-3", "wbm-2")
    with pytest.raises(BadInput, match="2 values of 'energy' for 3 rows"):
        GeneTable(table.ids, table.source, table.parameters, table.energy[:2], table.formation_energy, table.above_hull, table.band_gap, table.splits)


def test_no_chemical_system_stands_on_both_sides_and_sides_do_not_move_when_the_table_grows():
    table = shipped_genes()
    rest, held = table.held_out_systems(0.1, seed=3)
    sides = [{table.systems[i] for i in rows.tolist()} for rows in (rest, held)]
    assert sorted([*rest, *held]) == list(range(len(table))) and not sides[0] & sides[1]
    assert len(sides[1]) / sum(map(len, sides)) == pytest.approx(0.1, abs=0.01)
    half = table.take(np.arange(0, len(table), 2))
    assert {half.systems[i] for i in half.held_out_systems(0.1, seed=3)[1].tolist()} <= sides[1]
    assert set(table.held_out_systems(0.1, seed=4)[1].tolist()) != set(held.tolist())
    with pytest.raises(BadInput, match="fraction is 2"):
        table.held_out_systems(2)


def test_a_round_of_candidates_is_labelled_as_the_table_is():
    table = GeneTable.of(["a"], "own_random", [Parameters(225, (5.7,), (("a", 11, ()), ("b", 17, ())))], [-3.3], levels, splits=[["x"]])
    assert table.formation_energy.tolist() == pytest.approx([-1.8]) and table.above_hull.tolist() == pytest.approx([0.1]) and table.splits == (frozenset({"x"}),)


# broken tables


@pytest.mark.parametrize("row, field, message", [
    ({"space_group": 231}, "space_group", "231 is no space group"),
    ({"energy_per_atom": np.inf}, "energy_per_atom", "the energy is inf"),
    ({"sites": "Na_a.Cl"}, "sites", "'Na_a.Cl' is no list"),
    ({"sites": "Na_a.Xy_b"}, "sites", "is no list"),
    ({"sites": "Na_a.Cl_z"}, "sites", "a letter that group 225 does not have"),
    ({"sites": "Na_a.Cl_a"}, "sites", "without free parameters twice"),
    ({"lattice": [5.7, 5.7]}, "lattice", "has 2 values, 1 are wanted"),
    ({"lattice": [np.nan]}, "lattice", "not finite"),
    ({"sites": "Na_a.Cl_e"}, "parameters", "has 0 values, 1 are wanted"),
    ({"sites": "Na_a.Cl_e", "parameters": [np.nan]}, "parameters", "not finite"),
])
def test_a_broken_row_is_named_with_file_row_and_field(row, field, message):
    with pytest.raises(BadInput, match=message) as caught:
        read({}, {"id": "mp-8", **row}, name="broken.parquet")
    assert (caught.value.file, caught.value.row, caught.value.field) == ("broken.parquet", "row mp-8", field)


def test_a_missing_column_and_a_repeated_id_are_refused():
    with pytest.raises(BadInput, match="x.parquet: lacks the columns gene"):
        read_rows({"x.parquet": frame({}).drop(columns="gene")}, levels)
    with pytest.raises(BadInput, match="row mp-1.*the id stands twice"):
        read({}, {"energy_per_atom": -3.0})


def test_rows_of_the_reference_without_a_relaxed_geometry_are_no_rows():
    compounds = pd.DataFrame({
        "material_id": ["mp-1", "mp-2", "built-NaCl-221"], "source": ["mp20", "mpts52", "built"], "lattice": [np.array([5.7]), None, np.array([3.5])],
        "parameters": [np.zeros(0), None, np.zeros(0)], "sites": ["Na_a.Cl_b", "", "Na_a.Cl_b"], "relaxed_space_group": [225, 0, 221], "gene": ["225:Na_a.Cl_b", "x", "221:Na_a.Cl_b"],
        "relaxed_gene": ["", "", ""], "relaxed_energy_per_atom": [-3.5, np.nan, -3.45]})
    table = read_rows({"compounds": of_compounds(compounds)}, levels)
    assert table.ids == ("mp-1", "built-NaCl-221") and table.source.tolist() == ["mp", "built"] and [g.key for g in table.genes()] == ["225:Na_a.Cl_b", "221:Na_a.Cl_b"]


# what ships


def some(table, count=40):
    return np.random.default_rng(0).choice(len(table), count, replace=False).tolist()


def test_shipped_labels_are_those_of_hull_queries_made_one_by_one():
    table, hull = shipped_genes(), reference_hull("chgnet")
    for i in some(table):
        composition = compositions(from_parameters(table.parameters[i]))[0]
        assert table.formation_energy[i] == pytest.approx(hull.formation_energy([composition], [table.energy[i]])[0], abs=1e-9)
        assert table.above_hull[i] == pytest.approx(max(hull.energy_above([composition], [table.energy[i]]).above[0], 0.0), abs=1e-9)


def test_shipped_parameters_give_crystals_of_their_gene_and_come_back():
    table = shipped_genes()
    rows = some(table)
    crystals = from_parameters([table.parameters[i] for i in rows])
    for i, one, found, back in zip(rows, crystals, gene(crystals), free_parameters(crystals), strict=True):
        assert found.key == table.genes()[i].key
        again = from_parameters(back)
        assert one.atoms == again.atoms and float(again.volume[0]) == pytest.approx(float(one.volume[0]), rel=1e-3)


def test_shipped_energies_are_those_of_the_potential_at_the_shipped_geometry():
    table = shipped_genes()
    small = np.array([sum(1 for _ in p.sites) <= 4 for p in table.parameters])
    rows = [i for s in sorted(set(table.source)) for i in np.flatnonzero(small & (table.source == s))[:3].tolist()]
    crystals = from_parameters([table.parameters[i] for i in rows])
    energies = registry.load("chgnet", role="potential").label(crystals).energy / crystals.counts
    assert (energies.to(torch.float64).numpy() - table.energy[rows]) == pytest.approx(0.0, abs=2e-4)


def test_a_known_compound_is_found_by_its_id():
    table = shipped_genes()
    silicon = table.ids.index("mp-149")
    assert table.parameters[silicon].space_group == 227 and table.genes()[silicon].key == "227:Si_a" and table.above_hull[silicon] < 0.01
    crystals, names = reference_crystals("NaCl")
    assert set(names) <= {name for i, found in zip(table.ids, table.aliases, strict=True) for name in (i, *found)} and len(crystals)


def test_candidates_of_a_run_are_labelled_like_shipped_rows():
    table = shipped_genes()
    rows = some(table, 5)
    again = labelled([table.ids[i] for i in rows], "own_random", [table.parameters[i] for i in rows], table.energy[rows])
    assert again.formation_energy == pytest.approx(table.formation_energy[rows], abs=1e-9) and again.above_hull == pytest.approx(table.above_hull[rows], abs=1e-9)


def test_coverage_says_where_the_hull_lacks_phases():
    table = shipped_genes().take(some(shipped_genes(), 30))
    shares = covered(GeneTable.join([table, table.take([0])]))
    assert shares[-1] == shares[0] and 0 < (shares == 1).mean() < 1
    assert shares[:3].tolist() == [coverage(g.composition)[0] for g in table.genes()[:3]]
