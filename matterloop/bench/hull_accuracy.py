"""How well a potential's own convex hull repeats the Materials Project's: energy above hull of the same structures, both ways.

Measures and limits as in J. Riebesell et al., "Matbench Discovery", Nat. Mach. Intell. 7, 836 (2025), doi:10.1038/s42256-025-01055-1: F1, precision and recall of
"on the hull" and "within 0.1 eV/atom". Intervals: percentile bootstrap over chemical systems, B. Efron, R. J. Tibshirani, An Introduction to the Bootstrap (1993), ch. 13.

Like with like: every structure is an entry of both hulls, so that a distance is 0 or above on either side, as the Materials Project gives it. What is measured is how
a reference repeats a known hull. It is not how well new crystals are judged: the potentials learnt from the Materials Project, these structures among it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..archive.shipped import read_table
from ..archive.sources import load_frame
from ..base.elements import symbol
from ..base.errors import BadInput
from ..base.seeds import numpy_stream
from ..crystal.composition import reduced_formula
from ..measure.reference import BUILT, RELAXED, coverage, phases

FILES = (  # data set, file, column of the Materials Project's energy above hull in eV/atom
    ("mp20_biternary_val_test", "val.csv.gz", "e_above_hull"), ("mp20_biternary_val_test", "test.csv.gz", "e_above_hull"),
    ("mp20_pilot_3x1000", "train.csv.gz", "e_above_hull"), ("mp20_pilot_3x1000", "val.csv.gz", "e_above_hull"), ("mp20_pilot_3x1000", "test.csv.gz", "e_above_hull"),
    ("mpts52_val_test", "val.csv.gz", "energy_above_hull"))
NAMES = {"mp20_biternary_val_test": "MP-20", "mp20_pilot_3x1000": "MP-20", "mpts52_val_test": "MPTS-52"}
LIMITS = (0.0, 0.1)  # eV/atom
TOLERANCE = 1e-6  # eV/atom within which a structure lies on the hull


@dataclass(frozen=True)
class Pairs:
    """Structures whose energy above hull both sides tell.

    ours, theirs  (structures,) eV/atom; names material ids, systems such as "Li-O", sources "MP-20" or "MPTS-52" (structures,)
    relaxed       (structures,) whether the potential relaxed the structure, else its energy is that of the published geometry
    strict        (structures,) every phase on the public hull of the system is in the reference, in the space group of its lowest entry
    formulas      (structures,) every formula on it is there, in whatever structure
    published     structures whose distance the data sets tell, in the reference or not
    """

    ours: np.ndarray
    theirs: np.ndarray
    names: np.ndarray
    systems: np.ndarray
    sources: np.ndarray
    relaxed: np.ndarray
    strict: np.ndarray
    formulas: np.ndarray
    published: int

    def pick(self, keep: np.ndarray) -> Pairs:
        """The structures where `keep` is true."""
        names = ("ours", "theirs", "names", "systems", "sources", "relaxed", "strict", "formulas")
        return Pairs(*(getattr(self, name)[keep] for name in names), self.published)


def published(data_dir: str | Path | None = None) -> dict[str, tuple[float, str]]:
    """{material id: (the Materials Project's energy above hull in eV/atom, "MP-20" or "MPTS-52")} of the data sets; an id that two hold counts once."""
    found: dict[str, tuple[float, str]] = {}
    for name, file, column in FILES:
        frame = load_frame(name, file, data_dir=data_dir, usecols=["material_id", column])
        for key, value in zip(frame["material_id"], frame[column], strict=True):
            if np.isfinite(value):
                found.setdefault(str(key), (float(value), NAMES[name]))
    return found


def covered(systems: set[frozenset[int]], lacking: list[frozenset[int]]) -> set[frozenset[int]]:
    """Those of `systems` within which none of `lacking` (the elements of each missing phase) lies."""
    by_element: dict[int, list[frozenset[int]]] = {}
    for elements in set(lacking):
        by_element.setdefault(min(elements), []).append(elements)
    return {s for s in systems if not any(m <= s for z in s for m in by_element.get(z, ()))}


def lacking_phases(potential: str) -> tuple[list[frozenset[int]], list[frozenset[int]]]:
    """Elements of every phase of the public hull that the reference of `potential` lacks: (as a structure, as a formula)."""
    table = read_table("hull_formulas")
    held = {_name(c) for c in phases(potential).compositions}
    elements = [frozenset(z.tolist()) for z in table.elements]
    strict = [e for e, formula in zip(elements, table.formula, strict=True) if coverage(formula, potential=potential)[0] < 1]
    formulas = [e for e, z, n in zip(elements, table.elements, table.counts, strict=True) if _name(dict(zip(z.tolist(), n.tolist(), strict=True))) not in held]
    return strict, formulas


def _name(composition: Mapping[int, int]) -> str:
    return symbol(next(iter(composition))) if len(composition) == 1 else reduced_formula(composition)


def pairs(potential: str = "chgnet", data_dir: str | Path | None = None) -> Pairs:
    """Every structure of the shipped reference of `potential` that the data sets give a distance for. Phases built by substitution are in the hull, not among them.

    Missing for a potential without a shipped reference, NotHere for data that are not at hand.
    """
    known, held = published(data_dir), phases(potential)
    hull = held.hull()
    rows = [i for i, name in enumerate(held.names) if name in known and held.protocols[i] != BUILT and not hull.missing(held.compositions[i])]
    if not rows:
        raise BadInput("none of its structures is in the data sets", f"reference of {potential}")
    elements = [frozenset(held.compositions[i]) for i in rows]
    strict, formulas = (covered(set(elements), lacking) for lacking in lacking_phases(potential))
    above = hull.energy_above([held.compositions[i] for i in rows], held.energies[rows], held.scheme).above
    theirs = [known[held.names[i]] for i in rows]
    return Pairs(
        np.maximum(above, 0.0), np.array([t[0] for t in theirs]), np.array([held.names[i] for i in rows]), np.array(["-".join(map(symbol, sorted(e))) for e in elements]), np.array([t[1] for t in theirs]),
        np.array([held.protocols[i] == RELAXED for i in rows]), np.array([e in strict for e in elements]), np.array([e in formulas for e in elements]), len(known))


def measures(ours: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    """Mean and median absolute difference and mean difference (ours - theirs) in eV/atom; F1, precision, recall at each of LIMITS."""
    gap = ours - theirs
    out = {"mae": float(np.abs(gap).mean()), "median_absolute": float(np.median(np.abs(gap))), "mean_difference": float(gap.mean())}
    for limit in LIMITS:
        said, true = ours <= limit + TOLERANCE, theirs <= limit + TOLERANCE
        both, said_, true_ = float((said & true).sum()), float(said.sum()), float(true.sum())
        out |= {f"f1_at_{limit:g}": 2 * both / (said_ + true_) if said_ + true_ else np.nan, f"precision_at_{limit:g}": both / said_ if said_ else np.nan,
                f"recall_at_{limit:g}": both / true_ if true_ else np.nan}
    return out


def scored(part: Pairs, resamples: int, rng: np.random.Generator) -> dict[str, Any]:
    """Structures, systems, `measures` as {value, low, high} with 95 % intervals, and for each limit the share of true cases and the F1 of calling all true."""
    names, system = np.unique(part.systems, return_inverse=True)
    order = np.argsort(system, kind="stable")
    rows = np.split(order, np.searchsorted(system[order], np.arange(1, len(names))))
    again = []
    for _ in range(resamples):
        drawn = np.concatenate([rows[i] for i in rng.integers(len(rows), size=len(rows))])
        again.append(measures(part.ours[drawn], part.theirs[drawn]))
    bounds = {name: np.nanpercentile([a[name] for a in again], (2.5, 97.5)) if again else (np.nan, np.nan) for name in (again[0] if again else measures(part.ours, part.theirs))}
    out: dict[str, Any] = {"structures": len(part.ours), "systems": len(names), "relaxed": int(part.relaxed.sum())}
    out |= {name: {"value": value, "low": float(bounds[name][0]), "high": float(bounds[name][1])} for name, value in measures(part.ours, part.theirs).items()}
    for limit in LIMITS:
        share = float((part.theirs <= limit + TOLERANCE).mean())
        out[f"true_share_at_{limit:g}"], out[f"f1_of_all_true_at_{limit:g}"] = share, 2 * share / (1 + share)
    return out


def hull_accuracy(potential: str = "chgnet", *, beside: str = "", data_dir: str | Path | None = None, seed: int = 0, resamples: int = 1000) -> dict[str, Any]:
    """Energy above the potential's own hull against the Materials Project's, as plain data.

    `parts`: "full coverage" (every phase on the public hull of the system, structure and all; the figure to quote), the same by data set, by number of elements and of
    relaxed structures only; "full coverage, also of NAME" for the potential `beside`: the structures that are fully covered for both; "formulas covered"; "all". Each as `scored` says. The public hull is that of the formation energies of matbench_mp_e_form.
    """
    found = pairs(potential, data_dir)
    sizes = np.array([len(s.split("-")) for s in found.systems])
    full = found.strict
    choices = {"full coverage": full, "full coverage, relaxed": full & found.relaxed,
               **{f"full coverage, {name}": full & (found.sources == name) for name in ("MP-20", "MPTS-52")},
               **{f"full coverage, {n} elements": full & (sizes == n) for n in range(2, 6)},
               "formulas covered": found.formulas, "all": np.ones(len(full), dtype=bool)}
    if beside:
        other = pairs(beside, data_dir)
        choices = {"full coverage": full, f"full coverage, also of {beside}": full & np.isin(found.names, other.names[other.strict]), **choices}
    held = phases(potential)
    return {
        "potential": potential, "scheme": held.scheme, "phases": len(held), "reference": {k: v for k, v in held.about.items() if isinstance(v, (int, float, str))},
        "published": found.published, "seed": seed, "resamples": resamples,
        "covered_share_of_structures": float(full.mean()), "covered_share_of_systems": len(set(found.systems[full])) / len(set(found.systems)),
        "parts": {name: scored(found.pick(keep), resamples, numpy_stream(seed, "hull accuracy", name)) for name, keep in choices.items() if keep.sum() >= 30},
    }
