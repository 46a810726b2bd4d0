"""Readers of tasks whose rows stand in no table of CIFs: what our own engine relaxed, what is at hand of MP-20, and the phonon database."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..archive import shipped
from ..archive.sources import data_path
from ..base.elements import symbol
from ..crystal.composition import compositions
from ..crystal.formats import read_table, read_text_of
from ..crystal.state import Crystals

if TYPE_CHECKING:
    from .property_task_table import PropertyTask

STARTS = "starts_chgnet"  # our own candidates as they were proposed; their energies after relaxation stand in genes_chgnet
START = "/start"  # what the key of a crystal as proposed ends with
MOST_ATOMS = 40  # in the primitive cell
WIDEST = 5.0  # eV/atom of formation energy: what lies beyond fell apart
MP20_FILES = (("mp20_biternary_val_test", "val.csv.gz"), ("mp20_biternary_val_test", "test.csv.gz"), *(("mp20_pilot_3x1000", f"{part}.csv.gz") for part in ("train", "val", "test")))
PEAK = 0.1  # of the highest density of states that a last peak has at least


@dataclass(frozen=True)
class Rows:
    """Rows as they were read.

    labels  (rows,) in the task's unit; known (rows,): what is known beforehand and subtracted from labels and predictions alike, None for nothing
    groups  (rows,) what keeps rows together in a split by "system"
    """

    inputs: Crystals
    keys: tuple[str, ...]
    labels: np.ndarray
    known: np.ndarray | None = None
    groups: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()


def engine(task: PropertyTask, data_dir: str | Path | None = None) -> Rows:
    """Every shipped structure that our engine relaxed, in its primitive cell, and our own candidates as they were proposed, each with the energy after relaxation.

    Labels are formation energies; the column "energy_above_hull" adds the formation energy of the hull at each composition as what is known.
    """
    from ..crystal.wyckoff_primitive import primitive_crystals
    from ..measure.hull_level import hull_level
    from ..measure.labelled_genes import shipped_genes

    table = shipped_genes()
    relaxed = primitive_crystals(table.parameters)
    use = np.flatnonzero((relaxed.counts.numpy() <= MOST_ATOMS) & (np.abs(table.formation_energy) <= WIDEST))
    begun, names = starts()
    row_of = {name: i for i, found in enumerate(zip(table.ids, table.aliases, strict=True)) for name in (found[0], *found[1])}
    rows = np.array([row_of.get(name, -1) for name in names])
    there = np.flatnonzero((rows >= 0) & np.isin(rows, use))
    every = np.concatenate([use, rows[there]])
    energy = table.formation_energy[every]
    inputs = Crystals.join([relaxed[use.tolist()].bare(), begun[there.tolist()].bare()])
    keys = (*(table.ids[i] for i in use), *(names[i] + START for i in there))
    groups = tuple("-".join(symbol(z) for z in sorted(c)) for c in compositions(inputs))
    return Rows(inputs, keys, energy, hull_level(inputs) if task.column == "energy_above_hull" else None, groups)


def starts() -> tuple[Crystals, list[str]]:
    """Our own candidates before their relaxation, and their names."""
    table = shipped.read_table(STARTS)
    counts = np.array([len(s) for s in table.species])
    together = lambda column: torch.from_numpy(np.concatenate(table[column].tolist()).astype(np.float64))
    return Crystals(together("frac").reshape(-1, 3), together("species").long(), together("cell").reshape(-1, 3, 3),
                    torch.from_numpy(np.concatenate([[0], counts.cumsum()]))).checked(), table.id.tolist()


def mp20(task: PropertyTask, data_dir: str | Path | None = None) -> Rows:
    """MP-20 as far as it is at hand: bi- and ternary validation and test files and the pilot's three; "is_metal": 1 for a band gap of 0."""
    import pandas as pd

    crystals, keys, labels, skipped, seen = [], [], [], [], set()
    for data, file in MP20_FILES:
        path = data_path(data, file, data_dir=data_dir)
        table, found = pd.read_csv(path), read_table(path, id_column="material_id")
        names = table.material_id.astype(str).tolist()
        places = [row for _, row in found.sources]
        fresh = [k for k, row in enumerate(places) if names[row] not in seen]
        seen |= {names[places[k]] for k in fresh}
        values = (table.band_gap == 0.0) if task.column == "is_metal" else table[task.column]
        crystals.append(found.crystals.bare()[fresh])
        keys += [names[places[k]] for k in fresh]
        labels += [float(values[places[k]]) for k in fresh]
        skipped += [f"{file}, {e.row}: {e.message}" for e in found.errors]
    return Rows(Crystals.join(crystals), tuple(keys), np.array(labels), skipped=tuple(skipped))


def phonons(task: PropertyTask, data_dir: str | Path | None = None) -> Rows:
    """Materials of the phonon database that have the property named by the task's column."""
    of = PHONON[task.column]
    crystals, keys, labels = [], [], []
    with gzip.open(data_path(task.data, task.train, data_dir=data_dir), "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            value = of(row)
            if value is not None and np.isfinite(value) and value > 0:
                crystals.append(read_text_of(row["cif"], "cif").crystals.bare())
                keys.append(row["material_id"])
                labels.append(value)
    return Rows(Crystals.join(crystals), tuple(keys), np.array(labels))


def mean_trace(row: dict, name: str) -> float | None:
    """A third of the trace of a dielectric tensor, None where there is none or where it is no insulator's."""
    held = (row.get("dielectric") or {}).get(name)
    value = None if held is None else float(np.trace(np.array(held, dtype=float))) / 3
    return value if value is not None and 1 <= value < 1000 else None


def refraction(row: dict) -> float | None:
    """Square root of the electronic dielectric constant."""
    value = mean_trace(row, "eps_electronic")
    return None if value is None else value**0.5


def last_peak(row: dict) -> float | None:
    """Frequency in 1/cm of the last maximum of the density of states that is at least PEAK of its highest; None for imaginary modes."""
    if row["flags"].get("has_neg_fr") not in (False, "False"):
        return None
    x, y = np.array(row["dos_frequencies_cm1"]), np.array(row["ph_dos"])
    inner = np.flatnonzero((y[1:-1] >= y[:-2]) & (y[1:-1] > y[2:]) & (y[1:-1] >= PEAK * y.max())) + 1
    return float(x[inner[-1]]) if len(inner) else None


PHONON: dict[str, Callable[[dict], float | None]] = {
    "dielectric_constant": lambda row: mean_trace(row, "eps_total"), "refractive_index": refraction, "last_phonon_peak": last_peak}
READERS: dict[str, Callable[..., Rows]] = {"engine": engine, "mp20": mp20, "phonons": phonons}
