"""The folder of a training: what it may hold, its settings, its split."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from ..base.errors import BadInput, Missing
from ..crystal.state import Crystals
from ..learn.distance import counts_of
from ..learn.low_fidelity import FOLDER as LOW
from ..learn.splits import KINDS, Split, digest, draw, read_split
from ..learn.trained import WORDS
from ..learn.trained_regressor import WORDS as CLASSICAL
from .folder import made, write_atomic
from .train_fidelity import Fidelities
from .train_table import UserTable

SETTINGS, SPLIT, STATE, TABLE, REPORT, PARITY = "train.json", "split.json", "training", "test_predictions.csv", "report.md", "parity.svg"
OURS = (SETTINGS, SPLIT, TABLE, REPORT, PARITY, WORDS, CLASSICAL, "weights.safetensors", "regressor.safetensors", "distance.safetensors")


def free(folder: Path, resume: bool, overwrite: bool) -> None:
    """BadInput where the folder holds something that would be lost."""
    if folder.exists() and not folder.is_dir():
        raise BadInput("is a file, not a folder; choose another --out", str(folder))
    held = read_settings(folder)
    if resume:
        if held is None:
            raise BadInput("holds no training to go on with; leave --resume out", str(folder))
        if held.get("finished"):
            raise BadInput("this training is finished; predict with it, or train anew with --overwrite", str(folder))
        return
    if held is not None and not overwrite:
        done = "a finished predictor; choose another --out or pass --overwrite" if held.get("finished") else "a training that was stopped; go on with --resume or begin anew with --overwrite"
        raise BadInput(f"holds {done}", str(folder))
    if held is None and folder.is_dir() and any((folder / n).exists() for n in (WORDS, CLASSICAL)) and not overwrite:
        raise BadInput("holds a predictor; choose another --out or pass --overwrite", str(folder))
    if overwrite and folder.is_dir():
        shutil.rmtree(folder / STATE, ignore_errors=True)
        for inner in (*folder.glob("member_*"), folder / LOW):
            shutil.rmtree(inner, ignore_errors=True)
        for name in OURS:
            (folder / name).unlink(missing_ok=True)


def read_settings(folder: Path) -> dict[str, Any] | None:
    try:
        return json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise BadInput(f"cannot be read: {error}", str(folder / SETTINGS)) from None


def settled(folder: Path, settings: dict[str, Any], resume: bool) -> dict[str, Any]:
    """The settings, written down; of a training that goes on they must be those of before."""
    if resume:
        held = read_settings(folder) or {}
        if differing := [k for k, v in json.loads(json.dumps(settings)).items() if held.get(k) != v and k not in ("source", "rows")]:
            k = differing[0]
            raise BadInput(f"{k} was {held.get(k)!r}, is {settings[k]!r}; a training goes on with the settings it began with", str(folder))
        if held.get("rows") != settings["rows"]:
            raise BadInput("the table has changed since the training began; begin anew with --overwrite", str(folder))
        return settings
    made(folder)
    write_atomic(folder / SETTINGS, json.dumps(settings | {"finished": False}, indent=1, ensure_ascii=False) + "\n")
    return settings


def draw_split(folder: Path, table: UserTable, split: str, seed: int, resume: bool, levels: Fidelities) -> Split:
    """The split of the rows, drawn and written, or read."""
    data = digest(table.keys, table.labels.tolist())
    if resume and (folder / SPLIT).exists():
        return read_split(folder / SPLIT, data)
    kind, _, value = split.partition(":")
    if split.endswith(".json"):
        part = read_split(split)
        if lost := {"train", "test"} - set(part.parts):
            raise BadInput(f"has no part {sorted(lost)[0]!r}; train and test are needed, val is good to have", split)
        known = set(table.keys)
        if gone := [k for keys in part.parts.values() for k in keys if k not in known]:
            raise BadInput(f"names {len(gone)} rows that are not in the table, the first {gone[0]!r}", split)
    else:
        if kind not in KINDS:
            raise Missing("kind of split", kind, KINDS)
        times = None
        if kind == "time":
            if value not in table.frame:
                raise Missing("column", value or "(none given: write time:COLUMN)", [str(c) for c in table.frame.columns])
            times = table.frame[value].tolist()
        part = draw(kind, table.keys, data=data, seed=seed, crystals=table.inputs if isinstance(table.inputs, Crystals) else None,
                    counts=counts_of(table.inputs), times=times, element=value if kind == "element" else "", clusters=min(20, max(3, len(table.keys) // 20)))
    part = levels.split(part, table.keys)
    part.write(folder / SPLIT)
    return part
