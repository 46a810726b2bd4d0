"""IRNet: a deep fully connected network with a shortcut around every layer, on the statistics of elemental properties or on the fractions of elements.

D. Jha, L. Ward, Z. Yang, C. Wolverton, I. Foster, W.-k. Liao, A. Choudhary, A. Agrawal, "IRNet: a general purpose deep residual regression framework for
materials discovery", KDD 2019, 2385, doi:10.1145/3292500.3330703 (arXiv:1907.03222).

    x <- relu(N(L x)) + S x      S the identity where widths agree, a linear map else; N batch normalisation
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..base.elements import MAX_Z
from ..base.errors import Missing
from ..base.registry import Card
from ..base.seeds import torch_stream
from ..crystal.compositions import Compositions, Elements
from ..crystal.graph import Graph
from ..crystal.state import Crystals
from ..layers.normal import BatchNorm
from ..layers.parts import linear
from ..learn.targets import Features
from ..represent.magpie import LABELS, PROPERTIES, STATISTICS, element_table, of_counts

CARD = Card(
    name="irnet",
    build="IRNet",
    role="encoder",
    paper="10.1145/3292500.3330703",
    year=2019,
    summary="deep fully connected network with a shortcut around every layer",
    capabilities=("seed", "whole", "composition"),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    waives={"far_atoms": "two compositions put together are a third one: the answer is not the sum of theirs"},
    presets={
        "layers24": {"widths": (1024, 1024, 1024, 1024, 512, 512, 512, 512, 256, 256, 256, 256, 128, 128, 128, 128, 64, 64, 64, 32, 32, 16, 16)},
        "layers48": {"widths": (1024, 1024, 1024, 1024, 1024, 1024, 1024, 1024, 512, 512, 512, 512, 512, 512, 512, 512, 256, 256, 256, 256, 256, 256, 256, 256,
                                128, 128, 128, 128, 128, 128, 128, 128, 64, 64, 64, 64, 64, 64, 64, 64, 32, 32, 32, 32, 16, 16, 16)},
        "elements": {"see": "elements"}},
    reference=11.68344927960609,
    small={"widths": (24, 24, 16)},
    differs=(
        "of the 145 attributes of the paper the 132 statistics of elemental properties, each scaled by fixed numbers before it enters",
        "maps before a normalisation have no bias: it would be subtracted again",
    ),
)
SEES = ("magpie", "elements")


class IRNet(nn.Module):
    """Encoder of compositions, or of crystals by theirs: (crystals, last width). A linear map to the target is the last layer.

    widths  of the layers but the last
    see     "magpie" statistics of elemental properties, or "elements": the fraction of each
    seed    of the first weights
    """

    def __init__(self, widths: tuple[int, ...] = (1024, 1024, 1024, 1024, 512, 512, 512, 256, 256, 256, 128, 128, 128, 64, 64, 32), see: str = "magpie", seed: int = 0):
        super().__init__()
        if see not in SEES:
            raise Missing("input", see, SEES)
        rng = torch_stream(seed, "irnet")
        self.width, self.see, self.graph = widths[-1], see, Elements()
        fans = [(len(LABELS) if see == "magpie" else MAX_Z + 1), *widths]
        steps = list(zip(fans, widths, strict=False))
        self.main = nn.ModuleList(linear(rng, a, b, bias=False) for a, b in steps)
        self.shortcut = nn.ModuleList(nn.Identity() if a == b else linear(rng, a, b) for a, b in steps)
        self.norm = nn.ModuleList(BatchNorm(b) for b in widths)
        if see == "magpie":
            middle, spread = _scales()
            self.register_buffer("middle", middle)
            self.register_buffer("spread", spread)

    def head(self, rng: torch.Generator, outputs: int) -> nn.Module:
        """The last layer of a target."""
        return linear(rng, self.width, outputs)

    @torch.no_grad()
    def inputs(self, state: Crystals | Compositions, graph: Graph) -> Tensor:
        """(crystals, 132 or 119) what the network sees of a composition."""
        share = graph.edge["share"].new_zeros(len(state), MAX_Z + 1)
        share[graph.owner(state), state.species[graph.receivers]] = graph.edge["share"]
        if self.see == "elements":
            return share
        return (torch.from_numpy(of_counts(share.cpu())).to(share) - self.middle.to(share)) / self.spread.to(share)

    def forward(self, state: Crystals | Compositions, graph: Graph) -> Features:
        """Features of compositions alone."""
        x = self.inputs(state, graph).to(self.main[0].weight.dtype)
        for main, norm, shortcut in zip(self.main, self.norm, self.shortcut, strict=True):
            x = norm(main(x)).relu() + shortcut(x)
        return Features(None, whole=x)


def _scales() -> tuple[Tensor, Tensor]:
    """(132,) numbers to subtract and to divide by: mean and spread of the property over the elements 1 to 94; ranges and deviations keep their zero."""
    table = torch.from_numpy(element_table()[1:95].copy())
    middle = table.mean(0)[:, None] * torch.tensor([0.0 if s in ("range", "avg_dev") else 1.0 for s in STATISTICS], dtype=torch.float64)
    return middle.reshape(-1).float(), table.std(0)[:, None].expand(len(PROPERTIES), len(STATISTICS)).reshape(-1).float()
