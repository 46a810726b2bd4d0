"""From rows with labels to a calibrated predictor: scaling, samples, epochs that fit a budget, training, calibration; and how fast a network is."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..base.errors import BadInput, Missing
from ..base.registry import find, load
from ..base.seeds import numpy_stream, torch_stream
from ..crystal.compositions import Compositions
from ..crystal.state import Crystals
from .calibrated import CalibratedPredictor, calibrated
from .data import Batches, Samples
from .fit import Course, Recipe, fit
from .measuring import validation_errors
from .pretrained import TEACHER, Distilled, Pretrained, looked_at
from .recipes import recipe_changes
from .scaling import fit_scaling
from .strained import Strained
from .tables import Table, read_table
from .targets import Predictor, Target
from .trained import Trained
from .trained_regressor import TrainedRegressor

FULL = 6400  # training rows for which the recipe's epochs are meant
FEWEST, MOST = 30, 300  # epochs that are chosen for other numbers of rows
TRIALS = 12  # batches by which speed is measured
SPARE = 0.92  # of the budget that is planned for
CROSSED, CROSS_FOLDS = 1500, 5  # rows up to which classical models are calibrated by cross-validation, and its folds


@dataclass(frozen=True)
class Speed:
    """Structures per second in training, forward and backward apart; graphs were searched before."""

    forward: float
    backward: float
    training: float


@dataclass(frozen=True)
class Training:
    """What came out of a training: the predictor, what happened, how fast it was, seconds by stage ("training_cpu": of the processor, since the last start).
    Of a classical model courses, recipe and speed are empty, and parameters are the numbers of its state."""

    predictor: CalibratedPredictor
    courses: tuple[Course, ...]
    recipe: Recipe | None
    speed: Speed | None
    parameters: int
    seconds: Mapping[str, float]

    @property
    def complete(self) -> bool:
        return all(c.complete for c in self.courses)


def recipe_for(rows: int, **changes) -> Recipe:
    """The recipe for so many training rows: more epochs and smaller batches for fewer rows; `changes` are fields of Recipe that are given."""
    epochs = int(np.clip(round(Recipe.epochs * (FULL / max(rows, 1)) ** 0.5), FEWEST, MOST))
    size = 64 if rows >= 2000 else 32 if rows >= 600 else 16
    if unknown := [k for k in changes if k not in {f.name for f in fields(Recipe)}]:
        raise Missing("field of the recipe", unknown[0], [f.name for f in fields(Recipe)])
    return Recipe(**{"epochs": epochs, "size": size, **{k: v for k, v in changes.items() if v is not None}})


def samples_of(inputs: Crystals | Compositions, encoder: torch.nn.Module, on_progress: Callable[[int, int], None] | None = None) -> Samples:
    """All rows with their graphs."""
    return Samples.of(inputs, encoder.graph, on_progress)


def reader(model: str, options: Mapping[str, Any] | None = None) -> str:
    """The encoder that reads: the one within where `model` is put around another, else the model itself."""
    name, _, preset = model.partition(":")
    given = {**find(name, "encoder").card.presets.get(preset, {}), **(options or {})}
    return str(given.get("encoder", model))


def check_inputs(model: str, inputs: Crystals | Compositions, options: Mapping[str, Any] | None = None) -> None:
    """BadInput where formulas are given to an encoder that needs structures."""
    card = find(reader(model, options).partition(":")[0], "encoder").card
    if isinstance(inputs, Compositions) and "composition" not in card.capabilities:
        raise BadInput("needs structures, and only compositions are given; `matterloop models --role encoder` says which take compositions", f"model {model!r}")


def measure_speed(predictor: torch.nn.Module, batches: Batches, trials: int = TRIALS) -> Speed:
    """Rates over `trials` batches after two that warm up; the model, which offers `loss`, is left as it was, but for gradients, which are none."""
    predictor.train()
    before = {k: v.clone() for k, v in predictor.state_dict().items()}
    optimizer = torch.optim.AdamW(predictor.parameters(), 0.0, fused=True)
    forward = backward = whole = 0.0
    rows = done = 0
    state = torch.get_rng_state()  # dropout draws from the global generator
    while done < trials + 2:
        for batch in batches.epoch(done):
            begin = time.perf_counter()
            optimizer.zero_grad(set_to_none=True)
            loss, _ = predictor.loss(batch, torch_stream(0, "speed", done))
            middle = time.perf_counter()
            loss.backward()
            end = time.perf_counter()
            optimizer.step()
            done += 1
            if done > 2:
                forward, backward, whole, rows = forward + middle - begin, backward + end - middle, whole + time.perf_counter() - begin, rows + len(batch)
            if done >= trials + 2:
                break
    torch.set_rng_state(state)
    predictor.load_state_dict(before)
    predictor.zero_grad(set_to_none=True)
    return Speed(rows / forward, rows / backward, rows / whole)


def train(model: str, inputs: Crystals | Compositions, target: Target, rows: Mapping[str, Sequence[int]], *, options: Mapping[str, Any] | None = None,
          recipe: Mapping[str, Any] | None = None, log_scale: bool = False, references: bool = False, members: int = 1, budget: float | None = None, seed: int = 0,
          names: Sequence[str] = (), data: Mapping[str, Any] | None = None, checkpoint: Path | None = None, calibrate: bool = True, descriptor: str = "",
          start: Pretrained | None = None, teacher: Pretrained | None = None, share: float = 0.5,
          log: Callable[[dict[str, Any]], None] | None = None, should_stop: Callable[[], bool] | None = None) -> Training:
    """Train encoder `model` ("name" or "name:preset") on `inputs`, whose field `target.name` holds the labels.

    rows        row numbers of "train" and, where there are any, "val", by which training stops and uncertainty is calibrated
    recipe      fields of Recipe to be other than `recipe_for` and recipes.RECIPES say
    log_scale   learn the logarithm; references: subtract energies of the elements first
    members     networks of an ensemble, seeds seed, seed + 1, ...
    budget      seconds of training in all: epochs are cut so that it is kept, as measured beforehand
    descriptor  for distances, see `calibrated`
    checkpoint  folder for the states of training; a training that was stopped goes on from there
    start       weights that the encoder begins with (the heads are drawn); `encoder_rate` and `freeze` of the recipe say how far it may move
    teacher     what it saw of every atom is learnt beside the labels, with `share` of the loss, from 0 to 1
    log         hears the events of `fit` with "member" added, and {"event": "graphs" | "plan" | "calibrate", ...}
    A training that was stopped early still gives a predictor, which is not calibrated. Errors as `fit`, `load` and the encoder's graph.
    """
    tell = log or (lambda event: None)
    check_inputs(model, inputs, options)
    given = {k: torch.as_tensor(np.asarray(rows.get(k, ())), dtype=torch.long) for k in ("train", "val")}
    inputs, own_names = inputs[torch.cat([given["train"], given["val"]])], [str(names[i]) for k in given for i in given[k].tolist()] if len(names) else ()
    part = {"train": torch.arange(len(given["train"])), "val": len(given["train"]) + torch.arange(len(given["val"]))}
    plan = recipe_for(len(part["train"]), **{"seed": seed, **recipe_changes(reader(model, options)), **(recipe or {})})
    options = dict(options or {})
    scale = {} if target.classes else {target.name: fit_scaling(target, inputs[part["train"]], log=log_scale, references=references)}

    def build(s: int) -> Predictor:
        encoder = load(model, "encoder", **{**options, **({"seed": s} if has_seed(model) else {})})
        if start is not None:
            start.give(encoder, model, options)
        return Predictor(encoder, [target], seed=s, scale=scale)

    first, seconds = build(seed), {}
    begin = time.perf_counter()
    try:
        if teacher is not None and isinstance(inputs, Compositions):
            raise BadInput("looks at structures, and only compositions are given", "teacher")
        taught = inputs if teacher is None else looked_at(inputs, teacher.build())
        samples = samples_of(taught, first.encoder, lambda done, of: tell({"event": "graphs", "done": done, "of": of}))
    except BadInput as error:
        if error.crystal is not None and own_names:
            raise BadInput(error.message, row=own_names[error.crystal]) from None
        raise
    seconds["graphs"] = time.perf_counter() - begin
    training = Batches(samples, part["train"], plan.size, seed)
    validation = Batches(samples, part["val"], plan.size) if len(part["val"]) else None
    speed = measure_speed(first, training)
    if budget is not None:
        kept = None if checkpoint is None else _planned(checkpoint, members)
        epoch = len(part["train"]) / speed.training + len(part["val"]) / speed.forward
        plan = replace(plan, epochs=kept or int(np.clip(SPARE * budget / members / epoch, 1, plan.epochs)))
    tell({"event": "plan", "epochs": plan.epochs, "size": plan.size, "rows": len(part["train"]), "parameters": _parameters(first), "training_per_second": speed.training,
          "seconds": plan.epochs * members * len(part["train"]) / speed.training})
    lineage = {k: v.origin for k, v in (("start", start), ("teacher", teacher)) if v is not None} | ({"share_of_teacher": share} if teacher is not None else {})
    courses, trained, cpu = [], [], time.process_time()
    for i in range(members):
        predictor = first if i == 0 else build(seed + i)
        own = replace(plan, seed=seed + i)
        learner = _learner(predictor, own, None if teacher is None else taught.get(TEACHER).shape[1], share)
        course = fit(learner, training, validation, own, checkpoint=None if checkpoint is None else Path(checkpoint) / f"training_{i}.safetensors",
                     log=lambda event, i=i: tell({**event, "member": i}), should_stop=should_stop, measure=lambda _, held, p=predictor: validation_errors(p, held))
        courses.append(course)
        summary = {"best": course.best, "steps": course.steps, "seconds": round(course.seconds, 2), "stopped": course.stopped, "epochs": len(course.history)}
        trained.append(Trained(predictor, model, {**options, **({"seed": seed + i} if has_seed(model) else {})}, _words(own), summary,
                               {"inputs": "compositions" if isinstance(inputs, Compositions) else "crystals", "rows": len(part["train"]), **lineage, **(data or {})}, seed + i))
        if not course.complete:
            break
    seconds |= {"training": sum(c.seconds for c in courses), "training_cpu": time.process_time() - cpu}
    begin = time.perf_counter()
    finished = all(c.complete for c in courses)
    if calibrate and finished:
        tell({"event": "calibrate"})
        found = calibrated(trained, inputs, part["train"], part["val"], own_names, descriptor, seed)
    else:
        found = CalibratedPredictor(tuple(trained))
    seconds["calibration"] = time.perf_counter() - begin
    return Training(found, tuple(courses), plan, speed, _parameters(first), {k: round(v, 3) for k, v in seconds.items()})


def train_regressor(model: str, inputs: Crystals | Compositions, target: Target, rows: Mapping[str, Sequence[int]], *, options: Mapping[str, Any] | None = None,
                    log_scale: bool = False, seed: int = 0, names: Sequence[str] = (), data: Mapping[str, Any] | None = None, descriptor: str = "",
                    refit: bool = False) -> Training:
    """The same for a classical model: it learns from "train" and is calibrated on "val"; with `refit` it learns from both.

    Descriptors are computed once. A forest whose trees leave out rows is calibrated on what these trees say of them. Of at most 1,500 rows few would be held
    back: models that learnt without each fifth of both parts then say what the model is calibrated on. Else one that learnt from "train" does.
    """
    given = {k: torch.as_tensor(np.asarray(rows.get(k, ())), dtype=torch.long) for k in ("train", "val")}
    card = find(model.partition(":")[0], "regressor").card
    options = dict(options or {}) | ({"classes": target.classes} if target.classes and "classes" in card.capabilities else {})
    if target.classes and "classes" not in card.capabilities:
        raise BadInput("predicts numbers, not classes", f"model {model!r}")
    every = torch.cat([given["train"], given["val"]])
    labels = inputs.get(target.name)[every].to(torch.float64).numpy()
    if log_scale and np.any(labels[np.isfinite(labels)] <= 0):
        raise BadInput("labels that are not positive have no logarithm", f"target {target.name!r}")
    learnt = np.log(labels) if log_scale else labels
    begin = time.perf_counter()
    table = read_table(inputs[every].bare(), load(model, "regressor", **options).features)
    described = time.perf_counter()

    def fitted(part: np.ndarray) -> TrainedRegressor:
        """The model that learnt from these rows of the table."""
        maker = load(model, "regressor", **options)
        begin = time.perf_counter()
        maker.fit(table[part], learnt[part], numpy_stream(seed, model))
        history = {"seconds": round(time.perf_counter() - begin, 2), "stopped": "done"}
        return TrainedRegressor(maker, model, target, log_scale, seed, options, history,
                                {"inputs": "compositions" if isinstance(inputs, Compositions) else "crystals", "rows": len(part), **(data or {})})

    here = np.arange(len(every))
    train, learns = here[: len(given["train"])], here if refit else here[: len(given["train"])]
    cpu = time.process_time()
    first, said, held = fitted(learns), None, here[len(train) :]
    if first.model.unseen is not None:
        answers, doubts = first.model.unseen
        clear = np.isfinite(answers.reshape(len(learns), -1)).all(1)
        values, held = first.in_unit(answers[clear]), learns[clear]
        said = values, doubts[clear] * (values if log_scale else 1.0)
    elif CROSS_FOLDS <= len(every) <= CROSSED:
        said, held = _crossed(fitted, table, seed), here
    elif len(held):
        said = _answers(fitted(train) if refit else first, table[held])
    middle, cpu = time.perf_counter(), time.process_time() - cpu
    found = calibrated([first], inputs, given["train"], every[torch.from_numpy(held)], names, descriptor, seed, said)
    seconds = {"descriptors": described - begin, "training": middle - described, "training_cpu": cpu, "calibration": time.perf_counter() - middle}
    size = sum(int(v.size) for v in first.model.state.values())
    return Training(found, (), None, None, size, {k: round(v, 3) for k, v in seconds.items()})


def _crossed(fitted: Callable[[np.ndarray], TrainedRegressor], table: Table, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
    """(values, spreads) of all rows, each by a model that was trained without it (R. F. Barber et al., Ann. Statist. 49, 486 (2021), doi:10.1214/20-AOS1965)."""
    place = numpy_stream(seed, "cross").permutation(len(table)) % CROSS_FOLDS
    values, spreads = None, np.full(len(table), np.nan)
    for k in range(CROSS_FOLDS):
        out = place == k
        found, own = _answers(fitted(np.flatnonzero(~out)), table[out])
        values = np.zeros((len(table), *found.shape[1:])) if values is None else values
        values[out] = found
        if own is not None:
            spreads[out] = own
    return values, None if np.isnan(spreads).any() else spreads


def _answers(model: TrainedRegressor, table: Table) -> tuple[np.ndarray, np.ndarray | None]:
    """(values, spreads) of the rows of a table, spreads None where the model states none."""
    values = model.predict(table)[model.target.name].numpy()
    return values, model.spread(table, values)


def _learner(predictor: Predictor, recipe: Recipe, teacher: int | None, share: float) -> torch.nn.Module:
    """What `fit` trains: the predictor, or it with a second thing to learn; teacher: the width of what a teacher saw."""
    if recipe.strain and teacher is not None:
        raise BadInput("crystals are strained and a teacher, who saw them unstrained, is asked for; choose one of the two", "recipe")
    if recipe.strain:
        return Strained(predictor, recipe.strain, recipe.strain_share, recipe.seed)
    return predictor if teacher is None else Distilled(predictor, teacher, share, recipe.seed)


def _planned(checkpoint: Path, members: int) -> int | None:
    """Epochs that a training under way was planned with."""
    from .checkpoints import read_checkpoint

    path = Path(checkpoint) / "training_0.safetensors"
    return int(read_checkpoint(path)[1]["training"]["recipe"]["epochs"]) if path.exists() else None


def _words(recipe: Recipe) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(recipe).items()}


def _parameters(predictor: Predictor) -> int:
    return sum(p.numel() for p in predictor.parameters() if p.requires_grad)


def has_seed(model: str) -> bool:
    """Whether the first weights of the encoder follow from an option `seed`."""
    return "seed" in find(model.partition(":")[0], "encoder").card.capabilities
