"""Tasks of property prediction: the data behind each line of the table, and the rows that train, stop and test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from ..archive.shipped import card, list_shipped
from ..archive.sources import data_path, load_frame, source
from ..base.errors import BadInput, Missing
from ..crystal.compositions import Compositions
from ..crystal.formats import read_table
from ..crystal.state import Crystals
from ..learn.splits import SHARES, Split, by_group, checked, digest, draw, matbench_folds
from ..learn.targets import Target, labelled
from .property_readers import READERS
from .property_task_table import PROPERTY_TASKS, PropertyTask

HELD = 0.1  # of the training rows of a Matbench fold, for early stopping


def property_task(name: str) -> PropertyTask:
    """The task called `name`; Missing with the nearest names otherwise."""
    known = {t.name: t for t in PROPERTY_TASKS}
    if name not in known:
        raise Missing("task", name, known)
    return known[name]


@dataclass(frozen=True, eq=False)
class TaskData:
    """What a task is made of.

    inputs  crystals or compositions of all rows, with the labels as a field (float64, NaN = not measured; classes: 0 and 1)
    keys    name of each row; split: train, val and test, or folds; skipped: rows that could not be read, with the reason
    known   (rows,) what is known of each row beforehand: models learn the field, and it is subtracted from labels and predictions; None: nothing
    """

    task: PropertyTask
    target: Target
    inputs: Crystals | Compositions
    keys: tuple[str, ...]
    split: Split
    skipped: tuple[str, ...] = ()
    known: np.ndarray | None = None

    @cached_property
    def labels(self) -> np.ndarray:
        """(rows,) labels in the task's unit."""
        learnt = self.inputs.get(self.target.name).to(torch.float64).numpy()
        return learnt if self.known is None else learnt - self.known

    @property
    def folds(self) -> int:
        """How many times the task is trained and tested."""
        return self.split.folds or 1

    def part(self, fold: int = 0) -> Mapping[str, np.ndarray]:
        """Row numbers of "train", "val" and "test"."""
        split = self.split.fold(fold, HELD) if self.split.folds else self.split
        return split.rows(self.keys)


def load_task(name: str | PropertyTask, data_dir: str | Path | None = None) -> TaskData:
    """Read and split a task; NotHere with what to do where the data are missing, BadInput where a file holds no usable row."""
    task = property_task(name) if isinstance(name, str) else name
    target = Target(task.name.partition("_")[2] or task.name, task.unit, classes=task.classes)
    if task.reader:
        return _from_reader(task, target, data_dir)
    inputs, keys, labels, at, skipped, tables = [], [], [], [], [], []
    for part, file in (("train", task.train), ("test", task.test)):
        if not file:
            continue
        table = load_frame(task.data, file, data_dir=data_dir)
        read, kept, lost = _read(task, file, table, data_dir)
        inputs.append(read)
        names = table[task.key].astype(str) if task.key else [f"{file.partition('.')[0]}/{i}" for i in range(len(table))]
        keys += [str(names[i]) for i in kept]
        labels.append(table[task.column].to_numpy()[kept])
        at += [part] * len(kept)
        skipped += [f"{file}, {x}" for x in lost]
        tables.append((file, table, kept))
    y = np.concatenate(labels)
    y = torch.as_tensor(y.astype(np.int64) if task.classes else y.astype(np.float64) * task.factor)
    whole = labelled(type(inputs[0]).join(inputs), {target: y}) if isinstance(inputs[0], Crystals) else Compositions.join(inputs).with_fields({target.name: y}, {target.name: target.quantity})
    return TaskData(task, target, whole, tuple(keys), _split(task, keys, at, y.tolist(), tables[0]), tuple(skipped))


def _read(task: PropertyTask, file: str, table, data_dir) -> tuple[Crystals | Compositions, list[int], list[str]]:
    """Inputs, the rows that could be read, and one sentence for each that could not."""
    if task.inputs == "compositions":
        return Compositions.of(table["composition"].tolist()), list(range(len(table))), []
    found = read_table(data_path(task.data, file, data_dir=data_dir), id_column=task.key or None)
    rows = [row for _, row in found.sources]
    if not rows:
        raise BadInput("no structure could be read", task.data)
    return found.crystals.bare(), rows, [f"{e.row}: {e.message}" for e in found.errors]


def _from_reader(task: PropertyTask, target: Target, data_dir) -> TaskData:
    rows = READERS[task.reader](task, data_dir)
    y = torch.as_tensor(rows.labels * task.factor).to(torch.long if task.classes else torch.float64)
    data = digest(rows.keys, [f"{v:.6g}" for v in y.tolist()])
    if task.split == "system":
        places = by_group(rows.groups, SHARES, 0)
        split = Split(task.name, task.split, 0, data, {part: tuple(rows.keys[i] for i in found) for part, found in places.items()})
    else:
        split = draw(task.split, rows.keys, data=data, crystals=rows.inputs, name=task.name)
    return TaskData(task, target, labelled(rows.inputs, {target: y}), rows.keys, checked(split, task.name), rows.skipped, rows.known)


def _split(task: PropertyTask, keys: list[str], at: list[str], labels: list, first) -> Split:
    data = digest(keys, labels)
    kind, _, value = task.split.partition(":")
    train = [i for i, part in enumerate(at) if part == "train"]
    parts = {"test": tuple(k for k, part in zip(keys, at, strict=True) if part == "test")} if task.test else {}
    if kind == "matbench":
        return matbench_folds(keys, labels, bool(task.classes), data=data, name=task.name)
    if kind == "tail":
        held, fit = train[-int(value):], train[: -int(value)]
        parts = {"train": tuple(keys[i] for i in fit), "val": tuple(keys[i] for i in held), **parts}
    elif kind == "share":
        inner = draw("random", [keys[i] for i in train], shares={"train": 1 - float(value), "val": float(value)})
        parts = {**inner.parts, **parts}
    elif kind == "time":
        _, table, kept = first
        parts = dict(draw("time", keys, times=table[value].to_numpy()[kept]).parts)
    else:
        raise BadInput(f"{task.split!r} is no split of a task", task.name)
    return checked(Split(task.name, kind, 0, data, parts), task.name)


def described(task: PropertyTask) -> dict[str, str]:
    """Version and credit of the task's data."""
    if task.data in list_shipped():
        words = card(task.data)
        return {"data": task.data, "version": words["sha256"][:12], "licence": str(words.get("licence", "")), "credit": words["credit"]}
    s = source(task.data)
    return {"data": s.name, "version": s.version, "licence": s.licence, "credit": s.credit}
