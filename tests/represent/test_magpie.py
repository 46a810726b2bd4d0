import numpy as np
import pytest
import torch

from matterloop.base.errors import BadInput
from matterloop.bench import examples
from matterloop.crystal.composition import composition_matrix, parse_formula
from matterloop.crystal.state import Crystals
from matterloop.represent.magpie import LABELS, Magpie, element_table, of_counts

FORMULAS = ("NaCl", "Fe2O3", "Fe3O4", "SrTiO3", "Si", "O2", "HgS", "Cs2AgBiBr6", "LiFePO4", "Ca10P6O26H2", "XeF2", "PuO2", "Tc2S7", "Nb3Sn", "AlCoCrFeNi", "Yb14MnSb11")


def counts(*formulas):
    out = np.zeros((len(formulas), 119))
    for row, formula in zip(out, formulas, strict=True):
        for z, n in parse_formula(formula).items():
            row[z] = n
    return out


def test_it_is_matminers_fingerprint():
    composite = pytest.importorskip("matminer.featurizers.composition.composite")
    from pymatgen.core import Composition

    theirs = composite.ElementProperty.from_preset("magpie")
    wanted = np.array([theirs.featurize(Composition(f)) for f in FORMULAS])
    assert tuple(theirs.feature_labels()) == LABELS
    np.testing.assert_allclose(of_counts(counts(*FORMULAS)), wanted, rtol=0, atol=1e-9)


def test_statistics_of_a_compound_by_hand():
    """Fe2O3: atomic numbers 26 and 8 with shares 0.4 and 0.6."""
    row = dict(zip(LABELS, of_counts(counts("Fe2O3"))[0], strict=True))
    got = [row[f"MagpieData {s} Number"] for s in ("minimum", "maximum", "range", "mean", "avg_dev", "mode")]
    assert got == pytest.approx([8, 26, 18, 0.4 * 26 + 0.6 * 8, 0.4 * 10.8 + 0.6 * 7.2, 8])


def test_of_equally_frequent_elements_the_smaller_value_is_the_mode():
    row = dict(zip(LABELS, of_counts(counts("NaCl"))[0], strict=True))
    assert row["MagpieData mode Number"] == 11 and row["MagpieData mode Column"] == 1


def test_what_is_not_known_of_an_element_is_the_mean_over_the_others():
    table = element_table()
    assert np.isfinite(table[1:]).all()
    column = [label.split()[-1] for label in LABELS[::6]].index("MeltingT")
    assert table[118, column] == pytest.approx(table[114, column])  # neither was ever molten


def test_a_batch_is_described_in_its_order():
    salt, other = examples.rock_salt(), examples.rock_salt((12, 8))
    both = Magpie()(Crystals.join([salt, other]))
    assert both.shape == (2, 132) and torch.equal(both[1], Magpie()(other)[0])
    np.testing.assert_array_equal(both.numpy(), of_counts(composition_matrix(Crystals.join([salt, other]))))


@pytest.mark.parametrize("row, why", [(np.zeros((1, 119)), "no atoms"), (np.eye(119)[:1], "undecided"), (np.ones((2, 5)), "shape")])
def test_nonsense_is_refused(row, why):
    with pytest.raises(BadInput, match=why):
        of_counts(row)


def test_no_compositions_give_no_rows():
    assert of_counts(np.zeros((0, 119))).shape == (0, 132)
