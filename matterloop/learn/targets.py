"""What is predicted (Target), from what (Features), and how the two are joined (Predictor)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..base.errors import BadInput
from ..base.seeds import torch_stream
from ..crystal.graph import Graph
from ..crystal.segments import segment_mean, segment_sum
from ..crystal.state import Crystals
from ..layers.parts import perceptron


class Features(NamedTuple):
    """Output of an encoder; invariant numbers.

    site   (atoms, width)
    edge   (edges, width), None where the encoder has none
    whole  (crystals, width), None where crystals are the mean of their sites
    """

    site: Tensor
    edge: Tensor | None = None
    whole: Tensor | None = None


@dataclass(frozen=True)
class Target:
    """One property of a crystal or of its atoms; labels are the field `name` of the crystals, NaN (classes: below 0) = not measured.

    per        "crystal" or "site"
    extensive  doubles when the cell is doubled (per crystal only)
    classes    0: a number; k: one of k labels
    rank       0 scalar, 1 vector, 2 tensor
    """

    name: str
    unit: str = ""
    per: Literal["crystal", "site"] = "crystal"
    extensive: bool = False
    classes: int = 0
    rank: int = 0

    def __post_init__(self):
        if self.per not in ("crystal", "site"):
            raise BadInput(f"per is {self.per!r}, allowed are 'crystal' and 'site'", f"target {self.name!r}")
        if self.extensive and (self.per == "site" or self.classes):
            raise BadInput("only a number of a whole crystal can be extensive", f"target {self.name!r}")
        if self.classes < 0 or self.classes == 1 or self.rank not in (0, 1, 2):
            raise BadInput(f"classes is {self.classes} (0, or 2 and more), rank is {self.rank} (0, 1 or 2)", f"target {self.name!r}")


class Predictor(nn.Module):
    """An encoder with one head per target.

    encoder  offers `width`, `graph(crystals) -> Graph` and `forward(crystals, graph) -> Features`
    targets  of rank 0; a vector or tensor needs a model with directions of its own (BadInput)
    hidden   width of the heads
    scale    {target: (mean, spread)} in the target's unit: per crystal, or per atom where extensive

    An intensive target of a crystal is read from the mean of its sites, an extensive one is the sum of what each site gives: supercells are right by
    construction.
    """

    def __init__(self, encoder: nn.Module, targets: Sequence[Target], hidden: int = 32, seed: int = 0, scale: dict[str, tuple[float, float]] | None = None):
        super().__init__()
        if not targets or len({t.name for t in targets}) < len(targets):
            raise BadInput("targets need names of their own, and there must be at least one", "Predictor")
        if directed := [t.name for t in targets if t.rank]:
            raise BadInput(f"{directed[0]!r} has a rank above 0; features without directions cannot give it", "Predictor")
        self.encoder, self.targets = encoder, tuple(targets)
        self.heads = nn.ModuleDict({t.name: perceptron(torch_stream(seed, "head", t.name), encoder.width, hidden, max(t.classes, 1)) for t in targets})
        self.scale = {t.name: (scale or {}).get(t.name, (0.0, 1.0)) for t in targets}

    def forward(self, crystals: Crystals, graph: Graph | None = None) -> dict[str, Tensor]:
        """{target: (crystals,) or (atoms,) numbers, or (rows, classes) scores}, numbers in float64."""
        found = self.encoder(crystals, self.encoder.graph(crystals) if graph is None else graph)
        return {t.name: self._read(t, found, crystals) for t in self.targets}

    def _read(self, target: Target, found: Features, crystals: Crystals) -> Tensor:
        rows = found.site
        if target.per == "crystal" and not target.extensive:
            rows = found.whole if found.whole is not None else segment_mean(rows, crystals.owner, len(crystals))
        y = self.heads[target.name](rows)
        if target.classes:
            return y
        mean, spread = self.scale[target.name]
        y = mean + spread * y[:, 0].to(torch.float64)
        return segment_sum(y, crystals.owner, len(crystals)) if target.extensive else y

    def loss(self, crystals: Crystals, rng: torch.Generator | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum over targets of the mean absolute error in units of the target's spread (cross entropy of classes) over what was measured, and its parts.

        An extensive target counts per atom. A target without any label in the batch counts 0; `rng` is not used here.
        """
        predicted, parts = self(crystals), {}
        for t in self.targets:
            truth, guess = crystals.get(t.name), predicted[t.name]
            known = ~truth.isnan() if truth.is_floating_point() else truth >= 0
            if t.classes:
                error = F.cross_entropy(guess[known], truth[known].long(), reduction="sum")
            else:
                size = crystals.counts if t.extensive else torch.ones_like(truth)
                error = ((guess - truth)[known] / size[known]).abs().sum() / self.scale[t.name][1]
            parts[t.name] = error / known.sum().clamp(min=1)
        return sum(parts.values()), parts
