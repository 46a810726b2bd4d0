"""MP2020 corrections: by hand, against pymatgen's class, and hulls that refuse to mix."""

import numpy as np
import pytest
import torch

from matterloop.archive.shipped import read_table
from matterloop.base.errors import BadInput, Missing
from matterloop.crystal.composition import parse_formula
from matterloop.crystal.formats import to_pymatgen
from matterloop.crystal.state import Crystals
from matterloop.crystal.wyckoff import from_parameters
from matterloop.measure.corrections import (CORRECTED, RAW, CorrectedOracle, corrected_composition, for_hull, guessed_states, hull_scheme, most_electronegative, mp2020,
                                            oxide_types, parts_of, refuse_other, run_type, sulfur_is_anion)
from matterloop.measure.hull import Hull
from matterloop.measure.own_reference import user_phases, user_reference
from matterloop.measure.reference import _parameters, phases, reference_hull
from matterloop.potential.lennard_jones import LennardJones


def salt(metal, anion, a=5.64):
    return Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5]], [metal, anion], a / 2 * (1 - np.eye(3)))


def pair(z, length, *more, box=9.0):
    """Two atoms `length` Å apart and further ones given as (atomic number, x, y, z in Å) in a cubic box."""
    cart = [[0, 0, 0], [length, 0, 0], *([x, y, w] for _, x, y, w in more)]
    return Crystals.of(np.array(cart) / box, [z, z, *(m[0] for m in more)], box * np.eye(3))


class Raw:
    """A pair potential that calls its energies raw ones of the Materials Project."""

    name, energy_scheme = "raw_pair", RAW

    def label(self, crystals):
        return LennardJones(sigma=2.3, epsilon=0.1, cutoff=6.0).label(crystals)


@pytest.mark.parametrize("formula, by_hand, run", [
    ("NaCl", {"Cl": -0.614}, "GGA"), ("Fe2O3", {"oxide": 3 * -0.687, "+U Fe": 2 * -2.256}, "GGA+U"), ("Fe", {}, "GGA"), ("O2", {}, "GGA"), ("FeS2", {"S": 2 * -0.503}, "GGA"),
    ("LiMnOF", {"oxide": -0.687, "F": -0.462, "+U Mn": -1.668}, "GGA+U"), ("TiO2", {"oxide": 2 * -0.687}, "GGA"), ("Mg2Si", {"Si": 0.071}, "GGA"), ("NiTi", {}, "GGA"),
    ("FeF3", {"F": 3 * -0.462, "+U Fe": -2.256}, "GGA+U"), ("CrCl3", {"Cl": 3 * -0.614}, "GGA"), ("NH4Cl", {"N": -0.361, "Cl": -0.614}, "GGA")])
def test_parts_by_hand(formula, by_hand, run):
    composition = parse_formula(formula)
    assert parts_of(composition) == pytest.approx(by_hand) and run_type(composition) == run


def test_equal_electronegativities_are_told_apart_by_the_alphabet():
    assert most_electronegative(["H", "Pd"]) == "Pd" and most_electronegative(["Si", "Cu"]) == "Si" and most_electronegative(["Tc", "Si"]) == "Tc"


def test_large_formulas_get_no_guess():
    assert guessed_states(((11, 1), (17, 1))) == (("Na", 1.0), ("Cl", -1.0))
    assert guessed_states(((11, 20), (17, 20))) == ()


@pytest.mark.parametrize("crystal, kind", [
    (pair(8, 1.55, (11, 4.0, 4.0, 4.0)), "peroxide"), (pair(8, 1.57, (11, 4.0, 4.0, 4.0)), "oxide"), (pair(8, 1.30, (11, 4.0, 4.0, 4.0)), "superoxide"),
    (pair(8, 1.30, (11, 4.0, 4.0, 4.0), (8, -1.30, 0, 0)), "ozonide"), (pair(8, 1.45, (1, 0.0, 0.96, 0.0)), "oxide"), (pair(8, 1.30), "oxide"), (salt(11, 17), "oxide")])
def test_oxygen_is_known_by_its_distances(crystal, kind):
    assert oxide_types(crystal) == [kind]


def test_sulfur_in_a_sulfate_is_no_anion():
    sulfate = Crystals.of(np.array([[0, 0, 0], [1.49, 0, 0], [-1.49, 0, 0], [0, 1.49, 0], [0, -1.49, 0], [0, 0, 4.0]]) / 9, [16, 8, 8, 8, 8, 56], 9 * np.eye(3))
    far = Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5]], [16, 20], 12 * np.eye(3))
    assert sulfur_is_anion(Crystals.join([sulfate, salt(20, 16), pair(16, 2.05, (56, 4, 4, 4)), salt(11, 17), far])) == [False, True, True, False, True]
    assert mp2020(sulfate).parts[0] == pytest.approx({"oxide": 4 * -0.687})


def theirs(crystals, run_types):
    """eV of pymatgen's class for each crystal; sites by the alphabet, since of equally electronegative elements it takes the last one."""
    from pymatgen.entries.compatibility import MaterialsProject2020Compatibility
    from pymatgen.entries.computed_entries import ComputedStructureEntry
    from pymatgen.io.vasp.sets import MPRelaxSet

    scheme, u = MaterialsProject2020Compatibility(check_potcar=False), MPRelaxSet.CONFIG["INCAR"]["LDAUU"]["O"]
    out = []
    for structure, run in zip(to_pymatgen(crystals), run_types, strict=True):
        structure = structure.get_sorted_structure(key=lambda site: site.specie.symbol)
        hubbards = {e.symbol: u[e.symbol] for e in structure.composition if e.symbol in u} if run == "GGA+U" else {}
        entry = ComputedStructureEntry(structure, 0.0, parameters={"run_type": run, "hubbards": hubbards, "software": "none"})
        out.append(scheme.process_entry(entry, on_error="raise").correction)
    return out


def shipped(count, seed=0):
    """Relaxed crystals of the shipped reference, anions and oxides of metals with +U among them."""
    table = read_table("compounds_chgnet")
    table = table[table.lattice.notna() & (table.n_atoms <= 24)]
    chosen = table.sample(count, random_state=seed)
    return from_parameters([_parameters(chosen.iloc[i]) for i in range(count)])


def test_equal_to_pymatgen_on_shipped_crystals():
    crystals = shipped(300)
    ours = mp2020(crystals)
    assert ours.total.tolist() == pytest.approx(theirs(crystals, ours.run_types), abs=1e-9)
    assert {k.split()[0] for p in ours.parts for k in p} > {"oxide", "S", "F", "Cl", "H", "N", "+U"}


def test_equal_to_pymatgen_where_oxygen_is_bonded():
    crystals = Crystals.join([pair(8, d, (z, 4.0, 4.0, 4.0), box=8.0) for z in (3, 19, 26, 56) for d in (1.2, 1.3, 1.41, 1.42, 1.5, 1.56, 1.57, 2.5)])
    ours = mp2020(crystals)
    assert ours.total.tolist() == pytest.approx(theirs(crystals, ours.run_types), abs=1e-9)


@pytest.mark.slow
def test_equal_to_pymatgen_on_thousands():
    crystals = shipped(5000, 1)
    ours = mp2020(crystals)
    assert ours.total.tolist() == pytest.approx(theirs(crystals, ours.run_types), abs=1e-9)


def test_a_supercell_is_corrected_by_as_many_atoms_as_it_has():
    one = Crystals.join([salt(26, 8, 4.3), pair(8, 1.5, (11, 4, 4, 4))])
    assert mp2020(one.repeated(2, 1, 2)).total.tolist() == pytest.approx((4 * mp2020(one).total).tolist())
    assert mp2020(Crystals.of([], [], [], [])).total.shape == (0,)


def test_an_undecided_element_is_refused():
    with pytest.raises(BadInput, match="crystal 1.*undecided"):
        mp2020(Crystals.join([salt(11, 17), salt(0, 8)]))


def test_a_corrected_oracle_adds_to_energies_alone():
    crystals = Crystals.join([salt(26, 8, 4.3), salt(11, 17)])
    raw, sum_ = Raw().label(crystals), CorrectedOracle(Raw()).label(crystals)
    assert (sum_.energy - raw.energy).tolist() == pytest.approx([-0.687 - 2.256, -0.614])
    assert torch.equal(sum_.forces, raw.forces) and torch.equal(sum_.stress, raw.stress) and CorrectedOracle(Raw()).energy_scheme == CORRECTED
    with pytest.raises(BadInput, match="only 'mp-raw'"):
        CorrectedOracle(LennardJones())


def test_only_raw_energies_change_on_their_way_to_a_hull():
    crystals = salt(26, 8, 4.3)
    assert [hull_scheme(s) for s in (RAW, "mp2020", "lj")] == [CORRECTED, "mp2020", "lj"]
    energies, added = for_hull(RAW, crystals, [-10.0])
    assert energies.tolist() == pytest.approx([-10 - 2.943]) and added.tolist() == pytest.approx([-2.943])
    assert for_hull("mp2020", crystals, [-10.0])[0].tolist() == [-10.0]
    with pytest.raises(BadInput, match="1 crystals and 2 energies"):
        for_hull(RAW, crystals, [1.0, 2.0])


def test_no_hull_of_another_potential_or_scheme():
    one = {11: 1}
    refuse_other(Hull([one], [0.0], ["Na"], CORRECTED, "raw_pair"), Raw())
    for scheme, potential, why in (("mp2020", "raw_pair", "scheme 'mp2020'"), (RAW, "raw_pair", "scheme 'mp-raw'"), (CORRECTED, "chgnet", "potential 'chgnet'")):
        with pytest.raises(BadInput, match=why):
            refuse_other(Hull([one], [0.0], ["Na"], scheme, potential), Raw())


# the second potential's shipped reference


def test_sevennet_has_a_hull_of_its_own():
    listed = phases("sevennet-0")
    assert listed.scheme == CORRECTED and listed.potential == "sevennet" and phases("sevennet") is not None
    hull = reference_hull("sevennet-0")
    assert len(hull.elements) == 89 and hull.scheme != reference_hull("chgnet").scheme
    with pytest.raises(BadInput, match="'mp2020' cannot be measured against a hull of scheme 'mp-raw"):
        hull.energy_above([{11: 1}], [-1.3], scheme="mp2020")
    with pytest.raises(Missing, match="sevennet-0"):
        reference_hull("sevenet-0")


def test_its_corrections_follow_from_its_formulas():
    listed = phases("sevennet-0")
    plain = [i for i, c in enumerate(listed.compositions) if not {8, 16} & set(c)]
    for i in plain[::97]:
        assert listed.corrections[i] == pytest.approx(corrected_composition(listed.compositions[i]), abs=1e-9), listed.names[i]


# raw energies in a user's own table


def test_raw_rows_of_a_table_are_corrected(tmp_path):
    from matterloop.crystal.formats import cif_texts

    (tmp_path / "wustite.cif").write_text(cif_texts(salt(26, 8, 4.3), ["wustite"])[0])
    (tmp_path / "own.csv").write_text("formula,structure,energy_per_atom,scheme,potential\nFe,,-8.0,mp-raw,mace\nO2,,-5.0,mp-raw,mace\nNaCl,,-3.0,mp-raw,mace\n"
                                      ",wustite.cif,-7.0,mp-raw,mace\nFe2O3,,-7.0,mp-raw,mace\nFe2O3,wustite.cif,-7.0,mp-raw,mace\nFe2O3,,-8.0,mp-raw+mp2020,mace\n")
    own = user_phases(tmp_path / "own.csv")
    assert own.scheme == CORRECTED and own.energies.tolist() == pytest.approx([-8, -5, -3 - 0.307, -7 - 2.943 / 2, -8])
    assert own.corrections.tolist() == pytest.approx([0, 0, -0.307, -2.943 / 2, 0])
    assert [e.row for e in own.errors] == ["row 5", "row 6"] and "need the structure" in str(own.errors[0]) and "FeO" in str(own.errors[1])
    with pytest.raises(BadInput, match="no row could be used"):
        user_reference(tmp_path / "own.csv", scheme="mp2020", potential="mace")
