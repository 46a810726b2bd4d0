"""Noise of lattice and coordinates as it is meant to be, and numbers drawn from noise."""

import math

import pytest
import torch

from matterloop.base.errors import BadInput
from matterloop.base.seeds import torch_stream
from matterloop.bench import examples as ex
from matterloop.crystal.state import Crystals
from matterloop.learn.pretraining import pretrain
from matterloop.learn.targets import Predictor, Target, labelled
from matterloop.learn.training import train
from matterloop.predict.crysdiff import LATTICE, noised
from matterloop.predict.property_diffusion import CARD, DiffusedHead, PropertyDiffusion

SMALL, INNER = dict(CARD.small), dict(CARD.small["options"])


def test_lattice_noise_is_a_symmetric_strain_of_the_stated_size_and_coordinates_keep_their_centre():
    crystals = Crystals.join([ex.low_symmetry()] * 300)
    noisy, move, strain, level = noised(crystals, torch_stream(0, "noise"))
    assert torch.allclose(strain, strain.transpose(1, 2))
    r = LATTICE[0] * (LATTICE[1] / LATTICE[0]) ** level[:, 1]
    grown = torch.linalg.solve(crystals.cell, noisy.cell)
    assert torch.allclose(torch.linalg.matrix_exp(r[:, None, None] * strain), grown)
    assert float(strain.diagonal(dim1=1, dim2=2).square().mean()) == pytest.approx(1.0, abs=0.12)
    off = (noisy.frac - crystals.frac).view(300, -1, 3)
    assert off.mean(1).abs().max() < 1e-12
    atoms = off.shape[1]
    few = level[:, 0] < 0.3  # weak noise does not reach the next image: what is to be found is the draw itself
    assert float(move.view(300, -1, 3)[few].square().mean()) == pytest.approx(1 - 1 / atoms, abs=0.1)


def test_the_target_of_coordinates_is_minus_the_score_of_the_wrapped_normal():
    crystals = Crystals.join([ex.low_symmetry()] * 40)
    noisy, move, _, level = noised(crystals, torch_stream(1, "noise"))
    s = (0.005 * 100 ** level[:, 0])[crystals.owner][:, None]
    d = (noisy.frac - crystals.frac).requires_grad_()
    density = sum(torch.exp(-0.5 * ((d + k) / s) ** 2) for k in range(-6, 7)).clamp(min=1e-300)
    score = torch.autograd.grad(density.log().sum(), d)[0]
    assert torch.allclose(move, -s * score, atol=1e-3)


def test_steps_bring_quantiles_of_noise_to_those_of_a_normal_distribution():
    """For labels of mean 2 and spread 0.5 the best denoiser is known: E[y | y_t] = m + a v (y_t - a m) / (a^2 v + b^2)."""
    head = DiffusedHead(torch_stream(0, "head"), 3, 1, 8, steps=400, draws=9)
    seen = []

    def best(_, y, t):
        seen.append(y)
        a, b = torch.cos(math.pi / 2 * t), torch.sin(math.pi / 2 * t)
        return 2 + a * 0.25 * (y - 2 * a) / (a * a * 0.25 + b * b)

    head.denoised = best
    value = head(torch.zeros(2, 3))
    assert value[0, 0] == pytest.approx(2.0, abs=2e-3)
    assert float(seen[-1][0, -1, 0]) == pytest.approx(2 + 0.5 * float(head.first[-1]), abs=0.02)


def test_weights_of_pretraining_begin_the_fine_tuning_by_diffusion():
    target = Target("energy")
    crystals = labelled(ex.displaced(12).bare(), {target: torch.linspace(0, 1, 12, dtype=torch.float64)})
    start = pretrain("crysdiff", "egnn", crystals.bare(), settings={"radius": 4.0, "hidden": 16}, options=INNER, recipe={"epochs": 2, "size": 6})
    assert set(start.history["parts"]) == {"coordinates", "lattice"}
    options = {**SMALL, "encoder": "egnn", "options": INNER}
    found = train("property_diffusion", crystals, target, {"train": range(12)}, options=options, recipe={"epochs": 1, "rate": 1e-12, "averaging": "none", "weight_decay": 0.0},
                  start=start, calibrate=False)
    held = found.predictor.members[0].predictor.encoder.inner.state_dict()
    assert all(torch.allclose(held[k], v, atol=1e-6) for k, v in start.weights.items())
    with pytest.raises(BadInput, match="width"):
        train("property_diffusion", crystals, target, {"train": range(12)}, options={**options, "options": {**INNER, "width": 8}}, start=start)


def test_a_number_that_adds_over_atoms_is_refused():
    target = Target("energy", extensive=True)
    crystals = labelled(ex.periodic(), {target: torch.ones(6, dtype=torch.float64)})
    with pytest.raises(BadInput, match="numbers of crystals"):
        Predictor(PropertyDiffusion(**SMALL), [target]).double().loss(crystals)
