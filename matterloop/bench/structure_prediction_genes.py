"""Genes from any source as further guesses of a structure prediction: joined with the analogues by score, placed with what val alone teaches.

A file of JSON lines, one for each gene: {"composition": {"11": 4, "17": 4}, "gene": "225:Na_a.Cl_b", "score": 0.03}; composition: atoms of the primitive cell by
atomic number; score: the chance that the crystal has this gene, on the same scale as the gain of an analogue.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from ..base.errors import BadInput, MatterloopError
from ..crystal.state import Crystals
from ..crystal.symmetry import Symmetry, analyse
from ..crystal.wyckoff import Parameters, free_parameters, from_parameters
from ..generate.analogue_fitting import Fitted
from ..generate.fitting import contacts
from ..generate.placement import Placer
from ..generate.retrieval import Library
from ..generate.similarity import KEPT
from ..represent.wyckoff_gene import Gene

Key = tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class PlacedGene:
    """A gene with a geometry; `gain` is its score."""

    gene: Gene
    gain: float
    placed: Crystals

    def crystal(self, volume: float) -> Crystals:
        """The crystal at `volume` Å^3 per atom."""
        return self.placed.put(cell=self.placed.cell * (volume * self.placed.atoms / float(self.placed.volume[0])) ** (1 / 3))


def read_genes(path: Path) -> dict[Key, list[tuple[Gene, float]]]:
    """{sorted composition: [(gene, score), ...] best first} of a file; BadInput naming file and row, also where a gene does not hold its composition."""
    found: dict[Key, list[tuple[Gene, float]]] = defaultdict(list)
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            composition = tuple(sorted((int(z), int(n)) for z, n in row["composition"].items()))
            gene, score = Gene.parse(row["gene"]), float(row["score"])
        except (KeyError, TypeError, AttributeError, ValueError, MatterloopError) as error:
            raise BadInput(f"row {number} is no gene with composition and score: {error}", str(path)) from None
        if tuple(gene.composition.items()) != composition:
            raise BadInput(f"row {number}: {gene.text} holds {gene.composition}, its composition is {dict(composition)}", str(path))
        found[composition].append((gene, score))
    return {key: sorted(rows, key=lambda r: -r[1]) for key, rows in found.items()}


def parameters_of(fitted: Fitted, path: Path) -> tuple[list[str], list[Parameters]]:
    """Names and free parameters of the known crystals, kept in a file since finding them takes minutes."""
    if not path.exists():
        rows = []
        for m in fitted.members:
            symmetry = analyse(Crystals.of(m.frac, np.array(m.species)[m.slot], m.cell), 0.01, on_error="keep")[0]
            try:
                (p,) = free_parameters(symmetry) if isinstance(symmetry, Symmetry) else ()
            except ValueError:  # no symmetry, or an atom off its position: no prototype
                continue
            rows.append([m.name, p.space_group, list(p.lattice), [[letter, z, list(v)] for letter, z, v in p.sites]])
        path.write_text(json.dumps(rows), encoding="utf-8")
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [r[0] for r in rows], [Parameters(r[1], tuple(r[2]), tuple((s, z, tuple(v)) for s, z, v in r[3])) for r in rows]


def placer(fitted: Fitted, folder: Path) -> Placer:
    """Placement with library, similarity, volumes and contacts of the known crystals. Genes that no known crystal resembles are not placed: cells for
    them are drawn from a shipped table, which may not be read here."""
    names, known = parameters_of(fitted, folder / "parameters.json")
    table = np.full((119, 119), -4.0)
    table[: len(fitted.similarity), : len(fitted.similarity)] = fitted.similarity
    np.fill_diagonal(table, KEPT)
    near = contacts([SimpleNamespace(parents=m.species, label=m.slot, frac=m.frac, cell=m.cell) for m in fitted.members])
    usual = lambda species: near[np.ix_(np.minimum(species, len(near) - 1), np.minimum(species, len(near) - 1))]
    volume = lambda gene, parent: fitted.modelled(gene.composition) * math.exp(fitted.excess.get(gene.anonymous, 0.0))
    return Placer(Library(known, names), similarity=table, volume=volume, contacts=usual, network=None, ways=("prototype",))


class GeneSource:
    """Placed genes for a composition; a gene is placed when first asked for, always in the same way."""

    def __init__(self, path: Path, fitted: Fitted, folder: Path, seed: int = 0):
        self.genes, self.seed = read_genes(path), seed
        self._placer = placer(fitted, folder)

    def __call__(self, composition: Mapping[int, int], known: Sequence[str], count: int) -> list[PlacedGene]:
        """At most `count` placed genes, best first, without those whose keys are among `known`."""
        out = []
        for gene, score in self.genes.get(tuple(sorted(composition.items())), ()):
            if len(out) == count:
                break
            if gene.key in known:
                continue
            for start in self._placer.place([gene], self.seed, lambda g: 1)[0]:
                (symmetry,) = analyse(from_parameters(start.parameters), 0.001, on_error="keep")
                if isinstance(symmetry, Symmetry) and symmetry.primitive.atoms == gene.atoms:
                    out.append(PlacedGene(gene, score, symmetry.primitive))
        return out


def joined(guesses: Sequence, more: Sequence[PlacedGene], count: int) -> list:
    """The first `count` of both by falling gain; of equal gains the analogue first."""
    return sorted([*guesses, *more], key=lambda g: -g.gain)[:count]
