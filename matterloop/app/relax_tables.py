"""What `bench relax` measured, as tables for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .cli import emit, say


def ratio(row: Mapping[str, Any]) -> str:
    """A ratio with its interval; "none of theirs pass" where there is none."""
    if not row["theirs_per_second"]:
        return "none of theirs pass"
    show = lambda x: "–" if x is None or x != x else f"{x:.3g}"
    return f"{show(row['ratio'])} ({show(row['interval'][0])} to {show(row['interval'][1])})"


def relaxations(found: Mapping[str, Any]) -> None:
    """One start set."""
    what = {"a": "3 % strain and 0.05 Å rattle", "b": "symmetric strain and shifts"}[found["set"]]
    say(f"set {found['set']} ({what}): {found['crystals']} crystals of MP-20, {found['added_for_bins']} more for the bins; limits {found['limits']['fmax']} eV/Å, {found['limits']['smax_gpa']} GPa")
    table = [{"": "all drawn", "crystals": found["crystals"], **found}]
    table += [{"": f"{b['atoms'][0]} to {b['atoms'][1]} atoms", **b} for b in found["bins"]]
    table += [{"": f"at most {b['batch_atoms']} atoms in flight", "crystals": found["crystals"], "MiB": b["peak_mib"], **b} for b in found["batch_sizes"]]
    emit([{"": r[""], "crystals": r["crystals"], "ours/s": r["ours_per_second"], "theirs/s": r["theirs_per_second"], "ratio (95 %)": ratio(r), "our MiB": r.get("MiB")} for r in table], False,
         ("", "crystals", "ours/s", "theirs/s", "ratio (95 %)", "our MiB"))
    rows = [("ours", found["sides"]["ours"]), ("theirs, gone on until the limits are met", found["sides"]["theirs"])]
    if found["as_shipped"].get("reached"):
        rows.append(("theirs, by its own criterion", found["as_shipped"]))
    emit([{"side": name, "pass": s["passed"], "too much force": s["too_much_force"], "too much stress": s["too_much_stress"], "median GPa": s["largest_stress_gpa"]["median"],
           "largest GPa": s["largest_stress_gpa"]["largest"], "evaluations, median": s["evaluations"]["median"], "90 %": s["evaluations"]["90 %"], "mean": s["evaluations"]["mean"],
           "seconds": s["seconds"]} for name, s in rows], False,
         ("side", "pass", "too much force", "too much stress", "median GPa", "largest GPa", "evaluations, median", "90 %", "mean", "seconds"))
    if found["as_shipped"].get("reached"):
        low, high = found["as_shipped"]["interval_of_seconds"]
        say(f"seconds of theirs by its own criterion, whether its ends pass or not, over ours: {found['as_shipped']['ratio_of_seconds']:.1f} ({low:.1f} to {high:.1f})")
    memory, energy = found["memory_mib"], found["energy"]
    say(f"peak memory: ours {memory['ours']:.0f} MiB ({memory['ours_loaded']:.0f} once loaded), theirs {memory['theirs']:.0f} MiB ({memory['theirs_loaded']:.0f})")
    if energy["compared"]:
        say(f"energy not above theirs by more than 2 meV/atom: {energy['not_above']} of {energy['compared']}, median difference {1e3 * energy['median_gap']:.2f} meV/atom")
    for row in found["listed"]:
        gap = row["gap"]
        higher = "" if gap is None or gap != gap else f"{1e3 * gap:+.1f} meV/atom, "
        say(f"  {row['name']}, {row['atoms']} atoms: {higher}{row['reason']}")
    for name, kept in found.get("symmetry", {}).items():
        say(f"space group kept, {name}: {kept['kept']} of {kept['of']} (same number {kept['same_number']})" + "".join(f"; {x['name']}: {x['before']} to {x['after']}" for x in kept["lost"]))
