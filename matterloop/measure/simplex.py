"""The lowest mixture of phases at many compositions in many chemical systems at once, without building any hull.

At a composition x the hull's energy is the linear program min Σ λ_i e_i with Σ λ_i x_i = x, λ >= 0; as many phases as elements carry it. All programs of a
batch take their steps of the revised simplex method together: G. B. Dantzig, W. Orchard-Hays, "The product form for the inverse in the simplex method",
Math. Comp. 8, 64 (1954), doi:10.1090/S0025-5718-1954-0061469-8. The elements are a first basis, since x lies between them. Ties that could circle:
R. G. Bland, "New finite pivoting rules for the simplex method", Math. Oper. Res. 2, 103 (1977), doi:10.1287/moor.2.2.103.

Every number of a program comes from sums over its own rows in a fixed order, so that no answer depends on the batch.
"""

from __future__ import annotations

import numpy as np

REDUCED = 1e-11  # eV/atom: a phase must lie this far below the plane to enter
PIVOT = 1e-10  # shares change by at least this per share of an entering phase for a phase to leave
TIE = 1e-12  # of shares
GREEDY = 40  # steps by the steepest rule before Bland's, which cannot circle
MOST_STEPS = 2000


def lowest_mixtures(x: np.ndarray, fractions: np.ndarray, energies: np.ndarray, system: np.ndarray,
                    without: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(phases (q, k), shares (q, k), solved (q,) bool): the phases that carry the lowest mixture at each composition, and their atomic shares.

    x          (q, k) atomic fractions, each row sums to 1; a system of fewer elements has columns of zeros
    fractions  (s, p, k) atomic fractions of the phases of s chemical systems; the first k phases of each are its elements in order
    energies   (s, p) eV/atom relative to the elements; inf leaves a phase out and fills systems of fewer phases or elements
    system     (q,) the system of each query
    without    (q, p) phases that a query leaves out, never elements
    Unsolved are programs that did not end within MOST_STEPS; their shares say nothing.
    """
    count, k = x.shape
    columns = np.ascontiguousarray(fractions.transpose(2, 0, 1))
    basis = np.tile(np.arange(k), (count, 1))
    inverse = np.tile(np.eye(k), (count, 1, 1))  # (q, i, j): what a unit of element j adds to the share of the i-th phase of the basis
    shares, cost = x.copy(), np.zeros((count, k))
    solved = np.zeros(count, dtype=bool)
    at = np.arange(count)  # queries still at work
    for step in range(MOST_STEPS):
        place = system[at]
        prices = ordered_sum(cost[at][:, :, None] * inverse[at], 1)
        reduced = energies[place]
        for j in range(k):
            reduced -= prices[:, j, None] * columns[j, place]
        if without is not None:
            reduced[without[at]] = np.inf
        entering = reduced.argmin(1) if step < GREEDY else (reduced < -REDUCED).argmax(1)
        better = reduced[np.arange(len(at)), entering] < -REDUCED
        solved[at[~better]] = True
        at, entering, place = at[better], entering[better], place[better]
        if not len(at):
            break
        change = ordered_sum(inverse[at] * fractions[place, entering][:, None, :], 2)  # of the shares, per share of the entering phase
        reach = np.full(change.shape, np.inf)
        np.divide(np.maximum(shares[at], 0.0), change, out=reach, where=change > PIVOT)
        ties = reach <= reach.min(1)[:, None] + TIE
        leaving = np.where(ties, -change if step < GREEDY else basis[at], np.inf).argmin(1)  # the largest pivot, or Bland's lowest number
        row = np.arange(len(at))
        pivot, length = change[row, leaving], reach[row, leaving]
        if (lost := ~(pivot > PIVOT)).any():  # cannot be while shares sum to 1; if precision is gone the program is left unsolved
            at, entering, place, change, leaving, pivot, length = (a[~lost] for a in (at, entering, place, change, leaving, pivot, length))
        fresh = inverse[at, leaving] / pivot[:, None]
        inverse[at] -= change[:, :, None] * fresh[:, None, :]
        inverse[at, leaving] = fresh
        shares[at] -= change * length[:, None]
        shares[at, leaving], basis[at, leaving], cost[at, leaving] = length, entering, energies[place, entering]
    rest = x - ordered_sum(shares[:, :, None] * fractions[system[:, None], basis], 1)
    shares += ordered_sum(inverse * rest[:, None, :], 2)  # what rounding of the steps left
    return basis, np.maximum(shares, 0.0), solved


def ordered_sum(terms: np.ndarray, axis: int) -> np.ndarray:
    """Sum along a short axis, term by term: the same order whatever the shape of the rest."""
    before = (slice(None),) * axis
    total = terms[*before, 0].copy()
    for j in range(1, terms.shape[axis]):
        total += terms[*before, j]
    return total
