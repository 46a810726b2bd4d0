"""Are two crystals the same? pymatgen's StructureMatcher with every structure reduced once, and cheap answers where they cannot differ.

Criterion: StructureMatcher(ltol=0.2, stol=0.3, angle_tol=5, primitive_cell=True, scale=True), Ong et al., Comput. Mater. Sci. 68, 314 (2013).
Near its tolerances that criterion depends on the order of its two arguments and on the order of atoms; so the older or known crystal is always
the first argument here, as in StructureMatcher.group_structures, and atoms stay in the order in which they were given.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

from ..base.errors import BadInput
from .composition import compositions, reduced
from .gate import Limits, problems
from .state import Crystals

SOUND = Limits(lengths=(0.5, 200.0), angles=(1.0, 179.0), volume_per_atom=(1.0, 1000.0), min_distance=0.3)  # beyond these pymatgen may ask for gigabytes


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
    def given(self) -> Any:
        """The pymatgen structure as it stands. BadInput where it does not repeat along three axes or its geometry is beyond `SOUND`."""
        from .formats import to_pymatgen

        if not bool(self.crystal.periodic.all()):
            raise BadInput("it does not repeat along three axes and cannot be compared with crystals", "matching")
        if why := problems(self.crystal, SOUND).get(0):
            raise BadInput(f"it cannot be compared: {why}", "matching")
        return to_pymatgen(self.crystal)[0]

    @cached_property
    def structure(self) -> Any:
        """The Niggli-reduced primitive pymatgen structure, as StructureMatcher makes it. Errors as `given`."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = self.given.get_reduced_structure(reduction_algo="niggli")
            return found.get_primitive_structure() if self.tolerance.primitive else found

    @property
    def sites(self) -> int:
        """Atoms of the reduced structure. Errors as `given`."""
        return len(self.structure)


def prepare(crystals: Crystals, tolerance: Tolerance = Tolerance()) -> list[Prepared]:
    """One `Prepared` for every crystal of the batch; nothing is reduced yet."""
    return [Prepared(one, reduced(c), tolerance) for one, c in zip(crystals.bare(), compositions(crystals), strict=True)]


@cache
def _matcher(tolerance: Tolerance):
    from pymatgen.core.structure_matcher import StructureMatcher

    return StructureMatcher(ltol=tolerance.length, stol=tolerance.site, angle_tol=tolerance.angle, primitive_cell=tolerance.primitive, scale=tolerance.scale)


def fit(a: Prepared, b: Prepared) -> bool:
    """StructureMatcher.fit(a, b) of the reduced structures, no rung before it. Errors as `Prepared.given`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bool(_matcher(a.tolerance).fit(a.structure, b.structure, skip_structure_reduction=True))


def same(a: Prepared, b: Prepared) -> bool:
    """Whether StructureMatcher.fit(a, b) calls the two crystals the same. Errors as `Prepared.given`.

    Different reduced compositions, or different numbers of sites after reduction, are answered without it: it answers no to both.
    """
    return a.composition == b.composition and a.sites == b.sites and fit(a, b)


def rms(a: Prepared, b: Prepared) -> tuple[float, float] | None:
    """(root mean square, largest) site distance over (V/N)^(1/3) of the best match as StructureMatcher.get_rms_dist(a, b), None without one."""
    if a.composition != b.composition or a.sites != b.sites:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = _matcher(a.tolerance).get_rms_dist(a.given, b.given)
    return None if found is None else (float(found[0]), float(found[1]))


def groups(prepared: Sequence[Prepared]) -> list[list[int]]:
    """Indices of equal crystals, greedy in the given order: each joins the first group whose first member it matches.

    The same groups as StructureMatcher.group_structures makes of these structures. Errors as `Prepared.given`.
    """
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
