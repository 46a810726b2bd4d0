"""Averages of weights over the course of a training, which often predict better than the last weights.

ema  exponential: m <- d m + (1 - d) w after every step, with d growing to `decay` as (1 + n) / (10 + n)
     (B. T. Polyak, A. B. Juditsky, SIAM J. Control Optim. 30, 838 (1992); the growth as in common practice)
swa  the mean over the last share of the training, after every epoch (P. Izmailov et al., arXiv:1803.05407, algorithm 1)
Floating buffers (the statistics of batch normalisation) are averaged with the weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..base.errors import BadInput, Missing

AVERAGES = ("none", "ema", "swa")


class Average:
    """Running mean of a model's floating weights and buffers.

    kind   one of AVERAGES
    decay  of ema
    start  share of the training after which swa begins
    """

    def __init__(self, model: nn.Module, kind: str = "none", decay: float = 0.999, start: float = 0.75):
        if kind not in AVERAGES:
            raise Missing("averaging", kind, AVERAGES)
        if not 0 <= decay < 1 or not 0 <= start <= 1:
            raise BadInput(f"decay is {decay} (0 to below 1), start is {start} (0 to 1)", "averaging")
        self.kind, self.decay, self.start = kind, decay, start
        self.count = 0
        self.mean: dict[str, Tensor] = {} if kind == "none" else {k: v.detach().clone() for k, v in _floats(model).items()}

    def after_step(self, model: nn.Module) -> None:
        """Take in the weights after a step (ema)."""
        if self.kind == "ema":
            keep = min(self.decay, (1 + self.count) / (10 + self.count))
            self._take(model, 1 - keep)

    def after_epoch(self, model: nn.Module, share: float) -> None:
        """Take in the weights after an epoch, `share` of the training being done (swa)."""
        if self.kind == "swa" and share >= self.start:
            self._take(model, 1 / (self.count + 1))

    @torch.no_grad()
    def _take(self, model: nn.Module, weight: float) -> None:
        now = _floats(model)
        torch._foreach_lerp_([self.mean[k] for k in now], [v.detach() for v in now.values()], weight)
        self.count += 1

    @property
    def ready(self) -> bool:
        """Whether the average is to be used in place of the weights."""
        return self.count > 0

    @contextmanager
    def used(self, model: nn.Module) -> Iterator[None]:
        """The model carries the average inside, its own weights again afterwards."""
        if not self.ready:
            yield
            return
        kept = {k: v.detach().clone() for k, v in _floats(model).items()}
        _write(model, self.mean)
        try:
            yield
        finally:
            _write(model, kept)


def _floats(model: nn.Module) -> dict[str, Tensor]:
    return {k: v for k, v in model.state_dict().items() if v.is_floating_point()}


@torch.no_grad()
def _write(model: nn.Module, values: dict[str, Tensor]) -> None:
    for k, v in _floats(model).items():
        v.copy_(values[k])
