"""Radial functions that vanish at a cutoff: an envelope, sines over distance, and spherical Bessel functions with zeros at the cutoff.

J. Gasteiger, J. Gross, S. Günnemann, "Directional message passing for molecular graphs", ICLR 2020, arXiv:2003.03123, eq. 6 to 8.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn


def envelope(x: Tensor, exponent: int = 6) -> Tensor:
    """1 - (p + 1)(p + 2)/2 x^p + p (p + 2) x^(p + 1) - p (p + 1)/2 x^(p + 2) of x = length / cutoff: 1 at 0, 0 at 1 with two derivatives, 0 beyond."""
    p = exponent
    power = x**p
    inside = 1 + power * (-(p + 1) * (p + 2) / 2 + x * (p * (p + 2) - x * (p * (p + 1) / 2)))
    return torch.where(x < 1, inside, torch.zeros_like(x))


class RadialSines(nn.Module):
    """u(x) sin(f_n x) / x of lengths (...) in Å, x = length / cutoff: (..., count). The frequencies f begin at n pi and are learnt; u is the envelope."""

    def __init__(self, count: int, cutoff: float, exponent: int = 6):
        super().__init__()
        self.cutoff, self.exponent = cutoff, exponent
        self.frequencies = nn.Parameter(math.pi * torch.arange(1, count + 1, dtype=torch.float32))

    def forward(self, length: Tensor) -> Tensor:
        x = (length / self.cutoff)[..., None].to(self.frequencies.dtype)
        return envelope(x, self.exponent) / x * torch.sin(self.frequencies * x)


class SmoothSincs(nn.Module):
    """Orthogonal mixtures of sin(k pi x) / (k pi x) that end with two derivatives at the cutoff, x = length / cutoff: lengths (...) in Å to (..., count).

    f_n = (-1)^n sqrt(2) pi c^(-3/2) (n + 1)(n + 2) / sqrt((n + 1)^2 + (n + 2)^2) (sinc_(n + 1) + sinc_(n + 2)),  h_0 = f_0,
    h_n = (f_n + sqrt(e_n / d_(n - 1)) h_(n - 1)) / sqrt(d_n),  d_n = 1 - e_n / d_(n - 1),  e_n = n^2 (n + 2)^2 / (4 (n + 1)^4 + 1)
    (E. Kocer, J. K. Mason, H. Erturk, AIP Advances 10, 015021 (2020), doi:10.1063/1.5111045, arXiv:1907.02374).
    """

    def __init__(self, count: int, cutoff: float):
        super().__init__()
        mix, d = np.zeros((count, count + 1)), 1.0
        for n in range(count):
            e, before = n**2 * (n + 2) ** 2 / (4 * (n + 1) ** 4 + 1), d
            d = 1 - e / before if n else 1.0
            size = (-1) ** n * math.sqrt(2) * math.pi / cutoff**1.5 * (n + 1) * (n + 2) / math.hypot(n + 1, n + 2)
            mix[n, n : n + 2] = size
            if n:
                mix[n] = (mix[n] + math.sqrt(e / before) * mix[n - 1]) / math.sqrt(d)
        self.cutoff = cutoff
        self.register_buffer("mix", torch.from_numpy(mix.T.copy()), persistent=False)

    def forward(self, length: Tensor) -> Tensor:
        """In the dtype of `length`."""
        angle = (math.pi / self.cutoff * length)[..., None] * torch.arange(1, len(self.mix) + 1, device=length.device)
        return (torch.sin(angle) / angle) @ self.mix.to(length)


def bessel_zeros(orders: int, count: int) -> np.ndarray:
    """(orders, count) the first positive zeros of the spherical Bessel functions j_0 .. j_(orders - 1).

    Those of j_l lie between neighbouring ones of j_(l - 1).
    """
    from scipy.optimize import brentq
    from scipy.special import spherical_jn

    row = np.arange(1, count + orders) * np.pi
    out = [row[:count]]
    for order in range(1, orders):
        row = np.array([brentq(lambda x, order=order: spherical_jn(order, x), a, b, xtol=1e-14, rtol=1e-14) for a, b in zip(row, row[1:], strict=False)])
        out.append(row[:count])
    return np.array(out)


def spherical_bessel(order: int, x: Tensor) -> Tensor:
    """j_order(x), x > 0, by j_(l + 1) = (2 l + 1) / x j_l - j_(l - 1); in float64 good to 1e-10 above x = 1 for orders to 6."""
    before, here = torch.cos(x) / x, torch.sin(x) / x
    for degree in range(order):
        before, here = here, (2 * degree + 1) / x * here - before
    return here


class SphericalBessel(nn.Module):
    """N_ln j_l(z_ln x) of lengths (edges,) in Å, x = length / cutoff: (edges, orders, count), of norm 1 on 0 < x < 1 with the weight x^2."""

    def __init__(self, orders: int, count: int, cutoff: float):
        super().__init__()
        from scipy.special import spherical_jn

        zeros = bessel_zeros(orders, count)
        norm = np.stack([math.sqrt(2) / np.abs(spherical_jn(order + 1, row)) for order, row in enumerate(zeros)])
        self.cutoff = cutoff
        self.register_buffer("zeros", torch.from_numpy(zeros), persistent=False)
        self.register_buffer("norm", torch.from_numpy(norm), persistent=False)

    def forward(self, length: Tensor) -> Tensor:
        """In the dtype of `length`, which should be float64: the recursion loses digits at short lengths."""
        x = (length / self.cutoff)[:, None]
        return torch.stack([spherical_bessel(order, x * zero) * norm for order, (zero, norm) in enumerate(zip(self.zeros.to(x), self.norm.to(x), strict=True))], 1)
