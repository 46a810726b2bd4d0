"""What a formula says before any model: Magpie's statistics and the further attributes that classical models of composition use, by group.

    magpie     132 statistics of 22 elemental properties             L. Ward et al., npj Comput. Mater. 2, 16028 (2016), doi:10.1038/npjcompumats.2016.28
    elemental  the same six statistics of 21 further properties    tables that matminer carries; cohesive energies after C. Kittel
    norms      (sum_i x_i^p)^(1/p), p = 2, 3, 5, 7, 10, and for p = 0 the number of elements         Ward et al.
    unit       logarithm of the smallest number of atoms that makes all amounts whole (up to 500), and whether the shares are whole percentages
    orbitals   mean valence electrons in s, p, d, f shells, and their shares of all valence electrons  Ward et al.
    ionic      1 - exp(-(X_a - X_b)^2 / 4), the largest over pairs, and sum over pairs x_a x_b of it   Ward et al.
    states     statistics of each element's rarest, commonest and highest oxidation state of at least 5 %, and the charge left when the most
               electronegative element takes its commonest negative state and the others their commonest positive one
    band       geometric mean of (ionisation energy + electron affinity) / 2 in eV                   M. A. Butler, D. S. Ginley, J. Electrochem. Soc. 125, 228 (1978)
    alloy      entropy of mixing (R), spread of radii, mean enthalpy of mixing of the pairs in the liquid (kJ/mol) with the lowest and highest pair,
               T_m dS / |dH|                                         X. Yang, Y. Zhang, Mater. Chem. Phys. 132, 233 (2012); A. Takeuchi, A. Inoue, Mater. Trans. 46, 2817 (2005)
    families   share of atoms that are alkali metals, halogens, ...
    elements   share of each element, hydrogen to lawrencium
x_i are shares of atoms, X electronegativities of Pauling.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from ..base import elements as el
from ..base.errors import BadInput, Missing
from ..base.registry import Card
from ..crystal.composition import COMMON_SHARE, ELECTRONEGATIVITY, composition_matrix, oxidation_states
from ..crystal.state import Crystals
from . import magpie
from .magpie import STATISTICS, completed, data_folder, elements_first, in_chunks, read_properties, statistics

CARD = Card(
    name="composition_statistics",
    build="CompositionStatistics",
    role="descriptor",
    paper="10.1038/npjcompumats.2016.28",
    year=2016,
    capabilities=("vector",),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    waives={"geometry": "a composition has no geometry: polymorphs are described alike"},
    reference=2483.431730831789,
    differs=(
        "whether a compound can be neutral (one of the 145 attributes of Magpie) is replaced by what remains of the charge of common oxidation states",
        "statistics of further elemental properties, alloy numbers, families and shares of elements stand beside the attributes of the paper",
    ),
    summary="Magpie and further attributes of a composition, in groups",
)
ELEMENTAL = (
    "FirstIonizationEnergy", "SecondIonizationEnergy", "ElectronAffinity", "DipolePolarizability", "AllenElectronegativity", "MiracleRadius", "VdWRadius", "BoilingT",
    "Density", "HeatFusion", "HeatVaporization", "LogThermalConductivity", "BulkModulus", "ShearModulus", "GSestFCClatcnt", "GSenergy_pa", "ZungerPP-r_s",
    "ZungerPP-r_p", "phi", "n_ws^third")
POWERS = (2, 3, 5, 7, 10)
SHELLS = ("s", "p", "d", "f")
FAMILIES = {
    "alkali metals": el.ALKALI_METALS, "alkaline earth metals": el.ALKALINE_EARTH_METALS, "transition metals": el.TRANSITION_METALS, "lanthanoids": el.LANTHANOIDS,
    "actinoids": el.ACTINOIDS, "post-transition metals": el.POST_TRANSITION_METALS, "metalloids": el.METALLOIDS, "pnictogens": el.PNICTOGENS,
    "chalcogens": el.CHALCOGENS, "halogens": el.HALOGENS, "noble gases": el.NOBLE_GASES, "metals": el.METALS}
UNIT = 500  # atoms of the largest formula unit that is looked for
LAST = 103  # element whose share is looked at
EV = 96.48533  # kJ/mol
KELVIN = 8.314462618e-3  # kJ/mol/K: the gas constant

Rows = tuple[np.ndarray, np.ndarray]  # elements and shares, (compositions, most elements) each


@cache
def _elemental() -> np.ndarray:
    cohesive = np.full((el.MAX_Z + 1, 1), np.nan)
    for symbol, energy in json.loads((data_folder() / "cohesive_energies.json").read_text(encoding="utf-8")).items():
        cohesive[el.number(symbol)] = energy
    return completed(np.hstack([read_properties(ELEMENTAL), cohesive]))


@cache
def _electronegativity() -> np.ndarray:
    """(119,) Pauling's scale; where it says nothing Magpie's table, in which noble gases have 0."""
    return np.where(np.isnan(ELECTRONEGATIVITY), _column("Electronegativity"), ELECTRONEGATIVITY)


@cache
def _states() -> np.ndarray:
    """(119, 3) lowest, commonest and highest oxidation state by atomic number, 0 for none."""
    table = np.zeros((el.MAX_Z + 1, 3))
    for z in range(1, el.MAX_Z + 1):
        if held := oxidation_states(z, COMMON_SHARE):
            table[z] = min(held), max(held, key=held.get), max(held)
    return table


@cache
def _signed() -> np.ndarray:
    """(119, 2) commonest negative and commonest positive oxidation state by atomic number, 0 for none."""
    table = np.zeros((el.MAX_Z + 1, 2))
    for z in range(1, el.MAX_Z + 1):
        held = oxidation_states(z, 0.0)
        for k, sign in enumerate((-1, 1)):
            if those := {s: p for s, p in held.items() if s * sign > 0}:
                table[z, k] = max(those, key=those.get)
    return table


@cache
def _pairs() -> np.ndarray:
    """(119, 119) enthalpy of mixing of two elements in the liquid, equal parts, kJ/mol; 0 where nothing is known."""
    table = np.zeros((el.MAX_Z + 1, el.MAX_Z + 1))
    for line in (data_folder() / "MiedemaLiquidDeltaHf.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        a, b, value = line.split()
        if a in el.NUMBER and b in el.NUMBER:
            table[el.NUMBER[a], el.NUMBER[b]] = table[el.NUMBER[b], el.NUMBER[a]] = float(value)
    return table


def _column(name: str) -> np.ndarray:
    return magpie.element_table()[:, magpie.PROPERTIES.index(name)]


def _further(name: str) -> np.ndarray:
    return _elemental()[:, ELEMENTAL.index(name)]


def _mean(rows: Rows, table: np.ndarray) -> np.ndarray:
    species, share = rows
    return np.where(share > 0, share * table[species], 0.0).sum(1)


def _over_pairs(rows: Rows, table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(sum over pairs x_a x_b t_ab, lowest, highest) of `table` (119, 119) over pairs of different elements; 0 for an element."""
    species, share = rows
    a, b = np.triu_indices(species.shape[1], 1)
    there = share[:, b] > 0  # elements that occur come first
    value = np.where(there, table[species[:, a], species[:, b]], 0.0)
    many = there.any(1) if len(a) else np.zeros(len(species), dtype=bool)
    low = np.where(there, value, np.inf).min(1, initial=np.inf)
    high = np.where(there, value, -np.inf).max(1, initial=-np.inf)
    return (share[:, a] * share[:, b] * value).sum(1), np.where(many, low, 0.0), np.where(many, high, 0.0)


def _norms(counts: np.ndarray, rows: Rows) -> np.ndarray:
    share = rows[1]
    return np.stack([(share > 0).sum(1), *((share**p).sum(1) ** (1 / p) for p in POWERS)], 1)


def _unit(counts: np.ndarray, rows: Rows) -> np.ndarray:
    """Logarithm of the smallest number of atoms that makes all amounts whole, looked for up to UNIT, and whether all shares are whole percentages."""
    share = rows[1]
    whole = lambda n: (np.abs(n * share - np.round(n * share)) < 1e-4).all(1)
    size, open_ = np.full(len(share), float(UNIT)), np.arange(len(share))
    for n in range(1, UNIT):
        met = (np.abs(n * share[open_] - np.round(n * share[open_])) < 1e-4).all(1)
        size[open_[met]], open_ = n, open_[~met]
        if not len(open_):
            break
    return np.stack([np.log(size), whole(100)], 1)


def _orbitals(counts: np.ndarray, rows: Rows) -> np.ndarray:
    held = np.stack([_mean(rows, _column(f"N{shell}Valence")) for shell in SHELLS], 1)
    return np.hstack([held, held / np.maximum(_mean(rows, _column("NValence")), 1e-12)[:, None]])


def _ionic(counts: np.ndarray, rows: Rows) -> np.ndarray:
    x = _electronegativity()
    mean, _, high = _over_pairs(rows, 1 - np.exp(-np.square(x[:, None] - x) / 4))
    return np.stack([high, mean], 1)


def _charges(counts: np.ndarray, rows: Rows) -> np.ndarray:
    species, share = rows
    x = np.where(share > 0, _electronegativity()[species], -np.inf)
    last = x == x.max(1, keepdims=True)
    negative, positive = _signed()[species, 0], _signed()[species, 1]
    left = np.where(share > 0, share * np.where(last, negative, positive), 0.0).sum(1)
    return np.hstack([statistics(counts, _states()), left[:, None]])


def _band(counts: np.ndarray, rows: Rows) -> np.ndarray:
    mulliken = np.maximum((_further("FirstIonizationEnergy") + _further("ElectronAffinity") / EV) / 2, 1e-3)
    return np.exp(_mean(rows, np.log(mulliken)))[:, None]


def _alloy(counts: np.ndarray, rows: Rows) -> np.ndarray:
    species, share = rows
    entropy = -np.where(share > 0, share * np.log(np.where(share > 0, share, 1.0)), 0.0).sum(1)
    radius = _further("MiracleRadius")
    mean = _mean(rows, radius)
    spread = np.sqrt(np.where(share > 0, share * np.square(1 - radius[species] / mean[:, None]), 0.0).sum(1))
    mixing, low, high = _over_pairs(rows, _pairs())
    mixing = 4 * mixing
    omega = _mean(rows, _column("MeltingT")) * entropy * KELVIN / np.maximum(np.abs(mixing), 1e-6)
    return np.stack([entropy, spread, mixing, low, high, np.log1p(omega)], 1)


def _families(counts: np.ndarray, rows: Rows) -> np.ndarray:
    member = np.zeros((el.MAX_Z + 1, len(FAMILIES)))
    for k, family in enumerate(FAMILIES.values()):
        member[list(family), k] = 1
    return counts @ member / counts.sum(1, keepdims=True)


GROUPS = {
    "magpie": (lambda counts, rows: statistics(counts, magpie.element_table()), magpie.LABELS),
    "elemental": (lambda counts, rows: statistics(counts, _elemental()), tuple(f"{s} {name}" for name in (*ELEMENTAL, "CohesiveEnergy") for s in STATISTICS)),
    "norms": (_norms, ("0-norm", *(f"{p}-norm" for p in POWERS))),
    "unit": (_unit, ("log of atoms in the formula unit", "whole percentages")),
    "orbitals": (_orbitals, tuple(f"{what} {shell} valence electrons" for what in ("mean", "share of") for shell in SHELLS)),
    "ionic": (_ionic, ("highest ionic character", "mean ionic character")),
    "states": (_charges, (*(f"{s} of {which} oxidation states" for which in ("lowest", "commonest", "highest") for s in STATISTICS), "charge left")),
    "band": (_band, ("band centre",)),
    "alloy": (_alloy, ("entropy of mixing", "spread of radii", "enthalpy of mixing", "lowest enthalpy of a pair", "highest enthalpy of a pair", "log omega")),
    "families": (_families, tuple(f"share of {name}" for name in FAMILIES)),
    "elements": (lambda counts, rows: counts[:, 1 : LAST + 1] / counts.sum(1, keepdims=True), tuple(f"share of {el.symbol(z)}" for z in range(1, LAST + 1))),
}


def labels(groups: Sequence[str] = tuple(GROUPS)) -> tuple[str, ...]:
    """Names of the columns of these groups; Missing for a group that is not there."""
    if unknown := [g for g in groups if g not in GROUPS]:
        raise Missing("group of composition statistics", unknown[0], GROUPS)
    return tuple(name for g in groups for name in GROUPS[g][1])


def of_counts(counts: np.ndarray | Tensor, groups: Sequence[str] = tuple(GROUPS)) -> np.ndarray:
    """(compositions, width) of each row of `counts` (compositions, 119), atoms of each atomic number, whole or not; columns as in `labels(groups)`.

    BadInput for an empty row and for atoms of an undecided element; Missing for a group that is not there.
    """
    width = len(labels(groups))
    if not groups:
        raise BadInput("no group is named", "composition_statistics")

    def describe(part: np.ndarray) -> np.ndarray:
        rows = elements_first(part)
        return np.hstack([GROUPS[g][0](part, rows) for g in groups])

    return in_chunks(counts, describe, width)


@dataclass(frozen=True)
class CompositionStatistics:
    """The descriptor as an object: called with crystals it returns (crystals, width) float64, columns as in `labels(groups)`."""

    groups: tuple[str, ...] = tuple(GROUPS)

    def __call__(self, crystals: Crystals) -> Tensor:
        return torch.from_numpy(of_counts(composition_matrix(crystals).cpu(), tuple(self.groups)))
