"""What is predicted (Target), from what (Features), and how the two are joined (Predictor)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..base.errors import BadInput, Missing
from ..base.quantities import Quantity
from ..base.seeds import torch_stream
from ..crystal.compositions import atom_mean
from ..crystal.graph import Graph
from ..crystal.state import Crystals
from ..layers.directions import TensorHead, VectorHead
from ..layers.parts import perceptron
from .data import Batch
from .evidential import Evidence, evidence, evidential_loss
from .scaling import Scaling

ERRORS = ("l1", "l2", "huber")
KNEE = 0.1  # of Huber's error, in spreads: squares below it, absolute values above


class Features(NamedTuple):
    """Output of an encoder: invariant numbers, and directions where it has some.

    site    (atoms, width), None where atoms are not told apart (compositions): `whole` then speaks of an average atom
    edge    (edges, width), None where the encoder has none
    whole   (crystals, width), None where crystals are the mean of their sites
    vector  (atoms, width, 3), turns with the crystal
    tensor  (atoms, width, 3, 3), turns with the crystal, symmetric
    """

    site: Tensor | None
    edge: Tensor | None = None
    whole: Tensor | None = None
    vector: Tensor | None = None
    tensor: Tensor | None = None

    def of_crystals(self, crystals: Crystals) -> Tensor:
        """(crystals, width) of every crystal: `whole`, or the mean of its sites."""
        return self.whole if self.whole is not None else atom_mean(self.site, crystals)


@dataclass(frozen=True)
class Target:
    """One property of a crystal or of its atoms; labels are the field `name` of the crystals, NaN (classes: below 0) = not measured.

    per        "crystal" or "site"
    extensive  doubles when the cell is doubled (per crystal only)
    classes    0: a number; k: one of k labels
    rank       0 scalar, 1 vector, 2 symmetric tensor
    width      the number comes with a standard deviation of its own, learnt with it (an intensive number of a crystal)
    evidential the number comes with how far measurements scatter and how much is known of it (an intensive number of a crystal)
    """

    name: str
    unit: str = ""
    per: Literal["crystal", "site"] = "crystal"
    extensive: bool = False
    classes: int = 0
    rank: int = 0
    width: bool = False
    evidential: bool = False

    def __post_init__(self):
        if self.per not in ("crystal", "site"):
            raise BadInput(f"per is {self.per!r}, allowed are 'crystal' and 'site'", f"target {self.name!r}")
        if self.extensive and (self.per == "site" or self.classes):
            raise BadInput("only a number of a whole crystal can be extensive", f"target {self.name!r}")
        if self.classes < 0 or self.classes == 1 or self.rank not in (0, 1, 2):
            raise BadInput(f"classes is {self.classes} (0, or 2 and more), rank is {self.rank} (0, 1 or 2)", f"target {self.name!r}")
        if self.classes and self.rank:
            raise BadInput("a class has no direction; its rank is 0", f"target {self.name!r}")
        if (self.width or self.evidential) and (self.per == "site" or self.extensive or self.classes or self.rank):
            raise BadInput(f"only an intensive number of a crystal is learnt with {'a width' if self.width else 'its evidence'}", f"target {self.name!r}")
        if self.width and self.evidential:
            raise BadInput("a width or evidence is learnt with a number, not both", f"target {self.name!r}")

    @property
    def quantity(self) -> Quantity:
        """How labels of this target transform."""
        return Quantity(self.rank, 1, self.extensive, self.unit)


def labelled(crystals: Crystals, values: Mapping[Target, Tensor]) -> Crystals:
    """The crystals with labels (crystals, ...) or (atoms, ...) as fields, each with its Quantity."""
    site = {t.name: v for t, v in values.items() if t.per == "site"}
    whole = {t.name: v for t, v in values.items() if t.per == "crystal"}
    return crystals.with_fields(site, whole, {t.name: t.quantity for t in values})


def known(target: Target, labels: Tensor) -> Tensor:
    """(rows,) where a label was measured."""
    if target.classes:
        return labels >= 0  # not true of NaN either
    missing = labels.isnan() if labels.is_floating_point() else torch.zeros_like(labels, dtype=torch.bool)
    return ~missing.flatten(1).any(1) if target.rank else ~missing


class Predictor(nn.Module):
    """An encoder with one head per target.

    encoder  offers `width`, `graph(crystals) -> Graph` and `forward(crystals, graph) -> Features`; where it has them, `offers`: which of "edge", "vector"
             and "tensor" its features hold, `head(rng, outputs) -> Module` (rows, width) -> (rows, outputs), the head of its paper, and `reads`: names of fields
             of crystals that it looks at. A head that draws offers `errors(rows, truth, rng) -> (rows,)`, by which it learns
    targets  a vector or symmetric tensor needs an encoder that offers edges, vectors or tensors (BadInput)
    hidden   width of the heads, where the encoder has none of its own
    scale    {target: Scaling, or (mean, spread) in the target's unit, per atom where extensive}
    weights  {target: factor of its loss}, 1 where absent

    An intensive target of a crystal is read from the mean of its sites, an extensive one is the sum of what each site gives (the same for all atoms where
    the encoder does not tell them apart): supercells are right by construction. Where the encoder takes compositions, so does the predictor.
    """

    def __init__(self, encoder: nn.Module, targets: Sequence[Target], hidden: int = 32, seed: int = 0,
                 scale: Mapping[str, Scaling | tuple[float, float]] | None = None, weights: Mapping[str, float] | None = None):
        super().__init__()
        names = [t.name for t in targets]
        if not targets or len(set(names)) < len(names):
            raise BadInput("targets need names of their own, and there must be at least one", "Predictor")
        for given in (scale or {}, weights or {}):
            if unknown := [n for n in given if n not in names]:
                raise Missing("target", unknown[0], names)
        self.encoder, self.targets, self.hidden = encoder, tuple(targets), hidden
        self.offers = tuple(getattr(encoder, "offers", ()))
        self.heads = nn.ModuleDict({t.name: self._head(t, torch_stream(seed, "head", t.name)) for t in targets})
        self.scale = {n: s if isinstance(s, Scaling) else Scaling(*s) for n, s in ((n, (scale or {}).get(n, Scaling())) for n in names)}
        self.weights = {n: float((weights or {}).get(n, 1.0)) for n in names}

    def _head(self, target: Target, rng: torch.Generator) -> nn.Module:
        if target.rank == 0:
            outputs = 4 if target.evidential else max(target.classes, 1) + target.width
            return self.number_head(rng, outputs)
        usable = {"edge", "vector"} if target.rank == 1 else {"edge", "vector", "tensor"}
        if not usable & set(self.offers):
            raise BadInput(f"{target.name!r} has a rank above 0; features without directions cannot give it", "Predictor")
        return (VectorHead if target.rank == 1 else TensorHead)(rng, self.encoder.width, self.hidden, self.offers)

    def number_head(self, rng: torch.Generator, outputs: int) -> nn.Module:
        """(rows, width) to (rows, outputs): the encoder's own head where it has one, else two layers."""
        return self.encoder.head(rng, outputs) if hasattr(self.encoder, "head") else perceptron(rng, self.encoder.width, self.hidden, outputs)

    def forward(self, crystals: Crystals, graph: Graph | None = None) -> dict[str, Tensor]:
        """{target: (crystals,) or (atoms,) numbers with trailing axes (3,) or (3, 3) of its rank, or (rows, classes) scores}, numbers in float64."""
        raw = self.raw(crystals, graph)
        return {t.name: raw[t.name] if t.classes else self.scale[t.name].inverse(raw[t.name], t, crystals) for t in self.targets}

    def raw(self, crystals: Crystals, graph: Graph | None = None) -> dict[str, Tensor]:
        """Like `forward`, before scaling: extensive targets (atoms, ...), in the dtype of the weights; "NAME width" of a target with one: the logarithm of it;
        "NAME evidence" of an evidential one: the four numbers (rows, 4) of the head."""
        graph = self.encoder.graph(crystals) if graph is None else graph
        return self.read(self.encoder(crystals, graph), crystals, graph)

    def read(self, found: Features, crystals: Crystals, graph: Graph, learning: bool = False) -> dict[str, Tensor]:
        """What `raw` gives, of features that are there already; while `learning`, of heads that draw what they see (crystals, width) instead of a number."""
        raw = {t.name: self._read(t, found, crystals, graph, learning) for t in self.targets}
        for t in self.targets:
            if t.width:
                raw[t.name], raw[f"{t.name} width"] = raw[t.name].unbind(-1)
            if t.evidential:
                raw[f"{t.name} evidence"] = raw[t.name]
                raw[t.name] = evidence(raw[t.name]).mean
        return raw

    def deviations(self, crystals: Crystals, graph: Graph | None = None) -> dict[str, Tensor]:
        """{target: (crystals,)} standard deviations learnt with targets that have a width or evidence, float64 in their unit (of their logarithm where scaled so).

        Of evidence it is that of a new measurement: aleatoric and epistemic variance together.
        """
        raw = self.raw(crystals, graph)
        stated = {t.name: raw[f"{t.name} width"].to(torch.float64).exp() for t in self.targets if t.width}
        stated |= {t.name: evidence(raw[f"{t.name} evidence"].to(torch.float64)).predictive.sqrt() for t in self.targets if t.evidential}
        return {name: self.scale[name].spread * s for name, s in stated.items()}

    def evidence(self, crystals: Crystals, graph: Graph | None = None) -> dict[str, Evidence]:
        """{target: its evidence} of the evidential targets, (crystals,) each, float64 in units of the target's spread around its mean."""
        raw = self.raw(crystals, graph)
        return {t.name: evidence(raw[f"{t.name} evidence"].to(torch.float64)) for t in self.targets if t.evidential}

    def _read(self, target: Target, found: Features, crystals: Crystals, graph: Graph, learning: bool = False) -> Tensor:
        of_sites = target.per == "site" or target.extensive
        head = self.heads[target.name]
        if target.rank:
            y = head(found, crystals, graph)
            return y if of_sites else atom_mean(y, crystals)
        rows = found.site
        if not of_sites:
            rows = found.of_crystals(crystals)
        elif rows is None and target.per == "site":
            raise BadInput(f"{target.name!r} is asked for every atom, and this encoder does not tell atoms apart", "Predictor")
        if learning and hasattr(head, "errors"):
            if of_sites:
                raise BadInput(f"{target.name!r} belongs to atoms or adds over them; this head draws numbers of crystals", "Predictor")
            return rows
        if rows is None:
            return head(found.whole)[crystals.owner, 0]
        y = head(rows)
        return y if target.classes or target.width or target.evidential else y[:, 0]

    def loss(self, batch: Batch | Crystals, rng: torch.Generator | None = None, error: str = "l1", features: Features | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum over targets of the mean error in units of the target's spread (cross entropy of classes) over what was measured, and its parts.

        error  "l1" absolute, "l2" squared, "huber" squared below KNEE and absolute above (P. J. Huber, Ann. Math. Statist. 35, 73 (1964))
        features  of the encoder for the batch, where they are there already
        An extensive target counts per atom; a target on a logarithm by its logarithm; vectors and tensors by their components. A target without any
        label in the batch counts 0; `rng` is for heads that draw (those with `errors` of their own). A target with a width counts by the logarithm of its likelihood: Laplace's for "l1", else normal
        (A. Kendall, Y. Gal, NeurIPS 2017, arXiv:1703.04977, eq. 8), sqrt(2) |x| / s + ln s or x^2 / 2 s^2 + ln s with the standard deviation s.
        An evidential one counts by `evidential_loss`, whatever the error.
        """
        crystals, graph = (batch.crystals, batch.graph) if isinstance(batch, Batch) else (batch, None)
        if features is None:
            graph = self.encoder.graph(crystals) if graph is None else graph
            features = self.encoder(crystals, graph)
        found = self.errors(self.read(features, crystals, graph, learning=True), crystals, error, rng)
        parts = {n: self.weights[n] * total / count.clamp(min=1) for n, (total, count) in found.items()}
        if hasattr(self.encoder, "penalty"):
            parts["penalty"] = self.encoder.penalty()
        return sum(parts.values()), parts

    def errors(self, raw: Mapping[str, Tensor], crystals: Crystals, error: str = "l1", rng: torch.Generator | None = None) -> dict[str, tuple[Tensor, Tensor]]:
        """{target: (sum of errors, number of known labels)} of what `raw` gave, as `loss` counts them."""
        if error not in ERRORS:
            raise Missing("error", error, ERRORS)
        found = {}
        for t in self.targets:
            labels, guess = crystals.get(t.name), raw[t.name]
            wanted = (crystals.species if t.per == "site" else crystals.offsets[1:]).shape + (3,) * t.rank
            if labels.shape != wanted:
                raise BadInput(f"the labels have shape {tuple(labels.shape)}, wanted is {tuple(wanted)}, one per {t.per}", f"target {t.name!r}")
            here = known(t, labels)
            if t.classes:
                if bool((labels[here] >= t.classes).any()):
                    raise BadInput(f"a label is {float(labels[here].max()):g}, classes are numbered 0 to {t.classes - 1}", f"target {t.name!r}")
                found[t.name] = F.cross_entropy(guess[here], labels[here].long(), reduction="sum"), here.sum()
                continue
            if hasattr(head := self.heads[t.name], "errors") and guess.dim() == 2:
                off = head.errors(guess[here], self.scale[t.name].apply(labels, t, crystals).to(guess.dtype)[here], rng)
                found[t.name] = _ERROR[error](off, torch.zeros_like(off)), here.sum()
                continue
            if t.extensive:
                guess = atom_mean(guess, crystals)
            truth = self.scale[t.name].apply(labels, t, crystals).to(guess.dtype)
            found[t.name] = _ERROR[error](guess[here], truth[here]) / 3**t.rank, here.sum()
            if t.width:
                found[t.name] = _unlikely(guess[here] - truth[here], raw[f"{t.name} width"][here], error).sum(), here.sum()
            if t.evidential:
                found[t.name] = evidential_loss(evidence(raw[f"{t.name} evidence"][here]), truth[here]).sum(), here.sum()
        return found


def _unlikely(off: Tensor, log_width: Tensor, error: str) -> Tensor:
    if error == "l1":
        return 2**0.5 * off.abs() * torch.exp(-log_width) + log_width
    return 0.5 * off.square() * torch.exp(-2 * log_width) + log_width


_ERROR = {
    "l1": lambda a, b: F.l1_loss(a, b, reduction="sum"),
    "l2": lambda a, b: F.mse_loss(a, b, reduction="sum"),
    "huber": lambda a, b: F.huber_loss(a, b, reduction="sum", delta=KNEE),
}
