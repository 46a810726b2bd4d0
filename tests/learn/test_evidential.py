"""Evidence follows the paper's equations, and a network learns where labels scatter."""

import numpy as np
import pytest
import torch
from scipy import stats

from matterloop.base.errors import BadInput
from matterloop.base.registry import load
from matterloop.base.seeds import torch_stream
from matterloop.crystal.compositions import Compositions
from matterloop.layers.parts import perceptron
from matterloop.learn import evidential as e
from matterloop.learn.data import Batches, Samples
from matterloop.learn.fit import Recipe, fit
from matterloop.learn.scaling import Scaling
from matterloop.learn.targets import Predictor, Target


def test_evidential_likelihood_is_students_t():
    raw = torch.tensor([[0.3, 0.2, -0.4, 0.1], [-1.0, 1.5, 2.0, -2.0]], dtype=torch.float64)
    found, truth = e.evidence(raw), torch.tensor([0.5, 1.0], dtype=torch.float64)
    mean, nu, alpha, beta = (x.numpy() for x in found)
    # the evidence of a normal-inverse-gamma distribution: Student's t of 2 alpha degrees of freedom (Amini et al., eq. 7)
    expected = -stats.t.logpdf(truth.numpy(), 2 * alpha, loc=mean, scale=np.sqrt(beta * (1 + nu) / (nu * alpha)))
    assert e.evidential_loss(found, truth, weight=0.0).numpy() == pytest.approx(expected, rel=1e-10)
    penalty = np.abs(truth.numpy() - mean) * (2 * nu + alpha)
    assert e.evidential_loss(found, truth, weight=0.1).numpy() == pytest.approx(expected + 0.1 * penalty, rel=1e-10)
    assert found.aleatoric.numpy() == pytest.approx(beta / (alpha - 1)) and found.epistemic.numpy() == pytest.approx(beta / (nu * (alpha - 1)))


def test_evidence_learns_where_the_noise_is():
    x = torch.linspace(-2, 2, 400, dtype=torch.float64)[:, None]
    noise = torch.where(x[:, 0] > 0, 0.5, 0.05)
    y = x[:, 0] + noise * torch.randn(400, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    net = perceptron(torch_stream(0, "net"), 1, 32, 4, activation=torch.nn.Tanh).double()
    opt = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(400):
        opt.zero_grad()
        e.evidential_loss(e.evidence(net(x)), y).mean().backward()
        opt.step()
    sigma = e.evidence(net(x)).aleatoric.detach().sqrt()
    assert float(sigma[x[:, 0] > 0.5].mean()) > 2.5 * float(sigma[x[:, 0] < -0.5].mean())


def test_an_encoder_is_trained_with_its_evidence():
    target = Target("gap", "eV", evidential=True)
    formulas = [f"{m}{n}{x}" for m in ("Li", "Na", "K", "Mg", "Ca", "Sr") for x in ("O", "S", "F", "Cl") for n in (1, 2)]
    noise = torch.randn(48, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    loud = torch.tensor(["O" in f or "S" == f[-1] for f in formulas])
    labels = torch.tensor([float(len(f)) for f in formulas], dtype=torch.float64) + torch.where(loud, 0.8, 0.02) * noise
    labels[5] = torch.nan
    inputs = Compositions.of(formulas).with_fields({"gap": labels}, {"gap": target.quantity})
    encoder = load("roost", "encoder", width=16, hidden=24, layers=1, out=(24, 16), seed=0)
    model = Predictor(encoder, [target], scale={"gap": Scaling(3.0, 2.0)})
    samples = Samples.of(inputs, encoder.graph)
    course = fit(model, Batches(samples, torch.arange(48), 16), None, Recipe(epochs=40, size=16, rate=5e-3))
    assert course.history[-1]["loss"] < course.history[0]["loss"]
    with torch.no_grad():
        found, stated, value = model.evidence(inputs)["gap"], model.deviations(inputs)["gap"], model(inputs)["gap"]
    assert torch.isfinite(value).all() and (found.aleatoric > 0).all() and (found.epistemic > 0).all()
    assert value.numpy() == pytest.approx((3 + 2 * found.mean).numpy(), rel=1e-6)
    assert stated.numpy() == pytest.approx(2 * (found.aleatoric + found.epistemic).sqrt().numpy(), rel=1e-6)
    scatter = found.aleatoric.sqrt()
    assert scatter[loud].mean() > 1.5 * scatter[~loud].mean()
    for wrong, message in (({"classes": 2}, "only an intensive number"), ({"width": True}, "not both")):
        with pytest.raises(BadInput, match=message):
            Target("metal", evidential=True, **wrong)
