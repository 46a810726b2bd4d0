"""Training on crystals scaled at random: what is scaled, what is learnt, what is kept."""

import pytest
import torch

from matterloop.base.errors import BadInput
from matterloop.base.registry import find, load
from matterloop.base.seeds import torch_stream
from matterloop.bench import examples as ex
from matterloop.crystal.alike import lengths_of
from matterloop.crystal.compositions import Compositions
from matterloop.crystal.state import Crystals
from matterloop.learn.data import Batch
from matterloop.learn.strained import Strained, scaled
from matterloop.learn.targets import Predictor, Target, labelled
from matterloop.learn.trained import Trained
from matterloop.learn.training import train

TARGET = Target("y")


def salts(count=24):
    """Rock salts whose label is their lattice constant: a property of lengths alone."""
    side = 3.4 + 0.1 * torch.arange(count, dtype=torch.float64) / count
    one = torch.tensor([[0.0, 0, 0], [0.5, 0.5, 0.5]], dtype=torch.float64)
    cells = [s * torch.tensor([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]], dtype=torch.float64) for s in side]
    return labelled(Crystals.join([Crystals.of(one, [11, 17], c) for c in cells]), {TARGET: side})


@pytest.mark.parametrize("name", ["cgcnn", "schnet", "crystalformer", "matformer"])
def test_scaled_lengths_are_those_of_the_scaled_crystal(name):
    crystals = ex.periodic().bare()
    encoder = load(name, "encoder", **{"cgcnn": {}, "schnet": {}, "crystalformer": {"blocks": 1}, "matformer": {"blocks": 1}}[name])
    graph, factor = encoder.graph(crystals), torch.linspace(0.97, 1.04, len(crystals), dtype=torch.float64)
    larger, kept = scaled(crystals, graph, factor)
    assert torch.allclose(larger.volume, crystals.volume * factor**3)
    assert torch.allclose(lengths_of(kept, larger)[0], lengths_of(graph, crystals)[0] * factor[graph.owner(crystals)], atol=1e-9)
    assert torch.equal(kept.senders, graph.senders) and (graph.edge.keys() == kept.edge.keys())


@pytest.mark.parametrize("name", ["ada_gnn", "comformer", "conformal_transformer", "ecomformer", "egnn", "equivariant_transformer", "ewald_mp"])
def test_features_of_scaled_crystals_are_those_of_the_plain_graph_scaled(name):
    """Data that a graph keeps of orbits follow the crystal as its edges do: the same edges, told one by one because slopes are wanted."""
    crystals, encoder = ex.rock_salt().bare(), load(name, "encoder", **find(name, "encoder").card.small).double().eval()
    larger, kept = scaled(crystals, encoder.graph(crystals), torch.tensor([1.01], dtype=torch.float64))
    plain, every = scaled(crystals, encoder.graph(crystals.put(frac=crystals.frac.clone().requires_grad_())), torch.tensor([1.01], dtype=torch.float64))
    torch.testing.assert_close(encoder(larger, kept).site, encoder(plain, every).site)


def test_what_cannot_be_scaled_is_refused():
    crystals = ex.low_symmetry().bare()
    graph = load("potnet", "encoder", **{"width": 16, "layers": 1}).graph(crystals)
    with pytest.raises(BadInput, match="keeps 'sums'"):
        scaled(crystals, graph, torch.ones(1))
    formulas = Compositions.of(["NaCl"])
    with pytest.raises(BadInput, match="structures"):
        scaled(formulas, load("roost", "encoder").graph(formulas), torch.ones(1))
    with pytest.raises(BadInput, match="spread"):
        Strained(Predictor(load("schnet", "encoder"), [TARGET]), 0.5)


def test_loss_is_that_of_strained_crystals_and_of_the_strain():
    crystals, model = salts(4), Predictor(load("schnet", "encoder", width=16, blocks=1), [TARGET])
    strained = Strained(model, 0.03, 0.5, seed=2)
    loss, parts = strained.loss(Batch(crystals), torch_stream(1, "strains"))
    size = torch.randn(4, generator=torch_stream(1, "strains"), dtype=torch.float64)
    other, graph = scaled(crystals, model.encoder.graph(crystals), 1 + 0.03 * size)
    own, _ = model.loss(Batch(other, graph))
    assert float(loss) == pytest.approx(float(own + 0.5 * parts["strain"]), rel=1e-12)
    loss.backward()
    assert all(p.grad is not None for p in strained.parameters())


def test_training_tells_the_strain_and_keeps_the_predictor_alone(tmp_path):
    crystals, parts = salts(), []
    crystals = labelled(crystals, {TARGET: torch.zeros(len(crystals), dtype=torch.float64)})  # nothing else to learn, and no label differs
    rows = {"train": range(16), "val": range(16, 24)}
    recipe = {"epochs": 40, "size": 8, "rate": 5e-3, "strain": 0.03, "strain_share": 1.0, "schedule": "constant"}
    found = train("cgcnn", crystals, TARGET, rows, options={"width": 16, "blocks": 1}, recipe=recipe, calibrate=False, log=lambda e: parts.append(e["loss"]) if e["event"] == "epoch" else None)
    assert parts[-1] < 0.6 * parts[0], parts
    again = train("cgcnn", crystals, TARGET, rows, options={"width": 16, "blocks": 1}, recipe=recipe, calibrate=False)
    kept, other = found.predictor.members[0], again.predictor.members[0]
    assert all(torch.equal(a, b) for a, b in zip(kept.predictor.state_dict().values(), other.predictor.state_dict().values(), strict=True))
    assert not [k for k in kept.predictor.state_dict() if "second" in k]
    assert torch.allclose(Trained.load(kept.save(tmp_path / "kept")).predict(crystals)["y"], kept.predict(crystals)["y"], atol=1e-5)
