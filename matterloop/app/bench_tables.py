"""What the benchmarks measured, as tables for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .cli import emit, say


def between(value: Mapping[str, Any], digits: int = 3) -> str:
    """A number with its interval: 1.23 (1.1 to 1.4); a dash where there is none."""
    if value["value"] is None:
        return "–"
    show = lambda x: "∞" if x is None else f"{x:.{digits}g}"
    return f"{show(value['value'])} ({show(value['low'])} to {show(value['high'])})"


def discovered(record: Mapping[str, Any]) -> None:
    """Stages, yields and rates of a record of `bench discover`."""
    whole = record["together"]
    emit([{"stage": name, "CPU s": s["cpu_seconds"], "share": f"{s['share_of_cpu']:.1%}", "wall s": s["wall_seconds"], "candidates": s["candidates"] or None,
           "CPU ms each": None if s["cpu_seconds_per_candidate"] is None else 1e3 * s["cpu_seconds_per_candidate"], "peak MiB": s["peak_mib"]}
          for name, s in whole["stages"].items()], False, ("stage", "CPU s", "share", "wall s", "candidates", "CPU ms each", "peak MiB"))
    say(f"together {whole['cpu_seconds']:.1f} CPU seconds, {whole['wall_seconds']:.1f} of wall time, {whole['evaluations']} evaluations, at most {whole['peak_mib']:.0f} MiB")
    emit([{"came as far as": name, "candidates": f["candidates"], "share (95 %)": f"{f['share']:.1%} ({f['low']:.1%} to {f['high']:.1%})"} for name, f in whole["funnel"].items()],
         False, ("came as far as", "candidates", "share (95 %)"))
    emit([{"": name.replace("_", ", "), "candidates": whole["counts"][name], "per CPU-hour (95 %)": between(r)} for name, r in whole["per_cpu_hour"].items()],
         False, ("", "candidates", "per CPU-hour (95 %)"))


def since(changed: Mapping[str, Any], name: str) -> None:
    """What changed since an earlier record."""
    say(f"against {name}:")
    say(f"  CPU seconds for the same proposals: {between(changed['speed'])} times faster; with the processor's own speed taken out {between(changed['calibrated'])}")
    say("  by stage: " + ", ".join(f"{stage} {ratio:.2f}" for stage, ratio in changed["stages"].items()))
    for what, ratio in changed["rates"].items():
        now, then = changed["counts"][what]
        say(f"  {what.replace('_', ', ')} per CPU-hour: {between(ratio)} times; {now} now, {then} then")
    for note in changed["notes"]:
        say(f"  {note}")


def hulls_compared(found: Mapping[str, Any]) -> None:
    """Energy above a potential's own hull against the Materials Project's."""
    milli = lambda r: f"{1e3 * r['value']:.1f} ({1e3 * r['low']:.1f} to {1e3 * r['high']:.1f})"
    short = lambda r: between(r) if r["value"] is not None else "–"
    emit([{"part": name, "structures": p["structures"], "systems": p["systems"], "MAE meV": milli(p["mae"]), "median meV": milli(p["median_absolute"]), "bias meV": milli(p["mean_difference"]),
           **{f"{what} at {limit:g}": short(p[f"{what.lower()}_at_{limit:g}"]) for limit in (0.0, 0.1) for what in ("F1", "precision", "recall")},
           **{f"true at {limit:g}": f"{p[f'true_share_at_{limit:g}']:.1%}" for limit in (0.0, 0.1)}} for name, p in found["parts"].items()], False,
         ("part", "structures", "systems", "MAE meV", "median meV", "bias meV", "F1 at 0", "precision at 0", "recall at 0", "true at 0", "F1 at 0.1", "precision at 0.1", "recall at 0.1", "true at 0.1"))
    say(f"{found['potential']}: {found['phases']} phases; {found['covered_share_of_structures']:.1%} of the structures and {found['covered_share_of_systems']:.1%} of the chemical systems "
        f"are fully covered: every phase that the public hull names in the system is in the reference, in its structure. 95 % intervals: bootstrap over systems")
