"""The network of several fidelities: MEGNet with a state, other encoders with a vector, values of lower fidelity as inputs."""

import pytest
import torch

from matterloop.base.errors import BadInput
from matterloop.base.quantities import Quantity
from matterloop.bench import examples as ex
from matterloop.crystal.compositions import Compositions
from matterloop.learn.targets import Predictor, Target
from matterloop.predict.megnet import MEGNet
from matterloop.predict.multi_fidelity import CARD, MultiFidelity

SMALL = CARD.small["options"]
NAMES = ("pbe", "hse", "expt")


def told(inputs, values, field="fidelity"):
    return inputs.with_fields(whole={field: torch.as_tensor(values)}, quantities={field: Quantity()})


def test_around_megnet_it_is_megnet_with_a_label_as_state():
    crystals = ex.periodic()
    label = torch.arange(len(crystals)) % 3
    ours, plain = MultiFidelity("megnet", SMALL, NAMES).double(), MEGNet(**SMALL, state=("method",), levels=3).double()
    seen = plain(told(crystals, label, "method"), plain.graph(crystals)).whole
    assert torch.equal(ours(told(crystals, label), ours.graph(crystals)).whole, seen)


@pytest.mark.parametrize("encoder, options", [("megnet", SMALL), ("cgcnn", {"width": 8, "blocks": 1}), ("schnet", {"width": 8, "blocks": 1})])
def test_no_label_means_the_highest_and_others_differ(encoder, options):
    crystals = ex.periodic()
    model = Predictor(MultiFidelity(encoder, options, NAMES), [Target("gap")]).double().eval()
    bare, last, first = (model(c)["gap"] for c in (crystals, told(crystals, [2] * len(crystals)), told(crystals, [0] * len(crystals))))
    assert torch.equal(bare, last)
    assert (bare - first).abs().min() > 1e-9


def test_a_value_that_is_not_known_is_masked_and_a_known_one_counts():
    texts = ["NaCl", "GaAs", "Fe2O3"]
    inner = {"features": 16, "blocks": 1, "heads": 2, "inner": 16, "out": (12,), "dropout": 0.0, "noise": 0.0}
    model = Predictor(MultiFidelity("crabnet", inner, ("one",), inputs={"pbe": (1.0, 2.0)}), [Target("gap")]).double().eval()
    inputs = Compositions.of(texts)
    nothing = model(inputs)["gap"]
    assert torch.equal(nothing, model(told(inputs, [torch.nan] * 3, "pbe"))["gap"])
    some = model(told(inputs, [torch.nan, 1.0, 5.0], "pbe"))["gap"]
    assert some[0] == nothing[0]
    assert (some[1:] - nothing[1:]).abs().min() > 1e-9  # the mean itself is known, not missing


def test_wrong_labels_and_spreads_are_named():
    crystals = ex.periodic()
    model = MultiFidelity("megnet", SMALL, NAMES).double()
    with pytest.raises(BadInput, match="0 .. 2 .pbe, hse, expt."):
        model(told(crystals, [3] * len(crystals)), model.graph(crystals))
    with pytest.raises(BadInput, match="positive spread"):
        MultiFidelity("megnet", SMALL, NAMES, inputs={"pbe": (0.0, 0.0)})
    with pytest.raises(BadInput, match="name of its own"):
        MultiFidelity("megnet", SMALL, ("pbe", "pbe"))
