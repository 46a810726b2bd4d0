"""Stable candidates per CPU-hour of the whole loop, over a fixed set of wishes: what every later change can be judged by.

The idea of a fixed target and the whole cost to reach it is that of MLPerf HPC, S. Farrell et al., arXiv:2110.11466. Intervals: campaign/cost.py.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ..base.errors import BadInput
from ..base.machine import hardware, versions
from ..base.seeds import numpy_stream
from ..campaign.cost import Meter, rate, rate_ratio, share_interval
from ..campaign.outcome import Outcome

FORMAT = 1
WISHES = (  # the standard set: oxides, nitrides, sulfides, halides, phosphates, alloys, one structure type, no restriction at all
    "new ternary lithium oxides with fewer than 16 atoms within 50 meV of the hull",
    "stable binary nitrides with fewer than 12 atoms",
    "ternary copper sulfides",
    "cubic perovskite fluorides",
    "half-Heusler compounds",
    "quaternary sodium phosphates with at most 24 atoms",
    "stable intermetallics of magnesium",
    "any crystals",
)
COUNT = 50  # proposals per wish
RATES = ("stable", "stable_unique_novel", "kept")
Run = Callable[..., Outcome]  # wish, count, seed, out -> outcome: the whole loop, report included


def measure(run: Run, wishes: Sequence[str] = WISHES, count: int = COUNT, seed: int = 0, note: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Run the loop on every wish in one process and a temporary folder; returns the record, plain data.

    run    called with (wish, count=, seed=, out=); the first wish also pays for what is loaded once
    The record holds per wish and together: CPU and wall seconds by stage with shares, memory, the funnel, counts, {stable, stable_unique_novel, kept} per CPU-hour with
    95 % Poisson intervals; and hardware, versions, revision, seed, and the CPU seconds of a fixed piece of work (`calibration`) before and after.
    """
    if not wishes or count < 1:
        raise BadInput(f"{len(wishes)} wishes and {count} proposals each; at least one of both", "bench discover")
    before, whole, single = calibration(), Meter(), []
    with TemporaryDirectory(prefix="matterloop-bench-") as folder:
        for number, wish in enumerate(wishes):
            meter = Meter()
            outcome = run(wish, count=count, seed=seed, out=Path(folder) / str(number))
            reading = meter.read()
            if not outcome.finished:
                raise BadInput(f"the run ended early ({outcome.stopped or 'killed'}); nothing is recorded", wish)
            single.append({"wish": wish, "cpu_seconds": reading["cpu"], "wall_seconds": reading["elapsed"], "funnel": [list(x) for x in outcome.funnel], "cost": dict(outcome.cost)})
            note(f"{wish}: {reading['cpu']:.1f} CPU seconds, {outcome.cost['counts']['kept']} kept, {outcome.cost['counts']['stable']} stable")
    reading = whole.read()
    return {
        "record": "matterloop bench discover", "format": FORMAT, "made": datetime.now(timezone.utc).isoformat(timespec="seconds"), "seed": seed, "count": count,
        "standard": tuple(wishes) == WISHES, "together": together(single, reading), "wishes": single, "calibration": [before, calibration()],
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else [], "hardware": hardware(), "versions": versions(), "revision": revision()}


def together(single: Sequence[Mapping[str, Any]], reading: Mapping[str, float]) -> dict[str, Any]:
    """Sums over the wishes: seconds by stage with shares, counts, yields with 95 % intervals, rates per CPU-hour of all that was spent."""
    stages: dict[str, dict[str, float]] = {}
    counts: dict[str, int] = {}
    for one in single:
        for name, s in one["cost"]["stages"].items():
            sums = stages.setdefault(name, {"cpu_seconds": 0.0, "wall_seconds": 0.0, "peak_mib": 0.0, "candidates": 0})
            for key in ("cpu_seconds", "wall_seconds", "candidates"):
                sums[key] += s.get(key, 0)
            sums["peak_mib"] = max(sums["peak_mib"], s["peak_mib"])
        for name, n in one["cost"]["counts"].items():
            counts[name] = counts.get(name, 0) + n
    cpu = reading["cpu"]
    for s in stages.values():
        s |= {"share_of_cpu": round(s["cpu_seconds"] / cpu, 4) if cpu else 0.0, "cpu_seconds": round(s["cpu_seconds"], 3), "wall_seconds": round(s["wall_seconds"], 3),
              "cpu_seconds_per_candidate": round(s["cpu_seconds"] / s["candidates"], 5) if s["candidates"] else math.nan}
    staged = sum(s["cpu_seconds"] for s in stages.values())
    names = list(dict.fromkeys(name for one in single for name, _ in one["funnel"]))
    funnel = {name: sum(n for one in single for other, n in one["funnel"] if other == name) for name in names}
    proposed = counts["proposed"]
    low_high = lambda n: dict(zip(("low", "high"), share_interval(min(n, proposed), proposed), strict=True))
    evaluations = sum(one["cost"]["total"]["evaluations"] for one in single)
    return {
        "cpu_seconds": cpu, "wall_seconds": reading["elapsed"], "peak_mib": reading["peak_mib"], "cpu_seconds_outside_stages": round(cpu - staged, 3), "stages": stages, "counts": counts,
        "evaluations": evaluations, "funnel": {name: {"candidates": n, "share": n / proposed if proposed else math.nan, **low_high(n)} for name, n in funnel.items()},
        "per_cpu_hour": {name: rate(counts[name], cpu / 3600) for name in RATES}, "cpu_seconds_per_proposal": cpu / proposed if proposed else math.nan}


def calibration() -> float:
    """CPU seconds of a fixed piece of single-threaded work in numpy and Python, the best of three: how fast this processor is right now."""
    rng, best = np.random.default_rng(0), math.inf
    values = rng.random(400_000)
    for _ in range(3):
        begun = time.process_time()
        for _ in range(3):
            np.sort(values)
            np.sqrt(values * values + 1.0).sum()
        sum(i * i % 7 for i in range(300_000))
        best = min(best, time.process_time() - begun)
    return round(best, 5)


def revision() -> dict[str, Any]:
    """{commit, changed: whether files differ from it} of the checkout that the package lies in; empty outside one."""
    root = Path(__file__).resolve().parents[2]
    try:
        git = lambda *words: subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=20, check=True).stdout.strip()
        return {"commit": git("rev-parse", "HEAD"), "changed": bool(git("status", "--porcelain", "--untracked-files=no"))} if (root / ".git").exists() else {}
    except (OSError, subprocess.SubprocessError):
        return {}


# comparison with an earlier record


def read_record(path: str | Path) -> dict[str, Any]:
    """A record from its file; BadInput where the file is none, or of another format."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"cannot be read: {error.strerror or error}", str(path)) from None
    except ValueError as error:
        raise BadInput(f"is not JSON: {error}", str(path)) from None
    if not isinstance(found, dict) or found.get("record") != "matterloop bench discover":
        raise BadInput("is no record of `matterloop bench discover`", str(path))
    if found.get("format") != FORMAT:
        raise BadInput(f"is of format {found.get('format')!r}, this matterloop reads {FORMAT}", str(path))
    return found


def compare(now: Mapping[str, Any], earlier: Mapping[str, Any], resamples: int = 2000) -> dict[str, Any]:
    """What changed since an earlier record of the same wishes, counts and seed; BadInput for another task.

    speed        earlier CPU seconds over those of now for the same proposals, with a 95 % interval from a bootstrap over the wishes; above 1 is faster
    calibrated   the same with both sides in units of their own calibration: what is left if the processor was faster or slower
    stages       {stage: the same ratio, without interval}
    rates        {stable, stable_unique_novel, kept per CPU-hour: now over earlier, the two counts taken as independent Poisson variables}. For the same seed they are nearly the same
                 candidates, so that these intervals are wide: `speed` and `counts` say more
    counts       {name: [now, earlier]}
    notes        sentences on what else differs
    """
    for name in ("count", "seed"):
        if now[name] != earlier[name]:
            raise BadInput(f"{name} is {now[name]} here and {earlier[name]} in the record; run with the same", "compare")
    wishes, others = ([one["wish"] for one in r["wishes"]] for r in (now, earlier))
    if wishes != others:
        raise BadInput("the record is of other wishes; run the same ones", "compare")
    cpu, before = (np.array([one["cpu_seconds"] for one in r["wishes"]]) for r in (now, earlier))
    rng = numpy_stream(0, "bench discover", "compare")
    drawn = rng.integers(len(cpu), size=(resamples, len(cpu)))
    low, high = np.percentile(before[drawn].sum(1) / cpu[drawn].sum(1), (2.5, 97.5))
    unit, unit_before = (min(r["calibration"]) for r in (now, earlier))
    value, faster = before.sum() / cpu.sum(), unit / unit_before
    a, b = now["together"], earlier["together"]
    hours = lambda part: part["cpu_seconds"] / 3600
    notes = [f"{name} differs: {x} now, {y} then" for key in ("hardware", "versions") for name in sorted({*now[key], *earlier[key]})
             if (x := now[key].get(name)) != (y := earlier[key].get(name)) and name != "torch_threads"]
    return {
        "speed": {"value": float(value), "low": float(low), "high": float(high)},
        "calibrated": {"value": float(value * faster), "low": float(low * faster), "high": float(high * faster)},
        "stages": {name: b["stages"][name]["cpu_seconds"] / s["cpu_seconds"] for name, s in a["stages"].items() if name in b["stages"] and s["cpu_seconds"]},
        "rates": {name: rate_ratio(a["counts"][name], hours(a), b["counts"][name], hours(b)) for name in RATES},
        "counts": {name: [n, b["counts"].get(name, 0)] for name, n in a["counts"].items()},
        "peak_mib": [a["peak_mib"], b["peak_mib"]],
        "notes": notes + ([f"commit {earlier['revision'].get('commit', 'unknown')[:12]} then"] if earlier.get("revision") else [])}
