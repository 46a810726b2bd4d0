"""The Materials Project's 132,752 formation energies of Matbench as a hull, brought from the corrections of before 2021 to those of 2020 (MP2020).

Table: A. Dunn, Q. Wang, A. Ganose, D. Dopp, A. Jain, npj Comput. Mater. 6, 138 (2020), doi:10.1038/s41524-020-00406-3 (matbench_mp_e_form). Corrections: A. Wang
and others, Sci. Rep. 11, 15496 (2021), doi:10.1038/s41598-021-94550-5. Both schemes add energies per atom of an anion and per atom of a transition metal computed
with +U, so that their difference per atom of a compound is

    d = sum_a c_a x_a + sum_m c_m x_m

a    anions; x_a is the atomic share of a where a is the most electronegative element, else 0
m    metals computed with +U; x_m is the atomic share of m where O or F is the most electronegative element, else 0

The constants c are fitted by recipes/fit_published_hull.py and ship; the table is data and does not. Elements lie at 0 on both scales.

This is the one hull on which energies of a potential meet those of first principles, and marked so wherever it is shown. A potential that learnt MP2020 total
energies, as CHGNet did, comes onto it by formation energies relative to the Materials Project's own elemental references, as in Matbench Discovery (J. Riebesell
and others, Nat. Mach. Intell. 7, 836 (2025), doi:10.1038/s42256-025-01055-1). Relative to CHGNet's own elemental phases the error on MP-20 test is 1.6 times as
large and makes compounds too stable (W, Mo, Ge, Si lie 0.11 to 0.20 eV/atom too high); the card of the constants has both.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..archive import shipped
from ..archive.sources import data_path, load_frame
from ..base.elements import number, symbol
from ..base.errors import BadInput
from ..crystal.composition import Composition, parse_formula, reduced, reduced_formula
from .corrections import MIXING, most_electronegative
from .hull import Hull

TABLE = ("matbench_v01_official_tables", "matbench_mp_e_form.json.bz2")
ELEMENTS = ("mp_elemental_refs", "2023-02-07-mp-elemental-reference-entries.json.gz")
FITTED, TESTED = ("mp20_biternary_val_test", "val.csv.gz"), ("mp20_biternary_val_test", "test.csv.gz")
CONSTANTS = "published_hull"  # name of the shipped constants
ANIONS = ("O", "F", "Cl", "Br", "I", "S", "Se", "Te", "N", "H", "Sb", "Si")
METALS = tuple(MIXING)
LEGACY, CONVERTED = "mp-legacy-formation", "mp2020-formation"  # energy schemes of the table as it stands, and converted
POTENTIAL = "pbe"
NOISE = 0.005  # eV/atom: differences up to it are weighed as squares, larger ones (other calculations of a newer release) hardly

Key = tuple[tuple[int, int], ...]


def terms(composition: Composition) -> dict[str, float]:
    """{anion or metal: atomic share to which its constant applies} of a composition; empty for elements."""
    counts = {symbol(z): n for z, n in composition.items() if n > 0}
    if len(counts) < 2:
        return {}
    total, last = sum(counts.values()), most_electronegative(counts)
    found = {last: counts[last] / total} if last in ANIONS else {}
    if last in ("O", "F"):
        found |= {metal: counts[metal] / total for metal in METALS if metal in counts}
    return found


@dataclass(frozen=True)
class Constants:
    """What is to be added to a formation energy of the table, eV per atom of each anion and metal; those that are not named add nothing."""

    values: Mapping[str, float]

    def __post_init__(self):
        if bad := sorted(set(self.values) - {*ANIONS, *METALS}):
            raise BadInput(f"constants of {', '.join(bad)}; allowed are {', '.join((*ANIONS, *METALS))}", CONSTANTS)

    def shift(self, composition: Composition) -> float:
        """eV/atom from the table's scale to MP2020."""
        return sum(self.values.get(name, 0.0) * share for name, share in terms(composition).items())

    @staticmethod
    def shipped() -> Constants:
        """The constants that come with the package."""
        return Constants(shipped.read_json(CONSTANTS)["eV_per_atom_of"])


def fit_constants(compositions: Sequence[Composition], differences: Sequence[float], noise: float = NOISE) -> Constants:
    """Constants that carry the table's energies to those of another release: minimises sum_i 2 s^2 (sqrt(1 + (r_i / s)^2) - 1), r = difference - shift, s = noise.

    differences  (compounds,) eV/atom, the other release less the table
    The loss is that of least squares for small r and of least absolutes for large ones. BadInput for differences that are not finite or not one per compound.
    """
    from scipy.optimize import least_squares

    differences = np.asarray(differences, dtype=np.float64)
    if differences.shape != (len(compositions),) or not np.isfinite(differences).all():
        raise BadInput(f"{len(compositions)} compositions and {differences.shape} differences, {int((~np.isfinite(differences)).sum())} of them not finite; one finite number each", "fit")
    listed = [terms(c) for c in compositions]
    names = [name for name in (*ANIONS, *METALS) if any(name in t for t in listed)]
    design = np.array([[t.get(name, 0.0) for name in names] for t in listed]).reshape(len(listed), len(names))
    if not names:
        return Constants({})
    found = least_squares(lambda c: design @ c - differences, np.zeros(len(names)), jac=lambda c: design, loss="soft_l1", f_scale=noise, xtol=1e-12, ftol=1e-12, gtol=1e-12)
    return Constants(dict(zip(names, found.x.tolist(), strict=True)))


@dataclass(frozen=True, eq=False)
class PublishedTable:
    """Rows of the table as published.

    keys          reduced composition ((atomic number, count), ...) of each row
    energies      (rows,) formation energies in eV/atom, corrections of before 2021
    space_groups  (rows,) numbers, found by the Materials Project within 0.1 Å
    """

    keys: tuple[Key, ...]
    energies: np.ndarray
    space_groups: np.ndarray
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        if not len(self.keys) == len(self.energies) == len(self.space_groups):
            raise BadInput(f"{len(self.keys)} compositions, {len(self.energies)} energies, {len(self.space_groups)} space groups; one of each per row", TABLE[1])

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def known(self) -> frozenset[tuple[Key, int]]:
        """(reduced composition, space group) of every row."""
        return frozenset(zip(self.keys, self.space_groups.tolist(), strict=True))

    def holds(self, composition: Composition | str | Iterable[int], space_groups: Iterable[int]) -> bool:
        """Whether a row has this formula and one of these space groups: the second, coarser test of novelty, which needs no geometry."""
        key = reduced(composition)
        return any((key, int(group)) in self.known for group in space_groups)

    def hull(self, constants: Constants | None) -> Hull:
        """Convex hull of the lowest row of every formula, elements at 0 eV/atom; converted by `constants`, or as published for None."""
        lowest: dict[Key, float] = {}
        for key, energy in zip(self.keys, self.energies.tolist(), strict=True):
            if energy < lowest.get(key, np.inf):
                lowest[key] = energy
        lowest |= {((z, 1),): 0.0 for z in {z for key in lowest for z, _ in key}}
        compositions = [dict(key) for key in lowest]
        energies = np.array(list(lowest.values()))
        if constants is not None:
            energies = energies + np.array([constants.shift(c) for c in compositions])
        about = {**self.about, "rows": len(self), "constants": dict(constants.values) if constants is not None else {}}
        return Hull(compositions, energies, [reduced_formula(c) for c in compositions], LEGACY if constants is None else CONVERTED, POTENTIAL, about)

    def pairs(self, formulas: Sequence[str], space_groups: Sequence[int], energies: Sequence[float]) -> tuple[list[Composition], np.ndarray, np.ndarray]:
        """(compositions, theirs, ours): rows of another list with the same formula and space group as a row here, where both lists have one such row only.

        energies  (others,) formation energies in eV/atom; theirs and ours (pairs,) likewise
        """
        unambiguous = lambda keys: {key: i for key, i in _once(keys).items() if i >= 0}
        mine = unambiguous(zip(self.keys, self.space_groups.tolist(), strict=True))
        others = unambiguous((reduced(f), int(g)) for f, g in zip(formulas, space_groups, strict=True))
        both = [key for key in others if key in mine and np.isfinite(energies[others[key]])]
        theirs, ours = (np.array([side[rows[key]] for key in both], dtype=np.float64) for side, rows in ((energies, others), (self.energies, mine)))
        return [dict(key[0]) for key in both], theirs, ours


def _once(keys: Iterable[tuple[Key, int]]) -> dict[tuple[Key, int], int]:
    """{key: its place}, -1 for a key that comes more than once."""
    found: dict[tuple[Key, int], int] = {}
    for i, key in enumerate(keys):
        found[key] = -1 if key in found else i
    return found


def published_table(data_dir: str | Path | None = None) -> PublishedTable:
    """The table from the data folder, read once per process and folder. NotHere with what to do where it is missing."""
    return _read(str(data_path(*TABLE, data_dir=data_dir)), None if data_dir is None else str(data_dir))


@lru_cache(maxsize=2)
def _read(path: str, data_dir: str | None) -> PublishedTable:
    frame = load_frame(*TABLE, data_dir=data_dir)
    read: dict[str, Key] = {}
    keys = tuple(read.get(text) or read.setdefault(text, reduced(parse_formula(text))) for text in frame["composition"])
    return PublishedTable(keys, frame["e_form"].to_numpy(dtype=np.float64), frame["spg_num"].to_numpy(dtype=np.int64), {"table": "/".join(TABLE)})


def published_hull(data_dir: str | Path | None = None) -> Hull:
    """Hull of the whole table, converted by the shipped constants. Errors as `published_table`."""
    return published_table(data_dir).hull(Constants.shipped())


@lru_cache(maxsize=2)
def element_references(data_dir: str | Path | None = None) -> dict[int, float]:
    """{atomic number: eV/atom} of the Materials Project's elemental references, to which MP2020 formation energies are relative. Errors as `published_table`."""
    with gzip.open(data_path(*ELEMENTS, data_dir=data_dir), "rt", encoding="utf-8") as file:
        entries = json.load(file)
    return {number(name): float(e["energy"]) / sum(e["composition"].values()) for name, e in entries.items()}


def formation_energies(compositions: Sequence[Composition], energies: Sequence[float], references: Mapping[int, float]) -> np.ndarray:
    """(queries,) eV/atom of MP2020 total energies (queries,) eV/atom, relative to `references`; nan for a composition with an element that has none."""
    out = np.full(len(compositions), np.nan)
    for i, (composition, energy) in enumerate(zip(compositions, energies, strict=True)):
        if composition.keys() <= references.keys():
            out[i] = energy - sum(n * references[z] for z, n in composition.items()) / sum(composition.values())
    return out
