"""What an explanation says: how much each site, element or column adds to an answer, and the function that is explained."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor, nn

from ..base.errors import BadInput, Missing
from ..crystal.compositions import Compositions
from ..crystal.graph import Graph
from ..crystal.segments import segment_sum
from ..crystal.state import Crystals
from .regressors import Regressor
from .targets import Predictor, Target
from .trained_regressor import TrainedRegressor

State = Crystals | Compositions


@dataclass(frozen=True)
class Contributions:
    """What each column of a table adds to the answer for each row: prediction = base + sum of values, where the method is complete.

    values      (rows, columns) in `unit`
    base        (rows,) the answer that is started from; prediction (rows,) the answer itself
    inputs      (rows, columns) the numbers of the rows
    method      how it was found; what it is counted against is said in words
    """

    method: str
    names: tuple[str, ...]
    values: np.ndarray
    base: np.ndarray
    prediction: np.ndarray
    inputs: np.ndarray
    unit: str = ""

    @property
    def gap(self) -> np.ndarray:
        """(rows,) what of the prediction is not accounted for."""
        return self.prediction - self.base - self.values.sum(1)

    @property
    def importance(self) -> np.ndarray:
        """(columns,) mean absolute contribution over the rows."""
        return np.abs(self.values).mean(0)

    def top(self, count: int) -> list[int]:
        """The columns of the largest importance, largest first."""
        return [int(i) for i in np.argsort(-self.importance, kind="stable")[:count]]


@dataclass(frozen=True)
class SiteContributions:
    """What each atom (of compositions: each element) adds to the answer for its crystal: prediction = base + sum of site, where the method is complete.

    site        (atoms,) float64 in `unit`
    base        (crystals,) the answer that is started from; prediction (crystals,)
    owner       (atoms,) crystal of each; species (atoms,)
    """

    method: str
    site: Tensor
    base: Tensor
    prediction: Tensor
    owner: Tensor
    species: Tensor
    unit: str = ""

    @property
    def gap(self) -> Tensor:
        """(crystals,) what of the prediction is not accounted for."""
        return self.prediction - self.base - segment_sum(self.site, self.owner, len(self.base))


class Reading:
    """The one number per crystal that is explained, as a function; in double precision, its weights fixed.

    predictor  is copied and left as it is
    target     name, the first of the predictor if empty; a number or class of a whole crystal (BadInput otherwise)
    label      of a target with classes: whose log-odds are explained; class 1 of two if absent, else class 0
    Numbers are in the target's unit, those learnt on a logarithm are explained as logarithms (see `unit`), classes as log-odds against all others.
    """

    def __init__(self, predictor: Predictor, target: str = "", label: int | None = None):
        names = [t.name for t in predictor.targets]
        if target and target not in names:
            raise Missing("target", target, names)
        self.target: Target = predictor.targets[names.index(target) if target else 0]
        if self.target.per == "site" or self.target.rank:
            raise BadInput("only numbers and classes of whole crystals are explained", f"target {self.target.name!r}")
        self.label = label_of(self.target, label)
        self.predictor = copy.deepcopy(predictor).double().eval()
        for p in self.predictor.parameters():
            p.requires_grad_(False)
        self.scale = self.predictor.scale[self.target.name]
        self.unit = unit_of(self.target, self.scale.log)

    @property
    def encoder(self) -> nn.Module:
        return self.predictor.encoder

    def graph(self, state: State) -> Graph:
        """The encoder's graph; errors as there."""
        return self.encoder.graph(state)

    def __call__(self, state: State, graph: Graph | None = None) -> Tensor:
        """(crystals,) float64."""
        return self.read(self.predictor.raw(state, graph)[self.target.name], state)

    def read(self, raw: Tensor, state: State) -> Tensor:
        """What the predictor gave before scaling, as the numbers that are explained."""
        if self.target.classes:
            others = [k for k in range(self.target.classes) if k != self.label]
            return raw[:, self.label] - raw[:, others].logsumexp(-1)
        return replace(self.scale, log=False).inverse(raw, self.target, state)


class TableReading:
    """The one number per row of a table that a classical model answers: in the target's unit, of a logarithm the logarithm, of a class its probability.

    Called with (rows, columns) it gives (rows,).
    """

    def __init__(self, model: Regressor, target: Target, log: bool = False, label: int | None = None):
        self.model, self.target, self.label = model, target, label_of(target, label)
        self.unit = "probability" if target.classes else unit_of(target, log)

    @staticmethod
    def of(trained: TrainedRegressor, label: int | None = None) -> TableReading:
        return TableReading(trained.model, trained.target, trained.log, label)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        found = np.asarray(self.model.answer(np.asarray(x, dtype=np.float64)), dtype=np.float64)
        return found[:, self.label] if self.target.classes else found


Function = Callable[[np.ndarray], np.ndarray]
"""(rows, columns) to (rows,)."""


def label_of(target: Target, label: int | None) -> int | None:
    """The class that is explained; BadInput for one that the target has not."""
    if not target.classes:
        if label is not None:
            raise BadInput("is a number and has no classes", f"target {target.name!r}")
        return None
    label = int(target.classes == 2) if label is None else int(label)
    if not 0 <= label < target.classes:
        raise BadInput(f"class {label} is not one of 0 to {target.classes - 1}", f"target {target.name!r}")
    return label


def unit_of(target: Target, log: bool) -> str:
    """Words for the unit of what is explained."""
    if target.classes:
        return "log-odds"
    return f"ln {target.unit}".strip() if log else target.unit
