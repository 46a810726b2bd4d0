"""A batch of crystals (or molecules) as a few tensors, and the same crystals described differently."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from ..base.elements import MAX_Z, symbol
from ..base.errors import BadInput, Missing
from ..base.quantities import Quantity, quantity_of
from .segments import offsets_of, runs

MAIN = ("frac", "species", "cell", "periodic")


@dataclass(frozen=True, eq=False)
class Crystals:
    """Structures of a batch, atoms of all of them concatenated; nothing in it is ever changed in place.

    frac      (atoms, 3)        fractional coordinates; cart = frac @ cell
    species   (atoms,)          atomic numbers, 0 = not yet decided
    cell      (crystals, 3, 3)  rows are the lattice vectors a, b, c in Å, right-handed
    offsets   (crystals + 1,)   first atom of each crystal, the number of atoms last
    periodic  (crystals, 3)     whether the structure repeats along a, b, c; a molecule repeats along none
    site      {name: (atoms, ...)}     further per-atom tensors
    whole     {name: (crystals, ...)}  further per-crystal tensors
    quantities {name: Quantity}        how non-standard fields transform; standard ones stand in base/quantities.py
    """

    frac: Tensor
    species: Tensor
    cell: Tensor
    offsets: Tensor
    periodic: Tensor | None = None
    site: Mapping[str, Tensor] = field(default_factory=dict)
    whole: Mapping[str, Tensor] = field(default_factory=dict)
    quantities: Mapping[str, Quantity] = field(default_factory=dict)

    def __post_init__(self):
        n, b = len(self.species), len(self.cell)
        if self.periodic is None:
            object.__setattr__(self, "periodic", torch.ones(b, 3, dtype=torch.bool, device=self.cell.device))
        if self.frac.shape != (n, 3) or self.cell.shape != (b, 3, 3) or self.offsets.shape != (b + 1,) or self.periodic.shape != (b, 3):
            raise BadInput(
                f"shapes disagree: frac {tuple(self.frac.shape)}, species {tuple(self.species.shape)}, cell {tuple(self.cell.shape)}, "
                f"offsets {tuple(self.offsets.shape)}, periodic {tuple(self.periodic.shape)}; expected (n, 3), (n,), (b, 3, 3), (b+1,), (b, 3)",
                "Crystals",
            )
        for kind, fields_, rows in (("site", self.site, n), ("whole", self.whole, b)):
            for name, value in fields_.items():
                if not value.dim() or len(value) != rows:
                    raise BadInput(f"{kind} field {name!r} has {len(value) if value.dim() else 'no'} rows, expected {rows}", "Crystals")
                rank = quantity_of(name, self.quantities).rank
                if value.shape[value.dim() - rank :] != (3,) * rank:
                    raise BadInput(f"{kind} field {name!r} has shape {tuple(value.shape)}; its rank {rank} wants {rank} trailing axes of 3", "Crystals")
        if overlap := self.site.keys() & self.whole.keys():
            raise BadInput(f"fields are both per site and per crystal: {sorted(overlap)}", "Crystals")

    # making

    @staticmethod
    def of(frac, species, cell, counts=None, *, periodic=None, site=None, whole=None, quantities=None) -> Crystals:
        """Build from anything array-like, in float64; `counts` (crystals,) atoms in each, one crystal if absent.

        Raises BadInput for non-finite numbers, unknown atomic numbers, singular or left-handed cells.
        """
        real = lambda x: torch.tensor(x, dtype=torch.float64) if hasattr(x, "__array_interface__") else torch.as_tensor(x, dtype=torch.float64)  # arrays may change later
        cell = real(cell).reshape(-1, 3, 3)
        species = torch.as_tensor(species, dtype=torch.long).reshape(-1)
        counts = torch.tensor([len(species)]) if counts is None else torch.as_tensor(counts, dtype=torch.long)
        crystals = Crystals(
            real(frac).reshape(-1, 3), species, cell, offsets_of(counts),
            None if periodic is None else torch.as_tensor(periodic, dtype=torch.bool).reshape(-1, 3).expand(len(cell), 3).clone(),
            {k: _as_field(v) for k, v in (site or {}).items()},
            {k: _as_field(v) for k, v in (whole or {}).items()},
            quantities or {},
        )
        return crystals.checked()

    def checked(self) -> Crystals:
        """Return self; BadInput naming the first crystal whose numbers cannot be a structure."""
        if int(self.offsets[0]) or int(self.offsets[-1]) != self.atoms or bool((self.counts < 0).any()):
            raise BadInput(f"offsets must rise from 0 to the number of atoms, {self.atoms}; they start at {int(self.offsets[0])} and end at {int(self.offsets[-1])}", "Crystals")
        bad = ~torch.isfinite(self.cell).flatten(1).all(1)
        self._refuse(bad, "the cell holds a number that is not finite")
        self._refuse_sites(~torch.isfinite(self.frac).all(1), "a coordinate is not finite")
        self._refuse_sites((self.species < 0) | (self.species > MAX_Z), f"an atomic number is outside 0..{MAX_Z}")
        det = torch.linalg.det(self.cell)
        scale = self.cell.norm(dim=-1).prod(-1)
        self._refuse(det.abs() <= 1e-9 * scale.clamp(min=1e-12), "the cell has no volume")
        self._refuse(det < 0, "the cell is left-handed; swap two axes or negate them all (cell and frac)")
        return self

    def _refuse(self, bad: Tensor, why: str) -> None:
        if bool(bad.any()):
            raise BadInput(why, f"crystal {int(bad.nonzero()[0, 0])}")

    def _refuse_sites(self, bad: Tensor, why: str) -> None:
        if bool(bad.any()):
            atom = int(bad.nonzero()[0, 0])
            i = int(self.owner[atom])
            raise BadInput(why, f"crystal {i}, atom {atom - int(self.offsets[i])}")

    # measures

    def __len__(self) -> int:
        return len(self.cell)

    @property
    def atoms(self) -> int:
        """Number of atoms of the whole batch."""
        return len(self.species)

    @cached_property
    def counts(self) -> Tensor:
        """(crystals,) atoms in each crystal."""
        return self.offsets.diff()

    @cached_property
    def owner(self) -> Tensor:
        """(atoms,) index of the crystal each atom belongs to, ascending."""
        return torch.arange(len(self), device=self.cell.device).repeat_interleave(self.counts, output_size=self.atoms)

    @property
    def cart(self) -> Tensor:
        """(atoms, 3) Cartesian coordinates in Å, differentiable in frac and cell."""
        return torch.bmm(self.frac[:, None], self.cell[self.owner])[:, 0]

    @property
    def volume(self) -> Tensor:
        """(crystals,) cell volumes in Å^3."""
        return torch.linalg.det(self.cell).abs()

    @property
    def lengths(self) -> Tensor:
        """(crystals, 3) lengths of a, b, c in Å."""
        return self.cell.norm(dim=-1)

    @property
    def angles(self) -> Tensor:
        """(crystals, 3) angles alpha, beta, gamma in degrees."""
        unit = self.cell / self.lengths[..., None]
        cosine = torch.stack([(unit[:, i] * unit[:, j]).sum(-1) for i, j in ((1, 2), (0, 2), (0, 1))], -1)
        return torch.rad2deg(torch.arccos(cosine.clamp(-1, 1)))

    # fields by name, so that other code need not know what it acts on

    def get(self, name: str) -> Tensor:
        """The main, site or whole field called `name`; Missing otherwise."""
        if name in MAIN:
            return getattr(self, name)
        for fields_ in (self.site, self.whole):
            if name in fields_:
                return fields_[name]
        raise Missing("field", name, [*MAIN, *self.site, *self.whole])

    def rows(self, name: str) -> Tensor:
        """(rows,) crystal that owns each row of the field `name`."""
        per_crystal = name in ("cell", "periodic") or name in self.whole
        self.get(name)
        return torch.arange(len(self), device=self.cell.device) if per_crystal else self.owner

    def put(self, **values: Tensor) -> Crystals:
        """Copy with some existing fields replaced; an unknown name is an error, not a new field."""
        for name in values:
            self.get(name)
        main = {k: v for k, v in values.items() if k in MAIN}
        site = {k: v for k, v in values.items() if k in self.site}
        whole = {k: v for k, v in values.items() if k in self.whole}
        return self._same_atoms(replace(self, **main, site={**self.site, **site}, whole={**self.whole, **whole}))

    def with_fields(self, site: Mapping[str, Tensor] | None = None, whole: Mapping[str, Tensor] | None = None,
                    quantities: Mapping[str, Quantity] | None = None) -> Crystals:
        """Copy with fields added (or replaced)."""
        return self._same_atoms(replace(
            self, site={**self.site, **(site or {})}, whole={**self.whole, **(whole or {})}, quantities={**self.quantities, **(quantities or {})}))

    def bare(self) -> Crystals:
        """Copy without site and whole fields."""
        return self._same_atoms(replace(self, site={}, whole={}))

    def _same_atoms(self, other: Crystals) -> Crystals:
        for name in ("owner", "counts"):  # carried along, so that they are computed once
            if name in self.__dict__:
                other.__dict__[name] = self.__dict__[name]
        return other

    def to(self, where) -> Crystals:
        """Copy on a device, or with floating fields in another floating dtype."""
        is_dtype = isinstance(where, torch.dtype)
        move = lambda x: x.to(where) if not is_dtype or x.is_floating_point() else x
        return replace(
            self, frac=move(self.frac), species=move(self.species), cell=move(self.cell), offsets=move(self.offsets), periodic=move(self.periodic),
            site={k: move(v) for k, v in self.site.items()}, whole={k: move(v) for k, v in self.whole.items()})

    # parts

    def __getitem__(self, which) -> Crystals:
        """Crystals chosen by an int, a slice, a list or tensor of indices, or a boolean mask: always a batch."""
        b = len(self)
        if isinstance(which, int):
            if not -b <= which < b:
                raise IndexError(f"crystal {which} of a batch of {b}")
            which = slice(which % b, which % b + 1)
        if isinstance(which, slice):
            start, stop, step = which.indices(b)
            if step == 1:
                return self._contiguous(start, max(start, stop))
            which = list(range(start, stop, step))
        index = torch.as_tensor(which, device=self.cell.device)
        if index.is_floating_point() and len(index):
            raise BadInput("crystals are chosen by whole numbers or a boolean mask, got fractions", "Crystals")
        if index.dtype == torch.bool:
            if len(index) != b:
                raise BadInput(f"the mask has {len(index)} entries for {b} crystals", "Crystals")
            index = index.nonzero()[:, 0]
        index = index.to(torch.long).reshape(-1)
        if len(index) and (int(index.min()) < -b or int(index.max()) >= b):
            wrong = index[(index < -b) | (index >= b)]
            raise IndexError(f"crystal {int(wrong[0])} of a batch of {b}")
        index = index % max(b, 1)
        counts = self.counts[index]
        rows = runs(self.offsets[:-1][index], counts)
        return replace(
            self, frac=self.frac[rows], species=self.species[rows], cell=self.cell[index], offsets=offsets_of(counts), periodic=self.periodic[index],
            site={k: v[rows] for k, v in self.site.items()}, whole={k: v[index] for k, v in self.whole.items()})

    def _contiguous(self, start: int, stop: int) -> Crystals:
        offsets = self.offsets[start : stop + 1]
        first, last = int(offsets[0]), int(offsets[-1])
        return replace(
            self, frac=self.frac[first:last], species=self.species[first:last], cell=self.cell[start:stop], offsets=offsets - first,
            periodic=self.periodic[start:stop], site={k: v[first:last] for k, v in self.site.items()},
            whole={k: v[start:stop] for k, v in self.whole.items()})

    def __iter__(self) -> Iterator[Crystals]:
        return (self[i] for i in range(len(self)))

    def split(self, largest_atoms: int) -> list[Crystals]:
        """Consecutive batches of at most `largest_atoms` atoms each (a larger crystal stands alone)."""
        parts, start, ends = [], 0, self.offsets.tolist()
        for i in range(1, len(self) + 1):
            if i == len(self) or ends[i + 1] - ends[start] > largest_atoms:
                parts.append(self[start:i])
                start = i
        return parts

    @staticmethod
    def join(parts: Sequence[Crystals]) -> Crystals:
        """One batch of all crystals of `parts`; BadInput unless they carry equal fields."""
        if not parts:
            raise BadInput("nothing to join", "Crystals.join")
        first = parts[0]
        for i, part in enumerate(parts):
            if part.site.keys() != first.site.keys() or part.whole.keys() != first.whole.keys():
                raise BadInput(
                    f"part {i} has the fields {sorted([*part.site, *part.whole])}, the first has {sorted([*first.site, *first.whole])}; "
                    "use bare() or with_fields() to make them equal", "Crystals.join")
        cat = lambda get: torch.cat([get(p) for p in parts])
        quantities = {k: v for p in parts for k, v in p.quantities.items()}
        for i, part in enumerate(parts):
            for name, own in part.quantities.items():
                if own != quantities[name]:
                    raise BadInput(f"part {i} gives the field {name!r} the Quantity {own}, another part {quantities[name]}", "Crystals.join")
        return Crystals(
            cat(lambda p: p.frac), cat(lambda p: p.species), cat(lambda p: p.cell), offsets_of(cat(lambda p: p.counts)), cat(lambda p: p.periodic),
            {k: cat(lambda p: p.site[k]) for k in first.site}, {k: cat(lambda p: p.whole[k]) for k in first.whole}, quantities)

    # the same crystals described differently; every one of these is a contract test

    def _turned(self, rotation: Tensor, fields_: Mapping[str, Tensor]) -> dict[str, Tensor]:
        out = {}
        for name, value in fields_.items():
            quantity = quantity_of(name, self.quantities)
            if quantity.rank and not value.is_floating_point():
                value = value.to(self.cell.dtype)
            r = rotation.to(value) if quantity.rank else None
            if quantity.rank == 1:
                value = value @ r.T
            elif quantity.rank == 2:
                value = r @ value @ r.T
            if quantity.parity == -1 and float(torch.linalg.det(rotation)) < 0:
                value = -value
            out[name] = value
        return out

    def rotated(self, rotation: Tensor) -> Crystals:
        """Every vector v becomes rotation @ v; `rotation` (3, 3) is orthogonal, proper or not. The cell stays right-handed."""
        r = rotation.to(self.cell)
        if r.shape != (3, 3) or float((r @ r.T - torch.eye(3).to(r)).abs().max()) > 1e-4:
            raise BadInput("the rotation is not an orthogonal (3, 3) matrix", "Crystals.rotated")
        cell, frac = self.cell @ r.T, self.frac
        if float(torch.linalg.det(r)) < 0:  # negate the basis, not the atoms
            cell, frac = -cell, -frac
        return self._same_atoms(replace(self, cell=cell, frac=frac, site=self._turned(rotation, self.site), whole=self._turned(rotation, self.whole)))

    def shifted(self, by: Tensor) -> Crystals:
        """All atoms moved by fractional `by` (3,) or (crystals, 3), wrapped into the cell where periodic."""
        by = by.to(self.frac)
        frac = self.frac + (by if by.dim() == 1 else by[self.owner])
        return self.put(frac=frac).wrapped()

    def shuffled(self, order: Tensor) -> Crystals:
        """Atoms re-ordered; `order` (atoms,) must permute atoms within their own crystals."""
        if not torch.equal(self.owner[order], self.owner) or not torch.equal(order.sort().values, torch.arange(self.atoms, device=order.device)):
            raise BadInput("the order is not a permutation of atoms within their own crystals", "Crystals.shuffled")
        return self._same_atoms(replace(self, frac=self.frac[order], species=self.species[order], site={k: v[order] for k, v in self.site.items()}))

    def recelled(self, unimodular: Tensor) -> Crystals:
        """Other lattice vectors of the same lattices: cell' = U cell, U (3, 3) or (crystals, 3, 3) integer with det U = 1.

        Axes that do not repeat must not be mixed with axes that do.
        """
        u = unimodular.to(self.cell)
        u = u.expand(len(self), 3, 3)
        if not torch.allclose(torch.linalg.det(u), torch.ones((), dtype=u.dtype)) or not torch.equal(u, u.round()):
            raise BadInput("U must be integer with determinant 1", "Crystals.recelled")
        mixed = (u != 0) & (self.periodic[:, :, None] != self.periodic[:, None, :])
        self._refuse(mixed.flatten(1).any(1), "U mixes a periodic axis with one that is not")
        inverse = torch.linalg.inv(u)[self.owner]
        frac = torch.bmm(self.frac[:, None], inverse)[:, 0]
        return self.put(cell=u @ self.cell, frac=frac).wrapped()

    def repeated(self, na: int, nb: int, nc: int) -> Crystals:
        """Supercells of na x nb x nc copies; extensive fields grow with them."""
        if min(na, nb, nc) < 1:
            raise BadInput(f"{na} x {nb} x {nc} copies, each must be at least 1", "Crystals.repeated")
        times = torch.tensor([na, nb, nc], device=self.cell.device)
        self._refuse(((times > 1) & ~self.periodic).any(1), "a structure cannot be repeated along an axis that is not periodic")
        grid = torch.cartesian_prod(*[torch.arange(n, device=self.cell.device) for n in (na, nb, nc)]).to(self.frac)
        copies, times = len(grid), times.to(self.frac)
        spread = lambda x: x.repeat_interleave(copies, 0)
        grow = lambda k, v: v * copies if quantity_of(k, self.quantities).extensive else v
        return replace(
            self, frac=((self.frac[:, None] + grid) / times).reshape(-1, 3), species=spread(self.species), cell=self.cell * times[:, None],
            offsets=self.offsets * copies, site={k: spread(v) for k, v in self.site.items()}, whole={k: grow(k, v) for k, v in self.whole.items()})

    def wrapped(self) -> Crystals:
        """Coordinates brought into [0, 1) along periodic axes."""
        inside = self.frac % 1
        inside = torch.where(inside >= 1, torch.zeros_like(inside), inside)  # -1e-17 % 1 rounds up to 1
        return self.put(frac=torch.where(self.periodic[self.owner], inside, self.frac))

    def formula(self, i: int = 0) -> str:
        """Formula of crystal `i` with elements by symbol, counts as they stand: 'Cl4 Na4'."""
        z = self[int(i)].species.tolist()
        return " ".join(f"{symbol(s)}{z.count(s)}" for s in sorted(set(z), key=symbol))


def _as_field(values) -> Tensor:
    """Tensors and arrays keep their dtype; Python numbers become float64, not the default dtype of torch."""
    tensor = torch.as_tensor(values)
    return torch.as_tensor(values, dtype=torch.float64) if tensor.is_floating_point() and not hasattr(values, "dtype") else tensor
