"""Evidential regression: a network that says how far measurements scatter and how much it knows, from one training.

A. Amini, W. Schwarting, A. Soleimany, D. Rus, NeurIPS 2020, arXiv:1910.02600, eqs. 5 to 10; on molecules: A. P. Soleimany et al., ACS Cent. Sci. 7, 1356
(2021), doi:10.1021/acscentsci.1c00546. What it calls epistemic depends on the weight of the second term and is no calibrated probability by itself: N. Meinert,
J. Gawlikowski, A. Lavin, AAAI 2023, arXiv:2205.10060. A `Target(..., evidential=True)` is learnt so, and calibration makes intervals of it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..base.errors import BadInput

WEIGHT = 0.01  # of the second term of the loss, that of the paper's regressions



class Evidence(NamedTuple):
    """Parameters of the normal-inverse-gamma distribution of each row: mean gamma, virtual observations nu and 2 alpha, and beta."""

    mean: Tensor
    nu: Tensor
    alpha: Tensor
    beta: Tensor

    @property
    def aleatoric(self) -> Tensor:
        """Expected variance of a measurement, beta / (alpha - 1)."""
        return self.beta / (self.alpha - 1)

    @property
    def predictive(self) -> Tensor:
        """Expected variance of a new measurement around the mean, both together: that of Student's t of eq. 7."""
        return self.aleatoric + self.epistemic

    @property
    def epistemic(self) -> Tensor:
        """Variance of the mean, beta / (nu (alpha - 1)): what more data would take away."""
        return self.aleatoric / self.nu


def evidence(raw: Tensor) -> Evidence:
    """From the four outputs (rows, 4) of a head: mean as it is, nu and beta above 0, alpha above 1 (softplus)."""
    if raw.shape[-1] != 4:
        raise BadInput(f"a head gives {raw.shape[-1]} numbers, evidential regression needs 4", "evidential")
    mean, nu, alpha, beta = raw.unbind(-1)
    return Evidence(mean, F.softplus(nu), F.softplus(alpha) + 1, F.softplus(beta))


def evidential_loss(found: Evidence, truth: Tensor, weight: float = WEIGHT) -> Tensor:
    """(rows,) -log of the evidence (eq. 8) plus `weight` times |error| (2 nu + alpha) (eq. 9), for rows that have a label.

    Eq. 8 with Omega = 2 beta (1 + nu): 1/2 ln(pi / nu) - alpha ln Omega + (alpha + 1/2) ln((y - gamma)^2 nu + Omega) + ln(Gamma(alpha) / Gamma(alpha + 1/2)).
    """
    mean, nu, alpha, beta = found
    omega = 2 * beta * (1 + nu)
    error = truth - mean
    likelihood = (0.5 * torch.log(math.pi / nu) - alpha * torch.log(omega) + (alpha + 0.5) * torch.log(error**2 * nu + omega)
                  + torch.lgamma(alpha) - torch.lgamma(alpha + 0.5))
    return likelihood + weight * error.abs() * (2 * nu + alpha)
