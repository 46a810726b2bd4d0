"""Crystalformer against its equations, written out pair by pair and image by image in numpy."""

import numpy as np
import torch
from scipy.special import erf

from matterloop.bench import examples as ex
from matterloop.predict.crystalformer import Crystalformer


def by_hand(model, crystal):
    """(atoms, width) features of one periodic crystal: log-summed Gaussians added to scores, averaged radial functions added to values."""
    w = {k: v.numpy() for k, v in model.state_dict().items()}
    cell, frac = crystal.cell[0].numpy(), crystal.frac.numpy()
    x = w["embed.weight"][crystal.species.numpy()]
    n, heads, radius = len(frac), model.blocks[0].attention.heads, model.radius
    share = x.shape[1] // heads
    spread = model.width**-0.5 * (9 * len(model.blocks)) ** -0.25
    images = {}
    for i in range(n):
        for j in range(n):
            r = [np.linalg.norm((frac[j] - frac[i] + np.array(s) - 3) @ cell) for s in np.ndindex(7, 7, 7)]
            images[i, j] = np.array([d for d in r if d < radius])
    fade = lambda r: np.where(r > radius - 1, 0.5 * (np.cos(np.pi * (r - radius + 1)) + 1), 1.0)
    mu = np.arange(1, 65) * 14 / 64
    for b in range(len(model.blocks)):
        p = lambda name, b=b: w[f"blocks.{b}.{name}"]
        q, k, v = (x @ p(f"attention.{s}.weight").T + p(f"attention.{s}.bias") * (s != "key") if s != "key" else x @ p("attention.key.weight").T
                   for s in ("query", "key", "value"))
        y = np.zeros_like(x)
        for h in range(heads):
            part = slice(h * share, (h + 1) * share)
            for i in range(n):
                t = 0.1 * (q[i, part] @ p("attention.sharpness")[h]) / spread / 0.5
                inverse = 1.4**-2 * (0.5 * (t if t > 0 else np.exp(t) - 1) + 1)
                alpha, beta = np.zeros(n), np.zeros((n, share))
                for j in range(n):
                    r = images[i, j]
                    weight = np.exp(-0.5 * inverse * r**2) * fade(r)
                    alpha[j] = np.log(weight.sum())
                    beta[j] = p("attention.radial")[h] @ (weight @ np.exp(-((r[:, None] - mu) ** 2) / 2 / (14 / 64) ** 2)) / weight.sum()
                score = np.array([q[i, part] @ k[j, part] for j in range(n)]) / np.sqrt(share) + alpha
                score = np.exp(score - score.max())
                y[i, part] = (score / score.sum()) @ (v[:, part] + beta)
        x = x + y @ p("attention.out.weight").T + p("attention.out.bias")
        hidden = x @ p("inward.weight").T + p("inward.bias")
        x = x + 0.5 * hidden * (1 + erf(hidden / np.sqrt(2))) @ p("outward.weight").T + p("outward.bias")
    return x


def features(model, crystal):
    with torch.no_grad():
        return model(crystal, model.graph(crystal)).site


def test_features_are_those_of_the_equations():
    model = Crystalformer(width=12, blocks=2, heads=3, hidden=20).to(torch.float64)
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():  # weights large enough for every term to matter
        for p in model.parameters():
            p.copy_(0.3 * torch.randn(p.shape, generator=rng, dtype=p.dtype))
    crystal = ex.low_symmetry()
    np.testing.assert_allclose(features(model, crystal).numpy(), by_hand(model, crystal), rtol=1e-9, atol=1e-11)


def test_a_block_has_the_parameters_of_the_paper_but_for_the_bias_of_keys():
    model = Crystalformer()
    assert sum(p.numel() for p in model.blocks[0].parameters()) == 206_080 - 128
    assert len(model.blocks) == 4 and round(model.radius, 2) == 6.93


def test_the_default_scale_of_the_widths_is_near_what_the_public_code_measured():
    """Its log gives 25.4, 31.7, 30.0 and 22.0 for the four blocks."""
    assert 22 < 1 / Crystalformer().blocks[0].attention.spread < 32


def test_images_beyond_the_radius_matter_little():
    """At the first weights, the features change by less than 1 % when the radius grows by 2 Å."""
    crystal = ex.low_symmetry()
    one, two = (features(Crystalformer(radius=r).to(torch.float64), crystal) for r in (None, 8.93))
    assert float((one - two).abs().max()) < 0.01 * float(one.abs().max())


def test_symmetric_atoms_computed_once_have_the_features_of_all_computed():
    crystal = ex.ordered_rock_salt()
    model = Crystalformer(width=12, blocks=2, heads=3, hidden=20).to(torch.float64)
    moving = crystal.put(frac=crystal.frac.clone().requires_grad_())
    few, every = model.graph(crystal), model.graph(moving)
    assert len(few) < len(every) / 4
    whole = model(moving, every).site
    torch.testing.assert_close(features(model, crystal), whole.detach(), rtol=1e-10, atol=1e-12)
    whole[:2].sum().backward()
    assert bool(moving.frac.grad.isfinite().all()) and float(moving.frac.grad.abs().max()) > 0


def test_far_atoms_that_are_asked_for_loudly_do_not_drown_the_rest():
    """A score of hundreds on an atom whose nearest image is far: weights of all images may not underflow together."""
    from matterloop.base.registry import load
    from matterloop.bench import examples

    model = load("crystalformer", "encoder", width=32, blocks=2, heads=4, hidden=64)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "query" in name or "key" in name:
                weight.mul_(1000)
    crystals = examples.every()
    found = model(crystals, model.graph(crystals)).site
    found.square().sum().backward()
    assert bool(found.isfinite().all()) and all(bool(p.grad.isfinite().all()) for p in model.parameters())
