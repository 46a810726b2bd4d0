"""From reflections to a measured-looking pattern: widths of an instrument and of a sample, pseudo-Voigt peaks on a grid of angles.

P. Thompson, D. E. Cox, J. B. Hastings, J. Appl. Cryst. 20, 79 (1987), doi:10.1107/S0021889887087090 (shape); G. Caglioti, A. Paoletti, F. P. Ricci,
Nucl. Instrum. 3, 223 (1958) (Gaussian width); P. Scherrer (1918) and A. R. Stokes, A. J. C. Wilson (1944) for size and strain.

    G^2 = U tan^2 theta + V tan theta + W                                        degrees^2
    L = X tan theta + Y / cos theta + Z + (180 / pi) (K wavelength / (size cos theta) + 4 strain tan theta)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from ..base.errors import BadInput
from ..crystal.segments import runs
from .powder import Reflections

SCHERRER = 0.9  # K of spheres, with widths at half height
REACH = 12.0  # widths at half height on either side within which a peak is drawn; the tail beyond is given back by scaling to unit area
TOGETHER = 4_000_000  # pairs of a peak and a grid point worked on at once
NARROWEST = 1e-4  # degrees
BRIGHTEST = 10_000_000  # bytes of an instrument file


@dataclass(frozen=True)
class Shape:
    """Widths of peaks. Angles in degrees of 2 theta, so that U, V, W are degrees^2 and X, Y, Z degrees.

    size    of crystallites in Å, 0: large;  strain  micro-strain, 0: none
    zero    degrees added to every angle; displacement: degrees times cos theta added (a sample above or below the axis)
    """

    u: float = 0.0
    v: float = 0.0
    w: float = 0.01
    x: float = 0.0
    y: float = 0.0
    z: float = 0.0
    size: float = 0.0
    strain: float = 0.0
    zero: float = 0.0
    displacement: float = 0.0

    def __post_init__(self):
        for f in fields(self):
            if not math.isfinite(getattr(self, f.name)):
                raise BadInput(f"{f.name} is {getattr(self, f.name)}", "shape of peaks")
        if self.size < 0 or self.strain < 0:
            raise BadInput(f"size is {self.size} Å and strain {self.strain}; neither can be negative", "shape of peaks")

    def widths(self, two_theta: Tensor, wavelength: float) -> tuple[Tensor, Tensor]:
        """(width at half height in degrees, share of the Lorentzian) of a pseudo-Voigt at angles `two_theta` (rows,) in degrees."""
        theta = torch.deg2rad(two_theta / 2)
        tan, cos = torch.tan(theta), torch.cos(theta)
        gauss = (self.u * tan**2 + self.v * tan + self.w).clamp(min=NARROWEST**2).sqrt()
        lorentz = self.x * tan + self.y / cos + self.z + math.degrees(4 * self.strain) * tan
        if self.size:
            lorentz = lorentz + math.degrees(SCHERRER * wavelength / self.size) / cos
        lorentz = lorentz.clamp(min=0.0)
        terms = (1.0, 2.69269, 2.42843, 4.47163, 0.07842, 1.0)
        width = sum(c * gauss ** (5 - i) * lorentz**i for i, c in enumerate(terms)) ** 0.2
        share = lorentz / width
        return width, 1.36603 * share - 0.47719 * share**2 + 0.11116 * share**3


def read_instrument(path: str | Path) -> tuple[Shape, dict[str, float]]:
    """(shape, other words) of a GSAS-II instrument file (.instprm) of constant wavelength: U, V, W in centidegrees^2, X, Y, Z in centidegrees are brought to degrees.

    Others: "wavelength" (Å), "wavelength 2" and "ratio 2" where there is a second line, "polarisation". BadInput naming the line for what is no such file.
    """
    path, words = Path(path), {}
    try:
        if path.stat().st_size > BRIGHTEST:
            raise BadInput(f"is larger than {BRIGHTEST} bytes", str(path))
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise BadInput(f"cannot be read ({error.strerror})", str(path)) from None
    for i, line in enumerate(lines, 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        for part in line.split(";"):
            name, colon, value = part.partition(":")
            if not colon:
                raise BadInput(f"{part.strip()[:40]!r} is no NAME:VALUE of an instrument file", f"{path}, line {i}")
            words[name.strip()] = value.strip().split(",")[0].strip("[( ")
    kind = words.get("Type", "PXC")
    if not kind.endswith("C"):
        raise BadInput(f"is of type {kind!r}; only constant wavelengths (PXC, PNC) are read", str(path))

    def number(name: str, default: float = 0.0) -> float:
        try:
            return float(words.get(name, default))
        except ValueError:
            raise BadInput(f"{name} is {words[name]!r}, wanted is a number", str(path)) from None

    centi = {k: number(k.upper()) for k in ("u", "v", "w", "x", "y", "z")}
    shape = Shape(**{k: v / (1e4 if k in "uvw" else 1e2) for k, v in centi.items()}, zero=number("Zero"))
    wave = number("Lam", number("Lam1"))
    if wave <= 0:
        raise BadInput("names no wavelength (Lam or Lam1)", str(path))
    other = {"wavelength": wave, "polarisation": number("Polariz.", 0.5)}
    if "Lam2" in words:
        other |= {"wavelength 2": number("Lam2"), "ratio 2": number("I(L2)/I(L1)", 0.5)}
    return shape, other


def profile(found: Reflections, grid: Tensor, shape: Shape, wavelength: float) -> Tensor:
    """(crystals, points) intensity per degree on `grid` (points,), rising degrees of 2 theta with equal steps; every peak has its intensity as area.

    Differentiable in angles and intensities of the reflections. BadInput for a grid that does not rise evenly.
    """
    step = _step(grid)
    theta = torch.deg2rad(found.two_theta / 2)
    angle = found.two_theta + shape.zero + shape.displacement * torch.cos(theta)
    width, share = shape.widths(found.two_theta, wavelength)
    half = (REACH * width.detach()).clamp(min=2 * step)
    begin = torch.ceil((angle.detach() - half - grid[0]) / step).long().clamp(0, len(grid))
    end = (torch.floor((angle.detach() + half - grid[0]) / step).long() + 1).clamp(0, len(grid))
    many = (end - begin).clamp(min=0)
    area = _area(half / width, share)
    total = torch.cat([many.new_zeros(1), many.cumsum(0)])
    out, first = found.intensity.new_zeros(found.crystals * len(grid)), 0
    while first < len(many):
        last = max(first + 1, int(torch.searchsorted(total, total[first] + TOGETHER, right=True)) - 1)
        rows = slice(first, last)
        point = runs(begin[rows], many[rows])
        peak = torch.arange(first, last).repeat_interleave(many[rows])
        off = (grid[point].to(angle) - angle[peak]) / width[peak]
        height = found.intensity / (width * area)
        eta = share[peak]
        value = height[peak] * (eta * (2 / math.pi) / (1 + 4 * off**2) + (1 - eta) * (2 * (math.log(2) / math.pi) ** 0.5) * torch.exp(-4 * math.log(2) * off**2))
        out = out.index_add(0, found.owner[peak] * len(grid) + point, value)
        first = last
    return out.view(found.crystals, len(grid))


def _step(grid: Tensor) -> float:
    if grid.dim() != 1 or len(grid) < 2:
        raise BadInput(f"has shape {tuple(grid.shape)}, wanted are two points or more", "grid of angles")
    step = float(grid[-1] - grid[0]) / (len(grid) - 1)
    if step <= 0 or bool(((grid.diff() - step).abs() > 1e-3 * step).any()):
        raise BadInput("does not rise in equal steps; resample the pattern first", "grid of angles")
    return step


def _area(reach: Tensor, share: Tensor) -> Tensor:
    """(peaks,) area of a pseudo-Voigt of unit area and width within `reach` widths."""
    return share * (2 / math.pi) * torch.atan(2 * reach) + (1 - share) * torch.erf(2 * math.log(2) ** 0.5 * reach)
