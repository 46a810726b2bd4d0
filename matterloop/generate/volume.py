"""Predicted volumes and shortest sensible distances of a composition, from tables fitted to Materials Project crystals.

Volume per atom: sum_a x_a V_a + sum_(a<b) x_a x_b W_ab, with fractions x, element volumes V and pair
terms W (ridge regression), times a factor of the structure type where three members are known; see
recipes/build_element_tables.py and the card of `element_volumes` for the error on held-out crystals).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from functools import cache

import numpy as np

from ..archive.shipped import read_arrays
from ..base.errors import BadInput

MAX_Z = 94
PARENT_WEIGHT = 0.4  # share of the parent's deviation (ln) that its daughters inherit; least error on MP-20 test with one parent lies at 0.3 to 0.5
_NOBLE = (2, 10, 18, 36, 54, 86)


def element_group(z: int) -> int:
    """A small integer that elements of similar size trends share: group, with first-row, lanthanoids and actinoids apart."""
    if z == 1:
        return 50
    if 57 <= z <= 71:
        return 19
    if 89 <= z <= 103:
        return 20
    below = max(n for n in (0, *_NOBLE) if n < z)
    step = z - below
    if below in (2, 10):
        group = step if step <= 2 else step + 10
    elif below in (18, 36):
        group = step
    else:
        group = step if step <= 2 else step - 14
    return group + (25 if z <= 10 else 0)


@cache
def _tables() -> dict[str, np.ndarray]:
    held = read_arrays("element_volumes")
    return {name: values.astype(np.float64) if values.dtype.kind == "f" else values for name, values in held.items()}


@cache
def _types() -> dict[str, float]:
    return dict(zip(_tables()["type"].tolist(), _tables()["type_excess"].tolist(), strict=True))


def volume_per_atom(composition: Mapping[int, float]) -> float:
    """Volume in Å^3 per atom of {atomic number: amount}; BadInput for elements beyond plutonium."""
    total = sum(composition.values())
    x = {z: n / total for z, n in composition.items()}
    if not x or max(x) > MAX_Z or min(x) < 1:
        raise BadInput(f"volumes are known for the elements 1..{MAX_Z}, got {sorted(x)}", "volume")
    table = _tables()
    value = sum(f * table["element"][z] for z, f in x.items())
    value += sum(f * g * table["pair"][a, b] for (a, f), (b, g) in itertools.combinations(x.items(), 2))
    return float(max(value, 0.4 * sum(f * table["element"][z] for z, f in x.items()), 3.0))


def type_excess(anonymous: str) -> float | None:
    """ln of the usual volume of a structure type (anonymous Wyckoff gene) over the model of its compositions; None where fewer than three are known."""
    return _types().get(anonymous)


def volume_from_parent(composition: Mapping[int, float], parent: Mapping[int, float], parent_volume: float) -> float:
    """Volume in Å^3 per atom when put into the structure of `parent`, whose volume per atom is known.

    ln V = ln model(new) + 0.4 (ln V_parent - ln model(parent)): how loosely a structure packs is partly inherited.
    """
    if max(parent) > MAX_Z:
        return volume_per_atom(composition)
    excess = np.clip(np.log(parent_volume / volume_per_atom(parent)), -0.4, 0.4)
    return volume_per_atom(composition) * float(np.exp(PARENT_WEIGHT * excess))


def contacts(species: np.ndarray) -> np.ndarray:
    """(n, n) shortest distances in Å that the pairs of `species` (n,) keep in 98 % of the known crystals."""
    species = np.minimum(np.asarray(species), MAX_Z)
    return _tables()["contact"][np.ix_(species, species)]
