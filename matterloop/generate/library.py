"""The prototypes that substitution draws on, with what is needed to rank and scale them quickly.

Sources: classic types with several known members each, AFLOW's prototypes, and, where the reference table ships relaxed geometry, its crystals.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np

from ..base.elements import NUMBER, symbol
from ..base.errors import BadInput
from ..crystal.composition import reduced_formula
from ..crystal.prototypes import ROLES, Prototype, aflow, classics, split_orbits
from ..crystal.space_groups import lattice_points
from ..crystal.space_groups import symbol as symbol_of
from ..crystal.wyckoff import layout, position
from ..represent.wyckoff_gene import Gene, gene
from .similarity import similarity
from .volume import MAX_Z, contacts, type_excess, volume_from_parent, volume_per_atom

# Further members of classic types, elements in the order of the type's site labels: what may sit where, from general chemical knowledge.
MEMBERS: dict[str, str] = {
    "rock salt": "Mg O, Li F, K Br, Ca S, Ti N, Ti C, La P, Gd Sb, Pb Te, Ag Cl, Mn Se",
    "CsCl": "Cs Br, Tl I, Ni Al, Fe Al, Ti Ni, Mg Ag, Cu Zn, Y Cu, Fe Ti",
    "zinc blende": "Ga As, In P, Cu Cl, Cd Te, B N, Al Sb, Be S, Si C",
    "wurtzite": "Zn O, Ga N, Al N, Cd Se, Be O, In N",
    "NiAs": "Fe S, Co Te, Cr Se, Mn Bi, V P, Ti Se",
    "fluorite": "Ce O, U O, Sr Cl, Zr O, Eu F, Mg Si",
    "antifluorite": "Na S, K Te, Mg Ge, Be C, Rb O",
    "rutile": "Sn O, Mg F, V O, Mn F, Ru O",
    "CdI2": "Mg Br, Ti S, Zr Se, Sn S, Pt Te, Ca I, Mn I",
    "CdCl2": "Mg Cl, Ni Br, Ta S, Fe Cl",
    "MoS2": "W Se, Nb S, W S, Mo Te",
    "AlB2": "Ti B, Mg B, U Si, La Ga",
    "pyrite": "Mn S, Ru Se, Pt P, Au Sb, Os Te",
    "BiI3": "Cr Br, As I, Y I, Fe Cl",
    "Cu3Au": "Al Ni, Pt Fe, Sn La, Ti Pt, In Ce",
    "A15": "Sn Nb, Ge Nb, Si V, Au Nb",
    "corundum": "Fe O, Cr O, Ti O, Ga O",
    "cubic perovskite": "Cs Pb I, Cs Sn Br, K Mg F, Ba Zr O, La Al O, Rb Mn Cl, Cs Ca Cl, Na Ta O, Li Ba F",
    "orthorhombic perovskite": "La Fe O, Gd Sc O, Na Mn F, Cs Pb Br, Cs Sn Cl, Ca Zr O, Ca Zr S, Y Al O",
    "rhombohedral perovskite": "La Ni O, La Mn O, Na Sb O",
    "hexagonal perovskite": "Cs Ni Cl, Cs Mg Br, Ba Mn O, Ba V S, Rb Ni Cl, Cs Cr I",
    "tetragonal perovskite": "Ba Ti O, Bi Co O, K Nb O",
    "antiperovskite": "Ni C Mg, O Br Li, Ge N Ca, I O Na",
    "double perovskite": "Sb Ag Cs Cl, W Mg Sr O, In Na Cs Br, Nb Y Ba O, Bi Ag Cs Br",
    "vacancy-ordered double perovskite": "Cs Sn I, Rb Te Br, Cs Te Cl, K Si F, K Os Cl",
    "spinel": "Zn Fe O, Co Co O, Cd In S, Mg Cr O, Zn Cr Se, Li Mn O, Mg In S",
    "inverse spinel": "Ni Fe O, Mg Ti O, Li Mn O",
    "olivine": "Si Fe O, Ge Mg O, Si Ca O, Be Al O",
    "triphylite": "Li Mn P O, Na Fe P O, Li Co P O",
    "K2NiF4": "La Cu O, Sr Ti O, Cs Cd Cl, Ba Sn O, Rb Mn F",
    "scheelite": "Pb Mo O, Sr W O, Bi V O",
    "zircon": "Y V O, Lu P O, Hf Si O",
    "pyrochlore": "Gd Zr O, La Hf O, Cd Nb O",
    "delafossite": "Cu Al O, Ag Ga O, Cu Rh O, Pt Co O",
    "alpha-NaFeO2": "Na Cr O, Li Ni O, Na Ti S, K Bi S, Li Cr Se, Na In O",
    "chalcopyrite": "Cu In Se, Ag Ga S, Zn Ge P, Cd Sn As, Cu Ga Te",
    "kesterite": "Zn Ge Cu Se, Cd Sn Cu S, Zn Sn Ag S",
    "stannite": "Hg Ge Cu Se, Cd Sn Cu Se, Zn Ge Cu S",
    "half-Heusler": "Zr Ni Sn, Nb Fe Sb, Ti Co Sb, Li Mg N, Mg Cu Sb, Mn Ni Sb, V Fe Sb, Y Ni Bi",
    "Heusler": "Mn Ga Ni, Fe Al Co, Mn Si Co, V Al Fe, Ti Sn Ni, Y Pb Pd, Mn Sn Cu",
    "inverse Heusler": "Fe Ga Mn, Co Al Mn, Ti Si Sc",
    "quaternary Heusler": "Co Fe Mn Si, Co Fe Cr Al",
    "ThCr2Si2": "Ba Fe As, La Ru Ge, Ca Co P, Sr Ni P, Ce Cu Si, K Ni Se",
    "CaAl2Si2": "Mg Mg Sb, Yb Zn Sb, Ca Cd As, Sr Mg Bi",
    "ZrCuSiAs": "Ba Cu F Te, La Cu O Se, Ce Co O P, Bi Cu O Se",
    "PbClF": "Bi Cl O, Ba Cl F, La I O, Ca H Br, Sr F Br",
    "MAX phase": "Ti Al C, Ti Al N, V Ge C, Zr In C, Nb Sn C, Hf S C",
    "Laves C14": "Mg Zn, Zr Fe, Ti Mn, Ta Fe, K Na",
    "Laves C15": "Zr Co, Ce Al, Y Fe, La Ru, Ca Li",
    "CaCu5": "Sm Co, La Ni, Sr Zn, Y Rh",
    "skutterudite": "Ir Sb, Rh P",
    "filled skutterudite": "Ce Os Sb, Ba Fe As",
    "NASICON": "Li Ti P O, Na Ge P O, Na Sn P O",
    "garnet": "Al Y Al O, Fe Gd Fe O, Cr Ca Si O, Te Li Li O",
    "apatite": "Sr P O Cl, Pb V O Cl, Ba P O F",
    "calcite": "Mg C O, Na N O, Fe C O, Lu B O",
    "ilmenite": "Mg Ge O, Na Sb O, Ni Mn O, Li Nb O",
    "litharge": "Fe Se, Sn O, Li O",
    "tetradymite": "Sb Te, Bi Se",
    "La2O3": "Ce O, Mg Sb, Nd O, Ac O",
}


REFERENCE = "reference"
TABLE = "compounds_chgnet"
_CENTRING = {  # rows: primitive lattice vectors in terms of the conventional ones
    "P": np.eye(3), "A": np.array([[1, 0, 0], [0, 0.5, -0.5], [0, 0.5, 0.5]]), "C": np.array([[0.5, -0.5, 0], [0.5, 0.5, 0], [0, 0, 1]]),
    "I": np.array([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]]), "F": np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]),
    "R": np.array([[2, 1, 1], [-1, 1, 1], [-1, -2, 1]]) / 3}


@dataclass(frozen=True, eq=False)
class Template:
    """A prototype with one set of elements known in it; volume of that member in Å^3 per atom (None: not known)."""

    prototype: Prototype
    parents: tuple[int, ...]
    parent_volume: float | None
    weight: float = 1.0

    @cached_property
    def pattern(self) -> tuple[int, ...]:
        """Reduced counts of the labels, ascending."""
        return tuple(sorted(self.ratios))

    @cached_property
    def ratios(self) -> tuple[int, ...]:
        """Reduced count of each label."""
        counts = self.prototype.counts
        factor = math.gcd(*counts)
        return tuple(n // factor for n in counts)

    @property
    def gene(self) -> Gene:
        """Wyckoff gene with the label i as the element of atomic number i + 1."""
        return _genes(self.prototype)[0]

    @property
    def anonymous(self) -> str:
        """Anonymous gene: equal for equal structure types."""
        return _genes(self.prototype)[1]

    def with_roles_of(self, other: Prototype) -> Template:
        """The same template with the site roles of another prototype of the same anonymous gene."""
        return replace(self, prototype=_with_roles(self.prototype, other))

    @cached_property
    def parent_formula(self) -> str:
        """Formula of the member."""
        return reduced_formula(self.composition(self.parents))

    def composition(self, species: Sequence[int]) -> dict[int, int]:
        """{atomic number: atoms in the primitive cell} with `species` on the labels."""
        found: dict[int, int] = {}
        for z, n in zip(species, self.prototype.counts, strict=True):
            found[z] = found.get(z, 0) + n
        return found

    @cached_property
    def spacing(self) -> np.ndarray:
        """(labels, labels) shortest distances in a cell of 1 Å^3 per atom, own images included."""
        p = self.prototype
        return _spacing(p) / (p.volume / p.atoms) ** (1 / 3)

    def volume(self, species: Sequence[int]) -> float:
        """Predicted volume in Å^3 per atom with `species` on the labels: the model, corrected by the type's or else the parent's packing."""
        new = self.composition(species)
        if tuple(species) == self.parents and self.parent_volume is not None:
            return self.parent_volume
        if (excess := type_excess(self.anonymous)) is not None:
            return volume_per_atom(new) * math.exp(excess)
        if self.parent_volume is not None:
            return volume_from_parent(new, self.composition(self.parents), self.parent_volume)
        archetype = self.prototype.parents
        if max(archetype) > MAX_Z:
            return volume_per_atom(new)
        return volume_from_parent(new, self.composition(archetype), self.prototype.volume / self.prototype.atoms)

    def tightness(self, species: Sequence[int], volume: float) -> float:
        """Smallest ratio of a distance to the shortest usual one of its pair of elements, at `volume` Å^3 per atom."""
        return float((self.spacing * volume ** (1 / 3) / contacts(np.asarray(species))).min())

    def score(self, species: Sequence[int]) -> float:
        """Sum over labels of the ln of observed over expected swaps, parent to new element."""
        table = similarity()
        return float(sum(table[a, b] for a, b in zip(self.parents, species, strict=True)))


@cache
def _genes(p: Prototype) -> tuple[Gene, str]:
    if p.source == REFERENCE:  # letters of the standard setting, no search needed
        pairs = {(int(o), int(i)) for o, i in zip(p.orbit, p.label, strict=True)}
        found = Gene.of(p.space_group, [(p.letters[o], i + 1) for o, i in pairs]).canonical
    else:
        found = gene(p.filled(range(1, len(p.counts) + 1)), 0.01)[0]
    return found, found.anonymous


@cache
def _with_roles(p: Prototype, other: Prototype) -> Prototype:
    """`p` with the roles of `other` on the labels that hold the same positions in some setting; of several ways one that suits p's elements."""
    fitting = []
    for order in itertools.permutations(range(len(other.counts))):  # label i of `other` is label order[i] of `p`
        if _genes(other)[0].substituted({i + 1: j + 1 for i, j in enumerate(order)}).key == _genes(p)[0].key:
            fitting.append(tuple(other.roles[order.index(j)] for j in range(len(order))))
    if not fitting:
        raise BadInput(f"{p.name} and {other.name} do not share a gene", "roles")
    return replace(p, roles=max(fitting, key=lambda roles: sum(z in ROLES[r] for z, r in zip(p.parents, roles, strict=True))))


@cache
def _spacing(p: Prototype) -> np.ndarray:
    images = np.array(list(itertools.product((-2, -1, 0, 1, 2), repeat=3)))
    difference = p.frac[:, None] - p.frac
    difference = difference - np.round(difference)
    shortest = np.full((p.atoms, p.atoms), np.inf)
    for image in images:
        distance = np.linalg.norm((difference + image) @ p.cell, axis=-1)
        distance[distance < 1e-3] = np.inf
        shortest = np.minimum(shortest, distance)
    k = len(p.counts)
    return np.array([[shortest[np.ix_(p.label == i, p.label == j)].min() for j in range(k)] for i in range(k)])


def template_of(prototype: Prototype) -> Template:
    """The template of a prototype's own archetype."""
    measured = None if max(prototype.parents) > MAX_Z else prototype.volume / prototype.atoms
    return Template(prototype, prototype.parents, measured)


@cache
def built_in() -> tuple[Template, ...]:
    """Classic types with their members, and AFLOW's prototypes."""
    found = []
    for p in classics():
        found.append(template_of(p))
        for text in MEMBERS.get(p.name, "").split(","):
            if text.strip():
                found.append(Template(p, tuple(NUMBER[s] for s in text.split()), None))
    found += [template_of(p) for p in aflow()]
    return weighted([t for t in found if t.gene.space_group == t.prototype.space_group])  # a few AFLOW types lie within 0.01 Å of a higher group


@cache
def reference() -> tuple[Template, ...]:
    """The phases of the shipped reference table that our own engine has relaxed; empty where the table is not shipped."""
    from ..archive.shipped import list_shipped, read_table

    if TABLE not in list_shipped():
        return ()
    frame = read_table(TABLE, columns=["material_id", "formula", "relaxed_space_group", "sites", "lattice", "parameters"])
    frame = frame[frame.lattice.notna() & (frame.relaxed_space_group > 0)]
    return weighted(from_sites(frame.material_id, frame.relaxed_space_group, frame.sites, frame.lattice, frame.parameters))


@cache
def shipped() -> tuple[Template, ...]:
    """All templates that come with the package: built-in ones and the reference's."""
    return (*built_in(), *reference())


def from_sites(names: Iterable[str], space_groups: Iterable[int], sites: Iterable[str], lattices: Iterable, parameters: Iterable) -> list[Template]:
    """Templates from tables of free parameters: sites as 'Na_a.Cl_b', lattices in the order of `lattice.FREE`, parameters of all sites in order.

    Space-group setting: the standard one of crystal/wyckoff.py.
    """
    groups = [int(g) for g in space_groups]
    listed = [[(part.split("_")[1], NUMBER[part.split("_")[0]]) for part in text.split(".")] for text in sites]
    if not groups:
        return []
    plan = layout(groups, listed)
    together = lambda rows: np.concatenate([np.asarray(r, dtype=float) for r in rows])
    batch = plan.crystals(together(lattices), together(parameters))
    cells, frac, ends = batch.cell.numpy(), batch.frac.numpy(), batch.offsets.tolist()
    found = []
    for i, (name, group) in enumerate(zip(names, groups, strict=True)):
        basis = _CENTRING[symbol_of(group)[0]]
        orbit = np.repeat(np.arange(len(listed[i])), [position(group, letter).multiplicity for letter, _ in listed[i]])
        points = (frac[ends[i] : ends[i + 1]] @ np.linalg.inv(basis)) % 1.0
        rounded = np.rint(points * 1e4).astype(int) % 10_000
        _, first = np.unique(np.column_stack([orbit, rounded]), axis=0, return_index=True)
        if len(first) * lattice_points(group) != len(orbit):
            raise BadInput(f"{len(orbit)} atoms become {len(first)} in the primitive cell of group {group}", str(name))
        parents = sorted({z for _, z in listed[i]})
        label = np.array([parents.index(listed[i][o][1]) for o in orbit[first]])
        p = Prototype(str(name), frozenset(), group, basis @ cells[i], points[first], label, orbit[first], tuple(letter for letter, _ in listed[i]),
                      tuple(parents), ("any",) * len(parents), REFERENCE)
        found.append(template_of(p))
    return found


def weighted(templates: Sequence[Template]) -> tuple[Template, ...]:
    """Templates with weights such that each structure type weighs the square root of its number of members."""
    members: dict[tuple, int] = defaultdict(int)
    for t in templates:
        members[t.prototype.key] += 1
    return tuple(replace(t, weight=members[t.prototype.key] ** -0.5) for t in templates)


def with_splits(templates: Sequence[Template], share: float = 0.15) -> tuple[Template, ...]:
    """The templates and, at `share` of their weight, those in which one orbit of an element is given to another (partial substitution)."""
    found = list(templates)
    for t in templates:
        if len(t.parents) < 5 and t.prototype.atoms <= 40 and t.prototype.space_group > 1:
            for p in split_orbits(t.prototype):
                found.append(Template(p, (*t.parents, t.parents[_split_from(t.prototype, p)]), t.parent_volume, share * t.weight))
    return tuple(found)


def _split_from(before: Prototype, after: Prototype) -> int:
    """Label that lost an orbit."""
    return next(i for i, n in enumerate(before.counts) if after.counts[i] != n)


def describe(template: Template, species: Sequence[int]) -> str:
    """'Sr->Ba Ti->Sn': which element took whose place; kept ones are left out."""
    return " ".join(f"{symbol(a)}->{symbol(b)}" for a, b in zip(template.parents, species, strict=True) if a != b)
