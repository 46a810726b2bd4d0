"""Are two crystals the same? pymatgen's StructureMatcher with every structure reduced once, and cheap answers where they cannot differ.

Criterion: StructureMatcher(ltol=0.2, stol=0.3, angle_tol=5, primitive_cell=True, scale=True), Ong et al., Comput. Mater. Sci. 68, 314 (2013).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from .composition import compositions, reduced
from .state import Crystals


@dataclass(frozen=True)
class Tolerance:
    """Tolerances of StructureMatcher: relative length, site distance over (V/N)^(1/3), angle in degrees."""

    length: float = 0.2
    site: float = 0.3
    angle: float = 5.0
    primitive: bool = True
    scale: bool = True


@dataclass(frozen=True, eq=False)
class Prepared:
    """A crystal made ready for many comparisons: its reduced composition now, its reduced structure when first needed."""

    crystal: Crystals
    composition: tuple[tuple[int, int], ...]
    tolerance: Tolerance = field(default_factory=Tolerance)

    @cached_property
    def structure(self) -> Any:
        """The Niggli-reduced primitive pymatgen structure, sites sorted by species as StructureMatcher wants them."""
        from .formats import to_pymatgen

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = to_pymatgen(self.crystal)[0].get_reduced_structure(reduction_algo="niggli")
            found = found.get_primitive_structure() if self.tolerance.primitive else found
            return found.get_sorted_structure(key=lambda site: site.specie.Z)


def prepare(crystals: Crystals, tolerance: Tolerance = Tolerance()) -> list[Prepared]:
    """One `Prepared` for every crystal of the batch."""
    return [Prepared(one, reduced(c), tolerance) for one, c in zip(crystals.bare(), compositions(crystals), strict=True)]


def _matcher(tolerance: Tolerance):
    from pymatgen.core.structure_matcher import StructureMatcher

    return StructureMatcher(ltol=tolerance.length, stol=tolerance.site, angle_tol=tolerance.angle, primitive_cell=tolerance.primitive, scale=tolerance.scale)


def same(a: Prepared, b: Prepared) -> bool:
    """Whether StructureMatcher.fit calls the two crystals the same.

    Different reduced compositions, or different numbers of sites after reduction, are answered without it: it answers no to both.
    """
    if a.composition != b.composition or len(a.structure) != len(b.structure):
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bool(_matcher(a.tolerance).fit(a.structure, b.structure, skip_structure_reduction=True))


def rms(a: Prepared, b: Prepared) -> tuple[float, float] | None:
    """(root mean square, largest) site distance over (V/N)^(1/3) of the best match, None without a match."""
    if a.composition != b.composition or len(a.structure) != len(b.structure):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = _matcher(a.tolerance).get_rms_dist(a.structure, b.structure)
    return None if found is None else (float(found[0]), float(found[1]))


def groups(prepared: Sequence[Prepared]) -> list[list[int]]:
    """Indices of equal crystals, greedy in the given order: each joins the first group whose first member it matches."""
    found: list[list[int]] = []
    by_composition: dict[tuple, list[list[int]]] = {}
    for i, one in enumerate(prepared):
        rivals = by_composition.setdefault(one.composition, [])
        home = next((g for g in rivals if same(prepared[g[0]], one)), None)
        if home is None:
            home = []
            rivals.append(home)
            found.append(home)
        home.append(i)
    return found
