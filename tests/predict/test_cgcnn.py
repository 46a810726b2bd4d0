"""CGCNN against its equations, written out atom by atom in numpy."""

import numpy as np
import pytest
import torch

from matterloop.base.seeds import torch_stream
from matterloop.bench import examples as ex
from matterloop.learn.targets import Predictor, Target
from matterloop.predict.cgcnn import CGCNN
from matterloop.represent.element_bins import element_bins


def softplus(x):
    return np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0)


def neighbours(crystal, count, radius):
    """[(atom, neighbour, distance)] of the nearest `count` and all as near as the last, in plain loops over lattice images."""
    cell, frac, found = crystal.cell[0].numpy(), crystal.frac.numpy() % 1, []
    for i in range(len(frac)):
        near = []
        for j in range(len(frac)):
            for image in np.ndindex(7, 7, 7):
                r = np.linalg.norm((frac[j] - frac[i] + np.array(image) - 3) @ cell)
                if 1e-9 < r < radius:
                    near.append((r, j))
        near.sort()
        found += [(i, j, r) for r, j in near if r <= near[count - 1][0] + 1e-3]
    return found


def by_hand(model, crystal, count, radius, step):
    """The prediction for one crystal, with running figures in the normalisations."""
    w = {k: v.numpy() for k, v in model.state_dict().items()}
    norm = lambda x, name: (x - w[f"{name}.running_mean"]) / np.sqrt(w[f"{name}.running_var"] + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]
    centres = w["encoder.expand.centres"]
    v = element_bins()[crystal.species.numpy()] @ w["encoder.embed.weight"].T + w["encoder.embed.bias"]
    edges = neighbours(crystal, count, radius)
    for b in range(len(model.encoder.blocks)):
        name, total = f"encoder.blocks.{b}", np.zeros_like(v)
        for i, j, r in edges:
            z = norm(w[f"{name}.weight"] @ np.concatenate([v[i], v[j], np.exp(-((r - centres) ** 2) / step**2)]), f"{name}.inner")
            gate, core = np.split(z, 2)
            total[i] += softplus(core) / (1 + np.exp(-gate))
        v = softplus(v + norm(total, f"{name}.outer"))
    hidden = softplus(w["heads.y.1.weight"] @ softplus(v.mean(0)) + w["heads.y.1.bias"])
    return (w["heads.y.3.weight"] @ hidden + w["heads.y.3.bias"]).item()


@pytest.mark.parametrize("make", [ex.low_symmetry, ex.ordered_rock_salt])
def test_the_prediction_is_that_of_the_equations(make):
    model = Predictor(CGCNN(width=6, blocks=2, neighbours=12, radius=6.0, step=0.4, hidden=5), [Target("y")]).to(torch.float64).eval()
    rng = torch_stream(0, "norms")
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if ".inner." in name or ".outer." in name:
                value.uniform_(0.5, 1.5, generator=rng)
        assert float(model(make())["y"]) == pytest.approx(by_hand(model, make(), 12, 6.0, 0.4), rel=1e-9)


def test_the_default_has_the_settings_of_the_code():
    model = CGCNN()
    builder = model.graph.builder
    assert (model.width, len(model.blocks), builder.count, builder.radius, model.hidden, model.layers) == (64, 3, 12, 8.0, 128, 1)
    assert len(model.expand.centres) == 41 and model.expand.gamma == pytest.approx(25.0)
    widths = [tuple(m.weight.shape) for m in model.head(torch_stream(0), 1) if hasattr(m, "weight")]
    assert widths == [(128, 64), (1, 128)] and tuple(model.blocks[0].weight.shape) == (128, 169)


def test_more_layers_of_the_head_are_as_wide_as_the_first():
    assert [tuple(m.weight.shape) for m in CGCNN(hidden=8, layers=3).head(torch_stream(0), 2) if hasattr(m, "weight")] == [(8, 64), (8, 8), (8, 8), (2, 8)]


def test_another_seed_gives_other_weights():
    one, two, three = (CGCNN(width=8, blocks=1, seed=s).embed.weight for s in (0, 0, 1))
    assert torch.equal(one, two) and not torch.equal(one, three)
