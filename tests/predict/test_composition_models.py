"""Models of compositions: what the contract cannot see, equality with a trusted layer and settings of the papers."""

import math

import pytest
import torch

from matterloop.base.errors import Missing
from matterloop.base.registry import load
from matterloop.base.seeds import torch_stream
from matterloop.crystal.compositions import Compositions
from matterloop.learn.targets import Predictor, Target
from matterloop.predict.crabnet import Block, CrabNet, Gated
from matterloop.represent.magpie import Magpie


def test_a_block_of_crabnet_is_the_encoder_layer_of_torch():
    """Rows of two sets of 2 and 3 elements against torch's layer on padded ones."""
    ours = Block(torch_stream(0, "block"), 8, 2, 12, 0.0).to(torch.float64)
    with torch.no_grad():
        for p in ours.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=torch_stream(1, str(p.numel())), dtype=torch.float64))
    theirs = torch.nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True, dtype=torch.float64)
    zero = torch.zeros(8, dtype=torch.float64)
    theirs.load_state_dict({
        "self_attn.in_proj_weight": torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]),
        "self_attn.in_proj_bias": torch.cat([ours.query.bias, zero, ours.value.bias]),
        "self_attn.out_proj.weight": ours.answer.weight, "self_attn.out_proj.bias": ours.answer.bias,
        "linear1.weight": ours.rise.weight, "linear1.bias": ours.rise.bias, "linear2.weight": ours.fall.weight, "linear2.bias": ours.fall.bias,
        "norm1.weight": ours.first.weight, "norm1.bias": ours.first.bias, "norm2.weight": ours.second.weight, "norm2.bias": ours.second.bias})
    x = torch.randn(5, 8, generator=torch_stream(2, "x"), dtype=torch.float64)
    there = torch.tensor([[True, True, False], [True, True, True]])
    padded = torch.zeros(2, 3, 8, dtype=torch.float64)
    padded[there] = x
    wanted = theirs(padded, src_key_padding_mask=~there)[there]
    assert torch.allclose(ours(x, torch.tensor([0, 1, 3, 4, 5]), there), wanted, atol=1e-12)


def test_shares_are_told_by_waves_of_the_share_and_of_its_squared_logarithm():
    net = CrabNet(features=8, blocks=1, heads=1, inner=4, out=(4,), resolution=100)
    linear, logarithmic = net.encoding(torch.tensor([0.25, 1.0], dtype=torch.float64)).unbind(1)
    assert linear[0].tolist() == pytest.approx([math.sin(24), math.cos(24 / 50**0.5), math.sin(24 / 50), math.cos(24 / 50**1.5)])
    assert linear[1, 0].item() == pytest.approx(math.sin(99))
    assert logarithmic[0].tolist() == pytest.approx([0, 1, 0, 1])  # 0.0025 log2(1/4)^2 = 0.01, the smallest step
    assert logarithmic[1].tolist() == pytest.approx([0, 1, 0, 1])


def test_the_gate_of_crabnet_multiplies():
    gated = Gated(torch_stream(0, "g"), 3, 2)
    x = torch.randn(4, 3, generator=torch_stream(1, "x"))
    both = x @ gated.read.weight.T + gated.read.bias
    assert torch.allclose(gated(x), both[:, :2] / (1 + torch.exp(-both[:, 2:])), atol=1e-6)


@pytest.mark.parametrize("name, layers", [("irnet", 17), ("irnet:layers24", 24), ("irnet:layers48", 48)])
def test_irnet_has_the_layers_of_its_name(name, layers):
    assert len(load(name).main) + 1 == layers


def test_irnet_sees_magpie_scaled_or_fractions():
    state = Compositions.of(["Na3Cl", "Fe0.5Ni0.25"])
    net, plain = load("irnet", widths=(4,)), load("irnet", widths=(4,), see="elements")
    rows = net.inputs(state, net.graph(state))
    assert rows.shape == (2, 132) and float(rows.abs().max()) < 8
    back = rows * net.spread + net.middle
    from matterloop.bench import examples as ex
    salt = ex.rock_salt()
    assert torch.allclose(net.inputs(salt, net.graph(salt)) * net.spread + net.middle, Magpie()(salt), rtol=1e-6, atol=1e-6) and back.shape == (2, 132)
    assert plain.inputs(state, plain.graph(state))[0].nonzero()[:, 0].tolist() == [11, 17] and plain.inputs(state, plain.graph(state))[0, 11] == 0.75
    with pytest.raises(Missing, match="elements"):
        load("irnet", see="element")


@pytest.mark.parametrize("name", ["roost", "crabnet", "irnet"])
def test_a_pure_element_and_a_steel_go_in_one_batch(name):
    model = Predictor(load(name, **({"out": (16,)} if name != "irnet" else {"widths": (16,)})), [Target("gap"), Target("metal", classes=2), Target("e", extensive=True)])
    state = Compositions.of(["Fe", "Fe0.620C0.000953Mn0.000521Si0.00102Cr0.000110Ni0.192Mo0.0176V0.000112Nb0.0000616Co0.146Al0.00318Ti0.0185"])
    found = model.eval()(state)
    assert found["gap"].shape == (2,) and found["metal"].shape == (2, 2) and all(bool(v.isfinite().all()) for v in found.values())
