"""Energy over volume of many crystals at once, and the equations fitted to it.

F. Birch, Phys. Rev. 71, 809 (1947), third order; P. Vinet, J. Ferrante, J. R. Smith, J. H. Rose, J. Phys. C 19, L467 (1986):

    E(V) = E0 + 9/16 V0 B0 (x^2 - 1)^2 [2 + (B' - 4) (x^2 - 1)],  x = (V0/V)^(1/3)
    E(V) = E0 + 4 V0 B0 / (B' - 1)^2 {1 - [1 - 3/2 (B' - 1) (1 - y)] exp[3/2 (B' - 1) (1 - y)]},  y = (V/V0)^(1/3)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..base.errors import BadInput, Missing
from ..base.units import GPA_PER_EV_PER_A3
from ..crystal.state import Crystals
from ..potential.oracle import Oracle
from .at_rest import brought_to_rest, check_periodic
from .per_crystal import PerCrystal
from .relax import relax

FORMS = ("birch-murnaghan", "vinet")
SCALES = (0.94, 0.96, 0.98, 1.0, 1.02, 1.04, 1.06)  # of the volume
FEWEST = 5  # points of a fit of four numbers


@dataclass(frozen=True)
class Fit:
    """An equation of state.

    energy    E0, eV; volume V0 in Å^3; bulk_modulus B0 in GPa; derivative B' at zero pressure
    residual  eV, root mean square over the points
    """

    form: str
    energy: float
    volume: float
    bulk_modulus: float
    derivative: float
    residual: float

    def __call__(self, volume) -> np.ndarray:
        """eV at volumes (points,) in Å^3."""
        return _energy(self.form, np.asarray(volume, dtype=np.float64), self.energy, self.volume, self.bulk_modulus / GPA_PER_EV_PER_A3, self.derivative)

    def pressure(self, volume) -> np.ndarray:
        """GPa at volumes (points,), positive where compressed."""
        v = np.asarray(volume, dtype=np.float64)
        h = 1e-4 * v
        return -(self(v + h) - self(v - h)) / (2 * h) * GPA_PER_EV_PER_A3


@dataclass(frozen=True)
class StateOne:
    """What came out for one crystal.

    fit       None where it failed, with the reason; volumes (points,) Å^3 and energies (points,) eV of the points that were used
    crystal   as it was before it was compressed and expanded
    """

    fit: Fit | None
    crystal: Crystals
    volumes: np.ndarray
    energies: np.ndarray
    reason: str = ""

    @property
    def failed(self) -> bool:
        return self.fit is None

    def to_words(self) -> dict[str, Any]:
        """Plain numbers: GPa, Å^3 and eV of the cell."""
        words: dict[str, Any] = {"volumes": self.volumes.tolist(), "energies": self.energies.tolist(), "reason": self.reason}
        if self.fit is not None:
            words |= {"form": self.fit.form, "bulk_modulus": self.fit.bulk_modulus, "derivative": self.fit.derivative, "volume": self.fit.volume, "energy": self.fit.energy,
                      "residual": self.fit.residual}
        return words


@dataclass(frozen=True)
class States(PerCrystal[StateOne]):
    """Answer of `equation_of_state`: one `StateOne` per crystal in input order."""

    results: tuple[StateOne, ...]
    oracle: str
    evaluations: int
    seconds: float


def equation_of_state(crystals: Crystals, oracle: Oracle, *, scales: Sequence[float] = SCALES, form: str = "birch-murnaghan", fmax: float = 0.01, atoms: bool = True,
                      at_rest: bool = False, batch_atoms: int = 512, should_stop: Callable[[], bool] | None = None) -> States:
    """Energies of the crystals at volumes around that at rest, and the equation of state through them.

    scales   of the volume, all axes alike; at least five, on both sides of 1
    atoms    relax them in every cell (to `fmax` eV/Å), else they keep their places
    at_rest  the crystals are relaxed already
    A crystal without a minimum among its points, or too few of them, has a reason and no fit. Missing for an unknown form, BadInput for scales that will not do.
    """
    if form not in FORMS:
        raise Missing("equation of state", form, FORMS)
    sizes = sorted(float(s) for s in scales)
    if len(sizes) < FEWEST or not 0.3 < sizes[0] < 1 < sizes[-1] < 3:
        raise BadInput(f"scales are {list(scales)}; wanted are {FEWEST} or more, below and above 1", "equation of state")
    check_periodic(crystals)
    begin, crystals, evaluations = time.perf_counter(), crystals.bare(), 0
    reasons = [""] * len(crystals)
    options = {"fmax": fmax, "batch_atoms": batch_atoms, "should_stop": should_stop}
    if not at_rest:
        crystals, reasons, evaluations = brought_to_rest(crystals, oracle, steps=1000, smax=2e-4, **options)
    sound = [i for i, reason in enumerate(reasons) if not reason]
    energies = {i: np.full(len(sizes), np.nan) for i in sound}
    if sound:
        bent = Crystals.join([crystals[i].put(cell=crystals[i].cell * s ** (1 / 3)) for i in sound for s in sizes])
        run = relax(bent, oracle, cell=False, steps=500 if atoms else 0, **options)
        evaluations += run.evaluations
        for k, one in enumerate(run):
            if not one.failed and (one.converged or not atoms):
                energies[sound[k // len(sizes)]][k % len(sizes)] = one.energy
    results = []
    for i, reason in enumerate(reasons):
        volumes = float(crystals[i].volume[0]) * np.array(sizes)
        here = np.isfinite(energies[i]) if i in energies else np.zeros(len(sizes), dtype=bool)
        found, why = (None, reason) if reason else _fitted(form, volumes[here], energies[i][here], len(sizes))
        results.append(StateOne(found, crystals[i], volumes[here], energies[i][here] if i in energies else np.zeros(0), why))
    return States(tuple(results), oracle.name, evaluations, time.perf_counter() - begin)


def _fitted(form: str, volumes: np.ndarray, energies: np.ndarray, of: int) -> tuple[Fit | None, str]:
    if len(volumes) < FEWEST:
        return None, f"{len(volumes)} of {of} points have an energy, wanted are {FEWEST}"
    if energies.argmin() in (0, len(energies) - 1):
        return None, "no minimum among the volumes"
    try:
        return fit(volumes, energies, form), ""
    except BadInput as error:
        return None, error.message


def fit(volumes: np.ndarray, energies: np.ndarray, form: str = "birch-murnaghan") -> Fit:
    """The equation through volumes (points,) Å^3 and energies (points,) eV; BadInput where they have no minimum that it could describe."""
    if form not in FORMS:
        raise Missing("equation of state", form, FORMS)
    v, e = (np.asarray(x, dtype=np.float64) for x in (volumes, energies))
    if len(v) < FEWEST or v.shape != e.shape or not (np.isfinite(v).all() and np.isfinite(e).all() and (v > 0).all()):
        raise BadInput(f"{len(v)} volumes and {len(e)} energies; wanted are {FEWEST} or more finite pairs", "equation of state")
    first = _cubic(v, e)
    if form == "vinet":
        from scipy.optimize import least_squares

        size = np.array([max(float(np.ptp(e)), 1e-6), first.volume, first.bulk_modulus / GPA_PER_EV_PER_A3, 1.0])
        found = least_squares(lambda p: (_energy("vinet", v, *(p * size)) - e) / size[0], np.array([first.energy, first.volume, first.bulk_modulus / GPA_PER_EV_PER_A3, max(first.derivative, 1.5)]) / size,
                              xtol=1e-14, ftol=1e-14, gtol=1e-14)
        energy, volume, bulk, derivative = found.x * size
        first = Fit("vinet", float(energy), float(volume), float(bulk) * GPA_PER_EV_PER_A3, float(derivative), 0.0)
    return Fit(first.form, first.energy, first.volume, first.bulk_modulus, first.derivative, float(np.sqrt(np.mean((first(v) - e) ** 2))))


def _cubic(v: np.ndarray, e: np.ndarray) -> Fit:
    """Birch and Murnaghan's form is a cubic in V^(-2/3): a linear fit."""
    mean = v.mean()
    x = (mean / v) ** (2 / 3)
    c = np.polynomial.polynomial.polyfit(x, e, 3)
    slope, curve = np.polynomial.polynomial.polyder(c), np.polynomial.polynomial.polyder(c, 2)
    roots = np.roots(slope[::-1])
    roots = roots[np.abs(roots.imag) < 1e-9].real
    roots = roots[(roots > 0) & (np.polynomial.polynomial.polyval(roots, curve) > 0)]
    if not len(roots):
        raise BadInput("the energies have no minimum", "equation of state")
    x0 = roots[np.argmin(np.abs(roots - 1))]
    volume = mean * x0**-1.5
    second, third = (np.polynomial.polynomial.polyval(x0, np.polynomial.polynomial.polyder(c, k)) for k in (2, 3))
    bulk = 4 / 9 * x0**2 * second / volume
    derivative = 4 + 2 / 3 * x0 * third / second
    return Fit("birch-murnaghan", float(np.polynomial.polynomial.polyval(x0, c)), float(volume), float(bulk) * GPA_PER_EV_PER_A3, float(derivative), 0.0)


def _energy(form: str, v: np.ndarray, energy: float, volume: float, bulk: float, derivative: float) -> np.ndarray:
    if form == "vinet":
        y = np.cbrt(v / volume)
        eta = 1.5 * (derivative - 1)
        return energy + 4 * volume * bulk / (derivative - 1) ** 2 * (1 - (1 - eta * (1 - y)) * np.exp(eta * (1 - y)))
    x = np.cbrt(volume / v) ** 2 - 1
    return energy + 9 / 16 * volume * bulk * x**2 * (2 + (derivative - 4) * x)
