import numpy as np
import pytest

from matterloop.base.errors import BadInput, Missing
from matterloop.bench import examples
from matterloop.crystal.compositions import Compositions
from matterloop.represent import magpie
from matterloop.represent.composition_statistics import GROUPS, CompositionStatistics, labels, of_counts

FORMULAS = ("NaCl", "Fe2O3", "SrTiO3", "Si", "Cs2AgBiBr6", "LiFePO4", "Nb3Sn", "AlCoCrFeNi", "Cu0.46Zr0.46Al0.08", "Yb14MnSb11")


def counts(*formulas):
    batch = Compositions.of(formulas)
    out = np.zeros((len(batch), 119))
    out[batch.owner, batch.species] = batch.amount
    return out


def columns(formula, *names):
    row = dict(zip(labels(), of_counts(counts(formula))[0], strict=True))
    return [row[name] for name in names]


def theirs(featurizer, formulas=FORMULAS):
    from pymatgen.core import Composition

    return np.array([featurizer.featurize(Composition(f)) for f in formulas], dtype=float)


def test_norms_orbitals_and_ionic_character_are_matminers():
    composition = pytest.importorskip("matminer.featurizers.composition")
    rows = counts(*FORMULAS)
    np.testing.assert_allclose(of_counts(rows, ("norms",)), theirs(composition.Stoichiometry()), atol=1e-12)
    np.testing.assert_allclose(of_counts(rows, ("orbitals",)), theirs(composition.ValenceOrbital()), atol=1e-12)
    alloys = [f for f in FORMULAS if f != "Si"]
    ion = theirs(composition.IonProperty(fast=True), alloys)[:, 1:]
    np.testing.assert_allclose(of_counts(counts(*alloys), ("ionic",)), ion, atol=1e-12)


def test_alloy_numbers_are_matminers():
    composition = pytest.importorskip("matminer.featurizers.composition")
    alloys = ("Nb3Sn", "AlCoCrFeNi", "Cu0.46Zr0.46Al0.08", "Pd3Ni4P")
    omega, spread = theirs(composition.YangSolidSolution(), alloys).T
    found = of_counts(counts(*alloys), ("alloy",))
    np.testing.assert_allclose(found[:, 1], spread, rtol=1e-10)
    np.testing.assert_allclose(np.expm1(found[:, 5]), omega, rtol=2e-4)  # they round the gas constant


def test_entropy_and_shares_by_hand():
    entropy, na, cl, halogens, metals = columns("NaCl", "entropy of mixing", "share of Na", "share of Cl", "share of halogens", "share of metals")
    assert (entropy, na, cl, halogens, metals) == pytest.approx((np.log(2), 0.5, 0.5, 0.5, 0.5))


def test_common_charges_of_a_salt_cancel_and_those_of_an_alloy_do_not():
    assert columns("NaCl", "charge left") == [0] and columns("Al2O3", "charge left") == pytest.approx([0])
    assert columns("NaCl3", "charge left")[0] == pytest.approx(0.25 - 0.75)


def test_the_formula_unit_is_the_smallest_with_whole_amounts():
    size = lambda formula: np.exp(columns(formula, "log of atoms in the formula unit")[0])
    assert [round(size(f)) for f in ("Si", "Fe4O6", "Cu0.46Zr0.46Al0.08", "Fe0.6123C0.3877")] == [1, 5, 50, 500]
    assert columns("Cu0.46Zr0.46Al0.08", "whole percentages") == [1] and columns("Fe2O", "whole percentages") == [0]


def test_an_element_alone_has_no_pairs():
    assert columns("Si", "highest ionic character", "enthalpy of mixing", "lowest enthalpy of a pair", "entropy of mixing") == [0, 0, 0, 0]


def test_amounts_count_only_by_their_ratio():
    np.testing.assert_allclose(of_counts(counts("Fe2O3")), of_counts(counts("Fe0.4O0.6")), rtol=1e-12, atol=1e-12)


def test_rows_do_not_see_each_other():
    """The widest composition of a batch sets how many places the others are padded to."""
    rows = counts(*FORMULAS)
    np.testing.assert_allclose(of_counts(rows), np.concatenate([of_counts(rows[i : i + 1]) for i in range(len(rows))]), rtol=1e-12, atol=1e-12)


def test_groups_are_columns_of_the_whole_and_magpie_stands_first():
    rows, whole = counts(*FORMULAS), of_counts(counts(*FORMULAS))
    assert whole.shape == (len(FORMULAS), len(labels())) and len(set(labels())) == len(labels()) and np.isfinite(whole).all()
    np.testing.assert_array_equal(whole[:, :132], magpie.of_counts(rows))
    np.testing.assert_array_equal(np.hstack([of_counts(rows, (g,)) for g in GROUPS]), whole)


def test_the_descriptor_reads_crystals():
    salt = examples.rock_salt((11, 17))
    np.testing.assert_allclose(CompositionStatistics(("norms",))(salt).numpy(), of_counts(counts("NaCl"), ("norms",)))


def test_nonsense_is_refused():
    with pytest.raises(Missing, match="did you mean magpie"):
        of_counts(counts("NaCl"), ("magpi",))
    with pytest.raises(BadInput, match="no group"):
        of_counts(counts("NaCl"), ())
    with pytest.raises(BadInput, match="undecided"):
        of_counts(np.eye(119)[:1])
