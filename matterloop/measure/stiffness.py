"""A model of how stiff a crystal is: springs between near atoms, one number per element, fitted to Hessians of CHGNet.

Relaxation uses it as the first guess of the Hessian (optimizers.py), a preconditioner in the sense of D. Packwood, J. Kermode, L. Mones, N. Bernstein,
J. Woolley, N. Gould, C. Ortner, G. Csányi, J. Chem. Phys. 144, 164109 (2016), doi:10.1063/1.4947024: their exponential spring, here with a strength
from both elements, a weaker spring across the bond, and the cell's strain as further coordinates. Fit: recipes/fit_stiffness.py.

For atoms i, j at distance r (vector r_ij, unit vector n), displacements u and symmetric strain W
    k    = exp(a_i + a_j - decay r) fade(r),   fade = (1 - (r/REACH)^2)^2
    d    = u_j - u_i + W r_ij
    2 E  = sum over pairs of k (across |d|^2 + (1 - across) (n·d)^2)  +  sum over atoms of site |u|^2  +  volume V (tr W)^2  +  shear V |W|^2
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from ..archive import shipped

REACH = 6.0  # Å, springs end here
# orthonormal basis of symmetric matrices: strain W = sum_k w_k STRAINS[k]
STRAINS = np.zeros((6, 3, 3))
for _k, (_i, _j) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
    STRAINS[_k, _i, _j] = STRAINS[_k, _j, _i] = 1.0 if _i == _j else 0.5**0.5


@dataclass(frozen=True)
class Springs:
    """The numbers of the model.

    log_strength  (MAX_Z + 1,) a of each element by atomic number, ln of eV/Å^2 halved
    decay         1/Å; across: dimensionless; site: eV/Å^2; volume, shear: eV/Å^3
    """

    log_strength: np.ndarray
    decay: float
    across: float
    site: float
    volume: float
    shear: float

    @staticmethod
    @cache
    def shipped() -> Springs:
        """The fitted numbers that come with the package; elements without data have the mean of the others."""
        held = shipped.read_json("spring_stiffness")
        return Springs(np.array(held["log_strength"]), *(float(held[k]) for k in ("decay", "across", "site", "volume", "shear")))

    def hessian(self, species: np.ndarray, i: np.ndarray, j: np.ndarray, vectors: np.ndarray, cell_volume: float) -> np.ndarray:
        """(3 n + 6, 3 n + 6) second derivatives by Cartesian displacements, atom by atom, then strain in STRAINS; eV, Å.

        species  (n,) atomic numbers;  i, j (pairs,) every pair of images within REACH once;  vectors (pairs, 3) from i to j in Å
        """
        n = len(species)
        k, unit = self._strength(species, i, j, vectors)
        block = (k * (1 - self.across))[:, None, None] * unit[:, :, None] * unit[:, None, :]
        block[:, [0, 1, 2], [0, 1, 2]] += (k * self.across)[:, None]  # (pairs, 3, 3) of a spring
        strained = (STRAINS @ vectors.T).transpose(2, 1, 0)  # (pairs, 3, 6) change of the vector by each strain
        mixed = block @ strained
        between = np.zeros((n * n, 9))
        flat = block.reshape(-1, 9)
        for places, sign in ((i * n + i, 1), (j * n + j, 1), (i * n + j, -1), (j * n + i, -1)):
            _add(between, places, flat * sign)
        coupled = np.zeros((n, 18))
        _add(coupled, j, mixed.reshape(-1, 18))
        _add(coupled, i, -mixed.reshape(-1, 18))
        out = np.empty((3 * n + 6, 3 * n + 6))
        out[: 3 * n, : 3 * n] = between.reshape(n, n, 3, 3).transpose(0, 2, 1, 3).reshape(3 * n, 3 * n)
        out[: 3 * n, 3 * n :] = coupled.reshape(3 * n, 6)
        out[3 * n :, : 3 * n] = out[: 3 * n, 3 * n :].T
        out[3 * n :, 3 * n :] = np.tensordot(strained, mixed, axes=((0, 1), (0, 1)))
        out[np.arange(3 * n), np.arange(3 * n)] += self.site
        trace = np.array([1.0, 1, 1, 0, 0, 0])
        out[3 * n :, 3 * n :] += cell_volume * (self.volume * np.outer(trace, trace) + self.shear * np.eye(6))
        return out

    def diagonal(self, species: np.ndarray, i: np.ndarray, j: np.ndarray, vectors: np.ndarray, cell_volume: float) -> np.ndarray:
        """(3 n + 6,) about the diagonal of `hessian`, the same for all directions of an atom and for all strains; for crystals of very many atoms."""
        k, _ = self._strength(species, i, j, vectors)
        mean = (1 + 2 * self.across) / 3 * k
        here = i != j
        atoms = np.bincount(i[here], mean[here], len(species)) + np.bincount(j[here], mean[here], len(species)) + self.site
        strain = (mean * (vectors * vectors).sum(1)).sum() / 3 + cell_volume * (self.volume + self.shear)
        return np.concatenate([np.repeat(atoms, 3), np.full(6, strain)])

    def _strength(self, species: np.ndarray, i: np.ndarray, j: np.ndarray, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """k (pairs,) and unit vectors (pairs, 3)."""
        square = (vectors * vectors).sum(1)
        length = np.sqrt(square)
        fade = np.maximum(1 - square / REACH**2, 0.0) ** 2
        return np.exp(self.log_strength[species[i]] + self.log_strength[species[j]] - self.decay * length) * fade, vectors / length[:, None]


def _add(total: np.ndarray, rows: np.ndarray, values: np.ndarray) -> None:
    """total[rows] += values, rows repeated or not, in the order given."""
    width = total.shape[1]
    total += np.bincount((rows[:, None] * width + np.arange(width)).ravel(), values.ravel(), total.size).reshape(total.shape)
