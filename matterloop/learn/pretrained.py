"""What pre-training leaves behind: an encoder's weights with their origin, as a start for other trainings and as a teacher beside them.

Distillation of features: A. Romero et al., "FitNets: hints for thin deep nets", ICLR 2015, arXiv:1412.6550, eq. 3; of crystals K. Das et al., AAAI 2023,
doi:10.1609/aaai.v37i6.25892: loss = share |teacher - projected student|^2 + (1 - share) loss of the labels, with features of unit length.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..archive.files import replacing
from ..base.errors import BadInput
from ..base.quantities import Quantity
from ..base.registry import find, load
from ..base.seeds import torch_stream
from ..crystal.compositions import atom_mean
from ..crystal.state import Crystals
from ..layers.parts import linear
from .checkpoints import read_tensors, read_words, write_tensors
from .data import Batch
from .targets import Features, Predictor
from .trained import WORDS as TRAINED, Trained

VERSION = 1
WORDS, WEIGHTS = "pretrained.json", "pretrained.safetensors"
LABELS = "labels"  # method of weights that come from a training on labels of another property, fidelity or table
TEACHER = "teacher_features"  # field of atoms that a teacher looked at
TOGETHER = 4000  # atoms that a teacher looks at together


@dataclass(frozen=True)
class Pretrained:
    """An encoder that was trained without the labels that are wanted of it later.

    encoder   name of the card, with ":preset" where one was used; `options` the keyword arguments it was built with
    weights   its state, {name: tensor}
    method    name of the part of role "pretraining", or LABELS; `settings` the keyword arguments of it
    recipe, history  of the training, plain JSON: history holds stopped, steps, seconds, epochs and the loss of the first and last epoch
    data      what it saw: source, rows, labels that were used; plain JSON
    seed      of the first weights and all draws
    before    origin of the weights it had begun with, in the words of `origin`, empty if drawn
    """

    encoder: str
    weights: Mapping[str, Tensor]
    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    history: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    before: Mapping[str, Any] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether the pre-training went to its end."""
        return self.history.get("stopped") in ("done", "patience")

    @property
    def origin(self) -> dict[str, Any]:
        """Where the weights come from, for records: everything but the numbers."""
        return {"method": self.method, "settings": dict(self.settings), "encoder": self.encoder, "options": dict(self.options), "data": dict(self.data), "seed": self.seed,
                "epochs": self.history.get("epochs"), **({"before": dict(self.before)} if self.before else {})}

    def build(self) -> nn.Module:
        """The encoder with its weights, in eval mode."""
        encoder = load(self.encoder, "encoder", **self.options)
        _restore(encoder, self.weights, self.encoder)
        return encoder.eval()

    def give(self, encoder: nn.Module, model: str, options: Mapping[str, Any]) -> None:
        """Put what was learnt into `encoder`, which was built as `model` with `options`.

        A method that offers `transfer(start, encoder, model, options)` does it in its own way; else the encoder must be the same one with the same options
        (BadInput that says what differs); only the seed may be another.
        """
        method = None if self.method == LABELS else load(self.method, "pretraining", **self.settings)
        if hasattr(method, "transfer"):
            method.transfer(self, encoder, model, options)
        else:
            self.same(model, options)
            _restore(encoder, self.weights, model)

    def same(self, model: str, options: Mapping[str, Any]) -> None:
        """BadInput unless `model` with `options` is the encoder that was pre-trained."""
        if model != self.encoder:
            raise BadInput(f"the start is a {self.encoder!r}, asked for is {model!r}; train {self.encoder!r}, or pre-train {model!r}", f"pre-trained by {self.method}")
        plain = lambda o: json.loads(json.dumps({k: v for k, v in o.items() if k != "seed"}))
        mine, other = plain(self.options), plain(options)
        if differing := [k for k in {**mine, **other} if mine.get(k) != other.get(k)]:
            k = differing[0]
            raise BadInput(f"option {k!r} is {mine.get(k, 'as by default')!r} in the start and {other.get(k, 'as by default')!r} here; they must be the same", f"pre-trained by {self.method}")

    @staticmethod
    def of_trained(trained: Trained) -> Pretrained:
        """The encoder of a predictor, as a start for the training of another: transfer learning."""
        weights = {k: v.detach().clone() for k, v in trained.predictor.encoder.state_dict().items()}
        return Pretrained(trained.encoder, weights, LABELS, trained.options, {"targets": [t.name for t in trained.targets]}, trained.recipe, trained.history, trained.data, trained.seed)

    # files

    def save(self, folder: str | Path) -> Path:
        """Write the folder and return it; weights in float32, the words last. ArchiveError where it cannot be written."""
        folder = Path(folder)
        hashes = write_tensors(folder, {WEIGHTS: {k: v.float() if v.is_floating_point() else v for k, v in self.weights.items()}})
        words = {"version": VERSION, "files": hashes, **{k: dict(v) if isinstance(v := getattr(self, k), Mapping) else v for k in _KINDS if k not in ("version", "files")}}
        with replacing(folder / WORDS) as new:
            new.write_text(json.dumps(words, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return folder

    @staticmethod
    def load(folder: str | Path) -> Pretrained:
        """What `save` wrote, or what a predictor begins with that was trained on labels. BadInput for a folder without words, unknown or missing words, another version, and weights that are not those described."""
        folder = Path(folder)
        where = str(folder / WORDS)
        if not (folder / WORDS).exists() and (folder / TRAINED).exists():
            return Pretrained.of_trained(Trained.load(folder))
        words = read_words(folder / WORDS, VERSION, _KINDS, f"a pre-trained encoder is a folder with {WORDS} and {WEIGHTS}, as `matterloop pretrain` writes it")
        if set(words["files"]) != {WEIGHTS}:
            raise BadInput(f"names the files {sorted(words['files'])}, wanted is {WEIGHTS} alone", where)
        weights = read_tensors(folder, WEIGHTS, words["files"][WEIGHTS], WORDS)
        return Pretrained(weights=weights, **{k: words[k] for k in _KINDS if k not in ("version", "files")})


_KINDS = {"version": int, "encoder": str, "options": dict, "method": str, "settings": dict, "recipe": dict, "history": dict, "data": dict, "seed": int, "before": dict, "files": dict}


def _restore(encoder: nn.Module, weights: Mapping[str, Tensor], model: str) -> None:
    try:
        encoder.load_state_dict(weights)
    except RuntimeError as error:
        raise BadInput(f"the weights do not fit the encoder {model!r} with its options: {error}", "Pretrained") from None


def resolved(method: str) -> str:
    """The name of the part of role "pretraining"; Missing with the nearest names otherwise."""
    return find(method.partition(":")[0], "pretraining").card.name


# teaching


@torch.no_grad()
def looked_at(crystals: Crystals, teacher: nn.Module) -> Crystals:
    """The crystals with the teacher's features of every atom, of unit length, as the field TEACHER (atoms, width), float32.

    A teacher that does not tell atoms apart gives each the features of its crystal. Errors of its graph name the crystal's place.
    """
    found, done = [], 0
    for piece in crystals.bare().split(TOGETHER):
        try:
            seen: Features = teacher(piece, teacher.graph(piece))
        except BadInput as error:
            raise error.renumbered(lambda i: i + done) from None
        found.append(F.normalize((seen.whole[piece.owner] if seen.site is None else seen.site).float()))
        done += len(piece)
    return crystals.with_fields(site={TEACHER: torch.cat(found)}, quantities={TEACHER: Quantity()})


class Distilled(nn.Module):
    """A predictor that also learns to see what a teacher saw.

    predictor  learns from crystals with the field TEACHER (atoms, width)
    width      of the teacher's features; a linear map takes the student's there
    share      of the teacher in the loss, from 0 to 1
    """

    def __init__(self, predictor: Predictor, width: int, share: float = 0.5, seed: int = 0):
        super().__init__()
        if not 0 <= share <= 1:
            raise BadInput(f"the share of the teacher is {share}, allowed are numbers from 0 to 1", "Distilled")
        self.predictor, self.share = predictor, share
        self.project = linear(torch_stream(seed, "distilled"), predictor.encoder.width, width)

    def loss(self, batch: Batch, rng: torch.Generator | None = None, error: str = "l1") -> tuple[Tensor, dict[str, Tensor]]:
        """(1 - share) times the loss of the labels and share times the mean squared distance from the teacher's features, by atom, or by crystal where the student
        sees no atoms."""
        crystals, graph = batch.crystals, batch.graph
        graph = self.predictor.encoder.graph(crystals) if graph is None else graph
        found, wanted = self.predictor.encoder(crystals, graph), crystals.get(TEACHER)
        own, parts = self.predictor.loss(batch, rng, error, found)
        rows = found.whole if found.site is None else found.site
        wanted = (atom_mean(wanted, crystals) if found.site is None else wanted).to(rows)
        taught = (F.normalize(self.project(rows)) - wanted).square().sum(-1).mean()
        return (1 - self.share) * own + self.share * taught, {**parts, "teacher": taught}
