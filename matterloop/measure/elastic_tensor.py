"""The elastic tensor as data: averages over directions, stability, sound, and which tensors a point group allows.

Voigt order xx, yy, zz, yz, xz, xy, engineering shear strains. W. Voigt (1928); A. Reuss, Z. Angew. Math. Mech. 9, 49 (1929); R. Hill, Proc. Phys. Soc. A 65, 349 (1952);
anisotropy: S. I. Ranganathan, M. Ostoja-Starzewski, Phys. Rev. Lett. 101, 055504 (2008); stability: F. Mouhat, F.-X. Coudert, Phys. Rev. B 90, 224104 (2014).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..base.errors import BadInput

PAIRS = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
_FACTOR = np.array([1, 1, 1, 2**0.5, 2**0.5, 2**0.5])  # Mandel's, in which turning a tensor is an orthogonal matrix
HBAR_OVER_K = 7.638232577e-12  # K s


def voigt_of(tensor: np.ndarray) -> np.ndarray:
    """(..., 6) components of symmetric tensors (..., 3, 3); of strains shear is counted once here, not twice."""
    return np.stack([(tensor[..., i, j] + tensor[..., j, i]) / 2 for i, j in PAIRS], -1)


def strain_of(engineering: np.ndarray) -> np.ndarray:
    """(..., 3, 3) symmetric strains of engineering components (..., 6)."""
    out = np.zeros((*np.shape(engineering)[:-1], 3, 3))
    for k, (i, j) in enumerate(PAIRS):
        value = np.asarray(engineering)[..., k] / (1 if i == j else 2)
        out[..., i, j] = out[..., j, i] = value
    return out


def turned(rotation: np.ndarray) -> np.ndarray:
    """(..., 6, 6) matrices that turn symmetric tensors in Mandel's notation, of rotations (..., 3, 3)."""
    out = np.empty((*rotation.shape[:-2], 6, 6))
    for a, (i, j) in enumerate(PAIRS):
        for b, (k, m) in enumerate(PAIRS):
            out[..., a, b] = (rotation[..., i, k] * rotation[..., j, m] + rotation[..., i, m] * rotation[..., j, k]) * (_FACTOR[a] / _FACTOR[b]) * (0.5 if k == m else 1.0)
    return out


def allowed(rotations: np.ndarray) -> np.ndarray:
    """(constants, 6, 6) orthonormal basis, in Mandel's notation, of the elastic tensors that Cartesian operations (operations, 3, 3) leave as they are."""
    m = turned(rotations)
    upper = [(a, b) for a in range(6) for b in range(a, 6)]
    basis = np.zeros((21, 6, 6))
    for k, (a, b) in enumerate(upper):
        basis[k, a, b] = basis[k, b, a] = 1.0 if a == b else 0.5**0.5
    mean = np.einsum("gab,kbc,gdc->kad", m, basis, m, optimize=True) / len(m)
    values, vectors = np.linalg.eigh(np.einsum("kab,jab->kj", mean, basis))
    return np.einsum("kc,kab->cab", vectors[:, values > 0.5], basis)


def mandel_to_voigt(mandel: np.ndarray) -> np.ndarray:
    """Stiffness (..., 6, 6) in Voigt's notation."""
    return mandel / np.outer(_FACTOR, _FACTOR)


def voigt_to_mandel(voigt: np.ndarray) -> np.ndarray:
    """Stiffness (..., 6, 6) in Mandel's notation."""
    return voigt * np.outer(_FACTOR, _FACTOR)


@dataclass(frozen=True)
class ElasticTensor:
    """stiffness  (6, 6) GPa, Voigt
    density   g/cm^3; atoms per Å^3 in `number_density`: for sound and the Debye temperature
    error     (6, 6) GPa, standard error of the fit; not that of the potential
    """

    stiffness: np.ndarray
    density: float = math.nan
    number_density: float = math.nan
    error: np.ndarray | None = None

    def __post_init__(self):
        c = np.asarray(self.stiffness)
        if c.shape != (6, 6) or not np.isfinite(c).all():
            raise BadInput(f"has shape {c.shape} or numbers that are not finite, wanted are (6, 6)", "elastic tensor")

    @property
    def compliance(self) -> np.ndarray:
        """(6, 6) 1/GPa."""
        return np.linalg.inv(self.stiffness)

    @property
    def eigenvalues(self) -> np.ndarray:
        """(6,) GPa, ascending, of Mandel's matrix: they do not depend on axes."""
        return np.linalg.eigvalsh(voigt_to_mandel(self.stiffness))

    @property
    def stable(self) -> bool:
        """Whether every small strain costs energy (all eigenvalues positive): Born's criterion for any symmetry at zero pressure."""
        return bool(self.eigenvalues[0] > 0)

    @property
    def bulk_voigt(self) -> float:
        return float(self.stiffness[:3, :3].sum() / 9)

    @property
    def bulk_reuss(self) -> float:
        return float(1 / self.compliance[:3, :3].sum())

    @property
    def bulk_hill(self) -> float:
        return (self.bulk_voigt + self.bulk_reuss) / 2

    @property
    def shear_voigt(self) -> float:
        c = self.stiffness
        return float((c[0, 0] + c[1, 1] + c[2, 2] - c[0, 1] - c[0, 2] - c[1, 2] + 3 * (c[3, 3] + c[4, 4] + c[5, 5])) / 15)

    @property
    def shear_reuss(self) -> float:
        s = self.compliance
        return float(15 / (4 * (s[0, 0] + s[1, 1] + s[2, 2] - s[0, 1] - s[0, 2] - s[1, 2]) + 3 * (s[3, 3] + s[4, 4] + s[5, 5])))

    @property
    def shear_hill(self) -> float:
        return (self.shear_voigt + self.shear_reuss) / 2

    @property
    def young(self) -> float:
        """GPa, of the polycrystal (Hill)."""
        b, g = self.bulk_hill, self.shear_hill
        return 9 * b * g / (3 * b + g)

    @property
    def poisson(self) -> float:
        b, g = self.bulk_hill, self.shear_hill
        return (3 * b - 2 * g) / (2 * (3 * b + g))

    @property
    def pugh(self) -> float:
        """Bulk by shear modulus; above 1.75 metals tend to be ductile (S. F. Pugh, Philos. Mag. 45, 823 (1954))."""
        return self.bulk_hill / self.shear_hill

    @property
    def anisotropy(self) -> float:
        """Universal anisotropy index, 0 for an isotropic crystal."""
        return 5 * self.shear_voigt / self.shear_reuss + self.bulk_voigt / self.bulk_reuss - 6

    @property
    def linear_compressibility(self) -> np.ndarray:
        """(3,) 1/GPa along x, y, z."""
        return self.compliance[:3, :3].sum(1)

    def young_along(self, direction) -> float:
        """GPa along a Cartesian direction."""
        n = np.asarray(direction, dtype=np.float64)
        n = n / np.linalg.norm(n)
        v = np.array([n[i] * n[j] * (1 if i == j else 2) for i, j in PAIRS])
        half = np.array([1, 1, 1, 0.5, 0.5, 0.5])
        return float(1 / ((v * half) @ self.compliance @ (v * half)))

    @property
    def sound(self) -> tuple[float, float]:
        """(longitudinal, transverse) speed in km/s of the polycrystal; NaN where the density is not known or the crystal is not stable."""
        b, g = self.bulk_hill, self.shear_hill
        if not (b + 4 * g / 3 > 0 and g > 0 and self.density > 0):
            return math.nan, math.nan
        return math.sqrt((b + 4 * g / 3) / self.density), math.sqrt(g / self.density)

    @property
    def debye_temperature(self) -> float:
        """K, from the mean speed of sound (O. L. Anderson, J. Phys. Chem. Solids 24, 909 (1963))."""
        v_l, v_t = self.sound
        if not v_t > 0:
            return math.nan
        mean = ((2 / v_t**3 + 1 / v_l**3) / 3) ** (-1 / 3) * 1e3
        return HBAR_OVER_K * (6 * math.pi**2 * self.number_density * 1e30) ** (1 / 3) * mean

    def rotated(self, rotation: np.ndarray) -> ElasticTensor:
        """That of the crystal turned by `rotation` (3, 3), columns turn as R x."""
        m = turned(np.asarray(rotation, dtype=np.float64))
        return ElasticTensor(mandel_to_voigt(m @ voigt_to_mandel(self.stiffness) @ m.T), self.density, self.number_density)

    def to_words(self) -> dict:
        """Plain numbers: moduli in GPa, the rest as named."""
        v_l, v_t = self.sound
        return {
            "stiffness": np.round(self.stiffness, 4).tolist(), "bulk_modulus": self.bulk_hill, "bulk_voigt": self.bulk_voigt, "bulk_reuss": self.bulk_reuss,
            "shear_modulus": self.shear_hill, "shear_voigt": self.shear_voigt, "shear_reuss": self.shear_reuss, "young_modulus": self.young, "poisson": self.poisson,
            "pugh": self.pugh, "anisotropy": self.anisotropy, "stable": self.stable, "smallest_eigenvalue": float(self.eigenvalues[0]), "debye_temperature": self.debye_temperature,
            "sound_longitudinal": v_l, "sound_transverse": v_t, "density": self.density}
