"""One model on one task: train within a budget, measure on the rows that were set aside, write down everything that a reader needs to judge the number.

What a record holds follows T. Hoefler, R. Belli, SC'15, doi:10.1145/2807591.2807644 (intervals, base case, whole set-up) and SAIBench, Y. Li, J. Zhan,
BenchCouncil Trans. 2, 100063 (2022), arXiv:2206.05418 (cost to a stated accuracy, inference throughput, memory, parameters). A failure is a record too.
"""

from __future__ import annotations

import base64
import json
import math
import re
import statistics
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from ..archive.files import replacing
from ..base.errors import BadInput, MatterloopError
from ..base.machine import hardware, versions
from ..base.registry import find
from ..learn.calibrated import FEATURES, LEVEL, CalibratedPredictor
from ..learn.calibration import calibration, coverage, ece
from ..learn.committee import is_committee, parts_of, train_committee
from ..learn.intervals import RESAMPLES
from ..learn.metrics import measured, metric, scores
from ..learn.pretrained import Pretrained
from ..learn.training import train, train_regressor
from ..base.seeds import numpy_stream
from .discovering import calibration as pace_of_machine, revision
from .property_tasks import PropertyTask, TaskData, described, load_task, property_task
from .relaxing_sides import peak_mib

FORMAT = "matterloop-board-1"
BASELINES = ("mean",)
_STOPPED = "stopped before the end, no record was written; with --work FOLDER the same command goes on"
DESCRIPTOR = "magpie"  # by which classical models tell known and unknown rows apart; networks do by their own features
LATENCY_ROWS = 32  # crystals predicted one by one
MOST_SAMPLES = 50_000  # test rows whose errors a record keeps one by one


class Stopped(MatterloopError):
    """A run was stopped before its end; nothing is written down, what was trained is kept where a folder for it was given."""


@dataclass
class Fold:
    """What one training and test gave: predictions of the test rows, and what it cost."""

    rows: np.ndarray
    guess: np.ndarray
    seconds: dict[str, float]
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    deviation: np.ndarray | None = None
    known: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    predictor: CalibratedPredictor | None = None


def run(task: str, model: str, *, budget: float | None = None, seed: int = 0, folds: Sequence[int] | None = None, options: Mapping[str, Any] | None = None,
        recipe: Mapping[str, Any] | None = None, references: bool = False, members: int = 1, more_data: str = "", data_dir: str | Path | None = None, work: str | Path | None = None, command: str = "",
        note: Callable[[str], None] = lambda text: None, should_stop: Callable[[], bool] | None = None, held: TaskData | None = None,
        keep: Callable[[int, CalibratedPredictor], None] | None = None, start: Pretrained | None = None, teacher: Pretrained | None = None, share: float = 0.5,
        train_rows: int | None = None) -> dict[str, Any]:
    """The record of `model` ("mean", an encoder or a regressor, with ":preset" where wanted, or a committee as "cgcnn*2,schnet") on `task`.

    budget     seconds of training of each fold, that of the task if absent; folds: which of the task's folds, all if absent
    options    of the model; recipe: fields of Recipe
    references  of a network: energies of the elements, by least squares on the training rows, are subtracted from what it learns
    more_data  what the model learnt from besides the training rows, and how that overlaps with the test: it is then shown apart
    work       folder for states of training: a run that was stopped goes on from there
    keep       is given each fold's number and its predictor
    start, teacher, share  what was pre-trained, see `train`; `more_data` must say what it saw unless that was the training rows of this task
    train_rows  so many of the training rows, drawn by seed, see `few`
    Missing for unknown names, NotHere for missing data and Stopped are raised; whatever goes wrong in building, training or testing the model is written down as a failure.
    """
    held = held or load_task(task, data_dir)
    t = held.task
    chosen = list(range(held.folds)) if folds is None else [int(f) for f in folds]
    if bad := [f for f in chosen if not 0 <= f < held.folds]:
        raise BadInput(f"there is no fold {bad[0]}; the task has {held.folds}", t.name)
    if is_committee(model):
        parts_of(model)
    role = "baseline" if model in BASELINES else "encoder" if is_committee(model) else find(model.partition(":")[0], ("encoder", "regressor")).card.role
    if references and (role != "encoder" or t.classes or t.log):
        raise BadInput("energies of the elements are subtracted for networks that learn a number as it stands", f"{model} on {t.name}")
    for what, given in (("start", start), ("teacher", teacher)):
        if given is None:
            continue
        if role != "encoder" or is_committee(model):
            raise BadInput(f"is for one network, and {model} is none", f"--{what}")
        if not more_data and given.data.get("training_rows_of") != held.split.data:
            raise BadInput("was pre-trained on other crystals than the training rows of this task; --more-data must say which, and how they overlap with the test", f"--{what}")
    budget = t.budget if budget is None else budget
    record: dict[str, Any] = {
        "record": FORMAT, "task": t.name, "model": model, "role": role, "metric": t.metric, "unit": _unit(t, t.metric), "larger_is_better": metric(t.metric).larger_is_better,
        "seed": seed, "budget_seconds": budget, "options": dict(options or {}), "recipe_changes": dict(recipe or {}), "references": references, "members": members, "more_data": more_data,
        "folds_of": held.folds, "folds": chosen, "data": described(t) | {"digest": held.split.data, "unreadable": len(held.skipped)}, "command": command,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"), "versions": versions(), "revision": revision(), "failed": None}
    record |= {k: v for k, v in (("start", start and start.origin), ("teacher", teacher and {**teacher.origin, "share": share}), ("train_rows", train_rows)) if v}
    begin, done = time.perf_counter(), []
    try:
        for fold in chosen:
            one = _fold(held, model, role, fold, taught={"start": start, "teacher": teacher, "share": share} if start or teacher else {}, train_rows=train_rows, budget=budget, seed=seed, options=options, recipe=recipe, references=references, members=members, work=work, note=note,
                        should_stop=should_stop)
            done.append(one)
            if keep is not None and one.predictor is not None:
                keep(fold, one.predictor)
            value = float(metric(t.metric).function(*measured(held.labels[one.rows], one.guess)))
            note(f"{t.name}, {model}, fold {fold}: {t.metric} {value:.4g} {record['unit']} in {one.seconds.get('all', 0):.0f} s")
            if should_stop is not None and should_stop():
                raise Stopped(_STOPPED)
        record |= _measured(held, chosen, done, seed)
    except Stopped:
        raise
    except (MatterloopError, MemoryError, ArithmeticError, RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError) as error:  # a faulty model is a failed entry
        record["failed"] = f"{type(error).__name__}: {error}"[:600]
    record |= {"wall_seconds": round(time.perf_counter() - begin, 2), "peak_memory_mib": round(peak_mib(), 1), "hardware": hardware() | {"pace_seconds": pace_of_machine()}}
    return record


def write_record(record: Mapping[str, Any], folder: str | Path) -> Path:
    """The record as a file of the board, named by task, model, what is other than usual, and seed; one of the same name is replaced."""
    some, own = record["folds"] != list(range(record["folds_of"])), property_task(record["task"]).budget
    extra = "".join(f"__{k}" for k, v in (("ensemble" + str(record["members"]), record["members"] > 1), (_label(record), bool(_label(record))), (
        f"budget{record['budget_seconds']:g}", record["budget_seconds"] != own), ("folds" + "-".join(map(str, record["folds"])), some)) if v)
    name = re.sub(r"[^A-Za-z0-9._+-]", "", f"{record['task']}__{record['model'].replace(':', '+').replace(',', '+').replace('*', 'x')}{extra}__seed{record['seed']}.json")
    path = Path(folder) / name
    with replacing(path) as new:
        new.write_text(json.dumps(_plain(record), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _label(record: Mapping[str, Any]) -> str:
    """Options and recipe that differ from what a model has by default, short enough for a name."""
    words = [f"{k}-{v}" for k, v in sorted({**record["options"], **record["recipe_changes"]}.items())] + ["references"] * bool(record.get("references"))
    words = [f"{k}-{record[k]['method']}" for k in ("start", "teacher") if record.get(k)] + [f"rows{record.get('train_rows')}"] * bool(record.get("train_rows")) + words
    return "_".join(words).replace("/", "-").replace(" ", "")[:80]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _unit(t: PropertyTask, name: str) -> str:
    return {"same": t.unit, "square": f"({t.unit})^2" if t.unit else ""}.get(metric(name).unit, "")


# one fold


def _fold(held: TaskData, model: str, role: str, fold: int, *, budget, seed, options, recipe, references, members, work, note, should_stop, taught=None, train_rows=None) -> Fold:
    part = held.part(fold)
    part = part if train_rows is None else few(part, train_rows, seed)
    if role == "baseline":
        return _mean(held, part)
    if role == "regressor":
        one = _regressor(held, part, model, options, seed)
    else:
        one = _network(held, part, model, fold, budget=budget, seed=seed, options=options, recipe=recipe, references=references, members=members, work=work, note=note,
                       should_stop=should_stop, taught=taught)
    if held.known is not None:
        less = held.known[one.rows]
        one.guess, one.low, one.high = one.guess - less, one.low - less, one.high - less
    return one


def few(part: Mapping[str, np.ndarray], count: int, seed: int) -> dict[str, np.ndarray]:
    """The part of a task with `count` of the training rows drawn by seed, and a quarter as many of those for early stopping (at least 25, where there are so many); tested rows stay.

    BadInput where there are fewer training rows.
    """
    if not 1 <= count <= len(part["train"]):
        raise BadInput(f"{count} training rows are asked for, there are {len(part['train'])}", "--train-rows")
    drawn = lambda k, n: np.sort(numpy_stream(seed, "few", k).permutation(part[k])[:n])
    return {**part, "train": drawn("train", count), "val": drawn("val", max(count // 4, 25))}


def _mean(held: TaskData, part: Mapping[str, np.ndarray]) -> Fold:
    """The mean of the training labels (the more frequent class) for every row."""
    rows = np.concatenate([part["train"], part["val"]])
    level = float(np.nanmean(held.labels[rows]))
    level = float(level >= 0.5) if held.task.classes else level
    return Fold(part["test"], np.full(len(part["test"]), level), {"training": 0.0}, facts={"parameters": 1})


def _regressor(held: TaskData, part: Mapping[str, np.ndarray], model: str, options, seed: int) -> Fold:
    """A classical model; it has no use for early stopping: those rows calibrate its uncertainty and then train it too."""
    begin = time.perf_counter()
    found = train_regressor(model, held.inputs, held.target, part, options=options, log_scale=held.task.log, seed=seed, names=held.keys, descriptor=DESCRIPTOR, refit=True)
    test = held.inputs[part["test"]].bare()
    middle = time.perf_counter()
    found.predictor.raw(test)
    end = time.perf_counter()
    said = found.predictor.predict(test)
    facts = {"parameters": found.parameters, "inference_per_second": len(test) / (end - middle), "interval_kind": found.predictor.conformal.kind if found.predictor.conformal else None}
    return Fold(part["test"], said.value, dict(found.seconds) | {"inference": end - middle, "all": time.perf_counter() - begin}, said.low, said.high, said.deviation, said.known, facts,
                predictor=found.predictor)


def _network(held: TaskData, part: Mapping[str, np.ndarray], model: str, fold: int, *, budget, seed, options, recipe, references, members, work, note, should_stop, taught=None) -> Fold:
    t, begin = held.task, time.perf_counter()

    def told(event: Mapping[str, Any]) -> None:
        if event["event"] == "plan":
            note(f"{model}: {event['parameters']:,} parameters, {event['rows']:,} rows, {event['epochs']} epochs, {event['training_per_second']:.0f} structures/s, about {event['seconds']:.0f} s")
        if event["event"] == "epoch" and event["epoch"] % 10 == 0:
            note(f"{model}: epoch {event['epoch']}, early-stopping rows {next(iter(event['errors'].values()), float('nan')):.4g} {t.unit}, {event['per_second']:.0f} structures/s")

    checkpoint = None if work is None else Path(work) / f"{t.name}__{model.replace(':', '+')}__{seed}__{fold}"
    learn = train_committee if is_committee(model) else train
    found = learn(model, held.inputs, held.target, part, options=options, recipe=recipe, log_scale=t.log, references=references, members=members, budget=budget, seed=seed, names=held.keys,
                  checkpoint=checkpoint, descriptor=FEATURES, log=told, should_stop=should_stop, **(taught or {}))
    if not found.complete:
        raise Stopped(_STOPPED)
    test = held.inputs[part["test"]].bare()
    middle = time.perf_counter()
    found.predictor.raw(test)
    end = time.perf_counter()
    said = found.predictor.predict(test)
    one_by_one = time.perf_counter()
    few = min(LATENCY_ROWS, len(test))
    for i in range(few):
        found.predictor.raw(test[i])
    latency = (time.perf_counter() - one_by_one) / max(few, 1)
    courses = found.courses
    epochs = [row for c in courses for row in c.history]
    facts = {
        "parameters": found.parameters * (1 if is_committee(model) else members), "recipe": asdict(found.recipe), "forward_per_second": found.speed.forward, "backward_per_second": found.speed.backward,
        "training_per_second": found.speed.training, "inference_per_second": len(test) / (end - middle), "latency_seconds": latency,
        "seconds_per_epoch": statistics.median(row["seconds"] for row in epochs), "best_epoch": [c.best for c in courses], "stopped": [c.stopped for c in courses],
        "descriptor": FEATURES, "interval_kind": found.predictor.conformal.kind if found.predictor.conformal else None}
    return Fold(part["test"], said.value, dict(found.seconds) | {"inference": end - middle, "all": time.perf_counter() - begin}, said.low, said.high, said.deviation, said.known,
                facts, [{"epoch": r["epoch"], "seconds": r["seconds"], "score": next(iter(r.get("errors", {}).values()), None)} for r in courses[0].history], found.predictor)


# all folds


def _measured(held: TaskData, chosen: list[int], done: list[Fold], seed: int) -> dict[str, Any]:
    """The parts of the record that speak of accuracy and cost."""
    t = held.task
    pairs = [measured(held.labels[f.rows], f.guess) for f in done]
    names = (t.metric, *t.also)
    found = {}
    if len(pairs) == 1:
        for s in scores(*pairs[0], names, unit=t.unit, seed=seed):
            found[s.name] = {"value": s.value, "low": s.low, "high": s.high, "unit": s.unit}
    else:
        for name in names:
            value, low, high = over_folds(pairs, name, seed)
            found[name] = {"value": value, "low": low, "high": high, "unit": _unit(t, name)}
    truth = np.concatenate([y for y, _ in pairs])
    out: dict[str, Any] = {
        "value": found[t.metric]["value"], "low": found[t.metric]["low"], "high": found[t.metric]["high"], "count": len(truth), "scores": found,
        "interval_method": f"95 % percentile bootstrap over test rows, {RESAMPLES} resamples" + ("; of each fold, then the mean over folds" if len(pairs) > 1 else "")}
    out["per_fold"] = [{"fold": k, "value": float(metric(t.metric).function(*p)), "seconds": {n: round(v, 2) for n, v in f.seconds.items()}} for k, p, f in zip(chosen, pairs, done, strict=True)]
    for key in ("parameters", "seconds_per_epoch", "forward_per_second", "backward_per_second", "training_per_second", "inference_per_second", "latency_seconds"):
        values = [f.facts[key] for f in done if f.facts.get(key) is not None]
        if values:  # rates are averaged harmonically, costs arithmetically
            out[key] = int(values[0]) if key == "parameters" else statistics.harmonic_mean(values) if key.endswith("per_second") else statistics.fmean(values)
    out |= {k: done[0].facts[k] for k in ("recipe", "interval_kind") if k in done[0].facts}
    out["training_seconds"] = sum(f.seconds.get("training", 0.0) for f in done)
    if all("training_cpu" in f.seconds for f in done):
        out["training_cpu_seconds"] = sum(f.seconds["training_cpu"] for f in done)
    if done[0].epochs:
        out |= {"epochs": len(done[0].epochs), "course": done[0].epochs, "time_to_goal": time_to_goal(done[0].epochs, t.goal), "goal": t.goal, "best_epoch": done[0].facts["best_epoch"]}
    out |= _trust(held, done)
    if len(truth) <= MOST_SAMPLES:
        out["samples"] = {"encoding": "prediction minus label of the test rows, in their order, float16 little-endian, zlib, base64",
                          "errors": base64.b64encode(zlib.compress(np.concatenate([g - y for y, g in pairs]).astype("<f2").tobytes(), 9)).decode()}
    return out


def over_folds(pairs: Sequence[tuple[np.ndarray, np.ndarray]], name: str, seed: int = 0, resamples: int = 500) -> tuple[float, float, float]:
    """(mean over folds of the metric, low, high): the rows of every fold are drawn anew, as often as there are, and the folds averaged."""
    f, rng = metric(name).function, numpy_stream(seed, "folds", name)
    value = float(np.mean([f(*p) for p in pairs]))
    drawn = np.zeros(resamples)
    for truth, guess in pairs:
        for begin in range(0, resamples, 50):
            pick = rng.integers(0, len(truth), (min(50, resamples - begin), len(truth)))
            drawn[begin : begin + len(pick)] += f(truth[pick], guess[pick]) / len(pairs)
    drawn = drawn[np.isfinite(drawn)]
    low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (math.nan, math.nan)
    return value, float(low), float(high)


def time_to_goal(epochs: Sequence[Mapping[str, Any]], goal: float | None) -> float | None:
    """Seconds of training until the early-stopping rows first met the goal (an error), None if never."""
    spent = 0.0
    for row in epochs:
        spent += row["seconds"]
        if goal is not None and row["score"] is not None and row["score"] <= goal:
            return round(spent, 2)
    return None


def _trust(held: TaskData, done: list[Fold]) -> dict[str, Any]:
    """Whether stated uncertainties hold, and the metric of known, edge and unknown rows."""
    t, out = held.task, {}
    truth, guess = (np.concatenate(x) for x in ([held.labels[f.rows] for f in done], [f.guess for f in done]))
    if t.classes:
        out["calibration"] = {"ece": ece(truth, guess)}
    elif all(f.deviation is not None and np.isfinite(f.deviation).all() and np.isfinite(f.low).all() for f in done):
        deviation, low, high = (np.concatenate([getattr(f, k) for f in done]) for k in ("deviation", "low", "high"))
        out["calibration"] = calibration(truth, guess, deviation) | {f"coverage_interval_{LEVEL:.0%}": coverage(truth, low, high), "mean_width": float(np.mean(high - low))}
    if all(f.known for f in done):
        words = np.array([w for f in done for w in f.known])
        has = ~np.isnan(truth)
        out["known"] = {"by": done[0].facts.get("descriptor", DESCRIPTOR)}
        for w in ("known", "edge", "unknown"):
            rows = has & (words == w)
            if rows.any():
                out["known"][w] = {"rows": int(rows.sum()), t.metric: float(metric(t.metric).function(truth[rows], guess[rows]))}
    return out


def errors_of(record: Mapping[str, Any]) -> np.ndarray | None:
    """(rows,) prediction minus label of the test rows of a record, None of a failed one."""
    if not record.get("samples"):
        return None
    return np.frombuffer(zlib.decompress(base64.b64decode(record["samples"]["errors"])), dtype="<f2").astype(np.float64)
