"""Placements obey their gene, keep atoms apart, follow from the seed, never hang; patterns agree as genes do; soft spheres push along the true gradient."""

import itertools
import math
import time

import numpy as np
import pytest
import torch

from matterloop.base.errors import BadInput
from matterloop.base.seeds import numpy_stream
from matterloop.crystal.wyckoff import Parameters, from_parameters, free_parameters
from matterloop.crystal.prototypes import prototypes
from matterloop.generate.declash import Moving, Orbits, contact_of_pairs, declash, neighbours, overlap, pushed, scaled, tightness_of
from matterloop.generate.placement import Placer, fingerprints, starts_by_dof
from matterloop.generate.placement_network import (PlacementNetwork, SHAPE, batch_of, lattice_of, load, log_prior, retold, save, shape_of, translations)
from matterloop.generate.retrieval import Library, gene_of, mirrored, pattern_of, roles, volume_of
from matterloop.generate.volume import contacts
from matterloop.represent.wyckoff_gene import Gene, gene

NAMES = ("rock salt", "CsCl", "zinc blende", "fluorite", "rutile", "cubic perovskite", "orthorhombic perovskite", "spinel", "olivine", "calcite", "wurtzite",
         "K2NiF4", "anatase", "marcasite", "corundum", "ilmenite", "CdI2", "pyrite", "chalcopyrite", "ThCr2Si2")


@pytest.fixture(scope="module")
def known():
    """Free parameters of classic structure types."""
    return [p for name in NAMES for p in free_parameters(prototypes(name)[0].archetype())]


@pytest.fixture(scope="module")
def network():
    return PlacementNetwork(width=16, depth=2, heads=2, mixture=3, shapes=2, closeness=8, seed=1)


def placer(library, **options):
    return Placer(library, **{"network": None, "samples": 8, **options})


# patterns


def test_elements_in_other_roles_are_found_by_the_pattern():
    zinc_blende = Parameters(216, (5.41,), (("a", 30, ()), ("c", 16, ())))
    (match, other) = Library([zinc_blende]).matches(Gene.parse("216:As_d.Ga_a"), np.zeros((119, 119)))
    assert {gene_of(m.parameters).key for m in (match, other)} == {Gene.parse("216:As_d.Ga_a").key}
    assert {frozenset(z for _, z, _ in m.parameters.sites) for m in (match, other)} == {frozenset({31, 33})}


def test_similarity_decides_between_roles_and_members():
    table = np.zeros((119, 119))
    table[11, 19] = table[17, 35] = 3.0
    rock_salt = Parameters(225, (5.64,), (("a", 11, ()), ("b", 17, ())))
    oxide = Parameters(225, (4.21,), (("a", 12, ()), ("b", 8, ())))
    best = Library([oxide, rock_salt], ["MgO", "NaCl"]).matches(Gene.parse("225:K_b.Br_a"), table)[0]
    assert best.parent == "NaCl" and dict((z, letter) for letter, z, _ in best.parameters.sites) == {19: "a", 35: "b"} and best.score == 3.0


def test_patterns_agree_exactly_where_anonymous_genes_do(known):
    genes = [gene_of(p) for p in known]
    for a, b in itertools.combinations(genes, 2):
        same = a.anonymous == b.anonymous
        assert bool(a.space_group == b.space_group and roles(pattern_of(a)[0], pattern_of(b)[0])) == same
    for g in genes:
        for other in g.equivalents[:8]:
            assert roles(pattern_of(g)[0], pattern_of(other)[0])


def test_every_match_has_the_gene_asked_for_in_any_setting(known):
    library = Library(known)
    for p in known:
        for told in gene_of(p).equivalents[:6]:
            assert {gene_of(m.parameters).key for m in library.matches(told, np.zeros((119, 119)))} == {told.key}


def test_own_formula_can_be_left_out(known):
    library = Library(known)
    halite = next(p for p in known if gene_of(p).space_group == 225 and gene_of(p).dof == 0)
    assert library.matches(gene_of(halite), np.zeros((119, 119)))
    assert not library.matches(gene_of(halite), np.zeros((119, 119)), own_formula=False)


def test_sites_shared_otherwise_are_found_where_the_pattern_is_not(known):
    spinel = next(p for p in known if p.space_group == 227)
    one = Gene(spinel.space_group, tuple((letter, 26 if z != 8 else 8) for letter, z, _ in spinel.sites)).canonical  # Fe3O4 beside MgAl2O4
    library = Library([spinel])
    assert not library.matches(one, np.zeros((119, 119)))
    (match,) = library.regrouped(one, np.zeros((119, 119)))
    assert match.regrouped and gene_of(match.parameters).key == one.key
    (start,) = placer(library).place_one(one, 0, 1).starts
    assert start.how == "prototype" and gene_of(start.parameters).key == one.key


def test_a_mirror_image_serves_the_other_hand():
    cristobalite = Parameters(92, (4.97, 6.93), (("a", 14, (0.3,)), ("b", 8, (0.239, 0.104, 0.179))))
    image = mirrored(cristobalite)
    assert image.space_group == 96 and gene_of(image).key == gene_of(cristobalite).key
    for group in (92, 96):
        (start,) = placer(Library([cristobalite])).place_one(Gene(group, gene_of(image if group == 96 else cristobalite).sites), 0, 1).starts
        assert start.parameters.space_group == group and np.allclose(*fingerprints([start.parameters, cristobalite]), atol=1e-3)


# soft spheres


@pytest.fixture(scope="module")
def crowded(known):
    rng = numpy_stream(0, "crowded")
    return [scaled(Parameters(p.space_group, p.lattice, tuple((a, z, tuple((np.array(v) + 0.1 * rng.normal(size=len(v))) % 1)) for a, z, v in p.sites)), 0.7) for p in known]


def test_the_gradient_of_overlap_is_that_of_differences(crowded):
    moving = Moving.of(crowded)
    values, q = moving.values.clone().requires_grad_(), torch.zeros_like(moving.lattice).requires_grad_()
    pairs = neighbours(moving.orbits, *moving.geometry(moving.values, torch.zeros_like(moving.lattice)), 5.0)
    contact = contact_of_pairs(moving.orbits, pairs)
    energy = lambda v, w: moving.energy(v, w, pairs, contact).sum()
    slopes = torch.autograd.grad(energy(values, q), (values, q))
    assert float(slopes[0].abs().max()) > 0.1
    for k, start in enumerate((values.detach(), q.detach())):
        for at in numpy_stream(1, "at").choice(len(start), 12, replace=False).tolist():
            step = torch.zeros_like(start)
            step[at] = 1e-6
            ends = [energy(*(start + s * step if i == k else (values, q)[i].detach() for i in range(2))) for s in (1, -1)]
            assert float(slopes[k][at]) == pytest.approx(float(ends[0] - ends[1]) / 2e-6, rel=1e-4, abs=1e-6)


def test_distances_are_those_of_the_neighbour_search(known):
    from matterloop.crystal.graph import Within

    orbits, crystals = Orbits.of(known), from_parameters(known)
    pairs = neighbours(orbits, crystals.frac, crystals.cell, 4.0)
    ours = pairs.distances(orbits, crystals.frac, crystals.cell)
    graph = Within(4.0)(crystals)
    lengths = graph.vectors(crystals).norm(dim=1)
    for k, atom in enumerate(orbits.first.tolist()):
        assert torch.allclose(ours[pairs.orbit == k].sort().values, lengths[graph.receivers == atom].sort().values, atol=1e-5)


def test_own_images_count():
    tall = Parameters(221, (1.5,), (("a", 26, ()),))  # an atom of iron per 1.5 Å cube: only its own images are too near
    assert tightness_of([tall])[0] == pytest.approx(1.5 / contacts(np.array([26]))[0, 0], rel=1e-6)
    (done,) = declash([tall])
    assert not done.reason and done.tightness >= 0.8 and done.parameters.lattice[0] > 1.5


def test_a_crystal_is_pushed_alike_whatever_stands_beside_it(crowded):
    together, alone = pushed(crowded, steps=15), [pushed([p], steps=15)[0] for p in crowded]
    for a, b in zip(together, alone, strict=True):
        assert np.allclose(a.lattice, b.lattice, atol=1e-9)
        assert all(np.allclose(x[2], y[2], atol=1e-9) for x, y in zip(a.sites, b.sites, strict=True))


def test_the_push_keeps_the_gene_and_ends_overlap(crowded):
    done = declash(crowded)
    assert all(not d.reason for d in done)
    assert [gene_of(d.parameters).text for d in done] == [gene_of(p).text for p in crowded]
    assert min(tightness_of([d.parameters for d in done])) >= 0.8


def test_a_hopeless_crystal_gets_a_reason():
    pinned = Parameters(221, (2.0,), tuple(("f", z, (0.01 * k + 0.05,)) for k, z in enumerate((55, 56, 57, 55, 56, 57))))
    (done,) = declash([pinned], steps=2, growths=1)
    assert "usual shortest distance" in done.reason and done.grown == 1


# placements


def test_starts_obey_their_gene_and_keep_their_distance(known, network):
    for way, net in (("prototype", None), ("declash", None), ("coordinates", network)):
        made = placer(known, ways=(way,), network=net)
        genes = [gene_of(p).substituted({8: 16}) for p in known[::3] if len(p.sites) < 5]
        same = higher = 0
        for asked, starts in zip(genes, made.place(genes, 0), strict=True):
            assert starts, asked.text
            for s in starts:
                assert s.how == way and bool(s.parent) == (way == "prototype")
                assert gene_of(s.parameters).key == asked.key
                assert tightness_of([s.parameters])[0] >= 0.8
                found = gene(from_parameters(s.parameters), 0.01)[0]
                same += found.key == asked.key
                higher += found.key != asked.key and found.space_group > asked.space_group
        assert higher <= 0.1 * same and same + higher == sum(len(x) for x in made.place(genes, 0)), (way, same, higher)


def test_the_seed_decides_and_fewer_starts_are_the_first_of_more(known, network):
    genes = [gene_of(p) for p in (known[6], known[4], known[1])]
    for options in ({}, {"ways": ("coordinates",), "network": network}):
        made = placer(known, **options)
        three = made.place(genes, 5, lambda g: 3)
        assert made.place(genes, 5, lambda g: 3) == three
        assert made.place(genes, 5, lambda g: 1) == [s[:1] for s in three]
        assert [made.place([g], 5, lambda g: 3)[0] for g in genes[:2]] == three[:2]
    assert placer(known, ways=("declash",)).place(genes, 6) != placer(known, ways=("declash",)).place(genes, 5)


def test_starts_by_degrees_of_freedom(known):
    counts = {g.dof: starts_by_dof(g) for g in map(gene_of, known)}
    assert all(n == (1 if dof == 0 else 2 if dof <= 2 else 3) for dof, n in counts.items()) and {1, 2, 3} <= set(counts.values())


def test_starts_of_one_gene_differ_in_geometry():
    same = [Parameters(225, (a,), (("a", 11, ()), ("b", 17, ()))) for a in (5.6, 5.7, 5.9)]
    assert len(placer(same, ways=("prototype",)).place_one(Gene.parse("225:K_a.Br_b"), 0, 3).starts) == 1
    rutile = [Parameters(136, (4.6, 2.96 * f), (("a", 22, ()), ("f", 8, (x,)))) for f, x in ((1, 0.305), (1, 0.306), (1.3, 0.25))]
    assert len(placer(rutile, ways=("prototype",)).place_one(Gene.parse("136:Sn_a.O_f"), 0, 3).starts) == 2


@pytest.mark.parametrize("text", ["1:" + ".".join(["O_a"] * 30), "14:" + ".".join(["Cs_e"] * 6 + ["O_e"] * 12), "62:" + ".".join(["I_d"] * 5 + ["Cs_c"] * 4),
                                  "227:" + ".".join(["Pb_i"] * 2 + ["O_h"]), "221:Cs_a.Cs_b.Cs_c.Cs_d.Ba_m.Ba_m.O_n"])
def test_many_general_positions_in_a_tight_cell_never_hang(text):
    begun = time.process_time()
    placed = placer([], samples=8, volume=lambda g, p: 6.0).place_one(Gene.parse(text), 0, 2)
    assert time.process_time() - begun < 60
    assert placed.starts or "usual shortest distance" in placed.reason


def test_impossible_arguments_are_refused():
    with pytest.raises(BadInput, match="allowed are prototype"):
        Placer([], network=None, ways=("magic",))
    with pytest.raises(BadInput, match="names"):
        Library([Parameters(225, (5.6,), (("a", 11, ()),))], [])
    assert "not known" in placer([]).place_one(Gene.parse("225:Og_a"), 0, 1).reason


# network


def test_other_descriptions_are_the_same_crystal(known):
    rng = numpy_stream(3, "retold")
    for p in known:
        for _ in range(4):
            told = retold(p, rng)
            assert gene_of(told).key == gene_of(p).key and np.allclose(*fingerprints([told, p]), atol=1e-5)


def test_shifts_of_the_origin_by_hand():
    halves, polar = translations(2)
    assert len(halves) == 8 and len(polar) == 0
    assert translations(1)[1].tolist() == [0, 1, 2] and translations(8)[1].tolist() == [0, 2] and translations(186)[1].tolist() == [2]


def test_shapes_round_trip(known):
    for p in known:
        shape, free = shape_of(p)
        from matterloop.crystal.space_groups import crystal_system
        from matterloop.generate.retrieval import atoms_of

        assert np.flatnonzero(free).tolist() == list(SHAPE[crystal_system(p.space_group)])
        assert np.allclose(lattice_of(crystal_system(p.space_group), volume_of(p) * atoms_of(p), shape), p.lattice)


def test_coordinates_are_a_normalised_distribution(network):
    one = gene_of(Parameters(136, (4.6, 2.96), (("a", 22, ()), ("f", 8, (0.3,)))))
    grid = torch.linspace(0, 1, 721)[:-1]
    batch = batch_of([136] * 720, [one.sites] * 720, [log_prior(one)] * 720)
    values = torch.zeros(720, 2, 3)
    values[:, 1, 0] = grid
    loss = network.coordinate_loss(batch, network.sites(batch), torch.zeros(720, 6), values)
    assert float((-loss).exp().mean()) == pytest.approx(1.0, abs=1e-3)


def test_later_sites_do_not_change_earlier_ones(network):
    text = Gene.parse("62:Fe_c.O_c.O_d.P_c")
    batch = batch_of([62], [text.sites], [2.5])
    seen, values = network.sites(batch), torch.rand(1, 4, 3, generator=torch.Generator().manual_seed(0))
    changed = values.clone()
    changed[:, 2:] += 0.3
    a, b = (network.decoded(batch, seen, torch.zeros(1, 6), v) for v in (values, changed))
    assert torch.allclose(a[:, :3], b[:, :3], atol=1e-6) and not torch.allclose(a[:, 3], b[:, 3], atol=1e-4)


def test_closeness_does_not_depend_on_the_description(known, network):
    rng = numpy_stream(4, "closeness")

    def value(parameters):
        moving = Moving.of([parameters])
        frac, cell = moving.geometry(moving.values, torch.zeros_like(moving.lattice))
        pairs = neighbours(moving.orbits, frac, cell, 5.5)
        return float(network.closeness(moving.orbits, pairs, pairs.distances(moving.orbits, frac, cell), cell))

    for p in known:
        assert value(retold(p, rng)) == pytest.approx(value(p), rel=1e-4, abs=1e-5)


def test_weights_round_trip_in_half_precision(network):
    again = load(save(network))
    assert again.settings == network.settings
    for (name, a), b in zip(network.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.allclose(a.float(), b.float(), atol=2e-3 * max(1.0, float(a.float().abs().max()))), name


def test_the_shipped_network_tells_a_known_crystal_from_a_rattled_one(known):
    from matterloop.generate.placement_network import shipped_network

    net, rng, won = shipped_network(), numpy_stream(5, "rattled"), []
    for p in known:
        if gene_of(p).dof:
            far = Parameters(p.space_group, p.lattice, tuple((a, z, tuple((np.array(v) + 0.12 * rng.normal(size=len(v))) % 1)) for a, z, v in p.sites))
            moving = Moving.of([p, far])
            frac, cell = moving.geometry(moving.values, torch.zeros_like(moving.lattice))
            pairs = neighbours(moving.orbits, frac, cell, 5.5)
            energy = net.closeness(moving.orbits, pairs, pairs.distances(moving.orbits, frac, cell), cell)
            won.append(bool(energy[0] < energy[1]))
    assert np.mean(won) >= 0.8, won


def test_the_overlap_of_two_atoms_by_hand():
    row = Parameters(221, (10.0,), (("a", 26, ()), ("b", 26, ())))  # 8.66 Å apart, images 10 Å
    orbits, crystal = Orbits.of([row]), from_parameters(row)
    pairs = neighbours(orbits, crystal.frac, crystal.cell, 9.0)
    d = pairs.distances(orbits, crystal.frac, crystal.cell)
    assert len(d) == 16 and torch.allclose(d, torch.full_like(d, 5 * math.sqrt(3)), atol=1e-6)
    twice = torch.full_like(d, 10 * math.sqrt(3))
    assert float(overlap(orbits, pairs, d, twice, slack=1.0)) == pytest.approx(16 * 0.25)


def test_one_start_found_for_all_at_once_is_the_first_of_several():
    placer = Placer(network=None)
    genes = [Gene.parse(t) for t in ("225:K_a.Br_b", "221:Ba_a.Zr_b.O_c", "194:Ga_b.N_c", "166:Sb_c.Te_a.Te_c", "152:Ge_a.O_c", "154:Ge_a.O_c", "62:Ca_c.Ti_a.O_c.O_d")]
    together = placer.place(genes, 3, lambda gene: 1)
    for gene, starts in zip(genes, together, strict=True):
        assert starts[0] == placer.place_one(gene, 3, 2).starts[0]
