"""Batches cut from graphs searched once are those of a fresh search."""

import pytest
import torch

from matterloop.base.errors import BadInput
from matterloop.bench import examples as ex
from matterloop.crystal.alike import Alike
from matterloop.crystal.graph import Graph, Nearest, Within
from matterloop.crystal.state import Crystals
from matterloop.learn import data
from matterloop.learn.data import Batches, Samples

LABELLED = ex.every().with_fields(whole={"band_gap": torch.arange(8.0)})


def edges(graph: Graph) -> set:
    return {(int(s), int(r), *t) for s, r, t in zip(graph.senders, graph.receivers, graph.shift.int().tolist(), strict=True)}


@pytest.mark.parametrize("builder", [Within(4.0), Alike(Within(4.0))])
def test_a_batch_has_the_edges_of_a_fresh_search(builder):
    samples = Samples.of(LABELLED, builder)
    batch = samples.batch([5, 1, 1, 7])
    fresh = builder(LABELLED[[5, 1, 1, 7]])
    assert edges(batch.graph) == edges(fresh) and batch.crystals.whole["band_gap"].tolist() == [5.0, 1.0, 1.0, 7.0]
    assert (batch.graph.alike is None) == (fresh.alike is None) and (fresh.alike is None or torch.equal(batch.graph.alike, fresh.alike))
    for name, value in fresh.edge.items():
        assert batch.graph.edge[name].double().sum() == pytest.approx(float(value.double().sum()), rel=1e-12)


def test_searching_in_parts_changes_nothing(monkeypatch):
    whole = Samples.of(LABELLED, Within(4.0))
    monkeypatch.setattr(data, "SEARCHED_TOGETHER", 9)
    told = []
    parts = Samples.of(LABELLED, Within(4.0), on_progress=lambda done, of: told.append((done, of)))
    assert edges(whole.graph) == edges(parts.graph) and told[-1] == (8, 8) and len(told) > 3


def test_an_error_names_the_crystal_in_the_whole(monkeypatch):
    monkeypatch.setattr(data, "SEARCHED_TOGETHER", 9)
    lonely = Crystals.join([ex.rock_salt(), ex.rock_salt(), ex.one_atom(side=30.0)])
    with pytest.raises(BadInput, match="crystal 2: an atom has 0 neighbours"):
        Samples.of(lonely, Nearest(12, 8.0))


def test_an_epoch_holds_every_row_once_and_can_begin_later():
    batches = Batches(Samples(LABELLED), torch.tensor([0, 2, 3, 5, 7]), size=2, seed=3)
    first, again, second = (torch.cat([b.rows for b in batches.epoch(k)]).tolist() for k in (0, 0, 1))
    assert sorted(first) == [0, 2, 3, 5, 7] and first == again and first != second
    assert torch.cat([b.rows for b in batches.epoch(0, first=1)]).tolist() == first[2:]
    assert len(batches) == 3 and [len(b) for b in Batches(Samples(LABELLED), torch.arange(5), 2, drop_last=True).epoch(0)] == [2, 2]


def test_without_a_seed_the_order_is_kept():
    assert [b.rows.tolist() for b in Batches(Samples(LABELLED), torch.tensor([4, 1, 2]), 2, seed=None).epoch(7)] == [[4, 1], [2]]


@pytest.mark.parametrize("rows, size", [([], 2), ([1], 0)])
def test_no_rows_and_no_size_are_refused(rows, size):
    with pytest.raises(BadInput, match="at least 1"):
        Batches(Samples(LABELLED), torch.tensor(rows), size)
