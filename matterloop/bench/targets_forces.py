"""How far a potential is from labels: energy, forces, stress and magnetic moments of the same crystals, each error with its interval.

The four targets of B. Deng et al., Nature Machine Intelligence 5, 1031 (2023), doi:10.1038/s42256-023-00716-3, table 1; intervals by the percentile
bootstrap of B. Efron, Annals of Statistics 7, 1 (1979), doi:10.1214/aos/1176344552, over crystals, since atoms of one crystal are not independent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..base.errors import BadInput
from ..base.registry import Card
from ..base.seeds import numpy_stream
from ..crystal.segments import segment_sum
from ..crystal.state import Crystals
from ..potential.oracle import Oracle

CARD = Card(
    name="targets_forces",
    build="TargetsForces",
    role="task",
    paper="10.1038/s42256-023-00716-3",
    year=2023,
    summary="errors of a potential against labels or another oracle: energy, forces (size, angle), stress, magnetic moments, with intervals",
    capabilities=("potential",),
    keeps=("rotation", "reflection", "permutation"),
    small={"resamples": 200},
    differs=("forces are compared as vectors, so that the error does not depend on the axes; the paper takes the mean over components",),
)


@dataclass(frozen=True)
class Score:
    """One error: mean absolute `value` and its 95 % interval, in `unit`, over `count` crystals that have the label; NaN with count 0."""

    name: str
    value: float
    low: float
    high: float
    unit: str
    count: int


class TargetsForces:
    """The task; `resamples` of the bootstrap, drawn from `seed`."""

    def __init__(self, resamples: int = 1000, seed: int = 0):
        if resamples < 20:
            raise BadInput(f"{resamples} resamples say nothing of a 95 % interval; take 20 or more", "targets_forces")
        self.resamples, self.seed = resamples, seed

    def labelled(self, crystals: Crystals, truth: Oracle) -> Crystals:
        """The crystals with the labels of an oracle as fields energy, forces, stress and magmom (those it has)."""
        labels = truth.label(crystals.bare())
        site = {k: v for k, v in (("forces", labels.forces), ("magmom", labels.magmoms)) if v is not None}
        return crystals.bare().with_fields(site=site, whole={k: v for k, v in (("energy", labels.energy), ("stress", labels.stress)) if v is not None})

    def score(self, oracle: Oracle, crystals: Crystals, scheme: str = "") -> list[Score]:
        """Errors of `oracle` against the fields of the crystals; NaN = not measured.

        scheme  of the energy labels: BadInput if it is not the oracle's. "": the caller vouches for it

        energy_per_atom (eV/atom), forces (eV/Å, length of the difference), force_angle (degrees) and force_size (eV/Å) of atoms with a force above
        0.01 eV/Å, stress (eV/Å^3, Frobenius norm of the difference over 3), magmom (muB, absolute values: their signs are a convention).
        """
        if scheme and scheme != oracle.energy_scheme:
            raise BadInput(f"labels of scheme {scheme!r} cannot be compared with energies of scheme {oracle.energy_scheme!r} ({oracle.name})", "targets_forces")
        found = oracle.label(crystals.bare())
        scores = []
        if "energy" in crystals.whole:
            scores.append(self._score("energy_per_atom", "eV/atom", ((found.energy - crystals.whole["energy"]) / crystals.counts).abs(), None, crystals))
        if "forces" in crystals.site and found.forces is not None:
            true, got = crystals.site["forces"].to(torch.float64), found.forces
            size = (got.norm(dim=-1) - true.norm(dim=-1)).abs()
            felt = (true.norm(dim=-1) > 0.01) & (got.norm(dim=-1) > 0)
            angle = torch.atan2(torch.linalg.cross(true, got).norm(dim=-1), (true * got).sum(-1))  # arccos loses half the digits near 0
            nothing = torch.full_like(size, torch.nan)
            scores.append(self._score("forces", "eV/Å", (got - true).norm(dim=-1), crystals.owner, crystals))
            scores.append(self._score("force_angle", "degrees", torch.where(felt, torch.rad2deg(angle), nothing), crystals.owner, crystals))
            scores.append(self._score("force_size", "eV/Å", torch.where(felt, size, nothing), crystals.owner, crystals))
        if "stress" in crystals.whole and found.stress is not None:
            scores.append(self._score("stress", "eV/Å^3", (found.stress - crystals.whole["stress"]).flatten(1).norm(dim=-1) / 3, None, crystals))
        if "magmom" in crystals.site and found.magmoms is not None:
            scores.append(self._score("magmom", "muB", (found.magmoms.abs() - crystals.site["magmom"].abs()).abs(), crystals.owner, crystals))
        if not scores:
            raise BadInput(f"the crystals carry {sorted([*crystals.site, *crystals.whole]) or 'no fields'}; energy, forces, stress or magmom is needed", "targets_forces")
        return scores

    def _score(self, name: str, unit: str, error: Tensor, owner: Tensor | None, crystals: Crystals) -> Score:
        """Mean of `error` (rows,) over its known rows, resampled by crystal."""
        owner = torch.arange(len(crystals)) if owner is None else owner
        known = error.isfinite()
        total = segment_sum(torch.where(known, error, torch.zeros_like(error)), owner, len(crystals)).numpy()
        count = segment_sum(known.to(torch.float64), owner, len(crystals)).numpy()
        with_label = np.flatnonzero(count)
        if not len(with_label):
            return Score(name, float("nan"), float("nan"), float("nan"), unit, 0)
        order = np.lexsort((total[with_label], count[with_label]))  # the interval must not depend on the order of the crystals
        total, count = total[with_label][order], count[with_label][order]
        pick = numpy_stream(self.seed, name).integers(0, len(total), (self.resamples, len(total)))
        means = total[pick].sum(1) / count[pick].sum(1)
        low, high = np.quantile(means, [0.025, 0.975])
        return Score(name, float(total.sum() / count.sum()), float(low), float(high), unit, len(total))
