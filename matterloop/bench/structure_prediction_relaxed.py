"""The first guesses of a structure prediction relaxed by a potential and ranked by energy: what an oracle adds.

The potentials that come with the package learnt from the Materials Project, test targets among it: these figures stand apart from the others and say so.
By energy alone the known crystal is often not the lowest: a target need not be the ground state, and potentials err by as much as polymorphs differ. So a third
order weighs both, ln gain - (E - E_lowest) / TEMPERATURE, with the gain that the guess had without an oracle; the temperature is chosen on the other half of the targets.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..base.errors import BadInput
from ..base.registry import load
from ..crystal.matching import prepare
from ..crystal.matching_distance import reduced_rms
from ..crystal.state import Crystals
from ..generate.analogue_fitting import Fitted
from ..generate.analogue_ranking import Ranker
from ..judge.structure_prediction import TOLERANCE, rates_of
from ..measure.relax import relax
from .structure_prediction_files import crystal_of, rows_of

FIRST = 5  # guesses of each target that are relaxed
STEPS = 200
TEMPERATURES = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5)  # eV/atom that are tried
ORDERS = ("as_guessed", "by_energy", "by_both")


def relaxed(targets: Sequence[tuple[str, str]], folder: Path, *, potential: str = "chgnet", first: int = FIRST, seed: int = 0,
            note: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Match rates of the first guesses of `targets` (id, CIF text), as guessed, and after relaxation in the order of energy and of gain and energy together.

    Rows go to `relaxed-POTENTIAL.jsonl` of the folder, which also holds what was fitted; targets already there are not done again. BadInput for no targets.
    """
    if not targets:
        raise BadInput("there are no targets to relax", "structure prediction")
    path = folder / f"relaxed-{potential}.jsonl"
    rows = {r["id"]: r for r in rows_of(path)}
    fitted = Fitted.load(folder)
    ranker, oracle = Ranker(fitted.members, fitted.metric, fitted.chance), load(potential, "potential")
    with path.open("w", encoding="utf-8") as stream:
        for row in rows.values():
            stream.write(json.dumps(row) + "\n")
        for name, text in targets:
            if name not in rows:
                rows[name] = {"id": name} | _row(crystal_of(name, text), fitted, ranker, oracle, first)
                stream.write(json.dumps(rows[name]) + "\n")
                stream.flush()
                note(f"{potential}: {len(rows)} targets relaxed")
    chosen = [rows[name] for name, _ in targets]
    halves = [chosen[::2], chosen[1::2]]
    at = [max(TEMPERATURES, key=lambda t, held=other: sum(d is not None for r in held for d in _both(r, t)[:1])) for other in reversed(halves)]
    for half, temperature in zip(halves, at, strict=True):
        for r in half:
            r["by_both"] = _both(r, temperature)
    best = lambda key, k: np.array([min((d for d in r[key][:k] if d is not None), default=np.inf) for r in chosen])
    return {"potential": potential, "warning": "potential trained on MP", "targets": len(chosen), "first": first, "temperatures": at} | {
        key: {f"at_{k}": rates_of(best(key, k), TOLERANCE.site, "match_rate", seed) for k in (1, first)} for key in ORDERS}


def _row(target: Crystals, fitted: Fitted, ranker: Ranker, oracle, first: int) -> dict[str, Any]:
    composition = {int(z): int(n) for z, n in zip(*np.unique(target.species.numpy(), return_counts=True), strict=True)}
    ranked = ranker.rank(composition, first)
    guesses = [g.crystal(fitted.volume(g)) for g in ranked]
    (wanted,) = prepare(target, TOLERANCE)
    out: dict[str, Any] = {"as_guessed": [_distance(g, wanted) for g in guesses], "by_energy": [], "energies": [], "relaxed": [], "gains": [round(g.gain, 5) for g in ranked]}
    if guesses:
        ends = relax(Crystals.join(guesses), oracle, steps=STEPS)
        energy = ends.energies_per_atom.numpy()
        out["energies"] = [round(float(e), 5) if np.isfinite(e) else None for e in energy]
        out["relaxed"] = [_distance(ends[i].crystal, wanted) for i in range(len(guesses))]
        out["by_energy"] = [out["relaxed"][i] for i in np.argsort(energy, kind="stable").tolist() if np.isfinite(energy[i])]
    return out


def _both(row: Mapping[str, Any], temperature: float) -> list[float | None]:
    """Distances after relaxation in the order of gain and energy together."""
    at = [i for i, e in enumerate(row["energies"]) if e is not None]
    lowest = min((row["energies"][i] for i in at), default=0.0)
    score = {i: math.log(max(row["gains"][i], 1e-9)) - (row["energies"][i] - lowest) / temperature for i in at}
    return [row["relaxed"][i] for i in sorted(at, key=lambda i: -score[i])]


def _distance(guess: Crystals, wanted) -> float | None:
    try:
        return reduced_rms(prepare(guess, TOLERANCE)[0], wanted)
    except BadInput:
        return None
