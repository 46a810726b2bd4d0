"""The lower convex hull of energies over compositions, as facets that answer many queries at once.

Facets: C. B. Barber, D. P. Dobkin, H. Huhdanpaa, "The Quickhull algorithm for convex hulls", ACM Trans. Math. Softw. 22, 469 (1996),
doi:10.1145/235815.235821. Beyond MOST_DIMENSIONS elements facets are too many, and each query is a linear program:
min Σ λ_i e_i with Σ λ_i x_i = x, λ >= 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MOST_DIMENSIONS = 5  # elements
TOLERANCE = 1e-9  # of composition and eV/atom


@dataclass(frozen=True)
class Facets:
    """Lower hull of p phases in a system of k elements.

    fractions  (p, k) atomic fractions; the first k phases are the elements in order
    energies   (p,)   formation energies in eV/atom, 0 for the elements, below 0 for the others
    corners    (f, k) phases at the corners of each facet, None where queries are linear programs
    planes     (f, k) chemical potentials: energy of the facet's plane at x is planes @ x
    inverse    (f, k, k) x @ inverse = shares of the corners
    """

    fractions: np.ndarray
    energies: np.ndarray
    corners: np.ndarray | None = None
    planes: np.ndarray | None = None
    inverse: np.ndarray | None = None

    @staticmethod
    def of(fractions: np.ndarray, energies: np.ndarray) -> Facets:
        """Facets of phases whose first k are the elements; `fractions` (p, k), `energies` (p,) relative to the elements."""
        k = fractions.shape[1]
        if k > MOST_DIMENSIONS:
            return Facets(fractions, energies)
        if len(energies) == k:  # elements only: one facet, at zero
            return Facets(fractions, energies, np.arange(k)[None], np.zeros((1, k)), np.eye(k)[None])
        from scipy.spatial import ConvexHull, QhullError

        # a phase far above the middle makes every point set full-dimensional; facets that touch it, and vertical ones, are not part of the lower hull
        points = np.vstack([np.column_stack([fractions[:, 1:], energies]), [*np.full(k - 1, 1 / k), 1.0]])
        try:
            hull = ConvexHull(points)
        except QhullError:  # phases too close to coplanar for its precision; the linear program does not mind
            return Facets(fractions, energies)
        lower = (hull.equations[:, -2] < -1e-10) & (hull.simplices < len(energies)).all(1)
        corners, equations = hull.simplices[lower], hull.equations[lower]
        matrix = fractions[corners]
        solid = np.abs(np.linalg.det(matrix)) > 1e-12  # coplanar phases leave slivers that cover nothing
        corners, equations, matrix = corners[solid], equations[solid], matrix[solid]
        slope = -np.column_stack([np.zeros(len(corners)), equations[:, : k - 1]]) - equations[:, -1:]
        return Facets(fractions, energies, corners, slope / equations[:, -2:-1], np.linalg.inv(matrix))

    def decompose(self, x: np.ndarray) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
        """Hull energies (q,) in eV/atom at compositions `x` (q, k), and for each the phases below it and their shares (atomic, summing to 1)."""
        if self.corners is None:
            answers = [(np.arange(len(self.energies)), self.programme(row)) for row in x]
        else:
            height = x @ self.planes.T
            best = height.argmax(1)
            shares = np.einsum("qk,qkc->qc", x, self.inverse[best])
            answers = []
            for i, facet in enumerate(best):
                if shares[i].min() > -TOLERANCE:
                    answers.append((self.corners[facet], shares[i]))
                else:
                    near = np.unique(self.corners[height[i] > height[i, facet] - 1e-7])
                    answers.append(self._combine(x[i], near))
        tidy = []
        for phases, share in answers:
            keep = share > TOLERANCE
            tidy.append((phases[keep], share[keep] / share[keep].sum()))
        return np.array([share @ self.energies[phases] for phases, share in tidy]), tidy

    def _combine(self, x: np.ndarray, phases: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Shares of coplanar `phases` that make up `x`, non-negative."""
        from scipy.optimize import nnls

        share, rest = nnls(self.fractions[phases].T, x)
        return (phases, share) if rest < 1e-8 else (np.arange(len(self.energies)), self.programme(x))

    def programme(self, x: np.ndarray) -> np.ndarray:
        """(p,) shares of the lowest mixture at one composition `x` (k,), by scipy's linear program."""
        from scipy.optimize import linprog

        answer = linprog(self.energies, A_eq=self.fractions.T, b_eq=x, bounds=(0, None), method="highs-ds")
        return answer.x

    @property
    def vertices(self) -> np.ndarray:
        """Phases that are corners of the lower hull; those that lie on a facet without being a corner are left out."""
        if self.corners is None:
            energies, tidy = self.decompose(self.fractions)
            return np.array([i for i, (phases, share) in enumerate(tidy) if i in phases[share > 1 - 1e-6]])
        return np.unique(self.corners)
