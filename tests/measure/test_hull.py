"""Claims of measure/hull.py: distances and decompositions against pymatgen's PhaseDiagram and against hulls drawn by hand."""

import bz2
import json
import math
import time

import numpy as np
import pytest
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Composition, Element

from matterloop.base.elements import symbol
from matterloop.base.errors import BadInput
from matterloop.base.registry import load
from matterloop.measure.facets import Facets
from matterloop.measure.hull import Hull

LI, O, FE, P = 3, 8, 26, 15


def theirs(composition):
    return Composition({Element(symbol(z)): n for z, n in composition.items()})


def entry(composition, energy, name=None):
    whole = theirs(composition)
    return PDEntry(whole, energy * whole.num_atoms, name)


def random_phases(elements, per_element, seed):
    """Elements, and random compounds of all sizes of subsystem with energies that leave some above and some on the hull."""
    rng = np.random.default_rng(seed)
    compositions = [{z: 1} for z in elements for _ in range(2)]
    for _ in range(per_element * len(elements)):
        part = rng.choice(elements, rng.integers(1, len(elements) + 1), replace=False)
        compositions.append({int(z): int(rng.integers(1, 6)) for z in part})
    energies = []
    for c in compositions:
        mixing = 0.0 if len(c) == 1 else rng.uniform(-0.2, 0.8)
        energies.append(-sum(n * (1 + z % 7) for z, n in c.items()) / sum(c.values()) - mixing + (rng.uniform(0, 0.1) if len(c) == 1 else 0.0))
    return compositions, np.array(energies)


def queries(elements, count, seed):
    rng = np.random.default_rng(seed)
    drawn = [{int(z): int(rng.integers(0, 7)) for z in elements} for _ in range(count)]
    return [{z: n for z, n in c.items() if n} for c in drawn if sum(c.values())]


@pytest.fixture
def iron_oxides():
    """Fe and O at -8 and -5; FeO at -1.25, Fe2O3 at -1.4 eV/atom formation; Fe3O4 10 meV above their line; a second Fe2O3; a weak Fe3O."""
    compositions = [{FE: 2}, {O: 2}, {FE: 1, O: 1}, {FE: 4, O: 6}, {FE: 3, O: 4}, {FE: 2, O: 3}, {FE: 1}, {FE: 3, O: 1}]
    line = -1.25 + (4 / 7 - 0.5) / 0.1 * -0.15  # between FeO (1/2) and Fe2O3 (3/5)
    formation = [0, 0, -1.25, -1.4, line + 0.01, -1.3, 0.2, -0.1]
    share = [c.get(O, 0) / sum(c.values()) for c in compositions]
    energies = [f - 8 * (1 - x) - 5 * x for f, x in zip(formation, share, strict=True)]
    return Hull(compositions, energies, ["Fe", "O2", "FeO", "Fe2O3", "Fe3O4", "Fe2O3-b", "Fe-fcc", "Fe3O"], "mp2020", "chgnet", about={"version": "1"})


def test_distances_by_hand(iron_oxides):
    answer = iron_oxides.energy_above([{FE: 6, O: 8}, {FE: 1, O: 3}, {FE: 1}], [iron_oxides.energies[4], -5.75, -7.9], "mp2020")
    assert answer.above[0] == pytest.approx(0.01, abs=1e-12)
    assert dict(answer.decompositions[0]) == pytest.approx({"Fe2O3": 5 / 7, "FeO": 2 / 7})
    # FeO3 lies between Fe2O3 (3/5) and O2: formation -1.4 * (1/4)/(2/5) = -0.875, elements -8/4 - 5*3/4 = -5.75
    assert answer.above[1] == pytest.approx(0.875, abs=1e-12)
    assert answer.decompositions[1][0] == ("Fe2O3", pytest.approx(0.625))
    assert answer.above[2] == pytest.approx(0.1, abs=1e-12) and answer.decompositions[2] == (("Fe", 1.0),)


def test_formation_energy_by_hand(iron_oxides):
    assert iron_oxides.formation_energy([{FE: 1, O: 1}, {O: 1}], [-7.4, -4.5]) == pytest.approx([-0.9, 0.5])


def test_lower_phase_than_the_hull_has_a_negative_distance(iron_oxides):
    assert iron_oxides.energy_above([{FE: 1, O: 1}], [-7.85]).above[0] == pytest.approx(-0.1)


def test_distance_against_other_compositions_by_hand(iron_oxides):
    own = [iron_oxides.energies[i] for i in (2, 3, 4, 6)]
    answer = iron_oxides.energy_above([{FE: 1, O: 1}, {FE: 2, O: 3}, {FE: 3, O: 4}, {FE: 1}], own, other_compositions=True)
    # without FeO: Fe - Fe3O (1/4) - Fe3O4 (4/7, -1.3471...): Fe3O is above the line Fe - Fe3O4
    magnetite = -1.25 + (4 / 7 - 0.5) / 0.1 * -0.15 + 0.01
    assert answer.above[0] == pytest.approx(-1.25 - magnetite * 0.5 / (4 / 7), abs=1e-12)
    # without any Fe2O3: Fe3O4 (4/7) and O2
    assert answer.above[1] == pytest.approx(-1.4 - magnetite * 0.4 / (3 / 7), abs=1e-12)
    assert dict(answer.decompositions[1]) == pytest.approx({"Fe3O4": 0.4 / (3 / 7), "O2": 1 - 0.4 / (3 / 7)})
    assert answer.above[2] == pytest.approx(0.01, abs=1e-12)  # unstable: its own composition was no corner
    assert answer.above[3] == pytest.approx(0.2, abs=1e-12)


@pytest.mark.parametrize("elements", [(LI, O, FE), (LI, O, FE, P)])
def test_other_compositions_equal_the_phase_separation_energy_of_pymatgen(elements):
    compositions, energies = random_phases(elements, 12, 5)
    hull = Hull(compositions, energies, range(len(energies)), "s", "p")
    entries = [entry(c, e) for c, e in zip(compositions, energies, strict=True)]
    diagram = PhaseDiagram(entries)
    ours = hull.energy_above(compositions, energies, other_compositions=True).above
    for i, e in enumerate(entries):
        if not e.is_element:
            assert ours[i] == pytest.approx(diagram.get_phase_separation_energy(e), abs=1e-9)


def test_stable_phases(iron_oxides):
    assert [iron_oxides.names[i] for i in iron_oxides.stable()] == ["Fe", "O2", "FeO", "Fe2O3"]
    assert [iron_oxides.names[i] for i in iron_oxides.stable([FE])] == ["Fe"]


@pytest.mark.parametrize("elements", [(LI,), (LI, O), (LI, O, FE), (LI, O, FE, P), (LI, O, FE, P, 17), (LI, O, FE, P, 17, 12)])
def test_distances_equal_pymatgen(elements):
    compositions, energies = random_phases(elements, 10, len(elements))
    hull = Hull(compositions, energies, range(len(energies)), "s", "p")
    entries = [entry(c, e) for c, e in zip(compositions, energies, strict=True)]
    diagram = PhaseDiagram(entries)
    asked = queries(elements, 60, 1)
    ours = hull.energy_above(asked, np.zeros(len(asked)))
    for i, composition in enumerate(asked):
        decomposition, distance = diagram.get_decomp_and_e_above_hull(entry(composition, 0.0), allow_negative=True)
        assert ours.above[i] == pytest.approx(distance, abs=1e-9)
        assert sum(share for _, share in ours.decompositions[i]) == pytest.approx(1.0)
        mixture = sum(share * hull.energies[int(name)] for name, share in ours.decompositions[i])
        assert -ours.above[i] == pytest.approx(mixture, abs=1e-9)
    own = hull.energy_above(compositions, energies).above
    assert own == pytest.approx([diagram.get_e_above_hull(e) for e in entries], abs=1e-9)
    assert {i for i in hull.stable()} == {i for i, e in enumerate(entries) if diagram.get_e_above_hull(e) <= 1e-8}


def test_coplanar_and_collinear_phases():
    # every energy on the same plane: degenerate for any hull code
    grid = [{LI: a, O: b, FE: 6 - a - b} for a in range(7) for b in range(7 - a)]
    grid = [{z: n for z, n in c.items() if n} for c in grid]
    energies = [-1.0 * len(c) if len(c) < 2 else -1.0 - 0.3 * (c.get(LI, 0) == 3) for c in grid]
    hull = Hull(grid, energies, range(len(grid)), "s", "p")
    diagram = PhaseDiagram([entry(c, e) for c, e in zip(grid, energies, strict=True)])
    asked = queries((LI, O, FE), 80, 2)
    ours = hull.energy_above(asked, np.zeros(len(asked))).above
    assert ours == pytest.approx([-diagram.get_hull_energy_per_atom(theirs(c)) for c in asked], abs=1e-9)


def test_mixtures_and_facets_agree():
    elements = (LI, O, FE, P)
    compositions, energies = random_phases(elements, 12, 9)
    hull = Hull(compositions, energies, range(len(energies)), "s", "p")
    asked = [q for q in queries(elements, 60, 3) if len(q) == 4]
    facets = hull._system(tuple(sorted(elements))).facets
    x = np.array([[q[z] / sum(q.values()) for z in sorted(elements)] for q in asked])
    reference = np.array([hull.references()[z][1] for z in sorted(elements)])
    assert len(asked) > 20 and facets.corners is not None
    assert hull.energy_above(asked, np.zeros(len(asked))).above == pytest.approx(-(facets.decompose(x)[0] + x @ reference), abs=1e-11)
    only = Facets(facets.fractions, facets.energies)  # without corners: linear programs
    assert only.decompose(x)[0] == pytest.approx(facets.decompose(x)[0], abs=1e-9)


@pytest.mark.parametrize("elements", [(LI, O, FE), (LI, O, FE, P, 17)])
@pytest.mark.parametrize("setting", [("GREEDY", 0), ("MOST_STEPS", 0), ("MOST_STEPS", 2)])
def test_rules_against_circling_and_unfinished_programs_give_the_same_distances(monkeypatch, elements, setting):
    compositions, energies = random_phases(elements, 12, 21)
    hull, asked = Hull(compositions, energies, range(len(energies)), "s", "p"), queries(elements, 40, 5)
    before = hull.energy_above(asked, np.zeros(len(asked)))
    others = hull.energy_above(compositions, energies, other_compositions=True).above
    monkeypatch.setattr(f"matterloop.measure.simplex.{setting[0]}", setting[1])
    after = hull.energy_above(asked, np.zeros(len(asked)))
    assert after.above == pytest.approx(before.above, abs=1e-9)
    assert [dict(d).keys() for d in after.decompositions] == [dict(d).keys() for d in before.decompositions]
    assert hull.energy_above(compositions, energies, other_compositions=True).above == pytest.approx(others, abs=1e-9)


def test_an_answer_does_not_depend_on_the_batch_to_the_bit():
    elements = (LI, O, FE, P, 17, 12)
    compositions, energies = random_phases(elements, 15, 31)
    hull, asked = Hull(compositions, energies, range(len(energies)), "s", "p"), queries(elements, 150, 7)
    whole = hull.energy_above(asked, np.zeros(len(asked)))
    for i in range(0, len(asked), 7):
        alone = hull.energy_above([asked[i]], [0.0])
        assert alone.above[0] == whole.above[i] and alone.decompositions[0] == whole.decompositions[i]
    back = hull.energy_above(asked[::-1], np.zeros(len(asked)))
    assert back.above[::-1].tolist() == whole.above.tolist() and back.decompositions[::-1] == whole.decompositions


def test_phases_that_qhull_cannot_handle_have_no_diagram_and_distances_all_the_same(monkeypatch, iron_oxides):
    import scipy.spatial

    def refuses(points):
        raise scipy.spatial.QhullError("precision")

    monkeypatch.setattr(scipy.spatial, "ConvexHull", refuses)
    assert iron_oxides._system((O, FE)).facets.corners is None
    assert iron_oxides._system((O, FE)).corner_phases == {0, 1, 2, 3}
    assert iron_oxides.energy_above([{FE: 3, O: 4}], [iron_oxides.energies[4]]).above[0] == pytest.approx(0.01)
    assert [iron_oxides.names[i] for i in iron_oxides.stable()] == ["Fe", "O2", "FeO", "Fe2O3"]


def test_mixed_schemes_are_refused(iron_oxides):
    with pytest.raises(BadInput, match="'pbe-raw'"):
        Hull([{FE: 1}, {O: 1}], [0, 0], ["Fe", "O"], ["mp2020", "pbe-raw"], "chgnet")
    with pytest.raises(BadInput, match="scheme"):
        iron_oxides.energy_above([{FE: 1}], [0.0], "mp-raw")
    with pytest.raises(BadInput, match="scheme"):
        iron_oxides.with_entries([{FE: 1}], [0.0], ["x"], "mp-raw")


def test_system_without_an_element_has_no_hull_and_says_which(iron_oxides):
    assert iron_oxides.elements == (O, FE) and iron_oxides.missing({LI: 1, FE: 1}) == (LI,)
    with pytest.raises(BadInput, match="query 1.*no elemental reference for Li.*Li-O has no hull"):
        iron_oxides.energy_above([{FE: 1}, {LI: 2, O: 1}], [-8.0, -5.0])
    answer = iron_oxides.energy_above([{FE: 1}, {LI: 2, O: 1}], [-8.0, -5.0], missing="report")
    assert answer.above[0] == pytest.approx(0.0) and math.isnan(answer.above[1]) and "Li" in answer.reasons[1] and answer.reasons[0] == ""
    assert math.isnan(iron_oxides.formation_energy([{LI: 1}], [0.0])[0])


@pytest.mark.parametrize("composition, energy, text", [({}, 0.0, "phase 1"), ({FE: -1}, 0.0, "phase 1"), ({FE: 1}, math.nan, "phase 1.*Bad")])
def test_unusable_phases_are_refused_by_name(composition, energy, text):
    with pytest.raises(BadInput, match=text):
        Hull([{FE: 1}, composition], [0.0, energy], ["Fe", "Bad"], "s", "p")


def test_new_entries_make_a_new_hull_and_keep_untouched_facets(iron_oxides):
    base = iron_oxides.with_entries([{LI: 1}, {LI: 1, FE: 1}], [-2.0, -5.2], ["Li", "LiFe"])
    base.diagram((FE, O)), base.diagram((LI, FE))
    grown = base.with_entries([{FE: 1, O: 1}], [-8.0], ["FeO-new"], "mp2020")
    assert grown.energy_above([{FE: 1, O: 1}], [-7.4]).above[0] == pytest.approx(0.6)
    assert base.energy_above([{FE: 1, O: 1}], [-7.75]).above[0] == pytest.approx(0.0)
    assert grown._cache.keys() == {(LI, FE)} and grown.about == {"version": "1"} and len(grown) == len(base) + 1


def test_order_of_phases_does_not_matter():
    compositions, energies = random_phases((LI, O, FE, P), 10, 11)
    order = np.random.default_rng(0).permutation(len(energies))
    asked = queries((LI, O, FE, P), 30, 4)
    a = Hull(compositions, energies, range(len(energies)), "s", "p").energy_above(asked, np.zeros(len(asked))).above
    b = Hull([compositions[i] for i in order], energies[order], order, "s", "p").energy_above(asked, np.zeros(len(asked))).above
    assert a == pytest.approx(b, abs=1e-12)


def test_binary_curve_is_the_lower_hull(iron_oxides):
    data = iron_oxides.binary_curve(FE, O)
    assert [name for _, _, name in data["curve"]] == ["Fe", "FeO", "Fe2O3", "O2"]
    assert [x for x, _, _ in data["curve"]] == pytest.approx([0, 0.5, 0.6, 1]) and [e for _, e, _ in data["curve"]] == pytest.approx([0, -1.25, -1.4, 0])
    assert iron_oxides.binary_curve(O, FE)["curve"][1][2] == "Fe2O3"
    assert len(data["names"]) == 8 and sum(data["stable"]) == 4
    json.dumps(data)


def test_ternary_simplices_cover_the_triangle_once():
    compositions, energies = random_phases((LI, O, FE), 10, 13)
    data = Hull(compositions, energies, [f"p{i}" for i in range(len(energies))], "s", "p").ternary(FE, O, LI)
    xy = np.array(data["xy"])
    areas = [abs(np.linalg.det([xy[b] - xy[a], xy[c] - xy[a]])) / 2 for a, b, c in data["simplices"]]
    assert sum(areas) == pytest.approx(3**0.5 / 4)
    assert all(data["stable"][c] for simplex in data["simplices"] for c in simplex)
    assert data["symbols"] == ["Fe", "O", "Li"] and data["fractions"][data["names"].index("p0")] == [0, 0, 1]
    json.dumps(data)


def test_one_element_system():
    facets = Facets.of(np.ones((1, 1)), np.zeros(1))
    assert facets.decompose(np.ones((2, 1)))[0].tolist() == [0, 0]
    assert Hull([{FE: 1}], [-8.0], ["Fe"], "s", "p").diagram([FE])["simplices"] == [[0]]


def test_card_builds_the_hull():
    assert load("hull", compositions=[{FE: 1}], energies=[-8.0], names=["Fe"], scheme="s", potential="p").elements == (FE,)


def matbench(data_dir):
    """Compositions and formation energies (eV/atom) of the Materials Project, as Matbench has them."""
    table = json.loads(bz2.decompress((data_dir / "matbench_v01_official_tables" / "matbench_mp_e_form.json.bz2").read_bytes()))
    return list(table["composition"].values()), np.array(list(table["e_form"].values()))


@pytest.mark.data
@pytest.mark.slow
def test_a_thousand_compositions_of_the_materials_project_equal_pymatgen(data_dir):
    formulas, energies = matbench(data_dir)
    parsed = [{e.Z: n for e, n in Composition(f).items()} for f in formulas]
    hull = Hull(parsed, energies, formulas, "mp-formation", "dft")
    members = {}
    for i, c in enumerate(parsed):
        members.setdefault(frozenset(c), []).append(i)
    rng = np.random.default_rng(0)
    systems = [s for s in members if 2 <= len(s) <= 5 and not hull.missing({z: 1 for z in s})]
    systems = [systems[i] for i in rng.choice(len(systems), 200, replace=False)]
    assert {len(s) for s in systems} >= {3, 4, 5}
    compared, spent = 0, 0.0
    for system in systems:
        inside = [i for s, rows in members.items() if s <= system for i in rows]
        diagram = PhaseDiagram([entry(parsed[i], energies[i]) for i in inside])
        asked = [{z: int(rng.integers(1, 8)) for z in sorted(system)} for _ in range(5)]
        begin = time.perf_counter()
        ours = hull.energy_above(asked, np.zeros(5)).above
        spent += time.perf_counter() - begin
        for composition, distance in zip(asked, ours, strict=True):
            assert -distance == pytest.approx(diagram.get_hull_energy_per_atom(theirs(composition)), abs=1e-6)
            compared += 1
    assert compared == 1000
