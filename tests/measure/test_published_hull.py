"""The published formation energies as a hull: where each constant counts, what a fit finds, the second novelty, and the real table."""

import math

import numpy as np
import pytest

from matterloop.archive import shipped
from matterloop.archive.sources import load_frame
from matterloop.base.errors import BadInput
from matterloop.crystal.composition import parse_formula, reduced
from matterloop.measure import published_hull as p

LI2O, LIF, FE2O3, FES = (parse_formula(f) for f in ("Li2O", "LiF", "Fe2O3", "FeS"))


def test_an_anion_counts_only_where_it_is_the_most_electronegative_element():
    assert p.terms(LI2O) == {"O": pytest.approx(1 / 3)}
    assert p.terms(parse_formula("Na2SO4")) == {"O": pytest.approx(4 / 7)}  # the sulfur of a sulfate is no anion
    assert p.terms(parse_formula("LiClO4")) == {"O": pytest.approx(4 / 6)}
    assert p.terms(parse_formula("SbBr3")) == {"Br": pytest.approx(3 / 4)}
    assert p.terms(parse_formula("MgNi3")) == {} and p.terms(parse_formula("O2")) == {}


def test_a_metal_counts_only_in_oxides_and_fluorides():
    assert p.terms(FE2O3) == {"O": pytest.approx(3 / 5), "Fe": pytest.approx(2 / 5)}
    assert p.terms(FES) == {"S": pytest.approx(1 / 2)}
    assert p.terms(parse_formula("FeNiF6")) == {"F": pytest.approx(6 / 8), "Fe": pytest.approx(1 / 8), "Ni": pytest.approx(1 / 8)}


def test_the_shift_is_the_sum_over_terms_by_hand():
    constants = p.Constants({"O": 0.02, "Fe": 0.44, "S": 0.16})
    assert constants.shift(FE2O3) == pytest.approx(0.6 * 0.02 + 0.4 * 0.44)
    assert constants.shift(FES) == pytest.approx(0.08) and constants.shift(LIF) == 0.0
    with pytest.raises(BadInput, match="Xe"):
        p.Constants({"Xe": 1.0})


def test_a_fit_finds_planted_constants_and_is_not_moved_by_outliers():
    rng = np.random.default_rng(0)
    formulas = [parse_formula(f"{a}{i}{b}{j}") for a in ("Li", "Fe", "Mg", "Ni", "Ca") for b in ("O", "S", "Br", "F") for i in (1, 2, 3) for j in (1, 2, 3, 4)]
    planted = p.Constants({"O": 0.024, "S": 0.16, "Br": -0.53, "F": 0.03, "Fe": 0.44, "Ni": -0.57})
    differences = np.array([planted.shift(c) for c in formulas]) + rng.normal(0, 0.002, len(formulas))
    differences[rng.choice(len(formulas), 20, replace=False)] -= 0.3  # structures that were computed anew
    found = p.fit_constants(formulas, differences).values
    assert found.keys() == planted.values.keys()
    assert all(found[name] == pytest.approx(value, abs=0.01) for name, value in planted.values.items()), found
    with pytest.raises(BadInput, match="one finite number each"):
        p.fit_constants(formulas, differences[:-1])


def table():
    rows = [("Li2O", -2.0, 225), ("Li2O", -1.8, 62), ("LiF", -3.0, 225), ("Fe2O3", -1.5, 167), ("Fe2O3", -1.4, 167), ("Li", 0.01, 194)]
    return p.PublishedTable(tuple(reduced(f) for f, _, _ in rows), np.array([e for _, e, _ in rows]), np.array([g for _, _, g in rows]))


def test_the_second_novelty_knows_a_formula_in_its_space_group_only():
    assert table().holds("Li4O2", [225]) and table().holds("Li2O", [1, 62])
    assert not table().holds("Li2O", [227]) and not table().holds("LiO", [225]) and not table().holds("Li2O", [])


def test_the_hull_takes_the_lowest_row_of_a_formula_and_puts_elements_at_zero():
    hull = table().hull(None)
    assert hull.scheme == p.LEGACY and len(hull) == 3 + 4  # Li2O, LiF, Fe2O3 and the elements Li, O, F, Fe
    assert hull.energy_above([LI2O, {3: 1}], [-1.8, 0.0]).above == pytest.approx([0.2, 0.0])


def test_the_converted_hull_is_shifted_and_gives_signed_distances():
    hull = table().hull(p.Constants({"O": 0.03, "Fe": 0.5}))
    assert hull.scheme == p.CONVERTED
    assert hull.energy_above([LI2O], [-2.0]).above == pytest.approx([-0.01])  # the phase itself now lies at -1.99
    assert hull.energy_above([FE2O3], [-1.5]).above == pytest.approx([-(0.6 * 0.03 + 0.4 * 0.5)])
    assert hull.energy_above([{3: 1, 8: 1}], [-1.0]).above == pytest.approx([-1.0 + 1.5 * 1.99 / 2])  # Li2O and O on either side: 3/4 of -1.99


def test_pairs_leave_out_what_comes_twice_on_either_side():
    compositions, theirs, ours = table().pairs(["Li2O", "LiF", "LiF", "Fe2O3", "NaCl", "Li2O"], [225, 225, 225, 167, 225, 62], [-2.1, -3.1, -3.2, -1.6, -2.0, math.nan])
    assert compositions == [dict(reduced("Li2O"))] and theirs.tolist() == [-2.1] and ours.tolist() == [-2.0]


def test_formation_energies_are_relative_to_the_references():
    found = p.formation_energies([LI2O, FES], [-5.0, -6.0], {3: -2.0, 8: -4.0})
    assert found[0] == pytest.approx(-5.0 + (2 * 2.0 + 4.0) / 3) and math.isnan(found[1])


def test_the_shipped_constants_say_what_they_leave():
    card = shipped.card("published_hull")
    assert card["test"]["before"]["percentile_90"] > 0.13 and card["test"]["after"]["percentile_90"] < 0.0205
    assert card["chgnet"]["formation_energy"]["mean_absolute"] < card["chgnet"]["relative_to_chgnets_own_elements"]["formation_energy"]["mean_absolute"]
    constants = p.Constants.shipped().values
    for anion, expected in {"Br": -0.534, "I": -0.379, "Se": -0.472, "Te": -0.422, "S": -0.503 + 0.66346}.items():  # MP2020 less what was there before
        assert constants[anion] == pytest.approx(expected, abs=0.01)


@pytest.mark.data
def test_the_real_table_comes_to_mp2020_on_structures_that_the_fit_has_not_seen(data_dir):
    found = p.published_table(data_dir)
    assert len(found) == 132_752 and found.holds("NaCl", [225])
    frame = load_frame(*p.TESTED, data_dir=data_dir, usecols=["pretty_formula", "spacegroup.number", "formation_energy_per_atom"])
    compositions, theirs, ours = found.pairs(frame.pretty_formula.tolist(), frame["spacegroup.number"].tolist(), frame.formation_energy_per_atom.to_numpy())
    shift = np.array([p.Constants.shipped().shift(c) for c in compositions])
    assert len(compositions) > 6000
    assert np.percentile(np.abs(theirs - ours), 90) == pytest.approx(0.1378, abs=0.002)
    assert np.percentile(np.abs(theirs - ours - shift), 90) < 0.0205
