"""What `bench generate` measured, as tables for people, the protocol in words above them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .bench_tables import between
from .cli import emit, say

PERCENT = ("valid", "unique", "novel", "second_novel")


def percent(value: Mapping[str, Any]) -> str:
    """A share with its interval: 23.4 % (20.8 to 26.1)."""
    return "–" if value["value"] is None else f"{100 * value['value']:.1f} % ({100 * value['low']:.1f} to {100 * value['high']:.1f})"


def generators_compared(found: Mapping[str, Any]) -> None:
    """A record of `bench generate`: yields on the lowest hull and on each, what the crystals are, what they cost, ratios to the base cases."""
    for sentence in found["protocol"]:
        say(sentence)
    say()
    rows = []
    for name, g in found["generators"].items():
        lowest = g["lowest"]["metasun"]
        on = g["hulls"][lowest]
        rows.append({"generator": name, "proposed": g["proposed"], **{k.replace("second_novel", "second novelty"): percent(g[k]) for k in PERCENT}, "MetaSUN, lowest hull": percent(on["metasun"]),
                     "SUN there": percent(on["sun"]), "hull": lowest, "MetaSUN per CPU-hour": between(on["metasun_per_cpu_hour"])})
    emit(rows, False, ("generator", "proposed", "valid", "unique", "novel", "second novelty", "MetaSUN, lowest hull", "SUN there", "hull", "MetaSUN per CPU-hour"))
    emit([{"generator": name, "hull": hull, "MetaSUN": percent(h["metasun"]), "SUN": percent(h["sun"]), "MetaSUN, both novelties": percent(h["metasun_both_novelties"]),
           "median above, eV/atom": h["median_above"], "MetaSUN per CPU-hour": between(h["metasun_per_cpu_hour"]), "SUN per CPU-hour": between(h["sun_per_cpu_hour"])}
          for name, g in found["generators"].items() for hull, h in g["hulls"].items()], False,
         ("generator", "hull", "MetaSUN", "SUN", "MetaSUN, both novelties", "median above, eV/atom", "MetaSUN per CPU-hour", "SUN per CPU-hour"))
    emit([{"generator": name, "P1": percent(g["p1_share"]), "structural": percent(g["structural"]), "as proposed": percent(g["structural_as_proposed"]), "converged": percent(g["converged"]),
           "space group kept": percent(g["kept_space_group"]), "SMACT": percent(g["charge_balanced"]), "RMSD Å, median": g["rmsd"]["median"], "mean": g["rmsd"]["mean"],
           "|ln V/V0|": g["volume_change"]["median"], "atoms": g["atoms"]["median"]} for name, g in found["generators"].items()], False,
         ("generator", "P1", "structural", "as proposed", "converged", "space group kept", "SMACT", "RMSD Å, median", "mean", "|ln V/V0|", "atoms"))
    emit([{"generator": name, "systems": g["systems"], "MetaSUN systems": g["metasun_systems"], "full coverage": percent(g["full_coverage"]), "of MetaSUN": percent(g["metasun_full_coverage"]),
           "crystal systems": ", ".join(f"{k} {v:.0%}" for k, v in g["crystal_systems"].items())} for name, g in found["generators"].items()], False,
         ("generator", "systems", "MetaSUN systems", "full coverage", "of MetaSUN", "crystal systems"))
    emit([{"generator": name, **{f"{stage}, CPU s": s for stage, s in g["cpu_seconds"].items()}, "each": g["cpu_seconds_per_proposal"], "turned away before": screened(g["report"])}
          for name, g in found["generators"].items()], False,
         ("generator", *dict.fromkeys(f"{stage}, CPU s" for g in found["generators"].values() for stage in g["cpu_seconds"]), "each", "turned away before"))
    for base, others in found["ratios"].items():
        if others:
            say(f"MetaSUN crystals per CPU-hour, times that of {base} (base case):")
            emit([{"generator": name, **{hull: between(r) for hull, r in by_hull.items()}} for name, by_hull in others.items()], False, ("generator", *found["hulls"]))
    short = [f"{name} made {g['proposed']} of {g['asked']}" for name, g in found["generators"].items() if g["proposed"] < g["asked"]]
    if short:
        say("; ".join(short))


def screened(report: Mapping[str, Any]) -> str:
    """What screens turned away, in words."""
    if not report:
        return ""
    away = ", ".join(f"{n} {name}" for name, n in report.get("screened_out", {}).items())
    return f"{report['drawn']} drawn" + (f": {away}" if away else "") if "drawn" in report else ", ".join(f"{k} {v}" for k, v in report.items() if isinstance(v, (int, float)))
