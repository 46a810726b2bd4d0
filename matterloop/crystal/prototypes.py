"""Structure prototypes as plain data: classic types written out here, the AFLOW set that pymatgen carries, and any crystals of one's own.

AFLOW Library of Crystallographic Prototypes: Mehl et al., Comput. Mater. Sci. 136, S1 (2017), as packaged by pymatgen (Ong et al., Comput. Mater. Sci. 68,
314 (2013)); its data file is read as it stands, 20 ms, without importing pymatgen.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cache, cached_property
from typing import TYPE_CHECKING

import numpy as np

from ..base.elements import CHALCOGENS, HALOGENS, METALLOIDS, METALS, NUMBER
from ..base.errors import BadInput, Missing, NeedsPackage
from .structure_types import ORDERINGS, PROTOTYPE_NAMES, STRUCTURES

if TYPE_CHECKING:
    from .state import Crystals

__all__ = ["PROTOTYPE_NAMES", "ROLES", "Prototype", "aflow", "classics", "from_crystals", "named", "prototype_name", "prototypes", "split_orbits"]

_N = NUMBER
_ANIONS = HALOGENS | CHALCOGENS | {_N[s] for s in ("N", "P", "As", "Sb", "Bi", "C", "H", "B", "Si", "Ge")}
ROLES: dict[str, frozenset[int]] = {
    "cation": METALS | METALLOIDS,
    "centre": METALS | METALLOIDS | {_N[s] for s in ("B", "C", "N", "P", "S", "Se", "Te", "I", "Cl")},
    "anion": frozenset(_ANIONS),
    "metal": METALS | METALLOIDS - {_N["Te"], _N["B"]},
    "any": frozenset(range(1, 119)),
}
"""Elements that may fill a site of each role; used where a wish names a structure type."""


@dataclass(frozen=True, eq=False)
class Prototype:
    """A structure with its elements taken out: geometry of the primitive cell and a label 0..k-1 for each atom.

    name         unique: a structure type, an AFLOW label, or the name given to `from_crystals`
    names        every name it answers to, in lower case
    space_group  number of the space group with all labels different
    cell (3, 3)  rows in Å; frac (atoms, 3); label, orbit (atoms,) int; letters: Wyckoff letter of each orbit
    parents      atomic number of the archetype for each label
    roles        key of ROLES for each label
    source       "type" (written here), "aflow", or what `from_crystals` was told
    derived      an orbit was relabelled or part of it: no archetype with these labels is known
    """

    name: str
    names: frozenset[str]
    space_group: int
    cell: np.ndarray
    frac: np.ndarray
    label: np.ndarray
    orbit: np.ndarray
    letters: tuple[str, ...]
    parents: tuple[int, ...]
    roles: tuple[str, ...]
    source: str = ""
    derived: bool = False
    tags: dict = field(default_factory=dict)

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Atoms of each label in the primitive cell."""
        return tuple(int(n) for n in np.bincount(self.label))

    @property
    def atoms(self) -> int:
        """Atoms in the primitive cell."""
        return len(self.label)

    @cached_property
    def anonymous(self) -> str:
        """Anonymous formula, amounts ascending: 'ABC3'."""
        from .composition import anonymous_formula

        return anonymous_formula({i + 1: n for i, n in enumerate(self.counts)})

    @cached_property
    def volume(self) -> float:
        """Volume of the primitive cell of the archetype, Å^3."""
        return float(abs(np.linalg.det(self.cell)))

    @cached_property
    def key(self) -> tuple:
        """Space group and, for each label, its Wyckoff letters: equal keys are mostly the same type (settings are not merged)."""
        per_label = tuple(tuple(sorted(self.letters[o] for o in np.unique(self.orbit[self.label == i]))) for i in range(len(self.counts)))
        return (self.space_group, tuple(sorted(per_label)))

    def filled(self, species: Sequence[int], volume: float | None = None) -> Crystals:
        """A batch of one with `species[label]` on each site, scaled to a primitive cell of `volume` Å^3 (None: the archetype's)."""
        from .state import Crystals

        if len(species) != len(self.counts):
            raise BadInput(f"{self.name} has {len(self.counts)} different sites, got {len(species)} elements", "prototype")
        cell = self.cell if volume is None else self.cell * (volume / self.volume) ** (1 / 3)
        return Crystals.of(self.frac, np.asarray(species)[self.label], cell)

    def archetype(self) -> Crystals:
        """The structure with its archetype's elements and cell; labels of one element stay together."""
        return self.filled(self.parents)


# from coordinates

def _cell(space_group: int, values: Sequence[float]) -> np.ndarray:
    """Rows of the conventional cell from the parameters that the crystal system leaves free."""
    if space_group >= 195:
        wanted, (a, b, c) = 1, (values[0],) * 3
    elif space_group >= 75:
        wanted, (a, b, c) = 2, (values[0], values[0], values[-1])
    elif space_group >= 3:
        wanted, (a, b, c) = 3 if space_group >= 16 else 4, values[:3]
    else:
        raise BadInput("structure types are written for monoclinic and higher systems", f"space group {space_group}")
    if len(values) != wanted:
        raise BadInput(f"{wanted} cell parameters are free, got {len(values)}", f"space group {space_group}")
    if 143 <= space_group <= 194:
        return np.array([[a, 0, 0], [-a / 2, a * math.sqrt(3) / 2, 0], [0, 0, c]])
    if space_group < 16:
        beta = math.radians(values[3])
        return np.array([[a, 0, 0], [0, b, 0], [c * math.cos(beta), 0, c * math.sin(beta)]])
    return np.diag([a, b, c]).astype(float)


def _orbit(rotations: np.ndarray, translations: np.ndarray, point: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Distinct images (m, 3) of a point under a group of operations; images closer than 0.02 Å are one."""
    images = (rotations @ point + translations) % 1.0
    kept: list[np.ndarray] = []
    for image in images:
        if all(np.linalg.norm(((image - k + 0.5) % 1.0 - 0.5) @ cell) > 0.02 for k in kept):
            kept.append(image)
    return np.array(kept)


def _parse_sites(text: str) -> list[tuple[str, int, np.ndarray]]:
    """[(label, atomic number, coordinate), ...] of "A=Na 0 0 0; X=Cl 1/2 1/2 1/2"."""
    found = []
    for part in text.split(";"):
        head, *xyz = part.split()
        label, element = head.split("=")
        found.append((label, NUMBER[element], np.array([float(Fraction(x)) for x in xyz])))
    return found


def _standardised(cell, frac, label, symprec: float) -> tuple[int, np.ndarray, np.ndarray, np.ndarray, np.ndarray, tuple[str, ...]]:
    """Space group, and cell, frac, label, orbit, letters of the symmetrised primitive standard cell."""
    import moyopy

    from .symmetry import _quiet

    with _quiet():
        first = moyopy.MoyoDataset(moyopy.Cell(np.asarray(cell).tolist(), np.asarray(frac).tolist(), [int(x) + 1 for x in label]), symprec=symprec)
    primitive = first.prim_std_cell
    letter = dict(zip(first.mapping_std_prim, zip(first.wyckoffs, first.orbits, strict=True), strict=True))
    if len(letter) != len(primitive.numbers):
        raise BadInput("the primitive cell holds an atom that no atom of the given cell maps to", "prototype")
    names = sorted({o for _, o in letter.values()})
    orbit = np.array([names.index(letter[i][1]) for i in range(len(letter))])
    letters = tuple(next(w for w, o in letter.values() if o == name) for name in names)
    basis, positions = np.array(primitive.basis), np.array(primitive.positions) % 1.0
    if np.linalg.det(basis) < 0:
        basis, positions = -basis, -positions % 1.0
    positions = np.where(positions >= 1.0, 0.0, positions)
    return first.number, basis, positions, np.array(primitive.numbers) - 1, orbit, letters


def _prototype(name: str, names: Iterable[str], cell, frac, label, parents, roles, source: str, *, symprec: float, wanted: int | None = None,
               tags: dict | None = None, derived: bool = False) -> Prototype:
    """Prototype in its standard primitive cell; `wanted` space group is looked for at finer tolerances too."""
    best = None
    for tolerance in (symprec, symprec / 10, symprec * 5, symprec / 100):
        best = _standardised(cell, frac, label, tolerance) if best is None or best[0] != wanted else best
        if wanted is None or best[0] == wanted:
            break
    number, cell, frac, label, orbit, letters = best
    if wanted is not None and number != wanted and source == "type":
        raise BadInput(f"the coordinates have space group {number}, the table says {wanted}", name)
    everything = frozenset(n.lower() for n in (name, *names) if n)
    return Prototype(name, everything, number, cell, frac, label, orbit, letters, tuple(parents), tuple(roles), source, derived, dict(tags or {}))


@cache
def classics() -> tuple[Prototype, ...]:
    """The structure types of structure_types.py, each in its primitive standard cell."""
    import moyopy

    found: dict[str, Prototype] = {}
    for name, wider, number, parameters, text in STRUCTURES:
        cell = _cell(number, parameters)
        operations = moyopy.operations_from_number(number, setting=moyopy.Setting.standard())
        rotations, translations = np.array(operations.rotations, dtype=float), np.array(operations.translations)
        order: list[str] = []
        frac, label, parents = [], [], []
        for what, z, point in _parse_sites(text):
            if what not in order:
                order.append(what)
                parents.append(z)
            images = _orbit(rotations, translations, point, cell)
            frac.append(images)
            label += [order.index(what)] * len(images)
        roles = PROTOTYPE_NAMES[name]["roles"]
        names = [*PROTOTYPE_NAMES[name]["synonyms"], *wider, *(s for w in wider for s in PROTOTYPE_NAMES[w]["synonyms"])]
        found[name] = _prototype(name, names, cell, np.concatenate(frac), label, parents, [roles[x] for x in order], "type", symprec=0.01,
                                 wanted=number, tags={"labels": tuple(order)})
    for name, parent, whole, share in ORDERINGS:
        found[name] = _ordered(name, found[parent], whole, share)
    return tuple(found.values())


def _ordered(name: str, parent: Prototype, whole: dict[str, str], share: tuple[str, ...]) -> Prototype:
    """An ordering of `parent`: labels in `whole` are renamed, the atoms of the remaining shared label get `share` in order."""
    order = parent.tags["labels"]
    shared = next(x for x in order if x in whole.values())
    wanted = {x: whole.get(x, x) for x in order if x != shared}
    atoms = iter(share)
    text = [next(atoms) if order[i] == shared else wanted[order[i]] for i in parent.label]
    roles = PROTOTYPE_NAMES[name]["roles"]
    label = [order.index(x) for x in text]
    return _prototype(name, PROTOTYPE_NAMES[name]["synonyms"], parent.cell, parent.frac, label, parent.parents, [roles[x] for x in order], "type",
                      symprec=0.01, tags={"labels": order})


@cache
def aflow() -> tuple[Prototype, ...]:
    """The prototypes of pymatgen's AFLOW file; tags: aflow label, Strukturbericht, mineral, Pearson symbol."""
    import gzip
    import importlib.util
    import json
    from pathlib import Path

    spec = importlib.util.find_spec("pymatgen")
    paths = [Path(p) / "analysis" / "prototypes" / "aflow_prototypes.json.gz" for p in (spec.submodule_search_locations or ()) if spec] if spec else []
    path = next((p for p in paths if p.exists()), None)
    if path is None:
        raise NeedsPackage("pymatgen", "the AFLOW prototypes")
    found, taken = [], set()
    for row in json.loads(gzip.decompress(path.read_bytes())):
        tags = {k: v for k, v in row["tags"].items() if v and v != "None"}
        structure = row["snl"]
        species = [NUMBER[s["species"][0]["element"]] for s in structure["sites"]]
        parents = sorted(set(species), key=species.index)
        cell, frac = np.array(structure["lattice"]["matrix"]), np.array([s["abc"] for s in structure["sites"]])
        if np.linalg.det(cell) < 0:
            cell, frac = -cell, -frac
        name = f"AFLOW {tags['aflow']}"
        if name in taken:
            name = next(n for i in itertools.count(2) if (n := f"{name} ({i})") not in taken)
        taken.add(name)
        label = [parents.index(z) for z in species]
        match = re.fullmatch(r"[A-Za-z0-9]+_[a-z][A-Z]\d+_(\d+)_.*", tags["aflow"])
        names = [tags.get("mineral", ""), tags.get("strukturbericht", ""), tags["aflow"]]
        found.append(_prototype(name, names, cell, frac, label, parents, ["any"] * len(parents), "aflow", symprec=0.01,
                                wanted=int(match[1]) if match else None, tags=tags))
    return tuple(found)


def from_crystals(crystals: Crystals, names: Sequence[str], source: str, symprec: float = 0.01) -> list[Prototype]:
    """A prototype for each crystal of a batch, elements in order of first appearance as labels; a crystal that symmetry search refuses is left out."""
    found = []
    ends = crystals.offsets.tolist()
    for i, name in enumerate(names):
        part = slice(ends[i], ends[i + 1])
        species = crystals.species[part].tolist()
        parents = sorted(set(species), key=species.index)
        try:
            found.append(_prototype(name, (), crystals.cell[i].numpy(), crystals.frac[part].numpy(), [parents.index(z) for z in species], parents,
                                    ["any"] * len(parents), source, symprec=symprec))
        except ValueError:  # moyopy's errors are ValueErrors
            continue
    return found


def split_orbits(prototype: Prototype) -> list[Prototype]:
    """Every prototype in which one orbit of a label with several orbits becomes a label of its own; the space group stays.

    This is the partial substitution of SAPS (Merchant et al., Nature 624, 80 (2023)) on symmetry-inequivalent sites.
    """
    found = []
    for i in range(len(prototype.counts)):
        orbits = np.unique(prototype.orbit[prototype.label == i])
        for o in orbits[: len(orbits) if len(orbits) > 2 else 1] if len(orbits) > 1 else ():
            label = prototype.label.copy()
            label[prototype.orbit == o] = len(prototype.counts)
            found.append(replace(prototype, name=f"{prototype.name} / {prototype.letters[o]}{int((prototype.orbit == o).sum())}", label=label,
                                 parents=(*prototype.parents, prototype.parents[i]), roles=(*prototype.roles, prototype.roles[i]), derived=True,
                                 names=frozenset()))
    return found


# names


@cache
def _names() -> dict[str, str]:
    """{any known name in lower case: canonical name of PROTOTYPE_NAMES}."""
    return {key: name for name, entry in PROTOTYPE_NAMES.items() for other in (*entry["synonyms"], name) for key in (other.lower().replace("-", " "), other.lower())}


def prototype_name(text: str) -> str:
    """Canonical name of a structure type from any of its names, case and plural ignored; Missing with the nearest names otherwise."""
    known = _names()
    clean = " ".join(text.lower().replace("_", " ").split())
    for trial in (text.lower(), clean, clean.removesuffix("s"), clean.removesuffix(" structure"), clean.replace(" ", "-"), clean.replace("-", " ")):
        if trial in known:
            return known[trial]
    raise Missing("structure type", text, {*PROTOTYPE_NAMES, *(s for e in PROTOTYPE_NAMES.values() for s in e["synonyms"])})


def named(text: str) -> tuple[Prototype, ...]:
    """Every prototype that answers to a name: a structure type, a mineral, a Strukturbericht symbol or an AFLOW label; Missing otherwise."""
    try:
        wanted = prototype_name(text).lower()
    except Missing as missing:
        found = tuple(p for p in aflow() if text.lower() in p.names)
        if found:
            return found
        known = {n for p in aflow() for n in p.names if n}
        raise Missing("structure type", text, {*missing.near, *known, *PROTOTYPE_NAMES}) from None
    return tuple(p for p in classics() if wanted == p.name.lower() or wanted in p.names and wanted in {n.lower() for n in PROTOTYPE_NAMES})


def prototypes(name: str | None = None, anonymous: str | None = None, space_group: int | None = None) -> tuple[Prototype, ...]:
    """Classic types, then AFLOW prototypes, that fit all that is given; an unknown name raises Missing with the nearest names."""
    found = named(name) if name is not None else (*classics(), *aflow())
    return tuple(p for p in found if (anonymous is None or p.anonymous == anonymous) and (space_group is None or p.space_group == space_group))
