"""Templates from tables of free parameters, splits, roles, and what the contract cannot see of substitution."""

import numpy as np
import pytest

from matterloop.archive.records import Ask
from matterloop.base.elements import NUMBER
from matterloop.base.errors import BadInput
from matterloop.crystal.composition import reduced, reduced_formula
from matterloop.crystal.prototypes import ROLES, from_crystals, prototypes
from matterloop.crystal.symmetry import analyse
from matterloop.crystal.wyckoff import free_parameters
from matterloop.generate import library
from matterloop.generate.library import Template, built_in, from_sites, template_of, with_splits
from matterloop.generate.substitution import Substitution
from matterloop.represent.wyckoff_gene import gene


@pytest.mark.parametrize("name", ["rock salt", "spinel", "alpha-NaFeO2", "K2NiF4", "anatase", "marcasite", "wolframite", "bixbyite", "kesterite", "CrB"])
def test_a_table_of_free_parameters_gives_the_same_crystal_back(name):
    p = prototypes(name)[0] if name != "CrB" else prototypes("B33")[0]  # P, C, I, F and R lattices
    (parameters,) = free_parameters(p.archetype())
    text = ".".join(f"{library.symbol(z)}_{letter}" for letter, z, _ in parameters.sites)
    (t,) = from_sites(["x"], [parameters.space_group], [text], [parameters.lattice], [[v for _, _, values in parameters.sites for v in values]])
    assert t.prototype.atoms == p.atoms and t.prototype.space_group == p.space_group
    assert t.parent_volume * p.atoms == pytest.approx(p.volume, rel=1e-6)
    crystal = t.prototype.filled(t.parents)
    assert gene(crystal, 0.01)[0].key == gene(p.archetype(), 0.01)[0].key
    assert t.gene.key == gene(t.prototype.filled(range(1, len(t.parents) + 1)), 0.01)[0].key  # read off the letters, no search
    assert t.spacing.min() == pytest.approx(template_of(p).spacing.min(), rel=1e-4)


def test_a_row_that_does_not_fit_its_group_is_refused():
    with pytest.raises(BadInput):
        from_sites(["x"], [225], ["Na_a.Cl_b"], [[5.6]], [[0.1]])


def test_the_reference_table_is_used_where_it_ships():
    for t in library.reference()[:50]:
        assert t.prototype.source == "reference" and t.parent_volume > 3
        assert analyse(t.prototype.filled(t.parents), 0.01)[0].number == t.prototype.space_group


def test_splits_weigh_less_and_have_one_element_more():
    whole = [template_of(prototypes("BiF3")[0])]
    (split,) = [t for t in with_splits(whole) if t.prototype.derived]
    assert len(split.parents) == 3 and split.weight < whole[0].weight
    assert split.gene.space_group == 225


def test_partial_substitution_makes_a_quaternary_from_a_ternary_type():
    only = [template_of(prototypes("olivine")[0])]
    found = Substitution(templates=only).propose(Ask(n_elements=(4, 4)), 10, 0)
    assert len(found) == 10 and all(c.about["partial"] for c in found)
    assert Substitution(templates=only, partial=False).propose(Ask(n_elements=(4, 4)), 10, 0) == []


def test_members_fit_the_roles_of_their_types():
    for t in built_in():
        if t.prototype.source == "type":
            assert all(z in ROLES[r] for z, r in zip(t.parents, t.prototype.roles, strict=True)), (t.prototype.name, t.parent_formula)
            assert len(set(t.parents)) >= len(t.parents) - 1, t.prototype.name


def test_roles_go_to_the_sites_that_suit_whatever_their_order():
    spinel = prototypes("spinel")[0]
    oxygen_first = spinel.archetype().shuffled(spinel.archetype().species.argsort())
    (other,) = from_crystals(oxygen_first, ["mine"], "own")
    assert other.parents == (8, 12, 13)
    assert template_of(other).with_roles_of(spinel).prototype.roles == ("anion", "cation", "cation")
    with pytest.raises(BadInput, match="do not share a gene"):
        template_of(other).with_roles_of(prototypes("olivine")[0])


def test_a_known_member_keeps_its_volume_and_a_crowded_one_is_told():
    t = template_of(prototypes("fluorite")[0])
    assert t.volume(t.parents) == pytest.approx(5.46**3 / 12)
    usual = t.volume(t.parents)
    assert t.tightness(t.parents, usual) > 0.9
    assert t.tightness(t.parents, usual / 8) == pytest.approx(t.tightness(t.parents, usual) / 2)


def test_own_templates_are_ranked_by_likelihood_of_the_swap():
    p = prototypes("rock salt")[0]
    members = [Template(p, (NUMBER[a], NUMBER[b]), None) for a, b in (("Na", "Cl"), ("Gd", "Sb"))]
    (best, *_) = Substitution(templates=members).propose(Ask(formula=reduced("KBr")), 5, 0)
    assert best.about["parent"] == "NaCl" and reduced_formula(best.crystal.species) == "KBr"


def test_temperature_widens_the_choice():
    t = [template_of(prototypes("rock salt")[0])]
    far = lambda temperature: np.mean([c.about["score"] for c in Substitution(temperature, templates=t).propose(Ask(), 40, 0)])
    assert far(0.4) > far(3.0)
