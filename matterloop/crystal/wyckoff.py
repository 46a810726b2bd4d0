"""Wyckoff positions of the 230 space groups: their maps, crystals built from them, and the free parameters of a crystal.

Setting: International Tables A standard (unique axis b and cell choice 1, hexagonal axes, origin choice 2), the one that moyopy's standard
setting and `symmetry.analyse(...)[i].standard` use. A position maps its parameters (x, y, z) to the points linear @ (x, y, z) + shift.
Source: International Tables for Crystallography, volume A; the table is made by recipes/build_wyckoff_table.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import torch
from torch import Tensor

from ..base.elements import MAX_Z, number as element_number
from ..base.errors import BadInput, Missing
from . import lattice
from .segments import offsets_of, runs
from .space_groups import GRID, LETTERS, checked, crystal_system, table
from .state import Crystals
from .symmetry import Symmetry, analyse


@dataclass(frozen=True, eq=False)
class WyckoffPosition:
    """One Wyckoff position in the conventional cell of the standard setting.

    linear, shift   (multiplicity, 3, 3) and (multiplicity, 3): point k is linear[k] @ (x, y, z) + shift[k], the representative first
    free            which of x, y, z occur; `dof` is their number, and a position without any may be occupied once only
    """

    space_group: int
    letter: str
    multiplicity: int
    site_symmetry: str
    free: tuple[int, ...]
    linear: np.ndarray
    shift: np.ndarray

    @property
    def dof(self) -> int:
        """Number of free parameters."""
        return len(self.free)

    @property
    def once(self) -> bool:
        """Whether only one orbit of atoms fits (no free parameter)."""
        return not self.free

    @property
    def representative(self) -> tuple[np.ndarray, np.ndarray]:
        """Map (3, 3) and (3,) of the first point."""
        return self.linear[0], self.shift[0]

    @property
    def text(self) -> str:
        """The first point as text: 'x, 2x, 1/4'."""
        return ", ".join(_coordinate_text(row, value) for row, value in zip(*self.representative))

    def points(self, values=()) -> np.ndarray:
        """(multiplicity, 3) fractional coordinates in [0, 1) for the free parameters `values` (dof,)."""
        values = np.asarray(values, dtype=float).reshape(-1)
        if len(values) != self.dof:
            raise BadInput(f"got {len(values)} parameters, position {self.letter} of group {self.space_group} has {self.dof}", "wyckoff")
        xyz = np.zeros(3)
        xyz[list(self.free)] = values
        return (self.linear @ xyz + self.shift) % 1

    @cached_property
    def _solver(self) -> tuple[np.ndarray, np.ndarray]:
        solve = np.stack([pivot_solver(m) for m in self.linear])
        return solve, self.linear @ solve - np.eye(3)

    def values_at(self, point) -> tuple[tuple[float, ...], float]:
        """Free parameters in [0, 1) whose orbit holds `point` (3,), and the largest distance left, in fractions of the cell.

        Of the several choices that describe the same orbit the smallest, by rounded values, is returned.
        """
        solve, leftover = self._solver
        offset = np.asarray(point, dtype=float) - self.shift
        gap = np.einsum("mij,mj->mi", leftover, offset)
        gap = np.abs(gap - np.round(gap)).max(-1)
        fits = np.flatnonzero(gap <= gap.min() + 1e-9)
        values = np.einsum("mij,mj->mi", solve[fits], offset[fits])[:, list(self.free)] % 1
        values = np.where(values > 1 - 1e-9, 0.0, values)
        best = min(range(len(fits)), key=lambda k: tuple(np.round(values[k], 6)))
        return tuple(values[best].tolist()), float(gap[fits[best]])


def _coordinate_text(row: np.ndarray, value: float) -> str:
    text = ""
    for factor, name in zip(np.rint(row).astype(int).tolist(), "xyz"):
        if factor:
            text += ("-" if factor < 0 else "+" if text else "") + (str(abs(factor)) if abs(factor) != 1 else "") + name
    count = round(value * GRID)
    if count:
        common = np.gcd(count, GRID)
        text += ("+" if text else "") + f"{count // common}/{GRID // common}"
    return text or "0"


def pivot_solver(linear: np.ndarray) -> np.ndarray:
    """Matrix (3, 3) S with S @ (linear @ p) = p for the parameters that occur, pivots of size one: exact modulo whole cells."""
    a, s, pivots = linear.astype(float), np.eye(3), {}
    for column in np.flatnonzero(linear.any(0)):
        row = next(r for r in range(3) if abs(a[r, column]) == 1 and r not in pivots.values())
        pivots[column] = row
        sign = a[row, column]
        a[row], s[row] = a[row] * sign, s[row] * sign
        for other in range(3):
            if other != row and a[other, column]:
                factor = a[other, column]
                a[other], s[other] = a[other] - factor * a[row], s[other] - factor * s[row]
    out = np.zeros((3, 3))
    for column, row in pivots.items():
        out[column] = s[row]
    return out


@cache
def positions(space_group: int) -> tuple[WyckoffPosition, ...]:
    """All positions of the group by letter, a first and the general position last. BadInput for a number outside 1..230."""
    group, t = checked(space_group), table()
    out = []
    for index, row in enumerate(range(t.start[group - 1], t.start[group])):
        maps = slice(t.map_start[row], t.map_start[row + 1])
        linear, shift = t.linear[maps].astype(np.float64), t.shift[maps] / GRID
        for array in (linear, shift):
            array.setflags(write=False)
        free = tuple(np.flatnonzero(linear[0].any(0)).tolist())
        out.append(WyckoffPosition(group, LETTERS[index], len(linear), t.site_symmetry[row], free, linear, shift))
    return tuple(out)


def position(space_group: int, letter: str) -> WyckoffPosition:
    """The position called `letter`; Missing naming the letters of the group otherwise."""
    found = positions(space_group)
    index = LETTERS.find(letter) if len(letter) == 1 else -1
    if not 0 <= index < len(found):
        raise Missing(f"Wyckoff position of group {space_group}", str(letter), [p.letter for p in found])
    return found[index]


def occupied_once(space_group: int) -> str:
    """Letters of the positions without a free parameter: each holds one orbit at most."""
    return "".join(p.letter for p in positions(space_group) if p.once)


# crystals from positions


@dataclass(frozen=True, eq=False)
class Layout:
    """Genes of a batch of crystals laid out once, so that crystals follow from flat parameters without a loop.

    lattice (lattice values,) and values (site parameters,) are concatenated over crystals, in the order of `lattice.FREE` and of the sites.
    Made by `layout`.
    """

    space_groups: tuple[int, ...]
    species: Tensor
    offsets: Tensor
    lattice_offsets: Tensor
    value_offsets: Tensor
    _linear: Tensor
    _shift: Tensor
    _column: Tensor  # (atoms, 3) where x, y, z of the atom's site stand in `values`; the last place holds a zero

    def frac(self, values) -> Tensor:
        """(atoms, 3) fractional coordinates, not wrapped, of the flat site parameters; differentiable. BadInput for a wrong number."""
        values = torch.as_tensor(values, dtype=torch.float64).reshape(-1)
        if len(values) != int(self.value_offsets[-1]):
            raise BadInput(f"got {len(values)} site parameters, {int(self.value_offsets[-1])} wanted", "wyckoff")
        padded = torch.cat([values, values.new_zeros(1)])
        return torch.einsum("aij,aj->ai", self._linear, padded[self._column]) + self._shift

    def cell(self, values) -> Tensor:
        """(crystals, 3, 3) cells of the flat free lattice parameters (Å, degrees); differentiable. BadInput for a wrong number."""
        values = torch.as_tensor(values, dtype=torch.float64).reshape(-1)
        if len(values) != int(self.lattice_offsets[-1]):
            raise BadInput(f"got {len(values)} lattice parameters, {int(self.lattice_offsets[-1])} wanted", "wyckoff")
        systems = [crystal_system(g) for g in self.space_groups]
        out = values.new_zeros(len(systems), 3, 3)
        for system in sorted(set(systems)):
            rows = torch.tensor([i for i, s in enumerate(systems) if s == system])
            columns = self.lattice_offsets[rows][:, None] + torch.arange(len(lattice.FREE[system]))
            out = out.index_copy(0, rows, lattice.from_free(values[columns], system))
        return out

    def crystals(self, lattice_values, values) -> Crystals:
        """The crystals in their conventional cells, atoms wrapped into them."""
        return Crystals(self.frac(values), self.species, self.cell(lattice_values), self.offsets).checked().wrapped()


def layout(space_groups: Sequence[int], sites: Sequence[Sequence[tuple]]) -> Layout:
    """Lay out crystals with `sites` [(letter, element), ...] each; element as atomic number or symbol, further entries are ignored.

    BadInput where a position without free parameters is used twice; Missing for unknown letters and elements.
    """
    t, rows, species, counts, value_counts = table(), [], [], [], []
    groups = tuple(checked(g) for g in space_groups)
    if len(groups) != len(sites):
        raise BadInput(f"got {len(groups)} space groups and {len(sites)} lists of sites", "wyckoff")
    free_of_site, total = [], 0
    for i, (group, listed) in enumerate(zip(groups, sites)):
        atoms, used, before = 0, set(), total
        for letter, element, *_ in listed:
            place = position(group, letter)
            if place.once and letter in used:
                raise BadInput(f"position {letter} of group {group} has no free parameter and is used twice", f"crystal {i}")
            used.add(letter)
            rows.append(int(t.start[group - 1]) + LETTERS.index(letter))
            species.append(_atomic_number(element, i))
            free_of_site.append([total + place.free.index(k) if k in place.free else -1 for k in range(3)])
            total += place.dof
            atoms += place.multiplicity
        counts.append(atoms)
        value_counts.append(total - before)
    rows = torch.tensor(rows, dtype=torch.long)
    times = torch.from_numpy(t.multiplicity.astype(np.int64))[rows]
    maps = runs(torch.from_numpy(t.map_start)[rows], times).numpy()
    site = torch.arange(len(rows)).repeat_interleave(times)
    column = torch.tensor(free_of_site, dtype=torch.long).reshape(-1, 3)
    sizes = torch.tensor([len(lattice.FREE[crystal_system(g)]) for g in groups], dtype=torch.long)
    return Layout(
        groups, torch.tensor(species, dtype=torch.long)[site], offsets_of(torch.tensor(counts, dtype=torch.long)), offsets_of(sizes),
        offsets_of(torch.tensor(value_counts, dtype=torch.long)), torch.from_numpy(t.linear[maps].astype(np.float64)),
        torch.from_numpy(t.shift[maps] / GRID), torch.where(column < 0, total, column)[site])


def _atomic_number(element, i: int) -> int:
    z = element_number(element) if isinstance(element, str) else int(element)
    if not 0 <= z <= MAX_Z:
        raise BadInput(f"atomic number {z} is outside 0..{MAX_Z}", f"crystal {i}")
    return z


def build(space_group, cell, sites) -> Crystals:
    """Crystals in conventional standard cells from space groups, lattices and occupied positions.

    space_group  number, or one per crystal
    cell         (3, 3) or (B, 3, 3) cells in Å, or (6,) or (B, 6) a, b, c in Å and alpha, beta, gamma in degrees, or the free parameters
                 of the crystal system in the order of `lattice.FREE` (one sequence per crystal)
    sites        [(letter, element, parameters), ...], or one list per crystal; element by number or symbol, `parameters` (dof,) the values
                 of the free ones among x, y, z (absent where dof is 0)
    BadInput where the cell does not obey the crystal system (0.1 %) or parameters are missing.
    """
    single = isinstance(space_group, (int, np.integer))
    groups = [space_group] if single else list(space_group)
    cells = [cell] if single else list(cell)
    listed = [sites] if single else list(sites)
    if len(cells) != len(groups):
        raise BadInput(f"got {len(groups)} space groups and {len(cells)} cells", "wyckoff.build")
    plan = layout(groups, listed)
    values: list[float] = []
    for i, (group, site_list) in enumerate(zip(plan.space_groups, listed)):
        for letter, _, *given in site_list:
            flat = np.asarray(given[0] if given and given[0] is not None else (), dtype=float).reshape(-1)
            dof = position(group, letter).dof
            if len(flat) != dof:
                raise BadInput(f"position {letter} of group {group} has {dof} free parameters, got {len(flat)}", f"crystal {i}")
            values += flat.tolist()
    full = torch.stack([_cell_of(c, g, i) for i, (c, g) in enumerate(zip(cells, plan.space_groups))])
    return Crystals(plan.frac(values), plan.species, full, plan.offsets).checked().wrapped()


def _cell_of(cell, group: int, i: int) -> Tensor:
    given, system = torch.as_tensor(cell, dtype=torch.float64), crystal_system(group)
    if given.shape == (3, 3):
        full = given
    elif given.shape == (len(lattice.FREE[system]),) and system != "triclinic":
        return lattice.from_free(given, system)
    elif given.shape == (6,):
        full = lattice.from_parameters(given[:3], given[3:])
    else:
        raise BadInput(f"the cell has the shape {tuple(given.shape)}; wanted (3, 3), (6,) or the free parameters {lattice.FREE[system]}", f"crystal {i}")
    off = float(lattice.deviation(full, system))
    if off > 2e-3:  # the metric is quadratic in lengths
        raise BadInput(f"the cell departs by {off:.1e} (metric tensor) from the {system} lattice that group {group} needs", f"crystal {i}")
    return full


# free parameters of crystals


@dataclass(frozen=True)
class Parameters:
    """A crystal as its free parameters: lattice values in the order of `lattice.FREE` (Å, degrees) and sites (letter, z, values)."""

    space_group: int
    lattice: tuple[float, ...]
    sites: tuple[tuple[str, int, tuple[float, ...]], ...]

    @property
    def dof(self) -> int:
        """Number of free parameters of lattice and sites together."""
        return len(self.lattice) + sum(len(values) for _, _, values in self.sites)


def free_parameters(crystals: Crystals | Symmetry | Sequence[Symmetry], symprec: float = 0.01) -> list[Parameters]:
    """Read the free parameters of each crystal (or of symmetry already found) in its standardised, symmetrised cell; sites sorted.

    BadInput where the symmetry search fails, or an atom does not lie on the position it was given (1e-4 of the cell).
    """
    found = analyse(crystals, symprec) if isinstance(crystals, Crystals) else [crystals] if isinstance(crystals, Symmetry) else list(crystals)
    out = []
    for i, symmetry in enumerate(found):
        values = lattice.free_parameters(symmetry.standard.cell[0], symmetry.crystal_system)
        sites = []
        for letter, z, point in symmetry.standard_sites:
            numbers, gap = position(symmetry.number, letter).values_at(point)
            if gap > 1e-4:
                raise BadInput(f"an atom stands {gap:.1e} of the cell away from position {letter} of group {symmetry.number}", f"crystal {i}")
            sites.append((letter, z, numbers))
        out.append(Parameters(symmetry.number, tuple(values.tolist()), tuple(sorted(sites, key=lambda s: (LETTERS.index(s[0]), s[1], s[2])))))
    return out


def from_parameters(parameters: Parameters | Sequence[Parameters]) -> Crystals:
    """The crystals (conventional cells) of free parameters, all in one vectorised evaluation: the inverse of `free_parameters`."""
    listed = [parameters] if isinstance(parameters, Parameters) else list(parameters)
    plan = layout([p.space_group for p in listed], [p.sites for p in listed])
    return plan.crystals([v for p in listed for v in p.lattice], [v for p in listed for site in p.sites for v in site[2]])
