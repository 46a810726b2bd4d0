"""What a network over genes has to beat: energies from the composition, from the structure type, and from the most similar member of the type.

Composition: gradient boosting (scikit-learn's histogram method after G. Ke et al., NeurIPS 2017) on statistics of element properties, the recipe of L. Ward et
al., npj Comput. Mater. 2, 16028 (2016). Neighbour: the known crystal of the same structure type that differs by the likeliest swaps (H. Glawe et al.,
New J. Phys. 18, 093011 (2016)), plus what the composition model says the swaps change:

    E(gene) = E(neighbour) + C(gene) - C(neighbour)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from ..crystal.space_groups import LETTERS
from ..represent.wyckoff_gene import Gene, relabellings
from .gene_energy_network import MAX_Z, Sites, element_table

STATISTICS = 9  # leading columns of the element table that statistics are taken of; the rest are classes and eigenvectors
MOST_SETTINGS = 48  # equivalent settings in which a neighbour is looked for


def fractions(sites: Sites) -> np.ndarray:
    """(genes, 95) share of the atoms of each element."""
    width = MAX_Z + 1
    amounts = np.bincount(sites.owner * width + sites.species, sites.atoms, len(sites) * width).reshape(len(sites), width)
    return amounts / amounts.sum(1, keepdims=True)


def composition_features(x: np.ndarray) -> np.ndarray:
    """(genes, columns) of atomic shares `x` (genes, 95): mean, mean deviation, smallest and largest of element properties, shares of classes, number of
    elements, largest and smallest share."""
    table = element_table()
    mean = x @ table
    held = x > 0
    low, high, deviation = (np.empty((len(x), STATISTICS)) for _ in range(3))
    for c in range(STATISTICS):
        column = table[:, c]
        low[:, c] = np.where(held, column, np.inf).min(1)
        high[:, c] = np.where(held, column, -np.inf).max(1)
        deviation[:, c] = (x * np.abs(column - mean[:, c : c + 1])).sum(1)
    return np.column_stack([mean, deviation, low, high, held.sum(1), x.max(1), np.where(held, x, 2).min(1)]).astype(np.float32)


class CompositionEnergy:
    """Formation energy (eV/atom) from the composition alone."""

    def __init__(self, rounds: int = 250, rate: float = 0.1, seed: int = 0):
        from sklearn.ensemble import HistGradientBoostingRegressor

        self.model = HistGradientBoostingRegressor(max_iter=rounds, learning_rate=rate, max_leaf_nodes=31, l2_regularization=1.0, random_state=seed)

    def fit(self, x: np.ndarray, energy: np.ndarray) -> CompositionEnergy:
        """From shares (genes, 95) and eV/atom (genes,)."""
        self.model.fit(composition_features(x), energy)
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(genes,) eV/atom of shares (genes, 95)."""
        return self.model.predict(composition_features(x))


class TypeMean:
    """Mean formation energy (eV/atom) of the known crystals of the same structure type, of all crystals for an unknown type."""

    def __init__(self, types: Sequence[str], energy: np.ndarray):
        held = defaultdict(list)
        for name, e in zip(types, energy, strict=True):
            held[name].append(e)
        self.known = {name: float(np.mean(e)) for name, e in held.items()}
        self.all = float(np.mean(energy))

    def predict(self, types: Sequence[str]) -> np.ndarray:
        """(genes,) eV/atom."""
        return np.array([self.known.get(name, self.all) for name in types])


class Neighbours:
    """The most similar known gene of the same structure type.

    genes, energy  known genes and their formation energies, eV/atom
    similarity     (119, 119) ln of observed over expected swaps of elements, see generate/similarity.py
    """

    def __init__(self, genes: Sequence[Gene], energy: np.ndarray, similarity: np.ndarray):
        self.energy, self.similarity = np.asarray(energy), similarity
        held: dict[tuple, list[tuple[int, tuple[int, ...]]]] = defaultdict(list)
        for row, gene in enumerate(genes):
            kind, species = _kind(gene.space_group, _filling(gene))
            held[kind].append((row, species))
        self._held = {kind: (np.array([r for r, _ in rows]), np.array([s for _, s in rows])) for kind, rows in held.items()}

    def nearest(self, gene: Gene) -> tuple[int, float]:
        """(row of the most similar known gene, summed ln likelihood of the swaps); (-1, -inf) where the structure type is unknown."""
        best, filling = (-1, -np.inf), _filling(gene)
        for relabelling in relabellings(gene.space_group)[:MOST_SETTINGS]:
            kind, species = _kind(gene.space_group, [(z, tuple(sorted(relabelling[i] for i in letters))) for z, letters in filling])
            if kind in self._held:
                rows, members = self._held[kind]
                score = self.similarity[members, np.array(species)].sum(1)
                at = int(score.argmax())
                if score[at] > best[1]:
                    best = int(rows[at]), float(score[at])
        return best

    def predict(self, genes: Sequence[Gene], of_composition: np.ndarray, of_known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(genes,) eV/atom, nan where the type is unknown, and (genes,) scores of the swaps.

        of_composition, of_known  what the composition model says of `genes` and of the known genes
        """
        found = [self.nearest(g) for g in genes]
        rows, score = np.array([r for r, _ in found], dtype=np.int64), np.array([s for _, s in found])
        return np.where(rows < 0, np.nan, self.energy[rows] + of_composition - of_known[rows]), score


def _filling(gene: Gene) -> list[tuple[int, tuple[int, ...]]]:
    """(element, letters it holds by index) of a gene."""
    held: dict[int, list[int]] = {}
    for letter, z in gene.sites:
        held.setdefault(z, []).append(LETTERS.index(letter))
    return [(z, tuple(sorted(letters))) for z, letters in held.items()]


def _kind(space_group: int, filling) -> tuple[tuple, tuple[int, ...]]:
    """(structure type in this setting, elements in its order)."""
    ordered = sorted(filling, key=lambda f: (f[1], f[0]))
    return (space_group, tuple(letters for _, letters in ordered)), tuple(z for z, _ in ordered)
