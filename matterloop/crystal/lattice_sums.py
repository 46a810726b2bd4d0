"""Sums of pair potentials between an atom and all images of another, to infinity, for every pair of a batch.

    sum_T 1 / |v + T|,  sum_T 1 / |v + T|^6,  sum_T exp(-decay |v + T|)      T over the lattice; T = 0 of an atom with itself is left out of the powers
Powers are split into a sum over images and one over waves by 1 / r^(2 p) = integral over t of t^(p - 1) exp(-t r^2) / Gamma(p), at t = eta^2 (P. P. Ewald,
Annalen der Physik 369, 253 (1921); R. E. Crandall, "Unified algorithms for polylogarithm, L-series, and zeta variants", 2012, for the Epstein zeta
function). Both halves end below 1e-9 of what they hold. The sum of 1 / r is that of the charge with a uniform background that makes the cell neutral, which
is the analytic continuation of the Epstein zeta function; slabs by D. E. Parry, Surface Science 49, 433 (1975), in the same sense; molecules term by term.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..base.errors import BadInput
from .graph import Within
from .segments import offsets_of, runs, segment_sum
from .state import Crystals
from .waves import measure, waves_within

RADIUS = 12.0  # Å, of the sum over images: with it the sum over waves is about as long for cells of 300 Å^3
DEPTH = 4.6  # eta times the radius: erfc(4.6) = 8e-11
WORK = 3_000_000  # images and waves of pairs that are summed together
NODES = 40  # of the quadrature over t for slabs


@torch.no_grad()
def pair_sums(crystals: Crystals, decay: float = 3.0) -> tuple[Tensor, Tensor, Tensor]:
    """Every ordered pair of atoms of a crystal, an atom with itself too: receivers (pairs,), senders (pairs,) and sums (pairs, 3) in float64.

    The columns are in 1/Å, 1/Å^6 and without unit; `decay` in 1/Å. BadInput for a structure that repeats along one axis only, where the first diverges.
    """
    if not decay > 0:
        raise BadInput(f"the decay is {decay} 1/Å, it must be positive", "lattice sums")
    crystals = crystals.bare().to(torch.float64)
    if bool((wire := crystals.periodic.sum(1) == 1).any()):
        raise BadInput("it repeats along one axis only, where the sum of 1 / r has no value", f"crystal {int(wire.nonzero()[0, 0])}")
    radius = max(RADIUS, 27 / decay)
    n = crystals.counts
    size = measure(crystals.cell, crystals.periodic)
    work = n**2 * (4.2 * radius**3 / crystals.volume + 0.0085 * size * (2 * DEPTH**2 / radius) ** 3 + 10)
    alone = (work > WORK / 20).long()  # else all those summed with a large crystal would be padded to its size
    part = (work.cumsum(0) / WORK).long() + alone.cumsum(0) + (alone.cumsum(0) - alone)  # crystals summed together
    ends = offsets_of(torch.bincount(part)).tolist() if len(part) else [0]
    values = [_sums(crystals[a:b], radius, decay) for a, b in zip(ends, ends[1:], strict=False) if b > a]
    many, begin = n.repeat_interleave(n**2), crystals.offsets[:-1].repeat_interleave(n**2)
    k = runs(torch.zeros_like(n), n**2)
    return begin + k // many, begin + k % many, torch.cat(values) if values else torch.zeros(0, 3, dtype=torch.float64)


def _sums(crystals: Crystals, radius: float, decay: float) -> Tensor:
    """(pairs, 3) of a few crystals."""
    eta, n = DEPTH / radius, crystals.counts
    first = offsets_of(n**2)
    total = _images(crystals, first, radius, eta, decay)
    kind = crystals.periodic.sum(1)
    if bool((kind == 3).any()):
        total[:, :2] += _waves(crystals, kind == 3, first, eta)
    if bool((kind == 2).any()):
        total[:, :2] += _slabs(crystals, kind == 2, first, eta)
    at, pairs = _own(crystals, first), _pair_owner(n)
    total[at, :2] -= torch.tensor([2 * eta / math.sqrt(math.pi), eta**6 / 6], dtype=torch.float64) * (kind > 0)[crystals.owner][:, None]
    total[at, 2] += 1
    if bool((kind == 0).any()):
        total[(kind == 0)[pairs]] = _molecules(crystals, kind == 0, decay)
    return total


def _pair_owner(n: Tensor) -> Tensor:
    return torch.arange(len(n)).repeat_interleave(n**2)


def _own(crystals: Crystals, first: Tensor) -> Tensor:
    """(atoms,) the pair of each atom with itself."""
    place = torch.arange(crystals.atoms) - crystals.offsets[crystals.owner]
    return first[crystals.owner] + place * (crystals.counts[crystals.owner] + 1)


def _images(crystals: Crystals, first: Tensor, radius: float, eta: float, decay: float) -> Tensor:
    """The half of the sums that falls off within `radius`, (pairs, 3)."""
    graph = Within(radius, half=True)(crystals)
    r = graph.vectors(crystals).norm(dim=-1)
    x = (eta * r).square()
    value = torch.stack([torch.erfc(eta * r) / r, torch.exp(-x) * (1 + x + x * x / 2) / r**6, torch.exp(-decay * r)], -1)
    owner = graph.owner(crystals)
    begin, n = crystals.offsets[owner], crystals.counts[owner]
    i, j = graph.receivers - begin, graph.senders - begin
    size = int(first[-1])
    return segment_sum(value, first[owner] + i * n + j, size) + segment_sum(value, first[owner] + j * n + i, size)


def _waves(crystals: Crystals, which: Tensor, first: Tensor, eta: float) -> Tensor:
    """The smooth half of the powers in crystals, (pairs, 2): products of matrices of cosines and sines, padded to the largest crystal."""
    crystals = crystals.put(periodic=crystals.periodic & which[:, None])
    waves, n = waves_within(crystals, 2 * eta * DEPTH), crystals.counts
    k = waves.vectors(crystals.cell, crystals.periodic)
    volume, square = crystals.volume, k.square().sum(-1)
    b = square / 4
    rise = 2 / 3 * (eta * (eta**2 - 2 * b) * torch.exp(-b / eta**2) + 2 * b**1.5 * math.sqrt(math.pi) * torch.erfc(b.sqrt() / eta))
    weight = torch.stack([8 * math.pi / square * torch.exp(-b / eta**2), math.pi**1.5 * rise], -1) / volume[waves.owner][:, None]
    many = torch.bincount(waves.owner, minlength=len(n))
    slot = torch.arange(len(waves)) - offsets_of(many)[waves.owner]
    wave, atom = waves.atoms(crystals)
    phase = 2 * math.pi * (waves.index[wave].to(k) * crystals.frac[atom]).sum(-1)
    place = (waves.owner[wave], atom - crystals.offsets[waves.owner[wave]], slot[wave])
    shape = (len(n), int(n.max()), int(many.max()) if len(waves) else 0)
    cos, sin = (phase.new_zeros(shape).index_put(place, f(phase)) for f in (torch.cos, torch.sin))
    out = []
    for column, rest in enumerate((-math.pi / (volume * eta**2), math.pi**1.5 / 3 * eta**3 / volume)):
        w = phase.new_zeros(shape[0], 1, shape[2]).index_put((waves.owner, torch.zeros_like(slot), slot), weight[:, column])
        table = torch.baddbmm((cos * w) @ cos.mT, sin * w, sin.mT) + rest[:, None, None]
        inside = torch.arange(shape[1]) < n[:, None]
        out.append(table[inside[:, :, None] & inside[:, None, :]])
    return torch.stack(out, -1) * which[_pair_owner(n)][:, None]


def _slabs(crystals: Crystals, which: Tensor, first: Tensor, eta: float) -> Tensor:
    """The smooth half of the powers in slabs, (pairs, 2)."""
    crystals = crystals.put(periodic=crystals.periodic & which[:, None])
    n, size = crystals.counts, int(first[-1])
    waves, area = waves_within(crystals, 2 * eta * DEPTH), measure(crystals.cell, crystals.periodic)
    k = waves.vectors(crystals.cell, crystals.periodic)
    owner = _pair_owner(n)
    at = runs(torch.zeros_like(n), n**2)
    step = crystals.cart[crystals.offsets[owner] + at // n[owner]] - crystals.cart[crystals.offsets[owner] + at % n[owner]]
    rows = crystals.cell * crystals.periodic[..., None]
    flat = torch.linalg.solve(rows @ rows.mT + torch.diag_embed((~crystals.periodic).to(rows)), rows)  # (slabs, 3, 3): coordinates along what repeats
    height = (step - ((flat[owner] @ step[..., None]).mT @ rows[owner])[:, 0]).norm(dim=-1)
    many = (n**2)[waves.owner]
    wave, pair = torch.arange(len(waves)).repeat_interleave(many), runs(first[waves.owner], many)
    q, z = k.norm(dim=-1)[wave], height[pair]
    up, down = q / (2 * eta) + eta * z, q / (2 * eta) - eta * z
    scaled = lambda a: torch.exp(-(q / (2 * eta)).square() - (eta * z).square()) * torch.special.erfcx(a.clamp(min=0))
    both = scaled(up) + torch.where(down > 0, scaled(down), torch.exp(-q * z) * torch.erfc(down))
    t, w = (torch.from_numpy(x) for x in np.polynomial.legendre.leggauss(NODES))
    t, w = (t + 1) / 2 * eta**2, w / 2 * eta**2
    rise = lambda q, z: (w * t * torch.exp(-(q[:, None] / 2).square() / t - z[:, None].square() * t)).sum(-1)
    wavy = torch.cos((k[wave] * step[pair]).sum(-1))[:, None] * torch.stack([2 * math.pi / q * both, math.pi * rise(q, z)], -1)
    level = torch.stack([-2 * math.pi * (height * torch.erf(eta * height) + torch.exp(-(eta * height).square()) / (eta * math.sqrt(math.pi))),
                         math.pi / 2 * rise(torch.zeros_like(height), height)], -1)
    return (segment_sum(wavy, pair, size) + level) / area[owner][:, None] * which[owner][:, None]


def _molecules(crystals: Crystals, which: Tensor, decay: float) -> Tensor:
    """All three sums of the pairs of molecules, (their pairs, 3)."""
    crystals = crystals[which]
    n, owner = crystals.counts, _pair_owner(crystals.counts)
    at = runs(torch.zeros_like(n), n**2)
    i, j = crystals.offsets[owner] + at // n[owner], crystals.offsets[owner] + at % n[owner]
    r, own = (crystals.cart[i] - crystals.cart[j]).norm(dim=-1), i == j
    power = torch.where(own, torch.zeros_like(r), 1 / torch.where(own, torch.ones_like(r), r))
    return torch.stack([power, power**6, torch.exp(-decay * r)], -1)
