"""How readily one element takes another's place in a structure, mined from known crystals.

After Glawe et al., New J. Phys. 18, 093011 (2016) and Hautier et al., Inorg. Chem. 50, 656 (2011): pairs of compounds of one structure type that differ by
one element are counted; ln(observed / expected), shrunk towards the mean at the same distance of Mendeleev numbers where data are few.
Made by recipes/build_element_tables.py.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from ..archive.shipped import read_arrays

KEPT = 5.0  # ln units of an element that stays: above every swap


@cache
def similarity() -> np.ndarray:
    """(119, 119) ln of observed over expected swaps by atomic number; KEPT on the diagonal, -4 beyond plutonium and for number 0. Read-only."""
    table = np.full((119, 119), -4.0)
    mined = read_arrays("element_similarity")["log_ratio"]
    table[1 : len(mined), 1 : len(mined)] = mined[1:, 1:]
    np.fill_diagonal(table, KEPT)
    table.setflags(write=False)
    return table
