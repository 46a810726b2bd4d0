"""Factors on the learning rate, step by step.

    constant      1
    cosine        (1 + cos(pi t)) / 2                          I. Loshchilov, F. Hutter, arXiv:1608.03983, eq. 5 without restarts
    one_cycle     up from 1/25 to 1 over 30 %, down to 1e-4    L. N. Smith, N. Topin, arXiv:1708.07120; both halves cosines
    steps         `factor` to the number of milestones passed
    inverse_sqrt  sqrt(w / (w + step))                         A. Vaswani et al., arXiv:1706.03762, section 5.3, from 1 on
    plateau       times `factor` after `patience` epochs without a better score
t is the share of steps done. All but one_cycle are multiplied by (step + 1) / warmup during the first `warmup` steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..base.errors import BadInput, Missing

SCHEDULES = ("constant", "cosine", "one_cycle", "steps", "inverse_sqrt", "plateau")
RISE, START, END = 0.3, 1 / 25, 1e-4  # of one cycle: share of steps, first and last factor
HALF = 4000  # steps after which the inverse square root has fallen to 0.71, where there is no warm-up


@dataclass
class Schedule:
    """The factor of every step, and what it remembers between epochs.

    steps       of the whole training
    warmup      steps
    milestones  shares of the training, for "steps"
    """

    kind: str
    steps: int
    warmup: int = 0
    milestones: Sequence[float] = (0.5, 0.75)
    factor: float = 0.1
    patience: int = 10
    level: float = 1.0
    best: float = math.inf
    waited: int = 0

    def __post_init__(self):
        if self.kind not in SCHEDULES:
            raise Missing("schedule", self.kind, SCHEDULES)
        if not 0 <= self.warmup <= self.steps:
            raise BadInput(f"{self.warmup} steps of warm-up in a training of {self.steps}", "Schedule")

    def __call__(self, step: int) -> float:
        """The factor of step number `step`, from 0."""
        t = min(step / max(self.steps - 1, 1), 1.0)
        if self.kind == "one_cycle":
            turn = lambda a, b, share: a + (b - a) * (1 - math.cos(math.pi * share)) / 2
            return turn(START, 1.0, t / RISE) if t < RISE else turn(1.0, END, (t - RISE) / (1 - RISE))
        warm = min((step + 1) / self.warmup, 1.0) if self.warmup else 1.0
        if self.kind == "cosine":
            begin = self.warmup / max(self.steps, 1)
            return warm * (1 + math.cos(math.pi * max(t - begin, 0.0) / (1 - begin or 1.0))) / 2
        if self.kind == "steps":
            return warm * self.factor ** sum(t >= m for m in self.milestones)
        if self.kind == "inverse_sqrt":
            half = self.warmup or HALF
            return warm * math.sqrt(half / (half + max(step - self.warmup, 0)))
        return warm * self.level

    def observe(self, score: float) -> None:
        """Hear the score of an epoch, smaller is better; only "plateau" listens."""
        if self.kind != "plateau":
            return
        if score < self.best:
            self.best, self.waited = score, 0
        else:
            self.waited += 1
            if self.waited > self.patience:
                self.level, self.waited = self.level * self.factor, 0

    def state(self) -> dict[str, float]:
        """What is remembered, as plain numbers; `restore` takes it back."""
        return {"level": self.level, "best": self.best if math.isfinite(self.best) else None, "waited": self.waited}

    def restore(self, state: dict) -> None:
        """The reverse of `state`."""
        self.level, self.waited = state["level"], state["waited"]
        self.best = math.inf if state["best"] is None else state["best"]
