"""Screens let through what they should, in the order they stand, and say what each removed."""

import numpy as np
import pytest

from matterloop.base.errors import BadInput
from matterloop.generate.gene_screens import (
    ChargeNeutral,
    ChemicalSense,
    Distinct,
    NearHull,
    NovelGene,
    hull_floor,
    novel_formula,
    screened,
    usual,
)
from matterloop.measure.hull import Hull
from matterloop.predict.gene_energy import Calibration, Predicted
from matterloop.represent.wyckoff_gene import Gene

SALT, TURNED, POTASSIUM, CHLORIDE = (Gene.parse(k) for k in ("225:Na_a.Cl_b", "225:Na_b.Cl_a", "225:K_a.Cl_b", "221:Na_a.Cl_b"))


class Fixed:
    """A predictor that looks energies up."""

    def __init__(self, above: dict[str, float]):
        self.above = above

    def predict(self, genes):
        e = np.array([self.above[g.key] for g in genes])
        return Predicted(e, np.full(len(e), 0.05), np.zeros(len(e)), Calibration(1.0, np.linspace(-2, 2, 21)))


def test_the_first_of_equal_keys_passes_also_over_batches():
    screen = Distinct()
    assert screen([SALT, TURNED, POTASSIUM]).tolist() == [True, False, True]
    assert screen([TURNED, CHLORIDE]).tolist() == [False, True]
    assert Distinct({SALT.key})([SALT, CHLORIDE]).tolist() == [False, True]


def test_known_genes_do_not_pass_in_any_setting():
    assert NovelGene({SALT.key})([TURNED, POTASSIUM]).tolist() == [False, True]


def test_a_formula_is_known_in_its_space_group_only():
    screen = novel_formula(["NaCl", "KCl"], [225, 0])
    assert screen([SALT, TURNED, CHLORIDE, POTASSIUM]).tolist() == [False, False, True, True]


def test_mirror_groups_hold_the_same_formulas():
    left, right = Gene.parse("152:Si_a.O_c"), Gene.parse("154:Si_a.O_c")
    for group in (152, 154):
        assert novel_formula(["SiO2"], [group])([left, right]).tolist() == [False, False]


def test_charges_and_smact():
    genes = [SALT, Gene.parse("225:Na_a.Cl_b.Cl_c"), Gene.parse("221:Al_a.Ni_b"), Gene.parse("227:Fe_a.Fe_d.O_e")]  # NaCl, NaCl3, NiAl, Fe3O4
    assert ChargeNeutral()(genes).tolist() == [True, False, True, True]
    assert ChargeNeutral(mixed_valence=False)(genes).tolist() == [True, False, True, False]
    assert ChemicalSense()(genes[:3]).tolist() == [True, False, True]


def test_the_best_share_passes_and_genes_without_hull_do_not():
    genes = [SALT, POTASSIUM, CHLORIDE]
    predictor = Fixed({SALT.key: 0.0, POTASSIUM.key: 0.3, CHLORIDE.key: 0.1})
    assert NearHull(predictor, share=2 / 3)(genes).tolist() == [True, False, True]
    assert NearHull(predictor, chance=0.6)(genes).tolist() == [True, False, False]
    assert NearHull(Fixed({SALT.key: np.nan, POTASSIUM.key: 0.3, CHLORIDE.key: 0.1}))(genes).tolist() == [False, True, True]
    assert NearHull(predictor)([]).tolist() == []


@pytest.mark.parametrize("wrong", [{"share": 0.0}, {"share": 1.2}, {"chance": 1.0}])
def test_impossible_limits_are_refused(wrong):
    with pytest.raises(BadInput, match="allowed are"):
        NearHull(Fixed({}), **wrong)


def test_screens_run_in_order_and_count():
    genes = [SALT, TURNED, POTASSIUM, CHLORIDE]
    predictor = Fixed({POTASSIUM.key: 0.2, CHLORIDE.key: 0.0})
    found = screened(genes, usual({SALT.key}, novel_formula(["NaBr"], [225]), predictor, share=0.5))
    assert found.kept == (3,)
    assert [(r.name, r.given, r.removed) for r in found.removed] == [
        ("duplicate gene", 4, 1), ("known gene", 3, 1), ("known formula in its space group", 2, 0), ("energy predicted too high", 2, 1)]
    assert all(r.seconds >= 0 for r in found.removed)
    assert screened([], [Distinct(), NovelGene(set())]).kept == ()


def test_the_floor_of_a_hull_by_hand():
    """Na and Cl at -1 and -2 eV/atom, NaCl at -3.5: 2 eV/atom below its elements; NaCl3 halves the way to chlorine; potassium is not on this hull."""
    hull = Hull([{11: 1}, {17: 1}, {11: 1, 17: 1}], [-1.0, -2.0, -3.5], ["Na", "Cl", "NaCl"], "test", "test")
    floor = hull_floor(hull)([{11: 4, 17: 4}, {11: 1, 17: 3}, {19: 1, 17: 1}, {17: 2}])
    assert floor[:2] == pytest.approx([-2.0, -1.0]) and np.isnan(floor[2]) and floor[3] == pytest.approx(0.0)
    assert hull_floor(hull)([]).shape == (0,)
