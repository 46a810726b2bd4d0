"""Several fidelities in a user's table: a column that names them, or one with values of a lower fidelity to be subtracted from the labels or given to the network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ..base.errors import BadInput, Missing
from ..base.quantities import Quantity
from ..base.registry import find
from ..crystal.compositions import Compositions
from ..learn.low_fidelity import LowFidelity
from ..learn.splits import Split
from ..learn.targets import Target
from ..learn.training import Training
from .train_table import UserTable, labels_of

FIELD, WRAPPER = "fidelity", "multi_fidelity"


@dataclass(frozen=True)
class Fidelities:
    """What a training is asked to do with fidelities; all empty where there is only one.

    levels  names, the highest last; `level` (rows,) number of each row's
    column  with values of a lower fidelity, `use` of it: "minus" or "input"; `low` (rows,) its values, NaN = not known
    """

    levels: tuple[str, ...] = ()
    level: np.ndarray | None = None
    column: str = ""
    use: str = ""
    low: np.ndarray | None = None

    @staticmethod
    def of(table: UserTable, fidelity: str, minus: str, given: str) -> Fidelities:
        """From the words of the command: "COLUMN" or "COLUMN:low,...,high" for `fidelity`, columns for the others. BadInput for two of them at once."""
        asked = {k: v for k, v in (("fidelity", fidelity), ("minus", minus), ("input", given)) if v}
        if len(asked) > 1:
            raise BadInput(f"{' and '.join('--' + k for k in asked)} exclude each other", table.source)
        if asked and table.classes:
            raise BadInput(f"{table.target!r} holds classes; fidelities are for numbers", table.source)
        if fidelity:
            return _by_column(table, fidelity)
        if not asked:
            return Fidelities()
        use, column = next(iter(asked.items()))
        values, _, wrong = labels_of(_column(table, column), "number", table.source, column, range(len(table.keys)))
        if wrong:
            place = next(iter(wrong))
            raise BadInput(wrong[place], file=table.source, row=table.places[place], field=column)
        if not np.isfinite(values).any():
            raise BadInput("holds no number", f"{table.source}, field {column!r}")
        return Fidelities(column=column, use=use, low=values)

    def without(self, row: int) -> Fidelities:
        """Without one row of the table."""
        drop = lambda x: None if x is None else np.delete(x, row)
        return replace(self, level=drop(self.level), low=drop(self.low))

    def model(self, chosen: str, options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """(model, options): networks are put into the one that knows fidelities."""
        role = find(chosen.partition(":")[0], ("encoder", "regressor")).card.role
        if not self.levels and self.use != "input":
            return chosen, dict(options)
        if role == "regressor":
            raise BadInput("is a classical model, and fidelities are learnt by networks; take --model crabnet:light or another encoder, or --minus", f"model {chosen!r}")
        inner = {} if chosen.partition(":")[0] == WRAPPER else {"encoder": chosen, "options": dict(options)}
        held = {**(inner or options), **({"levels": list(self.levels), "field": FIELD} if self.levels else {"levels": ["one"], "inputs": {FIELD: list(self._scale())}})}
        return (chosen if not inner else WRAPPER), held

    def _scale(self) -> tuple[float, float]:
        spread = float(np.nanstd(self.low))
        return float(np.nanmean(self.low)), spread if spread > 1e-12 else 1.0

    def split(self, part: Split, keys: tuple[str, ...]) -> Split:
        """Rows of lower fidelity all train; the highest alone stops the training and is tested."""
        if not self.levels:
            return part
        lower = {k for k, level in zip(keys, self.level, strict=True) if level < len(self.levels) - 1}
        kept = {name: tuple(k for k in held if k not in lower) for name, held in part.parts.items()}
        moved = tuple(k for held in part.parts.values() for k in held if k in lower)
        return replace(part, parts={**kept, "train": (*kept["train"], *moved)})

    def highest(self, rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The rows, of those that train only the ones of the highest fidelity: what tested rows are compared with."""
        train = rows["train"]
        return {**rows, "train": train[self.level[train] == len(self.levels) - 1] if self.levels else train}

    def fields(self, inputs):
        """The inputs with what is known of fidelities as a field."""
        value = self.level if self.levels else self.low
        return inputs if value is None else inputs.with_fields(whole={FIELD: torch.as_tensor(value)}, quantities={FIELD: Quantity()})


def low_first(found: Fidelities, inputs, target: Target, rows: Mapping[str, np.ndarray], train: Callable[..., Training]) -> tuple[Any, LowFidelity]:
    """(inputs for the training proper, the lower fidelity): a model of the lower fidelity is trained first, on rows that train or stop the training.

    train  (inputs, target, rows) -> Training
    """
    goal = Target("low", target.unit)
    known = {k: np.asarray([i for i in rows[k] if np.isfinite(found.low[i])], dtype=np.int64) for k in ("train", "val") if k in rows}
    if len(known["train"]) < 3:
        raise BadInput(f"has values in {len(known['train'])} training rows, at least 3 are needed", f"field {found.column!r}")
    labelled = inputs.bare().with_fields(whole={"low": torch.as_tensor(found.low)}, quantities={"low": goal.quantity})
    trained = train(labelled, goal, known)
    low = LowFidelity(FIELD, found.use, trained.predictor)
    filled = low.filled(inputs)
    if found.use == "minus":
        filled = filled.with_fields(whole={target.name: inputs.get(target.name) - filled.get(FIELD)}, quantities={target.name: target.quantity})
    return filled, low


def default_fidelity_model(inputs) -> tuple[str, str]:
    """(model, why) where several fidelities are learnt at once."""
    if isinstance(inputs, Compositions):
        return "crabnet:light", "a network is needed to learn several fidelities at once"
    return "megnet", "the network of the paper on several fidelities"


def _column(table: UserTable, column: str):
    if column not in table.frame:
        raise Missing(f"column of {table.source}", column, [str(c) for c in table.frame.columns])
    return table.frame[column]


def _by_column(table: UserTable, word: str) -> Fidelities:
    column, _, order = word.partition(":")
    names = [str(x).strip() for x in _column(table, column).tolist()]
    often = Counter(names)
    if empty := [table.places[i] for i, n in enumerate(names) if n in ("", "nan", "None")]:
        raise BadInput("says nothing of the fidelity", file=table.source, row=empty[0], field=column)
    levels = tuple(x.strip() for x in order.split(",")) if order else tuple(n for n, _ in sorted(often.items(), key=lambda x: (-x[1], x[0])))
    if unknown := [n for n in often if n not in levels]:
        raise BadInput(f"holds {unknown[0]!r}, which is none of {', '.join(levels)}", f"{table.source}, field {column!r}")
    if len(levels) < 2 or len(set(levels)) < len(levels):
        raise BadInput(f"names {len(set(levels))} fidelities, at least two are needed", f"{table.source}, field {column!r}")
    known = Counter(n for n, y in zip(names, table.labels, strict=True) if y == y)
    if not known[levels[-1]]:
        raise BadInput(f"no row of the highest fidelity, {levels[-1]!r}, has a label", f"{table.source}, field {column!r}")
    return Fidelities(levels, np.array([levels.index(n) for n in names]))
