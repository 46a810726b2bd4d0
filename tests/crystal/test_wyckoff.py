import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import matterloop
from matterloop.base.errors import BadInput, Missing
from matterloop.crystal import lattice, space_groups, symmetry, wyckoff
from matterloop.crystal.state import Crystals

CELLS = {
    "triclinic": [7.3, 9.2, 11.4, 81.0, 97.0, 104.0], "monoclinic": [7.3, 9.2, 11.4, 101.7], "orthorhombic": [7.3, 9.2, 11.4],
    "tetragonal": [7.3, 11.4], "trigonal": [7.3, 11.4], "hexagonal": [7.3, 11.4], "cubic": [7.3],
}


def generic(group, letter, rng):
    """A crystal with a hydrogen orbit on the position and two general orbits that leave no further symmetry."""
    general = wyckoff.positions(group)[-1]
    sites = [(letter, 1, rng.uniform(size=wyckoff.position(group, letter).dof))] + [(general.letter, z, rng.uniform(size=3)) for z in (2, 3)]
    return wyckoff.build(group, lattice.from_free(CELLS[symmetry.crystal_system(group)], symmetry.crystal_system(group)), sites)


def agrees_with_moyopy(group, place, rng):
    """Whether moyopy finds group, letter, multiplicity and site symmetry of an atom on the position.

    moyopy may choose another setting that the normaliser allows; its own transformation then says where the atom went, and the position of
    our table that holds that point must carry the letter that moyopy gives.
    """
    for _ in range(4):
        crystals = generic(group, place.letter, rng)
        found = symmetry.analyse(crystals, 1e-6)[0]
        if found.number == group:
            break
    point = (torch.linalg.inv(found.linear) @ (crystals.frac[0] - found.origin)).numpy() % 1
    holds = [p for p in wyckoff.positions(group) if p.values_at(point)[1] < 1e-6]
    there = min(holds, key=lambda p: p.dof)
    orbit = int((found.orbits == found.orbits[0]).sum())
    return (found.number, found.letters[0], found.site_symmetry[0], orbit) == (group, there.letter, there.site_symmetry, place.multiplicity) and (
        there.multiplicity == place.multiplicity and there.dof == place.dof)


def test_there_are_1731_positions():
    every = [p for group in range(1, 231) for p in wyckoff.positions(group)]
    assert len(every) == 1731
    assert sum(len(p.linear) for p in every) == sum(p.multiplicity for p in every)


def test_positions_by_hand():
    """International Tables A: P-1, P4_2/mnm (rutile), Fd-3m origin choice 2, Pmmm with its 27th letter, R-3m on hexagonal axes, C2/c unique axis b."""
    assert [(p.letter, p.multiplicity, p.dof) for p in wyckoff.positions(2)] == [(c, 1, 0) for c in "abcdefgh"] + [("i", 2, 3)]
    f = wyckoff.position(136, "f")
    assert (f.multiplicity, f.site_symmetry, f.dof, f.text) == (4, "m.2m", 1, "x, x, 0")
    assert wyckoff.position(227, "a").text == "1/8, 1/8, 1/8" and wyckoff.position(227, "e").text == "x, x, x"
    assert wyckoff.position(227, "c").site_symmetry == ".-3m" and wyckoff.position(227, "i").multiplicity == 192
    assert wyckoff.position(47, "A").multiplicity == 8 and wyckoff.position(166, "c").text == "0, 0, z" and wyckoff.position(166, "c").multiplicity == 6
    assert wyckoff.position(15, "e").text == "0, y, 1/4"
    assert wyckoff.occupied_once(225) == "abcd" and wyckoff.occupied_once(19) == "" and wyckoff.position(225, "a").once


def test_unknown_letters_and_groups():
    with pytest.raises(Missing, match="Wyckoff position of group 225"):
        wyckoff.position(225, "z")
    with pytest.raises(BadInput):
        wyckoff.positions(231)


@pytest.mark.parametrize("group", [1, 2, 5, 12, 15, 43, 68, 70, 88, 123, 142, 148, 161, 167, 194, 205, 214, 220, 227, 230])
def test_orbits_are_generated_by_the_operations_of_moyopy(group):
    import moyopy

    operations = moyopy.operations_from_number(group, setting=moyopy.Setting.standard())
    rotations, translations = np.array(operations.rotations), np.array(operations.translations)
    rng = np.random.default_rng(group)
    for place in wyckoff.positions(group):
        points = place.points(rng.uniform(0.05, 0.45, place.dof))
        images = (rotations @ points[0] + translations) % 1
        gap = images[:, None] - points
        nearest = np.abs(gap - gap.round()).max(-1)
        assert (nearest.min(1) < 1e-9).all() and (nearest.min(0) < 1e-9).all()
        assert ((nearest < 1e-9).sum(1) == 1).all()  # points of the orbit are distinct


@pytest.mark.parametrize("group", [2, 9, 14, 15, 38, 62, 70, 88, 136, 141, 152, 166, 186, 194, 198, 221, 227])
def test_atoms_are_found_where_they_were_put(group):
    rng = np.random.default_rng(group)
    assert all(agrees_with_moyopy(group, place, rng) for place in wyckoff.positions(group))


@pytest.mark.slow
def test_atoms_of_all_1731_positions_are_found_where_they_were_put():
    rng = np.random.default_rng(0)
    wrong = [(p.space_group, p.letter) for g in range(1, 231) for p in wyckoff.positions(g) if not agrees_with_moyopy(g, p, rng)]
    assert wrong == []


def test_table_loads_quickly_and_matches_its_card():
    import hashlib

    folder = Path(matterloop.__file__).parent / "shipped"
    card = json.loads((folder / "wyckoff.json").read_text())
    assert card["sha256"] == hashlib.sha256((folder / card["file"]).read_bytes()).hexdigest()
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        space_groups.table.__wrapped__()
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.05


def test_build_makes_known_crystals():
    both = wyckoff.build([225, 136], [[5.64], [4.594, 2.959]], [[("a", "Na"), ("b", "Cl")], [("a", 22), ("f", 8, [0.305])]])
    assert both.counts.tolist() == [8, 6] and both.formula(1) == "O4 Ti2"
    torch.testing.assert_close(both[1].frac[2], torch.tensor([0.305, 0.305, 0.0], dtype=torch.float64))
    full = wyckoff.build(136, [4.594, 4.594, 2.959, 90, 90, 90], [("a", 22), ("f", 8, 0.305)])
    torch.testing.assert_close(full.cell, both[1].cell)


@pytest.mark.parametrize("sites,cell,match", [
    ([("a", 11), ("a", 17)], [5.0], "used twice"), ([("e", 11)], [5.0], "1 free parameters, got 0"), ([("a", 11)], [5.0, 5, 6, 90, 90, 90], "departs"),
    ([("a", 11)], [5.0, 4.0], "shape"), ([("a", 300)], [5.0], "outside")])
def test_impossible_builds_are_refused(sites, cell, match):
    with pytest.raises(BadInput, match=match):
        wyckoff.build(225, cell, sites)


@pytest.mark.parametrize("group", [1, 2, 12, 15, 33, 62, 88, 136, 152, 166, 186, 194, 205, 227])
def test_free_parameters_and_back(group):
    rng = np.random.default_rng(group)
    letters = [p.letter for p in wyckoff.positions(group)]
    crystals = Crystals.join([generic(group, letters[k], rng) for k in sorted({0, len(letters) // 2, len(letters) - 1})])
    read = wyckoff.free_parameters(crystals, 1e-5)
    made = wyckoff.from_parameters(read)
    for p, again in zip(read, wyckoff.free_parameters(made, 1e-5)):
        assert p.space_group == again.space_group == group
        np.testing.assert_allclose(np.sort(p.lattice), np.sort(again.lattice), atol=1e-8)
    for standard, new in zip((s.standard for s in symmetry.analyse(crystals, 1e-5)), made):
        torch.testing.assert_close(lattice.metric(standard.cell), lattice.metric(new.cell), rtol=0, atol=1e-8)
        gap = standard.frac[:, None] - new.frac
        distance = (gap - gap.round()).norm(dim=-1).masked_fill(standard.species[:, None] != new.species, 9.0)
        assert float(distance.min(1).values.max()) < 1e-8 and float(distance.min(0).values.max()) < 1e-8


@pytest.mark.parametrize("group", [14, 62, 136, 152, 166, 194, 205, 227])
def test_parameters_do_not_depend_on_the_atom_that_is_read(group):
    rng = np.random.default_rng(group)
    for place in wyckoff.positions(group):
        read = [place.values_at(point) for point in place.points(rng.uniform(size=place.dof))]
        np.testing.assert_allclose([values for values, _ in read], [read[0][0]] * len(read), atol=1e-12)
        assert max(gap for _, gap in read) < 1e-12


def test_layout_is_differentiable_and_batched_equals_single():
    rng = np.random.default_rng(4)
    genes = [(136, [("a", 22), ("f", 8)]), (62, [("c", 20), ("d", 8), ("d", 8)]), (225, [("a", 11), ("b", 17)]), (2, [("i", 6), ("a", 7)])]
    plan = wyckoff.layout([g for g, _ in genes], [s for _, s in genes])
    shapes = torch.tensor([v for g, _ in genes for v in CELLS[symmetry.crystal_system(g)]], dtype=torch.float64)
    values = torch.tensor(rng.uniform(size=int(plan.value_offsets[-1])))
    together = plan.crystals(shapes, values)
    for i, (group, sites) in enumerate(genes):
        alone = wyckoff.layout([group], [sites]).crystals(
            shapes[plan.lattice_offsets[i] : plan.lattice_offsets[i + 1]], values[plan.value_offsets[i] : plan.value_offsets[i + 1]])
        assert torch.equal(alone.frac, together[i].frac) and torch.equal(alone.cell, together[i].cell)
    assert torch.autograd.gradcheck(plan.frac, values.requires_grad_()) and torch.autograd.gradcheck(plan.cell, shapes.requires_grad_())


def test_free_coordinates_of_real_minerals():
    """Pyrite with u = 0.385 from any origin; corundum on hexagonal axes."""
    pyrite = wyckoff.build(205, [5.417], [("a", "Fe"), ("c", "S", [0.385])]).shifted(torch.tensor([0.1, 0.2, 0.3]))
    read = wyckoff.free_parameters(pyrite)[0]
    assert read.space_group == 205 and read.dof == 2 and read.lattice == pytest.approx((5.417,))
    u = read.sites[1][2][0]
    assert min(abs(u - v) for v in (0.385, 0.615, 0.885, 0.115)) < 1e-9
    corundum = wyckoff.build(167, [4.76, 12.99], [("c", "Al", [0.3522]), ("e", "O", [0.3064])])
    assert corundum.counts.tolist() == [30] and symmetry.analyse(corundum)[0].number == 167
