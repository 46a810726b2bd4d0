"""Pre-training: an encoder learns from structures by a method of its own, and what it learnt is kept to start or teach other trainings.

A method is a part of role "pretraining": `load(name, "pretraining", **settings)` gives an object with

    task(encoder, inputs, seed) -> Module   with `.encoder` (the encoder given) and `.loss(batch, rng) -> (scalar, {part: scalar})`

`inputs` are all crystals it will see, bare unless the method names `targets`, fields with labels; `batch.rows` are places in them, so that what a loss needs of a crystal may be
worked out here, once. A task may hold `graph`, a builder for the batches instead of the encoder's, or None where it makes graphs itself. A method may offer
`transfer(start, encoder, model, options)` to put what was learnt into an encoder that is not the one that was trained.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..base.errors import BadInput
from ..base.registry import load
from ..crystal.state import Crystals
from .checkpoints import read_checkpoint
from .data import Batches, Samples
from .fit import Recipe, fit
from .pretrained import Pretrained, resolved
from .recipes import recipe_changes
from .scaling import fit_scaling
from .targets import Features, Predictor, Target
from .training import SPARE, check_inputs, has_seed, measure_speed, recipe_for

EPOCHS = 30  # passes through the data where nothing else is said


def pretraining_recipe(model: str, rows: int, **changes) -> Recipe:
    """The recipe for so many crystals: the model's own, EPOCHS passes, the weights of the last, no error of labels; `changes` are fields of Recipe."""
    own = {k: v for k, v in recipe_changes(model).items() if k not in ("loss", "epochs")}
    return recipe_for(rows, **{**own, "epochs": EPOCHS, "keep": "last", **changes})


def sites(found: Features) -> torch.Tensor:
    """(atoms, width) features of atoms; BadInput where the encoder does not tell atoms apart."""
    if found.site is None:
        raise BadInput("does not tell atoms apart, and this way of pre-training looks at atoms; name an encoder of structures", "the encoder")
    return found.site


def multitask(encoder: torch.nn.Module, inputs: Crystals, names: Sequence[str], seed: int = 0) -> Predictor:
    """A predictor of the fields `names` of the crystals together, one number per crystal each, NaN where not known: the task of a supervised method.

    A field counts by its spread over the crystals; Missing for one that is not there.
    """
    targets = [Target(n) for n in names]
    for n in names:
        inputs.get(n)
    return Predictor(encoder, targets, seed=seed, scale={t.name: fit_scaling(t, inputs) for t in targets})


def pretrain(method: str, model: str, inputs: Crystals, rows: Sequence[int] | None = None, *, settings: Mapping[str, Any] | None = None,
             options: Mapping[str, Any] | None = None, recipe: Mapping[str, Any] | None = None, start: Pretrained | None = None, budget: float | None = None, seed: int = 0,
             names: Sequence[str] = (), data: Mapping[str, Any] | None = None, checkpoint: Path | None = None, log: Callable[[dict[str, Any]], None] | None = None,
             should_stop: Callable[[], bool] | None = None) -> Pretrained:
    """Train encoder `model` ("name" or "name:preset") by `method` on the crystals `inputs`, or on some `rows` of them.

    settings   keyword arguments of the method, options those of the encoder, recipe: fields of Recipe other than `pretraining_recipe` says
    start      weights to begin with instead of drawn ones
    budget     seconds of training: epochs are cut so that it is kept, as measured beforehand
    names      of the crystals, for errors; data: what they are, plain JSON, kept with the weights
    checkpoint file of the state of the training; one that was stopped goes on from there
    log        hears the events of `fit`, and {"event": "graphs" | "plan", ...}
    One that was stopped early gives its weights too; `complete` is then false. Errors as `fit`, `load` and the encoder's graph.
    """
    tell, settings, options = log or (lambda event: None), dict(settings or {}), dict(options or {})
    maker = load(method, "pretraining", **settings)
    check_inputs(model, inputs)
    if rows is not None:
        rows = torch.as_tensor(np.asarray(rows), dtype=torch.long)
        inputs, names = inputs[rows], [names[i] for i in rows.tolist()] if len(names) else ()
    if not len(inputs):
        raise BadInput("no crystal to learn from", "pretrain")
    inputs = inputs if getattr(maker, "targets", ()) else inputs.bare()
    plan = pretraining_recipe(model, len(inputs), **{"seed": seed, **(recipe or {})})
    encoder = load(model, "encoder", **{**options, **({"seed": seed} if has_seed(model) else {})})
    if start is not None:
        start.give(encoder, model, options)
    try:
        task = maker.task(encoder, inputs, seed)
        builder = getattr(task, "graph", encoder.graph)
        samples = Samples(inputs) if builder is None else Samples.of(inputs, builder, lambda done, of: tell({"event": "graphs", "done": done, "of": of}))
    except BadInput as error:
        if error.crystal is not None and len(names):
            raise BadInput(error.message, row=str(names[error.crystal])) from None
        raise
    batches = Batches(samples, torch.arange(len(inputs)), plan.size, seed)
    speed = measure_speed(task, batches)
    if budget is not None:
        kept = int(read_checkpoint(checkpoint)[1]["training"]["recipe"]["epochs"]) if checkpoint is not None and Path(checkpoint).exists() else None
        plan = replace(plan, epochs=kept or int(np.clip(SPARE * budget * speed.training / len(inputs), 1, plan.epochs)))
    tell({"event": "plan", "epochs": plan.epochs, "size": plan.size, "rows": len(inputs), "parameters": sum(p.numel() for p in task.parameters() if p.requires_grad),
          "training_per_second": speed.training, "seconds": plan.epochs * len(inputs) / speed.training})
    begin = time.perf_counter()
    course = fit(task, batches, None, plan, checkpoint=checkpoint, log=tell, should_stop=should_stop)
    losses = [row["loss"] for row in course.history]
    history = {"stopped": course.stopped, "steps": course.steps, "epochs": len(losses), "seconds": round(max(course.seconds, time.perf_counter() - begin), 2),
               "training_per_second": round(speed.training, 1), "losses": [float(f"{v:.5g}") for v in losses],
               "parts": {k: [float(f"{row['parts'][k]:.5g}") for row in (course.history[0], course.history[-1])] for k in course.history[0]["parts"]} if losses else {}}
    return Pretrained(model, {k: v.detach().clone() for k, v in encoder.state_dict().items()}, method if ":" in method else resolved(method), options, settings,
                      {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(plan).items()}, history, {"crystals": len(inputs), **(data or {})}, seed,
                      {} if start is None else start.origin)
