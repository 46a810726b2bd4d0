"""GemNet-T against its equations in plain loops over triplets, and what its scale factors do to the first weights."""

import math

import numpy as np
import torch
from scipy.special import eval_legendre

from matterloop.bench import examples as ex
from matterloop.crystal.alike_edges import kinds_of
from matterloop.crystal.graph import Within
from matterloop.layers.bessel import SphericalBessel
from matterloop.predict.gemnet import GemNetT, made_up

SMALL = {"width": 8, "blocks": 1, "inner": 5, "bilinear": 4, "basis": 3, "degrees": 4, "radial": 3, "cutoff": 4.0, "dense": 1}


def scaled_silu(x):
    return x / (1 + np.exp(-x)) / 0.6


def test_what_edges_hear_is_the_sum_over_triplets():
    """c -> a meets every b -> a but itself; the angle at a, the basis of d_ca, then up for c -> a and for the edge in the other direction."""
    model = GemNetT(**SMALL).to(torch.float64)
    crystal = ex.low_symmetry()
    graph = Within(4.0)(crystal)
    kinds, step = kinds_of(graph, crystal), graph.vectors(crystal)
    length, part = step.norm(dim=-1), model.blocks[0].triplets
    m = torch.randn(len(graph), 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    radial = torch.rand(len(graph), 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        found = part(m, radial, model._angular(length, torch.float64), model._known(kinds, step / length[:, None], torch.float64)).numpy()
        bessel = SphericalBessel(4, 3, 4.0)(length).numpy()
    weight = {name: getattr(part, name).weight.detach().numpy() * (1 if (f := getattr(part, name).factor) is None else float(f))
              for name in ("dense", "radial", "down", "join", "along", "against")}
    d, unit, at = length.numpy(), (step / length[:, None]).numpy(), graph.receivers.tolist()
    x = scaled_silu((scaled_silu(m.numpy() @ weight["dense"].T) * (radial.numpy() @ weight["radial"].T)) @ weight["down"].T)
    mixed, t = model.angular.weight.detach().numpy(), np.zeros((len(graph), 4))
    for e in range(len(graph)):
        r = d[e] / 4
        end = (1 - 21 * r**5 + 35 * r**6 - 15 * r**7) / 4**1.5
        for b in range(len(graph)):
            if at[b] == at[e] and b != e:
                legendre = [math.sqrt((2 * n + 1) / (4 * math.pi)) * eval_legendre(n, unit[e] @ unit[b]) for n in range(4)]
                basis = mixed @ np.concatenate([end * legendre[n] * bessel[e, n] for n in range(4)])
                t[e] += weight["join"] @ np.outer(basis, x[b]).ravel()
    place = {(i, j, tuple(s)): e for e, (i, j, s) in enumerate(zip(graph.senders.tolist(), at, graph.shift.tolist(), strict=True))}
    back = [place[j, i, tuple(-k for k in s)] for i, j, s in zip(graph.senders.tolist(), at, graph.shift.tolist(), strict=True)]
    wanted = (scaled_silu(t @ weight["along"].T) + scaled_silu(t[back] @ weight["against"].T)) / math.sqrt(2)
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-11)


def test_scale_factors_keep_the_variance_of_the_first_weights():
    """Within a factor of a few, at any cutoff."""
    for cutoff in (2.5, 5.0, 7.0):
        model, crystals = GemNetT(width=32, inner=16, bilinear=16, cutoff=cutoff), made_up(cutoff)
        factors = torch.stack([b for name, b in model.named_buffers() if name.endswith("factor")])
        assert len(factors) == 4 * 3 + 5 and bool((factors > 0).all()) and not bool((factors == 1).any())
        with torch.no_grad():
            variance = float(model(crystals, Within(cutoff)(crystals)).site.var(0).mean())
        assert 1 < variance < 25, (cutoff, variance)  # of a sum of five


def test_scale_factors_are_fitted_once_and_travel_with_the_weights():
    model, other = GemNetT(**SMALL), GemNetT(**SMALL, seed=1)
    factor = model.blocks[0].triplets.join.factor.clone()
    crystal = ex.low_symmetry()
    model(crystal, model.graph(crystal))
    assert torch.equal(model.blocks[0].triplets.join.factor, factor) and not torch.equal(other.blocks[0].triplets.join.factor, factor)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.blocks[0].triplets.join.factor, factor)
