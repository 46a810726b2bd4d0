"""Formulas, masses and oxidation states."""

import bz2
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Composition as PymatgenComposition

from matterloop.base.elements import NUMBER, SYMBOLS
from matterloop.base.errors import BadInput, MatterloopError
from matterloop.crystal.composition import (
    ELECTRONEGATIVITY, MASS, anonymous_formula, composition_matrix, compositions, density, formula, is_charge_neutral, mass, oxidation_guesses,
    oxidation_states, parse_formula, reduced, reduced_formula)
from matterloop.crystal.state import Crystals


def by_symbol(text: str) -> dict[str, int]:
    return {SYMBOLS[z]: n for z, n in parse_formula(text).items()}


@pytest.mark.parametrize(("text", "counts"), [
    ("NaCl", {"Na": 1, "Cl": 1}), ("Na2Cl2", {"Na": 2, "Cl": 2}), ("Ca3(PO4)2", {"Ca": 3, "P": 2, "O": 8}), ("Li0.5(Ni2O4)3", {"Li": 1, "Ni": 12, "O": 24}),
    ("[Co(NH3)6]Cl3", {"Co": 1, "N": 6, "H": 18, "Cl": 3}), ("K4[ON(SO3)2]2", {"K": 4, "O": 14, "N": 2, "S": 4}), ("CuSO4.5H2O", {"Cu": 1, "S": 1, "O": 9, "H": 10}),
    ("CuSO4·5H2O", {"Cu": 1, "S": 1, "O": 9, "H": 10}), ("MgCl2.6H2O", {"Mg": 1, "Cl": 2, "H": 12, "O": 6}), ("CaSO4·0.5H2O", {"Ca": 2, "S": 2, "O": 9, "H": 2}),
    ("Na2S.9H2O", {"Na": 2, "S": 1, "H": 18, "O": 9}), ("3CdSO4·8H2O", {"Cd": 3, "S": 3, "O": 20, "H": 16}), ("H₂O", {"H": 2, "O": 1}), ("Fe 2 O 3", {"Fe": 2, "O": 3}),
    ("Li0.333CoO2", {"Li": 1, "Co": 3, "O": 6}), ("Li1.0Fe1.00O2", {"Li": 1, "Fe": 1, "O": 2}), ("Na.5Cl.5", {"Na": 1, "Cl": 1}), ("CO", {"C": 1, "O": 1}), ("Co", {"Co": 1}),
    ("Li0.97CoO2", {"Li": 97, "Co": 100, "O": 200})])
def test_a_formula_is_read(text, counts):
    assert by_symbol(text) == counts


@pytest.mark.parametrize(("text", "words"), [
    ("", "it is empty"), ("Fe+3", "charges are not part"), ("SO4^2-", "charges"), ("Na+Cl-", "charges"), ("Xx2", "no element called 'Xx'"), ("NaCl(", r"'\(' is not closed"),
    ("NaCl)", r"'\)' closes no bracket"), ("(NaCl]", "closes no bracket"), ("Na()2", "a bracket is empty"), ("Co0", "a count is zero"), ("LiFePO4D", "write H for D"),
    ("Na!Cl", "'!Cl' is neither"), ("nacl", "neither an element"), ("Fe0.12345O", "do not become whole"), ("Fe0.947O", "do not become whole"), ("H9999999", "above 1000000"), ("5", "holds no element"),
    ("Na·", "part between two dots is empty"), ("(" * 30 + "H" + ")" * 30, "deeper than 20"), ("H" * 501, "501 characters")])
def test_a_bad_formula_is_refused_with_a_sentence(text, words):
    with pytest.raises(BadInput, match=words):
        parse_formula(text)


@given(st.text(alphabet="HeLiNaFeOCl()[]{}0123456789.·*₂+- xD", max_size=40) | st.text(max_size=30))
@settings(max_examples=300)
def test_any_text_is_a_formula_or_an_error_of_ours(text):
    try:
        counts = parse_formula(text)
    except MatterloopError:
        return
    assert counts and all(n >= 1 for n in counts.values())


counts_of_elements = st.dictionaries(st.integers(1, 103), st.integers(1, 60), min_size=1, max_size=7)


@given(counts_of_elements)
def test_the_reduced_formula_is_that_of_pymatgen(counts):
    assert reduced_formula(counts) == PymatgenComposition({SYMBOLS[z]: n for z, n in counts.items()}).reduced_formula


@given(counts_of_elements)
def test_writing_and_reading_a_formula_come_back(counts):
    assert parse_formula(formula(counts)) == counts
    assert dict(reduced(parse_formula(reduced_formula(counts)))) == dict(reduced(counts))


@given(counts_of_elements, st.integers(1, 9))
def test_reducing_forgets_how_often_the_unit_is_repeated(counts, times):
    more = {z: n * times for z, n in counts.items()}
    assert reduced(more) == reduced(counts) and anonymous_formula(more) == anonymous_formula(counts) and reduced_formula(more) == reduced_formula(counts)


def test_reduced_sorts_by_atomic_number():
    assert reduced("Na2Cl2") == ((11, 1), (17, 1)) and reduced([17, 11, 17, 11]) == ((11, 1), (17, 1)) and reduced(torch.tensor([8, 1, 1])) == ((1, 2), (8, 1))


@pytest.mark.parametrize(("text", "name"), [("SrTiO3", "ABC3"), ("NaCl", "AB"), ("MgO", "AB"), ("Al2O3", "A2B3"), ("LiFePO4", "ABCD4"), ("Fe", "A")])
def test_anonymous_formulas(text, name):
    assert anonymous_formula(text) == name == PymatgenComposition(text).anonymized_formula


@pytest.mark.parametrize("nothing", [{}, [], {1: -1}, {200: 1}])
def test_an_impossible_composition_is_refused(nothing):
    with pytest.raises(BadInput, match="composition"):
        reduced(nothing)


def test_tables_agree_with_pymatgen():
    from pymatgen.core import Element

    for z in range(1, 104):
        assert MASS[z] == pytest.approx(float(Element.from_Z(z).atomic_mass), rel=0.01 if z in (43, 61) or z > 83 else 6e-4), SYMBOLS[z]
        assert ELECTRONEGATIVITY[z] == pytest.approx(Element.from_Z(z).X, nan_ok=True), SYMBOLS[z]


def test_mass_of_water():
    assert mass("H2O") == pytest.approx(18.015)


def test_batches_count_elements_and_weigh_cells():
    salt = Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17], [[0, 2.82, 2.82], [2.82, 0, 2.82], [2.82, 2.82, 0]])
    both = Crystals.join([salt, salt.repeated(2, 1, 1)])
    matrix = composition_matrix(both)
    assert matrix.shape == (2, 119) and matrix.sum().item() == 6 and matrix[1, 11] == 2 and matrix[0, 17] == 1
    assert compositions(both) == [{11: 1, 17: 1}, {11: 2, 17: 2}]
    torch.testing.assert_close(density(both), torch.full((2,), 2.163, dtype=torch.float64), atol=5e-3, rtol=0)  # halite, at a = 5.64 Å


# oxidation states


@pytest.mark.parametrize(("text", "states"), [
    ("NaCl", {"Na": 1, "Cl": -1}), ("LiFePO4", {"Li": 1, "Fe": 2, "P": 5, "O": -2}), ("SrTiO3", {"Sr": 2, "Ti": 4, "O": -2}), ("NaNO3", {"Na": 1, "N": 5, "O": -2}),
    ("Fe3O4", {"Fe": 8 / 3, "O": -2}), ("LiMn2O4", {"Li": 1, "Mn": 3.5, "O": -2}), ("CuFeS2", {"Cu": 1, "Fe": 3, "S": -2}), ("MgB2H8", {"Mg": 2, "B": 3, "H": -1})])
def test_the_first_guess_is_the_chemist_s(text, states):
    assert {SYMBOLS[z]: x for z, x in oxidation_guesses(text)[0].mean.items()} == pytest.approx(states)


def test_magnetite_has_one_iron_of_two_and_two_of_three():
    assert oxidation_guesses("Fe3O4")[0].sites == {26: {2: 1, 3: 2}, 8: {-2: 4}}


@given(st.dictionaries(st.sampled_from([NUMBER[s] for s in "Li Na Mg Al Fe Mn Cu Ti O S F Cl N P Si".split()]), st.integers(1, 8), min_size=2, max_size=5))
@settings(max_examples=60)
def test_every_guess_balances_and_probabilities_fall_and_add_to_one(counts):
    guesses = oxidation_guesses(counts)
    units = dict(reduced(counts))
    for guess in guesses:
        assert sum(x * units[z] for z, x in guess.mean.items()) == pytest.approx(0, abs=1e-9)
        assert {z: sum(n.values()) for z, n in guess.sites.items()} == units
        assert sum(s * n for states in guess.sites.values() for s, n in states.items()) == 0
    chances = [g.probability for g in guesses]
    assert chances == sorted(chances, reverse=True) and (not chances or sum(chances) == pytest.approx(1))


def test_the_best_guesses_are_the_best_of_all_of_them():
    """Against the plain product over elements that the dynamic programming avoids."""
    import itertools
    import math

    from matterloop.crystal.composition import MIXED_COST, RARE_SHARE

    units = dict(reduced("Li2Mn3Fe2O8"))
    options = []
    for z, n in units.items():
        best: dict[int, float] = {}
        for states in itertools.combinations_with_replacement(oxidation_states(z, RARE_SHARE).items(), n):
            if len({s for s, _ in states}) <= 2:
                score = sum(math.log(p) for _, p in states) / n - MIXED_COST * (len({s for s, _ in states}) - 1)
                q = sum(s for s, _ in states)
                best[q] = max(score, best.get(q, -math.inf))
        options.append(list(best.items()))
    scores = sorted((sum(s for _, s in x) for x in itertools.product(*options) if not sum(q for q, _ in x)), reverse=True)[:10]
    chances = [g.probability for g in oxidation_guesses("Li2Mn3Fe2O8")]
    assert chances == pytest.approx([math.exp(s) / sum(map(math.exp, scores)) for s in scores])


def test_a_charge_can_be_asked_for():
    assert oxidation_guesses("SO4", charge=-2)[0].mean == {16: 6.0, 8: -2.0}


def test_what_has_no_states_has_no_guesses_and_elements_are_zero():
    assert oxidation_guesses("TiAl") == [] and oxidation_guesses("HeO") == []
    assert oxidation_guesses("Fe4")[0].mean == {26: 0.0}
    with pytest.raises(BadInput, match="raise `max_atoms`"):
        oxidation_guesses("Al199O201")


def test_shares_are_of_the_non_zero_states():
    assert sum(oxidation_states(26, 0.0).values()) == pytest.approx(1) and 0 not in oxidation_states(26, 0.0)
    assert set(oxidation_states(11)) == {1} and set(oxidation_states(26)) == {2, 3}


@pytest.mark.parametrize(("text", "neutral", "mixed"), [
    ("NaCl", True, True), ("NaCl2", False, False), ("Fe3O4", False, True), ("SrTiO3", True, True), ("TiAl", True, True), ("Fe", True, True), ("NaO3", False, False)])
def test_charge_neutrality(text, neutral, mixed):
    assert is_charge_neutral(text) is neutral and is_charge_neutral(text, mixed_valence=True) is mixed


@pytest.mark.data
def test_reduced_formulas_of_materials_project_compositions_are_those_of_pymatgen(data_dir):
    """Every 40th of 132,752; the whole table takes 15 s and was equal throughout."""
    with bz2.open(data_dir / "matbench_v01_official_tables" / "matbench_mp_e_form.json.bz2") as file:
        column = json.load(file)["composition"]
    texts = list(column.values() if isinstance(column, dict) else column)[::40]
    assert len(texts) > 3000
    assert [t for t in texts if reduced_formula(t) != PymatgenComposition(t).reduced_formula] == []
