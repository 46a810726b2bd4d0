"""Structure types: space groups and coordination known from textbooks, names, AFLOW's set read as it stands."""

import itertools

import numpy as np
import pytest

from matterloop.base.elements import NUMBER
from matterloop.base.errors import BadInput, Missing
from matterloop.crystal.prototypes import PROTOTYPE_NAMES, ROLES, aflow, classics, from_crystals, named, prototype_name, prototypes, split_orbits
from matterloop.crystal.state import Crystals
from matterloop.crystal.structure_types import STRUCTURES

GRID = np.array(list(itertools.product((-1, 0, 1), repeat=3)))


def coordination(prototype, element, slack=1.15):
    """(neighbours, shortest distance) of the first atom of an element, within `slack` of the shortest."""
    atom = int(np.flatnonzero(np.array(prototype.parents)[prototype.label] == NUMBER[element])[0])
    difference = prototype.frac - prototype.frac[atom]
    distance = np.linalg.norm(((difference - np.round(difference))[:, None] + GRID) @ prototype.cell, axis=-1).ravel()
    distance = distance[distance > 1e-6]
    return int((distance < slack * distance.min()).sum()), float(distance.min())


def one(name):
    (found,) = prototypes(name)
    return found


@pytest.mark.parametrize(("name", "element", "neighbours", "distance"), [  # counts and distances in Å as in textbooks
    ("fcc", "Cu", 12, 2.56), ("bcc", "Fe", 8, 2.48), ("diamond", "C", 4, 1.54), ("rock salt", "Na", 6, 2.82), ("CsCl", "Cs", 8, 3.57),
    ("zinc blende", "Zn", 4, 2.34), ("wurtzite", "Zn", 4, 2.34), ("fluorite", "Ca", 8, 2.36), ("fluorite", "F", 4, 2.36), ("rutile", "Ti", 6, 1.95),
    ("anatase", "Ti", 6, 1.94), ("cubic perovskite", "Ti", 6, 1.95), ("cubic perovskite", "Sr", 12, 2.76), ("spinel", "Mg", 4, 1.92), ("spinel", "Al", 6, 1.93),
    ("corundum", "Al", 6, 1.86), ("calcite", "C", 3, 1.28), ("zircon", "Si", 4, 1.62), ("garnet", "Si", 4, 1.65), ("olivine", "Si", 4, 1.62),
    ("scheelite", "W", 4, 1.78), ("pyrochlore", "Ti", 6, 1.95), ("alpha-NaFeO2", "Co", 6, 1.92), ("cuprite", "Cu", 2, 1.85), ("monazite", "P", 4, 1.53),
    ("chalcopyrite", "Cu", 4, 2.30), ("MoS2", "Mo", 6, 2.42), ("skutterudite", "Co", 6, 2.33), ("NASICON", "Zr", 6, 2.06), ("argyrodite", "P", 4, 2.05),
])
def test_coordination_is_that_of_the_textbook(name, element, neighbours, distance):
    found = coordination(one(name), element)
    assert found[0] == neighbours
    assert found[1] == pytest.approx(distance, abs=0.02)


def test_every_type_has_the_space_group_and_formula_of_its_table():
    table = {name: number for name, _, number, _, _ in STRUCTURES}
    for p in classics():
        assert p.anonymous == PROTOTYPE_NAMES[p.name]["anonymous"], p.name
        assert p.space_group == table.get(p.name, 74), p.name  # 74, Imma: inverse spinel, the one type made by ordering another
        assert len(p.roles) == len(p.parents) == len(p.counts)
        assert all(z in ROLES[r] for z, r in zip(p.parents, p.roles, strict=True)), p.name


def test_roles_and_synonyms_are_consistent():
    seen = {}
    for name, entry in PROTOTYPE_NAMES.items():
        assert set(entry["roles"].values()) <= set(ROLES), name
        for word in (name, *entry["synonyms"]):
            assert seen.setdefault(word.lower(), name) == name, f"{word} names {seen[word.lower()]} and {name}"
        assert named(name), name


def test_primitive_cells_agree_with_pymatgen():
    from pymatgen.core import Lattice, Structure
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    for p in classics():
        structure = Structure(Lattice(p.cell), [p.label[i] + 1 for i in range(p.atoms)], p.frac)
        assert SpacegroupAnalyzer(structure, 0.01).get_space_group_number() == p.space_group, p.name
        assert len(structure.get_primitive_structure(0.01)) == p.atoms, p.name


def test_aflow_prototypes_have_the_space_group_of_their_label():
    off = [p.name for p in aflow() if f"_{p.space_group}_" not in p.tags["aflow"]]
    assert len(aflow()) == len({p.name for p in aflow()}) == 288
    assert len(off) <= 2  # rounded coordinates that no tolerance brings to the stated group


@pytest.mark.slow
def test_aflow_is_read_as_pymatgen_reads_it():
    from pymatgen.analysis.prototypes import AFLOW_PROTOTYPE_LIBRARY

    theirs = {}
    for row in AFLOW_PROTOTYPE_LIBRARY:
        theirs.setdefault(row["tags"]["aflow"], []).append(row["snl"].structure)
    assert len(aflow()) == sum(map(len, theirs.values())) == 288
    for p in aflow():
        volumes = [s.volume / len(s) for s in theirs[p.tags["aflow"]]]
        assert min(abs(p.volume / p.atoms / v - 1) for v in volumes) < 1e-3, p.name


def test_names_synonyms_plurals_and_underscores_lead_to_types():
    for text, name in (("Perovskites", "perovskite"), ("rocksalt", "rock salt"), ("half_heusler", "half-Heusler"), ("full-Heusler", "Heusler"),
                       ("elpasolite", "double perovskite"), ("L2_1", "Heusler"), ("layered oxide", "alpha-NaFeO2"), ("nasicon", "NASICON")):
        assert prototype_name(text) == name
    assert {p.name for p in named("laves phase")} == {"Laves C14", "Laves C15", "Laves C36"}
    assert [p.space_group for p in named("brookite")] == [61]
    assert {p.space_group for p in prototypes("perovskite")} == {62, 99, 167, 194, 221}
    assert [p.name for p in prototypes("perovskite", space_group=62)] == ["orthorhombic perovskite"]
    assert all(p.anonymous == "ABC3" for p in prototypes(anonymous="ABC3")) and len(prototypes(anonymous="ABC3")) > 8


def test_an_unknown_type_is_missing_with_near_names():
    with pytest.raises(Missing, match="perovskite"):
        prototypes("perovskit")


def test_filled_scales_to_the_volume_and_keeps_the_symmetry():
    from matterloop.crystal.symmetry import analyse

    spinel = one("spinel")
    crystal = spinel.filled([30, 31, 16], 300.0)
    assert float(crystal.volume[0]) == pytest.approx(300.0)
    assert crystal.formula() == "Ga4 S8 Zn2"
    assert analyse(crystal, 0.001)[0].number == 227
    with pytest.raises(BadInput, match="3 different sites"):
        spinel.filled([30, 31])


def test_a_split_gives_one_orbit_to_a_new_label_and_keeps_the_group():
    (split,) = split_orbits(one("BiF3"))  # D0_3: the two kinds of iron sites part, which is the full Heusler arrangement
    from matterloop.crystal.symmetry import analyse

    assert split.counts in ((1, 2, 1), (1, 1, 2))
    crystal = split.filled([13, 29, 25] if split.counts == (1, 2, 1) else [13, 25, 29])
    assert analyse(crystal, 0.01)[0].number == 225
    assert split_orbits(one("rock salt")) == []


def test_prototypes_of_own_crystals_forget_the_setting():
    salt = one("rock salt").filled([11, 17])
    turned = salt.shifted(salt.frac.new_tensor([0.13, 0.2, 0.7])).repeated(2, 1, 1)
    (found,) = from_crystals(Crystals.join([turned]), ["mine"], "own")
    assert (found.space_group, found.atoms, found.source) == (225, 2, "own")
    assert found.key == one("rock salt").key
