"""How strongly atoms scatter X-rays and neutrons, and the wavelengths of laboratory sources."""

from __future__ import annotations

import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from ..base.elements import MAX_Z, NUMBER, symbol
from ..base.errors import BadInput, Missing, NeedsPackage

# Å: J. A. Bearden, Rev. Mod. Phys. 39, 78 (1967); an unnumbered alpha is the weighted mean (2 alpha1 + alpha2) / 3, as pymatgen lists them
WAVELENGTHS = {
    "CuKa": 1.54184, "CuKa1": 1.54056, "CuKa2": 1.54439, "CuKb1": 1.39222, "MoKa": 0.71073, "MoKa1": 0.70930, "MoKa2": 0.71359, "MoKb1": 0.63229,
    "CrKa": 2.29100, "CrKa1": 2.28970, "CrKa2": 2.29361, "CrKb1": 2.08487, "FeKa": 1.93735, "FeKa1": 1.93604, "FeKa2": 1.93998, "FeKb1": 1.75661,
    "CoKa": 1.79026, "CoKa1": 1.78896, "CoKa2": 1.79285, "CoKb1": 1.63079, "AgKa": 0.560885, "AgKa1": 0.559421, "AgKa2": 0.563813, "AgKb1": 0.497082}
RADIATIONS = ("x-ray", "neutron")
_MOTT = 41.78214  # of the Mott-Bethe formula, with s = sin(theta) / wavelength in 1/Å and electron form factors in Å


def wavelength_of(source: str | float) -> float:
    """Å of a source by name ("CuKa") or as it is given; Missing for another name, BadInput for a length that is none."""
    if isinstance(source, str):
        if source not in WAVELENGTHS:
            raise Missing("source of X-rays", source, WAVELENGTHS)
        return WAVELENGTHS[source]
    if not 0.01 <= float(source) <= 100.0:
        raise BadInput(f"the wavelength is {source} Å, allowed are 0.01 to 100", "diffraction")
    return float(source)


@cache
def _read(name: str) -> dict:
    found = find_spec("pymatgen.analysis")
    folder = None if found is None or not found.submodule_search_locations else Path(next(iter(found.submodule_search_locations))) / "diffraction"
    if folder is None or not (folder / name).is_file():
        raise NeedsPackage("pymatgen", "its tables of scattering factors", "pip install pymatgen")
    return json.loads((folder / name).read_text(encoding="utf-8"))


@cache
def electron_factors() -> Tensor:
    """(119, 4, 2) float64 a_k (Å) and b_k (Å^2) of the electron form factors sum_k a_k exp(-b_k s^2) by atomic number, NaN where there are none.

    M. De Graef, M. E. McHenry, Structure of Materials (2012), from P. A. Doyle, P. S. Turner, Acta Cryst. A 24, 390 (1968); the table that pymatgen installs.
    """
    table = torch.full((MAX_Z + 1, 4, 2), torch.nan, dtype=torch.float64)
    for name, pairs in _read("atomic_scattering_params.json").items():
        if name in NUMBER:  # deuterium stands there by a name of its own
            table[NUMBER[name]] = torch.tensor(pairs, dtype=torch.float64)
    return table


@cache
def neutron_lengths() -> Tensor:
    """(119,) float64 coherent scattering lengths of the elements as they occur in nature, fm, NaN where there are none.

    V. F. Sears, Neutron News 3, 26 (1992); the table that pymatgen installs.
    """
    table = torch.full((MAX_Z + 1,), torch.nan, dtype=torch.float64)
    for name, value in _read("neutron_scattering_length.json").items():
        if name in NUMBER:
            table[NUMBER[name]] = float(value)
    return table


def check_elements(species: Tensor, radiation: str) -> None:
    """BadInput that names the first element (species (atoms,)) without a scattering factor, Missing for an unknown radiation."""
    if radiation not in RADIATIONS:
        raise Missing("radiation", radiation, RADIATIONS)
    table = neutron_lengths() if radiation == "neutron" else electron_factors()[:, 0, 0]
    present = torch.unique(species)
    if bool((without := table[present].isnan()).any()):
        z = int(present[without][0])
        raise BadInput(f"no {radiation} scattering factor is known of {symbol(z) if z else 'an undecided atom'}", "diffraction")


def scattering_factors(species: Tensor, s2: Tensor, radiation: str = "x-ray") -> Tensor:
    """(rows,) factors of atoms `species` (rows,) at s^2 = (sin theta / wavelength)^2 `s2` (rows,) in 1/Å^2: electrons for X-rays, fm for neutrons.

    X-rays: f = Z - 41.78 s^2 sum_k a_k exp(-b_k s^2) without anomalous dispersion, good below s = 2 1/Å. Differentiable in `s2`.
    """
    if radiation == "neutron":
        return neutron_lengths().to(s2)[species]
    a, b = electron_factors().to(s2)[species].unbind(-1)
    return species.to(s2) - _MOTT * s2 * (a * torch.exp(-b * s2[:, None])).sum(-1)
