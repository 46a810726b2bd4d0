"""CrysXPP: an encoder of crystals learns to rebuild them (CrysAE), then predicts a property behind a trainable weight for every feature of the elements.

K. Das, B. Samanta, P. Goyal, S.-C. Lee, S. Bhattacharjee, N. Ganguly, "CrysXPP: an explainable property predictor for crystalline materials",
npj Computational Materials 8, 43 (2022), doi:10.1038/s41524-022-00716-8; settings of the published code.

    loss = 0.9 global + 0.1 local
    local   binary cross entropy of the 92 zeros and ones of the element, a linear map of the features of the atom
    global  cross entropy of how many edges, 0 to 5 and more, lead from atom i to atom j, by x_i W_k x_j; pairs without edges count a tenth
The predictor is CGCNN with the option `selector`: element features are multiplied by weights that begin at 1 and are trained with the rest; `ranking` sorts them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..base.errors import BadInput
from ..base.registry import Card
from ..base.seeds import torch_stream
from ..crystal.graph import Nearest
from ..crystal.segments import offsets_of, runs, segment_mean, segment_sum
from ..crystal.state import Crystals
from ..layers.parts import linear
from ..layers.rebuilding import PairClasses, connections
from ..learn.data import Batch
from ..learn.pretrained import Pretrained
from ..learn.pretraining import sites
from ..represent.element_bins import WIDTH, bin_names, element_bins

CARD = Card(
    name="crysxpp",
    build="CrysXPP",
    role="pretraining",
    paper="10.1038/s41524-022-00716-8",
    year=2022,
    summary="auto-encoder of element features and connections; started predictors weigh element features, which ranks them",
    capabilities=("transfer",),
    keeps=("rotation", "reflection", "translation", "permutation", "cell"),
    reference=2.481909234219227,
    waives={"supercell": "edges to copies of one atom are edges to several atoms in a supercell: fewer lead to each"},
    presets={"whole": {"embedding": True}},
    differs=(
        "any encoder of atoms is trained; the paper's is CGCNN, `matterloop pretrain crysxpp cgcnn`",
        "neighbours as far as the twelfth are all counted, and atoms with fewer keep those; the code takes twelve in the order of listing and fills up with the first atom",
        "the bilinear form has no bias of its own; the linear map after it has",
        "the penalty on the weights of features, 0.01 of their mean absolute value, is in the loss as the paper has it; in the code it is commented out",
        "the paper trains CrysAE for 200 epochs of Adam at 0.003 in batches of 512, predictors by SGD at 0.01 with momentum 0.9; here both take the recipe of the house",
    ),
)
CLASSES = 6  # edges from an atom to another: none, 1, 2, 3, 4, 5 and more
NONE = 0.1  # how much a pair without edges counts
NEIGHBOURS, RADIUS = 12, 8.0  # Å


@dataclass(frozen=True)
class CrysXPP:
    """share      of connections in the loss; the rest is of element features
    embedding  whether the map of element features goes over to the predictor too; the code draws it anew
    """

    share: float = 0.9
    embedding: bool = False

    def task(self, encoder: nn.Module, inputs: Crystals, seed: int = 0) -> nn.Module:
        """CrysAE around the encoder. BadInput for a share outside 0 to 1."""
        if not 0 < self.share < 1:
            raise BadInput(f"the share of connections is {self.share}, allowed are numbers between 0 and 1", "crysxpp")
        return CrysAE(encoder, inputs, self.share, seed)

    def transfer(self, start: Pretrained, encoder: nn.Module, model: str, options: Mapping[str, Any]) -> None:
        """The same encoder, with or without weights of features (option `selector`, preset cgcnn:selector), begins with what was learnt."""
        start.same(start.encoder if model == f"{start.encoder}:selector" else model, {k: v for k, v in options.items() if k != "selector"})
        known = {k: v for k, v in start.weights.items() if self.embedding or not k.startswith("embed.")}
        lost = set(encoder.load_state_dict(known, strict=False).unexpected_keys)
        if lost:
            raise BadInput(f"the encoder {model!r} has no {sorted(lost)[0]!r}", "crysxpp")


class Connected:
    """How many edges, at most CLASSES - 1, lead from atom to atom, worked out once for all crystals."""

    def __init__(self, crystals: Crystals):
        crystals = crystals.bare()
        found = [connections(piece, Nearest(NEIGHBOURS, RADIUS, fewer=True)(piece)).clamp(max=CLASSES - 1).to(torch.int8) for piece in crystals.split(20_000)]
        self.count, self.offsets = torch.cat(found), offsets_of(crystals.counts**2)

    def of(self, rows: Tensor) -> Tensor:
        """(pairs,) int64 of the crystals `rows`, one after the other."""
        return self.count[runs(self.offsets[:-1][rows], self.offsets.diff()[rows])].long()


class CrysAE(nn.Module):
    """The encoder with a decoder of elements and connections."""

    def __init__(self, encoder: nn.Module, inputs: Crystals, share: float, seed: int):
        super().__init__()
        rng = torch_stream(seed, "crysxpp")
        self.encoder, self.share, self.connected = encoder, share, Connected(inputs)
        self.pairs, self.features = PairClasses(rng, encoder.width, CLASSES), linear(rng, encoder.width, WIDTH)
        self.register_buffer("elements", torch.tensor(element_bins()), persistent=False)

    def loss(self, batch: Batch, rng: torch.Generator | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Means over crystals of the mean over atoms and over pairs; nothing is drawn."""
        crystals, many = batch.crystals, len(batch.crystals)
        site = sites(self.encoder(crystals, batch.graph))
        wrong = F.binary_cross_entropy_with_logits(self.features(site), self.elements[crystals.species].to(site), reduction="none").mean(-1)
        local = segment_mean(wrong, crystals.owner, many).mean()
        wanted = self.connected.of(batch.rows)
        weight = torch.where(wanted == 0, NONE, 1.0).to(site)
        owner = torch.arange(many).repeat_interleave(crystals.counts**2)
        off = F.cross_entropy(self.pairs(site, crystals), wanted, reduction="none") * weight
        whole = (segment_sum(off, owner, many) / segment_sum(weight, owner, many)).mean()
        return self.share * whole + (1 - self.share) * local, {"connections": whole, "elements": local}


def ranking(encoder: nn.Module) -> list[tuple[str, float]]:
    """(feature of elements, its weight) from the largest weight in size to the smallest. BadInput for an encoder without weights of features."""
    weights = getattr(encoder, "select", None)
    if weights is None:
        raise BadInput("has no weights of element features; train with `--model cgcnn:selector`", "ranking")
    return sorted(zip(bin_names(), weights.detach().tolist(), strict=True), key=lambda pair: -abs(pair[1]))
