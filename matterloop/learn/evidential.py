"""Evidential regression: a network that says how far measurements scatter and how much it knows, from one training.

A. Amini, W. Schwarting, A. Soleimany, D. Rus, NeurIPS 2020, arXiv:1910.02600, eqs. 5 to 10; on molecules: A. P. Soleimany et al., ACS Cent. Sci. 7, 1356
(2021), doi:10.1021/acscentsci.1c00546. What it calls epistemic depends on the weight of the second term and is no calibrated probability by itself: N. Meinert,
J. Gawlikowski, A. Lavin, AAAI 2023, arXiv:2205.10060. `Conformal.of(..., spread=...)` makes intervals of it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..base.errors import BadInput
from ..base.seeds import torch_stream
from ..crystal.compositions import Compositions, atom_mean
from ..crystal.graph import Graph
from ..crystal.state import Crystals
from ..layers.parts import perceptron
from .data import Batch
from .scaling import Scaling
from .targets import Target, known
from .trained import TOGETHER


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
    def epistemic(self) -> Tensor:
        """Variance of the mean, beta / (nu (alpha - 1)): what more data would take away."""
        return self.aleatoric / self.nu


def evidence(raw: Tensor) -> Evidence:
    """From the four outputs (rows, 4) of a head: mean as it is, nu and beta above 0, alpha above 1 (softplus)."""
    if raw.shape[-1] != 4:
        raise BadInput(f"a head gives {raw.shape[-1]} numbers, evidential regression needs 4", "evidential")
    mean, nu, alpha, beta = raw.unbind(-1)
    return Evidence(mean, F.softplus(nu), F.softplus(alpha) + 1, F.softplus(beta))


def evidential_loss(found: Evidence, truth: Tensor, weight: float = 0.01) -> Tensor:
    """(rows,) -log of the evidence (eq. 8) plus `weight` times |error| (2 nu + alpha) (eq. 9), for rows that have a label.

    Eq. 8 with Omega = 2 beta (1 + nu): 1/2 ln(pi / nu) - alpha ln Omega + (alpha + 1/2) ln((y - gamma)^2 nu + Omega) + ln(Gamma(alpha) / Gamma(alpha + 1/2)).
    """
    mean, nu, alpha, beta = found
    omega = 2 * beta * (1 + nu)
    error = truth - mean
    likelihood = (0.5 * torch.log(math.pi / nu) - alpha * torch.log(omega) + (alpha + 0.5) * torch.log(error**2 * nu + omega)
                  + torch.lgamma(alpha) - torch.lgamma(alpha + 0.5))
    return likelihood + weight * error.abs() * (2 * nu + alpha)


class EvidentialPredictor(nn.Module):
    """An encoder with a head of four numbers for one intensive number of a crystal; trained by `fit`, which asks for `loss`.

    scale   of the target; weight of the second term of the loss; hidden width of the head
    """

    def __init__(self, encoder: nn.Module, target: Target, hidden: int = 32, seed: int = 0, scale: Scaling | None = None, weight: float = 0.01):
        super().__init__()
        if target.classes or target.rank or target.extensive or target.per != "crystal":
            raise BadInput("only an intensive number of a crystal is learnt with its evidence", f"target {target.name!r}")
        self.encoder, self.target, self.scale, self.weight = encoder, target, scale or Scaling(), weight
        rng = torch_stream(seed, "head", target.name)
        self.head = encoder.head(rng, 4) if hasattr(encoder, "head") else perceptron(rng, encoder.width, hidden, 4)

    def forward(self, crystals: Crystals | Compositions, graph: Graph | None = None) -> Evidence:
        """(crystals,) each, in units of the target's spread."""
        found = self.encoder(crystals, self.encoder.graph(crystals) if graph is None else graph)
        return evidence(self.head(found.whole if found.whole is not None else atom_mean(found.site, crystals)))

    def loss(self, batch: Batch, rng: torch.Generator | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean of `evidential_loss` over the rows that have a label, 0 where none has."""
        labels = batch.crystals.get(self.target.name)
        here = known(self.target, labels)
        found = self(batch.crystals, batch.graph)
        truth = self.scale.apply(labels, self.target, batch.crystals).to(found.mean.dtype)
        each = evidential_loss(Evidence(*(x[here] for x in found)), truth[here], self.weight)
        total = each.sum() / here.sum().clamp(min=1)
        return total, {self.target.name: total}

    @torch.no_grad()
    def predict(self, crystals: Crystals | Compositions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(value, standard deviation of a measurement, standard deviation of the mean), (crystals,) each, in the target's unit (deviations of a logarithm
        where that is learnt)."""
        self.eval()
        parts = []
        for piece in crystals.bare().split(TOGETHER):
            found = self(piece)
            mean = self.scale.inverse(found.mean, self.target, piece)
            parts.append(torch.stack([mean, self.scale.spread * found.aleatoric.double().sqrt(), self.scale.spread * found.epistemic.double().sqrt()]))
        return tuple(torch.cat(parts, 1).numpy())
