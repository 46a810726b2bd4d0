"""The relaxed structures that ship, labelled on the shipped hull of the same potential: what the default generator and its predictors train on.

Energies ship, labels do not: formation energy and energy above hull follow from the reference at hand each time the table is read, and cannot go stale.
Where the reference lacks phases that matter an energy above hull is a lower bound: `covered` says where.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cache

import numpy as np

from ..archive import shipped
from ..crystal.composition import reduced
from ..crystal.wyckoff import Parameters
from ..learn.gene_table import GeneTable, of_compounds, read_rows
from .reference import coverage, reference_hull

POTENTIAL = "chgnet"
COMPOUNDS, GENES, FILES = f"compounds_{POTENTIAL}", f"genes_{POTENTIAL}", "material_files"


@cache
def shipped_genes() -> GeneTable:
    """Every shipped structure that our engine has relaxed, kept for the process: the reference's compounds, then the rest.

    Takes some seconds. BadInput naming file, row and field where a table is broken.
    """
    held = shipped.list_shipped()
    frames = {f"{COMPOUNDS}.parquet": of_compounds(shipped.read_table(COMPOUNDS))}
    if GENES in held:
        frames[f"{GENES}.parquet"] = shipped.read_table(GENES)
    return read_rows(frames, levels, shipped.read_table(FILES) if FILES in held else None)


@cache
def shipped_keys() -> frozenset[str]:
    """Keys of the genes of all rows of the shipped tables, published and relaxed, without reading anything else of them."""
    held = shipped.list_shipped()
    compounds = shipped.read_table(COMPOUNDS, columns=["gene", "relaxed_gene"])
    found = set(compounds.gene) | set(compounds.relaxed_gene)
    if GENES in held:
        found |= set(shipped.read_table(GENES, columns=["gene"]).gene)
    return frozenset(found - {""})


def levels(compositions: Sequence[Mapping[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """(energy of the elements, energy of the hull) in eV/atom at each composition {atomic number: count}; nan where an element has no reference."""
    hull, zero = reference_hull(POTENTIAL), np.zeros(len(compositions))
    return -hull.formation_energy(compositions, zero), -hull.energy_above(compositions, zero, missing="report").above


def labelled(ids: Sequence[str], source: str | Sequence[str], parameters: Sequence[Parameters], energies: Sequence[float],
             splits: Sequence[Collection[str]] | None = None) -> GeneTable:
    """A table of structures that have just been relaxed with the potential, eV/atom, labelled as the shipped ones; see `GeneTable.of`."""
    return GeneTable.of(ids, source, parameters, energies, levels, splits=splits)


def covered(table: GeneTable) -> np.ndarray:
    """(rows,) share of the phases which the hull of the Materials Project names at each composition that the reference holds; 1: `above_hull` can be relied on.

    About 2 ms for every distinct composition.
    """
    found: dict[tuple[tuple[int, int], ...], float] = {}
    out = np.empty(len(table))
    for i, gene in enumerate(table.genes()):
        if (formula := reduced(gene.composition)) not in found:
            found[formula] = coverage(dict(formula))[0]
        out[i] = found[formula]
    return out
