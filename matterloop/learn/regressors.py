"""What every classical model is: options, `fit`, `predict`, and a state of plain arrays that is saved without pickle."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..archive.files import replacing
from ..base.errors import BadInput
from ..base.registry import load as load_part
from .tables import Inputs, Table, read_table

VERSION = 1
WORD = "matterloop_regressor"  # key of the words in the header of the file
ROUND = np.float32  # precision in which rows are put into order before learning


@dataclass
class Regressor(ABC):
    """A model of one number (or class) of each row of a table. A child is a dataclass whose fields are its options and writes `learn` and `answer`.

    features  families of descriptors (learn/tables.py) by which crystals, compositions and formulas are read; a Table is taken as it is
    classes   0: a number; k: one of k labels, 0 to k - 1
    """

    name: ClassVar[str] = ""
    classes = 0
    unseen: ClassVar[tuple[np.ndarray, np.ndarray] | None] = None  # set by `learn` of models whose parts each leave out some rows, see `fit`

    @abstractmethod
    def learn(self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """The state, arrays by name, learnt from x (rows, columns) and y (rows,), both float64 without gaps."""

    @abstractmethod
    def answer(self, x: np.ndarray) -> np.ndarray:
        """(rows,) numbers or (rows, classes) probabilities for x (rows, columns), read from `self.state`."""

    def doubt(self, x: np.ndarray) -> np.ndarray:
        """(rows,) how far answers may be off, in the unit of the labels; BadInput where the model cannot say."""
        raise BadInput("this model does not say how sure it is", self.name)

    # for users

    def fit(self, inputs: Inputs, labels, rng: np.random.Generator) -> Regressor:
        """Learn from `inputs` and their `labels` (rows,), NaN (classes: below 0) = not measured; returns self, an earlier state is replaced.

        Rows are put into an order of their own first: the order in which they are given does not matter. Afterwards `unseen` holds (answers, spreads) of the
        rows, each by the parts of the model that did not learn from it (NaN where there is none), or None. BadInput for labels of another length, for
        none at all, and for classes that are not whole numbers from 0 to classes - 1.
        """
        table, y = read_table(inputs, self.features), np.asarray(labels, dtype=np.float64)
        if y.shape != (len(table),):
            raise BadInput(f"labels have shape {y.shape} for {len(table)} rows", self.name)
        known = np.isfinite(y) & (y >= 0 if self.classes else True)
        if not known.any():
            raise BadInput("no row has a label", self.name)
        x, y = table.values[known], y[known]
        if self.classes and ((y != np.round(y)) | (y >= self.classes)).any():
            raise BadInput(f"labels must be whole numbers from 0 to {self.classes - 1}, got {y.min():g} to {y.max():g}", self.name)
        order = in_order(x, y)
        self.columns = table.names
        self.state = self.learn(x[order], y[order], rng)
        if self.unseen is not None:
            self.unseen = tuple(_put(values, np.flatnonzero(known)[order], len(table)) for values in self.unseen)
        return self

    def predict(self, inputs: Inputs) -> np.ndarray:
        """(rows,) numbers in the unit of the labels, or (rows, classes) probabilities, float64. BadInput before `fit` and for other columns than learnt."""
        return self.answer(self._read(inputs))

    def spread(self, inputs: Inputs) -> np.ndarray:
        """(rows,) standard deviation that the model gives its answers; BadInput where it has none."""
        return self.doubt(self._read(inputs))

    def fresh(self, **changes) -> Regressor:
        """A model of the same options, or of changed ones, that has learnt nothing."""
        return replace(self, **changes)

    def _read(self, inputs: Inputs) -> np.ndarray:
        if not hasattr(self, "state"):
            raise BadInput("nothing is learnt yet; call fit(inputs, labels, rng) or load a file", self.name)
        table: Table = read_table(inputs, self.features)
        if table.names != self.columns:
            raise BadInput(f"the table has {len(table.names)} columns from {table.names[0]!r}, learnt were {len(self.columns)} from {self.columns[0]!r}", self.name)
        return table.values

    # files

    def save(self, path: str | Path) -> Path:
        """Write state, options and columns as one safetensors file; BadInput before `fit`."""
        from safetensors.numpy import save_file

        if not hasattr(self, "state"):
            raise BadInput("nothing is learnt yet, so there is nothing to save", self.name)
        words = {"version": VERSION, "model": self.name, "options": asdict(self), "columns": list(self.columns)}
        with replacing(Path(path)) as new:
            save_file({k: np.ascontiguousarray(v) for k, v in self.state.items()}, new, {WORD: json.dumps(words)})
        return Path(path)


def load_regressor(path: str | Path) -> Regressor:
    """The model saved at `path`; BadInput for files that hold none, Missing for models and options that are not there."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as held:
            words, state = json.loads((held.metadata() or {})[WORD]), {k: held.get_tensor(k) for k in held.keys()}
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise BadInput(f"holds no classical model: {error}", str(path)) from None
    if words.get("version") != VERSION:
        raise BadInput(f"is of version {words.get('version')}, this package reads {VERSION}", str(path))
    model = load_part(words["model"], "regressor", **words["options"])
    model.columns, model.state = tuple(words["columns"]), state
    return model


def part(state: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays whose names begin with `prefix.`, without it."""
    return {k[len(prefix) + 1 :]: v for k, v in state.items() if k.startswith(prefix + ".")}


def prefixed(state: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays with `prefix.` before their names."""
    return {f"{prefix}.{k}": v for k, v in state.items()}


def _put(values: np.ndarray, rows: np.ndarray, size: int) -> np.ndarray:
    """Values at their rows of `size`, NaN at all others."""
    out = np.full((size, *values.shape[1:]), np.nan)
    out[rows] = values
    return out


def in_order(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """An order of rows that follows from what they hold."""
    rows = np.ascontiguousarray(np.column_stack([x, y]).astype(ROUND) + ROUND(0))  # -0 becomes 0
    return np.argsort(rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel(), kind="stable")
