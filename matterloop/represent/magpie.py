"""Composition fingerprint of Magpie: minimum, maximum, range, mean, mean absolute deviation and mode of 22 elemental properties, 132 numbers.

L. Ward, A. Agrawal, A. Choudhary, C. Wolverton, npj Comput. Mater. 2, 16028 (2016), doi:10.1038/npjcompumats.2016.28. Equal to matminer's
ElementProperty.from_preset("magpie"); the properties are read from the element tables that matminer installs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..base.elements import MAX_Z
from ..base.errors import BadInput, NeedsPackage
from ..base.registry import Card
from ..crystal.composition import composition_matrix
from ..crystal.state import Crystals

CARD = Card(
    name="magpie",
    build="Magpie",
    role="descriptor",
    paper="10.1038/npjcompumats.2016.28",
    year=2016,
    capabilities=("vector",),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    waives={"geometry": "a composition has no geometry: polymorphs are described alike"},
    reference=727.8740740621105,
    differs=("of the 145 attributes of the paper the 132 statistics of elemental properties, as in matminer's preset",),
    summary="statistics of 22 elemental properties over the composition",
)
PROPERTIES = (
    "Number", "MendeleevNumber", "AtomicWeight", "MeltingT", "Column", "Row", "CovalentRadius", "Electronegativity", "NsValence", "NpValence", "NdValence",
    "NfValence", "NValence", "NsUnfilled", "NpUnfilled", "NdUnfilled", "NfUnfilled", "NUnfilled", "GSvolume_pa", "GSbandgap", "GSmagmom", "SpaceGroupNumber")
STATISTICS = ("minimum", "maximum", "range", "mean", "avg_dev", "mode")
LABELS = tuple(f"MagpieData {statistic} {name}" for name in PROPERTIES for statistic in STATISTICS)
CHUNK = 20_000  # compositions described together


@cache
def element_table() -> np.ndarray:
    """(119, 22) the properties by atomic number, what is not known replaced by the mean over the known elements; row 0 is NaN."""
    return read_properties(PROPERTIES)


def read_properties(names: Sequence[str]) -> np.ndarray:
    """(119, properties) tables of elements that matminer carries, by atomic number, what is not known replaced by the mean over the known elements; row 0 is NaN.

    NeedsPackage where matminer is not installed.
    """
    folder = data_folder() / "magpie_elementdata"
    table = np.full((MAX_Z + 1, len(names)), np.nan)
    for k, name in enumerate(names):
        for z, line in enumerate((folder / f"{name}.table").read_text(encoding="utf-8").splitlines()[:MAX_Z], 1):
            table[z, k] = _number(line)
    return completed(table)


def completed(table: np.ndarray) -> np.ndarray:
    """(119, properties) the table, read-only, with NaN of elements replaced by the mean over the known ones."""
    known = table[1:]
    table[1:] = np.where(np.isnan(known), np.nanmean(known, axis=0), known)
    table.setflags(write=False)
    return table


def data_folder() -> Path:
    """Where matminer keeps its tables; NeedsPackage where it is not installed."""
    from importlib.util import find_spec

    spec = find_spec("matminer")  # its data files alone; importing the package costs seconds
    if spec is None or spec.origin is None:
        raise NeedsPackage("matminer", "the element tables of Magpie")
    return Path(spec.origin).parent / "utils" / "data_files"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan


def of_counts(counts: np.ndarray | Tensor) -> np.ndarray:
    """(compositions, 132) the fingerprint of each row of `counts` (compositions, 119), atoms of each atomic number.

    BadInput for an empty row and for atoms of an undecided element.
    """
    return in_chunks(counts, lambda part: statistics(part, element_table()), len(LABELS))


def in_chunks(counts: np.ndarray | Tensor, describe: Callable[[np.ndarray], np.ndarray], width: int) -> np.ndarray:
    """(compositions, width) what `describe` gives for the rows of `counts` (compositions, 119), many at a time; BadInput as `of_counts`."""
    counts = np.asarray(counts, dtype=np.float64)
    if counts.ndim != 2 or counts.shape[1] != MAX_Z + 1:
        raise BadInput(f"counts have shape {counts.shape}, wanted are (compositions, {MAX_Z + 1})", "magpie")
    for bad, why in ((counts[:, 0] > 0, "an atom is of an undecided element (0)"), (counts.sum(1) <= 0, "there are no atoms")):
        if bad.any():
            raise BadInput(why, f"crystal {int(bad.argmax())}")
    parts = [describe(counts[i : i + CHUNK]) for i in range(0, len(counts), CHUNK)]
    return np.concatenate(parts) if parts else np.zeros((0, width))


def elements_first(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Elements of each row of `counts` (compositions, 119) and their shares, (compositions, most elements) each; padded with any element and share 0."""
    width = int((counts > 0).sum(1).max())
    species = np.argsort(counts == 0, axis=1, kind="stable")[:, :width]  # the elements that occur come first
    weight = np.take_along_axis(counts, species, 1)
    return species, weight / weight.sum(1, keepdims=True)


def statistics(counts: np.ndarray, table: np.ndarray) -> np.ndarray:
    """(compositions, 6 properties) the STATISTICS of each property of `table` (119, properties), properties one after the other."""
    species, weight = elements_first(counts)
    there, values = (weight > 0)[..., None], table[species]
    values = np.where(there, values, 0.0)  # of element 0, which pads, nothing is known
    share = weight[..., None]
    low, high = np.where(there, values, np.inf).min(1), np.where(there, values, -np.inf).max(1)
    mean = (share * values).sum(1)
    deviation = (share * np.abs(values - mean[:, None])).sum(1)
    most = np.isclose(weight, weight.max(1, keepdims=True))[..., None]
    mode = np.where(most, values, np.inf).min(1)  # of equally frequent values the smallest
    return np.stack([low, high, high - low, mean, deviation, mode], -1).reshape(len(counts), -1)


@dataclass(frozen=True)
class Magpie:
    """The descriptor as an object: called with crystals it returns (crystals, 132) float64, columns as in `LABELS`."""

    def __call__(self, crystals: Crystals) -> Tensor:
        return torch.from_numpy(of_counts(composition_matrix(crystals).cpu()))
