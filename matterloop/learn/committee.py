"""Committees of different networks: each is trained by its own recipe, their mean is predicted and calibrated as one.

Networks of different kinds err less alike than networks of one kind with other first weights (L. K. Hansen, P. Salamon, IEEE Trans. Pattern Anal. 12, 993
(1990), doi:10.1109/34.58871), so that a mean over kinds is better than each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..base.errors import BadInput
from ..base.registry import find
from ..crystal.compositions import Compositions
from ..crystal.state import Crystals
from .calibrated import CalibratedPredictor, calibrated
from .targets import Target
from .training import Speed, Training, train

MOST = 64  # networks


def is_committee(model: str) -> bool:
    """Whether the text names several networks."""
    return "," in model or "*" in model


def parts_of(model: str) -> list[tuple[str, int]]:
    """[(encoder with preset, how many)] of a text such as "crystalformer:light*3,cgcnn"; BadInput for counts that are none, Missing for unknown encoders."""
    found: list[tuple[str, int]] = []
    for word in model.split(","):
        name, star, count = word.strip().partition("*")
        if not name or (star and not count.strip().isdigit()) or (star and int(count) < 1):
            raise BadInput(f"{word.strip()!r} is no NAME[:PRESET][*COUNT]", f"committee {model!r}")
        find(name.partition(":")[0], "encoder")
        if name in (n for n, _ in found):
            raise BadInput(f"{name!r} is named twice; write {name}*2", f"committee {model!r}")
        found.append((name, int(count) if star else 1))
    if sum(n for _, n in found) > MOST:
        raise BadInput(f"has {sum(n for _, n in found)} networks, allowed are {MOST}", f"committee {model!r}")
    return found


def train_committee(model: str, inputs: Crystals | Compositions, target: Target, rows: Mapping[str, Sequence[int]], *, budget: float | None = None, members: int = 1,
                    seed: int = 0, names: Sequence[str] = (), checkpoint: Path | None = None, calibrate: bool = True, descriptor: str = "",
                    log: Callable[[dict[str, Any]], None] | None = None, options: Mapping[str, Any] | None = None, **more) -> Training:
    """As `training.train` for a text that `parts_of` reads; every network gets the same share of the budget, seeds count on within a kind.

    members  how often the whole committee is taken; `more` goes to `train` for each kind. BadInput for options of a model: they would not fit all.
    Courses stand kind by kind, the recipe is that of the first, the speed that of training all on one structure after the other, parameters are those of all.
    """
    if options:
        raise BadInput("options of a model do not fit all of a committee; name presets instead", f"committee {model!r}")
    tell, kinds = log or (lambda event: None), [(name, n * members) for name, n in parts_of(model)]
    every, found, done = sum(n for _, n in kinds), [], 0
    for name, count in kinds:
        own = None if budget is None else budget * count / every
        place = None if checkpoint is None else Path(checkpoint) / name.replace(":", "+")
        one = train(name, inputs, target, rows, budget=own, members=count, seed=seed, names=names, checkpoint=place, calibrate=False, descriptor=descriptor,
                    log=lambda event, name=name, before=done: tell(event | {"model": name} | ({"member": before + event["member"]} if "member" in event else {})), **more)
        found.append(one)
        done += count
        if not one.complete:
            break
    courses = tuple(c for one in found for c in one.courses)
    networks = [m for one in found for m in one.predictor.members]
    seconds = {k: sum(one.seconds[k] for one in found) for k in found[0].seconds}
    predictor = CalibratedPredictor(tuple(networks))
    if calibrate and len(networks) == every and all(one.complete for one in found):
        tell({"event": "calibrate"})
        given = {k: torch.as_tensor(np.asarray(rows.get(k, ())), dtype=torch.long) for k in ("train", "val")}
        predictor = calibrated(networks, inputs, given["train"], given["val"], names, descriptor, seed)
    speeds = [(one.speed, n) for one, (_, n) in zip(found, kinds, strict=False)]
    rate = lambda what: 1 / sum(n / getattr(s, what) for s, n in speeds)
    parameters = sum(one.parameters * n for one, (_, n) in zip(found, kinds, strict=False))
    return replace(found[0], predictor=predictor, courses=courses, speed=Speed(rate("forward"), rate("backward"), rate("training")), parameters=parameters, seconds=seconds)
