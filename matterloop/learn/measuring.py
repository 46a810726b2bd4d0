"""How far a model is off on batches: the score that training goes by, and errors in the units of the targets."""

from __future__ import annotations

import torch
from torch import nn

from ..crystal.compositions import sizes
from .data import Batches
from .targets import Predictor, known


@torch.no_grad()
def validation_errors(model: nn.Module, batches: Batches) -> tuple[float, dict[str, float]]:
    """(score, {target: error}): of a Predictor the weighted loss over all known labels, and the mean absolute errors in the units of the targets
    (extensive ones per atom, vectors and tensors by component; classes: share of wrong ones; no label: left out); of other models the mean loss and its parts.
    """
    return _of_predictor(model, batches) if isinstance(model, Predictor) else _of_losses(model, batches)


def _of_predictor(model: Predictor, batches: Batches) -> tuple[float, dict[str, float]]:
    total, off, count = ({t.name: 0.0 for t in model.targets} for _ in range(3))
    for batch in batches.epoch(0):
        crystals = batch.crystals
        raw = model.raw(crystals, batch.graph)
        for name, (error, many) in model.errors(raw, crystals).items():
            total[name] += float(error)
            count[name] += int(many)
        for t in model.targets:
            labels = crystals.get(t.name)
            here = known(t, labels)
            if t.classes:
                off[t.name] += float((raw[t.name].argmax(-1) != labels)[here].sum())
                continue
            wrong = (model.scale[t.name].inverse(raw[t.name], t, crystals) - labels).abs()
            wrong = wrong / sizes(crystals).view(-1, *[1] * t.rank) if t.extensive else wrong
            off[t.name] += float(wrong[here].sum()) / 3**t.rank
    score = sum(model.weights[n] * total[n] / max(count[n], 1) for n in total)
    return score, {n: off[n] / count[n] for n in off if count[n]}


def _of_losses(model: nn.Module, batches: Batches) -> tuple[float, dict[str, float]]:
    total, parts, many = 0.0, {}, 0
    for number, batch in enumerate(batches.epoch(0)):
        loss, found = model.loss(batch, torch.Generator().manual_seed(number))
        total += float(loss) * len(batch)
        many += len(batch)
        for name, value in found.items():
            parts[name] = parts.get(name, 0.0) + float(value) * len(batch)
    return total / many, {n: v / many for n, v in parts.items()}
