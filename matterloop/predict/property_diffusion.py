"""A property as what is left when noise is taken away: the number is drawn from noise step by step, the structure standing fixed beside it.

Z. Song, Z. Meng, I. King, "A diffusion-based pre-training framework for crystal property prediction", AAAI 2024, 38(8), 8993, doi:10.1609/aaai.v38i8.28748:
the fine-tuning of CrysDiff models p(y | crystal) by a diffusion of y. Noise and steps after J. Ho, A. Jain, P. Abbeel, NeurIPS 2020, arXiv:2006.11239, and, without
randomness, J. Song, C. Meng, S. Ermon, ICLR 2021, arXiv:2010.02502, eq. 12.

    y_t = a(t) y + b(t) eps,  a = cos(pi t / 2),  b = sin(pi t / 2)
    y'  = f(y_t, t, features)                                         learnt: the number itself
    y_s = a(s) y' + b(s) (y_t - a(t) y') / b(t),  t -> s -> 0         steps from noise to a number
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..base.errors import BadInput
from ..base.registry import Card, load
from ..base.seeds import torch_stream
from ..crystal.graph import Graph
from ..crystal.state import Crystals
from ..layers.parts import linear
from ..learn.targets import Features

CARD = Card(
    name="property_diffusion",
    build="PropertyDiffusion",
    role="encoder",
    paper="10.1609/aaai.v38i8.28748",
    year=2024,
    summary="the number is diffused while the structure stands: a head for any encoder, the fine-tuning of CrysDiff",
    capabilities=("seed",),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    reference=-13.110901907225504,
    small={"options": {"width": 16, "layers": 3, "radius": 4.5}, "hidden": 24, "steps": 4, "draws": 4},
    differs=(
        "the text of the paper was not at hand beyond abstract and figure 3: sizes, schedule and number of steps are ours",
        "the network learns the number itself, not the noise: the same process, and a loss that can vanish",
        "the prediction is the mean over evenly spaced quantiles of the first noise, taken through steps without further noise; it is repeatable",
    ),
)
TIMES = 8  # waves by which the time is told


class DiffusedHead(nn.Module):
    """(rows, width) features to (rows, outputs) numbers in units of the target's spread, by steps from noise.

    hidden  width of the denoiser;  steps from noise to number;  draws  quantiles of the first noise whose numbers are averaged
    """

    def __init__(self, rng: torch.Generator, width: int, outputs: int, hidden: int, steps: int, draws: int):
        super().__init__()
        if outputs != 1:
            raise BadInput(f"a diffused property is one number, asked for are {outputs}", "property_diffusion")
        self.steps = steps
        self.seen, self.noisy = linear(rng, width, hidden), linear(rng, 1 + 2 * TIMES, hidden)
        self.between, self.last = linear(rng, hidden, hidden), linear(rng, hidden, 1)
        quantiles = (torch.arange(draws, dtype=torch.float64) + 0.5) / draws
        self.register_buffer("first", torch.special.ndtri(quantiles).float())

    def denoised(self, seen: Tensor, y: Tensor, t: Tensor) -> Tensor:
        """(..., 1) the number, of what is seen of the structure (..., hidden), the noisy number (..., 1) and the time (..., 1) from 0 to 1."""
        angle = t * math.pi / 2 * torch.arange(1, TIMES + 1, device=t.device).to(t)
        x = F.silu(seen + self.noisy(torch.cat([y, angle.sin(), angle.cos()], -1)))
        return self.last(x + F.silu(self.between(x)))

    def forward(self, rows: Tensor) -> Tensor:
        """Numbers by steps from noise."""
        seen = self.seen(rows)[:, None]
        y = self.first.to(rows)[None, :, None].expand(len(rows), -1, 1)
        times = torch.linspace(1, 0, self.steps + 1).tolist()
        for t, s in zip(times, times[1:], strict=False):
            guess = self.denoised(seen, y, y.new_full((1, 1, 1), t).expand_as(y))
            a, b = math.cos(math.pi / 2 * t), math.sin(math.pi / 2 * t)
            y = math.cos(math.pi / 2 * s) * guess + math.sin(math.pi / 2 * s) * (y - a * guess) / b
        return y.mean(1)

    def errors(self, rows: Tensor, truth: Tensor, rng: torch.Generator | None) -> Tensor:
        """(rows,) what the denoiser is off by at a time drawn for each row, labels (rows,) in units of their spread."""
        draw = torch.rand(len(rows), 2, generator=rng, dtype=torch.float64).clamp(1e-6, 1 - 1e-6).to(rows)
        t, noise = draw[:, :1], torch.special.ndtri(draw[:, 1:])
        y = torch.cos(math.pi / 2 * t) * truth[:, None] + torch.sin(math.pi / 2 * t) * noise
        return self.denoised(self.seen(rows), y, t)[:, 0] - truth


class PropertyDiffusion(nn.Module):
    """Encoder: the features of another encoder, with a head that diffuses numbers of crystals.

    encoder  name of the encoder within; `options` its options
    hidden, steps, draws  of the head, see `DiffusedHead`
    seed     of the first weights
    """

    def __init__(self, encoder: str = "egnn", options: Mapping | None = None, hidden: int = 128, steps: int = 10, draws: int = 8, seed: int = 0):
        super().__init__()
        self.inner = load(encoder, role="encoder", **(options or {}), seed=seed)
        self.width, self.graph, self.hidden, self.steps, self.draws = self.inner.width, self.inner.graph, hidden, steps, draws
        self.reads = tuple(getattr(self.inner, "reads", ()))
        self.normal = nn.LayerNorm(self.width)

    def forward(self, crystals: Crystals, graph: Graph) -> Features:
        """Features of the encoder within, each row brought to mean 0 and spread 1, then scaled."""
        found = self.inner(crystals, graph)
        if found.whole is not None:
            return Features(None, whole=self.normal(found.whole))
        return Features(self.normal(found.site))

    def head(self, rng: torch.Generator, outputs: int) -> nn.Module:
        """The denoiser of a target."""
        return DiffusedHead(rng, self.width, outputs, self.hidden, self.steps, self.draws)
