"""Energies of genes do not depend on how a gene is written, come with a width, and screens count what they remove."""

import numpy as np
import pytest
import torch

from matterloop.archive.shipped import list_shipped
from matterloop.base.elements import NUMBER
from matterloop.base.errors import BadInput
from matterloop.base.seeds import numpy_stream
from matterloop.crystal.space_groups import LETTERS, table
from matterloop.crystal.wyckoff import positions
from matterloop.predict.gene_energy import NAME, Calibration, GeneEnergy, Predicted
from matterloop.predict.gene_energy_baselines import CompositionEnergy, Neighbours, TypeMean, composition_features, fractions
from matterloop.predict.gene_energy_network import MAX_Z, GeneNetwork, batch_of, element_table, sites_of, valence
from matterloop.represent.gene_vocabulary import position_table
from matterloop.represent.wyckoff_gene import Gene

ROCK_SALT = Gene.parse("225:Na_a.Cl_b")
PEROVSKITE = Gene.parse("221:Ti_a.Sr_b.O_c")
HALF_HEUSLER = Gene.parse("216:Sn_a.Zr_b.Ni_c")
KEEPS = 2e-5  # eV/atom: rounding of float32 when rows are summed in another order


def drawn(count: int, seed: int = 0) -> list[Gene]:
    """Random legal genes of random groups, not canonical."""
    rng, out = numpy_stream(seed, "genes"), []
    while len(out) < count:
        group = int(rng.integers(1, 231))
        free = [p for p in positions(group)]
        sites, used = [], set()
        for _ in range(int(rng.integers(1, 6))):
            p = free[rng.integers(len(free))]
            if not (p.once and p.letter in used):
                used.add(p.letter)
                sites.append((p.letter, int(rng.integers(1, MAX_Z + 1))))
        out.append(Gene(group, tuple(sites)))
    return out


def rough(members: int = 3, floor=None) -> GeneEnergy:
    """An untrained ensemble whose tables are not zero."""
    networks = [GeneNetwork(width=16, heads=2, blocks=2, seed=k) for k in range(members)]
    for network in networks:
        with torch.no_grad():
            for name, p in network.named_parameters():
                if name.startswith("own_"):
                    p.normal_(generator=torch.Generator().manual_seed(len(name)))
    return GeneEnergy(networks, (-1.0, 1.0), Calibration(1.0, np.linspace(-2, 2, 21)), floor)


@pytest.fixture(scope="module")
def predictor() -> GeneEnergy:
    return rough()


def same(a: Predicted, b: Predicted) -> None:
    assert np.abs(a.formation_energy - b.formation_energy).max() < KEEPS
    assert np.abs(a.sigma - b.sigma).max() < KEEPS


# tables


@pytest.mark.parametrize(("element", "electrons"), [("H", (1, 0, 0, 0)), ("O", (2, 4, 0, 0)), ("Na", (1, 0, 0, 0)), ("Fe", (2, 0, 6, 0)), ("Br", (2, 5, 10, 0)),
                                                    ("Xe", (2, 6, 10, 0)), ("Gd", (2, 0, 0, 8)), ("Pb", (2, 2, 10, 14)), ("U", (2, 0, 0, 4))])
def test_valence_electrons_follow_madelungs_order(element, electrons):
    assert valence(NUMBER[element]) == electrons


def test_columns_of_the_element_table_are_normalised():
    columns = element_table()[1:]
    assert np.allclose(columns.mean(0), 0, atol=1e-5) and np.allclose(columns.std(0), 1, atol=1e-4)


def test_positions_of_a_group_differ_in_their_features():
    """Letters are told apart without the learnt table too, but for positions that only a choice of branches separates."""
    t, features = table(), position_table()
    for group in (1, 62, 166, 194, 216, 221, 225, 227):
        rows = features[t.start[group - 1] : t.start[group]]
        assert len(np.unique(rows.round(5), axis=0)) == len(rows), group


def test_rows_stand_for_all_orbits_of_an_element_on_a_position():
    sites = sites_of([Gene.parse("62:Ca_c.Ti_a.O_c.O_d.O_c"), ROCK_SALT])
    assert sites.offsets.tolist() == [0, 4, 6]
    rows = {(LETTERS[a], int(z)): int(n) for a, z, n in zip(sites.letter[:4], sites.species[:4], sites.atoms[:4], strict=True)}
    assert rows == {("a", 22): 4, ("c", 20): 4, ("c", 8): 8, ("d", 8): 8}
    assert sites.atoms[4:].tolist() == [1, 1]  # primitive cell


def test_merging_orbits_changes_nothing():
    """Attention that counts atoms gives the same answer when the rows of one element on one position are kept apart."""
    network = GeneNetwork(width=16, heads=2, blocks=2).eval()
    merged = batch_of(sites_of([Gene.parse("62:Ca_c.Ti_a.O_c.O_d.O_c")]), np.zeros(1, dtype=int))
    row = int(((merged.atoms == 8) & (merged.species == 8)).nonzero()[0, 1])
    x, weight = torch.randn(1, 4, 16, generator=torch.Generator().manual_seed(0)), (merged.atoms / merged.atoms.sum()).log()[:, None, None]
    apart = torch.cat([x, x[:, [row]]], 1)
    halves = torch.cat([weight, weight[..., [row]]], -1).clone()
    halves[..., [row, -1]] -= np.log(2)
    assert torch.allclose(network.blocks[0](x, weight), network.blocks[0](apart, halves)[:, :4], atol=1e-6)


# invariance


@pytest.mark.parametrize("gene", [ROCK_SALT, PEROVSKITE, HALF_HEUSLER, Gene.parse("2:Na_a.Cl_b.O_c.O_i.O_i"), Gene.parse("47:Na_a.Cl_h.O_i"), Gene.parse("123:Fe_a.Ni_d.Pt_e")])
def test_equivalent_settings_give_the_same_energy(predictor, gene):
    settings = list(gene.equivalents)
    found = predictor.predict(settings)
    assert len(settings) > 1
    assert np.ptp(found.formation_energy) < KEEPS and np.ptp(found.sigma) < KEEPS


def test_different_orders_on_the_same_positions_differ(predictor):
    """Half-Heusler compounds differ in which element holds the site between the other two."""
    found = predictor.predict([Gene.parse("216:Sn_a.Zr_b.Ni_c"), Gene.parse("216:Sn_a.Ni_b.Zr_c"), Gene.parse("216:Ni_a.Zr_b.Sn_c")])
    assert np.diff(np.sort(found.formation_energy)).min() > 1e-3


def test_mirror_images_give_the_same_energy(predictor):
    left = drawn(200, 3)
    pairs = [(g, Gene(table().mirror[g.space_group][0], tuple((LETTERS[table().mirror[g.space_group][1][LETTERS.index(a)]], z) for a, z in g.sites)))
             for g in left if g.space_group in table().mirror]
    assert len(pairs) > 3
    same(predictor.predict([a for a, _ in pairs]), predictor.predict([b for _, b in pairs]))


def test_the_order_of_sites_and_genes_does_not_matter(predictor):
    genes, rng = drawn(60), numpy_stream(0, "order")
    shuffled = [Gene(g.space_group, tuple(g.sites[i] for i in rng.permutation(len(g.sites)))) for g in genes]
    same(predictor.predict(genes), predictor.predict(shuffled))
    order = rng.permutation(len(genes))
    turned = predictor.predict([genes[i] for i in order])
    assert np.abs(turned.formation_energy - predictor.predict(genes).formation_energy[order]).max() < KEEPS


def test_a_batch_says_the_same_as_one_by_one(predictor):
    genes = drawn(40, 1)
    together, alone = predictor.predict(genes), [predictor.predict([g]) for g in genes]
    assert np.abs(together.formation_energy - np.concatenate([a.formation_energy for a in alone])).max() < KEEPS
    assert np.abs(together.sigma - np.concatenate([a.sigma for a in alone])).max() < KEEPS


def test_the_same_call_twice_is_equal_to_the_bit(predictor):
    assert np.array_equal(predictor.predict(drawn(30)).formation_energy, rough().predict(drawn(30)).formation_energy)


def test_every_element_and_every_space_group_is_finite(predictor):
    general = [Gene(g, ((positions(g)[-1].letter, 8),)) for g in range(1, 231)]
    elements = [Gene(225, (("a", z), ("b", 8))) for z in range(1, MAX_Z + 1)]
    every = [Gene(g, ((p.letter, 14),)) for g in range(1, 231) for p in positions(g)]
    for genes in (general, elements, every):
        found = predictor.predict(genes)
        assert np.isfinite(found.formation_energy).all() and (found.sigma > 0).all()
    assert predictor.predict([]).formation_energy.shape == (0,)


@pytest.mark.parametrize("sites", [(("a", 95),), (("a", 11), ("b", 103)), (("a", 0),)])
def test_elements_beyond_the_table_are_refused(predictor, sites):
    with pytest.raises(BadInput, match=r"gene 1 .*1\.\.94"):
        predictor.predict([ROCK_SALT, Gene(225, sites)])


def test_a_gene_without_sites_is_refused(predictor):
    with pytest.raises(BadInput, match="gene 0: the gene has no site"):
        predictor.predict([Gene(225, ())])


# calibration


def test_calibration_of_normal_errors_finds_their_width():
    rng = numpy_stream(0, "normal")
    sigma = rng.uniform(0.05, 0.2, 20_000)
    found = Calibration.of(2 * sigma * rng.normal(size=20_000), sigma)
    assert found.factor == pytest.approx(2, rel=0.03)
    assert found.probability(np.array([0.0, 1.0, -1.0])) == pytest.approx([0.5, 0.841, 0.159], abs=0.01)


def test_chances_rise_strictly_and_stay_between_0_and_1():
    z = np.linspace(-12, 12, 4001)
    chance = Calibration(1.0, np.linspace(-2, 2, 21)).probability(z)
    assert (np.diff(chance) > 0).all() and 0 < chance[0] < 1e-3 and 1 - 1e-3 < chance[-1] <= 1


def test_too_few_rows_cannot_calibrate():
    with pytest.raises(BadInput, match="got 5 genes"):
        Calibration.of(np.zeros(5), np.ones(5))


def test_distance_to_the_hull_is_energy_minus_floor():
    found = Predicted(np.array([-1.0, -2.0]), np.array([0.1, 0.1]), np.array([-1.1, -1.9]), Calibration(1.0, np.linspace(-2, 2, 21)))
    assert found.above_hull == pytest.approx([0.1, -0.1])
    chance = found.probability(0.1)
    assert chance[0] == pytest.approx(0.5) and chance[1] > 0.9


def test_without_a_hull_there_is_no_distance(predictor):
    with pytest.raises(BadInput, match="floor"):
        predictor.predict([ROCK_SALT]).above_hull


# files


def test_weights_come_back_to_the_bit(predictor, tmp_path):
    predictor.save(tmp_path / "weights.safetensors")
    again = GeneEnergy.load(tmp_path / "weights.safetensors")
    genes = drawn(30, 2)
    one, two = predictor.predict(genes), again.predict(genes)
    assert np.array_equal(one.formation_energy, two.formation_energy) and np.array_equal(one.sigma, two.sigma)
    assert np.array_equal(again.calibration.quantiles, predictor.calibration.quantiles)


def test_a_file_of_something_else_is_refused(tmp_path):
    (tmp_path / "other.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(BadInput, match="does not hold a gene-energy ensemble"):
        GeneEnergy.load(tmp_path / "other.safetensors")


# baselines


def test_composition_features_by_hand():
    """Rock salt: mean, deviation, smallest and largest electronegativity of Na (0.93) and Cl (3.16), in the table's units."""
    x = fractions(sites_of([ROCK_SALT]))
    assert x[0, [11, 17]].tolist() == [0.5, 0.5] and x.sum() == 1
    na, cl = element_table()[[11, 17], 0]
    columns, width = composition_features(x)[0], element_table().shape[1]
    assert columns[[0, width, width + 9, width + 18]] == pytest.approx([(na + cl) / 2, (cl - na) / 2, na, cl], rel=1e-5)
    assert columns[-3:].tolist() == [2.0, 0.5, 0.5]


def test_a_neighbour_is_the_member_with_the_likeliest_swaps_whatever_the_setting():
    from matterloop.generate.similarity import similarity

    known = [Gene.parse(k) for k in ("225:Li_a.F_b", "225:K_a.Br_b", "221:Cs_a.Cl_b")]
    found = Neighbours(known, np.array([-3.0, -2.0, -1.0]), similarity())
    for setting in Gene.parse("225:K_a.Cl_b").equivalents:
        assert found.nearest(setting)[0] == 1
    assert found.nearest(Gene.parse("221:Tl_b.Cl_a"))[0] == 2
    assert found.nearest(Gene.parse("62:Ca_c.Ti_a.O_c.O_d")) == (-1, -np.inf)
    energy, _ = found.predict([Gene.parse("225:K_a.Cl_b")], np.array([-2.5]), np.array([0.0, -1.8, 0.0]))
    assert energy.tolist() == pytest.approx([-2.0 - 2.5 + 1.8])


def test_means_of_types_and_of_all():
    assert TypeMean(["a", "a", "b"], np.array([1.0, 2.0, 6.0])).predict(["a", "b", "c"]).tolist() == [1.5, 6.0, 3.0]


def test_the_composition_model_learns_a_sum_over_elements():
    rng = numpy_stream(0, "compositions")
    x = np.zeros((600, MAX_Z + 1))
    for row in x:
        row[rng.choice([3, 8, 9, 11, 17, 26], size=2, replace=False)] = 0.5
    energy = x @ element_table()[:, 0]
    model = CompositionEnergy(rounds=40).fit(x[:500], energy[:500])
    assert np.abs(model.predict(x[500:]) - energy[500:]).mean() < 0.1 * np.abs(energy - energy.mean()).mean()


# shipped weights


@pytest.mark.skipif(NAME not in list_shipped(), reason="no weights ship")
def test_shipped_weights_know_textbook_energies():
    """Strongly bound salts, weakly bound intermetallics, in the right order, and rock salt as measured (-411 kJ/mol = -2.13 eV/atom) within 0.15 eV/atom."""
    found = GeneEnergy.load().predict([Gene.parse(k) for k in ("225:Na_a.Cl_b", "225:Ca_a.F_c", "221:Al_a.Ni_b", "225:Mg_a.O_b", "225:Cu_a.Pb_b")])
    e = found.formation_energy
    assert e[0] == pytest.approx(-2.13, abs=0.15)
    assert e[1] < e[3] < e[0] < e[2] < 0 < e[4]
