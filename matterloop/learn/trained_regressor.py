"""A classical model as a thing to keep: the counterpart of `Trained` for models that are no networks, in a folder of JSON and safetensors."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..archive.files import replacing, sha256_of
from ..base.errors import BadInput
from ..crystal.compositions import Compositions
from ..crystal.state import Crystals
from .regressors import Regressor, load_regressor
from .tables import Table, read_table
from .targets import Target

VERSION = 1
WORDS, STATE, DISTANCE = "classical.json", "regressor.safetensors", "distance.safetensors"
NOTES = ("history", "data", "uncertainty", "distance")


@dataclass(frozen=True)
class TrainedRegressor:
    """A classical model with its origin; fields as in `Trained`.

    log  the model gives logarithms
    """

    model: Regressor
    name: str
    target: Target
    log: bool = False
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    history: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    uncertainty: Mapping[str, Any] = field(default_factory=dict)
    distance: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)

    @property
    def targets(self) -> tuple[Target, ...]:
        return (self.target,)

    def read(self, inputs: Crystals | Compositions | Table) -> Table:
        """What the model sees of the inputs: to be read once where several things are asked of the same rows. A table passes as it is."""
        return inputs if isinstance(inputs, Table) else read_table(inputs.bare(), self.model.features)

    def in_unit(self, answers: np.ndarray) -> np.ndarray:
        """The model's answers as numbers in the target's unit, or probabilities that add up to 1."""
        found = np.asarray(answers, dtype=np.float64)
        if self.target.classes and found.ndim == 2:
            found = np.clip(found, 0.0, 1.0)
            return found / np.maximum(found.sum(1, keepdims=True), 1e-12)
        return np.exp(found) if self.log else found

    def predict(self, inputs: Crystals | Compositions | Table, *, on_progress: Callable[[int, int], None] | None = None) -> dict[str, Tensor]:
        """{target: (rows,) float64 in the target's unit, or (rows, classes) probabilities}."""
        found = self.in_unit(self.model.predict(self.read(inputs)))
        if on_progress:
            on_progress(len(inputs), len(inputs))
        return {self.target.name: torch.from_numpy(found)}

    def spread(self, inputs: Crystals | Compositions | Table, values: np.ndarray | None = None) -> np.ndarray | None:
        """(rows,) standard deviation that the model itself states, in the target's unit; None where it states none. `values` spares their prediction."""
        if self.target.classes:
            return None
        table = self.read(inputs)
        try:
            own = np.asarray(self.model.spread(table), dtype=np.float64)
        except BadInput:
            return None
        if not self.log:
            return own
        return own * (self.predict(table)[self.target.name].numpy() if values is None else values)

    def save(self, folder: str | Path) -> Path:
        """Write the folder and return it, the words last. ArchiveError where it cannot be written."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.model.save(folder / STATE)
        hashes = {STATE: sha256_of(folder / STATE)}
        if "distance" in self.arrays:
            with replacing(folder / DISTANCE) as new:
                save_file({k: v.contiguous() for k, v in self.arrays["distance"].items()}, new)
            hashes[DISTANCE] = sha256_of(folder / DISTANCE)
        words = {"version": VERSION, "name": self.name, "target": asdict(self.target), "log": self.log, "seed": self.seed, "options": dict(self.options),
                 **{k: dict(getattr(self, k)) for k in NOTES}, "files": hashes}
        with replacing(folder / WORDS) as new:
            new.write_text(json.dumps(words, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return folder

    @staticmethod
    def load(folder: str | Path) -> TrainedRegressor:
        """The model of a folder that `save` wrote; BadInput where it is not whole, of another version, or a file is not the one described."""
        folder = Path(folder)
        try:
            words = json.loads((folder / WORDS).read_text(encoding="utf-8"))
            if words["version"] != VERSION:
                raise BadInput(f"is of version {words['version']}, this program reads {VERSION}", str(folder / WORDS))
            for name in (STATE, *([DISTANCE] if DISTANCE in words["files"] else [])):
                if (folder / name).is_symlink() or sha256_of(folder / name) != words["files"][name]:
                    raise BadInput(f"is not the file that {WORDS} describes", str(folder / name))
            arrays = {"distance": load_file(folder / DISTANCE)} if DISTANCE in words["files"] else {}
            return TrainedRegressor(load_regressor(folder / STATE), str(words["name"]), Target(**words["target"]), bool(words["log"]), int(words["seed"]), words["options"],
                                    arrays=arrays, **{k: dict(words[k]) for k in NOTES})
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            if isinstance(error, BadInput):
                raise
            raise BadInput(f"is no classical model that was kept: {type(error).__name__} {error}", str(folder)) from None
