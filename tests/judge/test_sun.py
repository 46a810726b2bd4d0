"""Unique and novel: every rung answers as StructureMatcher, planted truths, gated uniqueness, phases known by gene only."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from pymatgen.core.structure_matcher import StructureMatcher

from matterloop.base.errors import BadInput
from matterloop.crystal.formats import to_pymatgen
from matterloop.crystal.state import Crystals
from matterloop.crystal.wyckoff import build
from matterloop.judge.sun import Reference, Sun, compare, describe, rigid

spec = importlib.util.spec_from_file_location("novelty", Path(__file__).parents[2] / "benchmarks" / "novelty.py")
novelty = importlib.util.module_from_spec(spec)
spec.loader.exec_module(novelty)

FCC = [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]]
SALT = Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17], FCC)
KCL = Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5]], [19, 17], FCC)
BLENDE = Crystals.of([[0, 0, 0], [0.25, 0.25, 0.25]], [11, 17], FCC)
PYRITE = build(205, [5.42], [("a", "Fe"), ("c", "S", [0.385])])
LIKE_DRY_ICE = build(205, [5.42], [("a", "Fe"), ("c", "S", [0.118])])  # the same gene, S far from where pyrite has it
RUTILE = build(136, [4.6, 2.96], [("a", "Ti"), ("f", "O", [0.305])])
QUARTZ = build(152, [4.91, 5.40], [("a", "Si", [0.47]), ("c", "O", [0.41, 0.27, 0.12])])
PEROVSKITE = build(221, [3.9], [("a", "Ti"), ("b", "Sr"), ("d", "O")])
BASES = (SALT, BLENDE, PYRITE, LIKE_DRY_ICE, RUTILE, QUARTZ, PEROVSKITE)


def matcher(a, b):
    return bool(StructureMatcher(ltol=0.2, stol=0.3, angle_tol=5, primitive_cell=True, scale=True).fit(*to_pymatgen(Crystals.join([a.bare(), b.bare()]))))


def answered(a, b):
    return compare(*describe(Crystals.join([a.bare(), b.bare()]), ["a", "b"]))


def keyed(reasons):
    return {r.check: r for r in reasons}


# the ladder


@pytest.mark.parametrize("kind", novelty.MADE)
def test_the_ladder_answers_as_structure_matcher(kind):
    rng = np.random.default_rng(sorted(novelty.MADE).index(kind))
    for base in BASES:
        other = novelty.MADE[kind](base, rng)
        for a, b in ((base, other), (other, base)):
            assert answered(a, b).same == matcher(a, b), (kind, base.formula())


@pytest.mark.data
def test_the_ladder_answers_as_structure_matcher_on_real_pairs(data_dir, monkeypatch):
    """A small share of benchmarks/novelty.py: polymorphs and duplicates of one formula, and real crystals changed in every way."""
    monkeypatch.setattr(novelty, "TABLES", {"pilot": ("mp20_pilot_3x1000/train.csv.gz", 1000), "wbm": ("wbm_10k/val.csv.gz", 2500), "carbon24": ("cdvae_carbon24/val.csv.gz", 60)})
    crystals, names = novelty.real_crystals(data_dir, lemat=False)
    rng = np.random.default_rng(1)
    pairs = [(crystals[i], crystals[j]) for i, j in novelty.found_pairs(crystals, names, 120, rng)]
    pairs += [(a, b) for _, a, b in novelty.made_pairs(crystals, 6, rng)]
    wanted = [matcher(a, b) for a, b in pairs]
    answers = [answered(a, b) for a, b in pairs]
    assert [x.same for x in answers] == wanted
    assert sum(wanted) > 40 and len(wanted) - sum(wanted) > 40
    assert {x.rung for x in answers} == {"sites", "gene", "fingerprint", "matcher"}


@pytest.mark.parametrize("a, b, same, rung", [
    (SALT, KCL, False, "formula"),
    (SALT, SALT.repeated(2, 1, 1), True, "gene"),
    (SALT, SALT.put(cell=SALT.cell * 1.3), True, "gene"),
    (RUTILE, RUTILE.repeated(1, 1, 2), True, "fingerprint"),
    (RUTILE, build(136, [4.6, 2.96], [("a", "Ti"), ("f", "O", [0.25])]), True, "matcher"),
    (SALT, BLENDE, False, "matcher"),
    (PYRITE, LIKE_DRY_ICE, False, "matcher"),
    (build(225, [4.0], [("a", "Al")]), build(227, [5.4], [("a", "Al")]), False, "sites"),
])
def test_which_rung_decides(a, b, same, rung):
    assert (answered(a, b).same, answered(a, b).rung) == (same, rung)
    assert matcher(a, b) is same


def test_both_hands_of_a_crystal_are_the_same():
    left = novelty.mirrored(QUARTZ)
    assert describe(left, ["l"])[0].symmetry.number == 154 and describe(QUARTZ, ["r"])[0].symmetry.number == 152
    assert answered(QUARTZ, left).same and matcher(QUARTZ, left)


def test_rigid_means_cubic_without_free_parameters():
    genes = [d.gene for d in describe(Crystals.join([x.bare() for x in (SALT, PEROVSKITE, PYRITE, RUTILE)]), list("abcd"))]
    assert [rigid(g) for g in genes] == [True, True, False, False]
    tetragonal = build(123, [4.0, 4.4], [("a", "Fe"), ("d", "Pt")])
    assert not rigid(describe(tetragonal, ["t"])[0].gene)


def test_an_equal_gene_decides_nothing_where_the_reduction_finds_a_smaller_cell():
    """A chain that alternates by 0.1 Å keeps its gene, but StructureMatcher works on the even chain: the yes of gene and fingerprint must wait for it."""
    even = build(221, [3.0], [("a", "Fe")])
    waved = novelty.waved(even, 0.05, np.random.default_rng(3))
    one = describe(waved, ["w"])[0]
    assert one.gene.atoms == 2 and one.prepared.sites == 1 and not one.whole
    assert answered(waved, waved.shifted(torch.tensor([[0.1, 0.2, 0.3]]))).rung == "matcher"
    assert answered(even, waved).same and matcher(even, waved)


# uniqueness


def test_uniqueness_is_greedy_and_gives_the_groups_of_structure_matcher():
    rng = np.random.default_rng(0)
    batch = Crystals.join([x.bare() for base in (RUTILE, SALT) for x in (base, *(novelty.rattled(base, s, rng) for s in (0.05, 0.2, 0.3, 0.4, 0.5, 0.6, 0.3, 0.4)))])
    structures = to_pymatgen(batch)
    place = {id(s): i for i, s in enumerate(structures)}
    firsts = sorted(min(place[id(s)] for s in group) for group in StructureMatcher().group_structures(structures))
    reasons = [keyed(r)["unique"] for r in Sun().judge(batch, [str(i) for i in range(len(batch))])]
    assert [i for i, r in enumerate(reasons) if r.passed] == firsts
    assert 2 < len(firsts) < len(batch)


def test_the_first_told_is_kept_and_later_ones_name_it():
    batch = Crystals.join([SALT, KCL, SALT.repeated(1, 2, 1), SALT.put(cell=SALT.cell * 1.01)])
    reasons = [r[0] for r in Sun().judge(batch, ["first", "other", "again", "larger"])]
    assert [r.passed for r in reasons] == [True, True, False, False]
    assert [r.value for r in reasons] == [0, 0, 1, 1] and "repeats first (by gene)" in reasons[2].note


def test_one_that_failed_before_does_not_stand_in_the_way():
    described = describe(Crystals.join([SALT, SALT, SALT]), ["failed", "good", "late"])
    assert [r.passed for r in Sun().uniques(described, [False, True, True])] == [True, True, False]
    assert "good" in Sun().uniques(described, [False, True, True])[2].note
    assert [r.passed for r in Sun().uniques(described, [False, True, True], fixed=1)] == [True, False]


def test_what_cannot_be_compared_is_not_unique_and_harms_nobody():
    overlap = Crystals.of([[0, 0, 0], [0.01, 0, 0]], [11, 17], 3.4 * np.eye(3))
    reasons = [r[0] for r in Sun().judge(Crystals.join([overlap, SALT, overlap, SALT]), list("abcd"))]
    assert [r.passed for r in reasons] == [True, True, False, False]
    assert reasons[2].value != reasons[2].value and "apart" in reasons[2].note
    assert "repeats b" in reasons[3].note


def test_nothing_is_reduced_or_analysed_while_formulas_differ():
    described = describe(Crystals.join([SALT, KCL, RUTILE.bare()]), list("abc"))
    Sun().uniques(described)
    assert all(not {"structure", "given"} & d.prepared.__dict__.keys() and "symmetry" not in d.__dict__ for d in described)


# novelty: planted truths


def reference_of(*crystals, hidden=()):
    """A reference that holds the geometry of `crystals` and of `hidden` the genes alone."""
    described = describe(Crystals.join([x.bare() for x in (*crystals, *hidden)]), [f"known-{i}" for i in range(len(crystals) + len(hidden))])
    genes = {}
    for one in described:
        genes.setdefault(one.gene_key, []).append(one.key)
    at_hand = described[: len(crystals)]
    return Reference({k: tuple(v) for k, v in genes.items()}, lambda c: [d for d in at_hand if d.prepared.composition == c], complete=not hidden, name="the test")


def novel(crystal, reference, **options):
    return Sun().novel(describe(crystal.bare(), ["new"])[0], reference, **options)


@pytest.mark.parametrize("base", [SALT, PYRITE, RUTILE, QUARTZ])
def test_a_known_phase_told_anew_is_not_novel(base):
    told = novelty.retold(base.repeated(1, 1, 2), np.random.default_rng(5))
    reason = novel(told, reference_of(base))
    assert not reason.passed and reason.value == 1 and "known: known-0 (by " in reason.note
    assert novel(novelty.rattled(told, 0.02, np.random.default_rng(6)), reference_of(base)).passed is False


def test_a_new_composition_is_novel():
    reason = novel(KCL, reference_of(SALT, PYRITE))
    assert reason.passed and reason.value == 0 and reason.note == "not in the test"


def test_a_polymorph_with_another_gene_is_novel():
    assert novel(BLENDE, reference_of(SALT)).passed
    assert novel(BLENDE, reference_of(PYRITE, hidden=(SALT,))).passed


def test_a_polymorph_of_one_gene_is_novel_only_if_the_geometry_is_at_hand():
    assert describe(PYRITE, ["a"])[0].gene_key == describe(LIKE_DRY_ICE, ["b"])[0].gene_key and not matcher(PYRITE, LIKE_DRY_ICE)
    assert novel(LIKE_DRY_ICE, reference_of(PYRITE)).passed
    blind = novel(LIKE_DRY_ICE, reference_of(SALT, hidden=(PYRITE,)))
    assert not blind.passed and "by gene only" in blind.note
    both = novel(LIKE_DRY_ICE, reference_of(PYRITE, hidden=(LIKE_DRY_ICE,)))  # one compared and different, another of that gene unseen
    assert not both.passed and "known-1 (by gene only)" in both.note


def test_a_relaxed_crystal_a_little_off_its_symmetry_is_still_known_by_gene():
    noisy = novelty.rattled(PYRITE, 0.015, np.random.default_rng(2))
    assert describe(noisy, ["n"])[0].gene_key != describe(PYRITE, ["p"])[0].gene_key
    reason = novel(noisy, reference_of(SALT, hidden=(PYRITE,)))
    assert not reason.passed and "symmetry within 0.1 Å" in reason.note


def test_without_all_geometries_the_answer_says_so():
    reason = novel(BLENDE, reference_of(KCL, hidden=(SALT,)))
    assert reason.passed and "compared by gene only" in reason.note


def test_a_known_phase_passes_where_novelty_is_not_asked_and_is_named():
    reason = novel(SALT, reference_of(SALT), required=False)
    assert reason.passed and reason.value == 1 and "known: known-0" in reason.note


def test_a_crystal_that_cannot_be_compared_is_not_called_novel():
    overlap = Crystals.of([[0, 0, 0], [0.01, 0, 0]], [11, 17], 3.4 * np.eye(3))
    reason = novel(overlap, reference_of(SALT))
    assert not reason.passed and reason.value != reason.value


def test_a_symmetry_tolerance_must_be_positive():
    with pytest.raises(BadInput, match="positive"):
        Sun(symprec=0.0)
