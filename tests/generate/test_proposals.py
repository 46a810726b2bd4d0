"""What all structure generators share: asks are honoured, impossible ones explained, seeds repeat, shorter proposals begin longer ones."""

import pytest
import torch

from matterloop.archive.records import Ask
from matterloop.base.elements import DEFAULT_MASK, HALOGENS, METALS, NUMBER
from matterloop.base.errors import BadInput, Missing
from matterloop.base.registry import load
from matterloop.crystal.composition import reduced, reduced_formula
from matterloop.crystal.prototypes import prototypes
from matterloop.generate.proposal import Generator, anonymous_counts, check_ask, fulfils, load_generator
from matterloop.generate.volume import contacts

NAMES = ("substitution", "template", "random_search")


def elements(text):
    return frozenset(NUMBER[s] for s in text.split())


ASKS = {
    "ternary lithium oxides below 12 atoms": Ask(required=elements("Li O"), n_elements=(3, 3), atoms=(1, 11)),
    "lead-free halide perovskites": Ask(any_of=(HALOGENS,), excluded=DEFAULT_MASK | elements("Pb"), prototypes=("perovskite",)),
    "a formula": Ask(formula=reduced("MgAl2O4"), atoms=(1, 28)),
    "a space group": Ask(space_groups=frozenset({225})),
    "a pattern": Ask(anonymous="ABC2", n_elements=(3, 3), atoms=(4, 16)),
    "intermetallics": Ask(allowed=METALS - DEFAULT_MASK, n_elements=(2, 3), atoms=(2, 12)),
    "two elements only": Ask(allowed=elements("Na Cl"), n_elements=(2, 2)),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("what", ASKS)
def test_every_candidate_fulfils_the_ask(name, what):
    ask, generator = ASKS[what], load_generator(name)
    assert isinstance(generator, Generator)
    found = generator.propose(ask, 8, 3)
    assert len(found) == 8 or what in ("a formula", "two elements only") and len(found) >= 5
    for place, candidate in enumerate(found):
        assert fulfils(ask, candidate.crystal) == [], candidate.about
        assert candidate.key == f"{name}-3-{place}" and candidate.source == name
        assert candidate.about["predicted_volume_per_atom"] > 0
    assert len({c.about["gene"] for c in found}) == len(found)


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides_and_a_longer_proposal_begins_with_the_shorter(name):
    ask = ASKS["ternary lithium oxides below 12 atoms"]
    first, again = (load(name).propose(ask, 6, 1) for _ in range(2))
    longer, other = load(name).propose(ask, 9, 1), load(name).propose(ask, 6, 2)
    for a, b, c in zip(first, again, longer, strict=False):
        assert a.key == b.key == c.key
        assert torch.equal(a.crystal.frac, b.crystal.frac) and torch.equal(a.crystal.cell, b.crystal.cell)
        assert torch.equal(a.crystal.species, c.crystal.species) and torch.equal(a.crystal.cell, c.crystal.cell)
    assert [c.about["gene"] for c in first] != [c.about["gene"] for c in other]


@pytest.mark.parametrize("name", NAMES)
def test_no_atoms_lie_on_each_other(name):
    import itertools

    images = torch.tensor(list(itertools.product((-2, -1, 0, 1, 2), repeat=3)), dtype=torch.float64)
    for candidate in load(name).propose(Ask(atoms=(1, 16)), 12, 0):
        crystal = candidate.crystal
        difference = crystal.frac[:, None] - crystal.frac
        vectors = ((difference - difference.round())[:, :, None] + images) @ crystal.cell[0]
        distance = vectors.norm(dim=-1)
        distance[distance < 1e-6] = float("inf")
        ratio = distance.amin(-1) / torch.as_tensor(contacts(crystal.species.numpy()))
        assert float(ratio.min()) > 0.79, candidate.about


@pytest.mark.parametrize(("ask", "reason"), [
    (Ask(n_elements=(3, 3), atoms=(1, 2)), "no formula of 3 elements fits into 2 atoms"),
    (Ask(required=elements("Li O Fe"), n_elements=(1, 2)), "3 elements are required, at most 2"),
    (Ask(allowed=elements("Li O"), n_elements=(3, 4)), "only 2 may be used"),
    (Ask(any_of=(elements("F Cl"), elements("O S")), n_elements=(1, 1)), "at least 2 elements are needed"),
    (Ask(formula=reduced("MgAl2O4"), atoms=(1, 6)), "no multiple of MgAl2O4"),
    (Ask(formula=reduced("MgAl2O4"), excluded=elements("Mg")), "Mg may not be used"),
    (Ask(formula=reduced("NaCl"), anonymous="AB2"), "NaCl is not of the anonymous formula"),
    (Ask(anonymous="ABC3", n_elements=(4, 4)), "has 3 elements"),
    (Ask(prototypes=("spinel",), n_elements=(2, 2)), "spinel"),
    (Ask(prototypes=("spinel",), space_groups=frozenset({225})), "space group 227"),
    (Ask(prototypes=("garnet",), atoms=(1, 40)), "80 atoms"),
    (Ask(space_groups=frozenset({230}), atoms=(1, 4)), "at least 8 atoms"),
    (Ask(anonymous="nonsense"), "not an anonymous formula"),
])
@pytest.mark.parametrize("name", NAMES)
def test_an_impossible_ask_says_why(name, ask, reason):
    with pytest.raises(BadInput, match=reason):
        load(name).propose(ask, 5, 0)


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_structure_type_is_missing_with_near_names(name):
    with pytest.raises(Missing, match="spinel"):
        load(name).propose(Ask(prototypes=("spinell",)), 5, 0)


def test_fulfils_names_every_unmet_part():
    salt = prototypes("rock salt")[0].filled([11, 17], 45.0)
    assert fulfils(Ask(), salt) == []
    ask = Ask(required=elements("Li"), any_of=(elements("O S"),), excluded=elements("Cl"), n_elements=(3, 3), atoms=(3, 9), anonymous="AB2",
              space_groups=frozenset({1}), prototypes=("CsCl",))
    unmet = fulfils(ask, salt)
    for part in ("lacks Li", "Cl, not allowed", "none of O S", "2 elements", "2 atoms", "AB2", "space group 225", "CsCl"):
        assert any(part in text for text in unmet), part
    assert fulfils(Ask(formula=reduced("KCl")), salt) == ["formula NaCl, wanted KCl"]
    assert fulfils(Ask(atoms=(2, 2)), salt.repeated(2, 2, 2)) == []  # counted in the primitive cell


def test_anonymous_counts_are_ascending_and_reduced():
    assert anonymous_counts("ABC3") == [1, 1, 3] and anonymous_counts("A2B2") == [1, 1] and anonymous_counts("A12B") == [1, 12]


def test_check_ask_accepts_the_open_ask():
    check_ask(Ask())


def test_magnesium_aluminate_is_a_spinel_first():
    ask = Ask(formula=reduced("MgAl2O4"))
    assert load("template").propose(ask, 3, 0)[0].about["gene"] == "227:Mg_a.Al_d.O_e"
    assert "227:Mg_a.Al_d.O_e" in [c.about["gene"] for c in load("substitution").propose(ask, 2, 0)]


def test_halide_perovskites_have_the_halogen_on_the_anion_site():
    for candidate in load("substitution").propose(ASKS["lead-free halide perovskites"], 20, 0):
        counts = dict(reduced(candidate.crystal.species))
        assert [z for z, n in counts.items() if n == 3][0] in HALOGENS, reduced_formula(counts)
