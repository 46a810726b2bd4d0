"""A user's own reference phases, from a table of formulas or structure files with energies of one potential and one scheme."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..base.errors import BadInput
from ..crystal.composition import compositions, parse_formula, reduced, reduced_formula
from ..crystal.state import Crystals
from .corrections import CORRECTED, RAW, corrected_composition, for_hull, hull_scheme
from .hull import Hull
from .reference import USER, Phases, reference_hull

COLUMNS = {"formula": ("formula", "composition"), "structure": ("structure", "file", "path"), "energy": ("energy_per_atom",), "scheme": ("scheme", "energy_scheme"),
           "potential": ("potential",), "name": ("name", "id", "material_id")}


def user_phases(path: str | Path, *, scheme: str = "", potential: str = "") -> Phases:
    """Own phases from a CSV, Parquet or JSON table, row by row; rows that cannot be used stand in `errors`, the rest goes on.

    Columns: `formula`, or `structure` (a structure file, relative to the table); `energy_per_atom` in eV/atom; `scheme`, what the energies mean
    ("mp2020", "mp-raw", ...); optional `potential` and `name`. JSON is a list of objects or an object of columns. Raw energies of the Materials Project's
    settings ("mp-raw") get their corrections here and are "mp-raw+mp2020" from then on; compounds of O or S need their structure for that.

    scheme, potential   what the hull is for: a row of another one is an error. Where empty, the first good row decides.
    BadInput naming the file for one that is no such table, lacks a column, or has no usable row.
    """
    path = Path(path)
    records = _records(path)
    found = {key: next((c for c in choices if c in records.columns), None) for key, choices in COLUMNS.items()}
    for key in ("energy", "scheme"):
        if found[key] is None:
            raise BadInput(f"has no column {COLUMNS[key][0]!r}; its columns are {', '.join(map(str, records.columns)) or 'none'}", str(path))
    if found["formula"] is None and found["structure"] is None:
        raise BadInput("has neither a column 'formula' nor 'structure'", str(path))
    names, listed, energies, errors, added = [], [], [], [], []
    for row, record in enumerate(records.to_dict("records"), 1):
        cell = {key: record.get(column) for key, column in found.items() if column is not None}
        try:
            composition, energy, row_scheme, row_potential = _user_row(cell, path, row)
            correction = _user_correction(composition, cell, path, row) if row_scheme == RAW else 0.0
            row_scheme = hull_scheme(row_scheme)
            for field, value, wanted in (("scheme", row_scheme, scheme), ("potential", row_potential, potential)):
                if wanted and value and value != wanted:
                    raise _bad(f"is {value!r}, the hull is of {wanted!r}; energies of different kinds cannot share a hull", path, row, field)
        except BadInput as error:
            errors.append(error)
            continue
        scheme, potential = scheme or row_scheme, potential or row_potential
        names.append(_text(cell.get("name")) or f"{path.name} row {row}")
        listed.append(composition)
        energies.append(energy + correction)
        added.append(correction)
    if not names:
        raise BadInput(f"no row could be used{': ' + str(errors[0]) if errors else ', the table is empty'}", str(path))
    about = {"file": str(path), "rows": len(records), "errors": tuple(map(str, errors))}
    return Phases(tuple(names), tuple(listed), np.array(energies), (USER,) * len(names), scheme, potential or "unknown", about, tuple(errors),
                  np.array(added) if scheme == CORRECTED else None)


def user_reference(path: str | Path, *, scheme: str = "", potential: str = "", beside_shipped: bool = False) -> Hull:
    """Hull of a user's own phases (see `user_phases`), instead of the shipped ones or beside them; unusable rows stand in `about["errors"]`.

    BadInput as `user_phases`, and where `beside_shipped` would mix energy schemes. A system without all its elements has no hull.
    """
    own = user_phases(path, scheme=scheme, potential=potential)
    if not beside_shipped:
        return own.hull()
    if own.potential == "unknown":
        raise BadInput("names no potential; phases can join the shipped ones only if they are of the same potential", str(path))
    labels = [f"{reduced_formula(c)} ({n})" for n, c in zip(own.names, own.compositions, strict=True)]
    joined = reference_hull(own.potential).with_entries(own.compositions, own.energies, labels, own.scheme)
    joined.about.update(own.about)
    return joined


def _records(path: Path):
    """The table of a file as a frame of whatever its cells hold."""
    import pandas as pd

    suffix = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    if suffix not in ("csv", "parquet", "json"):
        raise BadInput("must end in .csv, .parquet or .json", str(path))
    try:
        if suffix == "csv":
            return pd.read_csv(path, dtype=str, keep_default_na=False)
        if suffix == "parquet":
            return pd.read_parquet(path)
        content = json.loads(path.read_text(encoding="utf-8"))
        return pd.DataFrame(content if isinstance(content, (list, dict)) else {"": [content]})
    except OSError as error:
        raise BadInput(f"cannot be read: {error.strerror or error}", str(path)) from None
    except (ValueError, TypeError, AttributeError) as error:
        raise BadInput(f"is no {suffix} table: {str(error).splitlines()[0][:200]}", str(path)) from None


def _text(value) -> str:
    return "" if value is None or isinstance(value, float) and math.isnan(value) else str(value).strip()


def _bad(message: str, path: Path, row: int, field: str) -> BadInput:
    return BadInput(message, file=str(path), row=f"row {row}", field=field)


def _user_row(cell: Mapping[str, Any], path: Path, row: int) -> tuple[dict[int, int], float, str, str]:
    """(reduced composition, eV/atom, scheme, potential) of one row; BadInput naming row and field."""
    try:
        energy = float(cell["energy"])
    except (TypeError, ValueError):
        raise _bad(f"{cell['energy']!r} is not a number", path, row, "energy_per_atom") from None
    if not math.isfinite(energy):
        raise _bad(f"the energy is {energy}", path, row, "energy_per_atom")
    if not (scheme := _text(cell["scheme"])):
        raise _bad("is empty; say what the energies mean, for example mp2020 or mp-raw", path, row, "scheme")
    if formula := _text(cell.get("formula")):
        try:
            composition = dict(reduced(parse_formula(formula)))
        except BadInput as error:
            raise _bad(str(error), path, row, "formula") from None
    elif file := _text(cell.get("structure")):
        composition = _composition_of_file(path.parent / file, path, row)
    else:
        raise _bad("neither a formula nor a structure file", path, row, "formula")
    return composition, energy, scheme, _text(cell.get("potential"))


def _user_correction(composition: Mapping[int, int], cell: Mapping[str, Any], path: Path, row: int) -> float:
    """eV/atom to be added to a raw energy; BadInput where the structure would decide and is not given."""
    if file := _text(cell.get("structure")):
        crystal = _crystal_of_file(path.parent / file, path, row)
        if dict(reduced(compositions(crystal)[0])) != dict(composition):
            raise _bad(f"{file} is {reduced_formula(compositions(crystal)[0])}, the formula says {reduced_formula(composition)}", path, row, "structure")
        return float(for_hull(RAW, crystal, [0.0])[0][0]) / crystal.atoms
    known = corrected_composition(composition)
    if known is None:
        raise _bad(f"raw energies of compounds of O or S need the structure for their corrections; add a column 'structure', or correct them and call them {CORRECTED!r}", path, row, "scheme")
    return known


def _crystal_of_file(file: Path, path: Path, row: int) -> Crystals:
    from ..crystal.formats import read

    result = read(file)
    if len(result) != 1:
        why = str(result.errors[0]) if result.errors else f"{file} holds {len(result)} structures, one is wanted"
        raise _bad(why, path, row, "structure")
    return result.crystals.bare()


def _composition_of_file(file: Path, path: Path, row: int) -> dict[int, int]:
    return dict(reduced(compositions(_crystal_of_file(file, path, row))[0]))
