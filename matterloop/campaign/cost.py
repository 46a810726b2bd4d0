"""What a campaign cost, stage by stage, and what came of it per CPU-hour.

Exact 95 % intervals: of a count, F. Garwood, Biometrika 28, 437 (1936), doi:10.1093/biomet/28.3-4.437; of a share, C. J. Clopper and E. S. Pearson,
Biometrika 26, 404 (1934), doi:10.1093/biomet/26.4.404; of the ratio of two rates, J. Przyborowski and H. Wilenski, Biometrika 31, 313 (1940),
doi:10.1093/biomet/31.3-4.313: given k1 + k2, k1 is binomial.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..archive.records import Verdict

if TYPE_CHECKING:
    from .state import State

STAGES = ("load", "propose", "screen", "relax", "judge", "observe", "second opinion", "report")
STAGE_OF = {"proposed": "propose", "screened": "screen", "relaxed": "relax", "failed": "relax", "judged": "judge", "observed": "observe", "finished": "observe", "second_opinion": "second opinion",
            "stopped": "observe"}  # event -> the stage it ends, where the event does not say
SOUND = ("volume_per_atom", "shortest_distance", "charge_balance", "relaxation")  # checks that any stable candidate passes


def cpu_seconds() -> float:
    """CPU seconds of this process, all threads, and of its children that have ended."""
    t = os.times()
    return t.user + t.system + t.children_user + t.children_system


def peak_mib() -> float:
    """Largest resident memory so far of this process, or of the largest child that has ended, in MiB; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:
        return 0.0
    largest = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return largest / (2**20 if sys.platform == "darwin" else 2**10)


class Meter:
    """Wall and CPU seconds since it was made. Workers that are no children of this process are told to it by `add`."""

    def __init__(self):
        self._wall, self._cpu = time.monotonic(), cpu_seconds()
        self._elsewhere = self._peak = 0.0

    def add(self, cpu: float, peak_mib: float = 0.0) -> None:
        """CPU seconds that a worker elsewhere spent, and its largest memory in MiB."""
        self._elsewhere += cpu
        self._peak = max(self._peak, peak_mib)

    def read(self) -> dict[str, float]:
        """{elapsed: wall seconds, cpu: CPU seconds, peak_mib: largest memory of one process so far}."""
        return {"elapsed": round(time.monotonic() - self._wall, 3), "cpu": round(cpu_seconds() - self._cpu + self._elsewhere, 3),
                "peak_mib": round(max(self._peak, peak_mib()))}


@dataclass
class Spent:
    """What one stage took: wall and CPU seconds, and the largest memory of one process up to its end, in MiB."""

    wall: float = 0.0
    cpu: float = 0.0
    peak_mib: float = 0.0

    def add(self, wall: float, cpu: float, peak_mib: float) -> None:
        self.wall, self.cpu, self.peak_mib = self.wall + max(wall, 0.0), self.cpu + max(cpu, 0.0), max(self.peak_mib, peak_mib)


# intervals


def count_interval(k: int, level: float = 0.95) -> tuple[float, float]:
    """Interval of the mean of a Poisson variable that was seen to be `k`."""
    from scipy.stats import chi2

    rest = (1 - level) / 2
    return (float(chi2.ppf(rest, 2 * k) / 2) if k else 0.0), float(chi2.ppf(1 - rest, 2 * k + 2) / 2)


def share_interval(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Interval of the probability of something that came `k` times in `n` tries; (0, 1) for no try."""
    from scipy.stats import beta

    rest = (1 - level) / 2
    return (float(beta.ppf(rest, k, n - k + 1)) if k else 0.0), (float(beta.ppf(1 - rest, k + 1, n - k)) if k < n else 1.0)


def rate(k: int, hours: float) -> dict[str, float]:
    """{value, low, high} of `k` things per hour with the interval of the count; nan without any time."""
    if not hours > 0:
        return {"value": math.nan, "low": math.nan, "high": math.nan}
    low, high = count_interval(k)
    return {"value": k / hours, "low": low / hours, "high": high / hours}


def rate_ratio(k: int, hours: float, other: int, other_hours: float) -> dict[str, float]:
    """{value, low, high} of (k / hours) / (other / other_hours) with the two counts independent; nan where nothing can be said."""
    if not (hours > 0 and other_hours > 0) or not k + other:
        return {"value": math.nan, "low": math.nan, "high": math.nan}
    low, high = share_interval(k, k + other)
    scale = other_hours / hours
    odds = lambda p: scale * p / (1 - p) if p < 1 else math.inf
    return {"value": scale * k / other if other else math.inf, "low": odds(low), "high": odds(high)}


# the budget of a campaign


def stable(verdict: Verdict) -> bool:
    """Whether a candidate is sound, its relaxation converged, and it lies on or below the hull of the known phases (0 eV/atom), whatever the wish allows."""
    hull = verdict.reason("energy_above_hull")
    return hull is not None and hull.value <= 0 and all(r.passed for name in SOUND if (r := verdict.reason(name)) is not None)


def stable_unique_novel(verdict: Verdict) -> bool:
    """Stable, the first of its kind in the campaign, and none of the known phases."""
    return stable(verdict) and all((r := verdict.reason(name)) is not None and r.passed for name in ("unique", "novel"))


def kept(verdict: Verdict) -> bool:
    """Whether it passed every check, the distance to the hull among them."""
    return verdict.passed and verdict.reason("energy_above_hull") is not None


def relax_seconds(state: State) -> dict[str, float]:
    """{key: CPU seconds} of every relaxation that ended: the stage's seconds shared out by the seconds that each crystal's evaluations took, or by atoms times
    evaluations where the log does not know these for all; nan where it tells neither."""
    records = {**state.relaxed, **state.failed}
    timed = all("seconds" in r for r in records.values())
    work = {k: r["seconds"] if timed else r.get("evaluations", math.nan) * r.get("atoms", math.nan) for k, r in records.items()}
    whole = sum(w for w in work.values() if w == w)
    spent = state.spent.get("relax", Spent()).cpu
    return {k: spent * w / whole if whole else math.nan for k, w in work.items()}


def _spread(values: Iterable[float]) -> dict[str, float]:
    """{mean, median, largest} of what is known; empty where nothing is."""
    import statistics

    known = [v for v in values if v == v]
    return {"mean": round(statistics.fmean(known), 4), "median": round(statistics.median(known), 4), "largest": round(max(known), 4)} if known else {}


def budget(state: State, verdicts: Mapping[str, Verdict]) -> dict[str, Any]:
    """Seconds, evaluations and memory of a campaign, per stage and per candidate, as plain data.

    stages          {stage: {wall_seconds, cpu_seconds, share_of_cpu, candidates, peak_mib}}; peak_mib is the largest memory of one process so far
    total           the same without shares; evaluations and evaluated_atoms of the relaxations
    counts          proposed, relaxed, kept, stable, stable_unique_novel
    per_candidate   {relax_cpu_seconds, evaluations, atoms: {mean, median, largest}}
    cpu_seconds_per {proposed, relaxed, kept, stable}; inf where there is none
    per_cpu_hour    {kept, stable, stable_unique_novel: {value, low, high}}, 95 % Poisson intervals
    Time between the last event of a killed session and its end is not known, and not in here.
    """
    proposed = [k for keys in state.rounds.values() for k in keys]
    worked = {**state.relaxed, **state.failed}
    counts = {"proposed": len(proposed), "relaxed": len(state.relaxed), "kept": sum(map(kept, verdicts.values())),
              "stable": sum(map(stable, verdicts.values())), "stable_unique_novel": sum(map(stable_unique_novel, verdicts.values()))}
    handled = {"propose": len(proposed), "screen": len(state.screened), "relax": len(worked), "judge": len(state.judged)}
    cpu, wall = sum(s.cpu for s in state.spent.values()), sum(s.wall for s in state.spent.values())
    names = [*STAGES, *(s for s in state.spent if s not in STAGES)]
    stages = {name: {"wall_seconds": round(s.wall, 3), "cpu_seconds": round(s.cpu, 3), "share_of_cpu": round(s.cpu / cpu, 4) if cpu else 0.0, "peak_mib": s.peak_mib,
                     **({"candidates": handled[name]} if name in handled else {})}
              for name in names if (s := state.spent.get(name)) is not None}
    evaluations = [r.get("evaluations", math.nan) for r in worked.values()]
    atoms = [r.get("atoms", math.nan) for r in worked.values()]
    known = [(e, a) for e, a in zip(evaluations, atoms, strict=True) if e == e and a == a]
    return {
        "stages": stages,
        "total": {"wall_seconds": round(wall, 3), "cpu_seconds": round(cpu, 3), "peak_mib": max((s.peak_mib for s in state.spent.values()), default=0.0),
                  "evaluations": int(sum(e for e, _ in known)), "evaluated_atoms": int(sum(e * a for e, a in known)), "sessions": len(state.sessions)},
        "counts": counts,
        "per_candidate": {"relax_cpu_seconds": _spread(relax_seconds(state).values()), "evaluations": _spread(evaluations), "atoms": _spread(atoms)},
        "cpu_seconds_per": {name: cpu / counts[name] if counts[name] else math.inf for name in ("proposed", "relaxed", "kept", "stable")},
        "per_cpu_hour": {name: rate(counts[name], cpu / 3600) for name in ("kept", "stable", "stable_unique_novel")},
    }
