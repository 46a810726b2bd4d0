import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from matterloop.base.elements import NUMBER
from matterloop.base.errors import BadInput, Missing
from matterloop.base.registry import load
from matterloop.crystal import lattice, symmetry, wyckoff
from matterloop.crystal.state import Crystals
from matterloop.represent.wyckoff_gene import Gene, gene, relabellings


def build(group, cell, *sites):
    return wyckoff.build(group, cell, list(sites))


KNOWN = {
    "diamond": build(227, [3.567], ("a", "C")),
    "rock salt": build(225, [5.64], ("a", "Na"), ("b", "Cl")),
    "perovskite": build(221, [3.905], ("a", "Sr"), ("b", "Ti"), ("c", "O")),
    "rutile": build(136, [4.594, 2.959], ("a", "Ti"), ("f", "O", [0.305])),
    "anatase": build(141, [3.785, 9.514], ("b", "Ti"), ("e", "O", [0.0816])),
    "spinel": build(227, [8.083], ("a", "Mg"), ("d", "Al"), ("e", "O", [0.2623])),
    "quartz": build(152, [4.913, 5.405], ("a", "Si", [0.4697]), ("c", "O", [0.4135, 0.2669, 0.1191])),
    "wurtzite": build(186, [3.811, 6.234], ("b", "Zn", [0.0]), ("b", "S", [0.3748])),
    "zinc blende": build(216, [5.41], ("a", "Zn"), ("c", "S")),
    "monoclinic": build(14, [5.15, 5.21, 5.32, 99.2], ("e", "Zr", [0.275, 0.040, 0.208]), ("e", "O", [0.07, 0.33, 0.345]), ("e", "O", [0.45, 0.757, 0.479])),
    "triclinic": build(2, [5.0, 6.1, 7.3, 84.0, 98.0, 106.0], ("a", "Cu"), ("g", "Zn"), ("i", "O", [0.21, 0.33, 0.13])),
}


def retold(crystal, rng):
    """The same crystal turned (perhaps mirrored), in another cell of its lattice, shifted, perhaps a supercell, atoms shuffled."""
    turn = torch.linalg.qr(torch.tensor(rng.normal(size=(3, 3))))[0]
    mix = np.eye(3)
    for _ in range(4):
        i, j = rng.choice(3, 2, replace=False)
        mix[i] += int(rng.integers(-1, 2)) * mix[j]
    times = [1, 1, 1]
    times[rng.integers(3)] = int(rng.integers(1, 4))
    told = crystal.rotated(turn).recelled(torch.tensor(mix)).shifted(torch.tensor(rng.uniform(size=3))).repeated(*times)
    return told.shuffled(torch.tensor(rng.permutation(told.atoms)))


@pytest.mark.parametrize("name", KNOWN)
def test_keys_survive_every_retelling(name):
    crystal, rng = KNOWN[name], np.random.default_rng(len(name))
    expected = gene(crystal)[0]
    for _ in range(6):
        told = gene(retold(crystal, rng))[0]
        assert told.key == expected.key and told.anonymous == expected.anonymous


def test_keys_by_hand():
    keys = {name: gene(crystal)[0].key for name, crystal in KNOWN.items()}
    assert keys["diamond"] == "227:C_a"
    assert keys["rock salt"] == "225:Na_a.Cl_b"
    assert keys["rutile"] == "136:Ti_a.O_f" and keys["wurtzite"] == "186:S_b.Zn_b" and keys["quartz"] == "152:Si_a.O_c"
    assert len(set(keys.values())) == len(keys)


def test_both_origins_of_a_structure_give_one_gene():
    a_first, b_first = KNOWN["perovskite"], build(221, [3.905], ("b", "Sr"), ("a", "Ti"), ("d", "O"))
    assert gene(a_first) == gene(b_first)
    assert gene(KNOWN["spinel"]) == gene(build(227, [8.083], ("b", "Mg"), ("c", "Al"), ("e", "O", [0.3877])))
    assert gene(KNOWN["diamond"]) == gene(build(227, [3.567], ("b", "C")))
    assert gene(KNOWN["rutile"]) == gene(build(136, [4.594, 2.959], ("b", "Ti"), ("f", "O", [0.195])))
    assert gene(KNOWN["zinc blende"]) == gene(build(216, [5.41], ("b", "Zn"), ("d", "S"))) == gene(build(216, [5.41], ("c", "Zn"), ("b", "S")))


def test_structures_that_differ_are_told_apart():
    perovskite = gene(KNOWN["perovskite"])[0]
    swapped = gene(build(221, [3.905], ("a", "Ti"), ("b", "Sr"), ("c", "O")))[0]
    assert swapped.key != perovskite.key and swapped.anonymous == perovskite.anonymous
    assert gene(KNOWN["rutile"])[0].key != gene(KNOWN["anatase"])[0].key
    normal, inverse = Gene.parse("227:Mg_a.Al_d.O_e"), Gene.parse("227:Al_a.Mg_d.O_e")
    assert normal.key != inverse.key and normal.anonymous == inverse.anonymous
    assert gene(KNOWN["wurtzite"])[0].key != gene(KNOWN["zinc blende"])[0].key


def test_mirror_images_share_a_key_but_keep_their_group():
    right = KNOWN["quartz"]
    left = right.rotated(-torch.eye(3, dtype=torch.float64))
    a, b = gene(right)[0], gene(left)[0]
    assert (a.space_group, b.space_group) == (152, 154) and a.key == b.key == "152:Si_a.O_c"
    assert Gene.parse("213:Si_a.O_d").key == Gene.parse(Gene.parse("213:Si_a.O_d").key).key and Gene.parse("213:Si_a").key.startswith("212:")


def test_mirror_images_are_one_structure_for_structure_matcher():
    """The reason why enantiomorphs are merged."""
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.core import Structure

    right = KNOWN["quartz"]
    left = right.rotated(-torch.eye(3, dtype=torch.float64))
    a, b = (Structure(c.cell[0].numpy(), c.species.tolist(), c.frac.numpy()) for c in (right, left))
    assert StructureMatcher().fit(a, b)


def test_composition_and_atoms_are_those_of_the_primitive_cell():
    spinel = gene(KNOWN["spinel"])[0]
    assert spinel.atoms == 14 and spinel.composition == {8: 8, 12: 2, 13: 4} and spinel.dof == 1
    for crystal in KNOWN.values():
        primitive = symmetry.primitive(crystal)
        assert gene(crystal)[0].composition == {int(z): int(n) for z, n in zip(*primitive.species.unique(return_counts=True))}


@pytest.mark.parametrize("name", ["perovskite", "spinel", "rutile", "anatase", "monoclinic", "triclinic", "quartz"])
def test_equivalents_include_every_choice_that_moyopy_knows(name):
    """moyopy's action of the Euclidean normaliser on this crystal is a subset of our relabellings."""
    import moyopy

    crystal = KNOWN[name]
    data = moyopy.MoyoDataset(moyopy.Cell(crystal.cell[0].tolist(), crystal.frac.tolist(), crystal.species.tolist()), symprec=0.01)
    ours = {g.text for g in gene(crystal)[0].equivalents}
    share = {p.letter: p.multiplicity for p in wyckoff.positions(data.number)}
    for _, images in data.normalizer_wyckoff_positions().coset_representatives:
        count = {}
        for place, z in zip(images, data.std_cell.numbers):
            count[place.letter, z] = count.get((place.letter, z), 0) + 1
        sites = [(letter, z) for (letter, z), n in count.items() for _ in range(n // share[letter])]
        assert Gene.of(data.number, sites).text in ours


def test_relabellings_form_groups_and_keep_multiplicity_and_freedom():
    for group in range(1, 231):
        found, places = set(relabellings(group)), wyckoff.positions(group)
        assert tuple(range(len(places))) in found
        some = sorted(found)[:: max(1, len(found) // 8)]
        for p in some:
            assert all(places[i].multiplicity == places[j].multiplicity and places[i].dof == places[j].dof for i, j in enumerate(p))
            assert all(tuple(p[i] for i in q) in found for q in some)
    # P-1: all affine motions of the eight inversion centres; Pmmm: eight origins, six orders of axes; Fm-3m: two origins
    assert [len(relabellings(g)) for g in (2, 47, 225, 221, 62)] == [1344, 48, 2, 2, 2]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 230), st.randoms(use_true_random=False))
def test_canonical_forms_do_not_depend_on_the_choice(group, random):
    places = wyckoff.positions(group)
    chosen = [random.choice(places) for _ in range(random.randint(1, 5))]
    used, sites = set(), []
    for p in chosen:
        if not (p.once and p.letter in used):
            used.add(p.letter)
            sites.append((p.letter, random.choice([1, 8, 26, 57])))
    first = Gene.of(group, sites)
    p = random.choice(relabellings(group))
    letters = [q.letter for q in places]
    other = Gene.of(group, [(letters[p[letters.index(letter)]], z) for letter, z in sites])
    assert first.key == other.key and first.anonymous == other.anonymous and first.canonical == other.canonical
    assert Gene.parse(first.text) == first and Gene.parse(first.key).key == first.key and other in first.equivalents
    exchanged = first.substituted({1: 8, 8: 1, 26: 57, 57: 26})
    assert exchanged.anonymous == first.anonymous


@pytest.mark.parametrize("text", ["", "Na_a", "225", "225:", "225:Na", "225:Na_a.", "225:Na_a,Cl_b", "x:Na_a", "231:Na_a", "225:Na_a.Cl_a"])
def test_broken_keys_are_refused(text):
    with pytest.raises(BadInput):
        Gene.parse(text)


def test_unknown_letters_and_elements_are_refused():
    with pytest.raises(Missing, match="Wyckoff position"):
        Gene.parse("225:Na_z")
    with pytest.raises(Missing, match="element"):
        Gene.parse("225:Xx_a")


def test_the_registry_loads_the_descriptor_and_inputs_stay_untouched():
    descriptor = load("wyckoff_gene", role="descriptor")
    crystals = Crystals.join([KNOWN["spinel"], KNOWN["quartz"]])
    frac, cell = crystals.frac.clone(), crystals.cell.clone()
    assert descriptor(crystals) == descriptor(crystals) == [g.key for g in gene(crystals)]
    assert torch.equal(crystals.frac, frac) and torch.equal(crystals.cell, cell)
    bad = Crystals.of([[0, 0, 0], [0, 0, 0]], [1, 1], torch.eye(3) * 3)
    assert isinstance(gene(bad, on_error="keep")[0], BadInput)


def read_mp20(data_dir, count, seed):
    import pandas as pd

    table = pd.read_csv(data_dir / "mp20_biternary_val_test" / "test.csv.gz").sample(count, random_state=seed)

    def parse(text):
        value = lambda name: float(re.search(name + r"\s+(\S+)", text)[1])
        cell = lattice.from_parameters([value(f"_cell_length_{k}") for k in "abc"], [value(f"_cell_angle_{k}") for k in ("alpha", "beta", "gamma")])
        rows = re.findall(r"^\s+([A-Z][a-z]?)\s+\S+\s+1\s+(\S+)\s+(\S+)\s+(\S+)\s+1\s*$", text, re.M)
        return Crystals.of([[float(x) for x in row[1:]] for row in rows], [NUMBER[row[0]] for row in rows], cell)

    return [parse(text) for text in table.cif], table["spacegroup.number"].tolist()


@pytest.mark.data
def test_real_crystals_keep_their_genes(data_dir):
    crystals, groups = read_mp20(data_dir, 60, 0)
    rng = np.random.default_rng(0)
    for symprec in (0.1, 0.01):
        found = gene(Crystals.join(crystals), symprec)
        told = [gene(retold(c, rng), symprec)[0] for c in crystals]
        assert [g.key for g in told] == [g.key for g in found]
        assert np.mean([g.space_group == n for g, n in zip(found, groups)]) > 0.95
    for parameters, g in zip(wyckoff.free_parameters(Crystals.join(crystals), 0.01), found):
        assert Gene.of(parameters.space_group, [s[:2] for s in parameters.sites]).canonical == g
