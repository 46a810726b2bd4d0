"""pymatgen structures and molecules and ASE atoms, from and to batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..base.elements import symbol
from ..base.errors import BadInput
from ..base.quantities import STANDARD, Quantity
from .formats_frame import Frame, assemble, no_crystals, pieces, refuse_undecided
from .state import Crystals

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Molecule, Structure


def _listed(things) -> list:
    """One object or several; ASE's Atoms and pymatgen's structures are sequences themselves, so `list` would take them apart."""
    single = hasattr(things, "get_atomic_numbers") or hasattr(things, "cart_coords")
    return [things] if single else list(things)


def from_pymatgen(structures: Structure | Molecule | Iterable[Structure | Molecule], *, quantities: Mapping[str, Quantity] | None = None) -> Crystals:
    """A batch from pymatgen structures and molecules.

    Site properties and `properties` that have a Quantity (standard, or in `quantities`) become fields; oxidation states and other properties
    are not kept. Left-handed cells are negated together with frac. Raises BadInput naming the structure when it is disordered.
    """
    quantities, frames = dict(quantities or {}), []
    for i, one in enumerate(_listed(structures)):
        where = f"structure {i}"
        if not one.is_ordered:
            raise BadInput("it is disordered (a site is shared or partly occupied); order it first", where)
        kinds = [getattr(site.specie, "element", site.specie) for site in one]  # without oxidation states
        species = [-1 if getattr(kind, "name", "") in ("D", "T") else getattr(kind, "Z", 0) for kind in kinds]
        if -1 in species:
            raise BadInput("it holds deuterium or tritium; isotopes are not told apart here, write H", where)
        lattice = getattr(one, "lattice", None)
        frame = Frame(np.eye(3), species, one.cart_coords, (False,) * 3) if lattice is None else Frame(lattice.matrix, species, one.frac_coords, tuple(lattice.pbc))
        known = lambda name: name in STANDARD or name in quantities
        frame.site = {k: _array(v, f"{where}, {k}") for k, v in one.site_properties.items() if known(k) and all(x is not None for x in v)}
        frame.whole = {k: _array(v, f"{where}, {k}") for k, v in one.properties.items() if known(k) and v is not None}
        frames.append(frame)
    return assemble(frames, quantities)[0].checked() if frames else no_crystals()


def _array(value, where: str) -> np.ndarray:
    try:
        array = np.asarray(value)
        return array if array.dtype.kind in "biu" else array.astype(np.float64)
    except (TypeError, ValueError):
        raise BadInput("it is not an array of numbers", where) from None


def to_pymatgen(crystals: Crystals) -> list[Structure | Molecule]:
    """pymatgen structures (molecules where nothing repeats) with site fields as site properties and whole fields as `properties`."""
    from pymatgen.core import Lattice, Molecule, Structure

    refuse_undecided(crystals, "pymatgen")
    cells, periodic = crystals.cell.detach().cpu().numpy(), crystals.periodic.tolist()
    whole = {k: v.detach().cpu().numpy() for k, v in crystals.whole.items()}
    found = []
    for i, (species, frac, cart, *fields) in enumerate(pieces(crystals, crystals.species, crystals.frac, crystals.cart, *crystals.site.values())):
        site = {k: v.tolist() for k, v in zip(crystals.site, fields, strict=True)}
        own = {k: v[i].tolist() for k, v in whole.items()}
        symbols = [symbol(z) for z in species.tolist()]
        if any(periodic[i]):
            found.append(Structure(Lattice(cells[i], pbc=tuple(periodic[i])), symbols, frac, site_properties=site or None, properties=own))
        else:
            found.append(Molecule(symbols, cart, site_properties=site or None, properties=own))
    return found


# ASE

_FROM_ASE = {"magmoms": "magmom", "charges": "charge", "energies": "site_energy"}


def from_ase(atoms: Atoms | Iterable[Atoms], *, quantities: Mapping[str, Quantity] | None = None) -> Crystals:
    """A batch from ASE's Atoms, with the stored results of their calculators (nothing is computed) and the arrays and info that have a Quantity.

    Missing cell vectors of axes that do not repeat are completed with unit vectors; left-handed cells are negated together with frac. Stress
    in Voigt order becomes (3, 3). Constraints, tags and unknown entries are not kept.
    """
    quantities, frames = dict(quantities or {}), []
    for i, one in enumerate(_listed(atoms)):
        lengths = np.linalg.norm(np.asarray(one.cell), axis=1)
        if (one.pbc & (lengths == 0)).any():
            raise BadInput("it is periodic along an axis without a cell vector", f"atoms {i}")
        cell = np.array(one.cell.complete())
        with np.errstate(all="ignore"):
            if not abs(np.linalg.det(cell)) > 1e-9 * np.prod(np.linalg.norm(cell, axis=1)):
                raise BadInput("the cell has no volume", f"atoms {i}")
            frame = Frame(cell, one.numbers, one.positions @ np.linalg.inv(cell), tuple(bool(x) for x in one.pbc))
        known = lambda name: name in STANDARD or name in quantities
        frame.site = {k: v for k, v in one.arrays.items() if known(k)}
        frame.whole = {k: _array(v, f"atoms {i}, {k}") for k, v in one.info.items() if known(k)}
        for key, value in (getattr(one.calc, "results", None) or {}).items():
            name = _FROM_ASE.get(key, key)
            if known(name) and value is not None:
                value = np.asarray(value, dtype=np.float64)
                if name == "stress" and value.shape == (6,):
                    value = value[[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3)
                per_site = value.ndim and len(value) == len(one) and name not in ("stress", "dielectric")
                (frame.site if per_site else frame.whole)[name] = value
        frames.append(frame)
    return assemble(frames, quantities)[0].checked() if frames else no_crystals()


_TO_CALCULATOR = {"energy": "energy", "forces": "forces", "stress": "stress", "magmom": "magmoms", "charge": "charges", "site_energy": "energies"}


def to_ase(crystals: Crystals) -> list[Atoms]:
    """ASE Atoms; energy, forces, stress (Voigt), magmom, charge and site_energy sit in a SinglePointCalculator, other fields in arrays and info."""
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    cells, periodic = crystals.cell.detach().cpu().numpy(), crystals.periodic.tolist()
    whole = {k: v.detach().cpu().numpy() for k, v in crystals.whole.items()}
    found = []
    for i, (species, cart, *fields) in enumerate(pieces(crystals, crystals.species, crystals.cart, *crystals.site.values())):
        one = Atoms(numbers=species, positions=cart, cell=cells[i], pbc=periodic[i])
        results = {}
        for name, value in [*zip(crystals.site, fields, strict=True), *((k, v[i]) for k, v in whole.items())]:
            if name in _TO_CALCULATOR and (name in crystals.site) == (name not in ("energy", "stress")):
                if np.isfinite(value).all():
                    results[_TO_CALCULATOR[name]] = value[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]] if name == "stress" else float(value) if name == "energy" else value.copy()
            elif name in crystals.site:
                one.set_array(name, value.copy())
            else:
                one.info[name] = value.tolist() if np.ndim(value) == 0 else value.copy()
        if results:
            one.calc = SinglePointCalculator(one, **results)
        found.append(one)
    return found
