"""Real spherical harmonics of unit vectors, by polynomials in x, y and z."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def real_harmonics(unit: Tensor, degrees: int) -> Tensor:
    """Y_lm of unit vectors (..., 3) for l < degrees, m from -l to l within each l: (..., degrees^2), orthonormal on the sphere.

    Y_lm = N_lm Q_l|m|(z) c_m(x, y) with c_m = Re, or for m < 0 Im, of (x + i y)^|m|, Q_lm = P_lm / sin^m and P_lm the associated Legendre functions without
    the sign (-1)^m; Q by Q_mm = (2 m - 1)!!, (l - m) Q_lm = (2 l - 1) z Q_(l-1)m - (l + m - 1) Q_(l-2)m.
    """
    x, y, z = unit.unbind(-1)
    real, imaginary, q = [torch.ones_like(x)], [torch.zeros_like(x)], {}
    for m in range(1, degrees):
        real.append(x * real[-1] - y * imaginary[-1])
        imaginary.append(x * imaginary[-1] + y * real[-2])
    for m in range(degrees):
        for degree in range(m, degrees):
            if degree == m:
                q[degree, m] = torch.full_like(z, math.prod(range(1, 2 * m, 2)))
            else:
                q[degree, m] = ((2 * degree - 1) * z * q[degree - 1, m] - (degree + m - 1) * q.get((degree - 2, m), 0.0)) / (degree - m)
    out = []
    for degree in range(degrees):
        norm = [math.sqrt((2 * degree + 1) / (4 * math.pi) * math.factorial(degree - m) / math.factorial(degree + m)) for m in range(degree + 1)]
        sides = [math.sqrt(2) * norm[m] * q[degree, m] for m in range(1, degree + 1)]
        out += [side * imaginary[m] for m, side in reversed(list(enumerate(sides, 1)))]
        out.append(norm[0] * q[degree, 0])
        out += [side * real[m] for m, side in enumerate(sides, 1)]
    return torch.stack(out, -1)
