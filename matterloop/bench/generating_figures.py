"""Figures of a generator from its judged proposals: gated shares of all proposed, yield per CPU-hour, ratios; each with a 95 % interval.

Gated rates as in C. Zeni et al., Nature 639, 624 (2025), doi:10.1038/s41586-025-08628-5. Intervals: percentile bootstrap over proposals, B. Efron, Annals of
Statistics 7, 1 (1979), doi:10.1214/aos/1176344552; of a share that is 0 or 1, where a bootstrap has no width, the exact one (C. J. Clopper, E. S. Pearson,
Biometrika 26, 404 (1934)).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..base.seeds import numpy_stream
from ..campaign.cost import share_interval
from ..crystal.space_groups import crystal_system

METASTABLE, STABLE = 0.1, 0.0  # eV/atom above the hull
PUBLISHED = "published"  # the hull whose figures also ask for the second novelty
RESAMPLES = 2000
MADE = ("propose", "relax")  # stages whose CPU time a yield is divided by
MOST_GROUPS = 12  # space groups that are listed by number

Row = Mapping[str, Any]
"""One proposal as generating_judged.judged describes it."""


def hits(rows: Sequence[Row], hull: str, limit: float, second: bool | None = None) -> np.ndarray:
    """(proposals,) bool: valid, unique, novel and at most `limit` eV/atom above `hull`; a distance that is not known is not.

    second  whether the second novelty is asked for too; None: on the published hull only
    """
    second = hull == PUBLISHED if second is None else second
    above = np.array([r["above"].get(hull, math.nan) for r in rows], dtype=np.float64)
    passed = np.array([r["valid"] and r["unique"] and r["novel"] and (r["second_novel"] or not second) for r in rows], dtype=bool)
    return passed & (above <= limit)


def share(held: np.ndarray, rng: np.random.Generator, resamples: int = RESAMPLES) -> dict[str, float]:
    """{count, value, low, high} of the share that is true."""
    n, k = len(held), int(np.sum(held))
    if not n:
        return {"count": 0, "value": math.nan, "low": math.nan, "high": math.nan}
    low, high = share_interval(k, n) if k in (0, n) else np.quantile(np.asarray(held)[rng.integers(n, size=(resamples, n))].mean(1), (0.025, 0.975))
    return {"count": k, "value": k / n, "low": float(low), "high": float(high)}


def seconds_of(rows: Sequence[Row], stages: Mapping[str, float]) -> np.ndarray:
    """(proposals,) CPU seconds up to the judges: the relaxation's shared out by the seconds that each crystal was at work, what else was spent in equal parts."""
    work = np.array([r["seconds"] for r in rows], dtype=np.float64)
    relax = stages.get("relax", 0.0)
    even = sum(stages.get(s, 0.0) for s in MADE) - relax
    return even / max(len(rows), 1) + (relax * work / work.sum() if work.sum() > 0 else relax / max(len(rows), 1))


def _drawn(held: np.ndarray, seconds: np.ndarray, rng: np.random.Generator, resamples: int) -> np.ndarray:
    """(resamples,) hits per CPU-hour of resampled proposals."""
    pick = rng.integers(len(held), size=(resamples, len(held)))
    return 3600 * held[pick].sum(1) / seconds[pick].sum(1)


def per_hour(held: np.ndarray, seconds: np.ndarray, rng: np.random.Generator, resamples: int = RESAMPLES) -> dict[str, float]:
    """{value, low, high}: hits per CPU-hour, proposals resampled with the seconds that each of them took."""
    if not len(held) or not seconds.sum() > 0:
        return {"value": math.nan, "low": math.nan, "high": math.nan}
    low, high = np.quantile(_drawn(held, seconds, rng, resamples), (0.025, 0.975))
    return {"value": float(3600 * held.sum() / seconds.sum()), "low": float(low), "high": float(high)}


def ratio(one: tuple[np.ndarray, np.ndarray], base: tuple[np.ndarray, np.ndarray], rng: np.random.Generator, resamples: int = RESAMPLES) -> dict[str, float]:
    """{value, low, high} of the hits per CPU-hour of one over those of `base`, both (held, seconds) resampled independently: a ratio of totals, no mean of ratios.

    inf where the base has none, nan where neither has any.
    """
    if not all(len(held) and seconds.sum() > 0 for held, seconds in (one, base)):
        return {"value": math.nan, "low": math.nan, "high": math.nan}
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.float64(one[0].sum() / one[1].sum()) / np.float64(base[0].sum() / base[1].sum())
        many = _drawn(*one, rng, resamples) / _drawn(*base, rng, resamples)
    many = many[~np.isnan(many)]
    low, high = np.quantile(many, (0.025, 0.975), method="inverted_cdf") if len(many) else (math.nan, math.nan)
    return {"value": float(value), "low": float(low), "high": float(high)}


def figures(rows: Sequence[Row], stages: Mapping[str, float], hulls: Sequence[str], seed: int = 0, label: str = "", resamples: int = RESAMPLES) -> dict[str, Any]:
    """All figures of one generator, plain data; shares are of all `proposed`.

    valid, unique, novel, second_novel    gated: each counts only what passed those before it
    hulls                                 {hull: {metasun, sun, metasun_both_novelties, sun_both_novelties, metasun_per_cpu_hour, median_above, judged}}
    lowest                                {metasun, sun: name of the hull that gives the smallest share}
    p1_share, structural, structural_as_proposed, charge_balanced, converged, kept_space_group
    systems, metasun_systems              distinct chemical systems of all proposals and of the MetaSUN crystals of the first hull
    full_coverage, metasun_full_coverage  shares whose hull lacks no known phase there, of all and of those MetaSUN crystals
    rmsd, volume_change                   median and mean of the relaxed: Å by which atoms moved, |ln V/V0| of the cell
    crystal_systems, space_groups         shares of the relaxed crystals by symmetry within 0.1 Å
    cpu_seconds                           by stage
    """
    rng = lambda *names: numpy_stream(seed, "bench generate", label, *names)
    column = lambda name: np.array([bool(r[name]) for r in rows], dtype=bool)
    portion = lambda held, name: share(held, rng(name), resamples)
    valid, unique, novel, second = (column(name) for name in ("valid", "unique", "novel", "second_novel"))
    seconds = seconds_of(rows, stages)
    found: dict[str, Any] = {
        "proposed": len(rows), "valid": portion(valid, "valid"), "unique": portion(valid & unique, "unique"), "novel": portion(valid & unique & novel, "novel"),
        "second_novel": portion(valid & unique & novel & second, "second_novel")}
    found["hulls"] = {hull: _on_hull(rows, hull, seconds, rng, resamples) for hull in hulls}
    found["lowest"] = {what: min(hulls, key=lambda h, what=what: found["hulls"][h][what]["value"]) for what in ("metasun", "sun")} if hulls else {}
    first = hits(rows, hulls[0], METASTABLE) if hulls else np.zeros(len(rows), dtype=bool)
    full = column("covered")
    groups = [r["space_group"] for r in rows if r["space_group"]]
    chosen = [r for r, held in zip(rows, first, strict=True) if held]
    found |= {name: portion(column(name), name) for name in ("structural", "structural_as_proposed", "charge_balanced", "converged", "kept_space_group")}
    found |= {
        "p1_share": portion(np.array([r["space_group"] == 1 for r in rows]), "p1"), "systems": len({r["system"] for r in rows}), "metasun_systems": len({r["system"] for r in chosen}),
        "full_coverage": portion(full, "coverage"), "metasun_full_coverage": portion(full[first], "metasun coverage"),
        "rmsd": _middle([r["rmsd"] for r in rows]), "volume_change": _middle([abs(math.log(r["volume_ratio"])) for r in rows if r["volume_ratio"] > 0]),
        "crystal_systems": _shares(crystal_system(g) for g in groups), "space_groups": dict(list(_shares(groups).items())[:MOST_GROUPS]),
        "atoms": _middle([float(r["atoms"]) for r in rows]),
        "cpu_seconds": {name: round(s, 2) for name, s in stages.items()}, "cpu_seconds_per_proposal": float(seconds.mean()) if len(rows) else math.nan}
    return found


def _on_hull(rows: Sequence[Row], hull: str, seconds: np.ndarray, rng, resamples: int) -> dict[str, Any]:
    meta, stable = (hits(rows, hull, limit) for limit in (METASTABLE, STABLE))
    above = np.array([r["above"].get(hull, math.nan) for r in rows], dtype=np.float64)
    known = above[np.isfinite(above)]
    return {
        "metasun": share(meta, rng(hull, "metasun"), resamples), "sun": share(stable, rng(hull, "sun"), resamples),
        "metasun_both_novelties": share(hits(rows, hull, METASTABLE, True), rng(hull, "metasun both"), resamples),
        "sun_both_novelties": share(hits(rows, hull, STABLE, True), rng(hull, "sun both"), resamples),
        "metasun_per_cpu_hour": per_hour(meta, seconds, rng(hull, "per hour"), resamples), "sun_per_cpu_hour": per_hour(stable, seconds, rng(hull, "sun per hour"), resamples),
        "judged": len(known), "median_above": float(np.median(known)) if len(known) else math.nan}


def ratios(sides: Mapping[str, tuple[Sequence[Row], Mapping[str, float]]], base: str, hulls: Sequence[str], seed: int = 0, resamples: int = RESAMPLES) -> dict[str, dict[str, Any]]:
    """{generator: {hull: `ratio` of its MetaSUN crystals per CPU-hour over those of `base`}} of every generator but the base; sides are {name: (rows, stages)}."""
    part = lambda name, hull: (hits(sides[name][0], hull, METASTABLE), seconds_of(*sides[name]))
    return {name: {hull: ratio(part(name, hull), part(base, hull), numpy_stream(seed, "bench generate", name, base, hull), resamples) for hull in hulls} for name in sides if name != base}


def _middle(values: Sequence[float]) -> dict[str, float]:
    known = [v for v in values if math.isfinite(v)]
    return {"median": float(np.median(known)), "mean": float(np.mean(known))} if known else {"median": math.nan, "mean": math.nan}


def _shares(values) -> dict[Any, float]:
    counted = Counter(values)
    total = sum(counted.values())
    return {name: round(n / total, 4) for name, n in counted.most_common()}
