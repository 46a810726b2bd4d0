"""The user's own data: a table of CIF texts or formulas, or a folder of structure files with a table of labels; every row that cannot be used is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ..base.errors import BadInput, MatterloopError, Missing
from ..crystal.compositions import Compositions
from ..crystal.formats import read, read_table
from ..crystal.state import Crystals

STRUCTURES, FORMULAS = ("cif", "structure"), ("composition", "formula", "pretty_formula", "reduced_formula", "full_formula")
IDS = ("material_id", "id", "mbid", "name", "file", "filename", "key", "index")
FILES = (".cif", ".vasp", ".poscar", ".xyz", ".extxyz")
YES, NO = {"true", "yes", "t", "y"}, {"false", "no", "f", "n"}
TABLES = (".csv", ".tsv", ".parquet", ".csv.gz")


@dataclass(frozen=True, eq=False)
class UserTable:
    """Rows that can be used, and errors for those that cannot.

    inputs  crystals or compositions; labels (rows,) NaN = not measured; keys: a name of each row, unique; places: what an error calls it
    classes  of the labels: names of class 0 and 1, empty for numbers; frame: the table of the rows that are used
    """

    source: str
    inputs: Crystals | Compositions
    labels: np.ndarray
    keys: tuple[str, ...]
    places: tuple[str, ...]
    errors: tuple[BadInput, ...]
    frame: object
    target: str
    classes: tuple[str, ...] = ()

    def without(self, bad: Sequence[int], why: Sequence[BadInput]) -> UserTable:
        """Without some rows, whose errors are added."""
        keep = [i for i in range(len(self.keys)) if i not in set(bad)]
        return replace(self, inputs=self.inputs[keep], labels=self.labels[keep], keys=tuple(self.keys[i] for i in keep), places=tuple(self.places[i] for i in keep),
                       errors=(*self.errors, *why), frame=self.frame.iloc[keep])


def read_user_table(path: str | Path, target: str, *, structure: str = "", formula: str = "", identity: str = "", kind: str = "auto", max_atoms: int = 500) -> UserTable:
    """Rows of a table (csv, tsv, parquet) or of a folder with one table of labels and structure files named by it.

    target      column of the labels; an empty cell is "not measured"; structure, formula: column of CIF texts or of formulas, found by name if absent
    identity    column that names rows; in a folder the one that names files
    kind        "number", "class" (two different values) or "auto"
    BadInput or Missing where no row can be used; errors of single rows are listed.
    """
    from ..crystal.gate import Limits

    path, limits = Path(path), Limits(atoms=max_atoms, bytes=max(Limits.bytes, 400 * max_atoms))
    if not path.exists():
        raise BadInput("is not there", str(path))
    if path.is_dir():
        frame, inputs, rows, errors, column, source = _folder(path, identity, limits)
    else:
        frame = frame_of(path)
        _has(frame, target, str(path), structure)
        inputs, rows, errors, column = _cells(path, frame, structure, formula, identity, limits)
        source = str(path)
    _has(frame, target, source, structure)
    values, classes, wrong = labels_of(frame[target].iloc[rows], kind, source, target, rows)
    names = frame[column].astype(str).to_numpy()[rows] if column else np.array([str(r) for r in rows], dtype=object)
    unique = len(set(names)) == len(names)
    keys = [str(n) if unique else f"{n}#{r}" for n, r in zip(names, rows, strict=True)]
    places = [f"row {r}" + (f" ({n})" if column else "") for n, r in zip(names, rows, strict=True)]
    found = UserTable(source, inputs, values, tuple(keys), tuple(places), tuple(errors), frame.iloc[rows], target, classes)
    found = found.without(list(wrong), [BadInput(why, file=source, row=places[i], field=target) for i, why in wrong.items()])
    if not len(found.keys):
        first = found.errors[0] if found.errors else "it is empty"
        raise BadInput(f"no row can be used; the first error: {first}", source)
    return found


def _has(frame, target: str, source: str, structure: str) -> None:
    if target not in frame:
        raise Missing(f"column of {source}", target, [str(c) for c in frame.columns if c not in (*STRUCTURES, structure)])


def frame_of(path: Path):
    """The table of a file; BadInput where it is none."""
    import pandas as pd

    try:
        if ".parquet" in path.name:
            return pd.read_parquet(path)
        return pd.read_csv(path, sep="\t" if ".tsv" in path.name else ",", low_memory=False)
    except (OSError, ValueError, UnicodeDecodeError) as error:  # pandas' parsing errors are ValueErrors
        raise BadInput(f"cannot be read as a table: {str(error)[:200]}", str(path)) from None


def column_named(frame, wanted: str, known: Sequence[str], source: str) -> str:
    """The column asked for, or the first of the known names, "" if there is none."""
    if wanted:
        if wanted not in frame:
            raise Missing(f"column of {source}", wanted, [str(c) for c in frame.columns])
        return wanted
    lower = {str(c).lower(): str(c) for c in frame.columns}
    return next((lower[k] for k in known if k in lower), "")


def _cells(path: Path, frame, structure: str, formula: str, identity: str, limits):
    source = str(path)
    column = column_named(frame, identity, IDS, source)
    held = "" if formula else column_named(frame, structure, STRUCTURES, source)
    if held:
        found = read_table(path, cif_column=held, id_column=column or None, limits=limits)
        errors = [BadInput(e.message, file=e.file or source, row=e.row, field=held if e.field in ("", "cif") else e.field) for e in found.errors]
        return found.crystals.bare(), [row for _, row in found.sources], errors, column
    held = column_named(frame, formula, FORMULAS, source)
    if not held:
        raise BadInput(f"has neither a column of CIF texts ({', '.join(STRUCTURES)}) nor of formulas ({', '.join(FORMULAS)}); its columns are {', '.join(map(str, frame.columns[:12]))}. "
                       "Name one with --structure or --formula", source)
    good, rows, errors = [], [], []
    for i, text in enumerate(frame[held].tolist()):
        try:
            if not isinstance(text, str) or not text.strip():
                raise BadInput("the cell is empty")
            good.append(Compositions.of([text]))
            rows.append(i)
        except MatterloopError as error:
            words = getattr(error, "message", str(error))
            name = f" ({frame[column].iloc[i]})" if column else ""
            errors.append(BadInput(words, file=source, row=f"row {i}{name}", field=held))
    if not good:
        raise BadInput(f"no row can be used; the first error: {errors[0] if errors else 'it is empty'}", source)
    return Compositions.join(good), rows, errors, column


def _folder(path: Path, identity: str, limits):
    import pandas as pd

    tables = sorted(p for p in path.iterdir() if p.name.endswith(TABLES))
    if len(tables) != 1:
        raise BadInput(f"holds {len(tables)} tables ({', '.join(p.name for p in tables[:4])}); one is wanted, with the names of the structure files and their labels", str(path))
    frame, source = frame_of(tables[0]), str(tables[0])
    files = {p.name.lower(): p for p in sorted(path.iterdir()) if p.name.lower().endswith(FILES)}
    stems = {p.name.rsplit(".", 1)[0].lower(): p for p in files.values()}
    at = lambda value: files.get(str(value).lower()) or stems.get(str(value).lower())
    if any(at(c) is not None for c in frame.columns):
        frame = pd.read_csv(tables[0], header=None, names=["id", *(f"value_{k}" if k > 1 else "value" for k in range(1, len(frame.columns)))])  # id_prop.csv of CGCNN
    column = identity or max(frame.columns, key=lambda c: sum(at(v) is not None for v in frame[c].head(200)))
    if column not in frame:
        raise Missing(f"column of {source}", column, [str(c) for c in frame.columns])
    if not files or not any(at(v) is not None for v in frame[column]):
        raise BadInput(f"no column of {tables[0].name} names structure files of this folder ({', '.join(FILES)})", str(path))
    crystals, rows, errors = [], [], []
    for i, value in enumerate(frame[column].tolist()):
        place = f"row {i} ({value})"
        if (file := at(value)) is None:
            errors.append(BadInput(f"there is no structure file of this name in {path}", file=source, row=place, field=str(column)))
            continue
        found = read(file, limits=limits)
        if found.errors or len(found) != 1:
            e = found.errors[0] if found.errors else BadInput(f"{len(found)} structures, one is wanted")
            errors.append(BadInput(e.message, file=str(file), row=place, field=e.field))
            continue
        crystals.append(found.crystals.bare())
        rows.append(i)
    if not crystals:
        raise BadInput(f"no row can be used; the first error: {errors[0]}", str(path))
    return frame, Crystals.join(crystals), rows, errors, column, source


def labels_of(column, kind: str, source: str, target: str, rows: Sequence[int]) -> tuple[np.ndarray, tuple[str, ...], dict[int, str]]:
    """(values, names of two classes or none, {place: why it is wrong})."""
    import pandas as pd

    if kind not in ("auto", "number", "class"):
        raise Missing("kind of target", kind, ("auto", "number", "class"))
    empty = column.isna().to_numpy() | (column.astype(str).str.strip() == "").to_numpy()
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    words = column.astype(str).str.strip()
    distinct = sorted(set(words[~empty]))
    is_number = np.isfinite(values) & (column.dtype != bool)
    as_class = kind == "class" or (kind == "auto" and len(distinct) == 2 and (column.dtype == bool or not is_number[~empty].any() or set(values[~empty]) == {0.0, 1.0}))
    if as_class:
        if len(distinct) != 2:
            raise BadInput(f"holds {len(distinct)} different values; two are wanted for classes", f"{source}, field {target!r}")
        order = sorted(distinct, key=lambda w: (w.lower() in YES, w.lower() not in NO, w))
        return np.where(empty, np.nan, (words == order[1]).to_numpy().astype(np.float64)), tuple(order), {}
    wrong = {i: f"{words.iloc[i]!r} is not a finite number" for i in np.flatnonzero(~empty & ~np.isfinite(values)).tolist()}
    return values, (), wrong


def as_field(table: UserTable) -> torch.Tensor:
    """Labels as a field: float64, or whole numbers of classes with -1 for not measured."""
    if table.classes:
        return torch.as_tensor(np.where(np.isnan(table.labels), -1, table.labels).astype(np.int64))
    return torch.as_tensor(table.labels, dtype=torch.float64)
