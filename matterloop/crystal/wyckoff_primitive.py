"""Primitive cells of crystals that are given by their free parameters, all at once.

Primitive vectors of each centring: International Tables for Crystallography, volume A (2016), table 3.1.2.1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..base.errors import BadInput
from .segments import offsets_of
from .space_groups import lattice_points, symbol
from .state import Crystals
from .wyckoff import Parameters, from_parameters

_VECTORS = {  # rows: primitive vectors in terms of the conventional ones
    "P": np.eye(3), "A": np.array([[1, 0, 0], [0, 0.5, -0.5], [0, 0.5, 0.5]]), "C": np.array([[0.5, -0.5, 0], [0.5, 0.5, 0], [0, 0, 1]]),
    "I": np.array([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]]), "F": np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]),
    "R": np.array([[2, 1, 1], [-1, 1, 1], [-1, -2, 1]]) / 3}
_GRID = 10_000  # points per lattice vector by which copies of an atom are told to be the same
_BESIDE = 0.1234567  # of a step: off the places at which coordinates of few decimals lie
_WRAP = 1.3e-7


def primitive_crystals(parameters: Sequence[Parameters]) -> Crystals:
    """The crystals of `from_parameters` in primitive cells; BadInput naming the crystal where atoms coincide or are no copies of each other."""
    listed = list(parameters)
    whole = from_parameters(listed)
    groups = [p.space_group for p in listed]
    basis = torch.from_numpy(np.stack([_VECTORS[symbol(g)[0]] for g in groups]))
    frac = torch.einsum("ai,aij->aj", whole.frac, torch.linalg.inv(basis)[whole.owner]).numpy()
    frac = frac - np.floor(frac + _WRAP)
    step = np.rint(frac * _GRID + _BESIDE).astype(np.int64)
    code = ((whole.owner.numpy() * (_GRID + 2) + step[:, 0]) * (_GRID + 2) + step[:, 1]) * (_GRID + 2) + step[:, 2]
    first = np.sort(np.unique(code, return_index=True)[1])
    counts = torch.bincount(whole.owner[first], minlength=len(whole))
    wrong = counts * torch.tensor([lattice_points(g) for g in groups]) != whole.counts
    if bool(wrong.any()):
        i = int(wrong.nonzero()[0])
        raise BadInput(f"{int(whole.counts[i])} atoms of group {groups[i]} become {int(counts[i])} in the primitive cell", f"crystal {i}")
    return Crystals(torch.from_numpy(frac[first]), whole.species[first], basis @ whole.cell, offsets_of(counts)).checked()
