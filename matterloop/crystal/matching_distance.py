"""Root mean square distance of two crystals by pymatgen's StructureMatcher, each structure reduced once.

As `StructureMatcher.get_rms_dist` (Ong et al., Comput. Mater. Sci. 68, 314 (2013)); `matching.rms` reduces both structures on every call, here the
primitive Niggli cells that `matching.Prepared` keeps are compared, which a benchmark of many guesses for one target needs.
"""

from __future__ import annotations

import warnings
from functools import cache

from .matching import Prepared, Tolerance


@cache
def _matcher(tolerance: Tolerance):
    from pymatgen.core.structure_matcher import StructureMatcher

    return StructureMatcher(ltol=tolerance.length, stol=tolerance.site, angle_tol=tolerance.angle, primitive_cell=False, scale=tolerance.scale)


def reduced_rms(a: Prepared, b: Prepared) -> float | None:
    """Root mean square site distance over (V/N)^(1/3) of the best match of the reduced structures, None without one. Errors as `Prepared.given`."""
    if a.composition != b.composition or a.sites != b.sites:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = _matcher(a.tolerance).get_rms_dist(a.structure, b.structure)
    return None if found is None else float(found[0])
