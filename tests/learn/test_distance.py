"""Near is near: percentiles against neighbours found by brute force, and structures that were never seen."""

import numpy as np
import pytest

from matterloop.base.errors import BadInput, Missing
from matterloop.crystal.compositions import Compositions
from matterloop.crystal.state import Crystals
from matterloop.learn.distance import Reference, counts_of, describe, word

RNG = np.random.default_rng(3)
BLOCKS = [RNG.normal(size=(120, 8)) * np.array([1, 10, 100, 1, 1, 1, 1, 1]), RNG.normal(size=(120, 3))]


def test_distances_are_those_of_brute_force():
    ref = Reference.of(BLOCKS, "test", neighbours=2)
    scaled = np.concatenate([(b - b.mean(0)) / b.std(0) / np.sqrt(b.shape[1]) for b in BLOCKS], 1)
    new = [b[:4] + 0.1 * b.std(0) for b in BLOCKS]
    point = np.concatenate([(n - b.mean(0)) / b.std(0) / np.sqrt(b.shape[1]) for n, b in zip(new, BLOCKS, strict=True)], 1)
    every = np.linalg.norm(point[:, None] - scaled, axis=-1)
    found = ref.of_blocks(new)
    assert found.distance == pytest.approx(np.sort(every, 1)[:, :2].mean(1), rel=1e-5)
    assert (found.nearest == np.argsort(every, 1)[:, :2]).all()
    between = np.linalg.norm(scaled[:, None] - scaled, axis=-1) + np.diag([np.inf] * 120)
    own = np.sort(np.sort(between, 1)[:, :2].mean(1))
    assert ref.own == pytest.approx(own, rel=1e-5)
    assert found.percentile == pytest.approx([100 * (own < d).mean() for d in found.distance], abs=1e-9)


def test_a_row_far_from_all_is_unknown_and_a_copy_is_known():
    ref = Reference.of(BLOCKS)
    copy, far = ref.of_blocks([b[:1] for b in BLOCKS]), ref.of_blocks([b[:1] + 30 * b.std(0) for b in BLOCKS])
    assert copy.nearest[0, 0] == 0 and copy.words == ["known"] and far.words == ["unknown"] and far.percentile[0] == 100
    assert [word(p) for p in (90, 90.1, 99, 99.1)] == ["known", "edge", "edge", "unknown"]


def test_a_column_that_never_varied_is_news_when_it_does():
    blocks = [np.concatenate([BLOCKS[0], np.zeros((120, 1))], 1)]
    ref = Reference.of(blocks)
    row = blocks[0][:1].copy()
    row[0, -1] = 14.0  # the first atom with f electrons
    assert ref.of_blocks([row]).words == ["unknown"] and ref.of_blocks([blocks[0][:1]]).words == ["known"]


def test_a_structure_that_cannot_be_described_is_judged_by_its_composition():
    row = [BLOCKS[0][:1], np.full((1, 3), np.nan)]
    found = Reference.of(BLOCKS).of_blocks(row)
    assert np.isfinite(found.distance).all()


def test_it_survives_a_file():
    ref = Reference.of(BLOCKS)
    again = Reference.of_file(ref.to_tensors(), ref.to_words())
    new = [b[:5] + 0.3 for b in BLOCKS]
    assert (again.of_blocks(new).distance == ref.of_blocks(new).distance).all() and again.kind == ref.kind
    with pytest.raises(BadInput, match="has 8 columns, the training rows had 11"):
        ref.of_blocks(BLOCKS[:1])
    with pytest.raises(BadInput, match="at least 3"):
        Reference.of([b[:2] for b in BLOCKS])


def test_an_element_that_was_never_seen_is_as_far_as_can_be():
    train = Compositions.of([f"{a}{n}O" for a in ("Li", "Na", "K", "Rb") for n in (1, 2, 3)])
    ref = Reference.of([np.ones((12, 2)) + np.arange(12)[:, None]], "features").with_elements(train)
    for one in (ref, Reference.of_file(ref.to_tensors(), ref.to_words())):
        found = one.nearness(Compositions.of(["LiO", "CsO"]), [np.full((2, 2), 3.0)])
        assert found.words == ["known", "unknown"] and found.percentile[1] == 100 and found.distance[1] >= ref.own[-1] > found.distance[0]


def test_oxides_are_known_to_oxides_and_an_alloy_is_not():
    oxides = Compositions.of([f"{a}{n}O{m}" for a in ("Li", "Na", "K", "Mg", "Ca", "Sr", "Ti", "Zr", "Fe", "Ni") for n, m in ((1, 1), (2, 1), (2, 3), (1, 2))])
    ref = Reference.train(oxides)
    found = ref.nearness(Compositions.of(["Rb2O", "Fe3O4", "U3Pt"]))
    assert found.words == ["unknown", "known", "unknown"]  # rubidium was never seen
    assert found.percentile[2] == 100 > found.percentile[1] and found.distance[2] > found.distance[1]


def test_another_coordination_is_farther_than_another_size():
    fcc = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    salt = lambda a, b, length: Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5]], [a, b], length * fcc)
    train = Crystals.join([salt(a, b, 4.5 + 0.05 * a / 10 + 0.3 * (b > 10)) for a in (3, 11, 12, 19, 20) for b in (8, 9, 16, 17)])
    ref = Reference.train(train)
    assert ref.kind == "magpie+crystal_nn"
    blende = Crystals.of([[0, 0, 0], [0.25, 0.25, 0.25]], [12, 8], 4.6 * fcc)
    found = ref.nearness(Crystals.join([salt(12, 8, 4.7), blende]))
    assert found.distance[1] > found.distance[0] and found.words[1] == "unknown"
    assert (counts_of(train) == counts_of(Compositions.of_crystals(train))).all()
    with pytest.raises(Missing):
        describe(train, "soap")
