"""Elements as 92 zeros and ones: place in the periodic table, and properties sorted into bins, as in the input of CGCNN and its followers.

T. Xie, J. C. Grossman, Physical Review Letters 120, 145301 (2018), doi:10.1103/PhysRevLett.120.145301, supplementary table on atom features:
group (19, the first for the f block), period (7), electronegativity 0.5 to 4.0 (10), covalent radius 25 to 250 pm (10), valence electrons 1 to 12 (12),
ln of the first ionisation energy in eV 1.3 to 3.3 (10), electron affinity -3 to 3.7 eV (10), block (4), ln of the molar volume in cm^3 1.5 to 4.3 (10).
Numbers are those of the element tables that matminer installs; a property that is not known leaves its bins empty.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from ..base.elements import MAX_Z
from ..base.units import EV_PER_KJ_PER_MOL
from .magpie import data_folder

WIDTH = 92
LAST = 100  # element; further ones have their place in the periodic table alone
NOBLE = (0, 2, 10, 18, 36, 54, 86, 118)
BINNED = (  # file, how it is read, from, to
    ("Electronegativity", lambda x: x, 0.5, 4.0), ("CovalentRadius", lambda x: x, 25.0, 250.0), ("FirstIonizationEnergy", math.log, 1.3, 3.3),
    ("ElectronAffinity", lambda x: x * EV_PER_KJ_PER_MOL, -3.0, 3.7), ("MolarVolume", math.log, 1.5, 4.3))
BINS = 10


def place(z: int) -> tuple[int, int, str]:
    """(group 1 to 18, 0 in the f block; period; block) of an element."""
    period = next(p for p, last in enumerate(NOBLE) if z <= last)
    if z == 2:
        return 18, 1, "s"
    along = z - NOBLE[period - 1]
    if along <= 2:
        return along, period, "s"
    back = NOBLE[period] - z  # places before the noble gas
    if back < 6:
        return 18 - back, period, "p"
    if back < 16:
        return 18 - back, period, "d"
    return 0, period, "f"


@cache
def element_bins() -> np.ndarray:
    """(119, 92) float32 by atomic number, not to be written to; row 0, of an undecided element, is zero. NeedsPackage where matminer is not installed."""
    out = np.zeros((MAX_Z + 1, WIDTH), dtype=np.float32)
    folder = data_folder() / "magpie_elementdata"
    known = [[0.0, *map(_number, (folder / f"{name}.table").read_text(encoding="utf-8").split())] for name, *_ in BINNED]
    for z in range(1, MAX_Z + 1):
        group, period, block = place(z)
        valence = 2 if not group or z == 2 else group if group <= 12 else group - 10
        ones = [group, 19 + period - 1, 46 + valence - 1, 78 + "spdf".index(block)]
        for start, column, (_, read, low, high) in zip((26, 36, 58, 68, 82), known, BINNED, strict=True):
            if z <= LAST and (value := column[z]):
                ones.append(start + min(max(int((read(value) - low) / (high - low) * BINS), 0), BINS - 1))
        out[z, ones] = 1
    out.setflags(write=False)
    return out


def bin_names() -> tuple[str, ...]:
    """What each of the 92 columns says, 'group 17', 'Electronegativity 1.2 to 1.6'; bins of a logarithm by its exponential, the ends open."""
    group = ["no group", *(f"group {g}" for g in range(1, 19))]
    binned = []
    for name, read, low, high in BINNED:
        back = math.exp if read is math.log else float
        edges = [f"{back(low + (high - low) * k / BINS):.3g}" for k in range(BINS + 1)]
        binned.append([f"{name} {a} to {b}" for a, b in zip(edges, edges[1:], strict=False)])
    electronegativity, radius, ionisation, affinity, volume = binned
    return (*group, *(f"period {p}" for p in range(1, 8)), *electronegativity, *radius, *(f"{v} valence electrons" for v in range(1, 13)), *ionisation, *affinity,
            *(f"{b} block" for b in "spdf"), *volume)


def _number(text: str) -> float:
    """0 for what is not known, as the tables have it for electron affinities."""
    try:
        return float(text)
    except ValueError:
        return 0.0
