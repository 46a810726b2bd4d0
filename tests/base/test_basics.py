"""Seeds, units and the periodic table."""

import ase.data
import ase.units
import pytest

from matterloop.base import elements, units
from matterloop.base.errors import Missing
from matterloop.base.seeds import derive, numpy_stream, torch_stream


def test_a_seed_follows_from_its_path_and_nothing_else():
    assert derive(0, "relax", 3) == derive(0, "relax", 3)
    paths = [(0,), (1,), (0, "a"), (0, "b"), (0, "a", 1), (0, "a", "1"), (0, "a1")]
    assert len({derive(*p) for p in paths}) == len(paths)
    assert all(0 <= derive(*p) < 2**63 for p in paths)


def test_a_derived_seed_never_changes_between_versions():
    assert derive(0, "relax", 3) == 1678197075152573795


def test_streams_repeat_and_are_independent_of_the_global_generators():
    import numpy as np
    import torch

    first = numpy_stream(5, "x").random(3).tolist(), torch.rand(3, generator=torch_stream(5, "x")).tolist()
    np.random.random(7), torch.rand(7)
    assert first == (numpy_stream(5, "x").random(3).tolist(), torch.rand(3, generator=torch_stream(5, "x")).tolist())
    assert first[0] != numpy_stream(5, "y").random(3).tolist()


def test_units_agree_with_ase():
    assert units.GPA_PER_EV_PER_A3 == pytest.approx(1 / ase.units.GPa, rel=1e-7)
    assert units.EV_PER_KJ_PER_MOL == pytest.approx(ase.units.kJ / ase.units.mol, rel=1e-7)
    assert units.EV_PER_HARTREE == pytest.approx(ase.units.Hartree, rel=1e-7)
    assert units.A_PER_BOHR == pytest.approx(ase.units.Bohr, rel=1e-7)
    assert units.KELVIN_TO_EV == pytest.approx(ase.units.kB, rel=1e-6)
    assert units.stress_to_gpa(1.0) == pytest.approx(160.2176634) and units.gpa_to_stress(units.stress_to_gpa(0.3)) == pytest.approx(0.3)


def test_one_gram_per_cm3_in_amu_per_a3():
    assert units.AMU_A3_TO_G_CM3 == pytest.approx(1.66053906660e-24 / 1e-24)


def test_symbols_agree_with_ase():
    assert list(elements.SYMBOLS) == ase.data.chemical_symbols
    assert elements.number("Og") == elements.MAX_Z == 118 and elements.symbol(0) == "X"


def test_unknown_elements_are_missing_with_the_nearest():
    with pytest.raises(Missing, match="did you mean"):
        elements.number("Fee")
    for z in (-1, 119):
        with pytest.raises(Missing, match="atomic number"):
            elements.symbol(z)


def test_classes_of_elements():
    assert elements.RARE_EARTHS == {elements.number("Sc"), elements.number("Y"), *range(57, 72)}
    assert not elements.METALS & elements.NON_METALS and not elements.METALS & elements.NOBLE_GASES
    assert {elements.number(s) for s in ("Tc", "Pm", "U", "Xe", "Po")} <= elements.DEFAULT_MASK
    assert not {elements.number(s) for s in ("Fe", "Li", "O", "La", "Bi")} & elements.DEFAULT_MASK
