"""The default generator as a campaign uses it, with an untrained network: asks, screens, lessons."""

import numpy as np
import pytest
import torch

from matterloop.archive.records import Ask, Limit, Reason, Verdict
from matterloop.base.errors import BadInput
from matterloop.crystal.composition import composition_of, reduced
from matterloop.crystal.symmetry import analyse
from matterloop.generate.gene_network import GeneNetwork
from matterloop.generate.gene_sampling import sample
from matterloop.generate.gene_screens import Distinct
from matterloop.generate.placement import Placer
from matterloop.generate.wyckoff_transformer import WyckoffTransformer, _middle
from matterloop.represent.wyckoff_gene import Gene, gene


@pytest.fixture(scope="module")
def placer():
    return Placer(network=None, ways=("prototype", "declash"))


@pytest.fixture
def made(placer):
    return lambda **more: WyckoffTransformer(**{"network": "small", "share": 1.0, "novel": False, "block": 24, "placer": placer, **more})


SMALL = Ask(n_elements=(2, 3), atoms=(2, 10), space_groups=frozenset({62, 139, 166, 194, 221, 225}))


def test_candidates_carry_their_gene(made):
    found = made().propose(SMALL, 6, 1)
    assert len(found) == 6
    for one in found:
        assert Gene.parse(one.about["gene"]).composition == composition_of(one.crystal.species)
        number = analyse(one.crystal, 0.01)[0].number
        assert number in SMALL.space_groups and one.about["placed_by"] in ("prototype", "declash", "coordinates")
        if number == one.about["space_group"]:
            assert gene(one.crystal, 0.01)[0].key == one.about["gene"]
    assert len({c.about["gene"] for c in found}) == 6


def test_the_report_accounts_for_every_gene(made):
    generator = made(block=40)
    found = generator.propose(SMALL, 5, 3)
    report = generator.report
    assert report["drawn"] >= 40 and report["drawn"] % 40 == 0
    left = report["drawn"] - report["dead_ends"] - sum(report["screened_out"].values()) - report["not_placed"]
    assert left >= len(found) == 5


def test_screens_of_ones_own(made):
    class NoOxides:
        name = "no oxides"

        def __call__(self, genes):
            return np.array([8 not in g.composition for g in genes], bool)

    generator = made(screens=[Distinct(), NoOxides()], block=60, above_hull=None)
    found = generator.propose(Ask(n_elements=(2, 3), atoms=(2, 10)), 8, 0)
    assert found and all(8 not in composition_of(c.crystal.species) for c in found)
    assert set(generator.report["screened_out"]) == {"duplicate gene", "no oxides"}


def test_wanted_elements_are_told_as_chemical_systems(made, monkeypatch):
    seen = []
    monkeypatch.setattr("matterloop.generate.wyckoff_transformer.sample", lambda network, rules, conditions, rng, **more: seen.append((rules, conditions)) or sample(
        network, rules, conditions, rng, **more))
    found = made().propose(Ask(required=frozenset({3, 8}), n_elements=(3, 4), atoms=(3, 14)), 6, 0)
    assert len(found) == 6 and all({3, 8} < set(composition_of(c.crystal.species)) for c in found)
    rules, conditions = seen[0]
    assert (conditions.elements.numpy().astype(bool) == rules.systems).all() and rules.systems[:, [3, 8]].all() and len({tuple(r) for r in rules.systems.tolist()}) > 3
    exact = made().propose(Ask(required=frozenset({3, 8}), allowed=frozenset({3, 8}), n_elements=(2, 2), atoms=(3, 14)), 4, 0)
    assert {tuple(sorted(composition_of(c.crystal.species))) for c in exact} == {(3, 8)}


def test_a_formula_gets_every_cell_that_fits(made):
    ask = Ask(formula=((8, 2), (22, 1)), atoms=(3, 12))
    found = made(block=80).propose(ask, 30, 0)
    assert {reduced(composition_of(c.crystal.species)) for c in found} == {((8, 2), (22, 1))}
    assert len({c.crystal.atoms for c in found}) > 1


def test_a_type_with_a_formula_puts_amounts_where_they_belong(made):
    found = made().propose(Ask(formula=((8, 3), (22, 1), (56, 1)), prototypes=("perovskite",), atoms=(5, 10)), 3, 0)
    assert found and all(reduced(composition_of(c.crystal.species)) == ((8, 3), (22, 1), (56, 1)) for c in found)


def test_limits_become_conditions(made):
    generator = made(above_hull=0.0)
    asked = generator._conditions(Ask(limits=(Limit("band_gap", 1.0, 2.0, "eV"), Limit("formation_energy_per_atom", None, -1.0, "eV/atom"))), 3)
    assert asked.band_gap.tolist() == [1.5] * 3 and asked.formation_energy.tolist() == pytest.approx([-1.25] * 3) and asked.above_hull.tolist() == [0.0] * 3
    assert _middle(None, None) is None and _middle(2.0, None) == 2.5 and _middle(None, 0.0) == pytest.approx(-0.1)
    assert torch.isnan(made(above_hull=None)._conditions(Ask(), 2).above_hull).all()
    cubic = generator._conditions(Ask(space_groups=frozenset({221, 225})), 1)
    assert cubic.system.tolist() == [7]


def verdicts(found):
    """Every second one on the hull, the others far above."""
    return [Verdict(c.key, (Reason("energy_above_hull", 0.8 * (i % 2), 0.1, "eV/atom", not i % 2),), 0.8 * (i % 2)) for i, c in enumerate(found)]


def test_it_learns_only_when_told(made):
    still, learns = made(), made(learn="policy")
    for generator in (still, learns):
        before = [c.about["gene"] for c in generator.propose(SMALL, 4, 7)]
        for _ in range(3):
            generator.observe(verdicts(generator.propose(SMALL, 4, 7)))
        generator.observe([Verdict("someone-else-0-0")])
        after = [c.about["gene"] for c in generator.propose(SMALL, 4, 7)]
        assert (before == after) == (generator is still)
    assert [lesson.heard for lesson in learns.lessons] == [4, 4, 4] and not still.lessons


def test_a_restart_learns_the_same_from_recalled_candidates(made):
    first = made(learn="policy")
    found = first.propose(SMALL, 4, 7)
    first.observe(verdicts(found))
    again = made(learn="policy")
    again.recall(found)
    again.observe(verdicts(found))
    assert [c.about["gene"] for c in again.propose(SMALL, 4, 8)] == [c.about["gene"] for c in first.propose(SMALL, 4, 8)]


def test_wrong_options_are_refused():
    for wrong in ({"share": 0.0}, {"starts": 0}, {"block": 0}):
        with pytest.raises(BadInput):
            WyckoffTransformer(**wrong)
    with pytest.raises(BadInput, match="allowed are policy and imitation"):
        WyckoffTransformer(network=GeneNetwork(16, 1, 2), learn="luck")._learner
