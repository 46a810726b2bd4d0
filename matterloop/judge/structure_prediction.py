"""How well structures are predicted from their composition: match rate and RMSE at k, METRe and cRMSE.

Match rate and RMSE: T. Xie and others, CDVAE, arXiv:2110.06197, and R. Jiao and others, DiffCSP, arXiv:2309.04475, with StructureMatcher(ltol=0.3, stol=0.5,
angle_tol=10).get_rms_dist, distances over (V/N)^(1/3). METRe and cRMSE: "All that structure matches does not glitter", arXiv:2509.12178. Match rate compares
each prediction with its own target and so punishes a model that answers with another real polymorph; METRe lets any prediction of a composition match any
reference of it. RMSE is a mean over matches only and falls when hard targets are lost; cRMSE counts what is not matched with the tolerance stol.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..base.errors import BadInput
from ..crystal.matching import Prepared, Tolerance, prepare, rms
from ..crystal.state import Crystals
from ..learn.intervals import bootstrap

TOLERANCE = Tolerance(length=0.3, site=0.5, angle=10.0)


def distance(predicted: Prepared, target: Prepared) -> float:
    """StructureMatcher's normalised root mean square distance, inf where the two do not match or one cannot be compared."""
    try:
        found = rms(predicted, target)
    except BadInput:
        return float("inf")
    return float("inf") if found is None else found[0]


@dataclass(frozen=True, eq=False)
class Predictions:
    """Distances of ranked predictions from their targets.

    distances  (targets, k) normalised root mean square distance of the prediction of each rank, inf where it does not match
    stol       the matcher's site tolerance, which is what cRMSE counts for no match
    """

    distances: np.ndarray
    stol: float = TOLERANCE.site

    def best(self, k: int) -> np.ndarray:
        """(targets,) smallest distance among the first k ranks."""
        if not 1 <= k <= self.distances.shape[1]:
            raise BadInput(f"k is {k}, there are {self.distances.shape[1]} ranks", "structure prediction")
        return self.distances[:, :k].min(1)

    def at(self, k: int, *, seed: int = 0) -> dict[str, Any]:
        """Match rate (of all targets), RMSE (mean over matches), cRMSE (mean over all targets) among the first k ranks, each with its 95 % interval."""
        return {"k": k, "targets": len(self.distances), **rates_of(self.best(k), self.stol, "match_rate", seed)}


def rates_of(best: np.ndarray, stol: float, name: str, seed: int = 0) -> dict[str, Any]:
    """Share of finite distances, called `name`, their mean (rmse) and the mean with stol for the others (crmse), with 95 % bootstrap intervals over targets."""
    matched = np.isfinite(best)
    counted = np.where(matched, best, stol)

    def mean_of_matches(drawn: np.ndarray) -> np.ndarray:
        hits = np.isfinite(drawn)
        with np.errstate(invalid="ignore"):
            return np.where(hits, drawn, 0.0).sum(1) / np.where(hits.any(1), hits.sum(1), np.nan)

    return {
        name: float(matched.mean()), f"{name}_interval": list(bootstrap(matched, seed=seed)),
        "rmse": float(best[matched].mean()) if matched.any() else float("nan"), "rmse_interval": list(bootstrap(best, mean_of_matches, seed=seed)),
        "crmse": float(counted.mean()), "crmse_interval": list(bootstrap(counted, seed=seed))}


def compare(predicted: Sequence[Crystals | None], targets: Crystals, *, valid: Sequence[Sequence[bool]] | None = None, tolerance: Tolerance = TOLERANCE) -> Predictions:
    """Distances of each target's own predictions.

    predicted  for every target a batch of at most k crystals, best rank first; None or an empty batch for none
    valid      for every target whether each prediction is valid; one that is not does not match (as CDVAE counts it). All count by default
    BadInput where the numbers of targets differ.
    """
    if len(predicted) != len(targets):
        raise BadInput(f"predictions for {len(predicted)} targets, there are {len(targets)}", "structure prediction")
    ranks = max([1, *(len(p) for p in predicted if p is not None)])
    found = np.full((len(targets), ranks), np.inf)
    for i, (batch, target) in enumerate(zip(predicted, prepare(targets, tolerance), strict=True)):
        if batch is None or not len(batch):
            continue
        for rank, one in enumerate(prepare(batch, tolerance)):
            if valid is None or valid[i][rank]:
                found[i, rank] = distance(one, target)
    return Predictions(found, tolerance.site)


def everyone_to_reference(generated: Crystals, references: Crystals, *, tolerance: Tolerance = TOLERANCE, seed: int = 0) -> dict[str, Any]:
    """METRe: the share of references that any generated crystal of their composition matches, with RMSE and cRMSE of the best match of each."""
    by_formula: dict[tuple, list[Prepared]] = {}
    for one in prepare(generated, tolerance):
        by_formula.setdefault(one.composition, []).append(one)
    best = [min((distance(one, target) for one in by_formula.get(target.composition, ())), default=np.inf) for target in prepare(references, tolerance)]
    return {"references": len(references), "generated": len(generated), **rates_of(np.array(best, dtype=np.float64), tolerance.site, "metre", seed)}

