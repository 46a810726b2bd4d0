"""CrysDiff: an encoder learns structures by finding the noise in lattice and fractional coordinates, elements given.

Z. Song, Z. Meng, I. King, "A diffusion-based pre-training framework for crystal property prediction", AAAI 2024, 38(8), 8993, doi:10.1609/aaai.v38i8.28748.
Noise of fractional coordinates after R. Jiao et al., NeurIPS 2023, arXiv:2309.04475, eqs. 6 to 9. The fine-tuning is predict/property_diffusion.py.

    f' = f + s eps (mod 1),  s from 0.005 to 0.5;  L' = L exp(r S),  r from 0.005 to 0.1
    t = mean of (d + k) / s over k with weights exp(-(d + k)^2 / 2 s^2),  d = s eps,  k integers         -s times the score of the wrapped normal
    loss = |t - L' sum_j g_ij u_ij / V^(1/3)|^2 + |S - T|^2,  T = mean over atoms of sum_j q_ij u_ij u_ij^T + c 1
with S symmetric, drawn in a frame of the lattice, u unit vectors to neighbours, g, q and c learnt numbers of the encoder's features at both ends, lengths and noise levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..base.errors import BadInput
from ..base.registry import Card
from ..base.seeds import torch_stream
from ..crystal.graph import Within
from ..crystal.segments import segment_mean, segment_sum
from ..crystal.state import Crystals
from ..layers.parts import Gaussians, cosine_cutoff, linear, perceptron
from ..learn.data import Batch
from .property_diffusion import PropertyDiffusion

if TYPE_CHECKING:
    from ..learn.pretrained import Pretrained

CARD = Card(
    name="crysdiff",
    build="CrysDiff",
    role="pretraining",
    paper="10.1609/aaai.v38i8.28748",
    year=2024,
    summary="the noise in lattice and fractional coordinates is found, elements given",
    capabilities=("transfer",),
    keeps=("rotation", "translation"),
    reference=1.5760219487419862,
    small={"radius": 4.0, "hidden": 24},
    waives={
        "reflection": "a mirrored crystal is told with negated fractional coordinates, to which the same draws are added: other noise, as often",
        "permutation": "noise is drawn in the order of atoms: another order draws others, equally often",
        "cell": "noise is of fractional coordinates, as in the paper: other cells have other noise",
        "supercell": "copies of an atom are moved one by one",
    },
    differs=(
        "the text of the paper was not at hand beyond abstract and figure 3 (lattice and fractional coordinates are diffused together, an EGNN-like network finds "
        "both noises): levels of noise, their range, heads and sizes are ours",
        "any encoder of atoms learns, its features are read by one layer over edges; the paper's denoiser is an EGNN, here encoder `egnn` within `property_diffusion`",
        "lattice noise is a strain without turning, so that the lattice stays right-handed, and is weak; the paper ends at pure noise",
        "levels are drawn evenly in their logarithm, one for lattice and one for coordinates; the common shift of all atoms is taken out of the noise",
    ),
)
FRACTIONAL, LATTICE = (0.005, 0.5), (0.005, 0.1)  # least and largest noise
IMAGES = 3  # of the wrapped normal to either side
NEAR = 2e-1  # Å below which a direction is not defined well


@dataclass(frozen=True)
class CrysDiff:
    """The method.

    radius  in Å of the edges that the noise is read from;  hidden  width of what reads it
    """

    radius: float = 5.0
    hidden: int = 64

    def task(self, encoder: nn.Module, inputs: Crystals, seed: int) -> nn.Module:
        """The encoder with what reads noise from its features."""
        return Denoiser(encoder, self.radius, self.hidden, seed)

    def transfer(self, start: Pretrained, encoder: nn.Module, model: str, options) -> None:
        """The weights, into the same encoder or into that within `property_diffusion`."""
        if isinstance(encoder, PropertyDiffusion) and start.encoder != model:
            encoder, model, options = encoder.inner, options.get("encoder", "egnn"), options.get("options") or {}
        start.same(model, options)
        encoder.load_state_dict(start.weights)


class Denoiser(nn.Module):
    """Finds the noise of lattice and coordinates."""

    graph = None  # of noisy structures, made anew in every step

    def __init__(self, encoder: nn.Module, radius: float, hidden: int, seed: int):
        super().__init__()
        rng = torch_stream(seed, "crysdiff")
        self.encoder, self.builder, self.radius = encoder, Within(radius), radius
        self.expand = Gaussians(0.0, radius, 32)
        self.ends, self.length, self.level = linear(rng, encoder.width, hidden), linear(rng, 32, hidden), linear(rng, 2, hidden)
        self.read = perceptron(rng, hidden, hidden, 2, activation=nn.SiLU)
        self.whole = perceptron(rng, hidden, hidden, 1, activation=nn.SiLU)

    def loss(self, batch: Batch, rng: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean square error of both noises, and each; a crystal of one atom has no coordinates to be found, a molecule no lattice."""
        clean = batch.crystals.bare()
        noisy, move, strain, level = noised(clean, rng)
        found = self.encoder(noisy, self.encoder.graph(noisy))
        if found.site is None:
            raise BadInput("the encoder tells no atoms apart, and noise is of atoms", "crysdiff")
        graph, many, owner = self.builder(noisy), len(noisy), noisy.owner
        h = self.ends(found.site)
        vectors = graph.vectors(noisy)
        r = vectors.norm(dim=-1)
        unit = (vectors / r.clamp(min=NEAR)[:, None]).to(h)
        told = self.level(level.to(h))
        x = h[graph.receivers] + h[graph.senders] + self.length(self.expand(r.to(h))) + told[owner[graph.receivers]]
        g, q = (self.read(F.silu(x)) * cosine_cutoff(r, self.radius).to(h)[:, None]).split(1, -1)
        pull = segment_sum(g * unit, graph.receivers, noisy.atoms)
        size = noisy.volume.pow(1 / 3).to(h)
        guess = torch.bmm(noisy.cell.to(h)[owner], pull[:, :, None])[:, :, 0] / size[owner, None]
        outer = segment_sum((q * unit)[:, :, None] * unit[:, None], graph.receivers, noisy.atoms)
        mean = segment_mean(outer.flatten(1), owner, many).view(many, 3, 3) + self.whole(F.silu(segment_mean(h, owner, many) + told))[..., None] * torch.eye(3).to(h)
        several, lattice = (noisy.counts > 1)[owner].to(h), noisy.periodic.all(-1).to(h)
        parts = {
            "coordinates": ((guess - move.to(h)).square().mean(-1) * several).sum() / several.sum().clamp(min=1),
            "lattice": ((mean - strain.to(h)).square().mean((-1, -2)) * lattice).sum() / lattice.sum().clamp(min=1)}
        return sum(parts.values()), parts


def noised(crystals: Crystals, rng: torch.Generator) -> tuple[Crystals, Tensor, Tensor, Tensor]:
    """(noisy crystals, what is to be found of coordinates (atoms, 3) and of the lattice (crystals, 3, 3), logarithms of both levels (crystals, 2) from 0 to 1)."""
    many, owner = len(crystals), crystals.owner
    level = torch.rand(many, 2, generator=rng, dtype=torch.float64)
    draw = torch.randn(crystals.atoms, 3, generator=rng, dtype=torch.float64)
    matrix = torch.randn(many, 3, 3, generator=rng, dtype=torch.float64)
    s, r = (low * (high / low) ** level[:, k] for k, (low, high) in enumerate((FRACTIONAL, LATTICE)))
    off = s[owner, None] * (draw - segment_mean(draw, owner, many)[owner])
    shift = torch.arange(-IMAGES, IMAGES + 1, dtype=off.dtype)
    images = off[..., None] - off.round()[..., None] + shift
    weight = torch.softmax(-0.5 * (images / s[owner, None, None]) ** 2, -1)
    move = (weight * images).sum(-1) / s[owner, None]
    lattice = crystals.periodic.all(-1)[:, None, None]
    axes, rest = torch.linalg.qr(crystals.cell.transpose(1, 2))  # an orthonormal frame that turns with the crystal: a first, then b, then c
    axes = axes * rest.diagonal(dim1=1, dim2=2).sign()[:, None]
    strain = axes @ torch.where(lattice, matrix + matrix.transpose(1, 2), torch.zeros_like(matrix)).to(axes) / 2 @ axes.transpose(1, 2)
    cell = crystals.cell @ torch.linalg.matrix_exp(r[:, None, None].to(axes) * strain)
    return crystals.put(cell=cell, frac=crystals.frac + off.to(crystals.frac)), move, strain, level
