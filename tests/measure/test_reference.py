"""The shipped reference: elements, compounds, the hull they make, what it covers, and a user's own phases."""

import bz2
import importlib.util
import json
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from matterloop.archive import shipped
from matterloop.base import registry
from matterloop.base.elements import number
from matterloop.base.errors import BadInput, Missing
from matterloop.crystal.composition import compositions, parse_formula, reduced, reduced_formula
from matterloop.crystal.state import Crystals
from matterloop.crystal.symmetry import analyse
from matterloop.measure import own_reference, reference
from matterloop.measure.element_structures import ELEMENTS, TYPES, structure, type_of, types_of
from matterloop.measure.hull import Hull
from matterloop.represent.wyckoff_gene import gene

RECIPES = Path(__file__).parents[2] / "recipes"


@cache
def chgnet():
    return registry.load("chgnet", role="potential")


def recipe(name: str, monkeypatch):
    monkeypatch.syspath_prepend(str(RECIPES))
    spec = importlib.util.spec_from_file_location(name, RECIPES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# starting structures


@pytest.mark.parametrize("element, name, shortest", [
    ("W", "bcc", 2.74), ("Cu", "fcc", 2.56), ("C", "diamond", 1.54), ("Si", "diamond", 2.35), ("N", "molecules, Pa-3 (alpha-N2)", 1.11), ("S", "alpha-S8", 2.04),
    ("I", "molecules, Cmce (Cl2)", 2.72), ("U", "alpha-U", 2.72), ("Mn", "alpha-Mn", 2.18), ("B", "alpha-B12", 1.67), ("Se", "alpha-Se8", 2.32)])
def test_bonds_of_built_elements_have_textbook_lengths(element, name, shortest):
    from matterloop.crystal.graph import Within

    crystal = structure(element, name)
    assert float(Within(6.0)(crystal).vectors(crystal).norm(dim=-1).min()) == pytest.approx(shortest, abs=0.06)


@pytest.mark.parametrize("name", TYPES)
def test_a_structure_type_has_its_space_group_and_primitive_cell(name):
    element = next(e for e in ELEMENTS if name in types_of(e))
    crystal = structure(element, name)
    found = analyse(crystal, 1e-3)[0]
    assert (found.number, found.primitive.atoms, crystal.atoms) == (TYPES[name].space_group, TYPES[name].atoms, TYPES[name].atoms)


def test_molecular_packings_keep_their_space_group():
    groups = [analyse(structure("O", n), 1e-3)[0].number for n in types_of("O")]
    assert groups == [type_of("O", n).space_group for n in types_of("O")] == [205, 136, 194, 12, 166, 64, 15]


def test_an_element_or_type_that_is_not_there_is_named():
    with pytest.raises(Missing, match="Po"):
        structure("Po", "sc")
    with pytest.raises(Missing, match="diamond"):
        structure("C", "dimond")


# shipped tables


def test_every_element_has_one_reference_and_it_is_the_lowest_sound_structure():
    table = shipped.read_table("elements_chgnet")
    lowest = table[table.lowest].set_index("element").energy_per_atom
    assert sorted(lowest.index) == sorted(ELEMENTS) and len(ELEMENTS) == 89
    floor = table[table.sound].groupby("element").energy_per_atom.min()
    assert float((lowest - floor).max()) <= 2e-4 and float((lowest - floor).min()) >= 0


def test_every_outlier_above_50_meV_is_listed_with_a_reason():
    table, facts = shipped.read_table("elements_chgnet"), shipped.card("elements_chgnet")["facts"]
    lowest = table[table.lowest]
    far = set(lowest.element[lowest.mp_difference.abs() > 0.05])
    listed = facts["outliers_above_50_meV"]
    assert far == set(listed) and len(far) > 5
    assert all(len(entry["why"]) > 20 and entry["why"] != "unexplained" for entry in listed.values())


def test_shipped_elements_are_minima_with_the_energies_of_the_table():
    table = shipped.read_table("elements_chgnet")
    rows = table[table.lowest & (table.n_atoms <= 12)].iloc[::6]
    crystals = Crystals.of(np.concatenate([np.reshape(f, (-1, 3)) for f in rows.frac]), np.concatenate([[number(e)] * n for e, n in zip(rows.element, rows.n_atoms)]),
                           np.stack([np.reshape(c, (3, 3)) for c in rows.cell]), rows.n_atoms.to_list())
    labels = chgnet().label(crystals)
    assert len(rows) > 10
    np.testing.assert_allclose((labels.energy / crystals.counts).numpy(), rows.energy_per_atom, atol=1e-4)
    assert float(labels.forces.abs().max()) < 0.02
    assert [g.key for g in gene(crystals, 0.02)] == rows.gene.to_list()


def test_relaxed_compounds_rebuilt_from_free_parameters_have_the_energies_of_the_table():
    table = shipped.read_table("compounds_chgnet")
    done = table[table.relaxed_energy_per_atom.notna() & (table.n_atoms <= 12)]
    rows = done.sample(12, random_state=0)
    crystals, energies, genes = [], [], []
    for row in rows.itertuples():
        batch, names = reference.reference_crystals(row.formula)
        crystals.append(batch[names.index(row.material_id)])
        energies.append(row.relaxed_energy_per_atom)
        genes.append(row.relaxed_gene or row.gene)
    batch = Crystals.join(crystals)
    labels = chgnet().label(batch)
    np.testing.assert_allclose((labels.energy / batch.counts).numpy(), energies, atol=2e-4)
    assert float(labels.forces.norm(dim=-1).max()) < 0.04
    assert [reduced_formula(c) for c in compositions(batch)] == rows.formula.to_list()
    assert [g.key for g in gene(batch)] == genes


def test_published_geometries_do_not_ship():
    table = shipped.read_table("compounds_chgnet")
    bare = table[table.relaxed_energy_per_atom.isna()]
    assert len(bare) and (bare.sites == "").all() and bare.lattice.isna().all() and bare.parameters.isna().all()
    assert not {"cif", "frac", "cell", "structure"} & set(table.columns)


def test_card_of_the_compounds_says_how_far_published_geometries_lie_above_relaxed_ones():
    table = shipped.read_table("compounds_chgnet")
    said = shipped.card("compounds_chgnet")["facts"]["published_minus_relaxed_eV_per_atom"]
    fall = (table.energy_per_atom - table.relaxed_energy_per_atom).dropna()
    assert said["structures"] == len(fall) and said["mean"] == pytest.approx(float(fall.mean())) and said["percentile_95"] == pytest.approx(float(np.percentile(fall, 95)))
    assert reference.reference_hull().about["unrelaxed_offset"] == said


# the hull


def test_reference_hull_holds_rock_salt_and_prefers_relaxed_energies():
    hull = reference.reference_hull()
    answer = hull.energy_above([{11: 2, 17: 1}], [0.0])
    assert {name.split(" ")[0]: round(share, 6) for name, share in answer.decompositions[0]} == {"NaCl": round(2 / 3, 6), "Na": round(1 / 3, 6)}
    table = shipped.read_table("compounds_chgnet")
    phases = reference.phases()
    energies = dict(zip(phases.names, phases.energies, strict=True))
    relaxed = table[table.relaxed_energy_per_atom.notna()]
    assert all(energies[m] == e for m, e in zip(relaxed.material_id, relaxed.relaxed_energy_per_atom, strict=True))
    assert reference.reference_hull() is hull and hull.scheme == "mp2020" and hull.about["relaxed"] + hull.about["built"] == len(relaxed)


def test_a_system_without_all_its_elements_has_no_hull():
    hull = reference.reference_hull()
    assert hull.missing({84: 1, 8: 2}) == (84,)
    with pytest.raises(BadInput, match="Po"):
        hull.energy_above([{84: 1, 8: 2}], [-5.0])


def test_excluded_phases_leave_the_hull():
    table = shipped.read_table("compounds_chgnet")
    salts = table[table.formula == "NaCl"].material_id.to_list()
    hull = reference.reference_hull(exclude=salts)
    assert salts and all(name.split(" ")[0] != "NaCl" for name, _ in hull.energy_above([{11: 1, 17: 1}], [0.0]).decompositions[0])
    with pytest.raises(Missing):
        reference.reference_hull(exclude=["mp-no-such"])
    with pytest.raises(Missing, match="chgnet"):
        reference.reference_hull("chgnett")


def test_known_genes_name_the_phases():
    table, genes = shipped.read_table("compounds_chgnet"), reference.known_genes()
    salt = table[(table.formula == "NaCl") & (table.space_group == 225)]
    assert len(salt) and set(salt.material_id) <= set(genes["225:Na_a.Cl_b"])
    assert "W bcc" in genes["229:W_a"]


def test_crystals_of_a_formula_without_geometry_are_an_empty_batch():
    crystals, names = reference.reference_crystals("Na17Cl2")
    assert (len(crystals), names) == (0, [])
    crystals, names = reference.reference_crystals("Fe")
    assert "Fe bcc" in names and set(crystals.species.tolist()) == {26}


# coverage


def test_named_phases_at_simple_compositions():
    assert reference.named_phases("NaCl") == (("NaCl",), True)
    assert sorted(reference.named_phases("Na3Cl").phases) == ["Na", "NaCl"]
    assert reference.named_phases("Fe") == (("Fe",), True)
    assert set(reference.named_phases("NaKCl2").phases) == {"NaCl", "KCl"}
    assert reference.named_phases({2: 1, 10: 1, 18: 1}) == (("He", "Ne", "Ar"), True)


def test_a_formula_held_in_another_structure_only_is_missing_with_its_space_group():
    table, hull = shipped.read_table("compounds_chgnet"), shipped.read_table("hull_formulas")
    lowest = dict(zip(hull.formula, hull.space_group, strict=True))
    held = table.groupby("formula")[["space_group", "relaxed_space_group"]].agg(set)
    other = [f for f in held.index if f in lowest and lowest[f] not in held.space_group[f] | held.relaxed_space_group[f] and len(parse_formula(f)) > 1]
    for formula in other[:5]:
        assert reference.coverage(formula) == (0.0, (f"{formula} ({lowest[formula]})",))
    assert other


def test_coverage_is_the_share_of_named_phases_that_are_held():
    assert reference.coverage("NaKCl2", ["NaCl"]) == (0.5, ("KCl",))
    assert reference.coverage("NaKCl2", ["NaCl", "KCl"]) == (1.0, ())
    assert reference.coverage({11: 1, 17: 1}) == (1.0, ())
    assert reference.coverage("NaO", ["Na", "NaO2", "Na2O2"])[0] == 1.0


@pytest.mark.data
def test_facets_name_what_a_hull_of_the_energies_names(data_dir):
    with bz2.open(data_dir / "matbench_v01_official_tables" / "matbench_mp_e_form.json.bz2", "rt") as file:
        table = json.load(file)
    systems = [{"Li", "Fe", "O"}, {"Na", "Mg", "F"}, {"Ti", "Al", "N"}, {"Li", "Fe", "P", "O"}, {"Ba", "Ti", "O"}, {"Cu", "Zn", "Sn", "S"}]
    rng = np.random.default_rng(0)
    checked = 0
    for system in systems:
        lowest: dict[tuple, float] = {((number(e), 1),): 0.0 for e in system}
        for key, text in table["composition"].items():
            if {part.rstrip("0123456789.") for part in text.split()} <= system:
                composition = reduced(parse_formula(text))
                lowest[composition] = min(lowest.get(composition, 0.0 if len(composition) == 1 else np.inf), table["e_form"][key])
        keys = [c for c in lowest]
        hull = Hull([dict(c) for c in keys], [0.0 if len(c) == 1 else lowest[c] for c in keys], [reduced_formula(dict(c)) for c in keys], "mp", "mp")
        for _ in range(15):
            composition = {number(e): int(n) for e, n in zip(sorted(system), rng.integers(1, 30, len(system)), strict=True)}
            named = reference.named_phases(composition)
            wanted = {name for name, share in hull.energy_above([composition], [0.0]).decompositions[0] if share > 1e-6}
            held = {reduced_formula({number(p): 1}) if p in system else p for p in named.phases}
            assert named.exact and held == wanted
            checked += 1
    assert checked == 90


# own phases


GOOD = "name,formula,energy_per_atom,scheme,potential\nmine,NaCl,-3.4,mp2020,chgnet\n,Na,-1.3,mp2020,chgnet\n,Cl,-1.9,mp2020,chgnet\n"


def test_own_phases_make_a_hull(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text(GOOD)
    hull = own_reference.user_reference(path, scheme="mp2020", potential="chgnet")
    assert hull.energy_above([{11: 1, 17: 1}], [-3.3]).above[0] == pytest.approx(0.1)
    assert hull.energy_above([{11: 1, 17: 1}], [-3.3]).decompositions[0] == (("NaCl (mine)", 1.0),)
    assert hull.missing({3: 1, 17: 1}) == (3,)


def test_rows_that_cannot_be_used_are_named_and_the_rest_goes_on(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text(GOOD + "a,Nacl,-3,mp2020,chgnet\nb,KCl,deep,mp2020,chgnet\nc,KCl,-3,mp-raw,chgnet\nd,,-3,mp2020,chgnet\ne,KCl,nan,mp2020,chgnet\nf,KCl,-3,,\n")
    phases = own_reference.user_phases(path, scheme="mp2020", potential="chgnet")
    assert len(phases) == 3 and [(e.row, e.field) for e in phases.errors] == [
        ("row 4", "formula"), ("row 5", "energy_per_atom"), ("row 6", "scheme"), ("row 7", "formula"), ("row 8", "energy_per_atom"), ("row 9", "scheme")]
    assert all(e.file == str(path) for e in phases.errors)


def test_json_parquet_and_structure_files_are_read_alike(tmp_path):
    from matterloop.crystal.formats import write_cif

    records = [{"formula": "NaCl", "energy_per_atom": -3.4, "scheme": "mp2020"}, {"formula": "Na", "energy_per_atom": -1.3, "scheme": "mp2020"}]
    (tmp_path / "own.json").write_text(json.dumps(records))
    pd.DataFrame(records).to_parquet(tmp_path / "own.parquet")
    write_cif(structure("Na", "bcc"), tmp_path / "na.cif")
    pd.DataFrame([{"structure": "na.cif", "energy_per_atom": -1.3, "scheme": "mp2020"}, {"structure": "no.cif", "energy_per_atom": -1.3, "scheme": "mp2020"}]).to_csv(
        tmp_path / "files.csv", index=False)
    a, b = own_reference.user_phases(tmp_path / "own.json"), own_reference.user_phases(tmp_path / "own.parquet")
    assert a.compositions == b.compositions == ({11: 1, 17: 1}, {11: 1}) and a.energies.tolist() == b.energies.tolist() == [-3.4, -1.3]
    c = own_reference.user_phases(tmp_path / "files.csv")
    assert c.compositions == ({11: 1},) and [(e.row, e.field) for e in c.errors] == [("row 2", "structure")]


@pytest.mark.parametrize("name, content, word", [
    ("a.csv", "", "table"), ("b.json", "{not json", "table"), ("c.csv", "formula,energy_per_atom\nNa,1\n", "scheme"), ("d.csv", "x\n1\n", "energy_per_atom"),
    ("e.csv", "energy_per_atom,scheme\n1,mp2020\n", "formula"), ("f.csv", "formula,energy_per_atom,scheme\nQq,1,mp2020\n", "no row"), ("g.txt", "", "csv"),
    ("h.json", "3", "energy_per_atom"), ("i.parquet", "PAR1", "table")])
def test_a_file_that_is_no_table_of_phases_says_why(tmp_path, name, content, word):
    (tmp_path / name).write_text(content)
    with pytest.raises(BadInput, match=word) as caught:
        own_reference.user_reference(tmp_path / name)
    assert name in str(caught.value)


def test_own_phases_join_the_shipped_ones_of_the_same_scheme_only(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("formula,energy_per_atom,scheme,potential\nNaCl,-9,mp2020,chgnet\n")
    hull = own_reference.user_reference(path, beside_shipped=True)
    assert len(hull) == len(reference.reference_hull()) + 1 and hull.energy_above([{11: 1, 17: 1}], [-8.9]).above[0] == pytest.approx(0.1)
    path.write_text("formula,energy_per_atom,scheme,potential\nNaCl,-9,mp-raw,chgnet\n")
    with pytest.raises(BadInput, match="scheme"):
        own_reference.user_reference(path, beside_shipped=True)


# the recipes


def test_work_files_resume_after_a_kill_in_the_middle_of_a_line(tmp_path, monkeypatch):
    common = recipe("reference_common", monkeypatch)
    path = tmp_path / "work.jsonl"
    common.append_many(path, [{"a": 1}, {"a": 2}])
    with path.open("a") as file:
        file.write('{"a": 3, "half')
    assert list(common.read_lines(path)) == [{"a": 1}, {"a": 2}]
    common.append(path, {"a": 4})
    assert list(common.read_lines(path)) == [{"a": 1}, {"a": 2}, {"a": 4}]


def test_one_bad_structure_costs_itself_only_and_is_not_tried_again(tmp_path, monkeypatch):
    recipe("reference_common", monkeypatch)
    compounds = recipe("reference_compounds", monkeypatch)
    frame, tried = pd.DataFrame({"material_id": list("abcdef"), "atoms": [2] * 6}), []

    def compute(part):
        tried.append("".join(part.material_id))
        if "c" in set(part.material_id):
            raise BadInput("no", "c")
        return [{"material_id": m, "energy": 1.0} for m in part.material_id]

    path = tmp_path / "stage.jsonl"
    compounds.stage(path, frame, 8, compute, float("inf"))
    lines = {x["material_id"]: x for x in map(json.loads, path.read_text().splitlines())}
    assert sorted(lines) == list("abcdef") and [m for m, x in lines.items() if "failed" in x] == ["c"]
    tried.clear()
    compounds.stage(path, frame, 8, compute, float("inf"))
    assert tried == []


def small_shipped(folder: Path, protocol: str) -> pd.DataFrame:
    """Some rows of the shipped compounds and all elements in `folder`, as the recipes write them; the compounds."""
    table, card = shipped.read_table("compounds_chgnet"), shipped.card("compounds_chgnet")
    part = table.groupby("protocol", observed=True).head(8)
    for name, frame, facts in (("compounds_chgnet", part, {**card, "protocol": protocol}), ("elements_chgnet", shipped.read_table("elements_chgnet"), shipped.card("elements_chgnet"))):
        frame.to_parquet(folder / f"{name}.parquet", index=False)
        shipped.write_card(folder / f"{name}.parquet", **{k: v for k, v in facts.items() if k not in ("name", "file", "code_version", "sha256")})
    return part


def test_a_work_folder_refilled_from_what_ships_holds_every_energy_and_geometry(tmp_path, monkeypatch):
    recipe("reference_common", monkeypatch)
    refill, tables = recipe("reference_restore", monkeypatch), recipe("reference_table", monkeypatch)
    folder, work = tmp_path / "shipped", tmp_path / "work"
    folder.mkdir()
    part = small_shipped(folder, shipped.card("compounds_chgnet")["protocol"])
    for _ in range(2):  # a second time adds nothing
        refill.restore(work, folder)
    lines = {name: [json.loads(text) for text in (work / f"{name}.jsonl").read_text().splitlines()] for name in ("elements", "singles", "genes", "relaxed", "built")}
    published, relaxed, built = part[part.protocol != reference.BUILT], part[part.protocol == reference.RELAXED], part[part.protocol == reference.BUILT]
    assert len(built) == len(lines["built"]) == 8 and len(lines["singles"]) == len(published) == len(lines["genes"])
    assert [x["energy_per_atom"] for x in lines["singles"]] == published.energy_per_atom.to_list()
    unused = [x for x in lines["relaxed"] if x["status"] != "converged"]
    assert {x["material_id"]: tables.ended(x, 0.0) for x in unused} == {m: why for m, why in shipped.card("compounds_chgnet")["facts"]["not_relaxed"].items() if m in set(part.material_id)}
    lines["relaxed"] = [x for x in lines["relaxed"] if x["status"] == "converged"]
    assert [x["energy_per_atom"] for x in lines["relaxed"]] == relaxed.relaxed_energy_per_atom.to_list()
    assert all(not tables.good(x, e) for x, e in zip(lines["relaxed"], relaxed.energy_per_atom, strict=True))
    for x, (_, row) in zip(lines["relaxed"] + lines["built"], pd.concat([relaxed, built]).iterrows(), strict=True):
        columns = tables.relaxed_columns(x)
        assert columns["sites"] == row.sites and columns["relaxed_space_group"] == row.relaxed_space_group
        assert np.array_equal(columns["lattice"], row.lattice) and np.array_equal(columns["parameters"], row.parameters)
    elements = shipped.read_table("elements_chgnet")
    assert tables.element_energies(work) == {number(e): v for e, v in elements.groupby("element").energy_per_atom.min().items()}
    assert sum(len(x) + 1 for x in elements.also_from) == len(lines["elements"]) == shipped.card("elements_chgnet")["facts"]["relaxations"]


def test_a_work_folder_is_not_refilled_from_other_weights_or_settings(tmp_path, monkeypatch):
    recipe("reference_common", monkeypatch)
    refill = recipe("reference_restore", monkeypatch)
    small_shipped(tmp_path, shipped.card("compounds_chgnet")["protocol"].replace("'fmax': 0.03", "'fmax': 0.05"))
    with pytest.raises(BadInput, match="protocol"):
        refill.restore(tmp_path / "work", tmp_path)
    small_shipped(tmp_path, shipped.card("compounds_chgnet")["protocol"])
    card = tmp_path / "compounds_chgnet.card.json"
    card.write_text(card.read_text().replace(shipped.card("compounds_chgnet")["weights_sha256"], "0" * 64))
    with pytest.raises(BadInput, match="weights_sha256"):
        refill.restore(tmp_path / "work", tmp_path)
    assert not (tmp_path / "work").exists()


def test_the_first_relaxation_that_ends_well_is_taken_and_only_the_others_go_up_the_ladder(tmp_path, monkeypatch):
    common, compounds = recipe("reference_common", monkeypatch), recipe("reference_compounds", monkeypatch)
    line = lambda name, rung, status, energy: {"material_id": name, "rung": rung, "status": status, "reason": "", "energy_per_atom": energy, "steps": 3}
    common.append_many(tmp_path / "singles.jsonl", [{"material_id": m, "energy_per_atom": -1.0} for m in "abc"])
    common.append_many(tmp_path / "relaxed.jsonl", [
        line("a", 0, "converged", -1.1), line("b", 0, "steps", -1.2), line("c", 0, "converged", -0.9), line("b", 1, "converged", -1.3), line("c", 1, "converged", -0.99)])
    single = {x["material_id"]: x for x in common.read_lines(tmp_path / "singles.jsonl")}
    assert {m: x["energy_per_atom"] for m, x in compounds.endings(tmp_path, single).items()} == {"a": -1.1, "b": -1.3, "c": -0.99}
    climbed = []
    monkeypatch.setattr(compounds, "structures", lambda work: pd.DataFrame({"material_id": list("abc")}))
    monkeypatch.setattr(compounds, "climb", lambda work, rest, rung, until, batch, stand: climbed.append((rung, "".join(rest.material_id), list(stand))))
    compounds.retry(tmp_path, float("inf"))
    assert climbed == [(1, "", []), (2, "c", []), (3, "c", []), (4, "c", [])]


def test_a_relaxation_that_ran_out_of_steps_is_gone_on_with_where_it_stands(tmp_path, monkeypatch):
    recipe("reference_common", monkeypatch)
    compounds = recipe("reference_compounds", monkeypatch)
    crystal = Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5]], [55, 17], 4.3 * np.eye(3))
    frame = pd.DataFrame({"material_id": ["far", "near"], "atoms": [2, 2], "species": [[55, 17]] * 2, "cell": [crystal.cell.flatten().tolist()] * 2, "frac": [crystal.frac.flatten().tolist()] * 2})
    start = []
    monkeypatch.setattr(compounds, "minimise", lambda cells, oracle, **more: start.append(cells))
    compounds.climb(tmp_path, frame, 1, float("inf"), 10, {"near": {"space_group": 221, "lattice": [4.1], "sites": [["a", 17, []], ["b", 55, []]]}})
    assert start[0].volume.tolist() == pytest.approx([4.3**3, 4.1**3])


def test_relaxed_structures_of_the_hull_error_come_back_from_what_ships(tmp_path, monkeypatch):
    common, error = recipe("reference_common", monkeypatch), recipe("measure_hull_error", monkeypatch)
    monkeypatch.setattr(sys.modules["reference_common"], "SHIPPED", tmp_path)
    monkeypatch.setattr(error, "SHIPPED", tmp_path)
    crystals = Crystals.of(np.zeros((3, 3)), [11, 17, 10], np.eye(3) * np.array([3.0, 4.0, 5.0])[:, None, None], [1, 1, 1])
    crystals = crystals.with_fields(whole={"formation_energy_per_atom": torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)})
    monkeypatch.setattr(error, "structures", lambda data_dir: crystals)
    lines = [{**error.record(row, crystals[row], dft), "energy_per_atom": energy, "converged": energy < 0, "failed": not energy < 0, "steps": 4, "strain": 0.25}
             for row, dft, energy in ((2, 0.3, -1.2345678901234), (0, 0.1, float("nan")))]
    common.append_many(tmp_path / "first" / "relaxed.jsonl", lines)
    error.ship_energies(tmp_path / "first")
    for _ in range(2):  # a second time adds nothing
        error.restore(tmp_path, tmp_path / "second")
    text = (tmp_path / "second" / "relaxed.jsonl").read_text()
    back = [json.loads(x) for x in text.splitlines()]
    assert [x["row"] for x in back] == [0, 2] and back[1] == json.loads(json.dumps(lines[0]))
    assert back[0]["failed"] and not back[0]["energy_per_atom"] == back[0]["energy_per_atom"]
