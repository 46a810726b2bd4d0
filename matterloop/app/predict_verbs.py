"""The verb `predict`: from a kept model and structures or formulas to values that say how far they can be trusted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..base.errors import BadInput, MatterloopError, Missing
from ..base.quantities import Quantity
from ..campaign.predicted import above_hull
from ..campaign.watch import Watch
from ..crystal.compositions import Compositions
from ..crystal.state import Crystals
from ..learn.calibrated import LEVEL, CalibratedPredictor, Prediction
from ..learn.shipped_predictors import ABOVE_HULL, predicted_properties, shipped_names, shipped_predictor
from .train_table import FORMULAS, IDS, STRUCTURES, TABLES, column_named, frame_of

TO_HULL = ("energy_above_hull", ABOVE_HULL)  # names under which the predicted formation energy is told as the distance to the shipped hull


def predict(folder: str | Path, sources: Sequence[str | Path], *, structure: str = "", formula: str = "", identity: str = "", level: float = LEVEL, max_atoms: int = 500,
            fidelity: str = "", watch: Watch = Watch()) -> list[dict[str, Any]]:
    """One dict for every structure or formula, in the order given: value, uncertainty, interval, nearness; or an error with file, row and field.

    folder   of a predictor that `train` wrote, or the name of one that ships: band_gap, formation_energy, energy_above_hull (that of CHGNet), ...; sources: structure files, tables, folders of structure files, and for models of formulas also formulas
    fidelity of several that were learnt at once, the highest if empty. Values of a lower fidelity that the model wants are taken from tables with its column, and
             predicted elsewhere
    """
    model = model_of(folder)
    watch.note(told_of(model, folder))
    inputs, names, errors = read_formulas(sources, formula, identity) if model.takes_compositions else read_structures(sources, structure, identity, max_atoms)
    rows: list[dict[str, Any]] = []
    if inputs is not None and len(inputs):
        inputs = with_low(model, with_fidelity(model, inputs, fidelity), names)
        watch.stage("predict", len(inputs))
        keep, said, refused = predicted(model, inputs, level, watch)
        if keep and str(folder) in TO_HULL:
            said = above_hull(said, inputs[keep])
        rows = [_row(model, names[i], inputs[i], said, k, level) for k, i in enumerate(keep)]
        if str(folder) in TO_HULL:
            rows = [r | {"target": "energy_above_hull"} for r in rows]
        errors += [{**names[i], "error": why} for i, why in refused.items()]
    found = sorted([*rows, *errors], key=lambda r: r.pop("_at"))
    return found


def model_of(folder: str | Path) -> CalibratedPredictor:
    """The predictor of a folder, or the shipped one of that name where there is no such folder. Errors as `CalibratedPredictor.load`."""
    if not Path(folder).exists():
        if str(folder) in TO_HULL:
            return shipped_predictor(ABOVE_HULL)
        if str(folder) in (*shipped_names(), *predicted_properties()):
            return shipped_predictor(str(folder))
    return CalibratedPredictor.load(folder)


def with_fidelity(model: CalibratedPredictor, inputs, fidelity: str):
    """The inputs with the fidelity that is asked for; Missing for one that the model does not know."""
    if not fidelity:
        return inputs
    encoder = getattr(getattr(model.members[0], "predictor", None), "encoder", None)
    levels = tuple(getattr(encoder, "levels", ()) or ()) if hasattr(encoder, "field") else ()
    if fidelity not in levels:
        raise Missing("fidelity of this model", fidelity, levels)
    return inputs.with_fields(whole={encoder.field: torch.full((len(inputs),), levels.index(fidelity))}, quantities={encoder.field: Quantity()})


def with_low(model: CalibratedPredictor, inputs, names: Sequence[Mapping[str, Any]]):
    """The inputs with values of the lower fidelity that the model wants, where a table that they come from has its column; numbers that are none count as not known."""
    import pandas as pd

    if model.low is None:
        return inputs
    column, tables = model.low.predictor.members[0].data.get("column", ""), {}
    values = np.full(len(inputs), np.nan)
    for i, name in enumerate(names):
        file, row = str(name.get("file") or ""), name.get("row")
        if row is None or not file.lower().endswith(TABLES):
            continue
        if file not in tables:
            frame = frame_of(Path(file))
            tables[file] = pd.to_numeric(frame[column], errors="coerce").to_numpy(np.float64) if column in frame else None
        if tables[file] is not None:
            values[i] = tables[file][int(row)]
    return inputs.with_fields(whole={model.low.field: torch.from_numpy(values)}, quantities={model.low.field: Quantity()})


def told_of(model: CalibratedPredictor, folder: str | Path) -> str:
    """One line on a model: what it is and what it learnt from."""
    first = model.members[0]
    name = getattr(first, "encoder", getattr(first, "name", "?"))
    unit = f" in {model.target.unit}" if model.target.unit else ""
    return f"{folder}: {name}{f' x {len(model.members)}' if len(model.members) > 1 else ''}, {first.data.get('column', model.target.name)}{unit}, trained on {first.data.get('rows', '?')} rows of {first.data.get('source', '?')}"


def predicted(model: CalibratedPredictor, inputs, level: float, watch: Watch) -> tuple[list[int], Prediction | None, dict[int, str]]:
    """(rows that were predicted, their prediction, {row: why it was refused})."""
    keep, refused = list(range(len(inputs))), {}
    while keep:
        try:
            return keep, model.predict(inputs[keep], level, on_progress=lambda done, of: watch.advance("predict", done)), refused
        except BadInput as error:
            if error.crystal is None:
                raise
            refused[keep.pop(error.crystal)] = error.message
    return [], None, refused


def _row(model: CalibratedPredictor, name: Mapping[str, Any], one, said: Prediction, k: int, level: float) -> dict[str, Any]:
    from ..crystal.composition import compositions, reduced_formula

    first = model.members[0]
    column = str(first.data.get("column", model.target.name))
    row = {**name, "formula": reduced_formula(compositions(one)[0]) if isinstance(one, Crystals) else name.get("formula", one.formula()), "target": column}
    if model.target.classes:
        classes = first.data.get("classes") or ["0", "1"]
        row |= {"value": classes[int(said.value[k] >= 0.5)], "probability": float(said.value[k])}
    else:
        row |= {"value": float(said.value[k]), "deviation": float(said.deviation[k]), "low": float(said.low[k]), "high": float(said.high[k]), "unit": model.target.unit}
    return row | {"known": said.known[k], "percentile": float(said.percentile[k]), "nearest": said.nearest[k]}


def read_structures(sources: Sequence[str | Path], structure: str, identity: str, max_atoms: int) -> tuple[Crystals | None, list[dict], list[dict]]:
    """(crystals, what is known of each, errors) of structure files, folders of them and tables, in the order given."""
    from ..crystal.formats import read
    from ..crystal.gate import Limits

    paths: list[str] = []
    for source in map(Path, sources):
        inside = sorted(p for p in source.iterdir() if p.name.lower().endswith((".cif", ".vasp", ".poscar", ".xyz", ".extxyz"))) if source.is_dir() else [source]
        if not inside:
            raise BadInput("holds no structure files", str(source))
        paths += map(str, inside)
    limits = Limits(atoms=max_atoms, bytes=max(Limits.bytes, 400 * max_atoms))
    parts, names, errors = [], [], []
    for at, path in enumerate(paths):
        more = {}
        if path.lower().endswith((".csv", ".tsv", ".parquet", ".csv.gz")):
            more = {"cif_column": structure or _structure_column(path), "id_column": identity or "material_id"}
        found = read(path, limits=limits, **more)
        parts += [found.crystals.bare()] if len(found) else []
        names += [{"_at": (at, row), "file": file, "row": row if row >= 0 else None, "name": name} for (file, row), name in zip(found.sources, found.names, strict=True)]
        errors += [{"_at": (at, _number_in(e.row)), "file": e.file or path, "row": e.row or None, "field": e.field, "error": e.message} for e in found.errors]
    return (Crystals.join(parts) if parts else None), names, errors


def _structure_column(path: str) -> str:
    return column_named(frame_of(Path(path)), "", STRUCTURES, path) or "cif"


def _number_in(text: str) -> int:
    found = re.search(r"\d+", text or "")
    return int(found[0]) if found else -1


def read_formulas(sources: Sequence[str | Path], formula: str, identity: str) -> tuple[Compositions | None, list[dict], list[dict]]:
    """(compositions, what is known of each, errors) of tables and of formulas as they stand."""
    good, names, errors = [], [], []
    for at, source in enumerate(map(str, sources)):
        if not Path(source).exists():
            texts, file, idents = [source], "", [source]
        else:
            frame = frame_of(Path(source))
            column = formula or column_named(frame, "", FORMULAS, source)
            if not column or column not in frame:
                raise BadInput(f"has no column of formulas ({', '.join(FORMULAS)}); name it with --formula", source)
            texts, file = frame[column].tolist(), source
            held = column_named(frame, identity, IDS, source)
            idents = frame[held].astype(str).tolist() if held else [str(i) for i in range(len(frame))]
        for i, (text, ident) in enumerate(zip(texts, idents, strict=True)):
            name = {"_at": (at, i), "file": file, "row": i if file else None, "name": ident, "formula": str(text)}
            try:
                if not isinstance(text, str) or not text.strip():
                    raise BadInput("the cell is empty")
                good.append(Compositions.of([text]))
                names.append(name)
            except MatterloopError as error:
                hint = "" if file or Path(source).suffix == "" else "; there is no such file either"
                errors.append({**name, "field": formula or "formula", "error": getattr(error, "message", str(error)) + hint})
    return (Compositions.join(good) if good else None), names, errors
