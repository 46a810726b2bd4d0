"""A trained predictor as a thing to keep: what it is, what it learnt from, how well, and its weights, in a folder of JSON and safetensors."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..archive.files import replacing
from ..base.errors import BadInput, Missing
from ..base.quantities import quantity_of
from ..base.registry import load as load_part
from ..crystal.compositions import Compositions
from ..crystal.state import Crystals
from .checkpoints import read_tensors, read_words, write_tensors
from .scaling import Scaling
from .targets import Predictor, Target

VERSION = 1
WORDS, WEIGHTS = "trained.json", "weights.safetensors"
EXTRA = re.compile(r"[a-z][a-z0-9_]{0,60}\.safetensors")
TOGETHER = 4000  # atoms predicted at once


@dataclass(frozen=True)
class Trained:
    """A predictor with its origin.

    predictor    in eval mode
    encoder      name of the card, with ":preset" where one was used; `options` the keyword arguments it was built with
    recipe       of the training, plain JSON; `history` its summary: best epoch, errors, seconds, steps
    data         what it learnt from: name, version, rows, hash of the splits, ...; plain JSON
    seed         of the heads' first weights
    uncertainty  how sure predictions are, filled by whoever calibrates: plain JSON
    distance     how far a crystal is from the training data, filled likewise: plain JSON
    arrays       {name: {key: tensor}} what these two need in numbers, kept beside the weights as name.safetensors
    """

    predictor: Predictor
    encoder: str
    options: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    history: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    uncertainty: Mapping[str, Any] = field(default_factory=dict)
    distance: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)

    @property
    def targets(self) -> tuple[Target, ...]:
        """What is predicted."""
        return self.predictor.targets

    def with_notes(self, **changes) -> Trained:
        """Copy with `uncertainty`, `distance`, `arrays`, `history` or `data` replaced."""
        return replace(self, **changes)

    # prediction

    @torch.no_grad()
    def predict(self, crystals: Crystals, *, together: int = TOGETHER, on_progress: Callable[[int, int], None] | None = None) -> dict[str, Tensor]:
        """{target: (crystals,) or (atoms,) float64 in the target's unit, with the trailing axes of its rank; classes: (rows, classes) probabilities}.

        together     atoms predicted at once: bounds the memory
        on_progress  called with the crystals done and their number
        BadInput naming the crystal's place in `crystals` where the encoder cannot read one.
        """
        parts: dict[str, list[Tensor]] = {t.name: [] for t in self.targets}
        for _, _, found in self.stream(crystals, together, on_progress):
            for name, value in found.items():
                parts[name].append(value)
        return {t.name: torch.cat(parts[t.name]) if parts[t.name] else torch.zeros(0, *([t.classes] if t.classes else [3] * t.rank), dtype=torch.float64)
                for t in self.targets}

    @torch.no_grad()
    def stream(self, crystals: Crystals, together: int = TOGETHER, on_progress: Callable[[int, int], None] | None = None):
        """(first crystal, the crystals, their predictions) of one part after the other."""
        self.predictor.eval()
        done, bare = 0, read_by(self.predictor.encoder, crystals)
        for piece in bare.split(together):
            try:
                found = self.predictor(piece)
            except BadInput as error:
                raise error.renumbered(lambda i: i + done) from None
            yield done, piece, {t.name: found[t.name].softmax(-1).to(torch.float64) if t.classes else found[t.name] for t in self.targets}
            done += len(piece)
            if on_progress:
                on_progress(done, len(bare))

    # files

    def save(self, folder: str | Path) -> Path:
        """Write the folder and return it; weights in float32, the words last, so that a folder with words is whole. ArchiveError where it cannot be written."""
        folder = Path(folder)
        files = {WEIGHTS: {k: v.float() if v.is_floating_point() else v for k, v in self.predictor.state_dict().items()}}
        files |= {f"{name}.safetensors": values for name, values in self.arrays.items()}
        if odd := [name for name, tensors in files.items() if name != WEIGHTS and (not EXTRA.fullmatch(name) or len(tensors) == 0)]:
            raise BadInput(f"arrays are called {odd[0]!r}; names are lower case letters, digits and _, and hold at least one tensor", "Trained.save")
        hashes = write_tensors(folder, files)
        words = {"version": VERSION, "encoder": self.encoder, "options": dict(self.options), "seed": self.seed, "hidden": self.predictor.hidden,
                 "targets": [asdict(t) for t in self.targets], "scaling": {n: s.to_words() for n, s in self.predictor.scale.items()},
                 "weights": dict(self.predictor.weights), **{k: dict(getattr(self, k)) for k in NOTES}, "files": hashes}
        with replacing(folder / WORDS) as new:
            new.write_text(json.dumps(words, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return folder

    @staticmethod
    def load(folder: str | Path) -> Trained:
        """The predictor of a folder that `save` wrote.

        BadInput for a folder without words, unknown or missing keys, another version, names of files that are not plain, and files that are not the ones
        described (SHA-256); Missing for an encoder that is not here.
        """
        folder = Path(folder)
        words = _words(folder)
        where = str(folder / WORDS)
        tensors = {name: read_tensors(folder, name, digest, WORDS) for name, digest in words["files"].items()}
        targets = [_target(t, where) for t in words["targets"]]
        scale = {n: Scaling.of_words(s, where) for n, s in words["scaling"].items()}
        predictor = Predictor(load_part(words["encoder"], "encoder", **words["options"]), targets, hidden=words["hidden"], seed=words["seed"], scale=scale,
                              weights=words["weights"])
        try:
            predictor.load_state_dict(tensors.pop(WEIGHTS))
        except RuntimeError as error:
            raise BadInput(f"the weights do not fit the encoder {words['encoder']!r} with its options: {error}", str(folder / WEIGHTS)) from None
        return Trained(predictor.eval(), words["encoder"], words["options"], seed=words["seed"], arrays={n.removesuffix(".safetensors"): v for n, v in tensors.items()},
                       **{k: words[k] for k in NOTES})


def read_by(encoder: torch.nn.Module, inputs: Crystals | Compositions) -> Crystals | Compositions:
    """The inputs without fields but those per crystal that the encoder looks at (its `reads`) and that are there."""
    names = [n for n in getattr(encoder, "reads", ()) if n in inputs.whole]
    bare = inputs.bare()
    return bare.with_fields(whole={n: inputs.whole[n] for n in names}, quantities={n: quantity_of(n, inputs.quantities) for n in names}) if names else bare


NOTES = ("recipe", "history", "data", "uncertainty", "distance")
_KINDS = {"version": int, "encoder": str, "options": dict, "seed": int, "hidden": int, "targets": list, "scaling": dict, "weights": dict, **dict.fromkeys(NOTES, dict),
          "files": dict}


def _words(folder: Path) -> dict[str, Any]:
    where = str(folder / WORDS)
    words = read_words(folder / WORDS, VERSION, _KINDS, f"a trained predictor is a folder with {WORDS} and {WEIGHTS}")
    if WEIGHTS not in words["files"]:
        raise BadInput(f"names no {WEIGHTS}", where)
    if plain := [n for n in words["files"] if n != WEIGHTS and not EXTRA.fullmatch(n)]:
        raise BadInput(f"names the file {plain[0]!r}; only plain names within the folder are read", where)
    return words


def _target(words: Any, where: str) -> Target:
    known = {f.name for f in fields(Target)}
    if not isinstance(words, dict) or "name" not in words:
        raise BadInput(f"a target is {words!r}, wanted are words such as name and unit", where)
    if unknown := [k for k in words if k not in known]:
        raise BadInput(str(Missing("word of a target", unknown[0], known)), where)
    return Target(**words)
