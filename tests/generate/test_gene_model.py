"""The gene network, its rules and its sampler, untrained: rules must hold whatever the weights say."""

import itertools

import numpy as np
import pytest
import torch

from matterloop.archive.records import Ask
from matterloop.base.elements import DEFAULT_MASK
from matterloop.base.errors import BadInput
from matterloop.crystal.composition import is_charge_neutral, reduced
from matterloop.crystal.space_groups import LETTERS, lattice_points
from matterloop.crystal.wyckoff import positions
from matterloop.generate.gene_constraints import Rules, Writing, balance_reachable, fits
from matterloop.generate.gene_network import WIDTH, Batch, Conditions, GeneNetwork
from matterloop.generate.gene_sampling import Outline, sample
from matterloop.generate.gene_training import Course, Examples, Settings, fit, kept_conditions, nll_of
from matterloop.represent.gene_vocabulary import decode, encode, relabelled, vocabulary
from matterloop.generate.gene_weights import network_of, write_weights
from matterloop.generate.random_search import filling
from matterloop.represent.wyckoff_gene import Gene

GENES = [Gene.parse(t).canonical for t in (
    "225:Na_a.Cl_b", "221:Sr_a.Ti_b.O_c", "227:Si_a", "62:Fe_c.Si_c.O_c.O_d", "166:Bi_c.Te_a.Te_c", "14:Zr_e.O_e.O_e", "2:Cu_a.S_i.O_i.O_i.O_i.O_i", "194:Ga_b.N_c",
    "1:Li_a.P_a.S_a")]


@pytest.fixture(scope="module")
def network():
    made = GeneNetwork(48, 2, 4, dropout=0.0)
    with torch.no_grad():  # far from uniform, so that what depends on the weights shows
        for p in made.parameters():
            p += 0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1))
    return made.eval()


def test_vocabulary_holds_every_position_with_its_facts():
    v = vocabulary()
    assert len(v) == 1731
    for g in (1, 2, 62, 166, 194, 225, 227):
        for p in positions(g):
            place = v.place(g, p.letter)
            assert (v.atoms[place], v.dof[place], v.symmetries[v.symmetry[place]]) == (p.multiplicity // lattice_points(g), p.dof, p.site_symmetry)
    with pytest.raises(BadInput, match="no Wyckoff position 'z'"):
        v.place(225, "z")


def test_genes_survive_encoding_and_settings():
    encoded = encode(GENES)
    assert [dict(enumerate(row[row > 0])) for row in encoded.composition()] == [dict(enumerate(g.composition[z] for z in sorted(g.composition))) for g in GENES]
    settings, rng = Settings(), np.random.default_rng(0)
    for _ in range(5):
        batch = settings.shuffled(encoded, rng)
        for i, gene in enumerate(GENES):
            n = int(batch.counts[i])
            assert decode(int(batch.group[i]), list(zip(batch.place[i, :n].tolist(), batch.element[i, :n].tolist()))) == gene
    part = encoded.take([4, 0])
    assert decode(part.group[0], list(zip(part.place[: part.offsets[1]].tolist(), part.element[: part.offsets[1]].tolist()))) == GENES[4]


def test_a_gene_of_two_settings_has_both():
    assert len(relabelled(225)) == 2 and sorted(LETTERS[vocabulary().letter[p]] for p in relabelled(225)[:, 0]) == ["a", "b"]


@pytest.mark.parametrize("group", [1, 2, 14, 62, 123, 148, 166, 194, 221, 225, 227, 230])
def test_exact_fits_are_those_of_the_full_count(group):
    rng = np.random.default_rng(group)
    for _ in range(40):
        counts = tuple(int(n) for n in rng.integers(1, 13, rng.integers(1, 4)))
        assert fits(group, counts) == (filling(group, counts).total > 0), (group, counts)


def test_reading_token_by_token_is_reading_at_once(network):
    encoded = encode(GENES)
    batch = Settings().shuffled(encoded, np.random.default_rng(3), plain=True)
    asked = Conditions.none(len(GENES))
    group, place, element = network.nll(batch, asked)
    places, rows = network.places(), torch.arange(len(GENES))
    h, past = network.run(network.condition_token(asked)[:, None])
    total_group = torch.nn.functional.cross_entropy(network.group_logits(h[:, 0]), batch.group, reduction="none")
    used, token = torch.zeros(len(GENES), WIDTH), network.group_token(batch.group)
    total, full = torch.zeros(len(GENES)), torch.zeros(len(GENES), 27, dtype=torch.bool)
    for step in range(int(batch.counts.max()) + 1):
        h, past = network.run((token + network.progress(used, asked))[:, None], past)
        logits = network.place_logits(h, batch.group, network.offers(places))[:, 0].masked_fill(torch.nn.functional.pad(full, (0, 1)), -1e9)
        here = step < batch.counts
        at = batch.place[:, min(step, batch.place.shape[1] - 1)]
        slot = at - network.slots[batch.group][:, 0]
        answer = torch.where(here, slot, 27)
        total += torch.where(step <= batch.counts, torch.nn.functional.cross_entropy(logits, answer, reduction="none"), 0)
        z = batch.element[:, min(step, batch.place.shape[1] - 1)]
        total += torch.where(here, torch.nn.functional.cross_entropy(network.element_logits(h[:, 0], places[at]), z, reduction="none"), 0)
        once = here & network.place_once[at]
        full[rows[once], slot[once]] = True
        used[rows[here], z[here]] += network.place_atoms[at[here]]
        token = places[at] + network.element(z)
    assert torch.allclose(total_group, group, atol=1e-4)
    assert torch.allclose(total, place + element, atol=1e-3)


def test_probabilities_of_all_genes_add_up():
    """In a group of one position and with two elements, all genes of up to two sites and longer ones share probability 1."""
    made = GeneNetwork(16, 1, 2, dropout=0.0)
    with torch.no_grad():
        made.element_bias[:] = -1e4
        made.element_bias[[3, 8]] = 0.0
        made.to_group.bias[:] = -1e4
        made.to_group.bias[1] = 0.0
    place = vocabulary().place(1, "a")
    held = 0.0
    for n in range(1, 4):
        for z in itertools.product((3, 8), repeat=n):
            batch = Batch(torch.tensor([1]), torch.full((1, n), place), torch.tensor([z]), torch.tensor([n]))
            held += float(torch.exp(-sum(made.nll(batch, Conditions.none(1)))))
    empty = Batch(torch.tensor([1]), torch.zeros(1, 0, dtype=torch.long), torch.zeros(1, 0, dtype=torch.long), torch.tensor([0]))
    held += float(torch.exp(-sum(made.nll(empty, Conditions.none(1)))))
    with torch.no_grad():  # what is left: four sites and more
        longer = 0.0
        for z in itertools.product((3, 8), repeat=3):
            batch = Batch(torch.tensor([1]), torch.full((1, 3), place), torch.tensor([z]), torch.tensor([3]))
            tokens = made.nll(batch, Conditions.none(1))
            h_end = _end_chance(made, batch)
            longer += float(torch.exp(-sum(tokens))) / h_end * (1 - h_end)
    assert held + longer == pytest.approx(1.0, abs=1e-4)


def _end_chance(network, batch):
    places, asked = network.places(), Conditions.none(1)
    step = torch.nn.functional.one_hot(batch.element, WIDTH).float()
    used = torch.cat([torch.zeros(1, 1, WIDTH), step.cumsum(1)], 1)
    tokens = torch.cat([torch.stack([network.condition_token(asked), network.group_token(batch.group)], 1), places[batch.place] + network.element(batch.element)], 1)
    h, _ = network.run(tokens + torch.cat([torch.zeros_like(tokens[:, :1]), network.progress(used, asked)], 1))
    return float(torch.softmax(network.place_logits(h[:, 1:], batch.group, network.offers(places))[0, -1], -1)[-1])


def drawn(network, rules, count=64, seed=0, **more):
    return sample(network, rules, Conditions.none(count), torch.Generator().manual_seed(seed), **more)


def test_an_open_ask_is_honoured(network):
    ask = Ask(required=frozenset({8}), any_of=(frozenset({3, 11, 19}),), excluded=DEFAULT_MASK | {26}, n_elements=(2, 3), atoms=(4, 14))
    found = drawn(network, Rules.of(ask), 200).finished
    assert len(found) > 150
    for gene in found:
        assert ask.permits(set(gene.composition)) and 4 <= gene.atoms <= 14


def test_space_groups_are_honoured(network):
    found = drawn(network, Rules.of(Ask(space_groups=frozenset({62, 225}), atoms=(1, 30)))).finished
    assert found and {g.space_group for g in found} <= {62, 225}


@pytest.mark.parametrize("formula,atoms", [({38: 1, 22: 1, 8: 3}, 5), ({12: 2, 14: 1, 8: 4}, 28), ({8: 3, 13: 2}, 10)])
def test_a_composition_is_exact_and_never_ends_dead(network, formula, atoms):
    times = atoms // sum(formula.values())
    plan = {z: times * n for z, n in formula.items()}
    out = drawn(network, Rules.of(Ask(formula=reduced(formula), atoms=(atoms, atoms)), plan), 100)
    assert len(out.finished) == out.rows
    assert {tuple(g.composition.items()) for g in out.finished} == {tuple(sorted(plan.items()))}
    assert len({g.key for g in out.finished}) > 5


def test_neutral_genes_balance(network):
    ask = Ask(n_elements=(2, 3), atoms=(2, 16))
    insisted, dropped = (drawn(network, Rules.of(ask, neutral=True), 200, insist=insist) for insist in (True, False))
    assert len(insisted.finished) > 120 and len(dropped.finished) > 10
    assert all(is_charge_neutral(g.composition) for g in (*insisted.finished, *dropped.finished))
    plain = drawn(network, Rules.of(ask), 200)
    assert not all(is_charge_neutral(g.composition) for g in plain.finished)


def test_balance_within_reach_is_found_by_hand():
    assert balance_reachable(((8, 1), (11, 1)), 1, (1,))  # Na O: one more Na
    assert not balance_reachable(((8, 1), (11, 1)), 0, (1,))
    assert not balance_reachable(((8, 2), (11, 2)), 1, (1,))  # two more Na, or nothing
    assert balance_reachable(((8, 2), (11, 2)), 2, (2,))
    assert not balance_reachable(((8, 1), (9, 1)), 40, (1, 2, 4))  # two anions: oxygen difluoride needs states that are rare


def test_impossible_rules_say_why():
    with pytest.raises(BadInput, match="can hold SrTiO3"):
        Rules.of(Ask(formula=((8, 3), (22, 1), (38, 1)), space_groups=frozenset({227}), atoms=(5, 5)), {38: 1, 22: 1, 8: 3})


def test_a_position_without_freedom_is_used_once(network):
    for gene in drawn(network, Rules.of(Ask(space_groups=frozenset({221, 225}), atoms=(1, 40))), 100).finished:
        assert Gene.of(gene.space_group, gene.sites) == gene  # refuses a second use


def test_the_same_stream_gives_the_same_genes(network):
    rules = Rules.of(Ask(atoms=(1, 20)))
    assert drawn(network, rules, seed=5).genes == drawn(network, rules, seed=5).genes != drawn(network, rules, seed=6).genes


def test_guidance_needs_an_energy_and_changes_what_is_drawn(network):
    rules, rng = Rules.of(Ask(atoms=(1, 20))), lambda: torch.Generator().manual_seed(2)
    open_ = Conditions.none(64)
    assert sample(network, rules, open_, rng(), guidance=4.0).genes == sample(network, rules, open_, rng()).genes
    low = Conditions(torch.zeros(64), *(getattr(open_, n) for n in ("formation_energy", "band_gap", "n_elements", "atoms", "system", "elements", "composition")))
    assert sample(network, rules, low, rng(), guidance=4.0).genes != sample(network, rules, low, rng()).genes
    for wrong in ({"temperature": 0.0}, {"guidance": -1.0}):
        with pytest.raises(BadInput):
            sample(network, rules, low, rng(), **wrong)


def test_an_outline_keeps_its_positions(network):
    v = vocabulary()
    perovskite = Outline(221, ((v.place(221, "a"), 0), (v.place(221, "b"), 1), (v.place(221, "c"), 2)), (frozenset(), frozenset(), frozenset({8, 9, 17})))
    out = sample(network, Rules.of(Ask(required=frozenset({56}), n_elements=(3, 3), atoms=(5, 5))), Conditions.none(30), torch.Generator().manual_seed(0),
                 outlines=[perovskite] * 30)
    assert len(out.finished) == 30
    for gene in out.finished:
        species = dict(gene.sites)
        assert gene.anonymous == GENES[1].anonymous and 56 in gene.composition and set(gene.composition) & {8, 9, 17} and len(species) == 3


def test_conditions_are_dropped_as_said():
    shy = np.arange(4000) % 2 == 0
    keep = kept_conditions(4000, shy, np.random.default_rng(0))
    nothing = ~torch.stack(list(keep.values())).any(0).numpy()
    assert not nothing[shy].any() and 0.2 < nothing[~shy].mean() < 0.45
    assert bool((keep["composition"] <= keep["elements"]).all())


def test_one_likelihood_whatever_the_batch(network):
    encoded = encode(GENES)
    alone = np.concatenate([nll_of(network, encode([g]), orders=1, seed=0) for g in GENES[:1]])
    assert nll_of(network, encoded, orders=4, seed=0, batch=4) == pytest.approx(nll_of(network, encoded, orders=4, seed=0, batch=64), abs=2.0)
    assert np.isfinite(alone).all()


def examples(copies=40):
    genes = encode(GENES * copies)
    n = len(genes)
    return Examples(genes, np.tile(np.linspace(0, 0.4, len(GENES)), copies), np.full(n, -1.0), np.full(n, np.nan), np.zeros(n, bool))


def test_training_learns_stops_and_goes_on(tmp_path):
    course = Course(hours=6 / 3600, batch=32, warm=5, save_minutes=0.02)
    first = fit(GeneNetwork(32, 1, 2, seed=0), examples(), examples(2), course, tmp_path, say=lambda text: None)
    again = fit(GeneNetwork(32, 1, 2, seed=0), examples(), examples(2), Course(hours=9 / 3600, batch=32, warm=5, save_minutes=0.02), tmp_path, say=lambda text: None)
    assert again["steps"] > first["steps"] and again["open"] < first["log"][0]["open"]
    with pytest.raises(BadInput, match="another network"):
        fit(GeneNetwork(16, 1, 2), examples(), examples(2), course, tmp_path, say=lambda text: None)


def test_weights_come_back(tmp_path, network):
    file = write_weights(network, {"genes": 9, "hours": 0.1}, "probe", tmp_path)
    with np.load(file, allow_pickle=False) as held:
        arrays = dict(held)
    back = network_of(arrays, file.name)
    assert all(torch.allclose(a, b, atol=2e-3) for a, b in zip(back.state_dict().values(), network.state_dict().values()))
    with pytest.raises(BadInput, match="holds no gene network"):
        network_of({"options": arrays["options"]}, "broken.npz")


def test_writing_keeps_room_for_what_must_still_come():
    rules = Rules.of(Ask(required=frozenset({3, 8, 15}), n_elements=(3, 3), atoms=(3, 8)))
    writing = Writing(rules, np.array([2]))  # P-1: one-atom positions a-h, two-atom i
    legal = writing.places()[0]
    assert legal[:9].all() and not legal[-1]
    for letter, z in ((8, 8), (8, 8), (8, 8)):  # six oxygens: two atoms left for Li and P
        writing.add(np.array([letter]), np.array([z]))
    assert not writing.places()[0][8] and set(np.flatnonzero(writing.elements(np.array([0]))[0])) == {3, 15}
