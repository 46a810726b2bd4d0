"""A predictor that says how sure it is and whether it knows the kind of crystal: trained networks or a classical model, a conformal calibration, a reference of the training rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from ..base.errors import BadInput
from ..crystal.compositions import Compositions
from ..crystal.state import Crystals
from .distance import Nearness, Reference, describe
from .low_fidelity import FOLDER, LowFidelity
from .targets import Target
from .trained import TOGETHER, Trained, read_by
from .trained_regressor import WORDS as CLASSICAL, TrainedRegressor
from .uncertainty import Conformal, ensemble, temperature, tempered

LEVEL = 0.9  # of the interval that is printed
MEMBER = "member_{}"
FEATURES = "features"  # distances by what the encoder makes of a crystal


@dataclass(frozen=True)
class Prediction:
    """What is said of each row, (rows,) each, in the target's unit.

    value        the number, or for two classes the probability of class 1
    deviation    half the width of the 68.27 % interval; low, high: ends of the 90 % interval. NaN where nothing was calibrated; classes have none
    percentile   of the distance among the training rows' own distances; `known`: "known", "edge" or "unknown"; `nearest`: names of the nearest training rows
    probabilities  (rows, classes) of classes
    """

    value: np.ndarray
    deviation: np.ndarray
    low: np.ndarray
    high: np.ndarray
    percentile: np.ndarray
    known: tuple[str, ...]
    nearest: tuple[str, ...]
    probabilities: np.ndarray | None = None
    conformal: Conformal | None = None

    def below(self, limit: float) -> np.ndarray:
        """(rows,) probability that the truth lies below `limit`; NaN where nothing was calibrated. Of two classes: that it is class 0 for limits in (0, 1]."""
        if self.probabilities is not None:
            return 1 - self.value if 0 < limit <= 1 and self.probabilities.shape[1] == 2 else np.full(len(self.value), np.nan)
        return np.full(len(self.value), np.nan) if self.conformal is None else self.conformal.below(self.value, limit, self.deviation)

    def shifted(self, by: np.ndarray) -> Prediction:
        """The same of a number that is larger by (rows,) `by`."""
        return replace(self, value=self.value + by, low=self.low + by, high=self.high + by)


@dataclass(frozen=True)
class CalibratedPredictor:
    """Networks of one target whose mean is predicted; `reference` and `conformal` may be absent, then nothing is said of distance or uncertainty.

    names        of the training rows, in the order of the reference
    temperature  by which scores of classes are divided
    low          a lower fidelity that the members read, or whose difference they give; conformal intervals are those of rows whose low value was known as
                 often as in the rows that calibrated
    """

    members: tuple[Trained | TrainedRegressor, ...]
    reference: Reference | None = None
    conformal: Conformal | None = None
    names: tuple[str, ...] = field(default=())
    temperature: float = 1.0
    low: LowFidelity | None = None

    @property
    def target(self) -> Target:
        return self.members[0].targets[0]

    @property
    def takes_compositions(self) -> bool:
        """Whether it was trained on formulas alone."""
        return self.members[0].data.get("inputs") == "compositions"

    def raw(self, inputs: Crystals | Compositions, on_progress: Callable[[int, int], None] | None = None) -> np.ndarray:
        """(members, rows) numbers, or (members, rows, classes) probabilities."""
        return np.stack([m.predict(inputs, on_progress=on_progress)[self.target.name].numpy() for m in self.members])

    def nearness(self, inputs: Crystals | Compositions) -> Nearness:
        """How near the training rows are; BadInput where there is no reference."""
        if self.reference is None:
            raise BadInput("this predictor was kept without its training rows", "distance")
        return self.reference.nearness(inputs, [pooled(self.members[0], inputs)] if self.reference.kind == FEATURES else None)

    def mean_and_spread(self, raw: np.ndarray, inputs: Crystals | Compositions) -> tuple[np.ndarray, np.ndarray | None]:
        """(rows,) value, and its standard deviation after what the members state themselves and how far they differ; None where they do neither."""
        own = [_own_spread(m, self.target, inputs, values) for m, values in zip(self.members, raw, strict=True)]
        stated = np.stack(own) if all(x is not None for x in own) else None
        if len(raw) > 1:
            return ensemble(raw, stated)
        return raw[0], None if stated is None else stated[0]

    def predict(self, inputs: Crystals | Compositions, level: float = LEVEL, on_progress: Callable[[int, int], None] | None = None) -> Prediction:
        """Values with uncertainty and nearness; errors as `Trained.predict` and `Conformal.interval`."""
        if self.low is not None:
            filled = self.low.filled(inputs)
            said = replace(self, low=None).predict(filled, level, on_progress)
            return said if self.low.use == "input" else said.shifted(filled.get(self.low.field).numpy())
        seen = self.members[0].read(inputs) if isinstance(self.members[0], TrainedRegressor) else inputs
        raw, rows = self.raw(seen, on_progress), len(inputs)
        near = self.nearness(inputs) if self.reference is not None and rows else None
        blank = np.full(rows, np.nan)
        percentile = blank if near is None else near.percentile
        known = ("",) * rows if near is None else tuple(near.words)
        nearest = ("",) * rows if near is None or not self.names else tuple(self.names[i] for i in near.nearest[:, 0])
        if self.target.classes:
            p = tempered(raw.mean(0), self.temperature)
            value = p[:, 1] if self.target.classes == 2 else p.argmax(1).astype(np.float64)
            return Prediction(value, blank, blank, blank, percentile, known, nearest, p)
        value, spread = self.mean_and_spread(raw, seen)
        if self.conformal is None:
            return Prediction(value, blank, blank, blank, percentile, known, nearest)
        given = {"distance": None if near is None else near.distance, "spread": spread}
        low, high = self.conformal.interval(value, level, **given)
        return Prediction(value, self.conformal.deviation(value, **given), low, high, percentile, known, nearest, conformal=self.conformal)

    def save(self, folder: str | Path) -> Path:
        """Write the folder: the first network with reference and calibration, further ones in folders within. Errors as `Trained.save`."""
        folder = Path(folder)
        for i, member in enumerate(self.members[1:], 1):
            member.save(folder / MEMBER.format(i))
        first = self.members[0]
        uncertainty = {"members": len(self.members), "temperature": self.temperature, "conformal": self.conformal.to_words() if self.conformal else None}
        if self.low is not None:
            self.low.predictor.save(folder / FOLDER)
            uncertainty["low"] = self.low.to_words()
        distance, arrays = {}, {k: v for k, v in first.arrays.items() if k != "distance"}
        if self.reference is not None:
            distance = {**self.reference.to_words(), "names": list(self.names)}
            arrays["distance"] = self.reference.to_tensors()
        return replace(first, uncertainty=uncertainty, distance=distance, arrays=arrays).save(folder)

    @staticmethod
    def load(folder: str | Path) -> CalibratedPredictor:
        """The predictor of a folder that `save` wrote, or of one that `Trained.save` wrote. Errors as `Trained.load`."""
        first = (TrainedRegressor if (Path(folder) / CLASSICAL).exists() else Trained).load(folder)
        said = dict(first.uncertainty)
        try:
            others = [Trained.load(Path(folder) / MEMBER.format(i)) for i in range(1, int(said.get("members", 1)))]
            reference = Reference.of_file(first.arrays["distance"], first.distance) if first.distance else None
            conformal = Conformal.of_words(said["conformal"]) if said.get("conformal") else None
            low = LowFidelity(**said["low"], predictor=CalibratedPredictor.load(Path(folder) / FOLDER)) if said.get("low") else None
            return CalibratedPredictor((first, *others), reference, conformal, tuple(map(str, first.distance.get("names", ()))), float(said.get("temperature", 1.0)), low)
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, BadInput):
                raise
            raise BadInput(f"its words on uncertainty or distance cannot be used: {type(error).__name__} {error}", str(folder)) from None


def _own_spread(member: Trained | TrainedRegressor, target: Target, inputs: Crystals | Compositions, values: np.ndarray) -> np.ndarray | None:
    """(rows,) standard deviation that a member states, None where it states none."""
    if isinstance(member, TrainedRegressor):
        return member.spread(inputs, values)
    if not (target.width or target.evidential) or not len(inputs):
        return None
    with torch.no_grad():
        found = np.concatenate([member.predictor.deviations(piece)[target.name].numpy() for piece in read_by(member.predictor.encoder, inputs).split(TOGETHER)])
    return found * values if member.predictor.scale[target.name].log else found


def _learns_logarithm(member: Trained | TrainedRegressor) -> bool:
    return member.log if isinstance(member, TrainedRegressor) else member.predictor.scale[member.targets[0].name].log


@torch.no_grad()
def pooled(member: Trained | TrainedRegressor, inputs: Crystals | Compositions) -> np.ndarray:
    """(rows, width) what the encoder makes of each crystal, or of its average atom; BadInput for a classical model, which has no encoder."""
    if isinstance(member, TrainedRegressor):
        raise BadInput("a classical model has no features of its own; describe rows by 'magpie' or 'magpie+crystal_nn'", "distance")
    encoder, parts = member.predictor.encoder.eval(), []
    for piece in read_by(encoder, inputs).split(TOGETHER):
        found = encoder(piece, encoder.graph(piece))
        parts.append(found.of_crystals(piece).to(torch.float64))
    return torch.cat(parts).numpy()


def calibrated(members: Sequence[Trained | TrainedRegressor], inputs: Crystals | Compositions, train: Sequence[int], held: Sequence[int], names: Sequence[str] = (),
               descriptor: str = "", seed: int = 0, said: tuple[np.ndarray, np.ndarray | None] | None = None) -> CalibratedPredictor:
    """A predictor calibrated on the rows `held`, which were not trained on, with the training rows as reference.

    inputs     all rows, with labels as a field; `names` of all rows
    descriptor  of the rows for distances: one of distance.DESCRIPTORS, or "features" for those of the first network; if empty "features" of a network,
                composition and structure for a classical model
    said       (values or probabilities, spreads) that models which were not trained on them gave the rows `held`; the members are asked if absent
    """
    target = members[0].targets[0]
    train, held = (torch.as_tensor(np.asarray(x), dtype=torch.long) for x in (train, held))
    reference, blocks_of = None, None
    if len(train) >= 3:
        descriptor = descriptor or (("magpie+crystal_nn" if isinstance(inputs, Crystals) else "magpie") if isinstance(members[0], TrainedRegressor) else FEATURES)
        rows, place = torch.cat([train, held]).unique(return_inverse=True)  # each row is described once, whether it trained, calibrates, or both
        blocks = [pooled(members[0], inputs[rows])] if descriptor == FEATURES else describe(inputs[rows], descriptor)
        blocks_of = lambda places: [b[places.numpy()] for b in blocks]
        reference = Reference.of(blocks_of(place[: len(train)]), descriptor, seed=seed).with_elements(inputs[train])
    own = tuple(str(names[i]) for i in train.tolist()) if len(names) else ()
    bare = CalibratedPredictor(tuple(members), reference, None, own)
    if not len(held):
        return bare
    part = inputs[held]
    truth = part.get(target.name).numpy()
    if target.classes:
        logits = np.log(np.clip(bare.raw(part).mean(0) if said is None else said[0], 1e-12, None))
        return replace(bare, temperature=temperature(truth, logits) if len(truth) >= 20 else 1.0)
    if np.isnan(truth).all():
        return bare
    value, spread = bare.mean_and_spread(bare.raw(part), part) if said is None else said
    distance = reference.nearness(part, blocks_of(place[len(train) :])).distance if reference is not None else None
    return replace(bare, conformal=Conformal.of(truth, value, distance=distance, spread=spread, seed=seed, logarithm=_learns_logarithm(members[0])))
