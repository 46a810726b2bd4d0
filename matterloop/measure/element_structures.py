"""Starting geometries of the elements: ground states and near rivals, built from published structure types.

A structure type is a space group (International Tables, origin choice 1, hexagonal axes for R groups), the shape of its cell and the sites of its
asymmetric unit; the cell is scaled to the element's volume per atom. Lattice shapes and coordinates are textbook crystallography (Pearson's
handbook; J. Donohue, The Structures of the Elements, Wiley 1974; alpha-S8: Rettig & Trotter 1987; gamma-B28: Oganov et al. 2009; alpha-Pu: Zachariasen & Ellinger
1963), rounded: they are only where a relaxation starts. Diatomic solids are placed by their bond length and their volume.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from ..base.elements import METALS, number
from ..base.errors import Missing
from ..crystal.state import Crystals


@dataclass(frozen=True)
class StructureType:
    """A structure type of an element.

    space_group  number, 1 to 230
    shape        a, b, c in any unit and alpha, beta, gamma in degrees
    sites        fractional coordinates of one atom of each orbit
    atoms        atoms in the primitive cell
    """

    space_group: int
    shape: tuple[float, float, float, float, float, float]
    sites: tuple[tuple[float, float, float], ...]
    atoms: int


def _cubic(group: int, atoms: int, *sites) -> StructureType:
    return StructureType(group, (1, 1, 1, 90, 90, 90), sites, atoms)


def _tetragonal(group: int, atoms: int, c: float, *sites) -> StructureType:
    return StructureType(group, (1, 1, c, 90, 90, 90), sites, atoms)


def _hexagonal(group: int, atoms: int, c: float, *sites) -> StructureType:
    return StructureType(group, (1, 1, c, 90, 90, 120), sites, atoms)


def _orthorhombic(group: int, atoms: int, a: float, b: float, c: float, *sites) -> StructureType:
    return StructureType(group, (a, b, c, 90, 90, 90), sites, atoms)


TYPES: dict[str, StructureType] = {
    "fcc": _cubic(225, 1, (0, 0, 0)),
    "bcc": _cubic(229, 1, (0, 0, 0)),
    "sc": _cubic(221, 1, (0, 0, 0)),
    "hcp": _hexagonal(194, 2, 1.61, (1 / 3, 2 / 3, 1 / 4)),
    "dhcp": _hexagonal(194, 4, 3.24, (0, 0, 0), (1 / 3, 2 / 3, 1 / 4)),
    "9R (alpha-Sm)": _hexagonal(166, 3, 7.25, (0, 0, 0), (0, 0, 2 / 9)),
    "omega": _hexagonal(191, 3, 0.62, (0, 0, 0), (1 / 3, 2 / 3, 1 / 2)),
    "bct (In)": _tetragonal(139, 1, 1.52, (0, 0, 0)),
    "bct (Pa)": _tetragonal(139, 1, 0.825, (0, 0, 0)),
    "rhombohedral (alpha-Hg)": _hexagonal(166, 1, 1.93, (0, 0, 0)),
    "rhombohedral (beta-Po)": _hexagonal(166, 1, 0.965, (0, 0, 0)),
    "simple hexagonal": _hexagonal(191, 1, 0.94, (0, 0, 0)),
    "A15 (beta-W)": _cubic(223, 8, (0, 0, 0), (1 / 4, 0, 1 / 2)),
    "alpha-Mn": _cubic(217, 29, (0, 0, 0), (0.317, 0.317, 0.317), (0.357, 0.357, 0.035), (0.089, 0.089, 0.282)),
    "beta-Mn": _cubic(213, 20, (0.0636, 0.0636, 0.0636), (1 / 8, 0.2022, 0.4522)),
    "cI16 (Li)": _cubic(220, 8, (0.05, 0.05, 0.05)),
    "sigma (beta-U)": _tetragonal(136, 30, 0.526, (0, 0, 0), (0.3986, 0.3986, 0), (0.4635, 0.1313, 0), (0.7399, 0.0665, 0), (0.1825, 0.1825, 0.252)),
    "alpha-U": _orthorhombic(63, 2, 2.854, 5.869, 4.955, (0, 0.1025, 1 / 4)),
    "alpha-Np": _orthorhombic(62, 8, 6.663, 4.723, 4.887, (0.036, 1 / 4, 0.208), (0.319, 1 / 4, 0.842)),
    "beta-Np": _tetragonal(129, 4, 0.692, (0, 0, 0), (0, 1 / 2, 0.375)),
    "alpha-Pu": StructureType(11, (6.183, 4.822, 10.963, 90, 101.79, 90), tuple((x, 1 / 4, z) for x, z in (
        (0.345, 0.162), (0.767, 0.168), (0.128, 0.340), (0.657, 0.457), (0.025, 0.618), (0.473, 0.653), (0.328, 0.926), (0.869, 0.894))), 16),
    "gamma-Pu": _orthorhombic(70, 2, 3.159, 5.768, 10.162, (0, 0, 0)),
    "alpha-Ga": _orthorhombic(64, 4, 4.519, 7.659, 4.526, (0, 0.1539, 0.081)),
    "diamond": _cubic(227, 2, (0, 0, 0)),
    "lonsdaleite": _hexagonal(194, 4, 1.65, (1 / 3, 2 / 3, 0.0625)),
    "beta-Sn": _tetragonal(141, 2, 0.5456, (0, 0, 0)),
    "graphite": _hexagonal(194, 4, 2.724, (0, 0, 1 / 4), (1 / 3, 2 / 3, 1 / 4)),
    "rhombohedral graphite": _hexagonal(166, 2, 4.09, (0, 0, 1 / 6)),
    "alpha-B12": _hexagonal(166, 12, 2.5605, (0.1189, -0.1189, 0.8912), (0.1965, -0.1965, 0.0243)),
    "gamma-B28": _orthorhombic(58, 28, 5.054, 5.620, 6.987, (0.1702, 0.5206, 0), (0.1606, 0.2810, 0.3743), (0.3472, 0.0924, 0.2093),
                               (0.3520, 0.2711, 0), (0.1644, 0.0080, 0)),
    "A7 (As)": _hexagonal(166, 2, 2.75, (0, 0, 0.2300)),
    "A17 (black P)": _orthorhombic(64, 4, 3.314, 10.478, 4.376, (0, 0.1034, 0.0808)),
    "P4 on bcc": _cubic(217, 4, (0.111, 0.111, 0.111)),
    "P4 on fcc": _cubic(216, 4, (0.088, 0.088, 0.088)),
    "alpha-S8": _orthorhombic(70, 32, 10.464, 12.866, 24.486, (0.9808, 0.0777, 0.0763), (0.9094, 0.1552, 0.2012), (0.8321, 0.1045, 0.1289),
                              (0.9114, 0.0325, 0.2540)),
    "S6 (R-3)": _hexagonal(148, 6, 0.3956, (0.1454, 0.1882, 0.1055)),
    "trigonal Se": _hexagonal(152, 3, 1.2, (0.24, 0, 1 / 3)),
    "alpha-Se8": StructureType(14, (9.054, 9.083, 14.615, 90, 52.53, 90), (
        (0.084, 0.486, 0.237), (0.068, 0.664, 0.357), (0.783, 0.637, 0.535), (0.579, 0.820, 0.555), (0.399, 0.690, 0.520),
        (0.516, 0.733, 0.328), (0.692, 0.521, 0.229), (0.998, 0.598, 0.134)), 32),
    "body-centred orthorhombic (I-II)": _orthorhombic(71, 1, 3.031, 5.252, 2.904, (0, 0, 0)),
}

# Volume per atom in Å^3 that a compact structure starts from: room-temperature crystallography, rounded.
VOLUME = {
    "H": 10.0, "He": 18.0, "Li": 20.2, "Be": 8.0, "B": 7.3, "C": 7.5, "N": 20.0, "O": 16.0, "F": 16.0, "Ne": 22.0, "Na": 37.0, "Mg": 23.0, "Al": 16.5, "Si": 18.0,
    "P": 18.0, "S": 20.0, "Cl": 24.0, "Ar": 40.0, "K": 73.0, "Ca": 42.5, "Sc": 24.6, "Ti": 17.4, "V": 13.5, "Cr": 11.8, "Mn": 11.2, "Fe": 11.4, "Co": 10.9,
    "Ni": 10.9, "Cu": 11.9, "Zn": 15.2, "Ga": 19.0, "Ge": 21.0, "As": 20.5, "Se": 24.0, "Br": 28.0, "Kr": 50.0, "Rb": 90.0, "Sr": 54.5, "Y": 33.0, "Zr": 23.3,
    "Nb": 18.2, "Mo": 15.8, "Tc": 14.4, "Ru": 13.8, "Rh": 14.0, "Pd": 15.2, "Ag": 17.8, "Cd": 22.5, "In": 27.3, "Sn": 28.0, "Sb": 29.5, "Te": 31.0, "I": 36.0,
    "Xe": 65.0, "Cs": 115.0, "Ba": 63.5, "La": 37.0, "Ce": 28.0, "Pr": 35.5, "Nd": 34.5, "Pm": 33.8, "Sm": 33.3, "Eu": 43.0, "Gd": 33.0, "Tb": 32.0, "Dy": 31.6,
    "Ho": 31.2, "Er": 30.7, "Tm": 30.2, "Yb": 39.0, "Lu": 29.5, "Hf": 22.3, "Ta": 18.2, "W": 16.1, "Re": 14.9, "Os": 14.2, "Ir": 14.4, "Pt": 15.6, "Au": 17.9,
    "Hg": 27.0, "Tl": 30.0, "Pb": 31.8, "Bi": 34.0, "Ac": 45.0, "Th": 32.0, "Pa": 25.0, "U": 20.5, "Np": 19.0, "Pu": 20.0,
}
ELEMENTS = tuple(VOLUME)  # the 89 elements of the Materials Project's elemental references

CLOSE_PACKED = ("fcc", "bcc", "hcp", "dhcp", "9R (alpha-Sm)")
METALLIC = (*CLOSE_PACKED, "omega", "A15 (beta-W)", "beta-Mn", "alpha-U", "bct (In)", "bct (Pa)", "rhombohedral (alpha-Hg)")  # tried for every metal
# Types beyond these, with the volume per atom (Å^3) where it differs much from VOLUME: open structures of the same element.
RIVALS: dict[str, tuple[tuple[str, float | None], ...]] = {
    "Li": (("cI16 (Li)", None), ("alpha-Mn", None)),
    "Na": (("cI16 (Li)", None), ("alpha-Mn", None)),
    "K": (("cI16 (Li)", None), ("alpha-Mn", None)),
    "Rb": (("cI16 (Li)", None), ("alpha-Mn", None)),
    "Cs": (("cI16 (Li)", None), ("alpha-Mn", None)),
    "B": (("alpha-B12", 7.3), ("gamma-B28", 7.1)),
    "C": (("graphite", 9.0), ("rhombohedral graphite", 9.0), ("diamond", 5.7), ("lonsdaleite", 5.7)),
    "Si": (("diamond", 20.4), ("lonsdaleite", 20.4), ("beta-Sn", 15.2), ("simple hexagonal", 15.0)),
    "Ge": (("diamond", 23.9), ("lonsdaleite", 23.9), ("beta-Sn", 19.0)),
    "Sn": (("diamond", 36.5), ("beta-Sn", 28.5), ("simple hexagonal", None)),
    "P": (("A17 (black P)", 19.5), ("A7 (As)", 18.0), ("P4 on bcc", 28.0), ("P4 on fcc", 28.0), ("sc", 14.5)),
    "As": (("A7 (As)", 22.0), ("A17 (black P)", 23.0), ("sc", 19.5)),
    "Sb": (("A7 (As)", 31.0), ("A17 (black P)", 32.0), ("sc", 28.0)),
    "Bi": (("A7 (As)", 36.0), ("A17 (black P)", 37.0), ("sc", 32.0)),
    "S": (("alpha-S8", 26.0), ("S6 (R-3)", 25.0), ("trigonal Se", 18.5), ("alpha-Se8", 27.0), ("sc", 14.5)),
    "Se": (("trigonal Se", 27.5), ("alpha-Se8", 30.5), ("alpha-S8", 31.0), ("S6 (R-3)", 29.0), ("sc", 21.0), ("rhombohedral (beta-Po)", 21.0)),
    "Te": (("trigonal Se", 34.5), ("S6 (R-3)", 37.0), ("sc", 31.5), ("rhombohedral (beta-Po)", 30.0)),
    "Ta": (("sigma (beta-U)", None),),
    "Mn": (("alpha-Mn", None), ("sigma (beta-U)", None)), "Re": (("alpha-Mn", None),), "Tc": (("alpha-Mn", None),), "Fe": (("alpha-Mn", None),),
    "Ga": (("alpha-Ga", 19.6), ("beta-Sn", None)),
    "Ce": (("alpha-U", 26.0), ("bct (In)", 26.0)),
    "U": (("alpha-U", 20.0), ("sigma (beta-U)", 21.0), ("gamma-Pu", None), ("alpha-Np", None)),
    "Np": (("alpha-Np", 18.5), ("beta-Np", None), ("gamma-Pu", None)),
    "Pu": (("alpha-Pu", 19.0), ("gamma-Pu", None), ("alpha-Np", None), ("beta-Np", None)),
    "Br": (("body-centred orthorhombic (I-II)", None), ("bct (In)", None), ("sc", 24.0)),
    "I": (("body-centred orthorhombic (I-II)", None), ("bct (In)", None), ("sc", 31.0)),
}
# Diatomic solids: bond length in Å and volume per atom in Å^3.
DIATOMIC = {"H": (0.745, 12.0), "N": (1.11, 23.0), "O": (1.22, 17.5), "F": (1.42, 17.0), "Cl": (2.0, 30.0), "Br": (2.32, 35.0), "I": (2.72, 43.0)}
MOLECULAR_PACKINGS = {
    "molecules, Pa-3 (alpha-N2)": 4, "molecules, P4_2/mnm (gamma-N2)": 2, "molecules, P6_3/mmc": 2, "molecules, C2/m (alpha-O2)": 1, "molecules, R-3m (beta-O2)": 1,
    "molecules, Cmce (Cl2)": 2, "molecules, C2/c (alpha-F2)": 2}  # molecules in the primitive cell
NOBLE_GASES = ("He", "Ne", "Ar", "Kr", "Xe")
NON_METALS = ("H", "N", "O", "F", "Cl", "S")  # close-packed atoms of these lie electronvolts above the molecules


def types_of(element: str) -> list[str]:
    """Names of the structure types tried for `element`; Missing outside the 89 elements."""
    if element not in VOLUME:
        raise Missing("element with a reference structure", element, VOLUME)
    if element in NON_METALS:
        general = ()
    elif element in NOBLE_GASES:
        general = ("fcc", "hcp")
    else:
        general = METALLIC if number(element) in METALS else CLOSE_PACKED
    molecular = tuple(MOLECULAR_PACKINGS) if element in DIATOMIC else ()
    return list(dict.fromkeys([*molecular, *(name for name, _ in RIVALS.get(element, ())), *general]))


def structures(element: str) -> Iterator[tuple[str, Crystals]]:
    """(name of the type, primitive cell as a batch of one) of every structure tried for `element`."""
    for name in types_of(element):
        yield name, structure(element, name)


def structure(element: str, name: str) -> Crystals:
    """The primitive cell of `element` in the structure type `name`, scaled to its volume per atom, a batch of one.

    Raises Missing for an unknown element or type.
    """
    return _build(element, type_of(element, name), start_volume(element, name))


def type_of(element: str, name: str) -> StructureType:
    """The structure type `name`, for molecules with the coordinates of this element; Missing for an unknown one."""
    if name in MOLECULAR_PACKINGS:
        if element not in DIATOMIC:
            raise Missing("diatomic element", element, DIATOMIC)
        return _molecular(name, *DIATOMIC[element])
    if name not in TYPES:
        raise Missing("structure type", name, [*TYPES, *MOLECULAR_PACKINGS])
    return TYPES[name]


def start_volume(element: str, name: str) -> float:
    """Crystallographic volume in Å^3 per atom of `element` in the structure type `name`; Missing outside the 89 elements."""
    if element not in VOLUME:
        raise Missing("element with a reference structure", element, VOLUME)
    if name in MOLECULAR_PACKINGS:
        return DIATOMIC[element][1]
    return next((v for n, v in RIVALS.get(element, ()) if n == name and v), VOLUME[element])


def _molecular(name: str, bond: float, volume: float) -> StructureType:
    """A packing of diatomic molecules: coordinates that follow from the bond length (Å) and the volume per atom (Å^3)."""
    half = bond / 2
    if "Pa-3" in name:
        a = (8 * volume) ** (1 / 3)
        return _cubic(205, 8, (half / a / math.sqrt(3),) * 3)
    if "P4_2/mnm" in name:
        a = (4 * volume / 1.291) ** (1 / 3)
        return _tetragonal(136, 4, 1.291, (half / a / math.sqrt(2), half / a / math.sqrt(2), 0))
    if "P6_3/mmc" in name:
        c = 1.633 * (4 * volume / 1.633 / (math.sqrt(3) / 2)) ** (1 / 3)
        return _hexagonal(194, 4, 1.633, (1 / 3, 2 / 3, 1 / 4 - half / c))
    if "R-3m" in name:
        c = 3.404 * (6 * volume / 3.404 / (math.sqrt(3) / 2)) ** (1 / 3)
        return _hexagonal(166, 2, 3.404, (0, 0, half / c))
    if "Cmce" in name:  # molecules in the bc plane, 32 degrees from c as in I2
        scale = (8 * volume / (7.136 * 4.686 * 9.784)) ** (1 / 3)
        y, z = 0.1543 * 4.686, 0.1174 * 9.784
        stretch = half / math.hypot(y, z)
        return _orthorhombic(64, 4, 7.136, 4.686, 9.784, (0, 0.1543 * stretch / scale, 0.1174 * stretch / scale))
    if "C2/m" in name:  # axis along c*, the normal of the ab plane
        beta = math.radians(132.53)
        scale = (4 * volume / (5.403 * 3.429 * 5.086 * math.sin(beta))) ** (1 / 3)
        z = half / (5.086 * scale * math.sin(beta))
        x = -z * 5.086 * math.cos(beta) / 5.403
        return StructureType(12, (5.403, 3.429, 5.086, 90, 132.53, 90), ((x, 0, z),), 2)
    beta = math.radians(102.17)  # C2/c: centre on an inversion centre, axis 18 degrees from c* towards b
    scale = (8 * volume / (5.50 * 3.28 * 7.28 * math.sin(beta))) ** (1 / 3)
    z = half * math.cos(math.radians(18)) / (7.28 * scale * math.sin(beta))
    x = -z * 7.28 * math.cos(beta) / 5.50
    y = half * math.sin(math.radians(18)) / (3.28 * scale)
    return StructureType(15, (5.50, 3.28, 7.28, 90, 102.17, 90), ((1 / 4 + x, 1 / 4 + y, z),), 4)


def _build(element: str, kind: StructureType, volume: float) -> Crystals:
    """Expand the orbits, scale the cell to `volume` Å^3 per atom and reduce it to a primitive cell of `kind.atoms` atoms."""
    from pymatgen.core import Lattice, Structure

    full = Structure.from_spacegroup(kind.space_group, Lattice.from_parameters(*kind.shape), [element] * len(kind.sites), kind.sites, tol=1e-3)
    full.scale_lattice(volume * len(full))
    primitive = full.get_primitive_structure(tolerance=0.05)
    cell, frac = torch.tensor(primitive.lattice.matrix.copy()), torch.tensor(primitive.frac_coords.copy())
    if torch.linalg.det(cell) < 0:
        cell, frac = -cell, -frac
    return Crystals.of(frac, [number(element)] * len(frac), cell)
