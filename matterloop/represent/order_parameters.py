"""Local structure order parameters: how much the directions to the neighbours of a site look like a known motif, 1 for the motif itself.

N. E. R. Zimmermann, A. Jain, RSC Adv. 10, 6063 (2020), doi:10.1039/C9RA07755C, with the parameters of the motifs as pymatgen distributes them. One
neighbour j is put to the north pole and a second one k on the prime meridian; every pair (k at polar angle theta_k) and every third neighbour m (at
theta_m, azimuth phi_m) adds a Gaussian around the angles that the motif has there. The answer is the largest mean over the choices of j and k. Bond
orientational order q2, q4, q6: P. J. Steinhardt, D. R. Nelson, M. Ronchetti, Phys. Rev. B 28, 784 (1983), by the addition theorem of spherical harmonics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

ON_AXIS = 1e-12  # sine of the angle from the pole below which a neighbour has no azimuth
EDGE = 1e-9  # rad: an angle so near a limit counts as on it, whatever the rounding
TIE = 1e-9  # neighbours whose weights differ by less have no order
PI = np.pi

Parameters = Mapping[str, float]
BIPYRAMID = {"south": 0.75 * PI}

# coordination number -> (name, form, parameters); angles in units of pi (centre, width = inverse Gaussian width) or in rad (south)
MOTIFS: dict[int, tuple[tuple[str, str, Parameters], ...]] = {
    1: (("sgl_bd", "single", {}),),
    2: (("L-shaped", "bent", {"centre": 0.5, "width": 15.15}), ("water-like", "bent", {"centre": 0.5802777777777778, "width": 13.95}),
        ("bent 120 degrees", "bent", {"centre": 0.666666666667, "width": 13.25}), ("bent 150 degrees", "bent", {"centre": 0.833333333333333, "width": 12.45}),
        ("linear", "bent", {"centre": 1.0, "width": 8.667})),
    3: (("trigonal planar", "cone", {"centre": 0.66666666667, "width": 17.5, "fold": 1.0}),
        ("trigonal non-coplanar", "cone", {"centre": 0.6081734479693927, "width": 18.33, "fold": 1.5}),
        ("T-shaped", "equator", {"width": 15.5, "fold": 1.0})),
    4: (("square co-planar", "bipyramid", {**BIPYRAMID, "width": 17.7, "south_width": 13.5, "fold": 1.0}),
        ("tetrahedral", "cone", {"centre": 0.6081734479693927, "width": 18.5, "fold": 1.5}),
        ("rectangular see-saw-like", "bipyramid", {**BIPYRAMID, "width": 27.0, "south_width": 11.5, "fold": 2.0, "widest": 0.75 * PI}),
        ("see-saw-like", "bipyramid", {**BIPYRAMID, "width": 15.75, "south_width": 12.75, "fold": 1.5}),
        ("trigonal pyramidal", "equator", {"width": 15.5, "fold": 1.5})),
    5: (("pentagonal planar", "pentagon", {"limit": 0.6, "width": 19.333}), ("square pyramidal", "equator", {"width": 14.9, "fold": 2.0}),
        ("trigonal bipyramidal", "bipyramid", {**BIPYRAMID, "width": 16.6, "south_width": 12.0, "fold": 1.5})),
    6: (("hexagonal planar", "bipyramid", {"south": 2.6179938779914944, "width": 25.0, "south_width": 7.5, "fold": 1.0, "off": 0.16666667}),
        ("octahedral", "bipyramid", {**BIPYRAMID, "width": 18.0, "south_width": 15.0, "fold": 2.0}),
        ("pentagonal pyramidal", "equator", {"width": 13.8, "fold": 2.5})),
    7: (("hexagonal pyramidal", "equator", {"width": 12.5, "fold": 3.0}),
        ("pentagonal bipyramidal", "bipyramid", {**BIPYRAMID, "width": 14.75, "south_width": 12.5, "fold": 2.5})),
    8: (("body-centered cubic", "bcc", {"south": 2.5261129449194057, "south_width": 15.0, "south_weight": 6.0}),
        ("hexagonal bipyramidal", "bipyramid", {**BIPYRAMID, "width": 13.6, "south_width": 14.1, "fold": 3.0})),
    **{cn: (("q2", "steinhardt", {"degree": 2}), ("q4", "steinhardt", {"degree": 4}), ("q6", "steinhardt", {"degree": 6})) for cn in (9, 10, 11)},
    12: (("cuboctahedral", "cuboctahedron", {"south": 2.792526803190927, "south_width": 28.75, "south_weight": 1.8, "low": 1.3089969389957472,
                                             "high": 1.8325957145940461, "width": 25.5, "side_width": 31.25}),
         ("q2", "steinhardt", {"degree": 2}), ("q4", "steinhardt", {"degree": 4}), ("q6", "steinhardt", {"degree": 6})),
}


def _gauss(x: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * x * x)


@dataclass(frozen=True, eq=False)
class Angles:
    """Angles between the unit vectors (sites, n, 3) to the n neighbours of every site.

    weight  (sites, n) of the neighbours; decides only which of two comes first where the motif asks
    """

    unit: np.ndarray
    weight: np.ndarray

    @cached_property
    def cosine(self) -> np.ndarray:
        """(sites, n, n)"""
        return np.clip(self.unit @ self.unit.swapaxes(1, 2), -1, 1)

    @cached_property
    def theta(self) -> np.ndarray:
        """(sites, n, n) polar angle of the second when the first is the pole, rad."""
        return np.arccos(self.cosine)

    @cached_property
    def _aside(self) -> tuple[np.ndarray, np.ndarray]:
        """(sites, n, n, 3) direction of the second neighbour away from the axis of the first, and whether it has one (sites, n, n)."""
        across = self.unit[:, None] - self.cosine[..., None] * self.unit[:, :, None]
        length = np.linalg.norm(across, axis=-1)
        has = length >= ON_AXIS
        return across / np.where(has, length, 1.0)[..., None], has

    @cached_property
    def different(self) -> np.ndarray:
        """(n, n) j != k."""
        return ~np.eye(self.unit.shape[1], dtype=bool)

    @cached_property
    def third(self) -> np.ndarray:
        """(sites, n, n, n) whether m may join j at the pole and k on the meridian: all different, k not on the axis."""
        d = self.different
        return (d[:, :, None] & d[:, None, :] & d[None])[None] & self._aside[1][..., None]

    @cached_property
    def around(self) -> np.ndarray:
        """(sites, n, n, n) `third`, and m has an azimuth."""
        return self.third & self._aside[1][:, :, None, :]

    @cached_property
    def phi(self) -> np.ndarray:
        """(sites, n, n, n) azimuth of m from the meridian of k, rad, 0 to pi."""
        aside = self._aside[0]
        return np.arccos(np.clip(aside @ aside.swapaxes(2, 3), -1, 1))


def order_parameter(form: str, parameters: Parameters, angles: Angles) -> np.ndarray:
    """(sites,) the order parameter of one motif."""
    return _FORMS[form](angles, **parameters)


def _best(angles: Angles, pair: np.ndarray, pair_norm: np.ndarray, third: np.ndarray, third_norm: np.ndarray) -> np.ndarray:
    """Largest over j and k of the mean contribution of the pair and of every third neighbour."""
    total = np.where(angles.different, pair, 0.0) + third.sum(-1)
    norm = np.where(angles.different, pair_norm, 0.0) + third_norm.sum(-1)
    return np.divide(total, norm, out=np.zeros_like(total), where=norm > 1e-12).max((1, 2))


def _single(angles: Angles) -> np.ndarray:
    return np.ones(len(angles.unit))


def _bent(angles: Angles, centre: float, width: float) -> np.ndarray:
    return _gauss(width * (angles.theta / PI - centre))[:, angles.different].mean(1)


def _cone(angles: Angles, centre: float, width: float, fold: float) -> np.ndarray:
    near = _gauss(width * (angles.theta / PI - centre))
    third = np.where(angles.around, np.cos(fold * angles.phi) ** 2 * near[:, :, None, :], 0.0)
    return _best(angles, near, np.ones_like(near), third, angles.around)


def _equator(angles: Angles, width: float, fold: float) -> np.ndarray:
    return _cone(angles, 0.5, width, fold)


def _pentagon(angles: Angles, limit: float, width: float) -> np.ndarray:
    near = _gauss(width * (angles.theta / PI - np.where(angles.theta <= limit * PI + EDGE, 0.4, 0.8)))
    third = np.where(angles.around, np.cos(angles.phi) ** 2 * near[:, :, None, :], 0.0)
    return _best(angles, near, np.ones_like(near), third, angles.around)


def _bipyramid(angles: Angles, south: float, width: float, south_width: float, fold: float, widest: float = np.inf, off: float = 0.0) -> np.ndarray:
    """Neighbours on the equator, or `off` it (in units of pi), and one at the south pole; azimuths from `widest` on do not count."""
    theta = angles.theta / PI
    below = angles.theta >= south - EDGE
    level = _gauss(width * (np.abs(theta - 0.5) - off))
    opposite = angles.third & below[:, :, None, :]
    beside = angles.around & ~below[:, :, :, None] & ~below[:, :, None, :]
    if np.isfinite(widest):
        beside &= angles.phi < widest - EDGE
    third = np.where(opposite, _gauss(south_width * (theta - 1))[:, :, None, :], 0.0) + np.where(beside, np.cos(fold * angles.phi) ** 2 * level[:, :, None, :], 0.0)
    return _best(angles, np.where(below, 0.0, level), ~below, third, opposite.astype(float) + beside)


def _cuboctahedron(angles: Angles, south: float, south_width: float, south_weight: float, low: float, high: float, width: float, side_width: float) -> np.ndarray:
    theta = angles.theta / PI
    below = angles.theta >= south - EDGE
    level = (angles.theta > low) & (angles.theta < high)
    upper, lower = angles.theta < low, (angles.theta > high) & ~below
    usable = angles.around & level[:, :, :, None]
    wide = lambda x: np.broadcast_to(x[:, :, None, :], usable.shape)
    side = _gauss(0.0556 * (np.cos(angles.phi - 0.5 * PI) - 0.81649658))
    third = np.where(usable & wide(level), np.cos(angles.phi) ** 2 * wide(_gauss(width * (theta - 0.5))), 0.0)
    third = third + np.where(usable & wide(upper), side * wide(_gauss(side_width * (theta - 1 / 3))), 0.0)
    third = third + np.where(usable & wide(lower), side * wide(_gauss(side_width * (theta - 2 / 3))), 0.0)
    pair = np.where(below, south_weight * _gauss(south_width * (theta - 1)), 0.0)
    return _best(angles, pair, south_weight * below, third, usable & wide(level | upper | lower))


def _bcc(angles: Angles, south: float, south_width: float, south_weight: float) -> np.ndarray:
    """B. Peters, J. Chem. Phys. 131, 244103 (2009): a sum over pairs of which the heavier neighbour is at the pole; of two equal ones each is, by half."""
    n, theta = angles.unit.shape[1], angles.theta
    below = theta >= south - EDGE
    tilt = (theta - PI / 2) / np.arcsin(1 / 3)
    wave = (np.exp(0.5) * tilt * _gauss(tilt))[:, :, None, :] * np.cos(3 * angles.phi)
    sign = np.where(theta > PI / 2 + EDGE, 1.0, -1.0)
    value = np.where(below, south_weight * _gauss(south_width * (theta / PI - 1)), sign * np.where(angles.around, wave, 0.0).sum(-1))
    ahead = angles.weight[:, :, None] - angles.weight[:, None, :]
    share = np.where(np.abs(ahead) < TIE, 0.5, ahead > 0)
    return np.where(angles.different, share * value, 0.0).sum((1, 2)) / (0.5 * n * (6 + (n - 2) * (n - 3)))


def _steinhardt(angles: Angles, degree: int) -> np.ndarray:
    """q_l^2 = sum over j, k of P_l(cos theta_jk) / n^2."""
    mean = np.polynomial.legendre.Legendre.basis(int(degree))(angles.cosine).mean((1, 2))
    return np.sqrt(np.maximum(mean, 0.0))


_FORMS = {"single": _single, "bent": _bent, "cone": _cone, "equator": _equator, "pentagon": _pentagon, "bipyramid": _bipyramid,
          "cuboctahedron": _cuboctahedron, "bcc": _bcc, "steinhardt": _steinhardt}
