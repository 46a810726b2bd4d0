"""Crystalformer: a transformer in which every atom attends to all periodic images of all atoms, with weights that decay as learnt Gaussians of distance.

T. Taniai, R. Igarashi, Y. Suzuki, N. Chiba, K. Saito, Y. Ushiku, K. Ono, "Crystalformer: infinitely connected attention for periodic structure
encoding", International Conference on Learning Representations 2024, arXiv:2403.11686.

    w_jn = exp(q_i k_j / sqrt(d) - r_jn^2 / 2 sigma_i^2)                     image n of atom j seen by atom i
    y_i = sum_jn w_jn (v_j + W b(r_jn)) / sum_jn w_jn                        per head; b: 64 Gaussians from 0 to 14 Å
    sigma_i^-2 = sigma_0^-2 ((1 - lb) ELU(0.1 q_i w / s (1 - lb)) + 1)       sigma_0 = 1.4 Å, lb = 0.5: sigma_i at most 1.98 Å
    x <- x + W y;  x <- x + W2 gelu(W1 x)                                    no normalisation; first weights scaled as in X. S. Huang et al., ICML 2020

The paper's training: mean absolute error, AdamW (b1 0.9, b2 0.98, decay 1e-5), rate 5e-4 sqrt(4000 / (4000 + step)), batches of 128, gradients clipped
to norm 1, 500 epochs, weights averaged over the last 50; the head is one hidden layer of 128. On some thousand crystals the preset "light", which is also
told the properties of elements, learns several times faster; it takes a rate of 4e-3 in batches of 64, where twice that diverges.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..base.elements import MAX_Z
from ..base.registry import Card
from ..base.seeds import torch_stream
from ..crystal.alike import Alike, nodes_of
from ..crystal.graph import Graph
from ..crystal.state import Crystals
from ..layers.image_attention import ImageAttention, Images, WithinAndSelf
from ..layers.merging import merged
from ..layers.parts import Gaussians, cosine_cutoff, embedding, linear
from ..learn.targets import Features
from ..represent.element_bins import WIDTH, element_bins

CARD = Card(
    name="crystalformer",
    build="Crystalformer",
    role="encoder",
    paper="2403.11686",
    year=2024,
    summary="attention to all periodic images with weights that decay as learnt Gaussians of distance",
    capabilities=("seed",),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    presets={"known": {"elements": "bins"}, "light": {"width": 64, "blocks": 2, "heads": 4, "hidden": 256, "elements": "bins"}},
    reference=0.11397517643000547,
    small={"width": 32, "blocks": 2, "heads": 4, "hidden": 64},
    differs=(
        "atom-wise maps have GELU between them, so that predictions are smooth; the paper has ReLU, whose slope jumps",
        "images end at 3.5 of the largest sigma (6.93 Å, weight 0.2 % of that at 0) under a cosine over the last Å; the paper's code cuts there",
        "the scale s of the widths follows from the first weights and its shift is 0; the paper takes both from the first training batch",
        "keys have no bias: it cancels in the softmax",
    ),
)
SOFT = 1.0  # Å over which images fade out


class Block(nn.Module):
    """Attention and two atom-wise maps, each added to what was there."""

    def __init__(self, rng, width: int, heads: int, hidden: int, functions: int, gain: float, spread: float, sigma: float):
        super().__init__()
        self.attention = ImageAttention(rng, width, heads, functions, gain, spread, 0.5 / sigma**2)
        self.inward, self.outward = linear(rng, width, hidden), linear(rng, hidden, width)
        with torch.no_grad():
            self.inward.weight.mul_(gain)
            self.outward.weight.mul_(gain)

    def forward(self, x: Tensor, images: Images) -> Tensor:
        x = x + self.attention(x, images)
        return x + self.outward(F.gelu(self.inward(x)))


class Crystalformer(nn.Module):
    """Encoder: (atoms, width) features.

    width, heads  features of an atom and heads of attention; `hidden` features between the two atom-wise maps
    functions     radial functions in the values, from 0 to 10 sigma
    sigma         width of the attention of a query without preference, Å
    elements      "own": every element has a vector of its own; "bins": a linear map of what is known of elements is added
    radius        where images end, Å; 3.5 of the largest sigma if absent
    """

    def __init__(self, width: int = 128, blocks: int = 4, heads: int = 8, hidden: int = 512, functions: int = 64, sigma: float = 1.4,
                 radius: float | None = None, elements: str = "own", seed: int = 0):
        super().__init__()
        rng = torch_stream(seed, "crystalformer")
        self.width, self.radius = width, 3.5 * 2**0.5 * sigma if radius is None else radius
        self.graph = Alike(WithinAndSelf(self.radius))
        spread = width**-0.5 * (9 * blocks) ** -0.25
        self.embed = embedding(rng, MAX_Z + 1, width)
        self.known = linear(rng, WIDTH, width, bias=False) if elements == "bins" else None
        self.register_buffer("elements", torch.tensor(element_bins()) if elements == "bins" else None, persistent=False)
        with torch.no_grad():
            self.embed.weight.mul_(spread)
            if self.known is not None:
                self.known.weight.mul_(spread)
        spacing = 10 * sigma / functions
        self.expand = Gaussians(spacing, 10 * sigma, functions, 0.5 / spacing**2)
        gain = 0.67 * blocks**-0.25
        self.blocks = nn.ModuleList(Block(rng, width, heads, hidden, functions, gain, spread, sigma) for _ in range(blocks))

    def forward(self, crystals: Crystals, graph: Graph) -> Features:
        """Features in the dtype of the weights; lengths are taken in the dtype of the crystals."""
        nodes, length = nodes_of(graph, crystals.atoms), graph.edge["length"]
        factor = cosine_cutoff((length - (self.radius - SOFT)).clamp(min=0), SOFT) * graph.edge["count"]
        kinds, kind = merged(length, crystals.owner[graph.receivers])
        kinds, length, factor = (t.to(self.embed.weight.dtype) for t in (kinds, length, factor))
        images = Images(crystals.owner[nodes.first], nodes, length, factor, self.expand(kinds), kind)
        species = crystals.species[nodes.first]
        x = self.embed(species) if self.known is None else self.embed(species) + F.embedding(species, self.known(self.elements))
        for block in self.blocks:
            x = block(x, images)
        return Features(x[nodes.of_atom])

    def head(self, rng: torch.Generator, outputs: int) -> nn.Module:
        """The layers of the paper after pooling, with GELU: (rows, width) to (rows, outputs)."""
        return nn.Sequential(linear(rng, self.width, self.width), nn.GELU(), linear(rng, self.width, outputs))
