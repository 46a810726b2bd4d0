"""Relaxation against chgnet's StructOptimizer: the same disturbed MP-20 crystals on both sides, ends judged by the original chgnet.

Start sets: "a", every cell strained (3 %) and every atom rattled (0.05 Å per component, both normal); "b", the same projected on what leaves the space
group as it is. Rates count only crystals whose end passes the judge: largest force 0.05 eV/Å, largest stress component 0.1 GPa. Intervals: percentile
bootstrap over crystals, both sides resampled together (B. Efron, Annals of Statistics 7, 1 (1979), doi:10.1214/aos/1176344552).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..archive.sources import load_frame, source
from ..base.errors import BadInput, MatterloopError
from ..base.machine import hardware, versions
from ..base.seeds import numpy_stream
from ..crystal.formats import read_text_of
from ..crystal.state import Crystals
from ..crystal.symmetry import Symmetrizer
from .relaxing_sides import FMAX, SMAX, environment, lines, read_starts, symmetry_kept, write_starts

DATA, FILE = "mp20_biternary_val_test", "test.csv.gz"
STRAIN, RATTLE = 0.03, 0.05  # Å
SYMPREC = 0.1  # Å, in which published crystals are symmetrised
BINS = ((2, 4), (5, 8), (9, 12), (13, 20), (21, 40), (41, 60))
ABOVE = 2e-3  # eV/atom: an end higher than theirs by more is listed
ENOUGH = 4  # crystals of every bin; missing ones are added, beyond 20 atoms as supercells


def published(count: int, seed: int, atoms: tuple[int, int], data_dir: str | Path | None = None, enough: int = ENOUGH) -> tuple[Crystals, list[str], int]:
    """`count` random crystals of MP-20's test set and, for bins of `atoms` with fewer than `enough`, more: (crystals, names, how many of them, the first, are the random ones).

    Raises NotHere with what to do where the data set is missing.
    """
    table = load_frame(DATA, FILE, data_dir=data_dir).sample(frac=1, random_state=seed)
    low, high = atoms
    bins = [(max(a, low), min(b, high)) for a, b in BINS if a <= high and b >= low]
    have, out, names, drawn = np.zeros(len(bins), dtype=int), [], [], 0
    for name, text in zip(table.material_id, table.cif, strict=True):
        if drawn >= count and (have >= enough).all():
            break
        one = read_text_of(text).crystals.bare()
        bin_of = lambda n: next((k for k, (a, b) in enumerate(bins) if a <= n <= b), None)
        if drawn < count:  # nothing is added before all are drawn: those come first
            copies = 1 if bin_of(one.atoms) is not None else 0
            drawn += copies
        else:
            copies = next((c for c in (1, 2, 3, 4, 6, 8) if (k := bin_of(one.atoms * c)) is not None and have[k] < enough), 0)
        if copies:
            have[bin_of(one.atoms * copies)] += 1
            out.append(_copies(one, copies))
            names.append(name if copies == 1 else f"{name} x {copies}")
    if not out:
        raise BadInput(f"no crystal of {low} to {high} atoms", "bench relax")
    return Crystals.join(out), names, drawn


def _copies(one: Crystals, copies: int) -> Crystals:
    """A supercell of `copies` cells, each doubling or tripling along the shortest axis."""
    while copies > 1:
        step = 2 if copies % 2 == 0 else 3
        times = [1, 1, 1]
        times[int(one.lengths[0].argmin())] = step
        one, copies = one.repeated(*times), copies // step
    return one


def disturbed(crystals: Crystals, kind: str, seed: int) -> Crystals:
    """The start set "a" or "b"; each crystal's disturbance depends on `seed` and its place alone."""
    out = []
    for k, one in enumerate(crystals):
        rng = numpy_stream(seed, "bench relax", k)
        bend = torch.from_numpy(rng.normal(size=(3, 3)) * STRAIN / 3**0.5)
        bend, push = ((bend + bend.T) / 2)[None], torch.from_numpy(rng.normal(size=(one.atoms, 3)) * RATTLE)
        if kind == "b":
            found = Symmetrizer.of(one, SYMPREC)
            one = found.crystals(one)
            bend, push = found.stress(bend, one.cell), found.forces(push, one.cell)
        cell = one.cell @ (torch.eye(3, dtype=torch.float64) + bend)
        out.append(one.put(cell=cell, frac=one.frac + push @ torch.linalg.inv(one.cell[0] if kind == "b" else cell[0])))
    return Crystals.join(out)


def compare(kind: str, *, crystals: int = 48, atoms: tuple[int, int] = (2, 60), batch_sizes: Sequence[int] = (512, 64, 2048), seed: int = 0, threads: int = 2,
            data_dir: str | Path | None = None, folder: str | Path | None = None, note: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Relax one start set ("a" or "b") on both sides and judge the ends; returns the record, plain data.

    batch_sizes  atoms in flight on our side; the first is the one that is judged and compared
    folder       where the sides write as they go, and from where a run that was stopped goes on; a temporary one if absent

    Raises BadInput for impossible settings or a folder of another task, NotHere where the data set is missing, MatterloopError where a side dies.
    """
    if kind not in ("a", "b"):
        raise BadInput(f"the start set is {kind!r}, allowed are 'a' and 'b'", "bench relax")
    for name, number in (("crystals", crystals), ("threads", threads), ("atoms", min(atoms)), ("batch sizes", min(batch_sizes, default=0)), ("atoms", atoms[1] - atoms[0] + 1)):
        if number < 1:
            raise BadInput(f"{name}: {number}, must be at least 1", "bench relax")
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="matterloop-bench-relax-") as made:
            return _compare(kind, crystals, atoms, batch_sizes, seed, threads, data_dir, Path(made), note)
    return _compare(kind, crystals, atoms, batch_sizes, seed, threads, data_dir, Path(folder), note)


def _compare(kind, crystals, atoms, batch_sizes, seed, threads, data_dir, folder: Path, note) -> dict[str, Any]:
    base, names, drawn = published(crystals, seed, atoms, data_dir)
    task = {"set": kind, "crystals": crystals, "atoms": list(atoms), "batch_sizes": list(batch_sizes), "seed": seed, "threads": threads, "symmetric": kind == "b", "drawn": drawn}
    folder.mkdir(parents=True, exist_ok=True)
    held = folder / "task.json"
    if held.exists() and json.loads(held.read_text(encoding="utf-8")) != task:
        raise BadInput("holds a run of other settings; give another folder or the same settings", str(folder))
    write_starts(folder / "starts.npz", disturbed(base, kind, seed))
    held.write_text(json.dumps(task), encoding="utf-8")
    starts, begin = read_starts(folder / "starts.npz"), time.time()
    for side in ("ours", "theirs", "judge"):
        note(f"set {kind}: {side}, {len(starts)} crystals of {int(starts.counts.min())} to {int(starts.counts.max())} atoms")
        done = subprocess.run([sys.executable, "-m", "matterloop.bench.relaxing_sides", side, str(folder)], env=environment(threads), capture_output=True, text=True)
        if done.returncode:
            tail = done.stderr.strip().splitlines()[-1:] or [f"signal or status {done.returncode}"]
            raise MatterloopError(f"the side {side!r} of the benchmark ended early: {tail[0]}")
    runs, peer, verdicts = list(lines(folder / "ours.jsonl")), list(lines(folder / "theirs.jsonl")), list(lines(folder / "judge.jsonl"))
    found = summary(kind, starts, names, drawn, runs, peer, verdicts, seed)
    data = source(DATA)
    return found | {
        "task": task, "data": {"name": DATA, "file": FILE, "version": data.version}, "hardware": hardware(), "versions": versions(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"), "seconds": round(time.time() - begin, 1)}


def summary(kind: str, starts: Crystals, names: list[str], drawn: int, runs: list[dict], peer: list[dict], verdicts: list[dict], seed: int = 0) -> dict[str, Any]:
    """The record of one start set from what the sides and the judge wrote."""
    side = lambda name, key: np.array([v[key] for v in verdicts if v["side"] == name])
    passed = {name: (side(name, "fmax") <= FMAX) & (side(name, "smax_gpa") <= SMAX) for name in ("ours", "theirs")}
    mine, counts = runs[0]["crystals"], starts.counts.numpy()
    spent = {"ours": np.array([x["seconds"] for x in mine]), "theirs": np.array([x["seconds"] for x in peer])}
    gap = side("ours", "energy_per_atom") - side("theirs", "energy_per_atom")
    ratio = lambda which, seconds=spent["ours"]: _ratio(passed["ours"][which], seconds[which], passed["theirs"][which], spent["theirs"][which], seed)
    rows = []
    for low, high in BINS:
        which = np.flatnonzero((counts >= low) & (counts <= high))
        if len(which):
            rows.append({"atoms": [low, high], "crystals": len(which)} | ratio(which))
    everyone = np.arange(drawn)
    both = passed["ours"] & passed["theirs"]
    close = gap[both] <= ABOVE
    out = {
        "set": kind, "crystals": drawn, "added_for_bins": len(starts) - drawn, "limits": {"fmax": FMAX, "smax_gpa": SMAX}, **ratio(everyone), "bins": rows,
        "batch_sizes": [{"batch_atoms": r["batch_atoms"], "peak_mib": r["peak_mib"]} | ratio(everyone, np.array([x["seconds"] for x in r["crystals"]])) for r in runs],
        "memory_mib": {"ours": runs[0]["peak_mib"], "ours_loaded": runs[0]["loaded_mib"], "theirs": max(x["peak_mib"] for x in peer), "theirs_loaded": peer[0]["loaded_mib"]},
        "sides": {name: _side(part, passed[name], side(name, "fmax"), side(name, "smax_gpa")) for name, part in (("ours", mine), ("theirs", peer))},
        "as_shipped": _shipped(peer, side("as_shipped", "fmax"), side("as_shipped", "smax_gpa"), spent["ours"], everyone, seed),
        "energy": {
            "compared": int(both.sum()), "not_above": int(close.sum()), "share_not_above": float(close.mean()) if len(close) else float("nan"),
            "median_gap": float(np.median(gap[both])) if both.any() else float("nan")},
        "listed": [_listed(k, names, counts, mine, peer, passed, gap, verdicts, len(mine)) for k in range(len(mine)) if not passed["ours"][k] or (both[k] and gap[k] > ABOVE)],
    }
    if kind == "b":
        out["symmetry"] = {name: _kept(starts, part, names) for name, part in (("ours", mine), ("theirs", peer))}
    return out


def _ratio(pass_ours, seconds_ours, pass_theirs, seconds_theirs, seed: int, resamples: int = 2000) -> dict[str, Any]:
    """Structures that pass per second on both sides, and their ratio with a 95 % interval."""
    rates = lambda p, s: p.sum(-1) / s.sum(-1)
    pick = numpy_stream(seed, "bench relax", "bootstrap").integers(0, len(pass_ours), (resamples, len(pass_ours)))
    mine, theirs = rates(pass_ours, seconds_ours), rates(pass_theirs, seconds_theirs)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = float(mine / theirs) if theirs else float("inf")
        many = rates(pass_ours[pick], seconds_ours[pick]) / rates(pass_theirs[pick], seconds_theirs[pick])
    many = many[~np.isnan(many)]
    span = [float(v) for v in np.quantile(many, [0.025, 0.975], method="inverted_cdf")] if len(many) else [float("nan")] * 2
    return {"ours_per_second": float(mine), "theirs_per_second": float(theirs), "ratio": ratio, "interval": span}


def _side(part: list[dict], passed: np.ndarray, force: np.ndarray, stress: np.ndarray) -> dict[str, Any]:
    """What a side did and how the judge found it."""
    evaluations = np.array([x["evaluations"] for x in part])
    return {
        "seconds": float(sum(x["seconds"] for x in part)), "passed": int(passed.sum()), "says_converged": sum(x["status"] == "converged" for x in part),
        "too_much_force": int((force > FMAX).sum()), "too_much_stress": int((stress > SMAX).sum()), "failed": sum(x["status"] == "failed" for x in part),
        "largest_stress_gpa": {q: float(np.nanquantile(stress, v)) for q, v in (("median", 0.5), ("90 %", 0.9), ("largest", 1.0))},
        "evaluations": {"mean": float(evaluations.mean()), "median": float(np.median(evaluations)), "90 %": float(np.quantile(evaluations, 0.9)), "largest": int(evaluations.max())}}


def _shipped(peer: list[dict], force: np.ndarray, stress: np.ndarray, spent: np.ndarray, which: np.ndarray, seed: int) -> dict[str, Any]:
    """Their side had it stopped by its own criterion at fmax 0.05: how far its ends are from the limits, and the ratio of seconds whether they pass or not."""
    ends = [x["as_shipped"] for x in peer if x["as_shipped"]]
    if not ends:
        return {"reached": 0}
    seconds = np.array([(x["as_shipped"] or x)["seconds"] for x in peer])
    passed = (force <= FMAX) & (stress <= SMAX)
    ratio = _ratio(np.ones(len(which)), spent[which], np.ones(len(which)), seconds[which], seed)
    return {"reached": len(ends), "ratio_of_seconds": ratio["ratio"], "interval_of_seconds": ratio["interval"]} | _side(
        [x | {"status": "converged"} for x in ends], passed, force, stress)


def _listed(k: int, names, counts, mine, peer, passed, gap, verdicts, many: int) -> dict[str, Any]:
    """A crystal whose end did not pass, or lies higher than theirs, and why."""
    v = next(x for x in verdicts if x["side"] == "ours" and x["crystal"] == k)
    if not passed["ours"][k]:
        why = mine[k]["reason"] or f"the judge finds {v['fmax']:.3f} eV/Å and {v['smax_gpa']:.3f} GPa"
    else:
        volume = lambda x: abs(float(np.linalg.det(np.array(x["cell"])))) / counts[k]
        mine_v, their_v = volume(mine[k]), volume(peer[k])
        why = f"another minimum: {mine_v:.2f} against {their_v:.2f} Å^3 per atom" if abs(mine_v / their_v - 1) > 0.005 else "another minimum of about the same volume, or a flat valley"
    return {"name": names[k], "atoms": int(counts[k]), "gap": float(gap[k]), "passed": bool(passed["ours"][k]), "reason": why}


def _kept(starts: Crystals, part: list[dict], names: list[str]) -> dict[str, Any]:
    """How many ends keep every operation of their start, and those that do not."""
    kept, lost, same = 0, [], 0
    for k, x in enumerate(part):
        end = starts[k].put(frac=torch.tensor(x["frac"], dtype=torch.float64), cell=torch.tensor([x["cell"]], dtype=torch.float64))
        holds, before, after = symmetry_kept(starts[k], end)
        kept, same = kept + holds, same + (before == after)
        if not holds:
            lost.append({"name": names[k], "before": before, "after": after})
    return {"kept": kept, "of": len(part), "same_number": same, "lost": lost}
