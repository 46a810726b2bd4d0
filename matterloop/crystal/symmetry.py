"""Space group, orbits and standard cells of crystals, through moyopy, and projection of positions, forces and strains on the symmetric ones.

Source of the search: K. Shinohara, moyo (https://github.com/spglib/moyo). Standard cells are those of International Tables A: unique axis b and
cell choice 1, hexagonal axes, origin choice 2.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..base.errors import BadInput
from . import space_groups
from .segments import offsets_of, segment_mean
from .space_groups import crystal_system, groups_of, number, point_group, symbol, symbol_full  # noqa: F401  (names of this room's users)
from .state import Crystals

TABLE = 20_000  # pairs of an image and an atom that are compared one by one; more go to a tree
RETRIES = 4  # each with a tolerance five times smaller


@dataclass(frozen=True, eq=False)
class Symmetry:
    """The symmetry of one crystal of n atoms, found within `symprec` Å (`asked` where a smaller one had to be used).

    number, hall        space-group number (1..230) and Hall number (1..530)
    letters             Wyckoff letter of each atom (n,)
    orbits              (n,) index of the first atom that each atom is equivalent to
    site_symmetry       symbol of each atom (n,), oriented as in the standard cell
    mapping             (n,) atom of the primitive standard cell that each atom is
    linear, origin      x_standard = inverse(linear) @ (x - origin), (3, 3) and (3,)
    """

    number: int
    hall: int
    letters: tuple[str, ...]
    orbits: Tensor
    site_symmetry: tuple[str, ...]
    mapping: Tensor
    linear: Tensor
    origin: Tensor
    pearson: str
    symprec: float
    asked: float
    species: Tensor
    _data: Any = field(repr=False)

    @property
    def symbol(self) -> str:
        """Short Hermann-Mauguin symbol of the standard setting, 'Fm-3m'."""
        return symbol(self.number)

    @property
    def crystal_system(self) -> str:
        return crystal_system(self.number)

    @property
    def point_group(self) -> str:
        return point_group(self.number)

    @cached_property
    def rotations(self) -> Tensor:
        """(operations, 3, 3) integer matrices R of the cell as given: x becomes R @ x + t."""
        return torch.tensor(self._data.operations.rotations, dtype=torch.long)

    @cached_property
    def translations(self) -> Tensor:
        """(operations, 3) translations t of the cell as given."""
        return torch.tensor(self._data.operations.translations, dtype=torch.float64)

    @cached_property
    def primitive_vectors(self) -> Tensor:
        """(3, 3) rows: a primitive lattice in units of the vectors of the cell as given, right-handed."""
        whole = np.rint(np.linalg.inv(np.array(self._data.prim_std_linear, dtype=float)))
        return torch.from_numpy(np.linalg.inv(whole).T.copy())

    @property
    def complete(self) -> bool:
        """Whether the cell as given shows every operation; a supercell that is longer along one of several equivalent axes hides some."""
        t = space_groups.table()
        general = int(t.multiplicity[t.start[self.number] - 1])
        return len(self.rotations) * self.standard.atoms == general * len(self.species)

    @cached_property
    def standard(self) -> Crystals:
        """The symmetrised crystal in its conventional standard cell."""
        return _crystal(self._data.std_cell)

    @cached_property
    def primitive(self) -> Crystals:
        """The symmetrised crystal in its primitive standard cell."""
        return _crystal(self._data.prim_std_cell)

    @property
    def representatives(self) -> Tensor:
        """(orbits,) first atom of each orbit, ascending."""
        return self.orbits.unique()

    @cached_property
    def standard_sites(self) -> tuple[tuple[str, int, tuple[float, float, float]], ...]:
        """(letter, atomic number, one point in the standard cell) of each orbit, from the symmetrised positions."""
        first = self.representatives
        inverse = torch.linalg.inv(self.linear) @ torch.tensor(self._data.prim_std_linear, dtype=torch.float64)
        points = self.primitive.frac[self.mapping[first]] @ inverse.T % 1
        return tuple((self.letters[i], int(self.species[i]), tuple(p)) for i, p in zip(first.tolist(), points.tolist()))


def _crystal(cell) -> Crystals:
    return Crystals.of(cell.positions, cell.numbers, cell.basis)


@contextmanager
def _quiet():
    """Silence moyo's word about operations that a supercell hides (`Symmetry.complete` says it)."""
    logger = logging.getLogger("moyo")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def analyse(crystals: Crystals, symprec: float = 0.01, on_error: Literal["raise", "keep"] = "raise") -> list[Symmetry]:
    """The symmetry of every crystal within `symprec` Å.

    Where the search fails it is tried again with smaller tolerances; the one used stands in `symprec`, the one wanted in `asked`.
    A crystal that fails at all of them, or does not repeat along three axes, raises BadInput naming it; with on_error="keep" the BadInput
    stands in its place in the list and the others go on.
    """
    if not symprec > 0:
        raise BadInput(f"symprec is {symprec}, it must be positive (Å)", "symmetry.analyse")
    if on_error not in ("raise", "keep"):
        raise BadInput(f"on_error is {on_error!r}, allowed are 'raise' and 'keep'", "symmetry.analyse")
    ends, cells, fracs, species = crystals.offsets.tolist(), crystals.cell.detach().tolist(), crystals.frac.detach().tolist(), crystals.species.tolist()
    periodic, out = crystals.periodic.all(1).tolist(), []
    with _quiet():
        for i in range(len(crystals)):
            rows = slice(ends[i], ends[i + 1])
            try:
                if not periodic[i]:
                    raise BadInput("a structure that does not repeat along three axes has no space group", f"crystal {i}")
                out.append(_analyse(cells[i], fracs[rows], species[rows], symprec, f"crystal {i}"))
            except BadInput as error:
                if on_error == "raise":
                    raise
                out.append(error)
    return out


def _analyse(cell, frac, species, symprec: float, where: str) -> Symmetry:
    import moyopy

    if not species:
        raise BadInput("a crystal without atoms has no space group", where)
    setting, given, tried = moyopy.Setting.standard(), moyopy.Cell(cell, frac, species), []
    for attempt in range(RETRIES + 1):
        tolerance = symprec / 5**attempt
        try:
            data = moyopy.MoyoDataset(given, symprec=tolerance, setting=setting)
        except ValueError as error:
            tried.append(f"{tolerance:.1e} Å: {error}")
            continue
        return Symmetry(
            data.number, data.hall_number, tuple(data.wyckoffs), torch.tensor(data.orbits), tuple(data.site_symmetry_symbols),
            torch.tensor(data.mapping_std_prim), torch.tensor(data.std_linear, dtype=torch.float64),
            torch.tensor(data.std_origin_shift, dtype=torch.float64), data.pearson_symbol, data.symprec, symprec, torch.tensor(species), data)
    raise BadInput(f"no space group found ({'; '.join(tried)}); atoms may overlap, or the cell may be degenerate", where)


def primitive(crystals: Crystals, symprec: float = 0.01) -> Crystals:
    """The symmetrised crystals in primitive standard cells, without fields. Errors as `analyse`."""
    return Crystals.join([s.primitive for s in analyse(crystals, symprec)])


def conventional(crystals: Crystals, symprec: float = 0.01) -> Crystals:
    """The symmetrised crystals in conventional standard cells, without fields. Errors as `analyse`."""
    return Crystals.join([s.standard for s in analyse(crystals, symprec)])


def refined(crystals: Crystals, symprec: float = 0.01) -> Crystals:
    """The crystals in their own cells, orientation and order of atoms, cell and positions projected on their symmetry; fields kept."""
    return Symmetrizer.of(crystals, symprec).crystals(crystals)


@dataclass(frozen=True, eq=False)
class Symmetrizer:
    """Projects positions, forces, strains and cells of a batch on the part that the operations of its space groups leave unchanged.

    Operations are those of each crystal's own cell, x becomes R @ x + t, and do not change while the crystal keeps its symmetry. The
    permutation of atoms of each operation is found once; every projection is one sum over segments for the whole batch.

    rotation     (operations, 3, 3) R as float64           owner  (operations,) crystal of each
    operation    (pairs,) operation of each pair           source, target  (pairs,) atom and the atom it becomes
    translation  (pairs, 3) t plus the whole cells that bring R x + t to the target
    """

    number: tuple[int, ...]
    rotation: Tensor
    owner: Tensor
    operation: Tensor
    source: Tensor
    target: Tensor
    translation: Tensor
    offsets: Tensor

    @staticmethod
    def of(crystals: Crystals, symprec: float = 0.01, found: list[Symmetry] | None = None) -> Symmetrizer:
        """From the symmetry of the crystals within `symprec` Å (or already found). BadInput where an operation moves an atom onto none."""
        found = analyse(crystals, symprec) if found is None else found
        parts, operations = [], 0
        for i, symmetry in enumerate(found):
            start, end = int(crystals.offsets[i]), int(crystals.offsets[i + 1])
            parts.append(_pairs(crystals, i, symmetry, start, end, operations))
            operations += len(symmetry.rotations)
        operation, source, target, translation = (torch.cat([p[k] for p in parts]) for k in range(4))
        counts = torch.tensor([len(s.rotations) for s in found])
        return Symmetrizer(
            tuple(s.number for s in found), torch.cat([s.rotations for s in found]).to(torch.float64),
            torch.arange(len(found)).repeat_interleave(counts), operation, source, target, translation, offsets_of(counts))

    def _cartesian(self, cell: Tensor) -> Tensor:
        """(operations, 3, 3) matrices that act on Cartesian columns."""
        columns = cell.mT
        return columns[self.owner] @ self.rotation.to(cell) @ torch.linalg.inv(columns)[self.owner]

    def forces(self, forces: Tensor, cell: Tensor) -> Tensor:
        """Cartesian vectors (atoms, 3), such as forces or displacements, averaged over the operations; `cell` (crystals, 3, 3) as it is now."""
        turned = torch.einsum("pij,pj->pi", self._cartesian(cell)[self.operation], forces[self.source])
        return segment_mean(turned, self.target, len(forces))

    def stress(self, stress: Tensor, cell: Tensor) -> Tensor:
        """Cartesian tensors (crystals, 3, 3), such as stress or strain, averaged over the operations."""
        turn = self._cartesian(cell)
        return segment_mean(turn @ stress[self.owner] @ turn.mT, self.owner, len(stress))

    def cell(self, cell: Tensor) -> Tensor:
        """(crystals, 3, 3) cells whose metric tensor obeys the symmetry, turned as little as possible from `cell`."""
        r = self.rotation.to(cell)
        metric = segment_mean(r.mT @ (cell @ cell.mT)[self.owner] @ r, self.owner, len(cell))
        inverse = torch.linalg.inv(cell)
        values, vectors = torch.linalg.eigh(inverse @ metric @ inverse.mT)  # square of the symmetric stretch that leads from cell to the metric
        return cell @ (vectors * values.sqrt()[:, None]) @ vectors.mT

    def positions(self, frac: Tensor) -> Tensor:
        """(atoms, 3) fractional coordinates averaged over the operations; near `frac`, not wrapped."""
        image = torch.einsum("pij,pj->pi", self.rotation.to(frac)[self.operation], frac[self.source]) + self.translation.to(frac)
        image = image - (image - frac[self.target]).round()
        return segment_mean(image, self.target, len(frac))

    def crystals(self, crystals: Crystals) -> Crystals:
        """Cell and positions projected; fields kept as they are."""
        return crystals.put(frac=self.positions(crystals.frac), cell=self.cell(crystals.cell))

    def broken(self, crystals: Crystals) -> Tensor:
        """(crystals,) largest distance in Å by which an atom misses its symmetric place."""
        off = ((crystals.frac - self.positions(crystals.frac))[:, None] @ crystals.cell[crystals.owner])[:, 0].norm(dim=-1)
        return torch.zeros(len(crystals), dtype=off.dtype).scatter_reduce(0, crystals.owner, off, "amax")


def _pairs(crystals: Crystals, i: int, symmetry: Symmetry, start: int, end: int, first: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Operation, source, target and whole translation of every (operation, atom) of crystal i."""
    frac, cell, species = (x.detach().cpu().numpy() for x in (crystals.frac[start:end], crystals.cell[i], crystals.species[start:end]))
    rotations, translations = np.array(symmetry._data.operations.rotations, dtype=float), np.array(symmetry._data.operations.translations)
    ops, n = len(rotations), end - start
    moved = frac @ rotations.transpose(0, 2, 1) + translations[:, None]
    target = _nearest(moved, frac, species, np.sqrt((cell * cell).sum(1)))
    gap = moved - frac[target]
    cells = np.rint(gap)
    off = (gap - cells) @ cell
    worst = float(np.sqrt((off * off).sum(-1).max()))
    same = bool((species[target] == species).all()) and bool((np.sort(target, -1) == np.arange(n)).all())
    if not same or worst > 5 * max(symmetry.symprec, 1e-4):
        raise BadInput(f"an operation of group {symmetry.number} does not permute the atoms (off by {worst:.2e} Å)", f"crystal {i}")
    shift = (translations[:, None] - cells).reshape(-1, 3)
    operation, source = np.repeat(np.arange(first, first + ops), n), np.tile(np.arange(start, end), ops)
    return tuple(torch.from_numpy(x) for x in (operation, source, (target + start).reshape(-1), shift))


def _nearest(moved: np.ndarray, frac: np.ndarray, species: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """(operations, n) for each image `moved` (operations, n, 3) of an atom the nearest atom of its element, in a periodic box with edges of the cell's lengths."""
    from scipy.spatial import cKDTree

    ops, n = moved.shape[:2]
    if ops * n * n <= TABLE:  # few enough to compare all with all
        gap = moved[:, :, None] - frac
        gap = (gap - np.rint(gap)) * lengths
        square = (gap * gap).sum(-1)
        square[:, species[:, None] != species] = np.inf
        return square.argmin(-1)
    box = np.append(lengths, 0.0)
    far = species[:, None] * box.sum()  # the element as a fourth coordinate, far apart

    def boxed(points, elements):
        inside = points % 1
        return np.concatenate([np.where(inside >= 1, 0.0, inside) * box[:3], elements], -1)

    return cKDTree(boxed(frac, far), boxsize=box).query(boxed(moved.reshape(-1, 3), np.tile(far, (ops, 1))))[1].reshape(ops, n)
