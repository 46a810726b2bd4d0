"""What the contract cannot see of the methods of pre-training: their losses by hand, what is hidden, and what goes over to a predictor."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from matterloop.base.errors import BadInput
from matterloop.base.registry import load
from matterloop.base.seeds import torch_stream
from matterloop.bench import examples as ex
from matterloop.bench.comparing import Part
from matterloop.bench.contract import checks, run_check
from matterloop.crystal.graph import Nearest
from matterloop.layers.rebuilding import PairClasses, connections
from matterloop.learn.data import Batch
from matterloop.learn.pretrained import Pretrained
from matterloop.learn.targets import Features
from matterloop.predict.cgcnn import CARD as CGCNN
from matterloop.predict.crysgnn import contrast
from matterloop.predict.crysxpp import ranking
from matterloop.predict.pretrain_gnn import CARD, HIDDEN, PretrainGNN
from matterloop.predict.schnet import SchNet
from matterloop.represent.element_bins import WIDTH, bin_names, element_bins


def test_rock_salt_has_six_edges_to_the_other_atom_and_twelve_to_its_own_kind():
    primitive = ex.skewed()
    found = connections(primitive, Nearest(12, 8.0, fewer=True)(primitive))
    assert found.tolist() == [12, 6, 6, 12]


def test_pairs_come_in_the_order_of_their_counts():
    crystals = ex.Crystals.join([ex.rock_salt(), ex.low_symmetry()])
    graph = Nearest(12, 8.0, fewer=True)(crystals)
    found = connections(crystals, graph)
    plain, place = torch.zeros(8 * 8 + 5 * 5, dtype=torch.long), lambda i, j: i * 8 + j if i < 8 else 64 + (i - 8) * 5 + j - 8
    for i, j in zip(graph.receivers.tolist(), graph.senders.tolist(), strict=True):
        plain[place(i, j)] += 1
    assert torch.equal(found, plain)
    reader, x = PairClasses(torch_stream(0, "t"), 4, 3), torch.randn(13, 4, generator=torch_stream(1, "t"))
    scores = reader(x, crystals)
    assert scores.shape == (89, 3)
    form = torch.stack([x[9] @ reader.weight[k] @ x[12] for k in range(3)])
    assert torch.allclose(scores[place(9, 12)], reader.read(form), atol=1e-5)


def test_the_contrast_is_the_mean_over_pairs_of_equal_label():
    rows, label = torch.randn(6, 3, generator=torch_stream(0, "t"), dtype=torch.float64), [0, 0, 1, 1, 1, 2]
    unit = rows / rows.norm(dim=1, keepdim=True)
    off = []
    for a in range(6):
        for p in range(6):
            if p != a and label[p] == label[a]:
                true = math.exp(float(unit[a] @ unit[p]) / 0.5)
                others = sum(math.exp(float(unit[a] @ unit[n]) / 0.5) for n in range(6) if label[n] != label[a])
                off.append(-math.log(true / (true + others)))
    assert float(contrast(rows, torch.tensor(label), 0.5)) == pytest.approx(sum(off) / len(off), rel=1e-12)
    assert float(contrast(rows, torch.arange(6), 0.5)) == 0
    assert float(contrast(rows, torch.zeros(6, dtype=torch.long), 0.5)) == 0


class Spy(nn.Module):
    """Keeps what it was shown."""

    def __init__(self):
        super().__init__()
        self.inner = SchNet(width=8, blocks=1, radius=4.5, spacing=0.3)
        self.width, self.graph = 8, self.inner.graph

    def forward(self, crystals, graph):
        self.shown = crystals, graph
        return Features(self.inner(crystals, graph).site)


def test_at_least_one_atom_of_each_crystal_is_masked_and_hidden_edges_are_hidden_from_both_ends():
    crystals, spy = ex.periodic(), Spy()
    task, graph = PretrainGNN().task(spy, crystals, 0), spy.graph(crystals)
    task.loss(Batch(crystals, graph, torch.arange(len(crystals))), torch_stream(0, "t"))
    shown, seen = spy.shown
    masked = shown.species == 0
    assert all(bool(masked[a:b].any()) for a, b in zip(crystals.offsets.tolist(), crystals.offsets[1:].tolist(), strict=False))
    assert torch.equal(shown.species[~masked], crystals.species[~masked])
    hidden = seen.edge["length"] == HIDDEN
    assert 0 < int(hidden.sum()) < len(hidden)
    pairs = {(int(graph.alike[s]), int(graph.alike[r])): bool(h) for s, r, h in zip(graph.senders, graph.receivers, hidden, strict=True)}
    assert all(pairs[(b, a)] == h for (a, b), h in pairs.items())
    assert not bool((graph.edge["length"] == HIDDEN).any())


CONTEXT = Part(replace(CARD, small={"what": "context"}), PretrainGNN)


@pytest.mark.parametrize("check", [pytest.param(c, id=c.name) for c in checks(CONTEXT) if c.name not in ("reference", "card", "presets", "labels_read")])
def test_context_prediction_keeps_the_contract_too(check):
    assert run_check(CONTEXT, check) == (True, "")


@pytest.mark.parametrize("method", ["pretrain_gnn", "pretrain_gnn:context", "crysxpp", "crysgnn"])
def test_an_encoder_that_sees_no_atoms_is_refused(method):
    crystals, encoder = ex.periodic(), load("wren", "encoder")
    task = load(method, "pretraining", **({"classes": 0} if method == "pretrain_gnn" else {})).task(encoder, crystals, 0)
    with pytest.raises(BadInput, match="does not tell atoms apart"):
        task.loss(Batch(crystals, encoder.graph(crystals), torch.arange(len(crystals))), torch_stream(0, "t"))


def test_columns_of_elements_have_names():
    names = bin_names()
    assert len(names) == len(set(names)) == WIDTH
    sodium = [names[i] for i in element_bins()[11].nonzero()[0]]
    assert sodium[:2] == ["group 1", "period 3"] and "s block" in sodium and "1 valence electrons" in sodium


def test_a_predictor_with_weights_of_features_takes_the_convolutions_over_and_ranks():
    small = dict(CGCNN.small)
    trained = load("cgcnn", "encoder", **small, seed=1)
    start = Pretrained("cgcnn", trained.state_dict(), "crysxpp", small)
    fresh = load("cgcnn:selector", "encoder", **small)
    before = fresh.embed.weight.clone()
    start.give(fresh, "cgcnn:selector", small)
    assert torch.equal(fresh.blocks[0].weight, trained.blocks[0].weight) and torch.equal(fresh.embed.weight, before)
    replace(start, settings={"embedding": True}).give(fresh, "cgcnn:selector", small)
    assert torch.equal(fresh.embed.weight, trained.embed.weight)
    with torch.no_grad():
        fresh.select[5] = -3.0
    assert ranking(fresh)[0] == ("group 5", -3.0)
    with pytest.raises(BadInput, match="cgcnn:selector"):
        ranking(trained)
    with pytest.raises(BadInput, match="option 'width'"):
        start.give(fresh, "cgcnn", {**small, "width": 32})
