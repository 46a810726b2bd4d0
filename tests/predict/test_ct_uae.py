"""The transformer of raw coordinates against torch's own, and vectors of elements on their way into other networks."""

import pytest
import torch
from torch import nn

from matterloop.base.errors import BadInput
from matterloop.base.registry import load
from matterloop.base.seeds import torch_stream
from matterloop.bench import examples as ex
from matterloop.learn.pretrained import Pretrained
from matterloop.learn.pretraining import pretrain
from matterloop.learn.targets import Target, labelled
from matterloop.learn.training import train
from matterloop.predict.cgcnn import CGCNN
from matterloop.predict.crystal_transformer import CARD, CrystalTransformer
from matterloop.predict.ct_uae import REACH, table_of, turned_and_shifted

SMALL = dict(CARD.small)
TINY = {"width": 8, "blocks": 1, "neighbours": 6, "radius": 6.0, "step": 0.5, "hidden": 8}


def test_attention_is_that_of_torch():
    crystals = ex.low_symmetry()
    ours = CrystalTransformer(**{**SMALL, "layers": 1}).double().eval()
    block, width = ours.blocks[0], ours.width
    theirs = nn.TransformerEncoderLayer(width, 2, SMALL["inner"], 0.0, batch_first=True, dtype=torch.float64).eval()
    with torch.no_grad():
        theirs.self_attn.in_proj_weight.copy_(torch.cat([block.query.weight, block.key.weight, block.value.weight]))
        theirs.self_attn.in_proj_bias.zero_()
        for mine, other in ((block.answer, theirs.self_attn.out_proj), (block.rise, theirs.linear1), (block.fall, theirs.linear2), (block.first, theirs.norm1), (block.second, theirs.norm2)):
            other.weight.copy_(mine.weight)
            other.bias.copy_(mine.bias)
        x = torch.cat([ours.embed.weight[crystals.species], crystals.cart @ ours.place.weight.T], -1)
        assert torch.allclose(ours(crystals, ours.graph(crystals)).site, theirs(x[None])[0], atol=1e-12)


def test_turns_and_shifts_keep_distances_and_differ_between_crystals():
    crystals = ex.periodic()
    moved = turned_and_shifted(crystals, torch_stream(0, "turns"))
    gram = lambda c: c.cell @ c.cell.transpose(1, 2)
    assert torch.allclose(gram(moved), gram(crystals))
    assert bool((torch.linalg.det(moved.cell) > 0).all())
    turn = torch.linalg.solve(crystals.cell, moved.cell)
    assert len({tuple(t.flatten().round(decimals=6).tolist()) for t in turn}) == len(crystals)
    step = (moved.frac - crystals.frac) @ torch.eye(3, dtype=torch.float64)
    for i in range(len(crystals)):
        own = step[crystals.owner == i]
        assert torch.allclose(own, own[:1].expand_as(own))  # one shift for all atoms of a crystal
    lengths = torch.cat([torch.linalg.norm((moved.frac - crystals.frac)[crystals.offsets[i]] @ moved.cell[i])[None] for i in range(len(crystals))])
    assert 0.2 * REACH < float(lengths.mean()) < 4 * REACH


@pytest.mark.parametrize("frozen", [True, False])
def test_vectors_of_elements_go_into_cgcnn_and_stay_where_they_are_frozen(tmp_path, frozen):
    names = ("energy", "other")
    crystals = labelled(ex.displaced(12).bare(), {Target(n): torch.linspace(0, 1, 12, dtype=torch.float64) ** (k + 1) for k, n in enumerate(names)})
    start = pretrain("ct_uae", "crystal_transformer", crystals, settings={"targets": names, "frozen": frozen}, options=SMALL, recipe={"epochs": 2, "size": 6})
    assert set(start.history["parts"]) == set(names)
    start = Pretrained.load(start.save(tmp_path))
    table = table_of(start.build())
    found = train("cgcnn", crystals, Target("energy"), {"train": range(12)}, options={**TINY, "elements": 8}, recipe={"epochs": 2}, start=start, calibrate=False)
    held = found.predictor.members[0].predictor.encoder.elements
    seen = crystals.species.unique()
    assert torch.equal(held[seen], table[seen]) is frozen
    found.predictor.save(tmp_path / "trained")
    again = type(found.predictor).load(tmp_path / "trained")
    assert again.raw(crystals.bare()) == pytest.approx(found.predictor.raw(crystals.bare()), abs=1e-5)


def test_a_width_that_does_not_fit_is_told():
    table = torch.zeros(119, 8)
    with pytest.raises(BadInput, match="elements=8"):
        CGCNN(**TINY).set_element_embeddings(table)
    with pytest.raises(BadInput, match="elements=8"):
        CGCNN(**TINY, elements=9).set_element_embeddings(table)


@pytest.mark.parametrize("model, options", [("cgcnn", {**TINY, "elements": 8}), ("megnet", {"wide": 8, "width": 8, "hidden": 4, "blocks": 1, "bins": 10, "elements": 8}),
                                            ("alignn", {"width": 8, "inner": 8, "layers": 1, "plain": 1, "lengths": 8, "angles": 8, "elements": 8})])
def test_networks_of_the_paper_take_vectors_of_elements_and_feel_them(model, options):
    crystals = ex.periodic()
    one, two = (load(model, "encoder", **options).double().eval() for _ in range(2))
    start = Pretrained("crystal_transformer", CrystalTransformer(**SMALL, seed=1).state_dict(), "ct_uae", {**SMALL, "seed": 1}, {"targets": ["energy"]})
    start.give(two, model, options)
    frozen = [n for n, p in two.named_parameters() if not p.requires_grad]
    assert len(frozen) == 1
    assert dict(two.named_parameters())[frozen[0]].shape == (119, 8)
    assert (one(crystals, one.graph(crystals)).site - two(crystals, two.graph(crystals)).site).abs().max() > 1e-6
