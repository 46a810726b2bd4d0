"""What classical models learn from: a table of named columns, read from crystals, compositions or formulas by named families of descriptors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..base.elements import MAX_Z
from ..base.errors import BadInput, Missing
from ..crystal.compositions import Compositions
from ..crystal.state import Crystals

Inputs = Any  # Crystals, Compositions, a sequence of formulas or of {element: amount}, or a Table


@dataclass(frozen=True, eq=False)
class Table:
    """values (rows, columns) float64, all finite, and the name of each column. BadInput naming row and column otherwise."""

    values: np.ndarray
    names: tuple[str, ...]

    def __post_init__(self):
        values = np.asarray(self.values, dtype=np.float64)
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "names", tuple(self.names))
        if values.ndim != 2 or values.shape[1] != len(self.names) or len(set(self.names)) < len(self.names):
            raise BadInput(f"values have shape {values.shape} for {len(self.names)} names; wanted are (rows, columns) and names of their own", "Table")
        if not np.isfinite(values).all():
            row, column = np.argwhere(~np.isfinite(values))[0]
            raise BadInput(f"is {values[row, column]}; leave the row out or fill it in first", f"row {row}, column {self.names[column]!r}")

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows) -> Table:
        """Rows by slice, list or mask."""
        return Table(np.atleast_2d(self.values[rows]), self.names)

    def columns(self, names: Sequence[str]) -> Table:
        """The columns called so, in that order; Missing for one that is not there."""
        place = {name: i for i, name in enumerate(self.names)}
        if lost := [n for n in names if n not in place]:
            raise Missing("column", lost[0], self.names)
        return Table(self.values[:, [place[n] for n in names]], tuple(names))


def rows_of(inputs: Inputs, rows) -> Inputs:
    """The same kind of inputs with these rows (a list or an array of places)."""
    rows = [int(i) for i in np.asarray(rows).reshape(-1)]
    return [inputs[i] for i in rows] if isinstance(inputs, (list, tuple)) else inputs[rows]


def counts_of(inputs: Inputs) -> np.ndarray:
    """(rows, 119) atoms of each element of crystals, compositions or formulas; BadInput for anything else."""
    if isinstance(inputs, Crystals):
        inputs = Compositions.of_crystals(inputs.bare().to("cpu"))
    elif isinstance(inputs, Sequence) and not isinstance(inputs, str):
        inputs = Compositions.of(inputs)
    if not isinstance(inputs, Compositions):
        raise BadInput(f"got {type(inputs).__name__}; wanted are Crystals, Compositions, a list of formulas or a Table", "regressor")
    inputs = inputs.to("cpu")
    out = np.zeros((len(inputs), MAX_Z + 1))
    out[inputs.owner.numpy(), inputs.species.numpy()] = inputs.amount.numpy()
    return out


def _magpie(inputs: Inputs) -> np.ndarray:
    from ..represent import magpie

    return magpie.of_counts(counts_of(inputs))


def _of_compositions(inputs: Inputs, groups: tuple[str, ...]) -> np.ndarray:
    from ..represent import composition_statistics

    return composition_statistics.of_counts(counts_of(inputs), groups or tuple(composition_statistics.GROUPS))


def _of_crystals(inputs: Inputs, groups: tuple[str, ...]) -> np.ndarray:
    from ..represent import structure_statistics

    if not isinstance(inputs, Crystals):
        raise BadInput(f"got {type(inputs).__name__}, and these features need Crystals", "regressor")
    return structure_statistics.StructureStatistics(groups)(inputs).numpy()


FAMILIES = {  # name -> (room's file, groups in it)
    "magpie": ("magpie", ()), "composition": ("composition_statistics", ()), "elements": ("composition_statistics", ("elements",)),
    "cell": ("structure_statistics", ("cell",)), "bonds": ("structure_statistics", ("cell", "bonds", "distances")),
    "structure": ("structure_statistics", ("cell", "bonds", "distances", "sites"))}


def columns_of(features: str) -> tuple[str, ...]:
    """Names of the columns that `read_table` gives for these features; Missing for a family that is not there."""
    from ..represent import composition_statistics, magpie, structure_statistics

    names = []
    for file, groups in _families(features):
        if file == "magpie":
            names += magpie.LABELS
        elif file == "composition_statistics":
            names += composition_statistics.labels(groups or tuple(composition_statistics.GROUPS))
        else:
            names += structure_statistics.labels(groups)
    return tuple(names)


def _families(features: str) -> list[tuple[str, tuple[str, ...]]]:
    names = features.split("+")
    if unknown := [n for n in names if n not in FAMILIES]:
        raise Missing("family of features", unknown[0], FAMILIES)
    return [FAMILIES[n] for n in names]


def read_table(inputs: Inputs, features: str) -> Table:
    """The table of `inputs` by `features`, names of FAMILIES joined by "+"; a Table passes as it is.

    magpie      132 statistics of elemental properties
    composition everything that composition_statistics says; elements: the share of each element alone
    cell        volume, density, lattice and symmetry; bonds: and lengths of bonds and distances; structure: and coordination (crystals only)

    BadInput for inputs of another kind, Missing for a family that is not there.
    """
    if isinstance(inputs, Table):
        return inputs
    read = {"magpie": lambda groups: _magpie(inputs), "composition_statistics": lambda groups: _of_compositions(inputs, groups),
            "structure_statistics": lambda groups: _of_crystals(inputs, groups)}
    return Table(np.hstack([read[file](groups) for file, groups in _families(features)]), columns_of(features))


def table_of_columns(columns: Mapping[str, Sequence[float]]) -> Table:
    """A table from {name: numbers}."""
    return Table(np.stack([np.asarray(v, dtype=np.float64) for v in columns.values()], 1), tuple(columns))
