"""Rows of a result as CSV and Parquet, each file whole or not there, units kept with the columns."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..base.errors import BadInput
from ..base.quantities import STANDARD
from .files import replacing
from .plain import to_json


def candidates_table(rows: Sequence[Mapping[str, Any]], folder: str | Path, *, name: str = "candidates", units: Mapping[str, str] | None = None) -> tuple[Path, Path]:
    """Write `rows` to folder/name.csv and folder/name.parquet; return both paths.

    Columns are the union of the rows' keys in order of appearance; a row without one leaves it empty. Lists and dicts become
    JSON text. The unit of a column (`units`, else that of the standard quantity of its name) stands in the Parquet field's
    metadata as b"unit" and in the JSON under b"units" of the schema. In CSV, empty means not there, `nan` and `inf` mean what they say.
    A column of mixed kinds is BadInput; ArchiveError where the folder or disk refuses, the old files then untouched.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = list(dict.fromkeys(k for row in rows for k in row))
    unit = {c: u for c in columns if (u := (units or {}).get(c, STANDARD[c].unit if c in STANDARD else ""))}
    cells = {c: [_cell(row.get(c), f"row {i}, column {c!r}") for i, row in enumerate(rows)] for c in columns}
    fields, arrays = [], []
    for c in columns:
        array = _column(cells[c], c)
        arrays.append(array)
        fields.append(pa.field(c, array.type, metadata={"unit": unit[c]} if c in unit else None))
    table = pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata={"units": json.dumps(unit, ensure_ascii=False), "rows": name}))
    as_csv, as_parquet = Path(folder) / f"{name}.csv", Path(folder) / f"{name}.parquet"
    with replacing(as_csv) as new, new.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*cells.values(), strict=True))
    with replacing(as_parquet) as new:
        pq.write_table(table, new, compression="zstd")
    return as_csv, as_parquet


def _cell(value: Any, where: str) -> Any:
    for kind in (bool, int, float, str):  # subclasses (numpy.float64 is a float) become the plain kind, so that a column is of one
        if isinstance(value, kind):
            return kind(value)
    if value is None:
        return None
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:  # a number of numpy or torch
        return value.item()
    return to_json(sorted(value) if isinstance(value, (set, frozenset)) else value, where)


def _column(values: list, name: str):
    import pyarrow as pa

    kinds = {type(v) for v in values if v is not None}
    if kinds == {int, float}:
        values = [None if v is None else float(v) for v in values]
    elif len(kinds) > 1:
        raise BadInput(f"column {name!r} holds {' and '.join(sorted(k.__name__ for k in kinds))}; a column has one kind", "table")
    try:
        return pa.array(values, from_pandas=False) if kinds else pa.nulls(len(values), pa.string())
    except (pa.ArrowInvalid, OverflowError) as error:
        raise BadInput(f"column {name!r} cannot be written: {error}", "table") from None
