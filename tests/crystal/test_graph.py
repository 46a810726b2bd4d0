"""Neighbour graphs hold exactly the edges that ase finds, for every kind of periodicity."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.neighborlist import neighbor_list
from hypothesis import given, settings
from hypothesis import strategies as st

from matterloop.base.errors import BadInput
from matterloop.bench import examples as ex
from matterloop.crystal import graph as graph_module
from matterloop.crystal.graph import Full, Nearest, SkinList, Within, line_graph
from matterloop.crystal.state import Crystals

ROCK_SALT = Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17], 2.82 * torch.tensor([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]]))


def edges_of_ase(crystals: Crystals, radius: float) -> set:
    """{(crystal, centre, neighbour, shift)} of ase.neighborlist."""
    found = set()
    for k in range(len(crystals)):
        one = crystals[k]
        atoms = Atoms(one.species.numpy(), cell=one.cell[0].numpy(), scaled_positions=one.frac.numpy(), pbc=one.periodic[0].numpy())
        atoms.set_positions(one.cart.numpy())
        i, j, s = neighbor_list("ijS", atoms, radius, self_interaction=False)
        found |= {(k, *row) for row in np.column_stack([i, j, s]).tolist() for row in [tuple(row)]}
    return found


def edges_of(crystals: Crystals, graph) -> list:
    owner, begin = graph.owner(crystals), crystals.offsets[:-1]
    rows = torch.column_stack([owner, graph.receivers - begin[owner], graph.senders - begin[owner], graph.shift])
    return [tuple(row) for row in rows.tolist()]


def random_crystal(seed: int, atoms: int, periodic, skew: float, outside: float, size: float = 3.0) -> Crystals:
    rng = np.random.default_rng(seed)
    cell = np.diag(rng.uniform(size, 2 * size, 3)) + np.tril(rng.uniform(-skew, skew, (3, 3)), -1) * size
    return Crystals.of(rng.random((atoms, 3)) + rng.uniform(-outside, outside, (atoms, 3)), rng.integers(1, 90, atoms), cell, periodic=periodic)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31), counts=st.lists(st.integers(1, 6), min_size=1, max_size=3), radius=st.floats(1.0, 6.0),
    periodic=st.tuples(st.booleans(), st.booleans(), st.booleans()), skew=st.floats(0, 2.5), outside=st.sampled_from([0.0, 0.5, 3.0]))
def test_edges_are_those_of_ase(seed, counts, radius, periodic, skew, outside):
    batch = Crystals.join([random_crystal(seed + k, n, periodic, skew, outside) for k, n in enumerate(counts)])
    mine = edges_of(batch, Within(radius)(batch))
    assert len(mine) == len(set(mine))
    assert set(mine) == edges_of_ase(batch, radius)


@pytest.mark.parametrize("periodic", [(True, True, True), (True, True, False), (False, True, False), (False, False, False)])
def test_the_cell_list_for_large_crystals_finds_the_edges_of_ase(periodic):
    big = random_crystal(3, graph_module.LARGE + 20, periodic, 0.7, 1.5, size=8.0)
    batch = Crystals.join([ROCK_SALT, big, ROCK_SALT])
    graph = Within(4.0)(batch)
    assert set(edges_of(batch, graph)) == edges_of_ase(batch, 4.0)
    assert bool((graph.receivers.diff() >= 0).all())


def test_both_searches_agree_on_one_crystal():
    crystal = random_crystal(7, 40, (True, True, False), 1.0, 2.0)
    within = Within(5.0)
    rows = lambda found: sorted(map(tuple, torch.column_stack(found).tolist()))
    assert rows(within._small(crystal, 0, 1)) == rows(within._large(crystal, 0))


def test_a_mixed_batch_gives_each_crystal_the_edges_it_has_alone():
    slab = random_crystal(1, 5, (True, True, False), 0.5, 0.5)
    molecule = random_crystal(2, 4, (False, False, False), 0.0, 0.5)
    parts = [ROCK_SALT, slab, molecule, ROCK_SALT.repeated(2, 1, 1)]
    batch = Crystals.join(parts)
    alone = [(k, *row[1:]) for k, part in enumerate(parts) for row in edges_of(part, Within(5.0)(part))]
    assert sorted(edges_of(batch, Within(5.0)(batch))) == sorted(alone)


def test_rock_salt_has_the_shells_of_the_textbook():
    graph = Within(5.0)(ROCK_SALT)
    length = graph.vectors(ROCK_SALT).norm(dim=-1)
    shells = {round(float(r), 3): int((length.sub(r).abs() < 1e-6).sum()) // 2 for r in length.unique()}
    assert sorted(shells.items()) == [(2.82, 6), (3.988, 12), (4.884, 8)]


def test_vectors_point_from_the_receiver_to_the_sender():
    pair = Crystals.of([[0, 0, 0], [0.1, 0, 0]], [1, 1], torch.eye(3) * 10)
    graph = Within(2.0)(pair)
    assert graph.receivers.tolist() == [0, 1] and graph.senders.tolist() == [1, 0]
    torch.testing.assert_close(graph.vectors(pair), torch.tensor([[1.0, 0, 0], [-1, 0, 0]], dtype=torch.float64))


def test_edges_are_sorted_by_receiver():
    batch = Crystals.join([ROCK_SALT, ROCK_SALT.repeated(2, 1, 1)])
    assert bool((Within(6.0)(batch).receivers.diff() >= 0).all())


def test_half_of_the_edges_and_their_reverses_are_all_edges():
    batch = Crystals.join([ROCK_SALT, random_crystal(5, 4, (True, True, True), 1.0, 0.0)])
    half, full = Within(5.0, half=True)(batch), Within(5.0)(batch)
    rows = edges_of(batch, half)
    reverse = [(k, j, i, -a, -b, -c) for k, i, j, a, b, c in rows]
    assert sorted(rows + reverse) == sorted(edges_of(batch, full))
    assert bool((half.receivers.diff() >= 0).all()) and bool((half.senders >= half.receivers).all())


def test_own_images_can_be_left_out():
    one = Crystals.of([[0.2, 0.3, 0.4]], [29], torch.eye(3) * 2.5)
    assert len(Within(2.6)(one)) == 6
    assert len(Within(2.6, self_images=False)(one)) == 0


def test_an_isolated_atom_and_an_empty_batch_have_no_edges():
    molecule = Crystals.of([[0, 0, 0]], [2], torch.eye(3), periodic=[False] * 3)
    assert len(Within(6.0)(molecule)) == 0
    assert len(Within(6.0)(molecule[:0])) == 0


def test_atoms_many_cells_outside_give_the_same_number_of_edges():
    moved = ROCK_SALT.put(frac=ROCK_SALT.frac + torch.tensor([[1000.0, -500, 3], [0, 0, -70]]))
    assert len(Within(6.0)(moved)) == len(Within(6.0)(ROCK_SALT))


def test_a_flat_cell_is_refused_by_name():
    flat = Crystals.of([[0, 0, 0]], [6], torch.diag(torch.tensor([3.0, 3.0, 1e-4])))
    with pytest.raises(BadInput, match=r"crystal 1: .*images lie within 6.0 Å"):
        Within(6.0)(Crystals.join([ROCK_SALT, flat]))


def test_numbers_that_are_not_finite_are_refused_by_name():
    broken = ROCK_SALT.put(frac=torch.tensor([[0, 0, 0], [float("nan"), 0, 0]], dtype=torch.float64))
    with pytest.raises(BadInput, match="crystal 1: the cell or a coordinate is not finite"):
        Within(6.0)(Crystals.join([ROCK_SALT, broken]))


@pytest.mark.parametrize("radius", [0.0, -1.0, float("inf"), float("nan")])
def test_a_radius_that_is_no_radius_is_refused(radius):
    with pytest.raises(BadInput, match="radius"):
        Within(radius)(ROCK_SALT)


def test_lists_are_cut_into_pieces_without_losing_edges(monkeypatch):
    batch = Crystals.join([ROCK_SALT.repeated(2, 2, 1), random_crystal(5, 6, (True, True, True), 1.0, 0.0)])
    whole = sorted(edges_of(batch, Within(5.0)(batch)))
    monkeypatch.setattr(graph_module, "CHUNK", 300)
    assert sorted(edges_of(batch, Within(5.0)(batch))) == whole


def test_vectors_are_differentiable_in_frac_and_cell():
    graph = Within(4.0)(ROCK_SALT)
    def total(frac, cell):
        return graph.vectors(ROCK_SALT.put(frac=frac, cell=cell)).square().sum()
    assert torch.autograd.gradcheck(total, (ROCK_SALT.frac.clone().requires_grad_(), ROCK_SALT.cell.clone().requires_grad_()))


def test_nearest_keeps_a_whole_shell_with_ties_and_the_count_without():
    assert len(Nearest(4, 6.0)(ROCK_SALT)) == 12
    assert len(Nearest(4, 6.0, ties=False)(ROCK_SALT)) == 8
    assert len(Nearest(18, 6.0)(ROCK_SALT)) == 36


def test_too_few_neighbours_are_an_error_that_says_what_to_raise():
    with pytest.raises(BadInput, match="an atom has 6 neighbours within 3.0 Å, 12 wanted; raise `radius`"):
        Nearest(12, 3.0)(ROCK_SALT)


def test_fewer_neighbours_are_kept_where_that_is_allowed():
    apart = Crystals.of([[0.0, 0, 0], [0.2, 0, 0], [0, 0.3, 0], [0.9, 0.9, 0.9]], [1, 1, 1, 1], 10 * torch.eye(3, dtype=torch.float64), periodic=[False] * 3)
    graph = Nearest(2, 5.0, fewer=True)(apart)
    assert list(zip(graph.receivers.tolist(), graph.senders.tolist(), strict=True)) == [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]
    assert len(Nearest(2, 1.0, fewer=True)(apart)) == 0
    with pytest.raises(BadInput, match="raise `radius`"):
        Nearest(2, 5.0)(apart)


def test_full_takes_the_nearest_image_of_every_pair():
    pair = Crystals.of([[0.05, 0, 0], [0.95, 0, 0]], [1, 1], torch.eye(3) * 10)
    lengths = Full()(pair).vectors(pair).norm(dim=-1)
    torch.testing.assert_close(lengths, torch.tensor([0.0, 1, 1, 0], dtype=torch.float64))


def test_line_graph_holds_every_ordered_pair_of_edges_of_a_centre():
    graph = Within(3.0)(ROCK_SALT)
    left, right = line_graph(graph)
    expected = {(a, b) for a in range(len(graph)) for b in range(len(graph)) if a != b and graph.receivers[a] == graph.receivers[b]}
    assert set(zip(left.tolist(), right.tolist(), strict=True)) == expected and len(left) == 2 * 6 * 5


def test_ten_thousand_atoms_in_one_cell_take_little_memory():
    import resource

    n = 10_000
    big = Crystals.of(np.random.default_rng(0).random((n, 3)), [26] * n, np.eye(3) * (12.0 * n) ** (1 / 3))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    graph = Within(6.0)(big)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 600  # MiB; all pairs would take 800 per column
    assert len(graph) == pytest.approx(n * (4 / 3 * np.pi * 6**3) / 12, rel=0.02)


def wandering(seed: int, batch: Crystals, steps: int, step: float, strain: float = 0.0):
    """Geometries of a random walk of atoms (Å) and cells."""
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        yield batch
        bend = torch.from_numpy(np.eye(3) + strain * rng.normal(size=(len(batch), 3, 3)))
        push = torch.from_numpy(step * rng.normal(size=(batch.atoms, 3)))
        cell = batch.cell @ bend
        batch = batch.put(cell=cell, frac=batch.frac + (push[:, None] @ torch.linalg.inv(cell)[batch.owner])[:, 0])


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("strain", [0.0, 0.004])
def test_a_skin_list_gives_the_pairs_of_a_fresh_search(half, strain):
    kinds = [(True, True, True), (True, True, False), (False, False, False)]
    start = Crystals.join([random_crystal(k, 3 + k, kinds[k % 3], 0.8, 0.5) for k in range(6)])
    skin = SkinList(4.0, 0.6, half)
    for batch in wandering(0, start, 25, 0.04, strain):
        graph = skin(batch)
        assert sorted(edges_of(batch, graph)) == sorted(edges_of(batch, Within(4.0, half=half)(batch)))
        assert bool((graph.receivers.diff() >= 0).all())
    assert skin.served == 150 and 6 < skin.searched < 110  # it searched again, but not always


def test_a_skin_list_follows_a_batch_that_loses_and_gains_crystals():
    walks = [list(wandering(k, random_crystal(k % 3, 4, (True, True, True), 0.5, 0.0), 12, 0.01)) for k in range(6)]  # three species lists, twice each
    skin = SkinList(4.0, 0.8, half=True)
    for turn in range(12):
        alive = [k for k in range(6) if turn - 5 < k * 1.5 < turn + 4]
        batch = Crystals.join([walks[k][turn] for k in alive])
        assert sorted(edges_of(batch, skin(batch))) == sorted(edges_of(batch, Within(4.0, half=True)(batch)))
    assert skin.searched <= 8  # each once, and at most a pair of twins a second time


def test_a_skin_list_searches_only_what_moved_too_far():
    batch = Crystals.join([random_crystal(k, 4, (True, True, True), 0.5, 0.0) for k in range(3)])
    skin = SkinList(4.0, 0.5)
    skin(batch)
    frac = batch.frac.clone()
    frac[5] += 0.3
    skin(batch.put(frac=frac))
    assert skin.searched == 4
    skin(batch.put(cell=batch.cell * torch.tensor([1.0, 1.01, 0.8])[:, None, None]))  # the second shrinks none; the third by a fifth
    assert skin.searched == 6  # the third for its cell, the second because its list of the last geometry lies 0.3 of a cell away


def test_a_skin_list_names_the_crystal_it_cannot_search():
    good = random_crystal(0, 4, (True, True, True), 0.5, 0.0)
    skin = SkinList(4.0)
    skin(Crystals.join([good, good]))
    broken = Crystals.of(torch.zeros(1, 3), [29], torch.eye(3))
    broken = broken.put(frac=broken.frac * float("nan"))
    with pytest.raises(BadInput, match="crystal 1"):
        skin(Crystals.join([good, broken, good]))
    with pytest.raises(BadInput, match="skin"):
        SkinList(4.0, 0.0)


@pytest.mark.parametrize("ties", [True, False])
def test_the_nearest_are_found_in_sparse_and_dense_crystals_of_one_batch(ties):
    crystals = Crystals.join([ex.rock_salt(side=s) for s in (4.6, 7.9, 5.6, 11.0)] + [ex.low_symmetry(), ex.slab(), ex.molecule()])
    graph, every = Nearest(12, 8.0, ties=ties, fewer=True)(crystals), Within(8.0)(crystals)
    found, length = graph.vectors(crystals).norm(dim=-1), every.vectors(crystals).norm(dim=-1)
    for atom in range(crystals.atoms):
        of_atom = length[every.receivers == atom].sort().values
        wanted = of_atom[: int((of_atom <= of_atom[min(12, len(of_atom)) - 1] + 1e-3).sum())] if ties else of_atom[:12]
        torch.testing.assert_close(found[graph.receivers == atom].sort().values, wanted)
