"""Plain-loop pieces of networks, for tests that write out equations in numpy."""

import numpy as np


def sp(x):
    return np.log1p(np.exp(x))


def ssp(x):
    return sp(x) - np.log(2)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def silu(x):
    return x * sigmoid(x)


def weights(model):
    return {name: value.numpy() for name, value in model.state_dict().items()}


def linear(w, name, x):
    y = w[f"{name}.weight"] @ x
    return y + w[f"{name}.bias"] if f"{name}.bias" in w else y


def stack(w, name, x, activation, last=True):
    """Linear maps name.0, name.2, ... with the activation between them, and after the last if `last`."""
    places = sorted(int(k.split(".")[-2]) for k in w if k.startswith(f"{name}.") and k.count(".") == name.count(".") + 2 and k.endswith("weight"))
    for place in places:
        x = linear(w, f"{name}.{place}", x)
        x = activation(x) if last or place != places[-1] else x
    return x


def norm(w, name, x):
    """Batch normalisation by running figures."""
    return (x - w[f"{name}.running_mean"]) / np.sqrt(w[f"{name}.running_var"] + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]


def pairs(crystal, radius):
    """(centre i, neighbour j, vector from i to j) of every pair of images nearer than `radius`."""
    cell, frac, periodic = crystal.cell[0].numpy(), crystal.frac.numpy(), crystal.periodic[0].tolist()
    images = [range(-4, 5) if p else (0,) for p in periodic]
    out = []
    for i in range(len(frac)):
        for j in range(len(frac)):
            for shift in ((a, b, c) for a in images[0] for b in images[1] for c in images[2]):
                step = (frac[j] - frac[i] + shift) @ cell
                if 1e-9 < np.linalg.norm(step) < radius:
                    out.append((i, j, step))
    return out


def nearest(crystal, count, radius):
    """`pairs` of the `count` nearest of every atom, and of those as near as the last."""
    every, out = pairs(crystal, radius), []
    for i in range(crystal.atoms):
        own = sorted((p for p in every if p[0] == i), key=lambda p: np.linalg.norm(p[2]))
        limit = np.linalg.norm(own[min(count, len(own)) - 1][2]) + 1e-3
        out += [p for p in own if np.linalg.norm(p[2]) <= limit]
    return out


def softmax(x):
    y = np.exp(x - np.max(x, axis=0))
    return y / y.sum(axis=0)


def lively(model, seed=0):
    """The model in double precision and evaluation, with running figures and biases that are not 0 and 1."""
    import torch

    rng = torch.Generator().manual_seed(seed)
    model = model.to(torch.float64).eval()
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith(("bias", "running_mean")):
                value.copy_(0.3 * torch.randn(value.shape, generator=rng, dtype=torch.float64))
            elif name.endswith("running_var"):
                value.copy_(0.5 + torch.rand(value.shape, generator=rng, dtype=torch.float64))
    return model
