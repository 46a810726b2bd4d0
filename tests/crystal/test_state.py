"""The batch of crystals: parts and wholes, and the same crystals described differently."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from matterloop.base.errors import BadInput, Missing
from matterloop.base.quantities import Quantity
from matterloop.crystal.state import Crystals

F64 = torch.float64


def rock_salt(a: float = 5.64) -> Crystals:
    return Crystals.of([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5], [0.5, 0.5, 0.5]],
                       [11] * 4 + [17] * 4, a * torch.eye(3, dtype=F64))


def made(sizes: list[int], seed: int = 0, periodic=None) -> Crystals:
    """A batch with every kind of field: scalars, vectors and tensors of atoms and of crystals."""
    rng = torch.Generator().manual_seed(seed)
    real = lambda *shape: torch.rand(*shape, generator=rng, dtype=F64)
    n, b = sum(sizes), len(sizes)
    cell = 4 * torch.eye(3, dtype=F64) + real(b, 3, 3)
    return Crystals.of(
        real(n, 3), torch.randint(1, 90, (n,), generator=rng), cell, sizes, periodic=periodic, site={"forces": real(n, 3), "magmom": real(n), "born_charges": real(n, 3, 3)},
        whole={"energy": real(b), "energy_per_atom": real(b), "stress": real(b, 3, 3), "axis": real(b, 3)}, quantities={"axis": Quantity(1, -1, False, "")})


def fields(c: Crystals) -> dict[str, torch.Tensor]:
    return {"frac": c.frac, "species": c.species, "cell": c.cell, "offsets": c.offsets, "periodic": c.periodic, **c.site, **c.whole}


def assert_equal(a: Crystals, b: Crystals, atol: float = 0.0) -> None:
    left, right = fields(a), fields(b)
    assert left.keys() == right.keys()
    for name in left:
        torch.testing.assert_close(left[name], right[name], rtol=0, atol=atol, msg=name)


sizes = st.lists(st.integers(0, 5), min_size=1, max_size=6)


# parts and wholes


@given(sizes, st.integers(0, 99))
def test_joining_the_parts_of_a_batch_gives_the_batch(counts, seed):
    c = made(counts, seed)
    assert_equal(Crystals.join(list(c)), c)


@given(sizes, st.integers(1, 12))
def test_splitting_keeps_order_and_the_limit_and_joins_again(counts, most):
    c = made(counts)
    parts = c.split(most)
    assert_equal(Crystals.join(parts), c)
    assert all(p.atoms <= most or len(p) == 1 for p in parts)
    assert all(len(a) and a.atoms + int(b.counts[0]) > most for a, b in zip(parts, parts[1:]))


@given(sizes, st.data())
def test_indices_choose_the_same_crystals_as_a_python_list(counts, data):
    c = made(counts)
    which = data.draw(st.lists(st.integers(-len(counts), len(counts) - 1), max_size=8))
    chosen = c[which]
    alone = list(c)
    assert len(chosen) == len(which)
    for got, i in zip(chosen, which, strict=True):
        assert_equal(got, alone[i])


@given(sizes, st.slices(6))
def test_slices_choose_what_python_slices_choose_and_offsets_start_at_zero(counts, which):
    c = made(counts)
    chosen = c[which]
    assert chosen.counts.tolist() == counts[which]
    assert chosen.offsets[0] == 0 and int(chosen.offsets[-1]) == chosen.atoms == sum(counts[which])
    torch.testing.assert_close(chosen.whole["energy"], c.whole["energy"][list(range(len(counts)))[which]])


@given(sizes, st.data())
def test_a_mask_chooses_the_true_crystals(counts, data):
    c = made(counts)
    mask = data.draw(st.lists(st.booleans(), min_size=len(counts), max_size=len(counts)))
    assert_equal(c[torch.tensor(mask)], c[[i for i, m in enumerate(mask) if m]])


def test_owner_and_counts_of_a_slice_are_its_own():
    c = made([2, 0, 3])
    assert c.owner.tolist() == [0, 0, 2, 2, 2]
    assert c[1:].owner.tolist() == [1, 1, 1] and c[2].owner.tolist() == [0, 0, 0]


def test_the_arguments_are_left_alone():
    c = made([2, 3])
    before = {k: v.clone() for k, v in fields(c).items()}
    c.repeated(2, 1, 1), c.shifted(torch.tensor([0.1, 0.2, 0.3])), c.rotated(-torch.eye(3)), c.wrapped(), c[[1, 0]], c.put(frac=c.frac + 1), Crystals.join([c, c])
    for name, value in fields(c).items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("index", [2, -3])
def test_an_index_outside_the_batch_is_an_index_error(index):
    with pytest.raises(IndexError, match=f"crystal {index} of a batch of 2"):
        made([1, 1])[index]
    with pytest.raises(IndexError, match=f"crystal {index} of a batch of 2"):
        made([1, 1])[[0, index]]


def test_fractions_and_short_masks_are_refused_as_indices():
    with pytest.raises(BadInput, match="whole numbers"):
        made([1, 1])[[0.5]]
    with pytest.raises(BadInput, match="1 entries for 2 crystals"):
        made([1, 1])[torch.tensor([True])]


# measures


def test_lengths_angles_and_volume_of_a_hexagonal_cell():
    c = Crystals.of([[0, 0, 0]], [12], [[3.0, 0, 0], [-1.5, 1.5 * math.sqrt(3), 0], [0, 0, 5.0]])
    torch.testing.assert_close(c.lengths[0], torch.tensor([3.0, 3.0, 5.0], dtype=F64))
    torch.testing.assert_close(c.angles[0], torch.tensor([90.0, 90.0, 120.0], dtype=F64))
    torch.testing.assert_close(c.volume[0], torch.tensor(45 * math.sqrt(3) / 2, dtype=F64))


def test_cart_is_frac_times_rows_of_the_cell():
    c = Crystals.of([[0.5, 0.25, 0.0]], [1], [[2.0, 0, 0], [1.0, 4.0, 0], [0, 0, 3.0]])
    assert c.cart.tolist() == [[1.25, 1.0, 0.0]]


def test_cart_is_differentiable_in_frac_and_cell():
    c = made([2, 1]).bare()
    frac, cell = c.frac.clone().requires_grad_(), c.cell.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda f, h: c.put(frac=f, cell=h).cart, (frac, cell))


def test_formula_counts_elements_by_symbol():
    c = Crystals.join([rock_salt(), rock_salt()[0].repeated(1, 1, 2)])
    assert c.formula() == "Cl4 Na4" and c.formula(-1) == "Cl8 Na8"


# the same crystals described differently


def rotation(seed: int, proper: bool = True) -> torch.Tensor:
    q, _ = torch.linalg.qr(torch.randn(3, 3, dtype=F64, generator=torch.Generator().manual_seed(seed)))
    return q * torch.linalg.det(q).sign() * (1 if proper else -1)


@pytest.mark.parametrize("proper", [True, False])
@given(seed=st.integers(0, 200))
@settings(max_examples=20)
def test_rotating_turns_positions_forces_and_stress_together(proper, seed):
    c, r = made([2, 3]), rotation(seed, proper)
    turned = c.rotated(r)
    torch.testing.assert_close(turned.cart, c.cart @ r.T)
    torch.testing.assert_close(turned.site["forces"], c.site["forces"] @ r.T)
    torch.testing.assert_close(turned.whole["stress"], torch.einsum("ia,nab,jb->nij", r, c.whole["stress"], r))
    torch.testing.assert_close(turned.site["born_charges"], torch.einsum("ia,nab,jb->nij", r, c.site["born_charges"], r))
    torch.testing.assert_close(turned.whole["axis"], (1 if proper else -1) * c.whole["axis"] @ r.T)  # a pseudo vector
    assert torch.equal(turned.whole["energy"], c.whole["energy"]) and bool((torch.linalg.det(turned.cell) > 0).all())
    back = turned.rotated(r.T)
    assert_equal(back, c, atol=1e-12)


def test_a_shear_is_refused_as_a_rotation():
    with pytest.raises(BadInput, match="not an orthogonal"):
        rock_salt().rotated(torch.tensor([[1.0, 0.1, 0], [0, 1, 0], [0, 0, 1]]))


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
@settings(max_examples=15)
def test_energies_of_supercells_add_and_forces_repeat(na, nb, nc):
    c = made([2, 1])
    big, n = c.repeated(na, nb, nc), na * nb * nc
    torch.testing.assert_close(big.whole["energy"], n * c.whole["energy"])
    assert torch.equal(big.whole["energy_per_atom"], c.whole["energy_per_atom"]) and torch.equal(big.whole["stress"], c.whole["stress"])
    torch.testing.assert_close(big.volume, n * c.volume)
    assert big.counts.tolist() == [2 * n, n]
    torch.testing.assert_close(big.site["forces"], c.site["forces"].repeat_interleave(n, 0))
    # every copy sits on an image of its atom
    step = (big.cart - c.cart.repeat_interleave(n, 0))[:, None] @ torch.linalg.inv(c.cell)[big.owner]
    torch.testing.assert_close(step, step.round(), atol=1e-9, rtol=0)
    assert len(torch.unique((big[0].cart * 1e6).round(), dim=0)) == 2 * n


def test_a_supercell_needs_at_least_one_copy_and_a_periodic_axis():
    with pytest.raises(BadInput, match="at least 1"):
        rock_salt().repeated(1, 0, 1)
    slab = Crystals.of([[0, 0, 0]], [6], 3 * torch.eye(3), periodic=[True, True, False])
    assert slab.repeated(2, 2, 1).atoms == 4
    with pytest.raises(BadInput, match="not periodic"):
        slab.repeated(1, 1, 2)


@given(st.lists(st.floats(-3, 3), min_size=3, max_size=3))
def test_shifting_wraps_along_periodic_axes_only(by):
    c = made([3, 2], periodic=[True, False, True])
    moved = c.shifted(torch.tensor(by, dtype=F64))
    step = moved.frac - c.frac - torch.tensor(by, dtype=F64)
    torch.testing.assert_close(step, torch.stack([step[:, 0].round(), torch.zeros(5, dtype=F64), step[:, 2].round()], 1), atol=1e-12, rtol=0)
    inside = moved.frac[:, [0, 2]]
    assert bool(((inside >= 0) & (inside < 1)).all())


def test_wrapping_never_gives_one():
    c = Crystals.of([[-1e-17, 1.0, 0.3]], [1], torch.eye(3))
    assert c.wrapped().frac.tolist() == [[0.0, 0.0, 0.3]]
    assert c.shifted(torch.zeros(3, dtype=F64)).frac.tolist() == [[0.0, 0.0, 0.3]]
    assert c.recelled(torch.eye(3)).frac.tolist() == [[0.0, 0.0, 0.3]]


def test_other_lattice_vectors_describe_the_same_lattice():
    c, u = made([2, 2]), torch.tensor([[1, 1, 0], [0, 1, -2], [0, 0, 1]])
    other = c.recelled(u)
    torch.testing.assert_close(other.volume, c.volume)
    step = (other.cart - c.cart)[:, None] @ torch.linalg.inv(c.cell)[c.owner]
    torch.testing.assert_close(step, step.round(), atol=1e-9, rtol=0)
    assert torch.equal(other.site["forces"], c.site["forces"])


def test_axes_that_repeat_are_not_mixed_with_axes_that_do_not():
    slab = made([2], periodic=[True, True, False])
    assert slab.recelled(torch.tensor([[1, 1, 0], [0, 1, 0], [0, 0, 1]])).periodic.tolist() == [[True, True, False]]
    with pytest.raises(BadInput, match="mixes a periodic axis"):
        slab.recelled(torch.tensor([[1, 0, 1], [0, 1, 0], [0, 0, 1]]))
    with pytest.raises(BadInput, match="determinant 1"):
        slab.recelled(torch.tensor([[2, 0, 0], [0, 1, 0], [0, 0, 1]]))


def test_shuffling_permutes_atoms_and_their_fields_within_crystals():
    c = made([2, 3])
    order = torch.tensor([1, 0, 4, 2, 3])
    mixed = c.shuffled(order)
    assert torch.equal(mixed.site["forces"], c.site["forces"][order]) and torch.equal(mixed.species, c.species[order])
    for wrong in ([0, 2, 1, 3, 4], [0, 0, 2, 3, 4]):
        with pytest.raises(BadInput, match="not a permutation"):
            c.shuffled(torch.tensor(wrong))


# batches of mixed kinds


def test_a_crystal_a_slab_and_a_molecule_share_a_batch():
    slab = Crystals.of([[0, 0, 0.5]], [6], [[2.46, 0, 0], [-1.23, 2.13, 0], [0, 0, 20]], periodic=[True, True, False])
    molecule = Crystals.of([[0, 0, 0], [0, 0, 0.74]], [1, 1], torch.eye(3), periodic=[False] * 3)
    c = Crystals.join([rock_salt(), slab, molecule])
    assert c.periodic.tolist() == [[True] * 3, [True, True, False], [False] * 3]
    assert_equal(c[2], molecule)
    far = c.shifted(torch.tensor([1.5, 1.5, 1.5], dtype=F64))
    torch.testing.assert_close(far[2].frac, molecule.frac + 1.5)
    assert float(far[1].frac[0, 2]) == 2.0 and float(far[1].frac[0, 0]) == 0.5


# refusals


@pytest.mark.parametrize(("change", "words"), [
    ({"cell": [[1, 0, 0], [0, 1, 0], [1, 1, 0]]}, "crystal 0: the cell has no volume"),
    ({"cell": [[1, 0, 0], [0, 0, 1], [0, 1, 0]]}, "left-handed; swap two axes or negate"),
    ({"cell": [[math.nan, 0, 0], [0, 1, 0], [0, 0, 1]]}, "the cell holds a number that is not finite"),
    ({"frac": [[0, 0, 0], [0, math.inf, 0]]}, "crystal 0, atom 1: a coordinate is not finite"),
    ({"species": [1, 119]}, r"crystal 0, atom 1: an atomic number is outside 0\.\.118"),
    ({"species": [1, -1]}, "an atomic number is outside"),
    ({"counts": [1]}, "end at 1"),
    ({"counts": [3]}, "end at 3"),
    ({"frac": [[0, 0, 0]]}, "shapes disagree"),
    ({"counts": [1, 1]}, "shapes disagree"),
    ({"site": {"forces": torch.zeros(3, 3)}}, "site field 'forces' has 3 rows, expected 2"),
    ({"site": {"forces": torch.zeros(2)}}, "rank 1 wants 1 trailing axes of 3"),
    ({"whole": {"energy": 1.0}}, "whole field 'energy' has no rows, expected 1"),
    ({"whole": {"stress": torch.zeros(1, 6)}}, "rank 2 wants 2 trailing axes of 3"),
    ({"whole": {"colour": [1.0]}}, "'colour' has no Quantity"),
    ({"site": {"energy": [1.0, 2.0]}, "whole": {"energy": [3.0]}}, r"both per site and per crystal: \['energy'\]"),
])
def test_what_cannot_be_a_structure_is_refused_with_a_sentence(change, words):
    good = {"frac": [[0, 0, 0], [0.5, 0.5, 0.5]], "species": [1, 1], "cell": torch.eye(3)}
    assert len(Crystals.of(**good)) == 1
    with pytest.raises(BadInput, match=words):
        Crystals.of(**{**good, **change})


def test_the_first_bad_crystal_of_a_batch_is_named():
    cell = torch.stack([torch.eye(3), torch.eye(3), -torch.eye(3)])
    with pytest.raises(BadInput, match="crystal 2: the cell is left-handed"):
        Crystals.of(torch.zeros(3, 3), [1, 1, 1], cell, [1, 1, 1])


def test_numbers_at_rest_are_float64_also_from_python_lists():
    c = Crystals.of([[0, 0, 0]], [1], [[1, 0, 0], [0, 1, 0], [0, 0, 1]], whole={"energy": [-1.1]}, site={"forces": [[0.1, 0.0, 0.0]]})
    assert {t.dtype for t in (c.frac, c.cell, c.whole["energy"], c.site["forces"])} == {F64}
    assert float(c.whole["energy"][0]) == -1.1


def test_joining_refuses_unequal_fields_and_conflicting_quantities():
    with pytest.raises(BadInput, match="part 1 has the fields .*use bare"):
        Crystals.join([made([1]), made([1]).bare()])
    a = rock_salt().with_fields(whole={"spin": torch.zeros(1, 3)}, quantities={"spin": Quantity(1, 1)})
    b = rock_salt().with_fields(whole={"spin": torch.zeros(1, 3)}, quantities={"spin": Quantity(1, -1)})
    with pytest.raises(BadInput, match="part 0 gives the field 'spin'"):
        Crystals.join([a, b])
    with pytest.raises(BadInput, match="nothing to join"):
        Crystals.join([])


def test_fields_are_found_put_and_missed_by_name():
    c = made([2, 1])
    assert torch.equal(c.get("forces"), c.site["forces"]) and c.rows("forces").tolist() == [0, 0, 1] and c.rows("energy").tolist() == [0, 1]
    assert float(c.put(energy=c.whole["energy"] + 1).whole["energy"][0]) == pytest.approx(float(c.whole["energy"][0]) + 1)
    with pytest.raises(Missing, match="did you mean forces"):
        c.put(force=c.site["forces"])
    with pytest.raises(Missing, match="did you mean stress"):
        c.get("stres")
    with pytest.raises(BadInput, match="rows, expected"):
        c.put(forces=torch.zeros(1, 3))


def test_a_change_of_dtype_leaves_whole_numbers_alone():
    c = made([2]).to(torch.float32)
    assert c.frac.dtype == c.whole["stress"].dtype == torch.float32 and c.species.dtype == torch.long and c.periodic.dtype == torch.bool


def test_a_batch_shares_no_memory_with_the_arrays_it_was_made_from():
    frac, cell = np.zeros((1, 3)), 3.0 * np.eye(3)
    one = Crystals.of(frac, [26], cell)
    frac += 0.5
    cell *= 2
    assert one.frac.tolist() == [[0.0, 0.0, 0.0]] and float(one.volume[0]) == pytest.approx(27.0)
    cell.flags.writeable = False
    assert float(Crystals.of(frac, [26], cell).volume[0]) == pytest.approx(216.0)
