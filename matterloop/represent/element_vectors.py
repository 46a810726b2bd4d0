"""What is known of an element, as numbers of like size: the input of networks that start from elements.

The 22 properties that L. Ward et al. collected (npj Comput. Mater. 2, 16028 (2016), doi:10.1038/npjcompumats.2016.28; represent/magpie.py), each with mean 0
and spread 1 over the elements 1 to 94, and the column, row and block of the periodic table as ones and zeros. Nothing in it was learnt from compounds.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from ..base.elements import ACTINOIDS, LANTHANOIDS, MAX_Z, METALLOIDS, METALS
from .magpie import PROPERTIES, element_table

KNOWN = 94  # elements by which columns are scaled
REACH = 4.0  # spreads; a property further out is brought back


@cache
def element_vectors() -> np.ndarray:
    """(119, 51) float32 by atomic number; row 0, of an undecided element, is zero. NeedsPackage as `magpie.element_table`."""
    table = element_table()[1:]
    mean, spread = table[:KNOWN].mean(0), table[:KNOWN].std(0)
    numbers = ((table - mean) / spread).clip(-REACH, REACH)
    column, row = (table[:, PROPERTIES.index(name)].astype(int) for name in ("Column", "Row"))
    z = np.arange(1, MAX_Z + 1)
    sort = np.stack([np.isin(z, list(s)) for s in (METALS, METALLOIDS, LANTHANOIDS, ACTINOIDS)], -1)
    out = np.zeros((MAX_Z + 1, len(PROPERTIES) + 18 + 7 + 4), dtype=np.float32)
    out[1:] = np.concatenate([numbers, np.eye(18)[column.clip(1, 18) - 1], np.eye(7)[row.clip(1, 7) - 1], sort], axis=1)
    out.setflags(write=False)
    return out
