"""The board of property prediction: what all records say, task by task, ready to be shown.

Rules after T. Hoefler, R. Belli, SC'15, doi:10.1145/2807591.2807644: every task names its base cases and their absolute values; several seeds are told by their median
and range, one by its bootstrap interval; differences from the base case are taken on the same test rows, both resampled together; nothing is averaged over
tasks, for they have different units; failures are shown; models that learnt from more than the training rows stand apart with what they overlap with.
"""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..base.errors import BadInput
from ..learn.intervals import bootstrap
from .property_running import FORMAT, _label, errors_of
from .property_task_table import PROPERTY_TASKS, PropertyTask

COSTS = ("parameters", "seconds_per_epoch", "training_seconds", "training_cpu_seconds", "forward_per_second", "backward_per_second", "training_per_second", "inference_per_second", "latency_seconds", "time_to_goal",
         "peak_memory_mib")
SOFTWARE = ("matterloop", "python", "torch", "numpy", "scipy")


@dataclass(frozen=True)
class Entry:
    """One model on one task, over all its seeds.

    value, interval  of the metric: of one seed its bootstrap interval over test rows; of several the median, and the interval of that run widened by their range
    seeds            how many runs, seed_numbers their seeds, seed_range the lowest and highest value among them
    difference       (value, low, high) of this error minus that of the base case on the same rows, None where it cannot be taken; negative is better
    scores           further metrics of the median run; costs: medians over runs; failures: reasons of failed runs
    course           (seconds of training so far, error of the early-stopping rows) after each epoch of the median run's first fold
    whole            whether all folds of the task were run; software: versions of what matters for the figures
    """

    task: str
    model: str
    metric: str
    unit: str
    value: float | None
    interval: tuple[float, float] | None
    label: str
    role: str
    more_data: str
    seeds: int
    seed_numbers: tuple[int, ...]
    seed_range: tuple[float, float] | None
    difference: tuple[float, float, float] | None
    scores: Mapping[str, Any]
    costs: Mapping[str, float]
    calibration: Mapping[str, float]
    known: Mapping[str, Any]
    budget_seconds: float
    members: int
    epochs: int | None
    whole: bool
    folds: int
    count: int
    failures: tuple[str, ...]
    commands: tuple[str, ...]
    course: tuple[tuple[float, float], ...]
    hardware: str
    software: str
    date: str
    commit: str
    shipped: str = ""

    @property
    def name(self) -> str:
        """The model with what was changed of it."""
        many = f" x {self.members}" if self.members > 1 else ""
        return f"{self.model}{many}{f' ({self.label})' if self.label else ''}"


@dataclass(frozen=True)
class TaskBoard:
    """A task and its entries: by value, failed ones last; `more` those that learnt from more; `base` the entry that differences are taken from."""

    task: PropertyTask
    entries: tuple[Entry, ...]
    more: tuple[Entry, ...]
    base: Entry | None

    @property
    def failed(self) -> tuple[Entry, ...]:
        return tuple(e for e in (*self.entries, *self.more) if e.failures)


def read_records(folder: str | Path) -> tuple[list[dict[str, Any]], list[str]]:
    """(records, sentences on files that are none); BadInput where the folder is not there."""
    folder = Path(folder)
    if not folder.is_dir():
        raise BadInput("is no folder; run `matterloop bench run TASK MODEL` first, or pass --records", str(folder))
    records, odd = [], []
    for path in sorted(folder.glob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if record.get("record") != FORMAT:
                raise ValueError(f"is of format {record.get('record')!r}, wanted {FORMAT!r}")
            record["task"], record["model"], record["seed"]
        except (OSError, ValueError, KeyError, AttributeError) as error:
            odd.append(f"{path.name}: {type(error).__name__} {error}")
            continue
        records.append(record)
    return records, odd


def board(records: Iterable[Mapping[str, Any]]) -> list[TaskBoard]:
    """The board of these records, tasks in the order of the table."""
    by_task: dict[str, list[Mapping[str, Any]]] = {}
    for r in records:
        by_task.setdefault(r["task"], []).append(r)
    return [_task_board(t, by_task[t.name]) for t in PROPERTY_TASKS if t.name in by_task]


def entries(boards: Iterable[TaskBoard]) -> list[dict[str, Any]]:
    """Every entry as a plain dict."""
    return [asdict(e) | {"name": e.name} for b in boards for e in (*b.entries, *b.more)]


def _task_board(task: PropertyTask, records: Sequence[Mapping[str, Any]]) -> TaskBoard:
    groups: dict[tuple, list[Mapping[str, Any]]] = {}
    for r in records:
        if r.get("train_rows") and not r.get("shipped"):
            continue  # of a learning curve: not the task that the others were set
        groups.setdefault((r["model"], _label(r), r["members"], r["more_data"], r["budget_seconds"], tuple(r["folds"])), []).append(r)
    base_runs = next((_good(runs) for name in reversed(task.baselines) for key, runs in groups.items() if key[:3] == (name, "", 1) and _good(runs)), [])
    base_run = _median_run(base_runs) if base_runs else None
    found = [_entry(task, runs, base_run) for runs in groups.values()]
    larger = bool(records[0]["larger_is_better"])
    rank = lambda e: (e.value is None, not e.whole, -(e.value or 0.0) if larger else e.value or 0.0)
    found.sort(key=rank)
    base = next((e for e in found if base_run is not None and e.model == base_run["model"] and not e.label and e.value is not None), None)
    return TaskBoard(task, tuple(e for e in found if not e.more_data), tuple(e for e in found if e.more_data), base)


def _good(runs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [r for r in runs if r["failed"] is None and r.get("value") is not None]


def _median_run(runs: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    ordered = sorted(runs, key=lambda r: r["value"])
    return ordered[(len(ordered) - 1) // 2]


def _entry(task: PropertyTask, runs: Sequence[Mapping[str, Any]], base: Mapping[str, Any] | None) -> Entry:
    good, one = _good(runs), runs[0]
    middle = _median_run(good) if good else None
    value = interval = spread = None
    if middle is not None:
        values = [r["value"] for r in good]
        value, interval = statistics.median(values), (middle["low"], middle["high"])
        if len(values) > 1:
            spread = (min(values), max(values))
            interval = (min(interval[0], spread[0]), max(interval[1], spread[1]))
    costs = {}
    for key in COSTS:
        held = [r[key] for r in good if r.get(key) is not None]
        if held:
            costs[key] = statistics.median(held)
    pace = [r["hardware"]["pace_seconds"] for r in good if r["hardware"].get("pace_seconds")]
    if pace:
        costs["pace_seconds"] = statistics.median(pace)
    shown = middle or one
    return Entry(
        task.name, one["model"], task.metric, one["unit"], value, interval, _label(one), one["role"], one["more_data"], len(good),
        tuple(sorted(r["seed"] for r in good)), spread, _difference(middle, base), shown.get("scores", {}),
        costs, shown.get("calibration", {}), shown.get("known", {}), one["budget_seconds"], one["members"], shown.get("epochs"), len(one["folds"]) == one["folds_of"], len(one["folds"]),
        shown.get("count", 0), tuple(r["failed"] for r in runs if r["failed"] is not None), tuple(dict.fromkeys(r["command"] for r in runs if r["command"])),
        _course(shown.get("course") or ()), _machine(one["hardware"]), _software(one.get("versions", {})), max(r["date"] for r in runs), str(shown.get("revision", {}).get("commit", ""))[:12],
        next((str(r["shipped"]) for r in runs if r.get("shipped")), ""))


def _machine(hardware: Mapping[str, Any]) -> str:
    gpu = "" if hardware.get("gpu", "none") == "none" else f", {hardware['gpu']}"
    return (f"{hardware.get('processor', '?')}, {_many(hardware, 'cores', 'core')}, {_many(hardware, 'torch_threads', 'thread')} of torch, {hardware.get('memory_gib', '?')} GiB, "
            f"{hardware.get('system', '?')}{gpu}")


def _many(hardware: Mapping[str, Any], key: str, word: str) -> str:
    count = hardware.get(key, "?")
    return f"{count} {word}{'' if count == 1 else 's'}"


def _software(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {versions[name]}" for name in SOFTWARE if name in versions)


def _course(epochs: Sequence[Mapping[str, Any]]) -> tuple[tuple[float, float], ...]:
    spent = itertools.accumulate(e["seconds"] for e in epochs)
    return tuple((round(s, 2), e["score"]) for s, e in zip(spent, epochs, strict=True) if e["score"] is not None)


def _difference(run: Mapping[str, Any] | None, base: Mapping[str, Any] | None) -> tuple[float, float, float] | None:
    """Mean absolute error minus that of the base case on the same rows; both are resampled together."""
    if run is None or base is None or run is base or run["metric"] != "mae" or (run["data"]["digest"], run["folds"]) != (base["data"]["digest"], base["folds"]):
        return None
    ours, theirs = errors_of(run), errors_of(base)
    if ours is None or theirs is None or len(ours) != len(theirs):
        return None
    gap = np.abs(ours) - np.abs(theirs)
    return (float(gap.mean()), *bootstrap(gap))
