"""The one training loop of the house: steps, validation, schedule, averaging, checkpoints; what differs between models is passed in."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..base.errors import BadInput, NotConverged
from ..base.seeds import derive, torch_stream
from .averaging import Average
from .checkpoints import below, optimizer_tensors, prefixed, read_checkpoint, restore_optimizer, write_checkpoint
from .data import Batch, Batches
from .interruption import interrupts
from .measuring import validation_errors
from .recipes import Recipe
from .schedules import Schedule

SAVE_SECONDS = 180.0  # between checkpoints inside an epoch
PAUSE = 5.0  # seconds after a checkpoint in which the end of an epoch writes none


class Phase(NamedTuple):
    """A part of a model with an optimizer of its own; every step goes through all phases in order.

    loss(batch, rng) -> (scalar, {part: scalar});  rate: factor on the recipe's rate
    """

    name: str
    parameters: Iterable[nn.Parameter]
    loss: Callable[[Batch, torch.Generator], tuple[Tensor, dict[str, Tensor]]]
    rate: float = 1.0


@dataclass(frozen=True)
class Course:
    """What happened in a training.

    history  one dict per epoch: epoch (from 1), loss, parts, rate, seconds, per_second (crystals trained per second), and where validated score,
             errors ({target: error in its unit})
    best     epoch with the best score, None without validation
    stopped  "done", "patience", "asked" or "interrupted"; advice: how to go on where there is more to do
    steps    taken in all, over all starts
    seconds  spent in all, over all starts
    """

    history: tuple[dict[str, Any], ...]
    best: int | None
    stopped: str
    steps: int
    seconds: float
    advice: str = ""

    @property
    def complete(self) -> bool:
        """Whether there is nothing left to do."""
        return self.stopped in ("done", "patience")


def fit(model: nn.Module, training: Batches, validation: Batches | None = None, recipe: Recipe | None = None, *, checkpoint: Path | None = None,
        log: Callable[[dict[str, Any]], None] | None = None, should_stop: Callable[[], bool] | None = None,
        measure: Callable[[nn.Module, Batches], tuple[float, dict[str, float]]] = validation_errors, save_seconds: float = SAVE_SECONDS) -> Course:
    """Train `model` in place and leave it with the weights that the recipe keeps, in eval mode.

    model       offers `loss(batch, rng) -> (scalar, parts)`, or `phases() -> list[Phase]`
    training    cut anew in the recipe's size and order; `validation` is looked at after every epoch with the averaged weights
    checkpoint  file of the state of the training, written every `save_seconds` and at the ends of epochs; where it is there already the training goes on
                from it, on the same machine to the bit. None: nothing is written
    log         hears dicts with "event": "resumed", "step" (every few seconds), "epoch" (a row of the history) or "stopped"
    should_stop asked after every step; a first Ctrl-C counts as yes
    measure     (model, validation) -> (score, {name: error}), smaller scores are better
    Models draw what they need from the `rng` they are given; the global generator is seeded for every step (dropout draws from it) and put back.
    NotConverged naming epoch, step and parts where a loss is not finite; BadInput where the checkpoint belongs to another training.
    """
    training = replace(training, size=(recipe := recipe or Recipe()).size, seed=recipe.seed)
    if validation is not None:
        validation = replace(validation, seed=None)
    state = _Training(model, training, validation, recipe, checkpoint, log or (lambda event: None), measure)
    state.resume()
    with interrupts() as interrupted:

        def why_stop() -> str:
            asked = should_stop is not None and should_stop()
            return "interrupted" if interrupted() else "asked" if asked else ""

        stopped = state.run(why_stop, save_seconds)
    return state.finish(stopped)


class _Training:
    """Everything that a checkpoint holds, and the steps that change it."""

    def __init__(self, model, training, validation, recipe, checkpoint, log, measure):
        self.model, self.training, self.validation, self.recipe, self.log, self.measure = model, training, validation, recipe, log, measure
        self.path = None if checkpoint is None else Path(checkpoint)
        self.phases = _phases(model, recipe)
        slow = {id(p) for name, p in model.named_parameters() if "encoder" in name.split(".")}
        self.optimizers = [_optimizer(p, recipe, slow) for p in self.phases]
        steps = len(training) * recipe.epochs
        self.schedule = Schedule(recipe.schedule, steps, min(round(recipe.warmup * len(training)), steps), recipe.milestones, recipe.factor, recipe.wait)
        self.average = Average(model, recipe.averaging, recipe.decay, recipe.start)
        self.history: list[dict[str, Any]] = []
        self.step, self.spent, self.stopped = 0, 0.0, ""
        self.best, self.best_weights = None, {}
        self.sums: dict[str, float] = {}  # of the epoch under way: crystals, seconds, loss and its parts times crystals
        self.begun = self.saved = self.told = time.monotonic()

    # running

    def run(self, why_stop: Callable[[], str], save_seconds: float) -> str:
        """Train to the end or until `why_stop` gives a reason; returns the reason."""
        self.begun = self.saved = self.told = time.monotonic()
        each = len(self.training)
        while not self.stopped:
            epoch, at = divmod(self.step, each)
            if epoch >= self.recipe.epochs:
                self.stopped = "done"
                break
            self.model.train()
            tick = time.perf_counter()
            for batch in self.training.epoch(epoch, at):
                self.one_step(epoch, batch)
                now = time.perf_counter()
                self.add(seconds=now - tick)
                tick = now
                if self.step % each == 0:
                    self.end_epoch(epoch)
                if reason := why_stop():
                    self.save()
                    return reason
                if self.step % each and time.monotonic() - self.saved > save_seconds:
                    self.save()
                    tick = time.perf_counter()
        self.save()
        return self.stopped

    def one_step(self, epoch: int, batch: Batch) -> None:
        """Every phase once."""
        rate = self.recipe.rate * self.schedule(self.step)
        with _own_randomness(derive(self.recipe.seed, "step", self.step)):
            rng = torch_stream(self.recipe.seed, "loss", self.step)
            for phase, optimizer in zip(self.phases, self.optimizers, strict=True):
                for group in optimizer.param_groups:
                    own = 1.0 if not group["of_encoder"] else 0.0 if epoch < self.recipe.freeze else self.recipe.encoder_rate
                    group["lr"] = rate * phase.rate * own
                optimizer.zero_grad(set_to_none=True)
                loss, parts = phase.loss(batch, rng)
                value = float(loss.detach())
                if not math.isfinite(value):
                    raise NotConverged(_not_finite(value, parts, epoch, self.step - epoch * len(self.training), phase.name, rate))
                loss.backward()
                if self.recipe.clip:
                    torch.nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], self.recipe.clip)
                optimizer.step()
                prefix = f"{phase.name}." if phase.name else ""
                self.add(**{f"{prefix}loss": value * len(batch)}, **{f"part:{prefix}{k}": float(v.detach()) * len(batch) for k, v in parts.items()})
        self.add(crystals=len(batch))
        self.average.after_step(self.model)
        self.step += 1
        if time.monotonic() - self.told > 2:
            self.told = time.monotonic()
            self.log({"event": "step", "epoch": epoch + 1, "step": self.step - epoch * len(self.training), "of": len(self.training),
                      "loss": self.sums[f"{prefix}loss"] / self.sums["crystals"]})

    def add(self, **values: float) -> None:
        """Add to the sums of the epoch."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def end_epoch(self, epoch: int) -> None:
        """Average, validate, tell, decide whether to go on."""
        self.average.after_epoch(self.model, (epoch + 1) / self.recipe.epochs)
        n, seconds = self.sums.pop("crystals"), self.sums.pop("seconds")
        row: dict[str, Any] = {"epoch": epoch + 1, "loss": sum(v for k, v in self.sums.items() if k.rpartition(".")[2] == "loss" and not k.startswith("part:")) / n,
                               "parts": {k.removeprefix("part:"): v / n for k, v in self.sums.items() if k.startswith("part:")},
                               "rate": self.recipe.rate * self.schedule(self.step - 1), "seconds": round(seconds, 3), "per_second": round(n / seconds, 1)}
        self.sums = {}
        if self.validation is not None:
            with self.average.used(self.model):
                self.model.eval()
                row["score"], row["errors"] = self.measure(self.model, self.validation)
                self.judge(row)
            self.model.train()
        self.history.append(row)
        self.log({"event": "epoch", **row})
        if self.path is not None and time.monotonic() - self.saved > PAUSE:
            self.save()

    def judge(self, row: dict[str, Any]) -> None:
        """Keep the best weights; end where there was nothing better for too long."""
        self.schedule.observe(row["score"])
        scores = {r["epoch"]: r["score"] for r in self.history}
        if self.best is None or row["score"] < scores[self.best]:
            self.best = row["epoch"]
            self.best_weights = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        elif self.recipe.patience and row["epoch"] - self.best >= self.recipe.patience:
            self.stopped = "patience"

    def finish(self, stopped: str) -> Course:
        """Put the kept weights into the model."""
        if self.best_weights and self.recipe.keep == "best":
            self.model.load_state_dict(self.best_weights)
        elif self.average.ready:
            self.model.load_state_dict(self.average.mean, strict=False)
        self.model.eval()
        advice = ""
        if stopped not in ("done", "patience"):
            advice = "nothing was saved: give a checkpoint to be able to go on" if self.path is None else f"go on by the same call or command: the state lies in {self.path}"
        self.log({"event": "stopped", "why": stopped, "steps": self.step, "seconds": round(self.spent, 1), "best": self.best, "advice": advice})
        return Course(tuple(self.history), self.best, stopped, self.step, self.spent, advice)

    # keeping

    def save(self) -> None:
        """Write the checkpoint."""
        now = time.monotonic()
        self.spent, self.begun, self.saved = self.spent + now - self.begun, now, now
        if self.path is None:
            return
        tensors = {**prefixed("model", self.model.state_dict()), **prefixed("best", self.best_weights), **prefixed("average", self.average.mean)}
        for i, optimizer in enumerate(self.optimizers):
            tensors |= prefixed(f"optimizer/{i}", optimizer_tensors(optimizer))
        write_checkpoint(self.path, tensors, {
            "training": self.identity(), "step": self.step, "spent": self.spent, "stopped": self.stopped, "best": self.best, "sums": self.sums,
            "averaged": self.average.count, "schedule": self.schedule.state(), "history": self.history})

    def identity(self) -> dict[str, Any]:
        """What must be the same for a training to go on."""
        rows = [b.rows.to(torch.int64).cpu().numpy().tobytes() for b in (self.training, self.validation) if b is not None]
        return json.loads(json.dumps({"recipe": asdict(self.recipe), "rows": derive(0, *(r.hex() for r in rows)),
                                      "weights": {k: list(v.shape) for k, v in self.model.state_dict().items()}}))

    def resume(self) -> None:
        """Take up the state of the checkpoint where there is one."""
        if self.path is None or not self.path.exists():
            return
        tensors, words = read_checkpoint(self.path)
        if differing := [k for k, v in self.identity().items() if words["training"].get(k) != v]:
            what = differing[0]
            if what == "recipe":
                old, new = words["training"]["recipe"], self.identity()["recipe"]
                what = "recipe: " + ", ".join(f"{k} was {old.get(k)!r}, is {v!r}" for k, v in new.items() if old.get(k) != v)
            raise BadInput(f"belongs to another training (other {what}); remove it or name another file to begin anew", str(self.path))
        self.model.load_state_dict(below("model", tensors))
        self.best_weights, self.average.mean, self.average.count = below("best", tensors), below("average", tensors), words["averaged"]
        for i, optimizer in enumerate(self.optimizers):
            restore_optimizer(optimizer, below(f"optimizer/{i}", tensors))
        self.schedule.restore(words["schedule"])
        self.step, self.spent, self.stopped, self.best = words["step"], words["spent"], words["stopped"], words["best"]
        self.sums, self.history = words["sums"], words["history"]
        self.log({"event": "resumed", "epoch": self.step // len(self.training) + 1, "step": self.step % len(self.training), "seconds": round(self.spent, 1)})


def _phases(model: nn.Module, recipe: Recipe) -> list[Phase]:
    if hasattr(model, "phases"):
        return list(model.phases())
    own = model.loss if recipe.loss is None else lambda batch, rng: model.loss(batch, rng, error=recipe.loss)
    return [Phase("", model.parameters(), own)]


def _optimizer(phase: Phase, recipe: Recipe, slow: set[int]) -> torch.optim.Optimizer:
    """Groups by two properties: matrices decay, and weights of the encoder (`slow`, ids) may have a rate of their own."""
    parameters = [p for p in phase.parameters if p.requires_grad]
    if not parameters:
        raise BadInput("has no parameter to train", f"phase {phase.name!r}" if phase.name else "the model")
    apart = recipe.encoder_rate != 1 or recipe.freeze > 0
    groups = [{"params": [p for p in parameters if (p.dim() > 1) is wide and (apart and id(p) in slow) is of_encoder], "weight_decay": recipe.weight_decay if wide else 0.0,
               "of_encoder": of_encoder} for of_encoder in (False, True) for wide in (True, False)]
    groups = [g for g in groups if g["params"]]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.rate, momentum=recipe.momentum)
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer](groups, lr=recipe.rate, fused=True)


def _not_finite(value: float, parts: dict[str, Tensor], epoch: int, step: int, phase: str, rate: float) -> str:
    named = ", ".join(f"{k} {float(v.detach()):.4g}" for k, v in parts.items())
    return (f"the loss is {value} in epoch {epoch + 1}, step {step + 1}{f', phase {phase}' if phase else ''} (parts: {named}) at the rate {rate:.3g}; "
            "lower `rate`, set `clip`, or look for labels that are far off")


@contextmanager
def _own_randomness(seed: int) -> Iterator[None]:
    """The global generator seeded inside and as it was outside: layers such as dropout draw from it."""
    before = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before)
