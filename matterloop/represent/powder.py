"""Bragg reflections of powders, for a whole batch at once: positions, intensities, indices; X-rays and neutrons.

Kinematic theory, e.g. V. K. Pecharsky, P. Y. Zavalij, Fundamentals of Powder Diffraction (2009), chapters 7 and 8:

    I(hkl) = m |F(hkl)|^2 LP P T / V^2,  F = sum_j o_j f_j(s) exp(-B_j s^2) exp(2 pi i h x_j),  s = sin(theta) / wavelength
with the Lorentz-polarisation factor (1 + A cos^2 2theta) / ((1 + A) sin^2 theta cos theta) (A: cos^2 of the monochromator's angle), for neutrons
1 / (sin^2 theta cos theta), and the March-Dollase texture P.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..base.elements import MAX_Z, number
from ..base.errors import BadInput
from ..crystal.segments import offsets_of, runs, segment_max, segment_sum
from ..crystal.state import Crystals
from ..crystal.waves import Waves, waves_within
from .scattering_tables import check_elements, scattering_factors, wavelength_of

FIELDS = ("two_theta", "spacing", "intensity", "index", "count")
POINTS = 300_000  # reciprocal points looked at together
TOGETHER = 30_000  # pairs of a reflection and an atom worked on at once
EQUAL = 1e-5  # degrees within which reflections are one peak, as in pymatgen
FAINT = 1e-3  # per cent of the strongest below which a peak is left out, as in pymatgen


@dataclass(frozen=True)
class Beam:
    """What is sent at the powder and how it is seen.

    source        name of an X-ray line ("CuKa", "MoKa1", ...) or a wavelength in Å
    radiation     "x-ray" or "neutron"
    low, high     degrees of 2 theta
    monochromator degrees of 2 theta of a crystal before the detector that polarises X-rays; 0: none
    debye_waller  isotropic B in Å^2, one number for all or {symbol: B}
    texture       ((h, k, l), r) of March and Dollase: r < 1 for plates that lie flat on hkl, 1 for none
    """

    source: str | float = "CuKa"
    radiation: str = "x-ray"
    low: float = 0.0
    high: float = 90.0
    monochromator: float = 0.0
    debye_waller: float | Mapping[str, float] = 0.0
    texture: tuple[tuple[int, int, int], float] | None = None

    def __post_init__(self):
        wavelength_of(self.source)
        if not 0 <= self.low < self.high <= 180:
            raise BadInput(f"the range is {self.low} to {self.high} degrees of 2 theta, allowed is 0 <= low < high <= 180", "diffraction")
        if self.texture is not None and (self.texture[1] <= 0 or not any(self.texture[0])):
            raise BadInput(f"the texture is {self.texture}, wanted are a direction (h, k, l) and a positive number", "diffraction")

    @property
    def wavelength(self) -> float:
        """Å."""
        return wavelength_of(self.source)

    @property
    def largest(self) -> float:
        """Longest scattering vector 4 pi sin(theta) / wavelength that is seen, 1/Å."""
        return 4 * math.pi * math.sin(math.radians(self.high / 2)) / self.wavelength


@dataclass(frozen=True)
class Reflections:
    """Reflections of a batch sorted by crystal, within one by angle. `two_theta` and `intensity` carry gradients of positions and cells.

    owner      (reflections,) crystal of each; `crystals` their number
    two_theta  (reflections,) degrees; `spacing` d in Å
    intensity  (reflections,) as written above, both signs of hkl counted
    index      (reflections, 3) hkl of one of them
    count      (reflections,) how many hkl are in it: the multiplicity after `peaks`
    """

    owner: Tensor
    crystals: int
    two_theta: Tensor
    spacing: Tensor
    intensity: Tensor
    index: Tensor
    count: Tensor

    def __len__(self) -> int:
        return len(self.owner)

    @property
    def offsets(self) -> Tensor:
        """(crystals + 1,) where each crystal starts."""
        return offsets_of(torch.bincount(self.owner, minlength=self.crystals))

    def of(self, crystal: int) -> Reflections:
        """Those of one crystal."""
        begin, end = self.offsets[crystal : crystal + 2].tolist()
        return replace(self._rows(slice(begin, end)), owner=torch.zeros(end - begin, dtype=torch.long), crystals=1)

    def _rows(self, rows) -> Reflections:
        return Reflections(self.owner[rows], self.crystals, *(getattr(self, k)[rows] for k in FIELDS))

    def scaled(self, top: float = 100.0) -> Reflections:
        """Copy in which the strongest of each crystal has the intensity `top`."""
        strongest = segment_max(self.intensity, self.owner, self.crystals, 0.0).clamp(min=1e-300)
        return replace(self, intensity=top * self.intensity / strongest[self.owner])

    def peaks(self, equal: float = EQUAL, faint: float = FAINT) -> Reflections:
        """Reflections within `equal` degrees added up, without those fainter than `faint` per cent of the strongest."""
        if not len(self):
            return self
        angle = self.two_theta.detach()
        start = torch.ones_like(self.owner, dtype=torch.bool)
        bin_of = torch.round(angle / equal)
        start[1:] = (self.owner[1:] != self.owner[:-1]) | (bin_of[1:] != bin_of[:-1])
        peak = start.cumsum(0) - 1
        size, first = int(peak[-1]) + 1, start.nonzero()[:, 0]
        whole = replace(self._rows(first), intensity=segment_sum(self.intensity, peak, size), count=segment_sum(self.count, peak, size))
        strongest = segment_max(whole.intensity.detach(), whole.owner, self.crystals, 0.0)
        return whole._rows((whole.intensity.detach() > faint / 100 * strongest[whole.owner]).nonzero()[:, 0])


def reflections(crystals: Crystals, beam: Beam | None = None, occupancy: Tensor | None = None) -> Reflections:
    """All reflections of the crystals in the range of `beam`, one of each pair hkl, -hkl, intensities doubled.

    occupancy  (atoms,) share of each atom that is there
    Differentiable in positions and cells. BadInput for structures that do not repeat along three axes, elements without factors, and cells so large that too
    many reflections would have to be looked at.
    """
    beam = beam or Beam()
    if not bool(crystals.periodic.all()):
        i = int((~crystals.periodic.all(-1)).nonzero()[0])
        raise BadInput("does not repeat along three axes, so it has no Bragg reflections; Debye's formula is for particles and molecules", f"crystal {i}")
    check_elements(crystals.species, beam.radiation)
    parts = [_of_some(crystals[rows], beam, None if occupancy is None else occupancy[atoms], rows.start) for rows, atoms in _pieces(crystals, beam.largest)]
    return Reflections(torch.cat([p.owner for p in parts]), len(crystals), *(torch.cat([getattr(p, k) for p in parts]) for k in FIELDS))


def _pieces(crystals: Crystals, largest: float) -> Iterator[tuple[slice, slice]]:
    """Crystals and their atoms in runs that together look at few enough reciprocal points."""
    reach = torch.floor(largest * crystals.cell.detach().norm(dim=-1) / (2 * math.pi))
    points = torch.cat([reach.new_zeros(1), (2 * reach + 1).prod(-1).cumsum(0)])
    begin = 0
    while begin < len(crystals):
        end = max(begin + 1, int(torch.searchsorted(points, points[begin] + POINTS, right=True)) - 1)
        yield slice(begin, end), slice(int(crystals.offsets[begin]), int(crystals.offsets[end]))
        begin = end


def _of_some(crystals: Crystals, beam: Beam, occupancy: Tensor | None, first: int) -> Reflections:
    """`reflections` of a piece of the batch that begins at crystal `first`."""
    waves = waves_within(crystals, beam.largest * (1 + 1e-12))
    k = waves.vectors(crystals.cell, crystals.periodic)
    length = k.norm(dim=-1)
    sine = (length * (beam.wavelength / (4 * math.pi))).clamp(max=1.0)
    order = torch.argsort(waves.owner + 0.99 * sine.detach().to(torch.float64))  # by crystal, then by angle
    if beam.low > 0:
        order = order[sine.detach()[order] >= math.sin(math.radians(beam.low / 2))]
    waves, k, sine, length = Waves(waves.index[order], waves.owner[order]), k[order], sine[order], length[order]
    theta = torch.asin(sine)
    s2 = (sine / beam.wavelength) ** 2
    strength = _strengths(crystals, waves, s2, beam, occupancy)
    intensity = 2 * strength * _lorentz_polarisation(theta, beam) / crystals.volume[waves.owner] ** 2
    if beam.texture is not None:
        intensity = intensity * _texture(crystals, waves, k, beam.texture)
    return Reflections(waves.owner + first, len(crystals), torch.rad2deg(2 * theta), 2 * math.pi / length, intensity, waves.index, torch.full_like(waves.owner, 2))


def _strengths(crystals: Crystals, waves: Waves, s2: Tensor, beam: Beam, occupancy: Tensor | None) -> Tensor:
    """(waves,) squared moduli of the structure factors.

    Rows of waves that belong to crystals with about as many atoms are worked on together, as (waves, atoms) with empty places at the end.
    """
    b = _debye_waller(beam.debye_waller).to(s2)
    kinds, kind = torch.unique(crystals.owner * (MAX_Z + 1) + crystals.species, return_inverse=True)  # elements of each crystal: one factor for all their atoms
    many = torch.bincount(kinds // (MAX_Z + 1), minlength=len(crystals))
    element, first = kinds % (MAX_Z + 1), offsets_of(many)[:-1]
    size = crystals.counts
    place = torch.arange(int(size.max()))[None]
    atom = (crystals.offsets[:-1, None] + place).clamp(max=crystals.atoms - 1)  # (crystals, most atoms)
    here = place < size[:, None]
    x, y, z = (2 * math.pi * crystals.frac)[atom].unbind(-1)
    own = torch.where(here, kind[atom] - first[:, None], 0)
    share = here.to(s2) if occupancy is None else here * occupancy[atom].to(s2)
    order = torch.argsort(size[waves.owner], stable=True)
    pairs, parts, begin = offsets_of(size[waves.owner[order]]), [], 0
    while begin < len(order):
        end = max(begin + 1, int(torch.searchsorted(pairs, pairs[begin] + TOGETHER, right=True)) - 1)
        rows = order[begin:end]
        owner, s = waves.owner[rows], s2[rows]
        each, n = many[owner], int(size[owner[-1]])
        element_of, s_of = element[runs(first[owner], each)], s.repeat_interleave(each)
        factor = scattering_factors(element_of, s_of, beam.radiation)
        if bool(b.any()):
            factor = factor * torch.exp(-b[element_of] * s_of)
        weight = factor[offsets_of(each)[:-1, None] + own[owner, :n]] * share[owner, :n]
        h = waves.index[rows].to(crystals.frac)
        phase = h[:, 0:1] * x[owner, :n] + h[:, 1:2] * y[owner, :n] + h[:, 2:3] * z[owner, :n]
        parts.append((weight * torch.cos(phase)).sum(1) ** 2 + (weight * torch.sin(phase)).sum(1) ** 2)
        begin = end
    return torch.zeros_like(s2).index_copy(0, order, torch.cat(parts)) if parts else s2


def _debye_waller(given: float | Mapping[str, float]) -> Tensor:
    if not isinstance(given, Mapping):
        return torch.full((MAX_Z + 1,), float(given), dtype=torch.float64)
    table = torch.zeros(MAX_Z + 1, dtype=torch.float64)
    for name, value in given.items():
        table[number(name)] = float(value)
    return table


def _lorentz_polarisation(theta: Tensor, beam: Beam) -> Tensor:
    lorentz = 1 / (torch.sin(theta) ** 2 * torch.cos(theta))
    if beam.radiation == "neutron":
        return lorentz
    a = math.cos(math.radians(beam.monochromator)) ** 2
    return lorentz * (1 + a * torch.cos(2 * theta) ** 2)


def _texture(crystals: Crystals, waves: Waves, k: Tensor, texture: tuple[Sequence[int], float]) -> Tensor:
    """(waves,) factor of each hkl (W. A. Dollase, J. Appl. Cryst. 19, 267 (1986)); summing all hkl takes the mean over equivalent ones."""
    direction, r = torch.tensor(texture[0], dtype=torch.long), float(texture[1])
    axis = Waves(direction.expand(len(crystals), 3), torch.arange(len(crystals))).vectors(crystals.cell, crystals.periodic)
    cosine = (k * axis[waves.owner]).sum(-1) / (k.norm(dim=-1) * axis.norm(dim=-1)[waves.owner])
    return (r**2 * cosine**2 + (1 - cosine**2) / r) ** -1.5
