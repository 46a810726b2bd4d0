"""What atoms add to a network's answer: symmetry, supercells, sums, and rules that were planted."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from matterloop.base.errors import BadInput
from matterloop.base.registry import built_in, load
from matterloop.bench import examples as ex
from matterloop.crystal.compositions import Compositions
from matterloop.crystal.graph import Within
from matterloop.crystal.segments import segment_mean, segment_sum
from matterloop.learn import attribution as at
from matterloop.learn.attending import attention, attention_between
from matterloop.learn.bond_attribution import bonds
from matterloop.learn.explanation import Reading
from matterloop.learn.scaling import Scaling
from matterloop.learn.targets import Features, Predictor, Target

SALT = ex.rock_salt()
GAP = Target("gap", "eV")
COMPLETE = ("local_terms", "integrated_gradients", "shapley")


def reading(name="schnet", target=GAP, scale=None, label=None, **options):
    encoder = load(name, "encoder", **{**built_in()[name].card.small, **options})
    return Reading(Predictor(encoder, [target], hidden=16, scale={target.name: scale} if scale else None), label=label)


class Planted(nn.Module):
    """Features (atoms, width) by a rule of what enters, whose first column is 1, 2, 4, ... for the planted elements."""

    def __init__(self, rule, width=1):
        super().__init__()
        table = torch.zeros(119, 2)
        table[:, 1] = 1.0
        for k, z in enumerate((11, 17, 8)):
            table[z, 0] = 2.0**k
        self.embed, self.rule, self.width, self.graph = nn.Embedding(119, 2, _weight=table), rule, width, Within(3.5)

    def forward(self, crystals, graph):
        return Features(self.rule(self.embed(crystals.species), crystals, graph))

    def head(self, rng, outputs):
        layer = nn.Linear.__new__(nn.Linear)
        nn.Module.__init__(layer)
        layer.in_features, layer.out_features = self.width, outputs
        layer.weight, layer.bias = nn.Parameter(torch.ones(outputs, self.width)), nn.Parameter(torch.zeros(outputs))
        return layer


def planted(rule, target=GAP):
    return Reading(Predictor(Planted(rule), [target]))


@pytest.mark.parametrize("name", ["schnet", "cgcnn", "gatgnn", "potnet", "crystalformer", "roost"])
@pytest.mark.parametrize("method", COMPLETE)
def test_supercells_and_equal_sites(name, method):
    r = reading(name, scale=Scaling(0.3, 2.0, references={11: 0.5, 17: -1.0}))
    crystals = ex.periodic()
    try:
        found = at.METHODS[method](r, crystals)
    except BadInput as error:
        assert method == "local_terms" and name in ("gatgnn", "roost") and "whole crystals" in str(error)
        return
    assert found.site[:4].std() < 1e-10 and found.site[4:8].std() < 1e-10 and (found.site[0] - found.site[4]).abs() > 1e-6
    repeated = crystals.repeated(2, 1, 1).with_fields(site={})
    double = at.METHODS[method](r, repeated)
    tiled = torch.cat([torch.cat([found.site[found.owner == i]] * 2) for i in range(len(crystals))]) / 2
    by_crystal = lambda site, owner: torch.cat([site[owner == i].sort().values for i in range(len(crystals))])
    assert torch.allclose(by_crystal(double.site, double.owner), by_crystal(tiled, double.owner), atol=1e-9)
    if method != "integrated_gradients":  # where layers are normalised the path has a cusp at zero
        assert found.gap.abs().max() < 2e-3 * found.prediction.abs().max()


def test_local_terms_are_the_path_integral_in_small_steps():
    r = reading()
    crystal = ex.low_symmetry()
    graph = r.graph(crystal)
    x = r.encoder(crystal, graph).site
    head, mean, n = r.predictor.heads["gap"], x.mean(0), len(x)
    total, steps = torch.zeros(n, dtype=torch.float64), 2000
    for k in range(steps):
        p = ((k + 0.5) / steps * mean).detach().requires_grad_(True)
        slope = torch.autograd.grad(head(p[None])[0, 0], p)[0]
        total += torch.stack([(x[i] * slope).sum() for i in range(n)]).detach() / n / steps
    assert torch.allclose(at.local_terms(r, crystal).site, total, atol=1e-7)


def test_local_terms_of_an_extensive_target_are_the_networks_own_and_double_with_the_cell():
    r = reading(target=Target("energy", "eV", extensive=True), scale=Scaling(-2.0, 0.5, references={11: -1.0, 17: -1.8}))
    found = at.local_terms(r, ex.low_symmetry())
    assert found.gap.abs().max() < 1e-12 and found.base.tolist() == [0.0]
    double = at.local_terms(r, ex.low_symmetry().repeated(1, 2, 1))
    assert torch.allclose(double.site.sort().values, torch.cat([found.site] * 2).sort().values, atol=1e-10)


def test_gradients_of_a_linear_rule_are_the_rule():
    r = planted(lambda x, c, g: 3 * x[:, :1])
    for found in (at.gradient_times_input(r, SALT), at.integrated_gradients(r, SALT)):
        assert found.site.tolist() == pytest.approx([3 / 8] * 4 + [6 / 8] * 4)
        assert found.gap.abs().max() < 1e-12


def test_shapley_values_divide_a_product_of_two_elements_evenly_and_occlusion_counts_it_twice():
    """The answer is share of Na times share of Cl, 1/4: by symmetry 1/8 each; without either it is gone, so occlusion gives 1/4 to both."""
    def product(x, crystals, graph):
        z = x[:, 0]
        mean = lambda v: segment_mean(v, crystals.owner, len(crystals))[crystals.owner]
        return (mean(z * (z < 1.5)) * mean(z * (z > 1.5)) / 2)[:, None]

    r = planted(product)
    of = lambda found: [float(found.site[:4].sum()), float(found.site[4:].sum())]
    assert of(at.shapley_sites(r, SALT)) == pytest.approx([1 / 8, 1 / 8])
    assert of(at.occlusion(r, SALT)) == pytest.approx([1 / 4, 1 / 4])


def test_shapley_values_by_orbit_add_up_to_those_of_a_sum_by_element():
    r = planted(lambda x, c, g: x[:, :1] * 2)
    crystal = ex.low_symmetry()
    by = {word: at.shapley_sites(r, crystal, by=word).site for word in ("element", "orbit")}
    assert torch.allclose(by["element"], by["orbit"])
    players = at.players_of(reading(), SALT, "orbit")
    assert players.counts.tolist() == [2] and players.number.tolist() == [0] * 4 + [1] * 4


def test_elements_by_the_formula_of_shapley():
    r, crystal = reading(), ex.low_symmetry()
    players = at.players_of(r, crystal)
    value = {}
    for there in itertools.product((False, True), repeat=2):
        value[there] = float(at._coalitions(r, crystal, players, [np.array([there])], None)[0][0])
    first = (value[True, False] - value[False, False] + value[True, True] - value[False, True]) / 2
    assert float(at.shapley_sites(r, crystal).site[:2].sum()) == pytest.approx(first, abs=1e-12)


def test_a_background_sets_where_the_path_begins():
    r = planted(lambda x, c, g: 3 * x[:, :1])
    chlorides = ex.rock_salt((17, 17))
    found = at.shapley_sites(r, SALT, background=chlorides)
    assert found.base.tolist() == pytest.approx([6.0])
    assert found.site.tolist() == pytest.approx([-3 / 8] * 4 + [0.0] * 4)
    assert at.integrated_gradients(r, SALT, background=chlorides).site.tolist() == pytest.approx(found.site.tolist())


def test_many_groups_are_sampled_and_still_add_up():
    n = 12
    chain = ex.Crystals.of([[i / n, 0.1 * (i % 3), 0] for i in range(n)], list(range(3, 3 + n)), [[30.0, 0, 0], [0, 9, 0], [0, 0, 9]])
    r = reading()
    found = at.shapley_sites(r, chain, samples=200)
    again = at.shapley_sites(r, chain, samples=200)
    assert found.gap.abs().max() < 1e-10 and torch.equal(found.site, again.site)


def test_bonds_of_a_pair_rule_are_the_pairs():
    """Every edge of rock salt to the six nearest adds 1/6 per atom: without the one shell all is gone."""
    r = planted(lambda x, c, g: segment_sum(x[g.senders][:, 1:] / 6, g.receivers, c.atoms))
    (shell,) = bonds(r, SALT)
    assert shell.pair == ("Na", "Cl") and shell.length == pytest.approx(2.82) and shell.bonds == 24 and shell.value == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["cgcnn", "potnet"])
def test_bonds_tell_the_same_of_merged_edges_and_of_supercells(name):
    r = reading(name)
    one, two = bonds(r, SALT, most=3), bonds(r, SALT.repeated(1, 1, 2), most=3)
    assert [s.bonds for s in two] == [2 * s.bonds for s in one]
    assert [s.value for s in two] == pytest.approx([s.value for s in one])
    assert [(s.pair, s.bonds) for s in one] == [(("Na", "Cl"), 24), (("Na", "Na"), 24), (("Cl", "Cl"), 24)]


def test_composition_models_are_explained_by_element_and_have_no_bonds():
    r = reading("roost")
    state = Compositions.of(["NaCl", "Al2O3"])
    found = at.shapley_sites(r, state)
    assert found.species.tolist() == [11, 17, 8, 13] and found.gap.abs().max() < 1e-10
    assert torch.allclose(found.site[:2], segment_sum(at.shapley_sites(r, SALT).site, torch.tensor([0] * 4 + [1] * 4), 2), atol=1e-10)
    with pytest.raises(BadInput, match="no edges"):
        bonds(r, SALT)


def test_an_encoder_without_an_entrance_says_so():
    with pytest.raises(BadInput, match="does not show where atoms enter"):
        at.shapley_sites(reading("irnet"), SALT)


def test_classes_are_explained_as_log_odds():
    target = Target("metal", classes=3)
    r = reading(target=target, label=2)
    p = r.predictor(SALT)["metal"].softmax(-1)[0]
    assert float(r(SALT)[0]) == pytest.approx(math.log(p[2] / (1 - p[2])))
    assert r.unit == "log-odds" and at.local_terms(r, SALT).gap.abs().max() < 1e-10
    with pytest.raises(BadInput, match="class 3 is not one of 0 to 2"):
        Reading(r.predictor, label=3)


def test_logarithms_are_explained_as_logarithms():
    r = reading(target=Target("bulk", "GPa"), scale=Scaling(4.0, 0.5, log=True))
    assert r.unit == "ln GPa" and float(r(SALT)[0]) == pytest.approx(math.log(float(r.predictor(SALT)["bulk"][0])))


def test_targets_of_sites_and_with_directions_are_refused():
    with pytest.raises(BadInput, match="whole crystals"):
        reading(target=Target("moment", per="site"))


@pytest.mark.parametrize("crystal", [SALT, ex.low_symmetry()], ids=["rock salt", "no symmetry"])
def test_attention_adds_up_and_changes_nothing(crystal):
    r = reading("gatgnn")
    before, graph = r(crystal), r.graph(crystal)
    found = attention(r, crystal, graph)
    assert [a.kind for a in found] == ["neighbours", "neighbours", "sites"] and torch.equal(before, r(crystal))
    for a in found:
        total = segment_sum(a.weight, a.index, int(a.index.max()) + 1)
        assert torch.allclose(total[a.index.unique()], torch.ones_like(total[a.index.unique()]))
    table = attention_between(crystal, graph, found[0])
    assert table["Na", "Cl"] + table["Na", "Na"] == pytest.approx(1)
    assert attention(reading(), crystal) == []


def test_attention_tells_the_same_of_a_supercell():
    r, double = reading("gatgnn"), SALT.repeated(2, 1, 1)
    one, two = (attention(r, c, r.graph(c)) for c in (SALT, double))
    assert one[2].weight.shape == (8, 1) and torch.allclose(two[2].weight.sort(0).values, torch.cat([one[2].weight / 2] * 2).sort(0).values)
    assert attention_between(double, r.graph(double), two[0]) == pytest.approx(attention_between(SALT, r.graph(SALT), one[0]))


@pytest.mark.parametrize("name, kinds", [("roost", ["elements", "elements", "sites"]), ("crabnet", ["elements", "elements"])])
def test_attention_between_elements_adds_up(name, kinds):
    r, state = reading(name), Compositions.of(["NaCl", "Al2O3", "BaTiO3", "Fe"])
    graph = r.graph(state)
    found = attention(r, state, graph)
    assert [a.kind for a in found] == kinds
    for a in found:
        total = segment_sum(a.weight, a.index, int(a.index.max()) + 1)
        assert torch.allclose(total, torch.ones_like(total), atol=1e-6)
    table = attention_between(state, graph, found[0])
    assert table["Fe", "Fe"] == pytest.approx(1) and table["Na", "Na"] + table["Na", "Cl"] == pytest.approx(1) and ("Na", "O") not in table


def test_dot_products_are_heard_as_they_are():
    """Two sets of two and one members, one head of width 1: softmax of q k by hand."""
    from torch.nn import functional as F

    from matterloop.learn.attending import _Dots

    q, k = torch.tensor([[1.0, 2.0], [3.0, 0.0]])[:, None, :, None], torch.tensor([[0.0, 1.0], [5.0, 0.0]])[:, None, :, None]
    there, heard = torch.tensor([[True, True], [True, False]]), []
    with _Dots(heard):
        F.scaled_dot_product_attention(q, k, k, attn_mask=there[:, None, None])
    (weight, index), = heard
    e = math.e
    assert weight[:, 0].tolist() == pytest.approx([1 / (1 + e), e / (1 + e), 1 / (1 + e**2), e**2 / (1 + e**2), 1.0]) and index.tolist() == [0, 0, 1, 1, 2]


def test_shuffled_weights_are_explained_otherwise():
    r = reading()
    crystals = ex.Crystals.join([ex.rock_salt(pair) for pair in ((3, 9), (11, 17), (12, 8), (20, 16), (22, 6), (26, 7), (38, 34), (55, 53))])
    a, b = (at.local_terms(x, crystals) for x in (r, at.randomised(r)))
    assert abs(at.likeness(a, b)) < 0.5
    assert at.likeness(a, at.local_terms(r, crystals)) == pytest.approx(1)


def test_the_predictor_is_left_as_it_was():
    p = Predictor(load("schnet", "encoder", **built_in()["schnet"].card.small), [GAP]).train()
    before = {k: v.clone() for k, v in p.state_dict().items()}
    r = Reading(p)
    at.integrated_gradients(r, SALT)
    at.shapley_sites(r, SALT)
    assert p.training and all(torch.equal(v, before[k]) and v.dtype == before[k].dtype for k, v in p.state_dict().items())
    assert all(x.requires_grad and x.grad is None for x in p.parameters()) and not any(m._forward_hooks for m in r.predictor.modules())


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(n for n, e in built_in().items() if e.card.role == "encoder" and n != "irnet"))
def test_every_encoder_is_explained_by_element(name):
    r, crystals = reading(name), ex.periodic()
    found, double = at.shapley_sites(r, crystals), at.shapley_sites(r, crystals.repeated(2, 1, 1))
    total = lambda x: segment_sum(x.site, 2 * x.owner + (x.species == 17), 2 * len(crystals))
    assert found.gap.abs().max() < 1e-8 * found.prediction.abs().max().clamp(min=1) and torch.allclose(total(found), total(double), rtol=1e-6, atol=1e-9)


@pytest.mark.slow
def test_a_trained_network_is_explained_by_the_planted_anions_and_by_nothing_where_labels_were_shuffled():
    """Labels of rock salts follow from the anion alone. Elements in the network's own account: anions as planted, metals all alike."""
    from matterloop.learn.training import train

    metals, anions = (3, 11, 19, 12, 20, 38, 25, 26, 27, 28, 29, 30), (7, 8, 9, 16, 17, 34, 35, 53)
    worth = dict(zip(anions, np.random.default_rng(0).permutation(np.linspace(-2, 2, 8)).tolist(), strict=True))
    pairs = [(m, a) for m in metals for a in anions]
    base = ex.Crystals.join([ex.rock_salt(p, 4.0 + 0.01 * p[0] + 0.005 * p[1])[0] for p in pairs])
    labels = torch.tensor([worth[a] for _, a in pairs], dtype=torch.float64)
    rows, held = np.random.default_rng(1).permutation(96), 80

    def explained(y):
        done = train("schnet", base.with_fields(whole={"y": y}, quantities={"y": Target("y").quantity}), Target("y"), {"train": rows[:held]}, calibrate=False,
                     options={"width": 32, "blocks": 1, "radius": 4.5, "spacing": 0.3, "gamma": 5.0}, recipe={"epochs": 60})
        test = torch.as_tensor(rows[held:])
        found = at.shapley_sites(Reading(done.predictor.members[0].predictor), base[test])
        total = segment_sum(found.site, found.owner * 119 + found.species, 119 * len(test)).view(len(test), 119)
        return np.array([[float(total[i, z]) for z in pairs[j]] for i, j in enumerate(test.tolist())]), np.array([worth[pairs[j][1]] for j in test.tolist()])

    shares, planted = explained(labels)
    assert np.corrcoef(shares[:, 1], planted)[0, 1] > 0.95 and shares[:, 0].std() < 0.3 * shares[:, 1].std()
    shares, planted = explained(labels[torch.as_tensor(np.random.default_rng(2).permutation(96))])
    assert abs(np.corrcoef(shares[:, 1], planted)[0, 1]) < 0.6
