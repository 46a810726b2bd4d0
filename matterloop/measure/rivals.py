"""The phases that can carry a mixture, as arrays: of one chemical system, and of many at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

NEGATIVE = -1e-11  # eV/atom; a formation energy above this cannot shape the hull
SLOTS = 128  # above every atomic number
System = tuple[int, ...]


class Rivals:
    """The lowest phase of each composition if it lies below its elements, by chemical system.

    fractions  {atomic number: atomic fraction} of every phase, sorted by number
    energies   (phases,) eV/atom
    lowest     composition key -> number of its lowest phase; elements under ((z, 1.0),)

    zero       (SLOTS,) eV/atom of the reference of each element, 0 where there is none
    formation  (phases,) eV/atom relative to these; without meaning where an element has no reference
    """

    def __init__(self, fractions: Sequence[Mapping[int, float]], energies: np.ndarray, lowest: Mapping[tuple, int]):
        self.elements = {key[0][0]: i for key, i in lowest.items() if len(key) == 1}
        self.zero = np.zeros(SLOTS)
        for z, i in self.elements.items():
            self.zero[z] = energies[i]
        sizes = [len(f) for f in fractions]
        width = max(sizes, default=1)
        self._species, self._shares = np.zeros((len(sizes), width), dtype=np.int64), np.zeros((len(sizes), width))
        used = np.arange(width) < np.array(sizes, dtype=np.int64)[:, None]
        self._species[used] = [z for f in fractions for z in f]
        self._shares[used] = [x for f in fractions for x in f.values()]
        self.formation = energies - (self._shares * self.zero[self._species]).sum(1)
        below = self.formation < NEGATIVE
        found: dict[System, list[int]] = {}
        for key, i in lowest.items():
            if len(key) > 1 and below[i]:
                found.setdefault(tuple(z for z, _ in key), []).append(i)
        self._inside = {system: np.sort(numbers) for system, numbers in found.items()}
        self._listed: dict[System, np.ndarray] = {}

    def phases(self, system: System) -> np.ndarray:
        """Numbers of the elements of a system in order, then of every phase within it that can carry a mixture."""
        if system not in self._listed:
            rivals = self._inside
            if 2 ** len(system) > len(rivals):
                inside = [found for s, found in rivals.items() if set(s) <= set(system)]
            else:
                inside = [rivals[s] for k in range(2, len(system) + 1) for s in combinations(system, k) if s in rivals]
            self._listed[system] = np.concatenate([np.array([self.elements[z] for z in system], dtype=np.int64), *inside])
        return self._listed[system]

    def relative(self, system: System, phases: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Fractions (p, k) and energies (p,) relative to the elements, of `phases` that begin with the k elements of `system`."""
        column = np.full(SLOTS, len(system))
        column[list(system)] = range(len(system))
        x = np.zeros((len(phases), len(system) + 1))
        for j in range(self._species.shape[1]):
            x[np.arange(len(phases)), column[self._species[phases, j]]] += self._shares[phases, j]
        energies = self.formation[phases]
        energies[: len(system)] = 0.0
        return x[:, : len(system)], energies

    def together(self, systems: Sequence[System]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Phases (s, p) of several systems, their energies relative to the elements (s, p) and fractions (s, p, k): each has its elements first, systems of fewer
        elements have empty ones beside them, and an energy of inf fills up."""
        listed = [self.phases(s) for s in systems]
        k = max(map(len, systems))
        sizes = np.array([len(p) - len(s) for s, p in zip(systems, listed, strict=True)])
        wide = k + int(sizes.max())
        phases, column = np.zeros((len(listed), wide), dtype=np.int64), np.full((len(listed), SLOTS), k)
        for n, (s, p) in enumerate(zip(systems, listed, strict=True)):
            phases[n, : len(s)], phases[n, k : k + sizes[n]] = p[: len(s)], p[len(s) :]
            column[n, list(s)] = range(len(s))
        places = np.arange(wide)
        used = (places >= k) & (places < k + sizes[:, None])
        energies = np.where(used, self.formation[phases], np.inf)
        energies[:, :k] = np.where(np.arange(k) < np.array([len(s) for s in systems])[:, None], 0.0, np.inf)
        shares = np.zeros((*phases.shape, k + 1))
        n, p = used.nonzero()
        for j in range(min(k, self._species.shape[1])):  # no phase has more elements than its system
            shares[n, p, column[n, self._species[phases[n, p], j]]] += self._shares[phases[n, p], j]
        shares = np.ascontiguousarray(shares[:, :, :k])
        shares[:, :k] = np.eye(k)
        return phases, energies, shares
