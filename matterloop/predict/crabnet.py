"""CrabNet: self-attention between the elements of a composition, whose shares are told by sines and cosines.

A. Y.-T. Wang, S. K. Kauwe, R. J. Murdock, T. D. Sparks, "Compositionally restricted attention-based network for materials property predictions", npj
Computational Materials 7, 77 (2021), doi:10.1038/s41524-021-00545-1.

    x_i = s L e(z_i) + (s1 P(w_i), s2 P(0.0025 (log2 w_i)^2))       element, and its share w_i by linear and logarithmic encodings
    P_k(w) = sin or cos ((R w - 1) / 50^(2k/K)), k = 0 ... K-1       sines where k is even, R the resolution
    x <- N(x + attention(x)),  x <- N(x + L relu(L x))               three times, N layer normalisation
    y = a sigmoid(b),  (a, b) = mean over elements of a residual network of x_i, widths 1024, 512, 256, 128
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..base.registry import Card
from ..base.seeds import torch_stream
from ..crystal.compositions import Compositions, Elements
from ..crystal.graph import Graph
from ..crystal.segments import offsets_of, segment_mean, segment_sum
from ..crystal.state import Crystals
from ..layers.parts import linear
from ..layers.weighted_sets import ElementInput, ResidualPerceptron
from ..learn.targets import Features

CARD = Card(
    name="crabnet",
    build="CrabNet",
    role="encoder",
    paper="10.1038/s41524-021-00545-1",
    year=2021,
    summary="self-attention between the elements of a composition",
    capabilities=("seed", "whole", "composition"),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    waives={"far_atoms": "two compositions put together are a third one: the answer is not the sum of theirs"},
    presets={"light": {"features": 128, "inner": 512, "out": (256, 128, 64)}},
    reference=0.35345060663435546,
    small={"features": 16, "blocks": 2, "heads": 2, "inner": 32, "out": (24, 16), "resolution": 200, "dropout": 0.0, "noise": 0.0},
    differs=(
        "elements enter by tabulated properties and a learnt vector of each; the paper takes 200 numbers learnt from abstracts (mat2vec), which are data of others",
        "shares are encoded as they are; the public code rounds them to 1 part in 5000",
        "keys have no bias: a softmax does not feel it; the three factors s are plain factors as in later versions of the public code, powers of two in the paper's",
        "the residual network is shared by all targets, its last map is not",
        "first weights of the last map are a tenth of Glorot's, so that its gate begins half open; the code takes torch's own",
    ),
)


class Block(nn.Module):
    """Attention between the elements of a composition and a perceptron per element, each added to its input and normalised."""

    def __init__(self, rng: torch.Generator, width: int, heads: int, inner: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value = linear(rng, width, width), linear(rng, width, width, bias=False), linear(rng, width, width)
        self.answer = linear(rng, width, width)
        self.rise, self.fall = linear(rng, width, inner), linear(rng, inner, width)
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor, place: Tensor, there: Tensor) -> Tensor:
        """x (rows, width); place (rows,) of each row among the (sets * longest) padded ones, `there` (sets, longest) which of them are rows."""
        sets, longest = there.shape
        some = lambda y: F.dropout(y, self.dropout, self.training)

        def padded(layer: nn.Linear) -> Tensor:
            full = x.new_zeros(sets * longest, x.shape[1]).index_copy(0, place, layer(x))
            return full.view(sets, longest, self.heads, -1).transpose(1, 2)

        heard = F.scaled_dot_product_attention(padded(self.query), padded(self.key), padded(self.value), attn_mask=there[:, None, None],
                                               dropout_p=self.dropout if self.training else 0.0)
        heard = heard.transpose(1, 2).reshape(sets * longest, -1).index_select(0, place)
        x = self.first(x + some(self.answer(heard)))
        return self.second(x + some(self.fall(some(self.rise(x).relu()))))


class Gated(nn.Module):
    """(rows, width) to (rows, outputs): a linear number times the sigmoid of another."""

    def __init__(self, rng: torch.Generator, width: int, outputs: int):
        super().__init__()
        self.read = linear(rng, width, 2 * outputs)
        with torch.no_grad():
            self.read.weight.mul_(0.1)  # a gate that begins closed stays closed: its slope vanishes

    def forward(self, x: Tensor) -> Tensor:
        number, gate = self.read(x).chunk(2, dim=-1)
        return number * torch.sigmoid(gate)


class CrabNet(nn.Module):
    """Encoder of compositions, or of crystals by theirs: (crystals, width).

    features    of an element; `heads` of attention, `blocks` one after another, `inner` width of their perceptrons
    out         widths of the residual network
    resolution  of the encodings: the fastest wave turns by this many radians from a share of 0 to 1
    dropout     share of numbers left out in training, after torch's encoder layer
    noise       spread of what shares are multiplied by in training, as in the public code
    seed        of the first weights
    """

    def __init__(self, features: int = 512, blocks: int = 3, heads: int = 4, inner: int = 2048, out: tuple[int, ...] = (1024, 512, 256, 128),
                 resolution: int = 5000, dropout: float = 0.1, noise: float = 0.02, seed: int = 0):
        super().__init__()
        rng = torch_stream(seed, "crabnet")
        self.width, self.resolution, self.graph, self.waves, self.noise = out[-1], resolution, Elements(), features // 2, noise
        self.elements = ElementInput(rng, features)
        self.factors = nn.Parameter(torch.ones(3))  # of the element, the share and its logarithm
        self.blocks = nn.ModuleList(Block(rng, features, heads, inner, dropout) for _ in range(blocks))
        self.out = ResidualPerceptron(rng, (features, *out), slope=0.01)

    def head(self, rng: torch.Generator, outputs: int) -> nn.Module:
        """The last map of a target."""
        return Gated(rng, self.width, outputs)

    def encoding(self, share: Tensor) -> Tensor:
        """(rows, 2, features / 2) waves of shares and of their logarithms."""
        x = torch.stack([share, 0.0025 * share.log2().square()], -1).clamp(1 / self.resolution, 1)[..., None] * self.resolution - 1
        k = torch.arange(self.waves, device=share.device)
        angle = x / 50.0 ** (2 * k / self.waves)
        return torch.where(k % 2 == 0, angle.sin(), angle.cos())

    def forward(self, state: Crystals | Compositions, graph: Graph) -> Features:
        """Features of compositions alone; waves are computed in double precision."""
        owner, share = graph.owner(state), graph.edge["share"].to(torch.float64)
        if self.training and self.noise:
            share = (share * (1 + self.noise * torch.randn_like(share))).clamp(1 / self.resolution, 1)
            share = share / segment_sum(share, owner, len(state))[owner]
        counts = torch.bincount(owner, minlength=len(state))
        longest = int(counts.max()) if len(counts) else 0
        place = torch.arange(len(owner), device=owner.device) + (longest * torch.arange(len(counts), device=owner.device) - offsets_of(counts)[:-1])[owner]
        there = torch.arange(longest, device=owner.device) < counts[:, None]
        waves = (self.factors[1:, None] * self.encoding(share).to(self.factors.dtype)).flatten(1)
        x = self.factors[0] * self.elements(state.species[graph.receivers]) + waves
        for block in self.blocks:
            x = block(x, place, there)
        return Features(None, whole=segment_mean(self.out(x), owner, len(state)))
